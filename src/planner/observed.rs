//! What was seen of the live system when a plan was made. Pure data; `observe` fills it.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::earlier::Earlier;
use crate::check::Verdict;
use crate::host::{AgentFacts, Facts, TreeSize};
use crate::model::{Pool, PoolFacts};
use crate::provider::Prospect;
use crate::redfish::System;
use crate::step::{Answer, Live};

/// The live system, as far as the plan touches it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// The day on which it was looked, in UTC; `None` where nobody has looked.
    #[serde(default)]
    pub day: Option<Date>,
    /// Facts by host name.
    pub hosts: BTreeMap<String, Seen<Facts>>,
    /// By host that needs an agent: whether it can have one, and what one has seen that was started there.
    #[serde(default)]
    pub agents: BTreeMap<String, Seen<Option<AgentFacts>>>,
    /// Answers to the questions of states, by host and by what they are about.
    #[serde(default)]
    pub answers: BTreeMap<String, Seen<Answer>>,
    /// By source that is to be fenced: whether its firewall would take the rules.
    #[serde(default)]
    pub fences: BTreeMap<String, Seen<()>>,
    /// By source that is to send clients on: whether its firewall would take the rules, and if so, whether it reaches the new side.
    #[serde(default)]
    pub relays: BTreeMap<String, Seen<bool>>,
    /// By host that is to reset connections: whether it can.
    #[serde(default)]
    pub resets: BTreeMap<String, Seen<()>>,
    /// By source that is to be given back: what its provider says of it.
    #[serde(default)]
    pub machines: BTreeMap<String, Seen<Prospect>>,
    /// By the URL of an Alertmanager that is to be asked for silences: its version.
    #[serde(default)]
    pub alertmanagers: BTreeMap<String, Seen<String>>,
    /// By target: what its management controller says of it.
    #[serde(default)]
    pub bmcs: BTreeMap<String, Seen<System>>,
    /// By source that is to be given back: what an earlier run has seen of it.
    #[serde(default)]
    pub earlier: BTreeMap<String, Earlier>,
    /// Pools by `director pool`.
    pub pools: BTreeMap<String, Seen<Pool>>,
    /// What decides who gets how much of them, for those that answered.
    #[serde(default)]
    pub facts: BTreeMap<String, PoolFacts>,
    /// Sizes of source trees by `host:path`.
    pub trees: BTreeMap<String, Seen<TreeSize>>,
    /// Answers of the checks by subject: target hosts, and services.
    pub health: BTreeMap<String, Vec<Verdict>>,
}

/// One thing that was asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen<T> {
    /// What it answered.
    Live(T),
    /// It was asked and did not answer.
    Failed {
        /// Why.
        why: String,
        /// What to do next.
        hint: Option<String>,
    },
}

impl<T> Seen<T> {
    /// The answer, if there was one.
    pub fn live(&self) -> Option<&T> {
        match self {
            Self::Live(value) => Some(value),
            Self::Failed { .. } => None,
        }
    }
}

impl Observed {
    /// The key of a pool.
    pub fn pool_key(director: &str, pool: &str) -> String {
        format!("{director} {pool}")
    }

    /// The key of a tree.
    pub fn tree_key(host: &str, path: &str) -> String {
        format!("{host}:{path}")
    }

    /// The key of an answer.
    pub fn answer_key(host: &str, about: &str) -> String {
        format!("{host}: {about}")
    }
}

impl Live for Observed {
    fn answer(&self, host: &str, about: &str) -> Option<&Answer> {
        self.answers.get(&Self::answer_key(host, about)).and_then(Seen::live)
    }

    fn host(&self, host: &str) -> Option<&Facts> {
        self.hosts.get(host).and_then(Seen::live)
    }

    fn tree(&self, host: &str, path: &str) -> Option<&TreeSize> {
        self.trees.get(&Self::tree_key(host, path)).and_then(Seen::live)
    }

    fn agent(&self, host: &str) -> Option<&AgentFacts> {
        self.agents.get(host).and_then(Seen::live)?.as_ref()
    }

    fn takes_fences(&self, host: &str) -> bool {
        self.fences.get(host).and_then(Seen::live).is_some()
    }

    fn relay(&self, host: &str) -> Option<bool> {
        self.relays.get(host).and_then(Seen::live).copied()
    }

    fn machine(&self, host: &str) -> Option<&Prospect> {
        self.machines.get(host).and_then(Seen::live)
    }

    fn alertmanager(&self, url: &str) -> Option<&str> {
        self.alertmanagers.get(url).and_then(Seen::live).map(String::as_str)
    }

    fn pool(&self, director: &str, pool: &str) -> Option<&Pool> {
        self.pools.get(&Self::pool_key(director, pool)).and_then(Seen::live)
    }

    fn health(&self, subject: &str) -> Option<&str> {
        self.health.get(subject).and_then(|verdicts| verdicts.first()).map(|verdict| verdict.evidence.as_str())
    }
}
