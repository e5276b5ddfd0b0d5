//! Moving away the connections that a drained member still holds.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Class, Ends, Kind, Live, Mark, Played, Preview, Step, Who};
use crate::check::{Checks, PoolRef};
use crate::model::{Govern, OnDeadline};
use crate::secret::SecretRef;
use crate::text;

/// Lets connections go, at a pace that the rest can take, until none is left.
///
/// Its class is *convergent*: it goes by the number that is left, which is counted anew each time. What must not be done twice is one batch:
/// that would be twice the pace. Sessions are ended by a list that was read right before, and a command runs once for its batch, under a receipt;
/// a batch whose end is not known is never asked for again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConnectionsStep {
    /// Inventory name of the director.
    pub director: String,
    /// The pool.
    pub pool: String,
    /// The member.
    pub member: String,
    /// Inventory name of its host.
    pub host: String,
    /// Local port of the service on that host.
    pub port: Option<u16>,
    /// How they are let go.
    pub by: LetGoBy,
    /// How many of a wave are let go in a second; where it is governed, at first.
    pub pace: u64,
    /// How many at most.
    pub max_pace: u64,
    /// What governs the pace; nothing leaves it as it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub govern: Vec<Govern>,
    /// The hosts that connections come back to, where they are measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub watched: Vec<Watched>,
    /// Their checks, where these are measured.
    #[serde(default)]
    pub checks: Checks,
    /// Queries that are asked for this alone.
    #[serde(default)]
    pub asks: Checks,
    /// How long it may take.
    pub within: Duration,
    /// How long they may take to end by themselves before any is let go.
    pub after: Duration,
    /// What happens when the time is up.
    pub on_deadline: OnDeadline,
    /// Id of the traffic step that drained it.
    pub drained_by: String,
}

/// A host that connections come back to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// Its inventory name.
    pub host: String,
    /// Local port of the service on it.
    pub port: Option<u16>,
}

/// How connections are let go, with everything filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LetGoBy {
    /// The director ends them one by one.
    Close,
    /// The kernel of the host ends them.
    Reset,
    /// A command on the host asks the service to let so many clients go.
    Hint {
        /// The shell script.
        run: String,
        /// How long it may take.
        timeout: Duration,
        /// Environment variables from secrets.
        secrets: BTreeMap<String, SecretRef>,
    },
}

impl ConnectionsStep {
    /// Whose connections they are.
    pub fn who(&self) -> Who<'_> {
        let Self { director, pool, member, host, port, .. } = self;
        Who { director, pool, member, host, port: *port }
    }

    /// Whether the pace rises and falls.
    pub fn is_governed(&self) -> bool {
        !self.govern.is_empty() || !self.asks.is_empty()
    }

    /// What governs the pace, by its words.
    fn governed_by(&self) -> Vec<&'static str> {
        let asks = self.asks.checks().iter().map(|check| check.probe.key());
        self.govern.iter().map(|govern| govern.name()).chain(asks).collect()
    }

    /// The pool of the director.
    pub fn pool(&self) -> PoolRef {
        PoolRef { director: self.director.clone(), pool: self.pool.clone() }
    }
}

impl Kind for ConnectionsStep {
    fn class(&self) -> Class {
        Class::Convergent
    }

    fn phase(&self) -> &'static str {
        "connections"
    }

    fn describe(&self) -> String {
        let Self { director, member, host, pace, on_deadline, .. } = self;
        let within = text::duration(self.within);
        let who = match &self.by {
            LetGoBy::Close => format!("{director} ends the connections of {member}"),
            LetGoBy::Reset => format!("{host} resets its connections"),
            LetGoBy::Hint { run, .. } => {
                format!("{host} asks its clients to leave: {}", text::command(run, 100))
            }
        };
        let pace = match self.governed_by().as_slice() {
            [] => format!("at most {pace}/s"),
            governed => format!("{pace} to {}/s as {} let it", self.max_pace, text::list(governed)),
        };
        format!("{who}, {pace}, within {within}, then {}", on_deadline.name())
    }

    fn ends(&self, _: &str, _: &str) -> Ends {
        let otherwise = format!(", else: {}", self.on_deadline.name());
        Ends::when("no connection is left").within(self.within).otherwise(otherwise)
    }

    fn hosts(&self) -> Option<Vec<&str>> {
        Some(vec![&self.host])
    }

    fn command(&self) -> Option<&str> {
        match &self.by {
            LetGoBy::Close | LetGoBy::Reset => None,
            LetGoBy::Hint { run, .. } => Some(run),
        }
    }

    fn takes(&self, _: &Step, live: &dyn Live) -> Duration {
        let now = live.pool(&self.director, &self.pool).and_then(|pool| pool.member(&self.member)?.connections);
        self.after + Duration::from_secs(now.unwrap_or(0) / self.pace.max(1))
    }

    fn preview(&self, _: &Step, live: &dyn Live, played: &mut Played) -> Preview {
        let now = played.connections(live, &self.director, &self.pool, &self.member);
        let told = |n: u64| {
            let time = text::duration(Duration::from_secs(n.div_ceil(self.pace.max(1))));
            format!("{} now, {time} at this pace", text::count(n, "connection"))
        };
        Preview { seen: now.map(told), mark: Mark::Assumed }
    }
}
