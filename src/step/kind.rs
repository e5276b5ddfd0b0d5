//! What the other rooms ask of a step, whatever its kind.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    DecommissionStep, FenceStep, HandOverStep, HookStep, Live, Mark, Played, Preview, Purpose, RelayStep, ReplicaStep,
    ReverseStep, SetAsideStep, SilenceStep, Step, TrafficStep, TreeStep,
};
use crate::host::TreeSize;
use crate::model::Change;

/// Time of anything that is one round of commands.
pub(super) const ROUND: Duration = Duration::from_millis(200);

/// What a kind of step says of itself.
pub trait Kind {
    /// What may be assumed when its outcome is not known.
    fn class(&self) -> Class;

    /// One word for people: the phase that the step is part of.
    fn phase(&self) -> &'static str;

    /// What is done, in one line for people.
    fn describe(&self) -> String;

    /// What would end it. `run` and `step` are for commands that people are told to give.
    fn ends(&self, _run: &str, _step: &str) -> Ends {
        Ends::when("it is done and read back")
    }

    /// Inventory names of the hosts it acts on; `None`: both hosts of its pair.
    fn hosts(&self) -> Option<Vec<&str>> {
        None
    }

    /// The command of the plan that it runs.
    fn command(&self) -> Option<&str> {
        None
    }

    /// The copy job whose data it carries.
    fn carries(&self) -> Option<&str> {
        None
    }

    /// Whether data flows between the hosts of its pair while it is under way, or is read on both of them.
    fn is_stream(&self) -> bool {
        self.carries().is_some()
    }

    /// The tree whose changes since an earlier pass it has to find.
    fn finds_changes_of(&self) -> Option<&TreeStep> {
        None
    }

    /// What it carries over for the first time, where that was sized.
    fn volume(&self, _step: &Step, _live: &dyn Live) -> Option<TreeSize> {
        None
    }

    /// That it takes a time which nobody knows before.
    fn takes_unknown_time(&self) -> Option<AtMost> {
        None
    }

    /// What it shares with other steps, so that only some of them may be under way.
    fn lane(&self) -> Option<Lane> {
        None
    }

    /// What it is for, where it moves traffic.
    fn purpose(&self) -> Option<Purpose> {
        None
    }

    /// What has to be seen before it acts, because its undo or a later step needs it.
    fn looks(&self) -> Option<Look<'_>> {
        None
    }

    /// Whether that is seen anew when an attempt has failed: somebody may have mended what is there.
    fn looks_anew(&self) -> bool {
        false
    }

    /// Whether everything else goes on when it fails: nothing waits for it, and the run is held at its end.
    fn holds_alone(&self) -> bool {
        false
    }

    /// Whether nothing but the end of the run waits for it, for days perhaps: others go back beside it, and it is let go where they are held.
    fn stands_aside(&self) -> bool {
        false
    }

    /// Id of the step that saw what this one needs.
    fn found_by(&self) -> Option<&str> {
        None
    }

    /// Whether it brings the target in step with its source, right before that leaves service.
    fn brings_in_step(&self) -> bool {
        false
    }

    /// How its work is put back.
    fn undo(&self) -> Undo<'_> {
        Undo::Nothing
    }

    /// How long it takes, by what is known.
    fn takes(&self, _step: &Step, _live: &dyn Live) -> Duration {
        ROUND
    }

    /// What it will find, as far as can be told, and how sure that is. `played` are the pools as the steps before it leave them.
    fn preview(&self, _step: &Step, _live: &dyn Live, _played: &mut Played) -> Preview {
        Preview { seen: None, mark: Mark::Assumed }
    }
}

/// What may be assumed when the outcome of a step is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Only reads or waits.
    Reading,
    /// Can be repeated.
    Convergent,
    /// The host keeps a receipt per key; a repeat gets the first result.
    Keyed,
    /// The result can be asked for.
    Probed,
    /// Nobody can be asked: an unknown outcome holds.
    Opaque,
}

/// The longest that something takes, `None` where not even that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AtMost(pub Option<Duration>);

/// What ends a step, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ends {
    /// `no connection is left`.
    pub when: String,
    /// The longest that it may take from its beginning.
    pub within: Option<Duration>,
    /// What happens then, as the end of the sentence: `, else it holds`.
    pub otherwise: String,
}

impl Ends {
    /// Without a limit.
    pub fn when(when: impl Into<String>) -> Self {
        Self { when: when.into(), within: None, otherwise: String::new() }
    }

    /// With a limit.
    #[must_use]
    pub fn within(self, limit: Duration) -> Self {
        Self { within: Some(limit), ..self }
    }

    /// With what happens at the limit.
    #[must_use]
    pub fn otherwise(self, otherwise: impl Into<String>) -> Self {
        Self { otherwise: otherwise.into(), ..self }
    }
}

/// Something that steps share.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// The links and disks that trees are copied over for the first time.
    Seeds,
    /// Writes to a director: what one reads before it writes must not be changed by another one in between.
    Director(String),
}

impl Lane {
    /// How many of the steps that share it may be under way.
    pub fn limit(&self) -> usize {
        match self {
            Self::Seeds => 4,
            Self::Director(_) => 1,
        }
    }
}

/// What a step looks at before it acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look<'a> {
    /// The members of a pool.
    Pool {
        /// Inventory name of the director.
        director: &'a str,
        /// The pool.
        pool: &'a str,
    },
    /// The TTL of a pool.
    Ttl {
        /// Inventory name of the director.
        director: &'a str,
        /// The pool.
        pool: &'a str,
    },
    /// What has to change in the files that a director reads when it starts, so that members are as they are set.
    Files {
        /// Inventory name of the director.
        director: &'a str,
        /// The pool.
        pool: &'a str,
        /// The members.
        members: &'a [Change],
    },
    /// How far the source of a replica is.
    Position(&'a ReplicaStep),
}

/// How a step's work is put back.
#[derive(Debug, Clone, Copy)]
pub enum Undo<'a> {
    /// There is nothing to put back.
    Nothing,
    /// The members get the settings that were seen.
    Members(&'a TrafficStep),
    /// The pool gets the TTL that was seen.
    Ttl {
        /// Inventory name of the director.
        director: &'a str,
        /// The pool.
        pool: &'a str,
    },
    /// The files become what they were.
    Files {
        /// Inventory name of the director.
        director: &'a str,
    },
    /// What the target has taken is carried to the source.
    HandOver(&'a HandOverStep),
    /// The source is brought in step while the target still serves.
    Reverse(&'a ReverseStep),
    /// The host takes new connections again.
    Fence(&'a FenceStep),
    /// The host sends nobody on any more.
    Relay(&'a RelayStep),
    /// What was put aside gets its place again.
    SetAside(&'a SetAsideStep),
    /// The plan has a command for it, or says that there is nothing to put back.
    Command(&'a HookStep),
    /// The commands of a replica say how.
    Replica(&'a ReplicaStep),
    /// Alerts are heard again, or silenced again.
    Silence(&'a SilenceStep),
    /// What was given back is taken again, as long as its provider lets that be.
    Decommission(&'a DecommissionStep),
}

impl Undo<'_> {
    /// Whether undoing does anything.
    pub fn does_something(&self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Members(_)
            | Self::Ttl { .. }
            | Self::Files { .. }
            | Self::Fence(_)
            | Self::Relay(_)
            | Self::HandOver(_)
            | Self::Reverse(_)
            | Self::SetAside(_)
            | Self::Silence(_)
            | Self::Decommission(_) => true,
            Self::Command(hook) => hook.undo.is_some(),
            Self::Replica(replica) => replica.takes_back(),
        }
    }
}
