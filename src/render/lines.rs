//! Plain lines, for logs and for terminals that are none.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::alike::Names;
use super::paint::Paint;
use crate::event::{Drift, Event, Notice, Record, RunState, StepResult, Watch};
use crate::step::{Graph, LeftOut};
use crate::text;

/// Progress of one step is told at most this often.
const EVERY: Duration = Duration::from_secs(10);

/// Writes one line for each thing that happens.
pub struct Lines<W> {
    out: W,
    graph: Arc<Graph>,
    names: Names,
    said: BTreeMap<String, Instant>,
}

impl<W: Write + Send> Lines<W> {
    /// For a run that stands at `state`.
    pub fn new(out: W, state: &RunState) -> Self {
        Self { out, graph: Arc::clone(&state.graph), names: Names::of_hosts(&state.graph), said: BTreeMap::new() }
    }

    fn say(&mut self, line: &str) {
        // A reader that has gone away must not stop a run.
        let _ = writeln!(self.out, "{line}").and_then(|()| self.out.flush());
    }

    fn is_beside(&self, step: &str) -> bool {
        self.graph.step(step).is_some_and(|s| s.beside.is_some() || s.kind.stands_aside())
    }

    fn due(&mut self, step: &str) -> bool {
        let due = self.said.get(step).is_none_or(|at| at.elapsed() >= EVERY);
        if due {
            self.said.insert(step.to_owned(), Instant::now());
        }
        due
    }
}

impl<W: Write + Send> Watch for Lines<W> {
    fn see(&mut self, notice: &Notice) {
        match notice {
            Notice::Recorded(record) => {
                if let Some(line) = record_line(&self.graph, &self.names, record, Paint(false)) {
                    self.say(&line);
                }
                if let Event::Intent { step, .. } = &record.event {
                    self.said.insert(step.clone(), Instant::now());
                }
            }
            Notice::Copying { step, .. } if self.is_beside(step) => {}
            Notice::Copying { step, progress } if progress.bytes_total == 0 && progress.bytes_done > 0 => {
                if self.due(step) {
                    self.say(&format!("         {step}: {} so far", text::bytes(progress.bytes_done)));
                }
            }
            Notice::Copying { step, progress } if progress.bytes_total == 0 => {
                if self.due(step) {
                    self.say(&format!("         {step}: {} looked at", text::entries(progress.files_scanned)));
                }
            }
            Notice::Copying { step, progress } if self.due(step) => {
                let done = format!("{} of {}", text::bytes(progress.bytes_done), text::bytes(progress.bytes_total));
                let files = format!("{} of {} files", progress.files_done, progress.files_total);
                self.say(&format!("         {step}: {done}, {files}"));
            }
            // It goes on for as long as there is a way back: what changes is recorded.
            Notice::Waiting { step, .. } if self.is_beside(step) => {}
            Notice::Waiting { step, what } if self.due(step) => self.say(&format!("         {step}: waits for {what}")),
            Notice::LettingGo { step, progress } if self.due(step) => self.say(&format!("         {step}: {progress}")),
            Notice::Paced { step, pace } if pace.held_by.is_some() && !self.is_beside(step) && self.due(step) => {
                self.say(&format!("         {step}: {pace}"));
            }
            Notice::Warning { what } => self.say(&format!("warning: {what}")),
            Notice::Copying { .. } | Notice::Waiting { .. } | Notice::LettingGo { .. } | Notice::Paced { .. } => {}
        }
    }
}

/// Records as the lines of a log that begins and ends with its run.
#[derive(Debug, Clone)]
pub struct LogLines {
    graph: Arc<Graph>,
    names: Names,
}

impl LogLines {
    /// For a run of this graph.
    pub fn new(graph: &Arc<Graph>) -> Self {
        Self { graph: Arc::clone(graph), names: Names::of_hosts(graph) }
    }

    /// One of them; `None` for what need not be told.
    pub fn line(&self, record: &Record) -> Option<String> {
        let at = record.at.strftime("%H:%M:%S");
        match &record.event {
            Event::Started(started) => Some(format!("{at} begun by {}@{}", started.by.user, started.by.host)),
            Event::Held { step, why, stuck, .. } => {
                let place = step.as_ref().map(|step| format!(" at {step}")).unwrap_or_default();
                Some(format!("{at} ! {}{place}: {why}", if *stuck { "stuck" } else { "held" }))
            }
            Event::Stopped { by } => Some(format!("{at} ! stopped by {by}")),
            Event::Finished => Some(format!("{at} ✓ everything is done{}", LeftOut::without(&self.graph.left_out))),
            Event::RolledBack => Some(format!("{at} ✓ everything that could be put back is as it was")),
            Event::Resumed { .. }
            | Event::Intent { .. }
            | Event::Outcome { .. }
            | Event::RollbackBegan { .. }
            | Event::Cleared { .. }
            | Event::Resolved { .. }
            | Event::Paused { .. }
            | Event::Unpaused { .. }
            | Event::Aborted { .. }
            | Event::Approved { .. }
            | Event::Tuned { .. }
            | Event::Drifted { .. }
            | Event::Reversed { .. }
            | Event::LetGo { .. }
            | Event::Paced { .. }
            | Event::Straggled { .. }
            | Event::Notified(_)
            | Event::Released { .. }
            | Event::Abandoned { .. } => record_line(&self.graph, &self.names, record, Paint(false)),
        }
    }
}

