//! Bars on a terminal: one for each step under way, one for the whole, and a line above them for everything that has ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::lines::record_line;
use super::paint::Paint;
use crate::copy::CopyProgress;
use crate::event::{Event, Notice, Record, RunState, StepResult, StepState, Watch};
use crate::step::{Graph, StepKind};
use crate::text;

/// Shows a run with indicatif.
pub struct Bars {
    all: MultiProgress,
    whole: ProgressBar,
    steps: BTreeMap<String, ProgressBar>,
    /// What gates were last said to wait for.
    asked: BTreeMap<String, String>,
    graph: Arc<Graph>,
    paint: Paint,
}

impl Bars {
    /// For a run that stands at `state`.
    pub fn new(state: &RunState, color: bool, target: ProgressDrawTarget) -> Self {
        let all = MultiProgress::with_draw_target(target);
        let total = state.started.steps as u64;
        let whole = all.add(ProgressBar::new(total));
        whole.set_style(style("  {prefix:.bold} {wide_bar} {pos}/{len} steps  {elapsed_precise}"));
        whole.set_prefix(state.started.plan.clone());
        whole.set_position(state.count(StepState::Done) as u64);
        whole.enable_steady_tick(Duration::from_millis(250));
        let graph = Arc::clone(&state.graph);
        Self { all, whole, steps: BTreeMap::new(), asked: BTreeMap::new(), graph, paint: Paint(color) }
    }

    fn begin(&mut self, step: &str) {
        let bar = self.all.insert_before(&self.whole, ProgressBar::new_spinner());
        bar.set_style(style("  {spinner} {prefix}  {wide_msg}  {elapsed}"));
        bar.set_prefix(step.to_owned());
        if let Some(step) = self.graph.step(step) {
            bar.set_message(step.kind.describe());
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        self.steps.insert(step.to_owned(), bar);
    }

    /// What a gate waits for is for people to act on: a bar would cut it short.
    fn ask(&mut self, step: &str, what: &str) {
        let is_gate = self.graph.step(step).is_some_and(|s| matches!(s.kind, StepKind::Gate(_)));
        if is_gate && self.asked.get(step).is_none_or(|said| said != what) {
            self.asked.insert(step.to_owned(), what.to_owned());
            let _ = self.all.println(format!("         {step}: waits for {what}"));
        }
    }

    fn copying(&mut self, step: &str, progress: CopyProgress) {
        let Some(bar) = self.steps.get(step) else { return };
        if progress.bytes_total == 0 && progress.bytes_done > 0 {
            // A stream, of which nobody knows how long it is.
            bar.set_style(style("  {spinner} {prefix}  {bytes} so far  {bytes_per_sec}  {elapsed}"));
            bar.set_position(progress.bytes_done);
            return;
        }
        if progress.bytes_total == 0 {
            bar.set_message(format!("{} looked at", text::entries(progress.files_scanned)));
            return;
        }
        if bar.length().is_none() {
            bar.set_style(style(
                "  {spinner} {prefix}  {bar:24} {bytes} of {total_bytes}  {bytes_per_sec}  ETA {eta}  {msg}",
            ));
        }
        bar.set_length(progress.bytes_total);
        bar.set_position(progress.bytes_done);
        bar.set_message(format!("{}/{} files", progress.files_done, progress.files_total));
    }

    fn record(&mut self, record: &Record) {
        match &record.event {
            Event::Intent { step, .. } => self.begin(step),
            Event::Outcome { step, .. } => {
                if let Some(bar) = self.steps.remove(step) {
                    bar.finish_and_clear();
                    self.all.remove(&bar);
                }
                match &record.event {
                    Event::Outcome { result: StepResult::Done { .. }, undo: false, .. } => self.whole.inc(1),
                    Event::Outcome { result: StepResult::Done { .. }, undo: true, .. } => self.whole.dec(1),
                    _ => {}
                }
                if let Some(line) = record_line(&self.graph, record, self.paint) {
                    let _ = self.all.println(line);
                }
            }
            _ => {
                if let Some(line) = record_line(&self.graph, record, self.paint) {
                    let _ = self.all.println(line);
                }
            }
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Watch for Bars {
    fn see(&mut self, notice: &Notice) {
        match notice {
            Notice::Recorded(record) => self.record(record),
            Notice::Copying { step, progress } => self.copying(step, *progress),
            Notice::Warning { what } => {
                let _ = self.all.println(format!("{} {what}", self.paint.yellow("warning:")));
            }
            Notice::Waiting { step, what } => {
                self.ask(step, what);
                if let Some(bar) = self.steps.get(step) {
                    bar.set_message(format!("waits for {what}"));
                }
            }
        }
    }

    fn close(&mut self) {
        let _ = self.all.clear();
    }
}
