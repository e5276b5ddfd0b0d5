//! The threads that write frames to a stream and read frames from it.
//!
//! Must never swallow the end of a stream: it ends the work with the reason.

use std::io::Read;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::outbox::{ChannelRole, Outbox};
use crate::copy::failure::{Failure, Side};
use crate::copy::send::ledger::SharedLedger;
use crate::copy::wire::frame::{Frame, OutFrame, Route, WireError};
use crate::copy::wire::response::Response;
use crate::copy::wire::task::ControllerMessage;

/// Starts a named thread.
pub fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run)
}

/// The threads that write.
#[derive(Clone, Default)]
pub struct Writers(Arc<Mutex<Vec<JoinHandle<()>>>>);

impl Writers {
    /// Starts one more.
    pub fn add(&self, name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        let writer = spawn(name, run)?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(writer);
        Ok(())
    }

    /// Waits until everything is written.
    pub fn join(&self) {
        let next = || self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        while let Some(writer) = next() {
            // If it panicked, the missing response has already ended the work.
            let _ = writer.join();
        }
    }
}

/// What the threads at the ends of streams share.
#[derive(Clone)]
pub struct StreamEnds {
    /// Where frames come from.
    pub outbox: Arc<Outbox>,
    /// Requests under way.
    pub ledger: SharedLedger,
}

impl StreamEnds {
    /// Writes what waits until there is no more.
    pub fn write(&self, stream: ChannelRole, send: &mut dyn FnMut(OutFrame) -> std::io::Result<()>) {
        while let Some(frame) = self.outbox.take(stream) {
            if let Err(e) = send(frame) {
                return self.break_off(Failure::lost(Side::Target, e));
            }
        }
    }

    /// Reads frames until the stream ends, and then breaks the work off. `from` is the side to blame for the end.
    pub fn read(&self, input: &mut dyn Read, to_link: &Sender<Response>, from: Side) {
        loop {
            if let Err(failure) = read_one(input, to_link, &self.ledger, &self.outbox, from) {
                return self.break_off(failure);
            }
        }
    }

    /// Breaks the work off.
    pub fn break_off(&self, failure: Failure) {
        self.ledger.break_off(failure);
        self.outbox.break_off();
    }
}

fn read_one(
    input: &mut dyn Read,
    to_link: &Sender<Response>,
    ledger: &SharedLedger,
    outbox: &Outbox,
    from: Side,
) -> Result<(), Failure> {
    let broken = |e| Failure::protocol(from, e);
    let frame = Frame::read_from(input).map_err(|e| match e {
        WireError::Closed | WireError::Io(_) => Failure::lost(from, e),
        WireError::Malformed(_) => broken(e),
    })?;
    if frame.route == Route::Controller {
        if let ControllerMessage::Bandwidth(limit) = frame.message().map_err(broken)? {
            outbox.limit(limit);
        }
        return Ok(());
    }
    match frame.message().map_err(broken)? {
        Response::Ack { seq, failures, deleted } => ledger.confirm(seq, failures, deleted),
        Response::BlockHashes { file, hashes } => ledger.hashed(file, hashes),
        Response::Failed(failure) => return Err(failure),
        // When the pass has ended, nobody waits for it any more.
        other => drop(to_link.send(other)),
    }
    Ok(())
}
