//! The sending agent's end of the stream: frames out through one bounded queue, reports in, both on threads of their own.
//!
//! Owns the rate limit. Must never let a slow target fill the memory.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::ledger::SharedLedger;
use crate::copy::failure::{Failure, Side};
use crate::copy::message::{Begin, Control, News, Order, Ready, Report};
use crate::copy::wire::{Frame, OutFrame, Route, WireError};

/// Frames that wait to be written, each up to a megabyte.
const WAITING: usize = 8;

/// The stream to the receiving agent and to the controller.
pub struct Link {
    outbox: SyncSender<OutFrame>,
    reports: Mutex<Receiver<Report>>,
    ledger: SharedLedger,
}

/// The thread that writes; joined after the [`Link`] is dropped so that everything is out.
pub struct Outgoing(JoinHandle<()>);

impl Outgoing {
    /// Waits until everything is written.
    pub fn flush(self) {
        // A panic there has been reported by the lack of an answer.
        let _ = self.0.join();
    }
}

/// Starts the threads. `rate` is in bytes per second, 0 for no limit; the controller can change it.
pub fn start(
    input: Box<dyn Read + Send>,
    output: Box<dyn Write + Send>,
    ledger: SharedLedger,
    rate: Arc<AtomicU64>,
) -> std::io::Result<(Link, Outgoing)> {
    let (outbox, frames) = sync_channel(WAITING);
    let (to_link, reports) = channel();
    let (reader_ledger, writer_ledger) = (Arc::clone(&ledger), Arc::clone(&ledger));
    let reader_rate = Arc::clone(&rate);
    let spawn = std::thread::Builder::new;
    let writing = spawn().name("write".into()).spawn(move || write(&frames, output, &writer_ledger, &rate))?;
    // Ends with the process: it waits for bytes that nobody may ever send.
    spawn().name("read".into()).spawn(move || read(input, &to_link, &reader_ledger, &reader_rate))?;
    Ok((Link { outbox, reports: Mutex::new(reports), ledger }, Outgoing(writing)))
}

impl Link {
    /// Sends an order to the receiving agent.
    pub fn order(&self, order: &Order, data: Vec<u8>) -> Result<(), Failure> {
        self.send(Route::Peer, order, data)
    }

    /// Tells the controller something.
    pub fn news(&self, news: &News) -> Result<(), Failure> {
        self.send(Route::Controller, news, Vec::new())
    }

    fn send<M: Serialize>(&self, route: Route, message: &M, data: Vec<u8>) -> Result<(), Failure> {
        let frame = OutFrame::new(route, message, data).map_err(|e| Failure::protocol(Side::Source, e))?;
        self.outbox.send(frame).map_err(|_| self.why())
    }

    /// Opens the pass.
    pub fn begin(&self, begin: Begin) -> Result<Ready, Failure> {
        self.order(&Order::Begin(begin), Vec::new())?;
        match self.report()? {
            Report::Ready(ready) => Ok(ready),
            _ => Err(Failure::protocol(Side::Target, "an answer to another question")),
        }
    }

    /// The next report that is no confirmation.
    pub fn report(&self) -> Result<Report, Failure> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).recv().map_err(|_| self.why())
    }

    fn why(&self) -> Failure {
        self.ledger.broken().unwrap_or_else(|| Failure::lost(Side::Target, "no reason given"))
    }
}

fn write(frames: &Receiver<OutFrame>, mut output: Box<dyn Write + Send>, ledger: &SharedLedger, rate: &AtomicU64) {
    let mut limit = Limit::default();
    while let Ok(frame) = frames.recv() {
        limit.wait(frame.len() as u64, rate);
        if let Err(e) = frame.write_to(output.as_mut()) {
            ledger.break_off(Failure::lost(Side::Target, e));
            return;
        }
    }
}

/// Spreads bytes over time.
#[derive(Default)]
struct Limit {
    /// Bytes that went out ahead of their time, as of `since`.
    ahead: f64,
    since: Option<Instant>,
}

impl Limit {
    /// Waits until `bytes` may go. The rate may change meanwhile.
    fn wait(&mut self, bytes: u64, rate: &AtomicU64) {
        loop {
            let per_second = rate.load(Ordering::Relaxed) as f64;
            let now = Instant::now();
            let passed = self.since.replace(now).map_or(0.0, |since| (now - since).as_secs_f64());
            self.ahead = (self.ahead - passed * per_second).max(0.0);
            if per_second == 0.0 || self.ahead == 0.0 {
                break;
            }
            std::thread::sleep(Duration::from_secs_f64((self.ahead / per_second).min(0.2)));
        }
        self.ahead = if rate.load(Ordering::Relaxed) == 0 { 0.0 } else { bytes as f64 };
    }
}

fn read(mut input: Box<dyn Read + Send>, to_link: &Sender<Report>, ledger: &SharedLedger, rate: &AtomicU64) {
    loop {
        if let Err(failure) = read_one(input.as_mut(), to_link, ledger, rate) {
            ledger.break_off(failure);
            return;
        }
    }
}

fn read_one(
    input: &mut dyn Read,
    to_link: &Sender<Report>,
    ledger: &SharedLedger,
    rate: &AtomicU64,
) -> Result<(), Failure> {
    let broken = |e| Failure::protocol(Side::Target, e);
    let frame = Frame::read_from(input).map_err(|e| match e {
        WireError::Closed | WireError::Io(_) => Failure::lost(Side::Target, e),
        WireError::Malformed(_) => broken(e),
    })?;
    if frame.route == Route::Controller {
        let Control::Bandwidth(limit) = frame.message().map_err(broken)?;
        rate.store(limit, Ordering::Relaxed);
        return Ok(());
    }
    match frame.message().map_err(broken)? {
        Report::Done { seq, failures, deleted } => ledger.confirm(seq, failures, deleted),
        Report::Failed(failure) => return Err(failure),
        // Nobody waits for it any more when the pass has ended.
        other => drop(to_link.send(other)),
    }
    Ok(())
}
