//! Secrets: resolved late, held briefly, never shown.
//!
//! Owns references to secrets, and the one type that carries a value. The value must never be serialised, and its `Debug` shows nothing.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where a secret is found; never the secret itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretRef {
    /// An environment variable of the controller.
    Env(String),
    /// A file on the controller; one trailing newline is dropped.
    File(PathBuf),
    /// A command on the controller; its standard output, one trailing newline dropped.
    Exec(Vec<String>),
}

/// A resolved secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value. Must go nowhere but to the peer that asks for it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Why a secret could not be had.
#[derive(Debug, Clone, thiserror::Error)]
#[error("secret from {from}: {why}")]
pub struct SecretError {
    /// `env NAME`, `file PATH` or `exec COMMAND`.
    pub from: String,
    /// The reason.
    pub why: String,
}

/// Looks secrets up. The command line has the one implementation that reads the environment.
pub trait Secrets: Send + Sync {
    /// The value behind a reference.
    fn resolve(&self, reference: &SecretRef) -> Result<Secret, SecretError>;
}
