//! All runs, as a list: each is read on from where it was read to, and those that are over are not kept in mind.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::event::{Direction, Record, RunState};
use crate::render::RunRow;
use crate::store::{Follower, RunStore, StoreError, graph};

/// The list.
pub struct Runs {
    store: Arc<dyn RunStore>,
    known: Mutex<BTreeMap<String, Known>>,
}

/// A run in the list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// As `migrate runs` has it.
    #[serde(flatten)]
    pub row: RunRow,
    /// Its plan.
    pub plan: Option<String>,
    /// Whether a controller works on it.
    pub live: bool,
    /// Whether nothing can come any more.
    pub over: bool,
    /// Whether it goes back.
    pub back: bool,
    /// Who paused it, and why.
    pub paused: Option<String>,
    /// When something last happened.
    pub last: Option<Timestamp>,
}

struct Known {
    follower: Follower,
    state: Option<RunState>,
    row: Option<Row>,
}

impl Runs {
    /// Of a store.
    pub fn new(store: Arc<dyn RunStore>) -> Self {
        Self { store, known: Mutex::default() }
    }

    /// Whether there is a run of that name.
    pub fn has(&self, run: &str) -> bool {
        self.store.runs().is_ok_and(|runs| runs.iter().any(|name| name == run))
    }

    /// All of them, those that began last first. Waits for the disk.
    pub fn rows(&self) -> Result<Vec<Row>, StoreError> {
        let names = self.store.runs()?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|name, _| names.contains(name));
        let mut rows = Vec::new();
        for name in names {
            let live = self.store.is_live(&name);
            let run = known.entry(name.clone()).or_insert_with(|| self.unknown(&name));
            let row = match run.read_on(self.store.as_ref(), &name, live) {
                Ok(row) => row,
                Err(why) => {
                    // It is read from its beginning next time: it may have been put back by then.
                    *run = self.unknown(&name);
                    Some(Row::unreadable(&name, why, live))
                }
            };
            rows.extend(row);
        }
        rows.sort_by(|a, b| b.row.began.cmp(&a.row.began).then_with(|| a.row.run.cmp(&b.row.run)));
        Ok(rows)
    }

    fn unknown(&self, name: &str) -> Known {
        Known { follower: Follower::new(Arc::clone(&self.store), name, 0), state: None, row: None }
    }
}

impl Known {
    /// `None`: it has no record yet.
    fn read_on(&mut self, store: &dyn RunStore, name: &str, live: bool) -> Result<Option<Row>, String> {
        let mut records = self.follower.next(Duration::ZERO).map_err(|e| e.to_string())?;
        if let Some(row) = self.row.as_ref().filter(|row| records.is_empty() && row.over) {
            return Ok(Some(row.clone()));
        }
        if self.state.is_none() && self.row.is_some() {
            // It was over, and goes back now.
            records = crate::store::records(store, name).map_err(|e| e.to_string())?;
        }
        self.take(store, name, records)?;
        let Some(state) = &self.state else { return Ok(None) };
        let row = Row::new(name, state, live);
        if row.over {
            self.state = None;
        }
        self.row = Some(row.clone());
        Ok(Some(row))
    }

    fn take(&mut self, store: &dyn RunStore, name: &str, records: Vec<Record>) -> Result<(), String> {
        for record in records {
            match &mut self.state {
                Some(state) => state.apply(record).map_err(|e| e.to_string())?,
                None => {
                    let graph = graph(store, name, std::slice::from_ref(&record)).map_err(|e| e.to_string())?;
                    self.state = Some(RunState::begin(record, Arc::new(graph)).map_err(|e| e.to_string())?);
                }
            }
        }
        Ok(())
    }
}

impl Row {
    fn new(name: &str, state: &RunState, live: bool) -> Self {
        let paused = state.paused.as_ref().map(|p| format!("by {}@{}: {}", p.by.user, p.by.host, p.why));
        let over = state.status.is_over();
        Self {
            row: RunRow::new(name, Ok(state), live),
            plan: Some(state.started.plan.clone()),
            live,
            over,
            back: state.direction != Direction::Forward,
            paused: paused.filter(|_| !over),
            last: Some(state.last_at),
        }
    }

    fn unreadable(name: &str, why: String, live: bool) -> Self {
        let row = RunRow::new(name, Err(why), live);
        Self { row, plan: None, live, over: false, back: false, paused: None, last: None }
    }
}
