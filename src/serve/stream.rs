//! Server-sent events: what a browser reads on and on, and goes on with where it was when it has lost the server.
//!
//! The id of an event is the number of the record that comes next: it means the same to a server that was started anew.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::time::{interval, timeout};

use super::desk::Desk;
use super::followed::{Followed, Told};
use super::runs::Runs;

/// Something is sent this often, so that who does not hear anything knows that the line is dead.
const ALIVE: Duration = Duration::from_secs(10);
/// How often the list is looked at.
const LIST: Duration = Duration::from_secs(1);
/// Lines of the log that one who comes first gets.
pub const LAST_LINES: usize = 400;

/// A browser that has lost the server asks again after a second.
const AGAIN: &str = "retry: 1000\n\n";
const STILL_HERE: &[u8] = b"event: alive\ndata: {}\n\n";

fn event(name: &str, id: Option<u64>, data: &str) -> Bytes {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    // JSON has no line breaks.
    format!("event: {name}\n{id}data: {data}\n\n").into()
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Tells a run from a record on (else with the last lines of its log) until nobody reads any more.
pub fn of_run(followed: Arc<Followed>, from: Option<u64>) -> mpsc::Receiver<Bytes> {
    let (out, reads) = mpsc::channel(64);
    tokio::spawn(async move {
        // Whoever has gone away is told no more.
        let _ = tell_run(&followed, from, &out).await;
    });
    reads
}

type Gone = mpsc::error::SendError<Bytes>;

async fn tell_run(followed: &Arc<Followed>, mut from: Option<u64>, out: &mpsc::Sender<Bytes>) -> Result<(), Gone> {
    out.send(AGAIN.into()).await?;
    loop {
        let looking = Arc::clone(followed);
        let seen = tokio::task::spawn_blocking(move || looking.look(from, LAST_LINES)).await;
        // Nobody follows it any more: the browser asks again, and then somebody does.
        let Some(mut seen) = seen.ok().flatten() else { return Ok(()) };
        out.send(event("view", None, &json(seen.view.as_ref()))).await?;
        out.send(event("lines", Some(seen.next), &json(&seen.lines))).await?;
        let mut next = seen.next;
        loop {
            match timeout(ALIVE, seen.then.recv()).await {
                Err(_) => out.send(Bytes::from_static(STILL_HERE)).await?,
                Ok(Ok(Told::Line(Some(after), line))) => {
                    next = after;
                    out.send(event("lines", Some(after), &json(&[(after - 1, line)]))).await?;
                }
                Ok(Ok(Told::Line(None, line))) => out.send(event("note", None, &json(&line))).await?,
                Ok(Ok(Told::Change(change))) => out.send(event("change", None, &change)).await?,
                // It is shown anew from where it is.
                Ok(Err(RecvError::Lagged(_))) => break,
                Ok(Ok(Told::End) | Err(RecvError::Closed)) => return Ok(()),
            }
        }
        from = Some(next);
    }
}

/// The list, and whether everything is stopped.
#[derive(Serialize)]
struct List<'a> {
    runs: &'a [super::runs::Row],
    stopped: Option<String>,
}

/// The list as it is now, as JSON; why it cannot be read. Waits for the disk.
pub fn list(runs: &Runs, desk: &dyn Desk) -> Result<String, String> {
    let rows = runs.rows().map_err(|e| e.to_string())?;
    Ok(json(&List { runs: &rows, stopped: desk.stopped() }))
}

/// Tells the list whenever it changes.
pub fn of_list(runs: Arc<Runs>, desk: Arc<dyn Desk>) -> mpsc::Receiver<Bytes> {
    let (out, reads) = mpsc::channel(8);
    tokio::spawn(async move {
        let _ = tell_list(runs, desk, &out).await;
    });
    reads
}

async fn tell_list(runs: Arc<Runs>, desk: Arc<dyn Desk>, out: &mpsc::Sender<Bytes>) -> Result<(), Gone> {
    out.send(AGAIN.into()).await?;
    let (mut before, mut looks, mut since) = (String::new(), interval(LIST), 0);
    loop {
        looks.tick().await;
        let (runs, desk) = (Arc::clone(&runs), Arc::clone(&desk));
        let now = tokio::task::spawn_blocking(move || list(&runs, desk.as_ref())).await;
        let (name, now) = match now {
            Ok(Ok(now)) => ("list", now),
            Ok(Err(why)) => ("trouble", json(&why)),
            Err(_) => return Ok(()),
        };
        since += 1;
        if now != before {
            out.send(event(name, None, &now)).await?;
            (before, since) = (now, 0);
        } else if since >= ALIVE.as_secs() {
            out.send(Bytes::from_static(STILL_HERE)).await?;
            since = 0;
        }
    }
}
