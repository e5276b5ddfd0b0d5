//! The words for steps: what people read in plans, on bars and in reports.

use super::{CopyPhase, CopyStep, StepKind};
use crate::model::{Change, Mode};
use crate::model::{DataPath, Gate, HookPoint, OnDeadline};
use crate::text;

impl StepKind {
    /// One word for people: the phase that the step is part of.
    pub fn phase(&self) -> &'static str {
        match self {
            Self::Check { .. } => "check",
            Self::Copy(c) => match c.phase {
                CopyPhase::Seed => "seed",
                CopyPhase::CatchUp => "catch up",
                CopyPhase::VerifyAhead => "verify ahead",
                CopyPhase::Last => "last pass",
                CopyPhase::Verify => "verify",
            },
            Self::Verify(c) if c.phase == CopyPhase::VerifyAhead => "verify ahead",
            Self::Verify(_) => "verify",
            Self::Stream(_) => "stream",
            Self::Traffic { share: Some(_), .. } => "shift",
            Self::Traffic { changes, .. } if changes.iter().all(|c| c.mode == Mode::Maint) => "retire",
            Self::Traffic { .. } => "drain",
            Self::LowerTtl { .. } => "lower ttl",
            Self::RestoreTtl { .. } => "restore ttl",
            Self::Settle { .. } => "settle",
            Self::Empty { .. } => "empty",
            Self::Watch { .. } => "watch",
            Self::Gate { .. } => "gate",
            Self::Hook(hook) => hook.at.name(),
            Self::CleanUp { .. } => "clean up",
        }
    }

    /// What is done, in one line for people.
    pub fn describe(&self) -> String {
        match self {
            Self::Check { host, checks } => format!("{host} passes {}", text::count(checks.len() as u64, "check")),
            Self::Copy(c) => describe_copy(c),
            Self::Verify(c) if c.phase == CopyPhase::VerifyAhead => {
                format!("{}, live, by the content of every file on both sides", describe_copy(c))
            }
            Self::Verify(c) => format!("{}, by the content of every file on both sides", describe_copy(c)),
            Self::Stream(s) => {
                let shown = |script: &str| text::escape(script.as_bytes(), 100);
                format!("{} | {}", shown(&s.from), shown(&s.to))
            }
            Self::Traffic { director, pool, changes, .. } => {
                let changes: Vec<String> = changes.iter().map(describe_change).collect();
                format!("{director} {pool}: {}", changes.join(", "))
            }
            Self::LowerTtl { director, pool, ttl } => format!("{director} {pool}: TTL {}", text::duration(*ttl)),
            Self::RestoreTtl { director, pool, .. } => format!("{director} {pool}: TTL as it was before"),
            Self::Settle { director, pool, outlast } => match outlast {
                Some(_) => format!("{director} {pool}: the old TTL has run out and resolvers answer anew"),
                None => format!("{director} {pool}: its TTL has run out and resolvers answer anew"),
            },
            Self::Empty { member, deadline, on_deadline, .. } => format!(
                "until {member} has no connections, at most {}, then {}",
                text::duration(*deadline),
                on_deadline.name()
            ),
            Self::Watch { hold, checks } if checks.is_empty() => format!("for {}", text::duration(*hold)),
            Self::Watch { hold, checks } => {
                let hosts: Vec<&String> = checks.keys().collect();
                format!("health of {} for {}", text::list(&hosts), text::duration(*hold))
            }
            Self::Gate { asks, past } => describe_gate(asks, past),
            Self::Hook(hook) => format!("on {}: {}", hook.host, text::escape(hook.run.as_bytes(), 100)),
            Self::CleanUp { hosts, .. } => format!("nothing of migrate is left on {}", text::list(hosts)),
        }
    }
}

/// What a gate waits for.
pub fn describe_gate(gate: &Gate, past: &[String]) -> String {
    let mut asks = Vec::new();
    match gate.approvals {
        0 => {}
        1 if !past.is_empty() => {
            // Pairs of a service are alike: the first stands for all.
            let more = if past.len() > 1 { format!(", and {} more like it", past.len() - 1) } else { String::new() };
            let first = past.first().map_or("", String::as_str);
            asks.push(format!("somebody approves that there is no way back: {first}{more}"));
        }
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
    let within = gate.within.map(|w| format!(", for at most {}", text::duration(w))).unwrap_or_default();
    format!("until {}{within}", text::list(&asks))
}

fn describe_copy(c: &CopyStep) -> String {
    let way = match c.path {
        DataPath::Auto => "",
        DataPath::Direct => ", only from host to host",
        DataPath::Relay => ", through this machine",
    };
    let trees = if c.from == c.to { format!("{}{way}", c.from) } else { format!("{} → {}{way}", c.from, c.to) };
    match c.phase {
        CopyPhase::Seed => format!("{trees}, live"),
        CopyPhase::CatchUp => {
            format!("{trees} until less than {} is left, at most {} passes", text::bytes(c.settle_below), c.max_passes)
        }
        CopyPhase::VerifyAhead | CopyPhase::Last | CopyPhase::Verify => trees,
    }
}

fn describe_change(change: &Change) -> String {
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
