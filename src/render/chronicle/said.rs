//! The words of the report: what people did, and the run in a few sentences.

use std::time::Duration;

use super::{Chronicle, Halt};
use crate::event::{Event, Operator};
use crate::text;

/// `user@host`.
pub(super) fn name(by: &Operator) -> String {
    format!("{}@{}", by.user, by.host)
}

/// A number of milliseconds.
pub(super) fn took(millis: u64) -> String {
    text::duration(Duration::from_millis(millis))
}

/// A share.
pub(super) fn percent(tenths: u16) -> String {
    match tenths % 10 {
        0 => format!("{} %", tenths / 10),
        part => format!("{}.{part} %", tenths / 10),
    }
}

/// What somebody did, if a record is about that.
pub(super) fn act(event: &Event) -> Option<(&Operator, String)> {
    let act = match event {
        Event::Started(started) => (&started.by, "began the run".to_owned()),
        Event::Resumed { by } => (by, "took the run up again".to_owned()),
        Event::RollbackBegan { by, to, why, .. } => {
            let to = to.as_ref().map_or("the start".to_owned(), |to| format!("right after {to}"));
            (by, format!("let it go back to {to}: {why}"))
        }
        Event::Resolved { step, done, by, why } => {
            let word = if *done { "done" } else { "not done" };
            (by, format!("said that {step} is {word}: {why}"))
        }
        Event::Paused { by, why } => (by, format!("paused it: {why}")),
        Event::Unpaused { by } => (by, "let it go on".to_owned()),
        Event::Aborted { by, why } => (by, format!("aborted it: {why}")),
        Event::Approved { step, by, why } => (by, format!("approved {step}: {why}")),
        Event::Tuned { setting, by } => (by, format!("set {}", setting.describe())),
        Event::Abandoned { by, why, .. } => (by, format!("gave it up: {why}")),
        Event::Intent { .. }
        | Event::Outcome { .. }
        | Event::Held { .. }
        | Event::Cleared { .. }
        | Event::RolledBack
        | Event::Drifted { .. }
        | Event::Reversed { .. }
        | Event::LetGo { .. }
        | Event::Paced { .. }
        | Event::Straggled { .. }
        | Event::Notified(_)
        | Event::Released { .. }
        | Event::Stopped { .. }
        | Event::Finished => return None,
    };
    Some(act)
}

/// The run in a few sentences.
pub(super) fn summary(told: &Chronicle) -> String {
    let totals = &told.totals;
    let mut said = Vec::new();
    let moved = match (totals.moved, totals.pairs) {
        (_, 0) => format!("{} of {} are done", totals.done, text::count(totals.steps as u64, "step")),
        (moved, pairs) if moved == pairs && pairs == 1 => "The pair has moved".to_owned(),
        (moved, pairs) if moved == pairs => format!("All {pairs} pairs have moved"),
        (moved, pairs) => {
            let have = if moved == 1 { "has" } else { "have" };
            format!("{moved} of {} {have} moved", text::count(pairs as u64, "pair"))
        }
    };
    said.push(format!("{moved}; the run is {}, {} after it began.", told.status, took(totals.took_ms)));
    if let Some(longest) = totals.longest_freeze_ms {
        said.push(format!("The longest freeze was {}.", took(longest)));
    }
    if totals.bytes > 0 {
        let files = if totals.files > 0 { format!(" in {}", text::count(totals.files, "file")) } else { String::new() };
        said.push(format!("{}{files} went from host to host.", text::bytes(totals.bytes)));
    }
    said.push(match told.halts.as_slice() {
        [] => "It never stood still.".to_owned(),
        halts => {
            let open = halts.iter().any(|halt| halt.ended.is_none());
            let still = if open { ", and stands still now" } else { "" };
            format!("It stood still {}{still}: {}.", text::count(halts.len() as u64, "time"), took(totals.halted_ms))
        }
    });
    said.push(match totals.failures {
        0 => "No attempt of a step failed.".to_owned(),
        n => format!("{} failed or had an end that nobody knew.", text::count(n as u64, "attempt")),
    });
    said.join(" ")
}

/// Who ended a halt; that it goes on; nothing where the records end.
pub(super) fn end_of(halt: &Halt) -> String {
    halt.ended_by.clone().unwrap_or_else(|| "not ended".to_owned())
}
