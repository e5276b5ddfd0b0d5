//! What can go wrong, and where.
//!
//! Owns the list of faults and which of them a call can suffer. A fault that could not make a difference at a call is not in its list.

use serde::Serialize;

/// Something that goes wrong at one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Nothing reached the other side.
    Before,
    /// It happened, and the answer was lost.
    ReplyLost,
    /// The connection broke before it could happen, and nobody can tell.
    CutOff,
    /// The connection broke, and it happens some time later.
    Late,
    /// A part of it happened, and the answer was lost.
    Half,
    /// It began, and the other side went down before it happened.
    Died,
    /// The other side said no.
    Refused,
    /// The other side said yes and did nothing.
    Ineffective,
    /// Not reachable for this call and the next seven.
    Away,
    /// Not reachable until somebody mends it.
    Gone,
    /// A check that fails once.
    Blip,
    /// The service on the host breaks, and stays broken until somebody mends it.
    Sick,
    /// The controller dies before it happens.
    KilledBefore,
    /// The controller dies right after it happened.
    KilledAfter,
    /// The controller dies when a part of it has happened.
    KilledHalf,
    /// The controller dies, and it happens some time later.
    KilledLate,
    /// The disk under the journal is full: the record is not kept.
    DiskFull,
    /// The sync of the journal fails: the record is kept, and the controller is told it is not.
    SyncFailed,
    /// The clock jumps an hour ahead.
    ClockJump,
    /// Somebody, or a reload, sets a pool back to what it was before the run.
    SetBack,
    /// No fault, but a wish: the operator stops the run there and rolls it back.
    RollBack,
}

/// A call that a run makes on the world around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Call {
    /// A record of the journal; `turn`: an operator could want to go back there.
    Append { turn: bool },
    /// A read of a pool.
    Pool,
    /// Another read of a director.
    Look,
    /// A write of members; `many`: of more than one; `load`: targets whose service is watched get more by it, and may break of it.
    Weights { many: bool, load: bool },
    /// A write of a TTL.
    Ttl,
    /// Sessions of a member that are ended.
    Sessions,
    /// A command that changes something; `probed`: whether its effect is asked for afterwards.
    Hook { probed: bool },
    /// A command that only asks.
    Ask,
    /// A health check; `breaks`: of a host whose service can break right then. Once its pair has moved it can break at any moment, also while
    /// another pair is drained, and no look could prevent that.
    Probe { breaks: bool },
    /// A condition of a gate.
    Condition,
    /// A copy pass; `verified`: whether its tree is compared afterwards.
    Pass { verified: bool },
    /// A stream between two commands.
    Stream,
    /// A comparison of trees.
    Verify,
    /// An agent that is put on a host and started.
    Agent,
    /// Removal of what the copy engine left.
    CleanUp,
    /// A question to a provider; `to_cancel`: before it is asked to take a host back.
    Rented { to_cancel: bool },
    /// A host that is given back to its provider, or taken again.
    GiveBack,
    /// Alerts that are silenced, or heard again.
    Silence,
}

impl Call {
    /// Everything that can go wrong at it.
    pub fn faults(self) -> &'static [Fault] {
        use Fault::*;
        match self {
            Self::Append { .. } => &[DiskFull, SyncFailed, KilledBefore, KilledAfter],
            Self::Pool => &[ReplyLost, Refused, Away, Gone, ClockJump, SetBack],
            Self::Look => &[ReplyLost, Refused, Away, Gone, ClockJump],
            Self::Weights { many: false, load: false } | Self::Ttl | Self::Sessions => {
                &[Before, ReplyLost, Refused, Ineffective, Away, Gone, KilledAfter]
            }
            Self::Weights { many: false, load: true } => {
                &[Before, ReplyLost, Refused, Ineffective, Away, Gone, KilledAfter, Sick]
            }
            Self::Weights { many: true, .. } => {
                &[Before, ReplyLost, Half, Refused, Ineffective, Away, Gone, KilledHalf, KilledAfter]
            }
            Self::Hook { probed: false } => {
                &[Before, ReplyLost, CutOff, Late, Half, Died, Refused, Away, Gone, KilledAfter, KilledLate]
            }
            Self::Hook { probed: true } => &[
                Before,
                ReplyLost,
                CutOff,
                Late,
                Half,
                Died,
                Refused,
                Ineffective,
                Away,
                Gone,
                KilledAfter,
                KilledLate,
            ],
            Self::Ask => &[Before, ReplyLost, Away, Gone, ClockJump],
            Self::Probe { breaks: true } => &[ReplyLost, Blip, Sick, ClockJump],
            Self::Probe { breaks: false } => &[ReplyLost, Blip, ClockJump],
            Self::Condition => &[ReplyLost, Blip, Refused, ClockJump],
            Self::Stream => &[Before, ReplyLost, Half, Refused, Away, Gone, KilledHalf, KilledAfter],
            Self::Pass { verified: false } => &[Before, ReplyLost, Half, Refused, Away, Gone, KilledHalf, KilledAfter],
            Self::Pass { verified: true } => {
                &[Before, ReplyLost, Half, Refused, Ineffective, Away, Gone, KilledHalf, KilledAfter]
            }
            Self::Verify => &[ReplyLost, Refused, Gone],
            Self::Agent => &[Before, ReplyLost, Refused, Away, Gone, KilledAfter],
            Self::CleanUp => &[Before, ReplyLost, Gone, KilledAfter],
            Self::Rented { to_cancel: true } => &[ReplyLost, Refused, ClockJump, SetBack],
            Self::Rented { to_cancel: false } => &[ReplyLost, Refused, ClockJump],
            Self::GiveBack | Self::Silence => &[Before, ReplyLost, Refused, Ineffective, KilledAfter],
        }
    }

    /// Whether it changes anything.
    pub fn writes(self) -> bool {
        !matches!(
            self,
            Self::Pool
                | Self::Look
                | Self::Ask
                | Self::Probe { .. }
                | Self::Condition
                | Self::Verify
                | Self::Rented { .. }
        )
    }
}

impl Fault {
    /// What happens, for people.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Before => "fails before anything has happened",
            Self::ReplyLost => "the answer is lost",
            Self::CutOff => "the connection breaks before it has happened, and nobody can tell",
            Self::Late => "the connection breaks, and it happens later",
            Self::Half => "a part of it happens, and the answer is lost",
            Self::Died => "it begins, and the host goes down before it happens",
            Self::Refused => "is refused",
            Self::Ineffective => "is accepted and has no effect",
            Self::Away => "cannot be reached for eight calls",
            Self::Gone => "cannot be reached until somebody mends it",
            Self::Blip => "fails once",
            Self::Sick => "the service breaks until somebody mends it",
            Self::KilledBefore => "the controller is killed before it",
            Self::KilledAfter => "the controller is killed after it",
            Self::KilledHalf => "the controller is killed when a part of it has happened",
            Self::KilledLate => "the controller is killed, and it happens later",
            Self::DiskFull => "the disk is full",
            Self::SyncFailed => "the record is kept, but its sync is reported as failed",
            Self::ClockJump => "the clock jumps an hour ahead",
            Self::SetBack => "somebody has set the pool back to what it was before the run",
            Self::RollBack => "the operator stops the run and rolls it back",
        }
    }

    /// Whether the controller dies of it.
    pub fn kills(self) -> bool {
        matches!(self, Self::KilledBefore | Self::KilledAfter | Self::KilledHalf | Self::KilledLate)
    }
}
