//! The moves that there are, as lists of moments.

use crate::model::Strategy;
use crate::step::Moment;

/// A part of a move, as the moments that follow each other in it.
pub enum Stretch {
    /// Each pair goes through them by itself.
    EachPair(&'static [At]),
    /// All pairs of a service go through them together.
    Together(&'static [At]),
}

/// A moment in its place.
#[derive(Clone, Copy)]
pub struct At {
    pub moment: Moment,
    pub urgent: Urgent,
    /// Left out unless something is done at this earlier moment.
    pub follows: Option<Moment>,
    /// Left out unless what the target takes is carried back.
    pub way_back: bool,
}

/// Which steps of a moment a run must not stop before, because their pair is frozen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Urgent {
    None,
    All,
    /// The freeze ends with the first.
    First,
}

const fn at(moment: Moment) -> At {
    At { moment, urgent: Urgent::None, follows: None, way_back: false }
}

const fn frozen(moment: Moment) -> At {
    At { urgent: Urgent::All, ..at(moment) }
}

const fn way_back(at: At) -> At {
    At { way_back: true, ..at }
}

/// Both sides serve: weights move in steps, then the sources are taken out one after the other. That is the largest shift of all, so each
/// of them takes a slot, and is watched over like every other shift.
const RAMP: [Stretch; 3] = [
    Stretch::EachPair(&[
        at(Moment::BeforePair),
        at(Moment::BeforeSeed),
        at(Moment::Prepare),
        at(Moment::Seed),
        at(Moment::Proved),
        at(Moment::AfterSeed),
        at(Moment::Checked),
        at(Moment::BeforeShift),
    ]),
    Stretch::Together(&[at(Moment::Checked), at(Moment::Shifted)]),
    Stretch::EachPair(&[
        at(Moment::AfterShift),
        at(Moment::Turn),
        at(Moment::BeforeDrain),
        at(Moment::Drained),
        at(Moment::AfterDrain),
        at(Moment::Retired),
        at(Moment::BackInService),
        at(Moment::AfterPair),
        at(Moment::CleanUp),
    ]),
];

/// One writer at a time, pair by pair. Caught up only once it is a pair's turn, so that little is left for the freeze however long the
/// others took.
const CUTOVER: [Stretch; 1] = [Stretch::EachPair(&[
    at(Moment::BeforePair),
    at(Moment::BeforeSeed),
    at(Moment::Prepare),
    at(Moment::Seed),
    at(Moment::AfterSeed),
    at(Moment::Turn),
    at(Moment::CatchUp),
    at(Moment::CompareAhead),
    At { follows: Some(Moment::CompareAhead), ..at(Moment::CatchUpAgain) },
    at(Moment::BeforeDrain),
    at(Moment::Drained),
    at(Moment::AfterDrain),
    at(Moment::Freeze),
    frozen(Moment::Fenced),
    frozen(Moment::Frozen),
    frozen(Moment::Proved),
    way_back(frozen(Moment::HandedOver)),
    frozen(Moment::Promoted),
    frozen(Moment::Thaw),
    frozen(Moment::Checked),
    frozen(Moment::BeforeShift),
    At { urgent: Urgent::First, ..at(Moment::Shifted) },
    at(Moment::Retired),
    at(Moment::AfterShift),
    at(Moment::BackInService),
    at(Moment::AfterPair),
    way_back(at(Moment::Reversed)),
    way_back(at(Moment::Committed)),
    way_back(at(Moment::Unlinked)),
    at(Moment::Released),
    at(Moment::CleanUp),
])];

/// The move of a strategy.
pub fn of(strategy: Strategy) -> &'static [Stretch] {
    match strategy {
        Strategy::Ramp => &RAMP,
        Strategy::Cutover => &CUTOVER,
    }
}
