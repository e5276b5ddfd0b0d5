//! Everything the engine acts on, behind traits, so that a simulated world can stand in its place.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use crate::clock::Clock;
use crate::copy::Copier;
use crate::health::Health;
use crate::secret::Secrets;
use crate::spec::model::Host;
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
    /// Directors by name.
    pub directors: BTreeMap<String, Arc<dyn Director>>,
    /// Secrets for hooks.
    pub secrets: Arc<dyn Secrets>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Leave to act.
    pub guard: Arc<dyn Guard>,
}

/// Whether this controller, and no other, may act.
#[async_trait]
pub trait Guard: Send + Sync {
    /// Asked right before every effect.
    fn check(&self) -> Result<(), Barred>;

    /// Returns once the leave to act is lost for good, with the reason.
    async fn lost(&self) -> String;
}

/// Why a controller must not act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Barred {
    /// Never again: another may be at work.
    #[error("{0}")]
    ForGood(String),
    /// Not at this moment.
    #[error("{0}")]
    ForNow(String),
}
