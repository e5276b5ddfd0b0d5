//! What went wrong while carrying a tree, in a form that crosses the wire and reads well at the other end.
//!
//! Owns which errors end a pass at once and which concern one entry only. Must never hold raw bytes that were not escaped.

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::outside::{Certainty, Error, Kind};
use crate::text;

/// What stands for the root of a tree.
const ROOT: &str = "the root";

/// The host of a pair on which something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    /// Where the tree is.
    Source,
    /// Where it goes.
    Target,
}

/// One thing that went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Where.
    pub side: Side,
    /// What happened, with the path and the reason, escaped.
    pub what: String,
    /// What to do next.
    pub hint: Option<String>,
    /// Whether nothing else can be done after it.
    pub fatal: bool,
    /// Whether trying again by itself makes sense.
    pub retryable: bool,
}

impl Failure {
    /// A system call that failed: `cannot {doing} {path}: {reason}`.
    pub fn of(side: Side, doing: &str, path: &[u8], errno: Errno) -> Self {
        let shown = if path.is_empty() { ROOT.to_owned() } else { show(path) };
        let what = format!("cannot {doing} {shown}: {}", reason(errno));
        Self { side, what, hint: hint(errno).map(str::to_owned), fatal: is_fatal(errno), retryable: false }
    }

    /// A failure that ends the pass.
    pub fn fatal(side: Side, what: impl Into<String>) -> Self {
        Self { side, what: what.into(), hint: None, fatal: true, retryable: false }
    }

    /// The peer did not keep to the protocol, or the bytes were damaged on the way.
    pub fn protocol(side: Side, what: impl std::fmt::Display) -> Self {
        Self { retryable: true, ..Self::fatal(side, format!("the copy stream is broken: {what}")) }
    }

    /// The connection to the peer ended early.
    pub fn lost(side: Side, what: impl std::fmt::Display) -> Self {
        Self { retryable: true, ..Self::fatal(side, format!("the copy stream ended early: {what}")) }
    }

    /// The same with the name of the root, which the agents leave to those who know both.
    pub fn in_root(self, root: &str) -> Self {
        let named = format!(" {}: ", show(root.as_bytes()));
        Self { what: self.what.replacen(&format!(" {ROOT}: "), &named, 1), ..self }
    }

    /// The same with a hint.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl Failure {
    /// The same as an error of that host. Running a pass or a comparison again is always safe; of a stream, its controller knows more.
    pub fn at(self, host: &str) -> Error {
        let error = Error { hint: self.hint, ..failed(host, self.what) };
        if self.retryable { transient(error) } else { error }
    }
}

/// What could not be done for a copy on a host, and cannot be until somebody mends something.
pub fn failed(host: &str, what: impl Into<String>) -> Error {
    Error::new(host, Kind::Refused, what).certainty(Certainty::NotDone)
}

/// The same where trying again by itself makes sense.
pub fn transient(error: Error) -> Error {
    Error { kind: Kind::Lost, transient: true, ..error }
}

/// A path for people.
pub fn show(path: &[u8]) -> String {
    text::escape(path, 300)
}

fn reason(errno: Errno) -> String {
    let text = std::io::Error::from(errno).to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// After these nothing else can be written, so that going on would only repeat them.
fn is_fatal(errno: Errno) -> bool {
    [Errno::NOSPC, Errno::DQUOT, Errno::ROFS, Errno::IO, Errno::STALE, Errno::NOMEM].contains(&errno)
}

fn hint(errno: Errno) -> Option<&'static str> {
    match errno {
        Errno::NOSPC => Some("free space (or inodes) on that filesystem, then run again: it goes on where it stopped"),
        Errno::DQUOT => Some("raise the quota of that user, then run again: it goes on where it stopped"),
        Errno::ROFS => Some("remount that filesystem read-write, then run again"),
        Errno::ACCESS | Errno::PERM => Some("log in as a user who may do that (root keeps owners and devices, too)"),
        Errno::IO => Some("the disk reports errors: look at its kernel log before going on"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_path_reason_and_way_out() {
        let f = Failure::of(Side::Target, "write", b"data/x\n", Errno::NOSPC);
        assert_eq!(f.what, "cannot write data/x: No space left on device");
        assert!(f.fatal && f.hint.is_some());
        let root = Failure::of(Side::Target, "write to", b"", Errno::ACCESS).in_root("/srv/data");
        assert_eq!(root.what, "cannot write to /srv/data: Permission denied");
        assert!(!Failure::of(Side::Source, "read", b"x", Errno::ACCESS).fatal);
    }
}
