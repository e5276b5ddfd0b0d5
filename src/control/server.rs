//! The controller's end.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use super::{Answer, MAX_MESSAGE, Request};
use crate::engine::orders::Given;
use crate::event::{Event, Notice};
use crate::text;

/// A client that says nothing must not keep a connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// The last words of each step under way, gathered from notices.
#[derive(Debug, Clone, Default)]
pub struct LastSeen(Arc<Mutex<BTreeMap<String, String>>>);

impl LastSeen {
    /// Takes one notice in.
    pub fn see(&self, notice: &Notice) {
        let mut words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match notice {
            Notice::Waiting { step, what } => drop(words.insert(step.clone(), what.clone())),
            Notice::Copying { step, progress } => {
                let done = text::bytes(progress.bytes_done);
                let says = match (progress.bytes_total, progress.bytes_done) {
                    (0, 0) => format!("{} looked at", text::entries(progress.files_scanned)),
                    (0, _) => format!("{done} so far"),
                    (total, _) => format!("{done} of {} are done", text::bytes(total)),
                };
                words.insert(step.clone(), says);
            }
            Notice::Warning { .. } => {}
            Notice::Recorded(record) => {
                if let Event::Outcome { step, .. } = &record.event {
                    words.remove(step);
                }
            }
        }
    }

    fn all(&self) -> BTreeMap<String, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Listens on `path`, readable and writable by its owner only, until the task is dropped. What a dead controller left there is
/// taken away: the caller holds the journal, so nobody else listens.
pub fn serve(path: &Path, orders: mpsc::Sender<Given>, seen: LastSeen) -> io::Result<tokio::task::JoinHandle<()>> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(tokio::spawn(async move {
        // An accept that fails (too many open files) is tried again with the next client.
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, orders.clone(), seen.clone()));
            }
        }
    }))
}

async fn answer(mut stream: UnixStream, orders: mpsc::Sender<Given>, seen: LastSeen) {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(PATIENCE, (&mut stream).take(MAX_MESSAGE).read_to_end(&mut bytes)).await;
    if !matches!(read, Ok(Ok(_))) {
        return;
    }
    let answer = match serde_json::from_slice(&bytes) {
        Ok(Request::Waiting) => Answer::Waiting(seen.all()),
        Ok(Request::Order { order, by }) => {
            let (answer, answered) = oneshot::channel();
            let given = orders.send(Given { order, by, answer }).await;
            match (given, answered.await) {
                (Ok(()), Ok(Ok(()))) => Answer::Obeyed,
                (Ok(()), Ok(Err(why))) => Answer::Refused(why),
                _ => Answer::Refused("the run is ending".to_owned()),
            }
        }
        Err(e) => Answer::Refused(format!("the request cannot be read: {e}")),
    };
    if let Ok(bytes) = serde_json::to_vec(&answer) {
        // A client that has gone away has got no answer, and the order stands in the journal.
        let _ = stream.write_all(&bytes).await;
    }
}
