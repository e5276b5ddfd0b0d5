//! What went wrong outside of this process: on a host, at a director, or on the way there.
//!
//! Owns the one shape of such errors: who it was about, how certain it is what was done, and whether trying again by itself helps. Must
//! never hold text from outside that is not escaped.

/// Why something outside did not happen as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {what}")]
pub struct Error {
    /// The host or the director, by its name in the inventory, and its address where that is known: `dal-1 (root@127.0.10.1:2201)`.
    pub at: String,
    /// What kind of trouble it is.
    pub kind: Kind,
    /// What is known about the work that was asked for.
    pub certainty: Certainty,
    /// Whether trying again by itself helps; otherwise somebody has to mend something first.
    pub transient: bool,
    /// What happened and why, in one sentence, escaped.
    pub what: String,
    /// What to do next.
    pub hint: Option<String>,
}

/// What is known about work that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certainty {
    /// The other side said no: nothing was changed.
    Refused,
    /// It was not done, or not to its end, and doing it again is safe.
    NotDone,
    /// Nobody can tell what of it was done.
    Unknown,
}

/// Kinds of trouble. They explain; what follows from them is in [`Error::certainty`] and [`Error::transient`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No connection could be made.
    Unreachable,
    /// The host's key is not in known_hosts.
    UnknownHostKey,
    /// The host's key is another than the known one.
    ChangedHostKey,
    /// No key was accepted.
    LoginRefused,
    /// Settings on this side are wrong (a key file, ssh_config, an address).
    Config,
    /// The other side was reached, and will not or cannot do what was asked for.
    Refused,
    /// The connection broke, time ran out, or the answer was lost.
    Lost,
    /// It was accepted and reads back otherwise, or the places that answer disagree.
    Disagrees,
    /// Somebody else changed it in between, and nothing of ours was written.
    Conflict,
}

impl Kind {
    /// What is known about the work, where nothing more is known than the kind.
    fn certainty(self) -> Certainty {
        match self {
            Self::UnknownHostKey | Self::ChangedHostKey | Self::LoginRefused | Self::Refused => Certainty::Refused,
            Self::Unreachable | Self::Config | Self::Conflict => Certainty::NotDone,
            Self::Lost | Self::Disagrees => Certainty::Unknown,
        }
    }

    fn is_transient(self) -> bool {
        matches!(self, Self::Unreachable | Self::Lost)
    }
}

impl Error {
    /// An error without a hint, with the certainty that its kind has by itself.
    pub fn new(at: impl Into<String>, kind: Kind, what: impl Into<String>) -> Self {
        Self {
            at: at.into(),
            kind,
            certainty: kind.certainty(),
            transient: kind.is_transient(),
            what: what.into(),
            hint: None,
        }
    }

    /// The same with what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same, where more or less is known about the work than by the kind alone.
    #[must_use]
    pub fn certainty(self, certainty: Certainty) -> Self {
        Self { certainty, ..self }
    }

    /// The same for a write that failed before anything was sent.
    #[must_use]
    pub fn nothing_changed(mut self) -> Self {
        self.what.push_str("; nothing was changed");
        if self.is_unknown() {
            self.certainty = Certainty::NotDone;
        }
        self
    }

    /// Whether it is unknown what was done.
    pub fn is_unknown(&self) -> bool {
        self.certainty == Certainty::Unknown
    }
}

/// An error of the operating system, without its number.
pub fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    text.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_or_cannot_be_mended_by_waiting_is_never_tried_again() {
        for kind in [Kind::UnknownHostKey, Kind::ChangedHostKey, Kind::LoginRefused, Kind::Refused, Kind::Config] {
            let error = Error::new("dal-1", kind, "no");
            assert!(!error.transient && !error.is_unknown(), "{kind:?}");
        }
        assert!(Error::new("dal-1", Kind::Unreachable, "no route").transient);
        assert!(Error::new("dal-1", Kind::Lost, "cut").is_unknown());
    }
}
