//! What steps do, in words.

use super::{CopyPhase, CopyStep};
use crate::spec::model::{Gate, HookPoint, OnDeadline};
use crate::text;
use crate::traffic::{Change, Mode};

/// What a gate waits for.
pub fn describe_gate(gate: &Gate) -> String {
    let mut asks = Vec::new();
    match gate.approvals {
        0 => {}
        1 => asks.push("somebody approves".to_owned()),
        n => asks.push(format!("{n} different people approve")),
    }
    if let Some(time) = gate.not_before {
        asks.push(format!("it is {time}"));
    }
    if let Some(window) = &gate.window {
        let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        let names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        let days: Vec<&str> =
            (1_i8..).zip(names).filter(|(n, _)| window.days.contains(n)).map(|(_, name)| name).collect();
        let days = if days.len() == 7 { "any day".to_owned() } else { text::list(&days) };
        asks.push(format!("it is {days} between {} and {} in {}", clock(window.from), clock(window.to), window.zone));
    }
    format!("until {}", text::list(&asks))
}

pub(super) fn describe_copy(c: &CopyStep) -> String {
    let trees = if c.from == c.to { c.from.clone() } else { format!("{} → {}", c.from, c.to) };
    match c.phase {
        CopyPhase::Seed => format!("{trees}, live"),
        CopyPhase::CatchUp => {
            format!("{trees} until less than {} is left, at most {} passes", text::bytes(c.settle_below), c.max_passes)
        }
        CopyPhase::Last | CopyPhase::Verify => trees,
    }
}

pub(super) fn describe_change(change: &Change) -> String {
    match change.mode {
        Mode::Ready => format!("{} weight {}", change.member, change.weight),
        Mode::Drain => format!("{} drain", change.member),
        Mode::Maint => format!("{} maintenance", change.member),
    }
}

impl OnDeadline {
    /// The word in plans.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Restore => "restore",
            Self::Proceed => "proceed",
        }
    }
}

impl HookPoint {
    /// The word in plans.
    pub fn name(self) -> &'static str {
        match self {
            Self::BeforePair => "before_pair",
            Self::BeforeSeed => "before_seed",
            Self::AfterSeed => "after_seed",
            Self::BeforeDrain => "before_drain",
            Self::AfterDrain => "after_drain",
            Self::Freeze => "freeze",
            Self::Thaw => "thaw",
            Self::BeforeShift => "before_shift",
            Self::AfterShift => "after_shift",
            Self::AfterPair => "after_pair",
        }
    }
}
