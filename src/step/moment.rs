//! The named places in a move at which states, hooks, gates and the service itself contribute steps, and what they contribute.

use super::StepKind;
use crate::model::{HookPoint, OnFailure};

/// A named place in a move. Which of them a move has, and in which order, is said by its strategy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// Before anything is done for the pair.
    BeforePair,
    /// Before the target is made ready.
    BeforeSeed,
    /// The target is made ready for what will be carried over.
    Prepare,
    /// Everything is carried over for the first time, while the source serves.
    Seed,
    /// After that.
    AfterSeed,
    /// The pair waits until it is its turn to leave service.
    Turn,
    /// What changed since is carried over, until little is left.
    CatchUp,
    /// Both sides are compared while the source serves.
    CompareAhead,
    /// What changed while they were compared is carried over.
    CatchUpAgain,
    /// Before the source loses traffic.
    BeforeDrain,
    /// The source loses its traffic, and its connections end.
    Drained,
    /// After that.
    AfterDrain,
    /// The writer on the source stops.
    Freeze,
    /// The source is kept from taking writes, also after a restart.
    Fenced,
    /// The rest is carried over: nobody writes.
    Frozen,
    /// It is proved that the target has everything.
    Proved,
    /// The target is about to become the one that has everything: what is undone here brings that back. Only where there is a way back.
    HandedOver,
    /// The target becomes the one that takes writes.
    Promoted,
    /// The writer on the target starts.
    Thaw,
    /// The target is looked at.
    Checked,
    /// Before the target gets traffic.
    BeforeShift,
    /// The target gets its share in steps.
    Shifted,
    /// The source is kept out of service for good.
    Retired,
    /// After the target has its full share.
    AfterShift,
    /// The pair is back in service: another one may leave it.
    BackInService,
    /// After everything for the pair is done.
    AfterPair,
    /// Changes flow from the target back to the source, from the moment on at which the target may take any: what is contributed here stays
    /// under way beside everything up to the commit, and is undone before the target loses traffic. Only where there is a way back.
    Reversed,
    /// The way back ends. Only where there is one.
    Committed,
    /// Nothing flows back any more. Only where there was a way back.
    Unlinked,
    /// What the way back needed is given up.
    Released,
    /// What the move has left on the hosts is removed.
    CleanUp,
}

impl Moment {
    /// The moment at which the hooks and gates of a point stand.
    pub fn of(point: HookPoint) -> Self {
        match point {
            HookPoint::BeforePair => Self::BeforePair,
            HookPoint::BeforeSeed => Self::BeforeSeed,
            HookPoint::AfterSeed => Self::AfterSeed,
            HookPoint::BeforeDrain => Self::BeforeDrain,
            HookPoint::AfterDrain => Self::AfterDrain,
            HookPoint::Freeze => Self::Freeze,
            HookPoint::Thaw => Self::Thaw,
            HookPoint::BeforeShift => Self::BeforeShift,
            HookPoint::EachShift => Self::Shifted,
            HookPoint::AfterShift => Self::AfterShift,
            HookPoint::AfterPair => Self::AfterPair,
        }
    }
}

/// A step that is contributed to a moment: what it does is known, its place in the graph is not.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// Its name among the steps of its pair: the end of its id.
    pub name: String,
    /// What is done.
    pub kind: StepKind,
    /// What happens when it fails; `None`: as the service says.
    pub on_failure: Option<OnFailure>,
    /// Why there is no way back once it may have been done; `None` when there is one.
    pub no_return: Option<String>,
    /// Whether the target may take writes from here on that a rollback has to bring back.
    pub opens: bool,
}

impl Draft {
    /// One that can be gone back over.
    pub fn new(name: impl Into<String>, kind: StepKind) -> Self {
        Self { name: name.into(), kind, on_failure: None, no_return: None, opens: false }
    }
}
