//! Sites, hosts, and how to reach them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Template;
use super::finding::Finding;

/// A place that hosts stand in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// One line for people.
    pub description: Option<String>,
}

/// One machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// The name used in plans, journals and output.
    pub name: String,
    /// The site it stands in.
    pub site: Option<String>,
    /// IP address or DNS name that services and, unless `ssh` says otherwise, SSH use.
    pub address: String,
    /// How to log in.
    pub ssh: SshTarget,
    /// Labels for selectors.
    pub tags: BTreeSet<String>,
    /// Relative serving capacity; 100 unless given.
    pub capacity: u32,
    /// What keeping it costs, for the bill of running both sides.
    pub cost_per_month: Option<Money>,
    /// Values for `{{ name }}` in paths, URLs and commands. Holds `name` and `address` too.
    pub vars: BTreeMap<String, String>,
}

impl Host {
    /// Fills a template with the host's values.
    pub fn fill(&self, template: &Template) -> Result<String, Finding> {
        template.render_plain(&self.vars).map_err(|e| Finding::refused(&self.name, e.to_string()))
    }

    /// Fills the template of a shell command; each value becomes one word.
    pub fn fill_command(&self, template: &Template) -> Result<String, Finding> {
        template.render_shell(&self.vars).map_err(|e| Finding::refused(&self.name, e.to_string()))
    }
}

/// How to reach a host by SSH. What is `None` comes from `~/.ssh/config`, then OpenSSH's defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SshTarget {
    /// Host name or address to dial, when it is not the host's `address`.
    pub address: Option<String>,
    /// Login name.
    pub user: Option<String>,
    /// TCP port.
    pub port: Option<u16>,
    /// Private key file. Without one: the agent, then the identity files of the configuration.
    pub key: Option<PathBuf>,
    /// Names of inventory hosts to go through, nearest first.
    pub jump: Vec<String>,
    /// `known_hosts` file to trust instead of the user's.
    pub known_hosts: Option<PathBuf>,
    /// Directory on the host for the agent and receipts; `~/.migrate` unless given.
    pub work_dir: Option<String>,
}

/// An amount of money, in hundredths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Money {
    /// Hundredths of the currency's unit.
    pub cents: u64,
    /// ISO 4217 code.
    pub currency: String,
}
