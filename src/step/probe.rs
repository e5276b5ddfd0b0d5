//! Trying the agent on all hosts of a wave before anything else happens there.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Class, Ends, Kind, Live, Mark, Played, Preview, Step};
use crate::text;

/// Time of an agent's way to a host, and of its start.
const START: Duration = Duration::from_secs(2);
/// Kinds of hosts that are told by name.
const TOLD: usize = 3;

/// Puts the agent on hosts and starts it there, so that nobody learns in the middle of a move that it cannot run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeStep {
    /// Inventory names.
    pub hosts: Vec<String>,
}

impl Kind for ProbeStep {
    fn class(&self) -> Class {
        Class::Convergent
    }

    fn phase(&self) -> &'static str {
        "probe"
    }

    fn describe(&self) -> String {
        match self.hosts.as_slice() {
            few @ ([] | [_] | [_, _] | [_, _, _] | [_, _, _, _]) => {
                format!("the copy agent starts on {}", text::list(few))
            }
            many => format!("the copy agent starts on {}", text::count(many.len() as u64, "host")),
        }
    }

    fn ends(&self, _: &str, _: &str) -> Ends {
        Ends::when("the copy agent has started on every host")
    }

    fn hosts(&self) -> Option<Vec<&str>> {
        Some(self.hosts.iter().map(String::as_str).collect())
    }

    fn takes(&self, _: &Step, _: &dyn Live) -> Duration {
        START
    }

    /// Verified is only what was tried: `plan --probe`.
    fn preview(&self, _: &Step, live: &dyn Live, _: &mut Played) -> Preview {
        if self.hosts.iter().all(|host| live.agent(host).is_some()) {
            return Preview { seen: Some("it has started there".to_owned()), mark: Mark::Verified };
        }
        let kinds: Option<BTreeSet<String>> = self
            .hosts
            .iter()
            .map(|host| live.host(host).map(|facts| format!("{}, {}", facts.arch, facts.kernel)))
            .collect();
        let told: Option<Vec<String>> = kinds.map(|kinds| kinds.into_iter().collect());
        Preview { seen: told.filter(|told| told.len() <= TOLD).map(|told| told.join("; ")), mark: Mark::Assumed }
    }
}
