//! Giving a source back to whom it is rented from, once everything has left it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Class, EmptyStep, Ends, HookStep, Kind, Live, Mark, Played, Preview, Step, Undo};
use crate::provider::{Machine, ProviderConfig};
use crate::text;

/// Does one thing of what gives a source back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecommissionStep {
    /// Inventory name of the source.
    pub host: String,
    /// Which machine that is.
    pub machine: Machine,
    /// Whom it goes back to.
    pub provider: ProviderConfig,
    /// Where nobody may be left.
    pub counted: Counted,
    /// How often it is looked.
    pub interval: Duration,
    /// What is done.
    pub act: DecommissionAct,
}

/// Where nobody may be left on a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// In these pools.
    pub members: Vec<EmptyStep>,
    /// At these ports, besides those of the pools.
    pub ports: Vec<u16>,
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecommissionAct {
    /// Waits until nobody has been there for so long without a gap.
    Quiet(Duration),
    /// Waits for somebody's word.
    Ask,
    /// Wipes its disks, and has that proved: `done_when` is the proof.
    Wipe(Box<HookStep>),
    /// Gives it back. What was asked for before is never asked for again.
    Cancel,
    /// Waits until it is gone.
    Follow,
}

impl DecommissionStep {
    /// The command with which somebody says yes.
    pub fn command(&self, run: &str) -> String {
        format!("migrate retire {run} {}", self.host)
    }

    /// What is given up.
    pub fn gives_up(&self) -> String {
        format!("{} takes back {} and wipes its disks", self.provider.kind().title(), self.host)
    }

    /// Whether anything is another way afterwards.
    pub fn acts(&self) -> bool {
        self.wipes().is_some() || self.act == DecommissionAct::Cancel
    }

    /// The command that wipes its disks, where that is what is done.
    pub fn wipes(&self) -> Option<&HookStep> {
        match &self.act {
            DecommissionAct::Wipe(hook) => Some(hook),
            _ => None,
        }
    }

    fn is_back(&self) -> String {
        let kind = self.provider.kind();
        format!("{} {} is given back to {} {}", self.host, self.machine, kind.title(), kind.when())
    }
}

impl Kind for DecommissionStep {
    fn class(&self) -> Class {
        match self.act {
            DecommissionAct::Quiet(_) | DecommissionAct::Ask | DecommissionAct::Follow => Class::Reading,
            // The provider tells whether it has been asked: that is read before every try.
            DecommissionAct::Cancel => Class::Probed,
            DecommissionAct::Wipe(ref hook) => hook.class(),
        }
    }

    fn phase(&self) -> &'static str {
        "decommission"
    }

    fn describe(&self) -> String {
        let host = &self.host;
        match self.act {
            DecommissionAct::Quiet(time) => {
                format!("until nobody has been on {host} and nobody came for {}", text::duration(time))
            }
            DecommissionAct::Ask => format!("until somebody says that {}", self.is_back()),
            DecommissionAct::Wipe(ref hook) => format!("wipe its disks: {}", hook.describe()),
            DecommissionAct::Cancel => self.is_back(),
            DecommissionAct::Follow => format!("until {}", self.gives_up()),
        }
    }

    fn ends(&self, run: &str, _: &str) -> Ends {
        let title = self.provider.kind().title();
        match self.act {
            DecommissionAct::Quiet(_) => Ends::when("it has been quiet for so long without a gap"),
            DecommissionAct::Ask => Ends::when(format!("somebody says so: {}", self.command(run))),
            DecommissionAct::Wipe(ref hook) => Ends::when("the proof says so").within(hook.timeout),
            DecommissionAct::Cancel => Ends::when(format!("{title} has the cancellation, read back")),
            DecommissionAct::Follow => Ends::when(format!("{title} has reclaimed it"))
                .otherwise(format!("; until then: {} --void", self.command(run))),
        }
    }

    fn hosts(&self) -> Option<Vec<&str>> {
        Some(vec![&self.host])
    }

    fn command(&self) -> Option<&str> {
        self.wipes().map(|hook| hook.run.as_str())
    }

    fn stands_aside(&self) -> bool {
        !self.acts()
    }

    fn undo(&self) -> Undo<'_> {
        if self.act == DecommissionAct::Cancel { Undo::Decommission(self) } else { Undo::Nothing }
    }

    fn takes(&self, _: &Step, _: &dyn Live) -> Duration {
        // The move itself does not wait for it.
        Duration::ZERO
    }

    fn preview(&self, step: &Step, live: &dyn Live, played: &mut Played) -> Preview {
        if let Some(hook) = self.wipes() {
            return hook.preview(step, live, played);
        }
        match (self.act == DecommissionAct::Cancel, live.machine(&self.host)) {
            (true, Some(now)) => Preview { seen: Some(now.to_string()), mark: Mark::Verified },
            _ => Preview { seen: None, mark: Mark::Assumed },
        }
    }
}
