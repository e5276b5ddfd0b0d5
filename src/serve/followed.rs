//! One run as it goes on: followed once, whoever looks.
//!
//! A thread reads its records, and what its controller tells, as `migrate status --follow` does; what comes of them is told to everybody who
//! has subscribed. Must never wait for one who looks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::{Notify, broadcast, watch};

use super::desk::Desk;
use super::view::{self, Beside, Head, PairView, View};
use crate::control::{self, Answer, Request};
use crate::event::{Event, LastWords, Notice, Record, RunState};
use crate::planner::rails::Serving;
use crate::render::{self, ServiceShare};
use crate::spec::Spec;
use crate::step::StepKind;
use crate::store::{Follower, RunStore, graph};

/// How long one look for more records takes.
const LOOK: Duration = Duration::from_secs(1);
/// What changes at once is told at once.
const GAP: Duration = Duration::from_millis(60);
/// How long ago something was is told anew this often.
const TICK: Duration = Duration::from_secs(10);
/// A run that nobody has looked at for so long is not followed any more.
const UNSEEN: Duration = Duration::from_secs(120);
/// What one who looks may be late by.
const LATE: usize = 4096;

/// What is told.
#[derive(Debug, Clone)]
pub enum Told {
    /// A line of the log, with the number of the record after it; `None` for what is no record.
    Line(Option<u64>, Arc<str>),
    /// What has changed of the view, as JSON.
    Change(Arc<str>),
    /// It is followed no more.
    End,
}

/// A run that is followed.
pub struct Followed {
    run: String,
    store: Arc<dyn RunStore>,
    desk: Arc<dyn Desk>,
    known: Mutex<Known>,
    told: broadcast::Sender<Told>,
    changed: Notify,
    ready: watch::Sender<bool>,
}

#[derive(Default)]
struct Known {
    state: Option<RunState>,
    log: Option<render::LogLines>,
    /// Why there is none.
    failed: Option<String>,
    live: bool,
    words: LastWords,
    parts: BTreeMap<String, (u64, u64)>,
    /// Lines of the log, with the number of the record that each tells.
    lines: Vec<(u64, Arc<str>)>,
    /// Records that tell of shares.
    traffic: Vec<Record>,
    /// What they come to; `None` when that is to be computed anew.
    shares: Option<Vec<ServiceShare>>,
    spec: Option<Arc<Spec>>,
    shown: Option<Arc<View>>,
    /// How many records it has of those that are known.
    shown_at: u64,
    /// Nobody follows it any more.
    ended: bool,
}

/// What has changed.
#[derive(Serialize)]
struct Change<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    head: Option<&'a Head>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pairs: BTreeMap<usize, &'a PairView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shares: Option<&'a [ServiceShare]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    capacity: Option<&'a [Serving]>,
}

/// What somebody who begins to look gets first.
pub struct Seen {
    /// How it is.
    pub view: Arc<View>,
    /// Lines of the log.
    pub lines: Vec<(u64, Arc<str>)>,
    /// Number of the next record.
    pub next: u64,
    /// What comes then.
    pub then: broadcast::Receiver<Told>,
}

impl Followed {
    /// Begins to follow a run.
    pub fn start(run: &str, store: Arc<dyn RunStore>, desk: Arc<dyn Desk>) -> Arc<Self> {
        let followed = Arc::new(Self {
            run: run.to_owned(),
            store,
            desk,
            known: Mutex::default(),
            told: broadcast::Sender::new(LATE),
            changed: Notify::new(),
            ready: watch::Sender::new(false),
        });
        let following = Arc::clone(&followed);
        let thread = std::thread::Builder::new().name("followed".into()).spawn(move || following.follow());
        if let Err(e) = thread {
            followed.fail(format!("there is no thread to follow it: {e}"));
        }
        tokio::spawn(tell(Arc::clone(&followed)));
        followed
    }

    /// Whether somebody who comes now would wait for nothing.
    pub fn has_ended(&self) -> bool {
        self.known().ended
    }

    /// Waits until all that has happened is known; why it cannot be.
    pub async fn ready(&self) -> Result<(), String> {
        let mut ready = self.ready.subscribe();
        // Its sender is here.
        let _ = ready.wait_for(|ready| *ready).await;
        self.known().failed.clone().map_or(Ok(()), Err)
    }

