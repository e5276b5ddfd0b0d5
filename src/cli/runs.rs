//! The runs of the store, by name and by plan.

use std::path::PathBuf;

use super::environment::Environment;
use super::failure::advised;
use crate::event::{Event, IllegalTransition, Record, RunState, Started};
use crate::journal::{JournalError, format};
use crate::store::{self, RunStore, StoreError};
use crate::text;

/// A run, by how it began.
pub struct Run {
    /// Its name: the plan's name and a number.
    pub name: String,
    /// How and when it began; why that cannot be read.
    pub began: Result<(jiff::Timestamp, Box<Started>), StoreError>,
}

impl Run {
    /// What its records fold to.
    pub fn state(&self, environment: &Environment) -> Result<RunState, StoreError> {
        store::state(environment.store.as_ref(), &self.name)
    }

    /// Whether it is of that plan. One that cannot be read must not be passed over: it may be half done.
    pub fn is_of(&self, plan: &str) -> bool {
        match &self.began {
            Ok((_, started)) => started.plan == plan,
            Err(_) => {
                self.name.strip_prefix(plan).and_then(|n| n.strip_prefix('-')).is_some_and(|n| n.parse::<u32>().is_ok())
            }
        }
    }
}

/// Whether there is nothing left to do.
pub fn has_ended(state: &RunState) -> bool {
    state.status.is_over()
}

/// The file that holds every run on the machine while it is there.
pub fn stop_switch(environment: &Environment) -> PathBuf {
    environment.state_dir.join("STOP")
}

/// Why a run is paused while that file is there, with what the file says.
pub fn switch_words(environment: &Environment) -> String {
    let said = std::fs::read(stop_switch(environment)).unwrap_or_default();
    let said = said.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let is_there = is_there(environment);
    if said.is_empty() { is_there } else { format!("{is_there}: {}", text::escape(said, 500)) }
}

/// Whether a run was paused by that file.
pub fn is_of_switch(environment: &Environment, why: &str) -> bool {
    why.starts_with(&is_there(environment))
}

fn is_there(environment: &Environment) -> String {
    format!("{} is there", stop_switch(environment).display())
}

/// All runs, oldest first.
pub fn all(environment: &Environment) -> Result<Vec<Run>, StoreError> {
    let mut runs = Vec::new();
    for name in environment.store.runs()? {
        runs.extend(look(environment.store.as_ref(), name)?);
    }
    runs.sort_by(|a, b| age(a).cmp(&age(b)).then_with(|| a.name.cmp(&b.name)));
    Ok(runs)
}

/// How a run began. `None`: it never did, because its journal has no record and nothing of it was sealed.
fn look(store: &dyn RunStore, name: String) -> Result<Option<Run>, StoreError> {
    let first = first_record(store, &name);
    let began = match first {
        Ok(None) if store.checkpoints(&name)?.is_empty() => return Ok(None),
        Ok(None) => Err(no_beginning(store, &name)),
        Ok(Some(record)) => match record.event {
            Event::Started(started) => Ok((record.at, started)),
            _ => Err(no_beginning(store, &name)),
        },
        Err(e) => Err(e),
    };
    Ok(Some(Run { name, began }))
}

/// The first record of most runs is shorter than this.
const BEGINNING: usize = 64 << 10;

fn first_record(store: &dyn RunStore, run: &str) -> Result<Option<Record>, StoreError> {
    let (place, beginning) = (store.place(run), store.beginning(run, BEGINNING)?);
    match format::first(&place, &beginning)? {
        None if beginning.len() == BEGINNING => Ok(format::first(&place, &store.journal(run, 0)?)?),
        first => Ok(first),
    }
}

fn no_beginning(store: &dyn RunStore, run: &str) -> StoreError {
    let source = IllegalTransition { seq: 0, why: "a journal begins with `started`".into() };
    JournalError::Illegal { path: store.place(run), source }.into()
}

fn age(run: &Run) -> Option<jiff::Timestamp> {
    run.began.as_ref().ok().map(|(at, _)| *at)
}

/// The run of that name, or the newest run of the plan of that name.
pub fn find(environment: &Environment, name: &str) -> anyhow::Result<Run> {
    let is_it = |r: &Run| r.name == name || r.began.as_ref().is_ok_and(|(_, started)| started.plan == name);
    let found = all(environment)?.into_iter().rfind(is_it);
    found.ok_or_else(|| advised(format!("there is no run or plan named {name}"), "`migrate status` lists all runs"))
}

/// The newest run of a plan.
pub fn latest(environment: &Environment, plan: &str) -> anyhow::Result<Option<Run>> {
    Ok(all(environment)?.into_iter().rfind(|run| run.is_of(plan)))
}
