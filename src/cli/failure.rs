//! The one place that turns errors into text for people.

use super::load::BadFiles;
use crate::engine::EngineError;
use crate::journal::JournalError;
use crate::lock::LockError;
use crate::outside::Error;
use crate::store::StoreError;

/// An error with advice.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Advised {
    /// What happened and why.
    pub what: String,
    /// What to do next.
    pub hint: String,
}

/// An error that says what to do next.
pub fn advised(what: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
    Advised { what: what.into(), hint: hint.into() }.into()
}

/// Prints an error, its causes and its advice to standard error.
pub fn print(error: &anyhow::Error) {
    if let Some(BadFiles(problems)) = error.downcast_ref() {
        // Each problem has its own beginning, place and advice.
        eprintln!("{problems}");
        return;
    }
    eprintln!("error: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  because: {cause}");
    }
    if let Some(hint) = hint_of(error) {
        eprintln!("  help: {hint}");
    }
}

/// What to do next, if anybody knows.
pub fn hint_of(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(hint)
}

fn hint(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    let own = cause.downcast_ref::<Advised>().map(|e| e.hint.clone());
    let outside = || cause.downcast_ref::<Error>().and_then(|e| e.hint.clone());
    let lock = || cause.downcast_ref::<LockError>().and_then(LockError::hint);
    let store = || cause.downcast_ref::<StoreError>().and_then(StoreError::hint);
    let journal = || journal_error(cause).and_then(JournalError::hint);
    own.or_else(outside).or_else(lock).or_else(store).or_else(journal)
}

/// Errors that are shown as the one they hold hide it from the chain.
fn journal_error<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a JournalError> {
    let engine = || match cause.downcast_ref::<EngineError>() {
        Some(EngineError::Journal(e)) => Some(e),
        _ => None,
    };
    cause.downcast_ref::<JournalError>().or_else(engine)
}