    /// Looks from a record on, or with the last lines; `None` when it is not known yet.
    pub fn look(&self, from: Option<u64>, last: usize) -> Option<Seen> {
        let mut known = self.known();
        if known.ended {
            return None;
        }
        let next = known.state.as_ref()?.records;
        if known.shown.is_none() {
            known.shown = Some(Arc::new(self.view(&mut known)?));
            known.shown_at = next;
        }
        // Lines are told at once, and what they change a moment later: whoever comes in between sees what the lines say.
        let view = match known.shown_at == next {
            true => known.shown.clone()?,
            false => Arc::new(self.view(&mut known)?),
        };
        let lines = match from {
            Some(from) => known.lines.iter().filter(|(seq, _)| *seq >= from).cloned().collect(),
            None => known.lines.iter().rev().take(last).rev().cloned().collect(),
        };
        Some(Seen { view, lines, next, then: self.told.subscribe() })
    }

    /// Lines of the log before a record, the last of them.
    pub fn lines_before(&self, before: u64, most: usize) -> Vec<(u64, Arc<str>)> {
        let known = self.known();
        let end = known.lines.partition_point(|(seq, _)| *seq < before);
        known.lines.iter().take(end).skip(end.saturating_sub(most)).cloned().collect()
    }

    /// Something beside the run has changed.
    pub fn refresh(&self) {
        self.changed.notify_one();
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, why: String) {
        let mut known = self.known();
        (known.failed, known.ended) = (Some(why), true);
        drop(known);
        self.ready.send_replace(true);
        self.end();
    }

    fn end(&self) {
        let _ = self.told.send(Told::End);
        self.changed.notify_one();
    }

    /// Ends it, unless somebody has come meanwhile.
    fn give_up(&self) -> bool {
        let mut known = self.known();
        known.ended = self.told.receiver_count() == 0;
        known.ended
    }

    fn follow(&self) {
        let mut kept = Follower::new(Arc::clone(&self.store), &self.run, 0);
        let mut seen = Instant::now();
        loop {
            // What is there is read at once; then it is waited for more.
            let patience = if *self.ready.borrow() { LOOK } else { Duration::ZERO };
            // Asked first: a controller that comes to its end meanwhile must not look as if it had died.
            let live = self.store.is_live(&self.run);
            let taken = kept.next(patience).map_err(|e| e.to_string());
            let taken = taken.and_then(|records| records.into_iter().try_for_each(|r| self.take(Notice::Recorded(r))));
            if let Err(why) = taken {
                return self.fail(why);
            }
            self.look_around(live);
            if self.told.receiver_count() > 0 {
                seen = Instant::now();
            }
            if seen.elapsed() > UNSEEN && self.give_up() {
                return self.end();
            }
            if live && *self.ready.borrow() {
                self.follow_live(&mut seen);
            }
        }
    }

    /// What its controller tells, until it ends or nobody looks any more.
    fn follow_live(&self, seen: &mut Instant) {
        let socket = self.store.socket(&self.run);
        if let Ok(Answer::Waiting(words)) = control::ask_run(self.store.as_ref(), &self.run, &Request::Waiting) {
            self.known().words = words;
            self.changed.notify_one();
        }
        let from = self.known().state.as_ref().map_or(0, |state| state.records);
        // Nobody there, or not any more: what it has written down is read as before.
        let _ = control::follow(&socket, from, |notice| {
            if self.told.receiver_count() > 0 {
                *seen = Instant::now();
            }
            self.take(notice).is_err() || seen.elapsed() > UNSEEN
        });
    }

    /// What is known beside the records.
    fn look_around(&self, live: bool) {
        let first = !*self.ready.borrow();
        let mut known = self.known();
        let has_changed = known.live != live;
        known.live = live;
        if !live {
            (known.words, known.parts) = Default::default();
        }
        let state = known.state.clone().filter(|_| first);
        drop(known);
        if first {
            if state.is_none() {
                return self.fail("it has no record yet".to_owned());
            }
            self.ready.send_replace(true);
        }
        if let Some(spec) = state.and_then(|state| self.desk.spec(&state)) {
            self.known().spec = Some(Arc::new(spec));
        }
        if first || has_changed || self.desk.errand(&self.run).is_some() {
            self.changed.notify_one();
        }
    }

    fn take(&self, notice: Notice) -> Result<(), String> {
        let mut known = self.known();
        known.words.take_in(&notice);
        match notice {
            Notice::Recorded(record) => return self.record(&mut known, record),
            Notice::Copying { step, progress } if progress.bytes_total > 0 => {
                known.parts.insert(step, (progress.bytes_done, progress.bytes_total));
            }
            Notice::Warning { what } => drop(self.told.send(Told::Line(None, format!("warning: {what}").into()))),
            Notice::Copying { .. } | Notice::Waiting { .. } | Notice::LettingGo { .. } | Notice::Paced { .. } => {}
        }
        self.changed.notify_one();
        Ok(())
    }