/// One record as a line; `None` for what need not be told.
pub fn record_line(graph: &Graph, names: &Names, record: &Record, paint: Paint) -> Option<String> {
    let at = record.at.strftime("%H:%M:%S");
    let line = match &record.event {
        Event::Intent { step, undo, .. } => {
            let kind = &graph.step(step)?.kind;
            let what = names.condense(&kind.describe());
            let what = if *undo { format!("putting back {what}") } else { what };
            format!("{at}   {step}: {what}")
        }
        Event::Outcome { step, result, undo, .. } => {
            let name = if *undo { format!("{step} (undone)") } else { step.clone() };
            match result {
                StepResult::Done { evidence, millis, .. } => {
                    let evidence = names.condense(evidence);
                    let took = text::duration(Duration::from_millis(*millis));
                    format!("{at} {} {name}: {evidence} {}", paint.green("✓"), paint.dim(&format!("in {took}")))
                }
                StepResult::Failed { why, .. } => format!("{at} {} {name}: {}", paint.red("✗"), paint.red(why)),
                StepResult::Unknown { why, .. } => format!("{at} {} {name}: unknown: {why}", paint.yellow("?")),
            }
        }
        Event::Resumed { by } => format!("{at} resumed by {}@{} (pid {})", by.user, by.host, by.pid),
        Event::RollbackBegan { to, why, accept_gap, .. } => {
            let to = to.as_ref().map_or("the start".to_owned(), |to| format!("right after {to}"));
            let gap = if *accept_gap { ", also where nobody else serves meanwhile" } else { "" };
            format!("{at} going back to {to}{gap}: {why}")
        }
        Event::Resolved { step, done, by, why } => {
            let word = if *done { "done" } else { "not done" };
            format!("{at} {step}: {}@{} says it is {word}: {why}", by.user, by.host)
        }
        Event::Paused { by, why } => format!("{at} paused by {}@{}: {why}", by.user, by.host),
        Event::Unpaused { by } => format!("{at} {}@{} lets it go on", by.user, by.host),
        Event::Approved { step, by, why } => format!("{at} {step}: approved by {}@{}: {why}", by.user, by.host),
        Event::Tuned { setting, by } => format!("{at} {}@{} sets {}", by.user, by.host, setting.describe()),
        Event::Drifted { step, director, pool, members, clues, restores } => {
            let said = members.iter().map(Drift::to_string).chain(clues.iter().cloned()).collect::<Vec<_>>().join("; ");
            let then = if *restores { ": it is set again" } else { "" };
            format!("{at} {} {step}: {director} {pool}: {}{then}", paint.yellow("!"), paint.yellow(&said))
        }
        Event::Notified(notified) if notified.was_taken() => format!("{at}   {notified}"),
        Event::Notified(notified) => format!("{at} {} {}", paint.yellow("!"), paint.yellow(&notified.to_string())),
        Event::LetGo { step, progress } => format!("{at}   {step}: {progress}"),
        Event::Paced { step, pace } => format!("{at}   {step}: {pace}"),
        Event::Straggled { step, came } => {
            let times = text::count(came.clients.values().sum::<u64>() + came.others, "time");
            let who = text::list(&came.clients.keys().take(5).collect::<Vec<_>>());
            format!("{at}   {step}: clients came {times} and were sent on: {who}")
        }
        Event::Reversed { step, pace } if pace.is_in_step() => format!("{at}   {step}: {pace}"),
        Event::Reversed { step, pace } => {
            format!("{at} {} {step}: {}", paint.yellow("!"), paint.yellow(&pace.to_string()))
        }
        Event::Released { step, from, why, again } => {
            let then = match again {
                Some(pause) => format!("; {from} is tried again {} later", text::duration(*pause)),
                None => String::new(),
            };
            let said = format!("{why}: the pair goes back into service on its source{then}");
            format!("{at} {} {step}: {}", paint.yellow("!"), paint.yellow(&said))
        }
        Event::Aborted { by, why } => format!("{at} {}@{} aborts it: {why}", by.user, by.host),
        Event::Cleared { step, result: StepResult::Done { evidence, .. } } => format!("{at}   {step}: {evidence}"),
        Event::Cleared { step, result: StepResult::Failed { why, .. } | StepResult::Unknown { why, .. } } => {
            format!("{at} {} {step}: {}", paint.yellow("?"), paint.yellow(why))
        }
        Event::Abandoned { by, why, .. } => format!("{at} given up by {}@{}: {why}", by.user, by.host),
        Event::RolledBack | Event::Started(_) | Event::Held { .. } | Event::Stopped { .. } | Event::Finished => {
            return None;
        }
    };
    Some(line)
}
