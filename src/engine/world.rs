//! Everything the engine acts on, behind traits, so that a simulated world can stand in its place.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::check::Health;
use crate::clock::Clock;
use crate::copy::Copier;
use crate::gate::Conditions;
use crate::lock::Guard;
use crate::model::Host;
use crate::secret::Secrets;
use crate::ssh::Remote;
use crate::traffic::Director;

/// What a run acts on.
pub struct World {
    /// Hosts by name.
    pub hosts: BTreeMap<String, Host>,
    /// Commands on hosts.
    pub remote: Arc<dyn Remote>,
    /// Trees between hosts.
    pub copier: Arc<dyn Copier>,
    /// Checks.
    pub health: Arc<dyn Health>,
    /// Conditions of gates.
    pub conditions: Arc<dyn Conditions>,
    /// Directors by name.
    pub directors: BTreeMap<String, Arc<dyn Director>>,
    /// Secrets for hooks.
    pub secrets: Arc<dyn Secrets>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Leave to act.
    pub guard: Arc<dyn Guard>,
}
