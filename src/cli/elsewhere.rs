//! What an earlier controller began on its own machine, when that is not this one: whether it ran stands there, and nobody here can tell.
//!
//! Owns the refusal of such commands. Must never let a command run here that may have run there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::engine::{World, Worlds};
use crate::event::{Event, Record, RunState, StepResult};
use crate::host::{Command, ConnectionCount, Facts, Hosts, Output, ReceiptKey, ReceiptStatus, TreeExtent, TreeSize};
use crate::model::{CONTROLLER, Host};
use crate::outside::{Error, Kind};
use crate::store::{self, RunStore, StoreError};

/// Steps whose last attempt was begun by a controller that has its receipts elsewhere, and whose end is not known.
pub fn begun(store: &dyn RunStore, run: &str, state: &RunState) -> Result<BTreeSet<String>, StoreError> {
    let is_open = |id: &str| state.step(id).is_some_and(|record| record.in_flight || record.unclear);
    if !state.graph.steps.iter().any(|step| is_open(&step.id)) {
        return Ok(BTreeSet::new());
    }
    open_elsewhere(store, run, &store::records(store, run)?)
}

fn open_elsewhere(store: &dyn RunStore, run: &str, records: &[Record]) -> Result<BTreeSet<String>, StoreError> {
    let mut open: BTreeMap<&str, u64> = BTreeMap::new();
    for record in records {
        let Some(step) = record.event.step() else { continue };
        if matches!(record.event, Event::Intent { .. }) {
            // The first of several attempts under one key.
            open.entry(step).or_insert(record.seq);
        } else if !matches!(&record.event, Event::Outcome { result: StepResult::Unknown { .. }, .. }) {
            open.remove(step);
        }
    }
    let mut elsewhere = BTreeSet::new();
    for (step, record) in open {
        if !store.receipts_are_here(run, record)? {
            elsewhere.insert(step.to_owned());
        }
    }
    Ok(elsewhere)
}

/// A world in which those steps get no command onto this machine.
pub struct Elsewhere {
    world: World,
    steps: BTreeSet<String>,
}

impl Elsewhere {
    /// The world, but for these steps.
    pub fn new(world: World, steps: BTreeSet<String>) -> Self {
        Self { world, steps }
    }
}

impl Worlds for Elsewhere {
    fn for_engine(&self) -> World {
        self.world.clone()
    }

    fn for_step(&self, id: &str) -> World {
        match self.steps.contains(id) {
            true => World { remote: Arc::new(NotHere(Arc::clone(&self.world.remote))), ..self.world.clone() },
            false => self.world.clone(),
        }
    }
}

/// Hosts, but that nothing is known of commands on the controller's machine.
struct NotHere(Arc<dyn Hosts>);

fn check(host: &Host) -> Result<(), Error> {
    if host.name != CONTROLLER {
        return Ok(());
    }
    let what = "an earlier controller began this command on its own machine, which is another: whether it ran is known there alone";
    Err(Error::new(&host.name, Kind::Refused, what).hint(
        "look there: `migrate apply` on that machine goes on by itself; or say here what became of it with `migrate resolve RUN STEP --done` or `--not-done`",
    ))
}

#[async_trait]
impl Hosts for NotHere {
    async fn query(&self, host: &Host, command: &Command) -> Result<Output, Error> {
        self.0.query(host, command).await
    }

    async fn start(
        &self,
        host: &Host,
        key: &ReceiptKey,
        fence: u64,
        command: &Command,
        wait: Duration,
    ) -> Result<ReceiptStatus, Error> {
        check(host)?;
        self.0.start(host, key, fence, command, wait).await
    }

    async fn fetch(&self, host: &Host, key: &ReceiptKey, fence: u64, wait: Duration) -> Result<ReceiptStatus, Error> {
        check(host)?;
        self.0.fetch(host, key, fence, wait).await
    }

    async fn seal(&self, host: &Host, key: &ReceiptKey, fence: u64) -> Result<ReceiptStatus, Error> {
        check(host)?;
        self.0.seal(host, key, fence).await
    }

    async fn forget(&self, host: &Host, run: &str) -> Result<(), Error> {
        self.0.forget(host, run).await
    }

    async fn connections(&self, host: &Host, address: Option<IpAddr>, port: u16) -> Result<ConnectionCount, Error> {
        self.0.connections(host, address, port).await
    }

    async fn facts(&self, host: &Host, paths: &[String]) -> Result<Facts, Error> {
        self.0.facts(host, paths).await
    }

    async fn tree_size(&self, host: &Host, path: &str, extent: TreeExtent) -> Result<TreeSize, Error> {
        self.0.tree_size(host, path, extent).await
    }
}
