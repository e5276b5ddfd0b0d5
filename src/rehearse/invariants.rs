//! The promises that a rehearsal watches over, and how each is broken.

use serde::Serialize;

/// A promise that did not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "promise")]
pub enum Violation {
    /// Both sides of a pair would take a write.
    #[error("two writers: {old} and {new} would both take a write")]
    TwoWriters {
        /// The source of the pair.
        old: String,
        /// Its target.
        new: String,
    },
    /// Users were told that something is safe, and where they are sent it is not.
    #[error(
        "a write is lost: {host} is where users are sent, and it lacks or overwrites one that they were told is safe"
    )]
    WriteLost {
        /// The host.
        host: String,
    },
    /// Users are sent to a service that takes nothing.
    #[error("users are cut off: they are still on {host}, and it takes no writes")]
    UsersCutOff {
        /// The host.
        host: String,
    },
    /// Connections are ended where new ones come.
    #[error("connections are ended on {member}, which gets new ones")]
    LetGoInService {
        /// The member.
        member: String,
    },
    /// A pool without anybody.
    #[error("nobody serves in {pool}")]
    NobodyServes {
        /// Director and pool.
        pool: String,
    },
    /// Less than the plan's rails allow.
    #[error("{pool} is left with {serves} of capacity, and {floor} must serve")]
    BelowFloor {
        /// Director and pool.
        pool: String,
        /// What serves.
        serves: u64,
        /// What must.
        floor: u64,
    },
    /// Weight was raised on a host whose service is broken.
    #[error("{member} gets more traffic while its service is broken")]
    WeightOnSick {
        /// The member.
        member: String,
    },
    /// A host was given back that somebody needs.
    #[error("{host} is given back to its provider, and {why}")]
    GivenAway {
        /// The host.
        host: String,
        /// Who needs it.
        why: String,
    },
    /// A command that must not be repeated.
    #[error("a command that must not be repeated took hold twice")]
    RanTwice,
    /// Something was done, and the journal does not say that it was going to be.
    #[error("it acts without an intent in the journal")]
    NoIntent,
    /// The journal cannot be read any more.
    #[error("the journal does not fold: {why}")]
    DoesNotFold {
        /// Why.
        why: String,
    },
    /// The engine gave up by itself.
    #[error("{why}")]
    Internal {
        /// Why.
        why: String,
    },
    /// It is held, nothing is wrong any more, and it is held again.
    #[error("held for good: nothing is wrong any more, and still: {why}")]
    HeldForGood {
        /// Why.
        why: String,
    },
    /// It waits, and nothing will ever happen.
    #[error("it waits for something that never comes")]
    Waits,
    /// It goes on and on.
    #[error("it does not come to an end")]
    Endless,
    /// It says that it is done, and things are otherwise than after an undisturbed run.
    #[error("it ends otherwise than an undisturbed run: {found}; it should be {expected}")]
    EndsOtherwise {
        /// What is.
        found: String,
        /// What should be.
        expected: String,
    },
    /// It says that it is done, and users are sent to a broken service.
    #[error("it says that it is done, and {host}, where users are sent, is broken")]
    DoneWhileSick {
        /// The host.
        host: String,
    },
    /// It says that it has gone back, and things are otherwise than before.
    #[error("it has rolled back to something else than it began with: {found}; it was {expected}")]
    NotBack {
        /// What is.
        found: String,
        /// What was.
        expected: String,
    },
}
