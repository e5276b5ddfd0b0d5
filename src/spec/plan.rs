//! Services, waves, and how they move.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::alerts::Silencing;
use crate::check::{Checks, HealthCheck, PoolRef, ServiceRef, SubjectName};
use crate::gate::Gate;
use crate::model::{
    Audit, Connections, DrainFence, Freeze, Govern, Hook, Limit, OnDeadline, OnDrift, OnFailure, Pair, Parity, Persist,
    Side, Strategy, Template, Until,
};
use crate::notify::Notify;
use crate::provider::ProviderConfig;
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
    /// What pairs and copies may do together that have a host in one place.
    pub limits: Vec<Limit>,
    /// How its runs can be accounted for.
    pub audit: Audit,
    /// Who is told of its runs.
    pub notify: Vec<Notify>,
}

/// What moves at the same time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wave {
    /// Name, unique in the plan.
    pub name: Arc<str>,
    /// Names of its services.
    pub services: Vec<String>,
    /// Pairs of these services.
    pub pairs: usize,
    /// Pairs that may be out of service (drained and not yet serving on the target) at once; at least 1.
    pub max_unavailable: usize,
    /// Pairs of each batch, all pairs together; none where they are not split.
    pub batches: Vec<usize>,
    /// Pause after the wave, before the next one.
    pub pause: Duration,
    /// Pairs that may fail before the wave's other pairs are held, too.
    pub failure_budget: usize,
    /// What becomes of pairs with a host that cannot be reached when a run is planned.
    pub unreachable: Unreachable,
}

/// What becomes of pairs with a host that cannot be reached when a run is planned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unreachable {
    /// The plan is refused.
    #[default]
    Refuse,
    /// They are left out, and count as failed.
    Budget,
}

impl Unreachable {
    /// As they are written.
    pub const WORDS: [(&str, Self); 2] = [("refuse", Self::Refuse), ("budget", Self::Budget)];
}

/// A group of source hosts and a group of target hosts that move together.
#[derive(Debug, Clone)]
pub struct Service {
    /// Name, unique in the plan.
    pub name: Arc<str>,
    /// How it moves.
    pub strategy: Strategy,
    /// Source and target hosts; each host at most once.
    pub pairs: Vec<Arc<Pair>>,
    /// Who decides where its traffic goes, in the order in which clients come to them. Empty: nothing directs traffic, only state moves.
    pub traffic: Vec<Traffic>,
    /// What must be carried over, in order.
    pub state: Vec<State>,
    /// How sources are emptied.
    pub drain: Drain,
    /// What must hold on a target, and of the service, before and while targets get traffic.
    pub health: Vec<Arc<HealthCheck>>,
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
    /// How long its pairs may be frozen; `None`: for as long as it takes.
    pub freeze: Option<Freeze>,
    /// Whether what a target takes is carried back to its source.
    pub reverse: Reverse,
    /// In what the hosts of a pair are to be alike, besides what is compared anyway.
    pub parity: Option<Parity>,
    /// Where clients are sent on to that still come to its sources; `None`: nobody is.
    pub relay: Option<Relay>,
    /// Which alerts are silenced while a pair moves; `None`: none are.
    pub silence: Option<Silencing>,
    /// How its sources are given back at last; `None`: they are kept.
    pub decommission: Option<Decommission>,
}

impl Service {
    /// Its checks of these hosts.
    pub fn checks_of(&self, hosts: impl IntoIterator<Item = SubjectName>) -> Checks {
        Checks::new(hosts, &self.health)
    }

    /// Its checks of itself.
    pub fn checks_of_itself(&self) -> Checks {
        Checks::new([self.subject()], &self.health)
    }

    /// What is asked of it to find the pace at which its connections may be let go.
    pub fn asked_for_its_pace(&self) -> Checks {
        Checks::new([self.subject()], &self.drain.asks)
    }

    /// Its checks of these hosts and of itself.
    pub fn all_checks(&self, hosts: impl IntoIterator<Item = SubjectName>) -> Checks {
        Checks::new(hosts.into_iter().chain([self.subject()]), &self.health)
    }

    /// Whether the hosts of a side get anything from a run: agents, receipts of commands, rules of a firewall.
    pub fn puts_on(&self, side: Side) -> bool {
        let hints = self.drain.connections.as_ref().is_some_and(|c| c.by.is_on_host());
        let fenced = side == Side::Source && (self.drain.fence.is_some() || self.relay.is_some());
        !self.state.is_empty() || hints || fenced || self.hooks.iter().any(|hook| hook.runs_on(side))
    }

    /// Whether anything runs on the hosts of a side, so that there must be a way in. Where only a director and what is asked from here
    /// have to do with a service, there need be none.
    pub fn logs_in_to(&self, side: Side) -> bool {
        let counts = self.port().is_some();
        let counts = counts || self.drain.connections.as_ref().is_some_and(|c| c.govern.contains(&Govern::Load));
        let counts = counts || side == Side::Source && self.decommission.as_ref().is_some_and(|d| !d.ports.is_empty());
        self.puts_on(side)
            || counts
            || self.parity.is_some()
            || self.health.iter().any(|check| check.probe.kind().logs_in())
    }

    /// Its local port on its hosts, where the plan says it: the same for all directors.
    pub fn port(&self) -> Option<&Template> {
        self.traffic.first()?.port.as_ref()
    }

    fn subject(&self) -> SubjectName {
        let through = self.traffic.first().map(Traffic::pool_ref);
        SubjectName::Service(ServiceRef { name: self.name.to_string(), through })
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

/// Where clients are sent on to that still come to sources which have left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// Template for the address of the new side, with a port or without; filled for the target.
    pub to: Template,
    /// Ports; none: that of its traffic.
    pub ports: Vec<u16>,
    /// How long nobody may have come before it is taken away.
    pub quiet_for: Duration,
    /// How often it is looked.
    pub interval: Duration,
    /// What happens when it is found gone.
    pub on_drift: OnDrift,
}

/// How sources are given back to whom they are rented from.
#[derive(Debug, Clone, PartialEq)]
pub struct Decommission {
    /// To whom, and on which terms.
    pub provider: ProviderConfig,
    /// How long nobody may have been on a source before.
    pub quiet_for: Duration,
    /// How often it is looked.
    pub interval: Duration,
    /// Ports at which nobody may be, besides those of its traffic.
    pub ports: Vec<u16>,
    /// How its disks are wiped before it goes; `None`: that is left to the provider.
    pub wipe: Option<Wipe>,
}

/// How the disks of a source are wiped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wipe {
    /// The shell command on the source.
    pub run: Template,
    /// A command that exits 0 only where nothing is left, and prints what shows that.
    pub proof: Template,
    /// How long wiping may take.
    pub timeout: Duration,
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Drain {
    /// How long connections may take to end by themselves.
    pub deadline: Duration,
    /// What happens at the deadline.
    pub on_deadline: OnDeadline,
    /// How often connections are counted.
    pub interval: Duration,
    /// What keeps new clients from it that come by another way.
    pub fence: Option<DrainFence>,
    /// What is done about connections that do not end by themselves.
    pub connections: Option<Connections>,
    /// What is asked of the service, besides, to find the pace of that.
    pub asks: Vec<Arc<HealthCheck>>,
}

/// How the targets' share rises.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shift {
    /// Percent of what sources and targets get together, rising, the last one 100. In a cutover: of the target's full weight.
    pub steps: Vec<u8>,
    /// Watch time after each step, with health checks in between.
    pub hold: Duration,
}
