//! Waiting until a member has no connections.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Class, Ends, Kind, Live, Mark, Played, Preview, Step};
use crate::model::OnDeadline;
use crate::text;

/// Intervals without a connection and without a new session, after which a member is empty.
pub const QUIET: u32 = 3;

/// Waits until a member has no connections, and gets none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmptyStep {
    /// Inventory name of the director.
    pub director: String,
    /// The pool.
    pub pool: String,
    /// The member.
    pub member: String,
    /// Inventory name of its host, asked where the director cannot count.
    pub host: String,
    /// Local port of the service on that host.
    pub port: Option<u16>,
    /// How long it may take.
    pub deadline: Duration,
    /// How often it is counted.
    pub interval: Duration,
    /// What happens at the deadline.
    pub on_deadline: OnDeadline,
    /// Id of the traffic step that drained it.
    pub drained_by: String,
    /// Whether that somebody comes meanwhile is no reason to wait: clients are pinned to it and stay until it is taken out, or it is counted
    /// on its host, to which the checks of another director come.
    #[serde(default)]
    pub keeps_pinned: bool,
}

/// A member of a pool and its host, for who counts connections.
#[derive(Debug, Clone, Copy)]
pub struct Who<'a> {
    /// Inventory name of the director.
    pub director: &'a str,
    /// The pool.
    pub pool: &'a str,
    /// The member.
    pub member: &'a str,
    /// Inventory name of its host.
    pub host: &'a str,
    /// Local port of the service on that host.
    pub port: Option<u16>,
}

impl EmptyStep {
    /// Whose connections it waits for.
    pub fn who(&self) -> Who<'_> {
        let Self { director, pool, member, host, port, .. } = self;
        Who { director, pool, member, host, port: *port }
    }
}

impl Kind for EmptyStep {
    fn class(&self) -> Class {
        Class::Reading
    }

    fn phase(&self) -> &'static str {
        "empty"
    }

    fn describe(&self) -> String {
        let (member, deadline) = (&self.member, text::duration(self.deadline));
        let sessions = if self.keeps_pinned { "" } else { " and gets no new session" };
        format!("until {member} has no connections{sessions}, at most {deadline}, then {}", self.on_deadline.name())
    }

    fn ends(&self, _: &str, _: &str) -> Ends {
        let otherwise = format!(", else: {}", self.on_deadline.name());
        Ends::when(if self.keeps_pinned { "no connection is left" } else { "no connection is left and none comes" })
            .within(self.deadline)
            .otherwise(otherwise)
    }

    fn hosts(&self) -> Option<Vec<&str>> {
        Some(vec![&self.host])
    }

    fn takes(&self, _: &Step, _: &dyn Live) -> Duration {
        self.interval * QUIET
    }

    fn preview(&self, _: &Step, live: &dyn Live, played: &mut Played) -> Preview {
        let now = played.connections(live, &self.director, &self.pool, &self.member);
        Preview { seen: now.map(|n| format!("{} now", text::count(n, "connection"))), mark: Mark::Assumed }
    }
}
