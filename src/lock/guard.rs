//! Leave to act: what an effect asks right before it acts.

use async_trait::async_trait;

/// Whether this controller, and no other, may act.
#[async_trait]
pub trait Guard: Send + Sync {
    /// Asked right before every effect.
    fn check(&self) -> Result<(), Barred>;

    /// Returns once the leave to act is lost for good, with the reason.
    async fn lost(&self) -> String;
}

/// Why a controller must not act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Barred {
    /// Never again: another may be at work.
    #[error("{0}")]
    ForGood(String),
    /// Not at this moment.
    #[error("{0}")]
    ForNow(String),
}
