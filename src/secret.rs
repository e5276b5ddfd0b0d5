//! Secrets: resolved late, held briefly, never shown.
//!
//! Owns the one type that carries a secret's value. It must never be serialised, and its `Debug` shows nothing.

use std::fmt;

use crate::spec::model::SecretRef;

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
