//! Not more requests than the API takes: fifty a second for the whole account, of which others need some, too.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;

/// Between the beginnings of two requests: forty a second.
const APART: Duration = Duration::from_millis(25);

/// Lets requests begin one after the other.
#[derive(Debug, Default)]
pub struct Pace(Mutex<Option<Instant>>);

impl Pace {
    /// Waits for one's turn.
    pub async fn turn(&self) {
        let mut next = self.0.lock().await;
        if let Some(left) = next.and_then(|next| next.checked_duration_since(Instant::now())) {
            tokio::time::sleep(left).await;
        }
        *next = Some(Instant::now() + APART);
    }
}
