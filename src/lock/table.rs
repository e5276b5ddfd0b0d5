//! The table of leases: changed as a whole, so that all locks of a run are had at once or none.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::clock;
use super::lease::Lease;
use super::owner::Owner;
use super::witness::Ended;
use crate::event::Operator;
use crate::text;

/// How long a lease lasts without being renewed.
pub const LENGTH: Duration = Duration::from_secs(60);
/// Clocks of machines that share a state directory may be that far apart.
const SKEW: Duration = Duration::from_secs(10);
const FORMAT: u32 = 1;

/// Why something cannot be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another controller works on it.
    #[error(
        "{name} is locked by {}, since {} for `{}`{}; {}",
        grant.owner, shown(grant.since), text::escape(grant.why.as_bytes(), 200), grant.of_run(), grant.rest_in_words(here)
    )]
    Held {
        /// The lock.
        name: String,
        /// Who has it.
        grant: Box<Grant>,
        /// Who asks.
        here: Box<Owner>,
    },
    /// There is no such lock.
    #[error("nothing named {name} is locked")]
    NotHeld {
        /// What was asked for.
        name: String,
    },
    /// The table stays in use.
    #[error(
        "{path} has been in use for {} by another process, which may have been stopped in the middle of it",
        text::duration(*waited)
    )]
    Busy {
        /// The file.
        path: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The table cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The store that keeps the table does not do what it should.
    #[error("{place}: {why}")]
    Store {
        /// Where it is.
        place: String,
        /// Why.
        why: String,
        /// What to do next.
        hint: String,
    },
    /// The table is none.
    #[error("{path} is damaged: {why}")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
}

impl LockError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Held { name, .. } => format!(
                "let it come to its end, or stop it there with Ctrl-C; only when it hangs for good: `migrate lock break {name} --yes`, after which it does nothing more"
            ),
            Self::NotHeld { .. } => "`migrate lock show` lists what is".into(),
            Self::Busy { path, .. } => format!("`fuser {path}` names the process: let it go on (kill -CONT) or end it"),
            Self::Store { hint, .. } => hint.clone(),
            Self::Io { .. } => "nothing was begun; make room or mend the rights, or choose another --state-dir".into(),
            Self::Damaged { path, .. } => format!(
                "make sure that no `migrate` runs on this state directory, then remove {path}: fence numbers go on from the clock, above all earlier ones"
            ),
        })
    }
}

/// A lease as it stands in the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Its fence number: larger than that of every lease before.
    pub fence: u64,
    /// What it is over.
    pub names: BTreeSet<String>,
    /// Who has it.
    pub owner: Owner,
    /// The run, once there is one.
    pub run: Option<String>,
    /// The command.
    pub why: String,
    /// When it was got.
    pub since: Timestamp,
    /// When it ends unless it is renewed.
    pub expires: Timestamp,
    /// The same on the clock of the owner's machine, in milliseconds since its start.
    pub expires_since_boot: u64,
    /// How long it lasts without being renewed, in milliseconds; 0 in tables of older programs.
    #[serde(default)]
    pub lasts_ms: u64,
    /// Whether it is held for a record or two that somebody writes by hand.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_hand: bool,
}

/// What somebody wants to lock.
#[derive(Debug, Clone)]
pub struct Claim<'a> {
    /// All at once, or none.
    pub names: BTreeSet<String>,
    /// The command.
    pub why: &'a str,
    /// Whether it is for a record or two that are written by hand.
    pub by_hand: bool,
    /// A lease that may stand in the way, and was seen to end.
    pub ended: Option<Ended>,
}

/// Whether a lease is in force, as far as it can be known from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Validity {
    /// In force.
    Held,
    /// Its owner is gone: the next run takes it over at once.
    Dead,
    /// Not renewed in time: the next run takes it over at once.
    Expired,
}

impl Grant {
    /// Whether it is in force.
    pub fn validity(&self, here: &Owner) -> Validity {
        if self.owner.is_dead(here) {
            Validity::Dead
        } else if self.rest(here).is_zero() {
            Validity::Expired
        } else {
            Validity::Held
        }
    }

