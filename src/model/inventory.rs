//! Sites, hosts, and how to reach them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Template;
use super::finding::Finding;
use crate::secret::SecretRef;

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

/// What the machine is called on which the controller of a run is. No host of an inventory can have this name.
pub const CONTROLLER: &str = "the controller";

impl Host {
    /// The machine on which the controller of a run is, as one more host: agents and receipts are in `work_dir`.
    pub fn controller(work_dir: String) -> Self {
        let address = "localhost".to_owned();
        let vars = [("name", CONTROLLER), ("address", &address)].map(|(name, value)| (name.into(), value.into()));
        Self {
            name: CONTROLLER.to_owned(),
            site: None,
            ssh: SshTarget { work_dir: Some(work_dir), ..SshTarget::default() },
            tags: BTreeSet::new(),
            capacity: 100,
            cost_per_month: None,
            vars: vars.into(),
            address,
        }
    }

    /// Where agents and receipts are on it, absolute or below the home directory as `~/…`.
    pub fn work_dir(&self) -> &str {
        self.ssh.work_dir.as_deref().unwrap_or("~/.migrate")
    }

    /// Its name as a part of names of files, where several hosts may have one directory (a home on NFS).
    pub fn file_name(&self) -> String {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let name = &self.name;
        match !name.is_empty() && name.len() <= 100 && name.chars().all(plain) && !name.starts_with(['.', '-']) {
            true => name.clone(),
            false => blake3::hash(name.as_bytes()).to_hex().chars().take(32).collect(),
        }
    }

    /// Fills a template with the host's values.
    pub fn fill(&self, template: &Template) -> Result<String, Finding> {
        template.render_plain(&self.vars).map_err(|e| Finding::refused(&self.name, e.to_string()))
    }

    /// Fills the template of a shell command; each value becomes one word.
    pub fn fill_command(&self, template: &Template) -> Result<String, Finding> {
        template.render_shell(&self.vars).map_err(|e| Finding::refused(&self.name, e.to_string()))
    }
}

/// How the management controller of a host is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bmc {
    /// Template for the URL of its Redfish service.
    pub url: Template,
    /// Which of its systems the host is, where there are several.
    pub system: Option<String>,
    /// Who asks.
    pub user: String,
    /// By which password.
    pub password: SecretRef,
    /// Certificates of those whom it must be vouched for by, instead of those whom this machine trusts.
    pub ca: Option<PathBuf>,
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
    /// As whom programs run there, when not as the user who logs in.
    #[serde(default, rename = "become", skip_serializing_if = "Option::is_none")]
    pub becomes: Option<Become>,
}

/// How programs on a host get to run as another user than the one who logs in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Become {
    /// By `sudo`.
    Sudo {
        /// Whom to become.
        user: String,
        /// What sudo asks for; `None` where it asks for nothing.
        password: Option<SecretRef>,
    },
    /// By `doas`, which takes passwords from terminals only.
    Doas {
        /// Whom to become.
        user: String,
    },
    /// By words that are put before each program.
    Command(Vec<String>),
}

impl Become {
    /// What it is called: the program that does it.
    pub fn program(&self) -> &str {
        match self {
            Self::Sudo { .. } => "sudo",
            Self::Doas { .. } => "doas",
            Self::Command(words) => words.first().map_or("", String::as_str),
        }
    }

    /// Whom to become; a command of the site's own does not say.
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::Sudo { user, .. } | Self::Doas { user } => Some(user),
            Self::Command(_) => None,
        }
    }

    /// The password that it may ask for.
    pub fn password(&self) -> Option<&SecretRef> {
        match self {
            Self::Sudo { password, .. } => password.as_ref(),
            Self::Doas { .. } | Self::Command(_) => None,
        }
    }
}

/// An amount of money, in hundredths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Money {
    /// Hundredths of the currency's unit.
    pub cents: u64,
    /// ISO 4217 code.
    pub currency: String,
}
