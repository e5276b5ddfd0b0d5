//! In what the hosts of a pair are to be alike, besides what a login tells of every host.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

/// What is compared, and which differences are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parity {
    /// Kernel settings by their names: `net.core.somaxconn`.
    pub sysctls: Vec<String>,
    /// Packages of the system by their names.
    pub packages: Vec<String>,
    /// Differences that are meant, for a while.
    pub waivers: Vec<Waiver>,
}

/// A difference that is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiver {
    /// What differs: one of [`Parity::ALWAYS`], a kernel setting or a package.
    pub of: String,
    /// The last day on which it holds, in UTC.
    pub until: Date,
    /// Why it is meant.
    pub why: String,
}

impl Parity {
    /// What is compared wherever it is known.
    pub const ALWAYS: [&str; 8] = ["os", "kernel", "cores", "memory", "disk", "timezone", "files", "processes"];

    /// Whether anything of that name is compared.
    pub fn compares(&self, name: &str) -> bool {
        Self::ALWAYS.contains(&name) || self.sysctls.iter().chain(&self.packages).any(|own| own == name)
    }

    /// What is said of a difference.
    pub fn waiver(&self, of: &str) -> Option<&Waiver> {
        self.waivers.iter().find(|waiver| waiver.of == of)
    }
}
