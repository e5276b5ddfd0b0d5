//! One service.

use std::sync::Arc;
use std::time::Duration;

use crate::alerts::{self, Silencing};
use crate::check::{About, HealthCheck};
use crate::fields::template::Use;
use crate::gate::Gate;
use crate::model::{DrainFence, OnDeadline, OnFailure, Parity, Persist, Strategy};
use crate::spec::{Drain, Shift};
use crate::state::State;
use crate::text::units::YEAR;
use crate::yaml::diagnostic::Diagnostic;
use crate::yaml::map::Map;
use crate::yaml::reader::Value;
use crate::yaml::source::{At, Located};

use super::connections::{self, ConnectionsDraft};
use super::decommission::{self, DecommissionDraft};
use super::freeze::{self, FreezeDraft};
use super::gate;
use super::hook::{self, HookDraft};
use super::moves::{self, MoveDraft};
use super::parity;
use super::relay::{self, RelayDraft};
use super::reverse::{self, ReverseDraft};
use super::traffic::{self, TrafficDraft};
use crate::yaml::map::one_of;

const ZERO: Duration = Duration::ZERO;
const MILLISECOND: Duration = Duration::from_millis(1);
pub(super) const ON_FAILURE: [(&str, OnFailure); 3] =
    [("hold", OnFailure::Hold), ("step_back", OnFailure::StepBack), ("rollback", OnFailure::Rollback)];
const STEPS: [u8; 5] = [1, 5, 25, 50, 100];

/// A service before its names are resolved.
#[derive(Debug, Clone)]
pub struct ServiceDraft {
    pub name: Located<String>,
    pub moves: Option<MoveDraft>,
    pub settings: Settings,
}

/// What can be said of one service, or under `defaults` of all.
#[derive(Debug, Clone)]
pub struct Settings {
    pub strategy: Option<Located<Strategy>>,
    /// Whether `traffic` is written, even if it could not be read.
    pub has_traffic: bool,
    /// In the order of the plan; `None` when it could not be read.
    pub traffic: Option<Vec<TrafficDraft>>,
    /// Whether `state` is written, even if it could not be read.
    pub has_state: bool,
    pub state: Vec<StateDraft>,
    pub drain: DrainDraft,
    pub has_health: bool,
    pub health: Vec<HealthCheck>,
    pub shift: Shift,
    pub has_hooks: bool,
    pub hooks: Vec<HookDraft>,
    pub min_capacity: Option<u8>,
    pub gates: Vec<Gate>,
    /// What checks and gates ask with.
    pub asked_with: Vec<Use>,
    pub on_failure: OnFailure,
    pub persist: Option<Located<Persist>>,
    pub freeze: Option<FreezeDraft>,
    pub reverse: Option<ReverseDraft>,
    pub parity: Option<Parity>,
    pub relay: Option<RelayDraft>,
    pub silence: Option<Silencing>,
    pub decommission: Option<DecommissionDraft>,
}

impl Settings {
    /// Its directors, as far as they could be read.
    pub fn directors(&self) -> impl Iterator<Item = &TrafficDraft> {
        self.traffic.iter().flatten()
    }

    /// Whether its port on its hosts is known. A traffic that could not be read may say it.
    pub fn may_have_port(&self) -> bool {
        self.traffic.as_ref().map_or(self.has_traffic, |all| all.iter().any(|t| t.port.is_some()))
    }

    /// Whether something looks at the targets themselves before they get traffic. A check that could not be read may be one that does.
    pub fn checks_hosts(&self) -> bool {
        self.has_health && (self.health.is_empty() || self.health.iter().any(|c| c.about() == About::Host))
    }
}

/// How sources are emptied, and whether that alone stops their writers.
#[derive(Debug, Clone)]
pub struct DrainDraft {
    pub drain: Drain,
    pub stops_writes: bool,
    /// Where `fence` is written.
    pub fence: Option<At>,
    /// What `connections` says, with its place.
    pub connections: Option<ConnectionsDraft>,
}

/// Reads one entry of `services`; what it does not say comes from `defaults`.
pub fn read(key: Value<'_>, value: Value<'_>, defaults: Option<Value<'_>>) -> Option<ServiceDraft> {
    let name = key.identifier("a service", "uploads");
    let read = value.map_over(defaults, "service", "uploads: {move: {from: old, to: new}}", |m| {
        let moves = m.need("move", "{from: old, to: new}").and_then(moves::read);
        (moves, settings(m))
    });
    let (moves, settings) = read?;
    Some(ServiceDraft { name: name?, moves, settings })
}

/// Reads what services and defaults have in common.
pub fn settings(m: &Map<'_>) -> Settings {
    let strategies = [("cutover", Strategy::Cutover), ("ramp", Strategy::Ramp)];
    let (traffic, state, health, hooks) = (m.get("traffic"), m.get("state"), m.get("health"), m.get("hooks"));
    let mut asked_with = Vec::new();
    Settings {
        strategy: m.get("strategy").and_then(|v| one_of(v, "a strategy", "strategies", &strategies)),
        has_traffic: traffic.is_some(),
        traffic: traffic.and_then(traffic::read),
        has_state: state.is_some(),
        state: state.map(|v| several(v, read_state)).unwrap_or_default(),
        drain: m.get("drain").and_then(drain).unwrap_or_else(default_drain),
        has_health: health.is_some(),
        health: health.map(|v| several(v, |check| HealthCheck::read(check, &mut asked_with))).unwrap_or_default(),
        shift: m.get("shift").map_or_else(default_shift, shift),
        has_hooks: hooks.is_some(),
        hooks: hooks.map(|v| several(v, hook::read)).unwrap_or_default(),
        min_capacity: m.get("min_capacity").and_then(|v| v.percent()).map(|l| l.value),
        gates: m.get("gates").map(|v| several(v, |gate| gate::read(gate, &mut asked_with))).unwrap_or_default(),
        silence: m.get("silence").and_then(|v| alerts::read(v, &mut asked_with)),
        asked_with,
        on_failure: m
            .get("on_failure")
            .and_then(|v| one_of(v, "a choice", "choices", &ON_FAILURE))
            .map_or(OnFailure::Hold, |l| l.value),
        persist: m.get("persist").and_then(|v| one_of(v, "a choice", "choices", &Persist::WORDS)),
        freeze: m.get("freeze").and_then(freeze::read),
        reverse: m.get("reverse").and_then(reverse::read),
        parity: m.get("parity").and_then(parity::read),
        relay: m.get("relay").and_then(relay::read),
        decommission: m.get("decommission").and_then(decommission::read),
    }
}