    /// How long it lasts unless it is renewed.
    pub fn rest(&self, here: &Owner) -> Duration {
        if self.owner.shares_boot(here) {
            return Duration::from_millis(self.expires_since_boot).saturating_sub(clock::since_boot());
        }
        Duration::try_from(Timestamp::now().duration_until(self.expires + SKEW)).unwrap_or_default()
    }

    fn of_run(&self) -> String {
        self.run.as_ref().map(|r| format!(" (run {r})")).unwrap_or_default()
    }

    fn rest_in_words(&self, here: &Owner) -> String {
        format!("unless renewed its lease ends in {}", text::duration(self.rest(here)))
    }

    pub(super) fn renew(&mut self, length: Duration) {
        let ends = clock::since_boot() + length;
        // Rounded up: nobody may take it for ended before its holder does.
        self.expires_since_boot = u64::try_from(ends.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        self.expires = Timestamp::now() + length;
        self.lasts_ms = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    }
}

/// All leases, as they are kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Table {
    format: u32,
    /// The number of the last lease.
    fence: u64,
    pub(super) held: Vec<Grant>,
    /// Lines for the history of what a change does; the keeper adds them to it before the change shows.
    #[serde(skip)]
    pub happened: Vec<String>,
}

impl Table {
    /// The table of a place that has none. Numbers go on from the clock: nobody gets leases faster than milliseconds pass.
    pub fn first() -> Self {
        let fence = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default();
        Self { format: FORMAT, fence, held: Vec::new(), happened: Vec::new() }
    }

    /// Reads one as it is kept; an error says why it is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let table: Self = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        match table.format {
            ..=FORMAT => Ok(table),
            newer => Err(format!("it has format {newer}; this program reads up to {FORMAT}")),
        }
    }

    /// As it is kept.
    pub fn to_bytes(&self) -> Result<Vec<u8>, std::io::Error> {
        Ok(serde_json::to_vec_pretty(self)?)
    }

    /// Every lease that is held.
    pub fn held(&self) -> &[Grant] {
        &self.held
    }
}

/// What changes a table, or refuses to. It is asked again when somebody else was faster.
pub type Change<'a> = &'a mut dyn FnMut(&mut Table) -> Result<(), LockError>;

/// Keeps a table of leases where every controller that may meet another sees it.
pub trait LockTable: std::fmt::Debug + Send + Sync {
    /// Where it is, for people.
    fn place(&self) -> String;

    /// The table as it is now, never an older one; `None` when there has been none.
    fn read(&self) -> Result<Option<Table>, LockError>;

    /// Changes it alone: nobody else has changed it between what `change` is given and what is kept. Durable when it returns; an error
    /// changes nothing.
    fn change(&self, change: Change<'_>) -> Result<(), LockError>;

    /// The shortest lease that it can keep: where a table can be out of reach for some seconds, a lease has to outlast that.
    fn shortest(&self) -> Duration {
        Duration::ZERO
    }

    /// Whether what is appended to a run of this store lands only while the lease of who appends is in the table: the store itself looks, in
    /// the same moment. Then nobody has to look before.
    fn binds_writers(&self) -> bool {
        false
    }
}

/// One line of the history.
#[derive(Serialize)]
struct Happened<'a> {
    at: Timestamp,
    what: &'static str,
    by: &'a Owner,
    #[serde(flatten)]
    grant: &'a Grant,
}

/// The locks of a store, as one process sees them.
#[derive(Debug, Clone)]
pub struct Locks {
    table: Arc<dyn LockTable>,
    here: Owner,
    length: Duration,
}

impl Locks {
    /// Touches nothing yet.
    pub fn new(table: Arc<dyn LockTable>, operator: &Operator, length: Duration) -> Self {
        let length = length.max(table.shortest());
        Self { table, here: Owner::this(operator), length }
    }

    /// This process, as locks know it.
    pub fn here(&self) -> &Owner {
        &self.here
    }

    pub(super) fn length(&self) -> Duration {
        self.length
    }

    pub(super) fn binds_writers(&self) -> bool {
        self.table.binds_writers()
    }

