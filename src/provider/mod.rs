//! Whom hosts are rented from, and how they are given back. One folder a kind.
//!
//! Owns the list of kinds, what each says of itself before anybody is asked ([`ProviderKind`]), and the trait that the engine acts through
//! ([`Provider`]). A provider must never give back a machine that is not, by all that is known of it on both sides, the one that was asked
//! for, and never ask a second time for what has been asked for already.

mod softlayer;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::fields::kinds::kinds;
use crate::model::Host;
use crate::model::finding::Finding;
use crate::outside::Error;
use crate::secret::Secrets;

kinds! {
    /// The settings of a provider, by kind. Each kind is one line here and one folder of its own.
    pub enum ProviderConfig: ProviderKind {
        SoftLayer(softlayer::Settings),
    }
}

/// The settings of a provider of one kind, and what follows from them alone.
pub trait ProviderKind: Send + Sync {
    /// What people call it: `SoftLayer`.
    fn title(&self) -> &'static str;

    /// The machine that a host of the inventory is there. Refused where the inventory does not say enough to be sure, or where such a
    /// machine cannot be given back as it is wanted.
    fn machine(&self, host: &Host) -> Result<Machine, Finding>;

    /// When it ends, as the end of a sentence: `at its next bill`.
    fn when(&self) -> &'static str;

    /// Whether it can be taken back for a while.
    fn is_revocable(&self) -> bool;

    /// The provider behind the settings. Contacts nobody yet; keys are looked up at each call.
    fn connect(&self, secrets: Arc<dyn Secrets>) -> Arc<dyn Provider>;
}

/// A machine as the inventory knows it: all of this must be so of the one that is given back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Inventory name of the host.
    pub host: String,
    /// What kind of machine, in the provider's words: `hardware`.
    pub kind: String,
    /// Its id there.
    pub id: String,
    /// Its whole name there.
    pub name: String,
    /// The addresses by which it is reached from here.
    pub addresses: Vec<String>,
    /// What it is billed as there.
    pub bill: Option<String>,
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.kind.replace('_', " "), self.id, self.name)
    }
}

/// How it stands with a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It is rented, and nobody has said otherwise.
    Rented,
    /// It has been given back, and is still there.
    Leaving(Leaving),
    /// It is gone, as its provider says.
    Gone(Leaving),
}

/// What a provider says of a machine before it is to be given back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prospect {
    /// How it stands.
    pub standing: Standing,
    /// How it is paid for and when that ends, in the provider's words: `billed by the month, until 2026-12-03`.
    pub billed: String,
    /// What would speak against giving it back now, and may pass.
    pub passing: Option<String>,
    /// What speaks against it and stays.
    pub against: Option<String>,
}

/// A machine that was given back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    /// By what people find it at the provider: `ticket 153572280`.
    pub by: String,
    /// How far it is, in the provider's words.
    pub status: String,
    /// When it ends, as the provider writes it.
    pub ends: Option<String>,
}

impl fmt::Display for Leaving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.by, self.status)?;
        self.ends.as_ref().map_or(Ok(()), |ends| write!(f, ", ends {ends}"))
    }
}

impl fmt::Display for Prospect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.standing {
            Standing::Rented => write!(f, "{}", self.billed),
            Standing::Leaving(leaving) => write!(f, "given back already: {leaving}"),
            Standing::Gone(gone) => write!(f, "gone: {gone}"),
        }
    }
}

/// A provider that can be asked.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Looks how it stands with a machine. An error where what is there is not what the inventory says.
    async fn look(&self, machine: &Machine) -> Result<Standing, Error>;

    /// Looks ahead at machines that are to be given back later, in their order. An error where what is there is not what the inventory says.
    async fn survey(&self, machines: &[Machine]) -> Vec<Result<Prospect, Error>>;

    /// Gives a machine back, and reads that back. `note` is kept with it. Where that has been asked for before, this says so and asks for
    /// nothing.
    async fn cancel(&self, machine: &Machine, note: &str) -> Result<Leaving, Error>;

    /// Takes that back, as long as it can be, and reads it back.
    async fn void(&self, machine: &Machine) -> Result<(), Error>;
}

/// Finds the provider behind settings.
pub trait Providers: Send + Sync {
    /// Contacts nobody yet.
    fn find(&self, config: &ProviderConfig) -> Arc<dyn Provider>;
}

/// The real ones.
pub struct Connected {
    /// For their keys.
    pub secrets: Arc<dyn Secrets>,
}

impl Providers for Connected {
    fn find(&self, config: &ProviderConfig) -> Arc<dyn Provider> {
        config.kind().connect(Arc::clone(&self.secrets))
    }
}