/// One or a list, each read by `read`; empty lists and lists without end are reported.
pub(super) fn several<'a, T>(value: Value<'a>, read: impl FnMut(Value<'a>) -> Option<T>) -> Vec<T> {
    const MAX: usize = 100;
    let items = value.one_or_many();
    if items.len() > MAX {
        value.error(
            format!("`{}` has {} entries, more than the limit of {MAX}", value.name(), items.len()),
            "make several services of it",
        );
    }
    if items.is_empty() {
        value.error(format!("`{}` is an empty list", value.name()), "leave it out");
    }
    items.into_iter().take(MAX).filter_map(read).collect()
}

/// State and the templates in it.
#[derive(Debug, Clone)]
pub struct StateDraft {
    pub state: State,
    /// All of them; one that is for both sides once.
    pub templates: Vec<Use>,
    /// Where it is.
    pub at: At,
}

/// Reads one entry of `state`.
fn read_state(value: Value<'_>) -> Option<StateDraft> {
    value.map("state", "directory: /srv/uploads", |m| {
        let mut templates = Vec::new();
        let state = State::read(m, &mut templates)?;
        Some(StateDraft { state, templates, at: m.at().clone() })
    })?
}

fn default_drain() -> DrainDraft {
    let (deadline, interval) = (Duration::from_secs(300), Duration::from_secs(1));
    let drain =
        Drain { deadline, on_deadline: OnDeadline::Hold, interval, fence: None, connections: None, asks: Vec::new() };
    DrainDraft { drain, stops_writes: false, fence: None, connections: None }
}

fn drain(value: Value<'_>) -> Option<DrainDraft> {
    let words = [("hold", OnDeadline::Hold), ("restore", OnDeadline::Restore), ("proceed", OnDeadline::Proceed)];
    value.map("drain", "drain: {deadline: 5m}", |m| {
        let DrainDraft { drain: default, .. } = default_drain();
        let fence = m.get("fence").and_then(|v| one_of(v, "a fence", "fences", &DrainFence::WORDS));
        let connections = m.get("connections").and_then(connections::read);
        let drain = Drain {
            connections: connections.as_ref().map(|draft| draft.connections.clone()),
            asks: connections.iter().flat_map(|draft| draft.asks.iter().cloned().map(Arc::new)).collect(),
            fence: fence.as_ref().map(|l| l.value),
            deadline: m.get("deadline").and_then(|v| v.duration(ZERO..=YEAR)).unwrap_or(default.deadline),
            on_deadline: m
                .get("on_deadline")
                .and_then(|v| one_of(v, "a choice", "choices", &words))
                .map_or(default.on_deadline, |l| l.value),
            interval: m.get("interval").and_then(|v| v.duration(10 * MILLISECOND..=YEAR)).unwrap_or(default.interval),
        };
        let stops_writes = m.get("stops_writes").and_then(|v| v.bool()).unwrap_or(false);
        DrainDraft { drain, stops_writes, fence: fence.map(|l| l.at), connections }
    })
}

fn default_shift() -> Shift {
    Shift { steps: STEPS.to_vec(), hold: Duration::from_secs(30) }
}

fn shift(value: Value<'_>) -> Shift {
    if !value.is_map() {
        return Shift { steps: steps(value), ..default_shift() };
    }
    let read = value.map("shift", "shift: {steps: [10%, 50%, 100%], hold: 30s}", |m| Shift {
        steps: m.get("steps").map_or_else(|| STEPS.to_vec(), steps),
        hold: m.get("hold").and_then(|v| v.duration(ZERO..=YEAR)).unwrap_or(default_shift().hold),
    });
    read.unwrap_or_else(default_shift)
}

fn steps(value: Value<'_>) -> Vec<u8> {
    const HINT: &str = "steps rise and end at 100%, as in [1%, 5%, 25%, 50%, 100%]";
    let items = value.one_or_many();
    let steps: Vec<Located<u8>> = items.iter().filter_map(|v| v.percent()).collect();
    for (before, after) in steps.iter().zip(steps.iter().skip(1)) {
        if after.value <= before.value {
            let message = format!("steps must rise, and {}% follows {}%", after.value, before.value);
            value.cx.sink.push(Diagnostic::error(&after.at, message).hint(HINT));
        }
    }
    match steps.last() {
        // A step that could not be read has been reported; it may have been the 100.
        _ if steps.len() < items.len() => {}
        Some(last) if last.value < 100 => {
            let message = format!("the last step is {}%: the source would keep its share for ever", last.value);
            value.cx.sink.push(Diagnostic::error(&last.at, message).hint(HINT));
        }
        None => value.error("there are no steps", HINT),
        Some(_) => {}
    }
    steps.into_iter().map(|s| s.value).collect()
}