    /// Everything that is locked, oldest first. Writes nothing.
    pub fn show(&self) -> Result<Vec<Grant>, LockError> {
        Ok(self.table.read()?.map(|t| t.held).unwrap_or_default())
    }

    /// Gets all of these at once, or none. What dead owners and leases that have run out still hold is taken over.
    pub fn acquire(&self, names: BTreeSet<String>, why: &str) -> Result<Lease, LockError> {
        self.claim(Claim { names, why, by_hand: false, ended: None })
    }

    /// The same in full.
    pub fn claim(&self, Claim { names, why, by_hand, ended }: Claim<'_>) -> Result<Lease, LockError> {
        let (grant, taken) = self.change(|table| {
            let overlaps = |e: &Grant| e.names.intersection(&names).next().cloned();
            for grant in &table.held {
                if let Some(name) = overlaps(grant)
                    && grant.validity(&self.here) == Validity::Held
                    && !ended.is_some_and(|ended| ended.is(grant))
                {
                    let (grant, here) = (Box::new(grant.clone()), Box::new(self.here.clone()));
                    return Err(LockError::Held { name, grant, here });
                }
            }
            let taken: Vec<Grant> = table.held.extract_if(.., |e| overlaps(e).is_some()).collect();
            // Whoever goes on for one that was seen to end has its run, whatever comes in between.
            let went_on = taken.iter().find(|grant| ended.is_some_and(|ended| ended.is(grant)));
            let run = went_on.and_then(|grant| grant.run.clone());
            table.fence = table.fence.saturating_add(1);
            let mut grant = Grant {
                fence: table.fence,
                names: names.clone(),
                owner: self.here.clone(),
                run,
                why: why.to_owned(),
                since: Timestamp::now(),
                expires: Timestamp::now(),
                expires_since_boot: 0,
                lasts_ms: 0,
                by_hand,
            };
            grant.renew(self.length);
            table.held.push(grant.clone());
            table.happened.extend(taken.iter().map(|old| self.line("taken over", old)));
            table.happened.push(self.line("acquired", &grant));
            Ok((grant, taken))
        })?;
        Ok(Lease::start(self.clone(), grant, taken))
    }

    /// Takes a lock from its holder, whatever it does: all that its lease is over is free, and it does nothing more.
    /// The number that it had is no use any more.
    pub fn break_lock(&self, name: &str) -> Result<Grant, LockError> {
        self.change(|table| {
            let Some(at) = table.held.iter().position(|e| e.names.contains(name)) else {
                return Err(LockError::NotHeld { name: name.to_owned() });
            };
            let grant = table.held.remove(at);
            table.fence = table.fence.saturating_add(1);
            table.happened.push(self.line("broken", &grant));
            Ok(grant)
        })
    }

    pub(super) fn release(&self, fence: u64) -> Result<(), LockError> {
        self.change(|table| {
            let released: Vec<Grant> = table.held.extract_if(.., |e| e.fence == fence).collect();
            table.happened.extend(released.iter().map(|grant| self.line("released", grant)));
            Ok(())
        })
    }

    /// The lease of that number, if it is still there.
    pub(super) fn find(&self, fence: u64) -> Result<Option<Grant>, LockError> {
        Ok(self.table.read()?.and_then(|t| t.held.into_iter().find(|e| e.fence == fence)))
    }

    /// Changes the table as a whole, alone; an error changes nothing.
    pub(super) fn change<T>(&self, mut f: impl FnMut(&mut Table) -> Result<T, LockError>) -> Result<T, LockError> {
        let mut out = None;
        self.table.change(&mut |table| {
            table.happened.clear();
            out = Some(f(table)?);
            Ok(())
        })?;
        // A keeper that says yes without having asked is none.
        out.ok_or_else(|| LockError::Damaged { path: self.table.place(), why: "it was not changed".to_owned() })
    }

    /// A line of the history, which is never cut.
    fn line(&self, what: &'static str, grant: &Grant) -> String {
        let happened = Happened { at: Timestamp::now(), what, by: &self.here, grant };
        serde_json::to_string(&happened).unwrap_or_default()
    }
}

fn shown(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}