    fn record(&self, known: &mut Known, record: Record) -> Result<(), String> {
        let Some(state) = &mut known.state else {
            let graph = graph(self.store.as_ref(), &self.run, std::slice::from_ref(&record));
            let graph = Arc::new(graph.map_err(|e| e.to_string())?);
            known.log = Some(render::LogLines::new(&graph));
            known.state = Some(RunState::begin(record.clone(), graph).map_err(|e| e.to_string())?);
            known.say(&self.told, &record);
            return Ok(());
        };
        if record.seq < state.records {
            return Ok(());
        }
        state.apply(record.clone()).map_err(|e| e.to_string())?;
        if let Event::Outcome { step, .. } = &record.event {
            known.parts.remove(step);
        }
        known.say(&self.told, &record);
        if known.is_of_traffic(&record) {
            known.traffic.push(record);
            known.shares = None;
        }
        self.changed.notify_one();
        Ok(())
    }

    fn view(&self, known: &mut Known) -> Option<View> {
        let state = known.state.clone()?;
        let shares = match known.shares.take() {
            Some(shares) => shares,
            None => view::thinned(render::shares(&known.traffic, &state)),
        };
        let shares = known.shares.insert(shares);
        let beside = Beside {
            live: known.live,
            words: &known.words,
            parts: &known.parts,
            shares,
            spec: known.spec.as_deref(),
            stopped: self.desk.stopped(),
            errand: self.desk.errand(&self.run),
        };
        Some(View::new(&state, beside, Timestamp::now()))
    }

    /// Tells what has changed since it was told last.
    fn tell_changes(&self) {
        let mut known = self.known();
        let Some(view) = self.view(&mut known) else { return };
        known.shown_at = known.state.as_ref().map_or(0, |state| state.records);
        let before = known.shown.replace(Arc::new(view));
        let (Some(before), Some(now)) = (before, known.shown.clone()) else { return };
        let pairs = now.pairs.iter().zip(before.pairs.iter().map(Some).chain(std::iter::repeat(None))).enumerate();
        let pairs = pairs.filter(|(_, (now, before))| Some(*now) != *before).map(|(n, (now, _))| (n, now)).collect();
        let change = Change {
            head: (now.head != before.head).then_some(&now.head),
            pairs,
            shares: (now.shares != before.shares).then_some(&now.shares),
            capacity: (now.capacity != before.capacity).then_some(&now.capacity),
        };
        if let Some(json) = serde_json::to_string(&change).ok().filter(|json| json != "{}") {
            // Nobody may look.
            let _ = self.told.send(Told::Change(json.into()));
        }
    }
}

impl Known {
    fn say(&mut self, told: &broadcast::Sender<Told>, record: &Record) {
        let line = self.log.as_ref().and_then(|log| log.line(record));
        let line: Option<Arc<str>> = line.map(Into::into);
        self.lines.extend(line.clone().map(|line| (record.seq, line)));
        if let Some(line) = line.filter(|_| told.receiver_count() > 0) {
            let _ = told.send(Told::Line(Some(record.seq + 1), line));
        }
    }

    /// Whether it tells of what sets or counts traffic.
    fn is_of_traffic(&self, record: &Record) -> bool {
        let (Event::Intent { step, .. } | Event::Outcome { step, .. }) = &record.event else { return false };
        let step = self.state.as_ref().and_then(|state| state.graph.step(step));
        step.is_some_and(|step| matches!(step.kind, StepKind::Traffic(_) | StepKind::Watch(_)))
    }
}

/// Tells changes as they come, and no more of them than anybody can see.
async fn tell(followed: Arc<Followed>) {
    loop {
        // How long ago something was changes by itself.
        let _ = tokio::time::timeout(TICK, followed.changed.notified()).await;
        if followed.has_ended() {
            return;
        }
        let telling = Arc::clone(&followed);
        if followed.told.receiver_count() > 0 {
            let began = Instant::now();
            let _ = tokio::task::spawn_blocking(move || telling.tell_changes()).await;
            tokio::time::sleep(GAP.max(began.elapsed())).await;
        } else {
            // Who looks next gets all of it.
            followed.known().shown = None;
        }
    }
}
