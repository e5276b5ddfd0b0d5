//! What a target takes can be carried back only where the plan says how both sides are frozen and thawed the other way round.

use std::time::Duration;

use crate::config::read::service::ServiceDraft;
use crate::model::{HookPoint, Side, Strategy, Undo, Until};
use crate::spec::Reverse;
use crate::yaml::diagnostic::{Diagnostic, Sink};
use crate::yaml::source::At;

use super::{Draft, services};

/// Why nothing can be carried back.
struct Missing<'a> {
    at: &'a At,
    /// As the end of a sentence: `the hook freeze says nothing of its `undo``.
    why: String,
    hint: &'static str,
}

/// A plan that asks for a way back says all that it needs.
pub fn possible(draft: &mut Draft<'_>, sink: &Sink) {
    for service in &draft.plan.services {
        let Some(asked) = service.settings.reverse.as_ref().filter(|asked| asked.until.is_some()) else { continue };
        if let Some(missing) = missing(service) {
            let message = format!("`reverse` cannot be kept for `{}`: {}", service.name.value, missing.why);
            let found = Diagnostic::error(missing.at, message).hint(missing.hint);
            sink.push(found.note(format!("`reverse` is asked for at {}", asked.at.short())));
        }
    }
}

/// What becomes of a service: as it says, else there is a way back for as long as the move lasts, where there can be one.
pub fn of(service: &ServiceDraft) -> Reverse {
    let why = match (&service.settings.reverse, missing(service)) {
        (Some(asked), missing) => match (asked.until, missing) {
            (Some(until), None) => return Reverse::On(until),
            (None, _) => "`reverse` is off".to_owned(),
            (Some(_), Some(missing)) => missing.why,
        },
        (None, None) => return Reverse::On(Until::After(Duration::ZERO)),
        (None, Some(missing)) => missing.why,
    };
    Reverse::Off { why }
}

fn missing(service: &ServiceDraft) -> Option<Missing<'_>> {
    let (settings, at) = (&service.settings, &service.name.at);
    let missing = |at, why: &str, hint| Some(Missing { at, why: why.to_owned(), hint });
    if services::strategy(service) == Strategy::Ramp {
        return missing(at, "with `ramp` both sides serve, and there is nothing to carry back", "leave `reverse` out");
    }
    if settings.state.is_empty() {
        return missing(at, "it has no `state` that could be carried back", "leave `reverse` out");
    }
    if let Some(state) = settings.state.iter().find(|s| !s.state.kind().comes_back()) {
        let why = format!("a `{}` cannot be carried back", state.state.key());
        return Some(Missing { at: &state.at, why, hint: "say `reverse: off`, or leave `reverse` out" });
    }
    let turns = |at: HookPoint| matches!(at, HookPoint::Freeze | HookPoint::Thaw);
    if let Some(hook) = settings.hooks.iter().find(|h| turns(h.hook.at) && h.hook.undo == Undo::Unsaid) {
        let why = format!("the hook `{}` says nothing of its `undo`", hook.hook.at.name());
        let hint = "say how it is taken back: `undo: systemctl start uploads`, or `undo: none`";
        return Some(Missing { at: &hook.at, why, hint });
    }
    let stops_target = settings
        .hooks
        .iter()
        .any(|h| h.hook.at == HookPoint::Thaw && h.hook.on == Side::Target && matches!(h.hook.undo, Undo::Run(_)));
    let writes_nothing = settings.has_traffic && settings.drain.stops_writes;
    // What has a replication of its own is closed by that, there and back.
    let all_fenced = settings.state.iter().all(|s| s.state.kind().fences());
    if !stops_target && !writes_nothing && !all_fenced {
        let hint =
            "add `{at: thaw, run: …, undo: …}`, whose `undo` stops the writer, or say `drain: {stops_writes: true}`";
        return missing(at, "nothing stops the writer on the target before the last pass back", hint);
    }
    None
}
