//! The controller's end.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, oneshot};

use super::{Answer, Feed, MAX_MESSAGE, Request};
use crate::engine::orders::{Order, OrderRequest};
use crate::event::{Notice, Operator};
use crate::store::{Follower, RunStore};

/// A client that says nothing must not keep a connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the controller's end needs.
#[derive(Clone)]
pub struct Served {
    /// Takes orders.
    pub orders: mpsc::Sender<OrderRequest>,
    /// What the run tells.
    pub feed: Feed,
    /// Where the run is kept.
    pub store: Arc<dyn RunStore>,
    /// Its name.
    pub run: String,
}

/// Listens on `path`, readable and writable by its owner only, until the task is dropped. What a dead controller left there is
/// taken away: the caller holds the journal, so nobody else listens.
pub fn serve(path: &Path, served: Served) -> io::Result<tokio::task::JoinHandle<()>> {
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
                tokio::spawn(answer(stream, served.clone()));
            }
        }
    }))
}

async fn answer(mut stream: UnixStream, served: Served) {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(PATIENCE, (&mut stream).take(MAX_MESSAGE).read_to_end(&mut bytes)).await;
    if !matches!(read, Ok(Ok(_))) {
        return;
    }
    let answer = match serde_json::from_slice(&bytes) {
        Ok(Request::Waiting) => Answer::Waiting(served.feed.last_words()),
        // A client that has gone away follows nothing any more.
        Ok(Request::Follow { from }) => return drop(follow(stream, served, from).await),
        Ok(Request::Order { order, by }) => {
            let orders = served.orders;
            let obeyed = tokio::task::spawn_blocking(move || obey(&orders, order, by)).await;
            obeyed.unwrap_or_else(|e| Answer::Refused(e.to_string()))
        }
        Err(e) => Answer::Refused(format!("the request cannot be read: {e}")),
    };
    if let Ok(bytes) = serde_json::to_vec(&answer) {
        // A client that has gone away has got no answer, and the order stands in the journal.
        let _ = stream.write_all(&bytes).await;
    }
}

/// Gives an order to the engine, and waits for what becomes of it.
pub(super) fn obey(orders: &mpsc::Sender<OrderRequest>, order: Order, by: Operator) -> Answer {
    let (answer, answered) = oneshot::channel();
    let given = orders.blocking_send(OrderRequest { order, by, answer });
    match (given, answered.blocking_recv()) {
        (Ok(()), Ok(Ok(()))) => Answer::Obeyed,
        (Ok(()), Ok(Err(why))) => Answer::Refused(why),
        _ => Answer::Refused("the run is ending".to_owned()),
    }
}

/// Writes records from one on, and then what happens, a line each. Live ones are subscribed to first, so that nothing lies in between.
async fn follow(mut stream: UnixStream, served: Served, from: u64) -> io::Result<()> {
    let mut live = served.feed.subscribe();
    let mut kept = Follower::new(Arc::clone(&served.store), &served.run, from);
    drop(served);
    let mut next = from;
    loop {
        // What was written down before, and what was missed.
        let (back, records) = tokio::task::spawn_blocking(move || {
            let records = kept.next(Duration::ZERO);
            (kept, records)
        })
        .await
        .map_err(io::Error::other)?;
        kept = back;
        for record in records.map_err(io::Error::other)? {
            if record.seq < next {
                continue;
            }
            next = record.seq + 1;
            write(&mut stream, &Notice::Recorded(record)).await?;
        }
        loop {
            match live.recv().await {
                Ok(Notice::Recorded(record)) if record.seq < next => {}
                Ok(Notice::Recorded(record)) if record.seq > next => break,
                Ok(notice) => {
                    next += u64::from(matches!(notice, Notice::Recorded(_)));
                    write(&mut stream, &notice).await?;
                }
                Err(RecvError::Lagged(_)) => break,
                // The client reads the rest where it is kept.
                Err(RecvError::Closed) => return Ok(()),
            }
        }
    }
}

async fn write(stream: &mut UnixStream, notice: &Notice) -> io::Result<()> {
    let mut line = serde_json::to_vec(notice)?;
    line.push(b'\n');
    stream.write_all(&line).await
}
