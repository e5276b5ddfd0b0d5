//! Commands of kinds that know a server: all of them are one script, which is in the environment, so that plans can be read.

use std::time::Duration;

use crate::model::Side;
use crate::step::{BothSides, ReplicaRun, Verb};

/// How long a first copy may take.
const SEEDS: Duration = Duration::from_secs(7 * 24 * 3600);

/// The script of a kind.
#[derive(Debug, Clone, Copy)]
pub struct Script {
    /// The variable that holds it.
    pub variable: &'static str,
    /// The begin of the variables that it reads.
    pub prefix: &'static str,
    /// What it says.
    pub text: &'static str,
}

impl Script {
    /// The text of a command.
    pub fn command(&self, verb: &str) -> String {
        format!("set -- {verb}; eval \"${}\"", self.variable)
    }

    /// A question that both sides are asked.
    pub fn both(&self, verb: &str) -> BothSides {
        BothSides { from: self.command(verb), to: self.command(verb) }
    }

    /// A command that changes something, and may run twice.
    pub fn run(&self, verb: Verb, side: Side, run: &str, done_when: Option<&str>, undo: Option<&str>) -> ReplicaRun {
        ReplicaRun {
            verb,
            side,
            run: self.command(run),
            timeout: (verb == Verb::Seed).then_some(SEEDS),
            idempotent: true,
            done_when: done_when.map(|verb| self.command(verb)),
            undo: undo.map(|verb| self.command(verb)),
        }
    }

    /// The variable and what it holds.
    pub fn environment(&self) -> (String, String) {
        (self.variable.to_owned(), self.text.to_owned())
    }
}
