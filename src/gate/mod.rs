//! Gates: a list of conditions that must hold before a run goes on. One file a kind of condition.
//!
//! Owns the closed list of kinds ([`Condition`]): their settings, how they are read, asked and told. Must never take a condition of which
//! nobody can tell whether it holds for one that does, nor for one that does not.

mod approvals;
mod compare;
mod not_before;
mod prometheus;
mod window;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::fields::kinds::kinds;
use crate::fields::template::Use;
use crate::metrics::Reader;
use crate::model::finding::Finding;
use crate::model::{HookPoint, Host, OnFailure};
use crate::text;
use crate::yaml::map::Map;

pub use approvals::Approvals;
pub use compare::Compare;
pub use not_before::NotBefore;
pub use prometheus::Prometheus;
pub use window::Window;

/// What every kind of condition can do.
#[async_trait]
pub trait ConditionKind: Send + Sync {
    /// What it waits for, as the end of a sentence that begins with "until".
    fn describe(&self) -> String;

    /// Asks once.
    async fn ask(&self, around: &dyn Surroundings, clients: &Clients) -> Answer;

    /// Time from one question to the next.
    fn every(&self) -> Duration {
        Duration::ZERO
    }

    /// The same with its variables filled in for the pairs behind the gate: all of what it gives must hold. `None` where it has none.
    fn filled(&self, _: &[Sides<'_>]) -> Option<Result<Vec<Condition>, Finding>> {
        None
    }

    /// Whether it measures something, which can fall silent or say no for good: a rehearsal plays that. People and the calendar only say
    /// when; in a rehearsal they say yes at once.
    fn measures(&self) -> bool {
        true
    }
}

/// The hosts of a pair that a gate stands before.
#[derive(Debug, Clone, Copy)]
pub struct Sides<'a> {
    /// The host that is left.
    pub source: &'a Host,
    /// The host that takes over.
    pub target: &'a Host,
}

/// What kinds of conditions ask with.
#[derive(Clone)]
pub struct Clients {
    /// Numbers.
    pub metrics: Arc<Reader>,
}

/// What conditions may ask of the world around a gate.
pub trait Surroundings: Send + Sync {
    /// The time of the calendar.
    fn now(&self) -> Timestamp;

    /// How long the gate has been asking.
    fn asking(&self) -> Duration;

    /// The words of each who has said yes to the gate, with the name: `ada@desk: it looks good`.
    fn approvals(&self) -> Vec<String>;

    /// The command with which somebody says yes to it.
    fn approve_with(&self) -> String;
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// It does.
    Yes,
    /// It does not, and may come to by waiting.
    NotYet,
    /// It does not, and waiting does not change that.
    No,
    /// Nobody can tell.
    Unknown,
}

/// What a condition says when it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whether it holds.
    pub holds: Holds,
    /// What it wants, in a few words: `approval`.
    pub wants: String,
    /// What it saw, or why it saw nothing: `0 of 1`. Empty where that is only the clock, which everybody has.
    pub saw: String,
    /// What somebody can do about it.
    pub help: Option<String>,
}

impl Answer {
    /// An answer that nobody can do anything about but wait.
    pub fn new(holds: Holds, wants: impl Into<String>, saw: impl Into<String>) -> Self {
        Self { holds, wants: wants.into(), saw: saw.into(), help: None }
    }

    /// What is missing, for people.
    pub fn missing(&self) -> String {
        match (self.holds, self.saw.as_str()) {
            (Holds::Unknown, why) => format!("{}, which nobody can tell: {why}", self.wants),
            (Holds::Yes | Holds::NotYet | Holds::No, "") => self.wants.clone(),
            (Holds::Yes | Holds::NotYet | Holds::No, saw) => format!("{} ({saw})", self.wants),
        }
    }
}

/// Asks conditions.
#[async_trait]
pub trait Conditions: Send + Sync {
    /// Asks one, once.
    async fn ask(&self, condition: &Condition, around: &dyn Surroundings) -> Answer;
}

/// Lets every condition ask the real world by itself.
pub struct Asker(Clients);

impl Asker {
    /// One that reads numbers there.
    pub fn new(metrics: Arc<Reader>) -> Self {
        Self(Clients { metrics })
    }
}

#[async_trait]
impl Conditions for Asker {
    async fn ask(&self, condition: &Condition, around: &dyn Surroundings) -> Answer {
        condition.kind().ask(around, &self.0).await
    }
}

/// A question that must be answered yes before a pair goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// Where it stands.
    pub at: HookPoint,
    /// What must hold, all at the same time.
    pub conditions: Vec<Condition>,
    /// How long may pass until it opens; `None`: any time.
    pub within: Option<Duration>,
    /// What happens when it did not open in time; `None`: as the service says.
    pub on_failure: Option<OnFailure>,
}

impl Gate {
    /// A gate that somebody has to open, whenever that is.
    pub fn for_approval(at: HookPoint) -> Self {
        let conditions = vec![Condition::Approvals(Approvals { needed: 1 })];
        Self { at, conditions, within: None, on_failure: None }
    }

    /// The same with its variables filled in for the pairs that it stands before.
    pub fn filled(&self, pairs: &[Sides<'_>]) -> Result<Self, Finding> {
        let fill = |c: &Condition| c.kind().filled(pairs).unwrap_or_else(|| Ok(vec![c.clone()]));
        let conditions = self.conditions.iter().map(fill).collect::<Result<Vec<_>, _>>()?.concat();
        Ok(Self { conditions, ..self.clone() })
    }

    /// What it waits for, as the end of a sentence that begins with "until".
    pub fn describe(&self) -> String {
        let asks: Vec<String> = self.conditions.iter().map(|c| c.kind().describe()).collect();
        let within = self.within.map(|w| format!(", for at most {}", text::duration(w))).unwrap_or_default();
        format!("{}{within}", text::list(&asks))
    }
}

/// Reads the conditions that a mapping gives, each by its own word. `None` when one of them cannot be read, which is reported.
pub fn read(map: &Map<'_>, uses: &mut Vec<Use>) -> Option<Vec<Condition>> {
    let given: Vec<_> = Condition::KINDS.iter().filter_map(|kind| map.get(kind)).collect();
    let read: Vec<_> = given.into_iter().map(|value| Condition::read_value(value, map, uses)).collect();
    read.into_iter().collect()
}

kinds! {
    /// A condition of a gate, by kind. Each kind is one line here and one file of its own.
    pub enum Condition: ConditionKind {
        Approvals(Approvals),
        NotBefore(NotBefore),
        Window(Window),
        Prometheus(Prometheus),
        Compare(Compare),
        #[cfg(test)]
        Quiet(sample::Quiet),
    }
}

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;
