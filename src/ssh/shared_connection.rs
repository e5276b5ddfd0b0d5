//! More sessions on the connection that a stream uses already.
//!
//! Must never make another connection, nor wait for a session of someone else to end.

use std::sync::Arc;
use std::time::Duration;

use super::launch::Launch;
use super::session::Session;
use super::stream::Stream;
use crate::connection::round_trip;
use crate::model::{Become, Host};

/// A connection that does not answer for so long is as good as gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// The connection of a stream.
#[derive(Clone)]
pub struct SharedConnection(pub(super) Arc<Session>);

impl SharedConnection {
    /// The time to the host and back; `None` when it does not answer.
    pub async fn round_trip(&self) -> Option<Duration> {
        round_trip(self.0.handle()).await
    }

    /// Runs `argv` in one more session on the host; `None` when this connection takes no more of them.
    pub async fn open(&self, host: &Host, argv: &[&str]) -> Option<Stream> {
        // Whoever asks for a password is asked once, on the stream that goes first.
        let launch = Launch::new(host, argv).ok().filter(|l| l.becomes().and_then(Become::password).is_none())?;
        let slot = self.0.slots.clone().try_acquire_owned().ok()?;
        let open = async {
            let channel = self.0.open_session().await.ok()?;
            channel.exec(true, launch.line.as_str()).await.ok()?;
            Some(channel)
        };
        let channel = tokio::time::timeout(PATIENCE, open).await.ok()??;
        Some(Stream::of_program(self.0.clone(), channel, slot, launch.start()))
    }
}
