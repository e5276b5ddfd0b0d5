//! The sending agent's end of the stream: frames out through one bounded queue, reports in, both on threads of their own.
//!
//! Owns the rate limit. Must never let a slow target fill the memory.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::direct::Direct;
use super::ledger::SharedLedger;
use crate::copy::failure::{Failure, Side};
use crate::copy::message::{Begin, Control, News, Order, Ready, Report};
use crate::copy::wire::{Frame, OutFrame, Route, WireError};

/// Frames that wait to be written, each up to a megabyte.
const WAITING: usize = 8;

/// The stream to the receiving agent and to the controller.
pub struct Link {
    orders: SyncSender<OutFrame>,
    news: SyncSender<OutFrame>,
    reports: Mutex<Receiver<Report>>,
    ledger: SharedLedger,
}

/// The threads that write; joined after the [`Link`] is dropped so that everything is out.
pub struct Outgoing(Vec<JoinHandle<()>>);

impl Outgoing {
    /// Waits until everything is written.
    pub fn flush(self) {
        for writer in self.0 {
            // A panic there has been reported by the lack of an answer.
            let _ = writer.join();
        }
    }
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

/// Starts the threads. `rate` is in bytes per second, 0 for no limit; the controller can change it.
pub fn start(streams: Streams, ledger: SharedLedger, rate: Arc<AtomicU64>) -> std::io::Result<(Link, Outgoing)> {
    let Streams { input, mut output, direct } = streams;
    let (to_link, reports) = channel();
    let reports = Mutex::new(reports);
    let (news, news_frames) = sync_channel(WAITING);
    let mut writers = Vec::new();
    let orders = match direct {
        None => {
            let (ledger, rate) = (Arc::clone(&ledger), Arc::clone(&rate));
            writers.push(spawn("write", move || {
                write(&news_frames, &mut |frame| frame.write_to(output.as_mut()), &ledger, &rate);
            })?);
            news.clone()
        }
        Some(direct) => {
            let (mut from_target, mut to_target) = direct.split();
            let (orders, order_frames) = sync_channel(WAITING);
            let (write_ledger, write_rate) = (Arc::clone(&ledger), Arc::clone(&rate));
            writers.push(spawn("write", move || {
                write(&order_frames, &mut |frame| to_target.send(frame), &write_ledger, &write_rate);
            })?);
            let (tell_ledger, no_limit) = (Arc::clone(&ledger), AtomicU64::new(0));
            writers.push(spawn("tell", move || {
                write(&news_frames, &mut |frame| frame.write_to(output.as_mut()), &tell_ledger, &no_limit);
            })?);
            let (read_ledger, read_rate, to_link) = (Arc::clone(&ledger), Arc::clone(&rate), to_link.clone());
            spawn("read", move || {
                read(&mut from_target, &to_link, &read_ledger, &read_rate, Side::Target);
            })?;
            orders
        }
    };
    let (read_ledger, mut input) = (Arc::clone(&ledger), input);
    let from = if writers.len() > 1 { Side::Source } else { Side::Target };
    // Ends with the process: it waits for bytes that nobody may ever send.
    spawn("listen", move || read(input.as_mut(), &to_link, &read_ledger, &rate, from))?;
    Ok((Link { orders, news, reports, ledger }, Outgoing(writers)))
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run)
}

impl Link {
    /// Sends an order to the receiving agent.
    pub fn order(&self, order: &Order, data: Vec<u8>) -> Result<(), Failure> {
        self.send(&self.orders, Route::Peer, order, data)
    }

    /// Tells the controller something.
    pub fn news(&self, news: &News) -> Result<(), Failure> {
        self.send(&self.news, Route::Controller, news, Vec::new())
    }

    fn send<M: Serialize>(
        &self,
        to: &SyncSender<OutFrame>,
        route: Route,
        message: &M,
        data: Vec<u8>,
    ) -> Result<(), Failure> {
        let frame = OutFrame::new(route, message, data).map_err(|e| Failure::protocol(Side::Source, e))?;
        to.send(frame).map_err(|_| self.why())
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
        let reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match reports.recv_timeout(Duration::from_millis(100)) {
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

fn write(
    frames: &Receiver<OutFrame>,
    send: &mut dyn FnMut(OutFrame) -> std::io::Result<()>,
    ledger: &SharedLedger,
    rate: &AtomicU64,
) {
    let mut limit = Limit::default();
    while let Ok(frame) = frames.recv() {
        limit.wait(frame.len() as u64, rate);
        if let Err(e) = send(frame) {
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

/// Reads frames until the stream ends, which breaks the pass off. `from` is whose silence it is.
fn read(input: &mut dyn Read, to_link: &Sender<Report>, ledger: &SharedLedger, rate: &AtomicU64, from: Side) {
    loop {
        if let Err(failure) = read_one(input, to_link, ledger, rate, from) {
            return ledger.break_off(failure);
        }
    }
}

fn read_one(
    input: &mut dyn Read,
    to_link: &Sender<Report>,
    ledger: &SharedLedger,
    rate: &AtomicU64,
    from: Side,
) -> Result<(), Failure> {
    let broken = |e| Failure::protocol(from, e);
    let frame = Frame::read_from(input).map_err(|e| match e {
        WireError::Closed | WireError::Io(_) => Failure::lost(from, e),
        WireError::Malformed(_) => broken(e),
    })?;
    if frame.route == Route::Controller {
        if let Control::Bandwidth(limit) = frame.message().map_err(broken)? {
            rate.store(limit, Ordering::Relaxed);
        }
        return Ok(());
    }
    match frame.message().map_err(broken)? {
        Report::Done { seq, failures, deleted } => ledger.confirm(seq, failures, deleted),
        Report::Hashes { file, hashes } => ledger.hashed(file, hashes),
        Report::Failed(failure) => return Err(failure),
        // Nobody waits for it any more when the pass has ended.
        other => drop(to_link.send(other)),
    }
    Ok(())
}
