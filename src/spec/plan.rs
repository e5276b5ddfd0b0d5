//! Services, waves, and how they move.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::check::{Checks, HealthCheck, PoolRef, ServiceRef, SubjectName};
use crate::gate::Gate;
use crate::model::{Audit, DrainFence, Hook, OnDeadline, OnDrift, OnFailure, Pair, Persist, Strategy, Template, Until};
use crate::state::State;

/// What moves where, and under which rules.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Name of the migration; runs are filed under it.
    pub name: String,
    /// One line for people.
    pub description: Option<String>,
    /// Services in the order of the file.
    pub services: Vec<Service>,
    /// Waves in execution order; each service is in exactly one.
    pub waves: Vec<Wave>,
    /// Pairs that may fail in all before everything is held; `None` leaves it to the waves.
    pub failure_budget: Option<usize>,
    /// Bytes per second of all copies together, `None` for no limit.
    pub total_bandwidth: Option<u64>,
    /// How its runs can be accounted for.
    pub audit: Audit,
}

/// What moves at the same time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wave {
    /// Name, unique in the plan.
    pub name: String,
    /// Names of its services.
    pub services: Vec<String>,
    /// Pairs that may be out of service (drained and not yet serving on the target) at once; at least 1.
    pub max_unavailable: usize,
    /// Pause after the wave, before the next one.
    pub pause: Duration,
    /// Pairs that may fail before the wave's other pairs are held, too.
    pub failure_budget: usize,
}

/// A group of source hosts and a group of target hosts that move together.
#[derive(Debug, Clone)]
pub struct Service {
    /// Name, unique in the plan.
    pub name: String,
    /// How it moves.
    pub strategy: Strategy,
    /// Source and target hosts; each host at most once.
    pub pairs: Vec<Pair>,
    /// Who decides where its traffic goes. `None`: nothing directs traffic, only state moves.
    pub traffic: Option<Traffic>,
    /// What must be carried over, in order.
    pub state: Vec<State>,
    /// How sources are emptied.
    pub drain: Drain,
    /// What must hold on a target, and of the service, before and while targets get traffic.
    pub health: Vec<HealthCheck>,
    /// How weights rise.
    pub shift: Shift,
    /// Commands around the phases.
    pub hooks: Vec<Hook>,
    /// Percent of the sources' capacity that must serve at every moment; `None`: all but the largest host (N+1).
    pub min_capacity: Option<u8>,
    /// Questions before the phases.
    pub gates: Vec<Gate>,
    /// What happens when a step of it fails.
    pub on_failure: OnFailure,
    /// What happens with settings that only last until its director starts anew.
    pub persist: Persist,
    /// Whether what a target takes is carried back to its source.
    pub reverse: Reverse,
}

impl Service {
    /// Its checks of these hosts.
    pub fn checks_of<'a>(&self, hosts: impl IntoIterator<Item = &'a String>) -> Checks {
        Checks::new(hosts.into_iter().map(|host| SubjectName::Host(host.clone())), &self.health)
    }

    /// Its checks of itself.
    pub fn checks_of_itself(&self) -> Checks {
        Checks::new([self.subject()], &self.health)
    }

    /// Its checks of these hosts and of itself.
    pub fn all_checks<'a>(&self, hosts: impl IntoIterator<Item = &'a String>) -> Checks {
        let hosts = hosts.into_iter().map(|host| SubjectName::Host(host.clone()));
        Checks::new(hosts.chain([self.subject()]), &self.health)
    }

    fn subject(&self) -> SubjectName {
        let through = self.traffic.as_ref().map(Traffic::pool_ref);
        SubjectName::Service(ServiceRef { name: self.name.clone(), through })
    }
}

/// Whether what a target takes is carried back to its source, so that there is a way back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reverse {
    /// Nothing comes back.
    Off {
        /// Why, as the end of a sentence; empty where there is nothing that could.
        why: String,
    },
    /// It is, at least until the target has its full share and the last watch has passed.
    On(Until),
}

impl Reverse {
    /// When the way back ends, where there is one.
    pub fn until(&self) -> Option<Until> {
        match self {
            Self::Off { .. } => None,
            Self::On(until) => Some(*until),
        }
    }
}

/// The binding of a service to a director.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Inventory name of the director.
    pub director: String,
    /// HAProxy backend, or DNS owner name.
    pub pool: String,
    /// Template for a host's member name in the pool: server name, or address.
    pub member: Template,
    /// Template for the address that members have at the director; `None`: any that the inventory knows of the host.
    pub address: Option<Template>,
    /// Whether sources need not be in service in the pool.
    pub absent_sources: bool,
    /// Whether members that no host of the plan has are meant to stay.
    pub others_stay: bool,
    /// Local port of the service, so that connections can be counted on the host itself where the director cannot.
    pub port: Option<Template>,
    /// DNS only: the TTL during the move. `None` leaves the TTL as it is.
    pub ttl: Option<Duration>,
    /// What happens when a member is found otherwise than the run has set it.
    pub on_drift: OnDrift,
}

impl Traffic {
    /// The pool of the director.
    pub fn pool_ref(&self) -> PoolRef {
        PoolRef { director: self.director.clone(), pool: self.pool.clone() }
    }
}

/// How a source is emptied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// How long connections may take to end by themselves.
    pub deadline: Duration,
    /// What happens at the deadline.
    pub on_deadline: OnDeadline,
    /// How often connections are counted.
    pub interval: Duration,
    /// What keeps new clients from it that come by another way.
    pub fence: Option<DrainFence>,
}

/// How the targets' share rises.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shift {
    /// Percent of what sources and targets get together, rising, the last one 100. In a cutover: of the target's full weight.
    pub steps: Vec<u8>,
    /// Watch time after each step, with health checks in between.
    pub hold: Duration,
}
