//! What a step is part of: for the eye, for the time that a move takes, and for what is told of it.
//!
//! One table: a new kind of step has its line here, and does not build without it.

use super::Band;
use crate::step::{Step, StepKind};

/// What the report makes of a kind of step.
struct Part {
    band: Band,
    /// Whether it is part of the move, and not of what comes when its way back has ended.
    moves: bool,
    /// Whether what it has seen is worth telling.
    looks: bool,
}

fn part(kind: &StepKind) -> Part {
    let (band, moves, looks) = match kind {
        StepKind::Copy(_)
        | StepKind::Compare(_)
        | StepKind::HandOver(_)
        | StepKind::SetAside(_)
        | StepKind::Stream(_) => (Band::State, true, false),
        StepKind::Replica(_) => (Band::State, true, true),
        StepKind::Reverse(_) => (Band::State, false, false),
        StepKind::Traffic(_)
        | StepKind::LowerTtl(_)
        | StepKind::RestoreTtl(_)
        | StepKind::Fence(_)
        | StepKind::Relay(_)
        | StepKind::Rewrite(_) => (Band::Traffic, true, false),
        StepKind::Connections(_) | StepKind::Persist(_) => (Band::Traffic, true, true),
        StepKind::Unfence(_) | StepKind::Unrelay(_) => (Band::Traffic, false, false),
        StepKind::Check(_)
        | StepKind::Settle(_)
        | StepKind::Empty(_)
        | StepKind::Confirm(_)
        | StepKind::Watch(_)
        | StepKind::Gate(_) => (Band::Wait, true, true),
        StepKind::Stragglers(_) | StepKind::Commit(_) => (Band::Wait, false, true),
        StepKind::Probe(_) => (Band::Wait, true, false),
        StepKind::Batch(_) => (Band::Wait, false, false),
        StepKind::Hook(_) | StepKind::Silence(_) => (Band::Other, true, false),
        StepKind::Decommission(_) => (Band::Other, false, true),
        StepKind::CleanUp(_) => (Band::Other, false, false),
    };
    Part { band, moves, looks }
}

/// Whether it goes on beside the move.
fn is_beside(step: &Step) -> bool {
    step.beside.is_some() || step.kind.stands_aside()
}

/// Whether a step is part of the move, and not of what comes when its way back has ended.
pub(super) fn moves(step: &Step) -> bool {
    part(&step.kind).moves && !is_beside(step)
}

/// Whether what a step has seen is worth telling.
pub(super) fn looks(step: &Step) -> bool {
    part(&step.kind).looks
}

/// What a step is part of, for the eye.
pub(super) fn band(step: &Step) -> Band {
    if is_beside(step) { Band::WayBack } else { part(&step.kind).band }
}
