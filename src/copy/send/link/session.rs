//! The sending agent's link to the receiving agent and to the controller.
//!
//! Must never leave a thread waiting for a target or a controller that is gone.

use super::threads::{Ends, Writers, spawn};
use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::compress::Squeezer;
use super::direct::{Connection, Direct};
use super::outbox::{Kind, Outbox, Stream};
use super::widen::Widening;
use crate::copy::failure::{Failure, Side};
use crate::copy::send::ledger::SharedLedger;
use crate::copy::wire::frame::{OutFrame, Route};
use crate::copy::wire::request::{Begin, Order};
use crate::copy::wire::response::{Ready, Report};
use crate::copy::wire::task::News;

/// The stream to the receiving agent and to the controller.
pub struct Link {
    orders: Arc<Outbox>,
    news: Arc<Outbox>,
    reports: Mutex<Receiver<Report>>,
    ledger: SharedLedger,
    squeezer: Squeezer,
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
    let (to_link, reports) = channel();
    let orders = Arc::new(Outbox::new(rate));
    let writers = Writers::default();
    let (news, connection, from) = match direct {
        None => (Arc::clone(&orders), None, Side::Target),
        Some(direct) => {
            let (mut from_target, mut to_target, connection) = direct.split();
            let ends = Ends { outbox: Arc::clone(&orders), ledger: Arc::clone(&ledger) };
            writers.add("write", move || ends.write(Stream::First, &mut |frame| to_target.send(frame)))?;
            let (ends, to_link) = (Ends { outbox: Arc::clone(&orders), ledger: Arc::clone(&ledger) }, to_link.clone());
            spawn("read", move || ends.read(&mut from_target, &to_link, Side::Target))?;
            (Arc::new(Outbox::default()), Some(connection), Side::Source)
        }
    };
    let ends = Ends { outbox: Arc::clone(&news), ledger: Arc::clone(&ledger) };
    writers.add("tell", move || ends.write(Stream::First, &mut |frame| frame.write_to(output.as_mut())))?;
    let ends = Ends { outbox: Arc::clone(&orders), ledger: Arc::clone(&ledger) };
    // Ends with the process: it waits for bytes that nobody may ever send.
    spawn("listen", move || ends.read(input.as_mut(), &to_link, from))?;
    let (reports, connection) = (Mutex::new(reports), Mutex::new(connection));
    Ok(Link { orders, news, reports, ledger, squeezer: Squeezer::default(), connection, writers })
}

impl Link {
    /// Sends an order to the receiving agent.
    pub fn order(&self, order: &Order, data: Vec<u8>) -> Result<(), Failure> {
        let (kind, route) = match order {
            Order::Small(_) | Order::Part { .. } | Order::Hole { .. } => (Kind::Content, Route::Content),
            // What ends a stream must not overtake it.
            Order::Chunk { .. } | Order::End { .. } | Order::Spill => (Kind::Content, Route::Peer),
            _ => (Kind::Request, Route::Peer),
        };
        let frame = OutFrame::new(route, order, data).map_err(|e| Failure::protocol(Side::Source, e))?;
        let frame = match kind {
            Kind::Request => frame,
            Kind::Content => self.squeezer.squeeze(frame, self.orders.rate()),
        };
        self.send(&self.orders, kind, frame)
    }

    /// Tells the controller how far it is.
    pub fn progress(&self) -> Result<(), Failure> {
        self.news(&News::Progress(self.ledger.progress(self.orders.waiting())))
    }

    /// Tells the controller something.
    pub fn news(&self, news: &News) -> Result<(), Failure> {
        let frame = OutFrame::new(Route::Controller, news, Vec::new());
        self.send(&self.news, Kind::Request, frame.map_err(|e| Failure::protocol(Side::Source, e))?)
    }

    fn send(&self, to: &Outbox, kind: Kind, frame: OutFrame) -> Result<(), Failure> {
        if to.push(kind, frame) { Ok(()) } else { Err(self.why()) }
    }

    /// Opens the pass.
    pub fn begin(&self, begin: Begin) -> Result<Ready, Failure> {
        let next = begin.next;
        let writes = !begin.read_only;
        self.order(&Order::Begin(begin), Vec::new())?;
        let Report::Ready(ready) = self.report()? else {
            return Err(Failure::protocol(Side::Target, "an answer to another question"));
        };
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner).take();
        match connection {
            _ if !writes => {}
            Some(connection) => self.widen_when_needed(connection, &Order::Join { next })?,
            // Whoever relays knows better how far the target is.
            None => self.news(&News::Session { next })?,
        }
        Ok(ready)
    }

    fn widen_when_needed(&self, connection: Arc<Connection>, join: &Order) -> Result<(), Failure> {
        let frame = |order: &Order| OutFrame::new(Route::Peer, order, Vec::new());
        let broken = |e| Failure::protocol(Side::Source, e);
        let (widen, join) = (frame(&Order::Widen).map_err(broken)?, frame(join).map_err(broken)?);
        let widening = Widening {
            connection,
            ends: Ends { outbox: Arc::clone(&self.orders), ledger: Arc::clone(&self.ledger) },
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
            self.orders.break_off();
        }
        self.orders.close();
        self.news.close();
        self.connection.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.writers.join();
    }

    /// Waits as long as the copy is to stand still; false when there is nobody any more to work for.
    pub fn may_go_on(&self) -> bool {
        loop {
            match self.ledger.broken() {
                None if self.orders.stands_still() => std::thread::sleep(Duration::from_millis(100)),
                broken => return broken.is_none(),
            }
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
