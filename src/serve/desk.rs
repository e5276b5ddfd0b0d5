//! What the server needs of the program around it.

use jiff::Timestamp;
use serde::Serialize;

use crate::event::{Operator, RunState};
use crate::spec::Spec;

/// Something that somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Begin nothing new.
    Pause {
        /// Why.
        why: String,
    },
    /// Go on.
    Resume,
    /// Stop at the next safe point.
    Abort {
        /// Why.
        why: String,
    },
    /// Say yes to a gate.
    Approve {
        /// Id of the gate's step.
        step: String,
        /// Why.
        why: String,
    },
    /// Change a setting, as `migrate set` has it.
    Set {
        /// `hold=30s`.
        setting: String,
    },
    /// Go back.
    RollBack {
        /// Why.
        why: String,
        /// To right after this step; `None` to the start.
        to: Option<String>,
    },
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// What happened, and why.
    pub what: String,
    /// What to do next.
    pub hint: Option<String>,
}

/// A command that was started for somebody, and works on a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Errand {
    /// The command.
    pub command: String,
    /// Who wanted it.
    pub by: String,
    /// Since when.
    pub since: Timestamp,
    /// Its exit code, once it has ended.
    pub code: Option<i32>,
    /// The end of what it has said.
    pub says: String,
}

/// Everything that acts, and what only the command line knows.
pub trait Desk: Send + Sync {
    /// Who runs the server.
    fn owner(&self) -> Operator;

    /// Does it for a person, or sees to it that it is done; what to tell them.
    fn ask(&self, run: &str, wanted: Wanted, by: &Operator) -> Result<String, Refused>;

    /// Pauses every run on this machine until that is taken back.
    fn stop_all(&self, why: &str, by: &Operator) -> Result<String, Refused>;

    /// Takes that back.
    fn let_all_go_on(&self, by: &Operator) -> Result<String, Refused>;

    /// Why every run on this machine is paused, if it is.
    fn stopped(&self) -> Option<String>;

    /// What was started for people and works on a run, or has last.
    fn errand(&self, run: &str) -> Option<Errand>;

    /// The plan of a run, as it was when it began; `None` where that cannot be read.
    fn spec(&self, state: &RunState) -> Option<Spec>;

    /// All runs as Prometheus reads them.
    fn metrics(&self) -> Result<String, Refused>;

    /// Writes down who asked for what, and what came of it.
    fn log(&self, line: &str);
}
