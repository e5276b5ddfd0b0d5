//! What every kind of director says of itself, before one is asked.
//!
//! Owns the trait behind which config and planner see a kind. Must never contact anybody.

use std::sync::Arc;
use std::time::Duration;

use super::{Context, Director};
use crate::fields::template::Unfit;
use crate::model::finding::Finding;
use crate::model::{Capabilities, Change, Kept, Member, Pool, PoolFacts, Strategy};
use crate::outside::{Error, Kind};

/// The settings of a director of one kind, and what follows from them alone.
pub trait DirectorKind: Send + Sync {
    /// What people call this kind: `HAProxy`.
    fn title(&self) -> &'static str;

    /// What directors of this kind can do.
    fn capabilities(&self) -> Capabilities;

    /// The member that a host is unless the plan says otherwise: a template.
    fn default_member(&self) -> &'static str;

    /// The pool that a plan names: one name, in however many ways it can be written, so that services which share it are seen to.
    /// The director itself takes the same names.
    fn pool_name(&self, written: &str) -> Result<String, Unfit>;

    /// Whether a member can be called this. The director itself takes the same names.
    fn check_member(&self, name: &str) -> Result<(), Unfit>;

    /// What to do about a member that the pool does not have, where none are added.
    fn missing_member(&self) -> &'static str {
        "add it to the director's configuration, or correct `member` in the plan"
    }

    /// What must be known about a pool before a move begins. A finding that is refused keeps the plan from being applied.
    fn advice(&self, _intent: &Intent<'_>) -> Vec<Finding> {
        Vec::new()
    }

    /// Whether members stay as they are set when the director starts anew, by what was seen.
    fn kept(&self, _facts: &PoolFacts, _wanted: &[Change]) -> Kept {
        Kept::noted("the director does not tell what a restart makes of it")
    }

    /// What of a pool as it runs a restart would make otherwise, by what was seen.
    fn restarted(&self, _facts: &PoolFacts, _now: &Pool) -> Kept {
        Kept::default()
    }

    /// Why what it reads when it starts cannot be changed by a run, and what to do about it.
    fn cannot_write(&self) -> Option<Unfit> {
        None
    }

    /// The director behind the settings. Contacts nobody yet; an error when the settings cannot work.
    fn connect(&self, name: &str, context: &Context) -> Result<Arc<dyn Director>, Error>;
}

/// What a plan is going to do with a pool.
#[derive(Debug, Clone)]
pub struct Intent<'a> {
    /// Name of the director in the inventory.
    pub director: &'a str,
    /// The pool.
    pub pool: &'a str,
    /// The pool as it is now; `None` when nobody has looked.
    pub now: Option<&'a Pool>,
    /// What decides who gets how much; `None` when nobody has looked.
    pub facts: Option<&'a PoolFacts>,
    /// How its members move.
    pub strategy: Strategy,
    /// The members that shall lose its traffic.
    pub sources: Vec<&'a str>,
    /// The members that shall get it.
    pub targets: Vec<&'a str>,
    /// Its members that no host of the plan has.
    pub others: Vec<&'a Member>,
    /// Whether the plan says that these may stay.
    pub others_stay: bool,
    /// The steps in which targets get their share, in percent.
    pub steps: &'a [u8],
    /// What the steps give, one after the other, where all pairs move together.
    pub shares: &'a [ReachedShare],
    /// How long each step is watched.
    pub hold: Duration,
}

/// What a step gives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReachedShare {
    /// What the plan wants, in percent.
    pub wanted: u8,
    /// What weights give, in percent.
    pub reached: f64,
    /// Whether it sets anything that the one before did not.
    pub new: bool,
}

impl Intent<'_> {
    /// What a finding is about.
    pub fn about(&self) -> String {
        format!("{} {}", self.director, self.pool)
    }
}

/// The error of a director that was asked for a pool or a member of a name that none can have.
pub(super) fn misnamed(director: &str, name: &str, unfit: Unfit) -> Error {
    Error::new(director, Kind::Refused, unfit.sentence(name)).hint(unfit.hint)
}
