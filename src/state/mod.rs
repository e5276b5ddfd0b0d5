//! What must be carried over, by kind: one file or folder each.
//!
//! Owns what a kind of state says of itself: its settings, what it wants to know before a plan is made, what speaks against it, and the
//! steps that it contributes to the moments of a move. Must never act: steps do.

pub mod directory;
pub mod mysql;
pub mod postgres;
pub mod redis;
pub mod replica;
mod server;
pub mod stream;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::fields::kinds::kinds;
use crate::host::TreeExtent;
use crate::model::finding::Finding;
use crate::model::{Host, Side, Template};
use crate::step::{Draft, Live, Moment};

kinds! {
    /// What must be carried over, by kind. Where states of several kinds contribute to the same moment, the order of this list is theirs.
    pub enum State: StateKind {
        Directory(directory::DirectoryState),
        Stream(stream::StreamState),
        Replica(replica::ReplicaState),
        Postgres(postgres::PostgresState),
        Redis(redis::RedisState),
        Mysql(mysql::MysqlState),
        #[cfg(test)]
        Sample(sample::SampleState),
    }
}

impl State {
    /// Where its kind stands in the list.
    pub fn rank(&self) -> usize {
        Self::KINDS.iter().position(|kind| *kind == self.key()).unwrap_or(Self::KINDS.len())
    }
}

/// What a kind of state says of itself.
pub trait StateKind {
    /// Why it can be carried only while nobody writes, so that its service needs a freeze.
    fn needs_freeze(&self) -> Option<&'static str> {
        None
    }

    /// Whether what was written on the target can be carried back: its steps at [`Moment::HandedOver`] or [`Moment::Promoted`] are undone by
    /// bringing to the source what the target has taken, and those at [`Moment::Reversed`] keep the source in step meanwhile. Where it
    /// cannot, there is no way back once the target gets traffic.
    fn comes_back(&self) -> bool {
        false
    }

    /// Whether it keeps its source from taking writes by itself, so that no `freeze` hook is needed for it.
    fn fences(&self) -> bool {
        false
    }

    /// Whether the copy agent carries it.
    fn needs_agent(&self) -> bool {
        true
    }

    /// Paths that are looked at on the hosts of a pair before a plan is made.
    fn asks(&self) -> Vec<Ask<'_>> {
        Vec::new()
    }

    /// What speaks against the way in which it is carried over.
    fn risks(&self) -> Vec<Risk> {
        Vec::new()
    }

    /// Inventory names of hosts besides those of a pair on which it runs something.
    fn others(&self) -> Vec<&str> {
        Vec::new()
    }

    /// How long it keeps clients waiting in the freeze before they are let go by themselves, and the key that says so; `None` where none
    /// wait.
    fn clients_wait(&self) -> Option<(&'static str, Duration)> {
        None
    }

    /// It, between the two hosts of a pair. `job` is its name on the hosts.
    fn between<'a>(&'a self, source: &'a Host, target: &'a Host, job: String)
    -> Result<Box<dyn Carried + 'a>, Finding>;
}

/// What a kind of state says of itself that its own replication carries: all that such kinds have in common follows.
pub trait Replicates {
    /// Why it is handed over in a freeze.
    fn one_writer(&self) -> &'static str;

    /// Whether it knows how the source follows the target.
    fn comes_back(&self) -> bool {
        false
    }

    /// What speaks against the way in which it is carried over.
    fn risks(&self) -> Vec<Risk>;

    /// Inventory names of hosts besides those of a pair on which it runs something.
    fn others(&self) -> Vec<&str> {
        Vec::new()
    }

    /// How long it keeps clients waiting in the freeze before they are let go by themselves, and the key that says so.
    fn clients_wait(&self) -> Option<(&'static str, Duration)> {
        None
    }

    /// It, between the two hosts of a pair.
    fn between<'a>(&'a self, source: &'a Host, target: &'a Host, job: String)
    -> Result<Box<dyn Carried + 'a>, Finding>;
}

impl<T: Replicates> StateKind for T {
    fn needs_freeze(&self) -> Option<&'static str> {
        Some(self.one_writer())
    }

    fn fences(&self) -> bool {
        true
    }

    fn comes_back(&self) -> bool {
        Replicates::comes_back(self)
    }

    fn needs_agent(&self) -> bool {
        false
    }

    fn risks(&self) -> Vec<Risk> {
        Replicates::risks(self)
    }

    fn others(&self) -> Vec<&str> {
        Replicates::others(self)
    }

    fn clients_wait(&self) -> Option<(&'static str, Duration)> {
        Replicates::clients_wait(self)
    }

    fn between<'a>(
        &'a self,
        source: &'a Host,
        target: &'a Host,
        job: String,
    ) -> Result<Box<dyn Carried + 'a>, Finding> {
        Replicates::between(self, source, target, job)
    }
}

/// A state between the two hosts of a pair, with everything filled in.
pub trait Carried {
    /// Decides what depends on what was seen of its hosts, before any step is asked for.
    fn settle(&mut self, _live: &dyn Live) {}

    /// The names that it goes by on the hosts, there and back.
    fn jobs(&self) -> Vec<&str>;

    /// The steps that it contributes to a moment. Where a service has several states of a kind, their names are numbered.
    fn steps(&self, moment: Moment) -> Vec<Draft>;

    /// What is asked of its hosts before a plan is made, by commands that only read.
    fn questions(&self) -> Vec<Question> {
        Vec::new()
    }

    /// What was seen of the hosts and speaks against it.
    fn findings(&self, _live: &dyn Live) -> Vec<Finding> {
        Vec::new()
    }

    /// What was seen of the hosts and speaks against carrying it back.
    fn findings_back(&self, _live: &dyn Live) -> Vec<Finding> {
        Vec::new()
    }
}

/// A path that is looked at before a plan is made.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// On which host of a pair.
    pub side: Side,
    /// The path.
    pub path: &'a Template,
    /// How far what is below it is counted; `None` for not at all.
    pub size: Option<TreeExtent>,
}

/// A command that only reads, run before a plan is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Inventory name of the host.
    pub host: String,
    /// What it is about: with the host it names the answer.
    pub about: String,
    /// The shell script.
    pub script: String,
    /// Its environment.
    pub env: BTreeMap<String, String>,
    /// How long it may take.
    pub timeout: Duration,
}

/// Something that can go wrong with a state, whatever the hosts are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Risk {
    /// What its service has, as the rest of a sentence that begins with the service.
    pub what: &'static str,
    /// What to do about it.
    pub hint: &'static str,
}

#[cfg(test)]
pub mod sample;
