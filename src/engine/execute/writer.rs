//! What a side of a replica says of whether it would take a write.
//!
//! Owns the reading of that answer. Must never take what is no answer for a yes or a no.

use crate::host::Output;
use crate::text;

/// What a side says of whether it would take a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Writer {
    Yes,
    No,
    Unknown(String),
}

impl Writer {
    pub fn read(output: &Output) -> Self {
        match (output.status, output.stdout.trim_ascii()) {
            (0, b"yes") => Self::Yes,
            (0, b"no") => Self::No,
            (0, other) => Self::Unknown(format!("`writer` printed `{}`, neither yes nor no", text::escape(other, 100))),
            _ => Self::Unknown(format!("`writer` {}", says(output))),
        }
    }

    pub fn tell(&self) -> &'static str {
        match self {
            Self::Yes => "takes writes",
            Self::No => "takes no writes",
            Self::Unknown(_) => "does not say",
        }
    }
}

/// How a command has ended, and what it said.
pub(super) fn says(output: &Output) -> String {
    let said = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
    match text::escape(said.trim_ascii(), 300) {
        said if said.is_empty() => format!("ended with status {}", output.status),
        said => format!("ended with status {}: {said}", output.status),
    }
}
