//! The sending agent's link to the receiving agent and to the controller.
//!
//! Must never leave a thread waiting for a target or a controller that is gone.

use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::compress::FrameCompressor;
use super::direct::{Connection, Direct};
use super::outbox::{ChannelRole, FrameClass, Outbox};
use super::threads::{StreamEnds, Writers, spawn};
use super::widen::Widening;
use crate::copy::failure::{Failure, Side};
use crate::copy::send::ledger::SharedLedger;
use crate::copy::wire::frame::{OutFrame, Route};
use crate::copy::wire::request::{Begin, Request};
use crate::copy::wire::response::{Ready, Response};
use crate::copy::wire::task::SenderMessage;

/// The stream to the receiving agent and to the controller.
pub struct Link {
    requests: Arc<Outbox>,
    messages: Arc<Outbox>,
    responses: Mutex<Receiver<Response>>,
    ledger: SharedLedger,
    compressor: FrameCompressor,
    /// What more streams can be made of.
    connection: Mutex<Option<Arc<Connection>>>,
    writers: Writers,
}

/// The stream to and from the controller, which also leads to the receiving agent unless there is a direct one.
pub struct Streams {
    /// From the controller.
    pub input: Box<dyn Read + Send>,
    /// To the controller.
    pub output: Box<dyn Write + Send>,
    /// To and from the receiving agent.
    pub direct: Option<Direct>,
}

/// Starts the threads. `rate` is in bytes per second; the controller can change it.
pub fn start(streams: Streams, ledger: SharedLedger, rate: Option<u64>) -> std::io::Result<Link> {
    let Streams { mut input, mut output, direct } = streams;
    let (to_link, responses) = channel();
    let requests = Arc::new(Outbox::new(rate));
    let writers = Writers::default();
    let (messages, connection, from) = match direct {
        None => (Arc::clone(&requests), None, Side::Target),
        Some(direct) => {
            let (mut from_target, mut to_target, connection) = direct.split();
            let ends = StreamEnds { outbox: Arc::clone(&requests), ledger: Arc::clone(&ledger) };
            writers.add("write", move || ends.write(ChannelRole::First, &mut |frame| to_target.send(frame)))?;
            let (ends, to_link) =
                (StreamEnds { outbox: Arc::clone(&requests), ledger: Arc::clone(&ledger) }, to_link.clone());
            spawn("read", move || ends.read(&mut from_target, &to_link, Side::Target))?;
            (Arc::new(Outbox::default()), Some(connection), Side::Source)
        }
    };
    let ends = StreamEnds { outbox: Arc::clone(&messages), ledger: Arc::clone(&ledger) };
    writers.add("tell", move || ends.write(ChannelRole::First, &mut |frame| frame.write_to(output.as_mut())))?;
    let ends = StreamEnds { outbox: Arc::clone(&requests), ledger: Arc::clone(&ledger) };
    // Ends with the process: it waits for bytes that nobody may ever send.
    spawn("listen", move || ends.read(input.as_mut(), &to_link, from))?;
    let (responses, connection) = (Mutex::new(responses), Mutex::new(connection));
    Ok(Link { requests, messages, responses, ledger, compressor: FrameCompressor::default(), connection, writers })
}

impl Link {
    /// Sends a request to the receiving agent.
    pub fn request(&self, request: &Request, data: Vec<u8>) -> Result<(), Failure> {
        let (kind, route) = match request {
            Request::Files(_) | Request::FilePart { .. } | Request::Hole { .. } => {
                (FrameClass::Content, Route::Content)
            }
            // What ends a stream must not overtake it.
            Request::StreamChunk { .. } | Request::EndStream { .. } | Request::AbortStream => {
                (FrameClass::Content, Route::Peer)
            }
            _ => (FrameClass::Request, Route::Peer),
        };
        let frame = OutFrame::new(route, request, data).map_err(|e| Failure::protocol(Side::Source, e))?;
        let frame = match kind {
            FrameClass::Request => frame,
            FrameClass::Content => self.compressor.compress(frame, self.requests.rate()),
        };
        self.send(&self.requests, kind, frame)
    }

    /// Tells the controller how far it is.
    pub fn progress(&self) -> Result<(), Failure> {
        self.tell(&SenderMessage::Progress(self.ledger.progress(self.requests.waiting())))
    }

    /// Tells the controller something.
    pub fn tell(&self, message: &SenderMessage) -> Result<(), Failure> {
        let frame = OutFrame::new(Route::Controller, message, Vec::new());
        self.send(&self.messages, FrameClass::Request, frame.map_err(|e| Failure::protocol(Side::Source, e))?)
    }

    fn send(&self, to: &Outbox, kind: FrameClass, frame: OutFrame) -> Result<(), Failure> {
        if to.push(kind, frame) { Ok(()) } else { Err(self.why()) }
    }

    /// Opens the pass.
    pub fn begin(&self, begin: Begin) -> Result<Ready, Failure> {
        let next = begin.next;
        let writes = !begin.read_only;
        self.request(&Request::Begin(begin), Vec::new())?;
        let Response::Ready(ready) = self.response()? else {
            return Err(Failure::protocol(Side::Target, "an unexpected response"));
        };
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner).take();
        match connection {
            _ if !writes => {}
            Some(connection) => self.widen_when_needed(connection, &Request::JoinSession { next })?,
            // Whoever relays knows better how far the target is.
            None => self.tell(&SenderMessage::SessionOpen { next })?,
        }
        Ok(ready)
    }

    fn widen_when_needed(&self, connection: Arc<Connection>, join: &Request) -> Result<(), Failure> {
        let frame = |order: &Request| OutFrame::new(Route::Peer, order, Vec::new());
        let broken = |e| Failure::protocol(Side::Source, e);
        let (widen, join) = (frame(&Request::AddChannels).map_err(broken)?, frame(join).map_err(broken)?);
        let widening = Widening {
            connection,
            ends: StreamEnds { outbox: Arc::clone(&self.requests), ledger: Arc::clone(&self.ledger) },
            writers: self.writers.clone(),
            widen,
            join,
        };
        // Without more streams it is slower, no more.
        let _ = self.writers.add("widen", move || widening.run());
        Ok(())
    }

    /// Ends it: everything is written when this returns, unless it was for `nothing`.
    pub fn close(self, nothing: bool) {
        if nothing {
            self.requests.break_off();
        }
        self.requests.close();
        self.messages.close();
        self.connection.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.writers.join();
    }

    /// Waits as long as the copy is to stand still; false when there is nobody any more to work for.
    pub fn may_go_on(&self) -> bool {
        loop {
            match self.ledger.broken() {
                None if self.requests.stands_still() => std::thread::sleep(Duration::from_millis(100)),
                broken => return broken.is_none(),
            }
        }
    }

    /// The next response that is no acknowledgement.
    pub fn response(&self) -> Result<Response, Failure> {
        let responses = self.responses.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match responses.recv_timeout(Duration::from_millis(100)) {
                Ok(report) => return Ok(report),
                Err(RecvTimeoutError::Disconnected) => return Err(self.why()),
                // The controller may still be listening when the target is gone.
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(failure) = self.ledger.broken() {
                        return Err(failure);
                    }
                }
            }
        }
    }

    fn why(&self) -> Failure {
        self.ledger.broken().unwrap_or_else(|| Failure::lost(Side::Target, "no reason given"))
    }
}
