//! Mistakes made on purpose, so that tests can show that a rehearsal finds them. Outside of this crate's own tests none is ever made.

/// A mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// Acts first and writes the intent down afterwards.
    IntentAfterEffect,
    /// Takes an unknown outcome for a done one.
    UnknownIsDone,
    /// Pours a stream again while nobody knows what became of it.
    PourAgain,
    /// Every controller has the same fence.
    NoFence,
    /// A command whose start was not prevented counts as one that never starts.
    NoSeal,
    /// Goes back over what is surely done, and not over what may be.
    UndoOnlyDone,
    /// Waits for those to leave who come by one of several directors, and forgets the others.
    ForgetsADirector,
    /// The same on the way back alone.
    ForgetsADirectorBack,
    /// Freezes a target on the way back without waiting until nobody is on it.
    FreezeBusyTarget,
    /// Opens a source without the last pass back.
    NoLastPassBack,
    /// Reads pools and sees nothing that others have changed.
    BlindToDrift,
    /// Takes a replica that says it lacks little for one that has everything.
    LagIsProof,
    /// Lets the source of a replica take over again without the proof that it has everything.
    NoProofBack,
    /// Lets it take over while its target still takes writes.
    LeavesTargetOpen,
    /// Gives a host back without looking whether anybody is on it.
    CancelInUse,
    /// Asks a provider without looking whether it has been asked before.
    CancelAgain,
    /// Takes for well who serves, without a look.
    NoLook,
    /// Takes a target out on the way back without a look at who is left.
    NoLookBack,
    /// Opens the source of a replica again while nobody knows whether its target takes writes.
    UnfenceOnUnknown,
    /// Bounds a freeze beyond the promote, and puts the pair back into service without a look at its target.
    ReleasesAfterPromote,
}

/// Whether this mistake is to be made.
#[cfg(not(test))]
pub(crate) const fn is(_: Mutant) -> bool {
    false
}

#[cfg(test)]
pub(crate) use switch::{is, with};

#[cfg(test)]
mod switch {
    use std::cell::Cell;

    use super::Mutant;

    thread_local! {
        static MUTANT: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    pub(crate) fn is(mutant: Mutant) -> bool {
        MUTANT.get() == Some(mutant)
    }

    /// Makes a mistake on this thread while something runs.
    pub(crate) fn with<T>(mutant: Mutant, run: impl FnOnce() -> T) -> T {
        MUTANT.set(Some(mutant));
        let ran = run();
        MUTANT.set(None);
        ran
    }
}
