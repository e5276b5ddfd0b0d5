//! Everything the engine acts on, behind traits, so that a simulated world can stand in its place.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::alerts::Silences;
use crate::check::Health;
use crate::clock::Clock;
use crate::copy::Copier;
use crate::gate::Conditions;
use crate::host::{Hosts, SeenPlaces};
use crate::lock::Guard;
use crate::model::Host;
use crate::provider::Providers;
use crate::secret::Secrets;
use crate::traffic::Director;

/// What a run acts on.
#[derive(Clone)]
pub struct World {
    /// Hosts by name.
    pub hosts: Arc<BTreeMap<String, Host>>,
    /// What can be asked of hosts.
    pub remote: Arc<dyn Hosts>,
    /// Where the run's receipts have been seen.
    pub places: Arc<SeenPlaces>,
    /// Trees between hosts.
    pub copier: Arc<dyn Copier>,
    /// Checks.
    pub health: Arc<dyn Health>,
    /// Conditions of gates.
    pub conditions: Arc<dyn Conditions>,
    /// Directors by name.
    pub directors: Arc<BTreeMap<String, Arc<dyn Director>>>,
    /// Whom hosts are rented from.
    pub providers: Arc<dyn Providers>,
    /// Silences of alerts.
    pub silences: Arc<dyn Silences>,
    /// Secrets for hooks.
    pub secrets: Arc<dyn Secrets>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Leave to act.
    pub guard: Arc<dyn Guard>,
}

/// Gives each step the world that it acts on. The real one is the same for all; a simulated one wants to know whose call it is.
pub trait Worlds: Send + Sync {
    /// What the engine itself uses: the clock, and leave to act.
    fn for_engine(&self) -> World;

    /// What the step of that id acts on.
    fn for_step(&self, id: &str) -> World;
}

impl Worlds for World {
    fn for_engine(&self) -> World {
        self.clone()
    }

    fn for_step(&self, _id: &str) -> World {
        self.clone()
    }
}
