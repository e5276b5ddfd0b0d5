//! Alertmanager: silences for the hosts of a pair while it moves.
//!
//! Owns what plans say of them, and the trait that the engine acts through ([`Silences`]). Must never touch a silence that is not this run's,
//! and never make one without an end of its own: one that nobody can take away any more ends by itself.

mod client;
mod settings;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::metrics::Server;
use crate::model::Side;
use crate::outside::Error;

pub use client::Alertmanager;
pub use settings::{Matching, Silencing, read};

/// A silence that a run wants for one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Inventory name of the host.
    pub host: String,
    /// Which alerts are its.
    pub matchers: Vec<Matcher>,
}

/// What a label of an alert must be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Matcher {
    /// The label.
    pub name: String,
    /// Its value, or a regular expression for the whole of it.
    pub value: String,
    /// Whether it is a regular expression.
    pub is_regex: bool,
    /// Whether it must be so, rather than must not.
    #[serde(default = "yes")]
    pub is_equal: bool,
}

fn yes() -> bool {
    true
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{:?}", self.name, if self.is_regex { "=~" } else { "=" }, self.value)
    }
}

/// Whose a silence is: how it is found again, by whoever takes the run up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The run.
    pub run: String,
    /// The service and the source of the pair.
    pub pair: String,
}

/// Silences at Alertmanagers.
#[async_trait]
pub trait Silences: Send + Sync {
    /// Sees to it that these are silenced for so long from now, and reads that back; what it was told, for people.
    async fn make(&self, at: &Server, owner: &Owner, wanted: &[Wanted], lasts: Duration) -> Result<String, Error>;

    /// Sees to it that none of the owner's is in effect any more, and reads that back; how many there were.
    async fn lift(&self, at: &Server, owner: &Owner) -> Result<u64, Error>;

    /// Whether it can be asked: its version.
    async fn look(&self, at: &Server) -> Result<String, Error>;
}

/// The sides whose hosts are silenced.
pub const BOTH: [Side; 2] = [Side::Source, Side::Target];
