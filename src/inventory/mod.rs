//! Where inventories come from: sources give documents, and `config` reads them as it reads files.
//!
//! Owns the [`InventorySource`] trait, the lists of its kinds, the rules by which what a source finds becomes hosts, and the rule that no
//! secret gets into a document: documents are shown in problems and kept with runs. Must never believe what a source was asked to leave
//! out, and never know what a document says beside the hosts that were written into it here.

mod ansible;
pub mod changes;
mod file;
pub mod found;
mod money;
mod netbox;
mod program;
pub mod rules;
mod saved;
mod softlayer;
mod ssh_config;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use crate::fields::kinds::kinds;
use crate::secret::{Secret, SecretError, SecretRef, Secrets};
pub use rules::{Rules, Usual};
pub use saved::{copy_of, head, save};

/// Opens a source by what stands behind the first `:` of its address.
type Open = fn(&str) -> Box<dyn InventorySource>;

/// One part of an inventory, in YAML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its name for people. A source that is no file begins it with its address; what follows stands behind a `#`.
    pub name: PathBuf,
    /// What it says.
    pub bytes: Vec<u8>,
    /// Whether it may say something else at the next time without anybody having edited it. A run goes on with what it said at first.
    pub live: bool,
}

kinds! {
    /// The settings of a source that an inventory names, by kind. Each kind is one line here and one file or folder of its own.
    pub enum SourceConfig: SourceKind {
        SoftLayer(softlayer::Settings),
        NetBox(netbox::Settings),
        Ansible(ansible::Settings),
        SshConfig(ssh_config::Settings),
    }
}

/// What every kind of source says of itself.
pub trait SourceKind {
    /// What people call it.
    fn title(&self) -> &'static str;

    /// The rules that it has by itself.
    fn usual(&self) -> Usual;

    /// The source behind the settings. `address` is what its documents are called; contacts nobody yet.
    fn open(&self, address: &str, rules: &Rules) -> Box<dyn InventorySource>;
}

/// Gives documents.
#[async_trait]
pub trait InventorySource: Send + Sync {
    /// All of them, as they are now.
    async fn documents(&self, secrets: &dyn Secrets) -> Result<Vec<Document>, SourceError>;
}

/// Why a source gives nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct SourceError {
    /// What happened, in one sentence.
    pub what: String,
    /// What to do next.
    pub hint: Option<String>,
}

/// Whether this is the address of a source, and no path.
pub fn is_address(text: &str) -> bool {
    text.split_once(':').is_some_and(|(kind, _)| KINDS.iter().any(|(name, _)| *name == kind))
}

/// Whether a document came from the source of that address.
pub fn is_from(document: &Path, address: &Path) -> bool {
    let (name, address) = (document.to_string_lossy(), address.to_string_lossy());
    name.strip_prefix(address.as_ref()).is_some_and(|rest| rest.is_empty() || rest.starts_with('#'))
}

/// The documents of a source, or of a file.
pub async fn fetch(address: &Path, secrets: &dyn Secrets) -> Result<Vec<Document>, SourceError> {
    let text = address.to_string_lossy();
    let kind = text.split_once(':').and_then(|(kind, rest)| {
        let (_, open) = KINDS.iter().find(|(name, _)| *name == kind)?;
        Some(open(rest))
    });
    ask(kind.unwrap_or_else(|| file::at(address)).as_ref(), secrets).await
}

/// The documents of a source.
pub async fn ask(source: &dyn InventorySource, secrets: &dyn Secrets) -> Result<Vec<Document>, SourceError> {
    let lent = Lent { secrets, given: Mutex::new(Vec::new()) };
    let documents = source.documents(&lent).await?;
    match documents.iter().find(|document| lent.is_in(&document.bytes)) {
        None => Ok(documents),
        Some(document) => Err(SourceError {
            what: format!("{} holds a secret that was needed to fetch it", document.name.display()),
            hint: Some("documents are shown and kept: leave the secret out, and name where it is found".into()),
        }),
    }
}

/// A secret that is shorter could stand anywhere.
const TELLING: usize = 6;

/// Secrets, and which of them a source was given.
struct Lent<'a> {
    secrets: &'a dyn Secrets,
    given: Mutex<Vec<Secret>>,
}

impl Lent<'_> {
    fn is_in(&self, bytes: &[u8]) -> bool {
        let given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let telling = given.iter().map(|s| s.reveal().as_bytes()).filter(|s| s.len() >= TELLING);
        telling.into_iter().any(|secret| bytes.windows(secret.len()).any(|window| window == secret))
    }
}

impl Secrets for Lent<'_> {
    fn resolve(&self, reference: &SecretRef) -> Result<Secret, SecretError> {
        let secret = self.secrets.resolve(reference)?;
        self.given.lock().unwrap_or_else(PoisonError::into_inner).push(secret.clone());
        Ok(secret)
    }
}

/// The kinds of sources: the word before the first `:` of an address, and what opens the rest. What begins with none of them is a file.
const KINDS: &[(&str, Open)] = &[
    ("file", file::open),
    #[cfg(test)]
    ("memory", memory::open),
];

#[cfg(test)]
pub mod memory;
