//! Commands around the phases.

use std::time::Duration;

use crate::model::{Hook, HookPoint, Side, Undo};
use crate::text::units;
use crate::yaml::map::one_of;
use crate::yaml::reader::Value;
use crate::yaml::source::At;

use crate::fields;
use crate::fields::template::{self, Role, Sides, Use};

/// The points there are, in order.
pub const POINTS: [(&str, HookPoint); 10] = [
    ("before_pair", HookPoint::BeforePair),
    ("before_seed", HookPoint::BeforeSeed),
    ("after_seed", HookPoint::AfterSeed),
    ("before_drain", HookPoint::BeforeDrain),
    ("after_drain", HookPoint::AfterDrain),
    ("freeze", HookPoint::Freeze),
    ("thaw", HookPoint::Thaw),
    ("before_shift", HookPoint::BeforeShift),
    ("after_shift", HookPoint::AfterShift),
    ("after_pair", HookPoint::AfterPair),
];
/// Where hooks run; `None` is the controller.
const PLACES: [(&str, Option<Side>); 3] =
    [("source", Some(Side::Source)), ("target", Some(Side::Target)), ("controller", None)];
const TIMEOUT: Duration = Duration::from_secs(60);

/// A hook and its templates.
#[derive(Debug, Clone)]
pub struct HookDraft {
    pub hook: Hook,
    /// Where its point is written.
    pub at: At,
    pub templates: Vec<Use>,
}

/// Reads one entry of `hooks`.
pub fn read(value: Value<'_>) -> Option<HookDraft> {
    value.map("hook", "{at: freeze, run: systemctl stop web}", |m| {
        let at = m.need("at", "freeze").and_then(|v| one_of(v, "a point", "points", &POINTS));
        let on = m.get("on").map(|v| one_of(v, "a place", "places", &PLACES));
        let default = at.as_ref().map(|at| default_side(at.value));
        let (side, on_controller) = match &on {
            Some(Some(place)) => (place.value.or(default), place.value.is_none()),
            Some(None) => (None, false),
            None => (default, false),
        };
        let sides = if side == Some(Side::Target) { Sides::Target } else { Sides::Source };
        let command = |v: Value<'_>| template::read(v, Role::Command, sides, "a command", "run: systemctl stop web");
        let run = m.need("run", "systemctl stop web").and_then(command);
        let timeout = m.get("timeout").and_then(|v| v.duration(Duration::from_millis(1)..=units::YEAR));
        let idempotent = m.get("idempotent").and_then(|v| v.bool());
        let done_when = m.get("done_when").map(command);
        let undo = m.get("undo").map(|v| undo(v, command));
        let secrets = m.get("secrets").map(fields::secret::by_variable).unwrap_or_default();
        let done_when = done_when.map_or(Some(None), |d| d.map(Some))?;
        let (undo, undo_template) = undo.unwrap_or(Some((Undo::Unsaid, None)))?;
        let (at, on, run) = (at?, side?, run?);
        let hook = Hook {
            at: at.value,
            on,
            on_controller,
            run: run.template.value.clone(),
            timeout: timeout.unwrap_or(TIMEOUT),
            idempotent: idempotent.unwrap_or(false),
            done_when: done_when.as_ref().map(|d| d.template.value.clone()),
            undo,
            secrets,
        };
        let templates = std::iter::once(run).chain(done_when).chain(undo_template).collect();
        Some(HookDraft { hook, at: at.at, templates })
    })?
}

/// `none`, or a command.
fn undo<'a>(value: Value<'a>, command: impl Fn(Value<'a>) -> Option<Use>) -> Option<(Undo, Option<Use>)> {
    let command = command(value)?;
    if command.template.value.0.trim() == "none" {
        return Some((Undo::Nothing, None));
    }
    Some((Undo::Run(command.template.value.clone()), Some(command)))
}

/// The target for what happens once it takes over, else the source.
fn default_side(point: HookPoint) -> Side {
    match point {
        HookPoint::BeforePair
        | HookPoint::BeforeSeed
        | HookPoint::AfterSeed
        | HookPoint::BeforeDrain
        | HookPoint::AfterDrain
        | HookPoint::Freeze => Side::Source,
        HookPoint::Thaw
        | HookPoint::BeforeShift
        | HookPoint::EachShift
        | HookPoint::AfterShift
        | HookPoint::AfterPair => Side::Target,
    }
}
