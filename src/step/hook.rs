//! Commands of the plan.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Class, Ends, Kind, Live, Mark, Played, Preview, Step, Undo};
use crate::model::{CONTROLLER, HookPoint};
use crate::secret::SecretRef;
use crate::text;

/// A command with its values filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookStep {
    /// Inventory name of the host, or [`CONTROLLER`].
    pub host: String,
    /// When it runs.
    pub at: HookPoint,
    /// The shell script.
    pub run: String,
    /// How long it may take.
    pub timeout: Duration,
    /// Whether running it twice is the same as once.
    pub idempotent: bool,
    /// A script that exits 0 when the work is already done.
    pub done_when: Option<String>,
    /// The script that takes it back.
    pub undo: Option<String>,
    /// Environment variables from secrets.
    pub secrets: BTreeMap<String, SecretRef>,
    /// Other environment variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
}

impl Kind for HookStep {
    fn class(&self) -> Class {
        match (&self.done_when, self.idempotent) {
            (Some(_), _) => Class::Probed,
            (None, true) => Class::Convergent,
            (None, false) => Class::Keyed,
        }
    }

    fn phase(&self) -> &'static str {
        self.at.name()
    }

    fn describe(&self) -> String {
        format!("on {}: {}", self.host, text::command(&self.run, 100))
    }

    fn ends(&self, _: &str, _: &str) -> Ends {
        Ends::when("the command ends").within(self.timeout)
    }

    fn hosts(&self) -> Option<Vec<&str>> {
        Some(vec![&self.host])
    }

    fn command(&self) -> Option<&str> {
        Some(&self.run)
    }

    fn undo(&self) -> Undo<'_> {
        Undo::Command(self)
    }

    fn preview(&self, _: &Step, live: &dyn Live, _: &mut Played) -> Preview {
        let seen = match self.host == CONTROLLER {
            true => Some("the controller runs here".to_owned()),
            false => live.host(&self.host).is_some().then(|| format!("{} can be reached", self.host)),
        };
        Preview { seen, mark: Mark::CannotBeChecked }
    }
}
