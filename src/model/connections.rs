//! How the connections that a drained host still holds are moved away, and how far that is.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Client, Template};
use crate::secret::SecretRef;
use crate::text;

/// What is done about connections that do not end by themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// How they are let go.
    pub by: LetGo,
    /// How many of a wave are let go in a second; where it is governed, at first.
    pub pace: u64,
    /// How many at most.
    pub max_pace: u64,
    /// What governs the pace; nothing leaves it as it is.
    pub govern: Vec<Govern>,
    /// How long that may take.
    pub within: Duration,
    /// How long they may take to end by themselves before any is let go.
    pub after: Duration,
}

/// What says how fast connections may be let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Govern {
    /// How many wait to be accepted by the other side, and how many it has refused for that.
    AcceptQueue,
    /// How many were ended and have not come back.
    Away,
    /// How long checks of the other side take.
    Checks,
    /// How loaded it is.
    Load,
}

impl Govern {
    /// The words in plans.
    pub const WORDS: [(&str, Self); 4] =
        [("accept_queue", Self::AcceptQueue), ("away", Self::Away), ("checks", Self::Checks), ("load", Self::Load)];

    /// The word in plans.
    pub fn name(self) -> &'static str {
        Self::WORDS.iter().find(|(_, govern)| *govern == self).map_or("", |(word, _)| word)
    }
}

/// How connections are let go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LetGo {
    /// The director ends them one by one.
    Close,
    /// The kernel of the host ends them.
    Reset,
    /// A command on the host asks the service to let so many clients go.
    Hint {
        /// The command; values put in for `{{ name }}` are quoted as one word.
        run: Template,
        /// How long it may take.
        timeout: Duration,
        /// Environment variables of the command, from secrets.
        secrets: BTreeMap<String, SecretRef>,
    },
}

impl LetGo {
    /// Whether the host of the service ends them, or asks for it.
    pub fn is_on_host(&self) -> bool {
        !matches!(self, Self::Close)
    }

    /// The word in plans.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Close => "close",
            Self::Reset => "reset",
            Self::Hint { .. } => "hint",
        }
    }
}

/// How far connections have been moved away, as it is recorded now and then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Milestone {
    /// Connections that were left.
    pub left: u64,
    /// Those that there were when it began.
    pub of: u64,
    /// How many of its wave might be let go in a second; where it stood still, how many before.
    pub pace: u64,
    /// What held it, if anything did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_by: Option<String>,
}

impl std::fmt::Display for Milestone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let left = text::count(self.left, "connection");
        write!(f, "{left} of {} left, at a pace of {}/s", text::grouped(self.of), self.pace)?;
        self.held_by.as_ref().map_or(Ok(()), |held_by| write!(f, "; held by {held_by}"))
    }
}

/// How far connections are moved away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LettingGo {
    /// Connections that are left.
    pub left: u64,
    /// Those that there were when it began.
    pub of: u64,
    /// How many may be let go in a second now, by all of the wave.
    pub pace: u64,
    /// How long the rest takes at the speed of the last seconds; `None` while nobody can tell.
    pub seconds_left: Option<u64>,
    /// What holds it, if anything does.
    pub held_by: Option<String>,
    /// Some who are left, those first that have been there longest.
    pub clients: Vec<Client>,
}

impl std::fmt::Display for LettingGo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} of {} left, at most {}/s",
            text::count(self.left, "connection"),
            text::grouped(self.of),
            self.pace
        )?;
        if let Some(seconds) = self.seconds_left {
            write!(f, ", about {} to go", text::duration(Duration::from_secs(seconds)))?;
        }
        if let Some(held_by) = &self.held_by {
            write!(f, "; held by {held_by}")?;
        }
        let clients: Vec<String> = self.clients.iter().map(Client::to_string).collect();
        if clients.is_empty() { Ok(()) } else { write!(f, "; {}", text::list(&clients)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_it_is_is_told_in_one_line() {
        let client = Client { address: "10.0.0.7".into(), sessions: 3, oldest: Some(Duration::from_secs(63)) };
        let told = LettingGo { left: 4210, of: 5000, pace: 100, ..LettingGo::default() };
        assert_eq!(told.to_string(), "4,210 connections of 5,000 left, at most 100/s");
        let told = LettingGo { seconds_left: Some(42), held_by: Some("a pause".into()), clients: vec![client], ..told };
        let all = "4,210 connections of 5,000 left, at most 100/s, about 42 s to go; held by a pause; \
                   10.0.0.7 (3 sessions, the oldest for 1m 03s)";
        assert_eq!(told.to_string(), all);
    }
}
