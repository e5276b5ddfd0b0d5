//! Bars on a terminal: one for each step under way, one for the whole, and a line above them for everything that has ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::alike::Names;
use super::fit;
use super::format::Style;
use super::lines::record_line;
use super::paint::Paint;
use crate::copy::CopyProgress;
use crate::event::{Event, Notice, Record, RunState, StepResult, StepState, Watch};
use crate::model::{LettingGo, Paced};
use crate::step::{Graph, StepKind};
use crate::text;

/// Shows a run with indicatif.
pub struct Bars {
    all: MultiProgress,
    whole: ProgressBar,
    steps: BTreeMap<String, ProgressBar>,
    /// How fast copies may go that are governed.
    paces: BTreeMap<String, Paced>,
    /// What gates were last said to wait for.
    asked: BTreeMap<String, String>,
    /// Steps under way that have no bar: there are as many as fit a screen.
    unseen: BTreeSet<String>,
    graph: Arc<Graph>,
    names: Names,
    look: Style,
}

/// So many steps have a bar.
const BARS: usize = 12;

/// Where what has happened goes on in the next line: behind its time.
const SAID: usize = 11;

/// Columns that the name of a step may take of a bar.
const NAME: usize = 32;

impl Bars {
    /// For a run that stands at `state`.
    pub fn new(state: &RunState, look: Style, target: ProgressDrawTarget) -> Self {
        let all = MultiProgress::with_draw_target(target);
        let total = state.started.steps as u64;
        let whole = all.add(ProgressBar::new(total));
        whole.set_style(style("  {prefix:.bold} {wide_bar} {pos}/{len} steps{msg}  {elapsed_precise}"));
        whole.set_prefix(state.started.plan.clone());
        whole.set_position(state.count(StepState::Done) as u64);
        whole.enable_steady_tick(Duration::from_millis(250));
        let graph = Arc::clone(&state.graph);
        let names = Names::of_hosts(&graph);
        let (steps, asked, unseen) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { all, whole, steps, paces: BTreeMap::new(), asked, unseen, graph, names, look }
    }

    fn begin(&mut self, step: &str) {
        if self.steps.len() >= BARS {
            self.unseen.insert(step.to_owned());
            self.count_unseen();
            return;
        }
        let bar = self.all.insert_before(&self.whole, ProgressBar::new_spinner());
        bar.set_style(style("  {spinner} {prefix}  {wide_msg}  {elapsed}"));
        bar.set_prefix(fit::shorten(step, NAME));
        if let Some(step) = self.graph.step(step) {
            bar.set_message(self.names.condense(&step.kind.describe()));
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        self.steps.insert(step.to_owned(), bar);
    }

    fn end(&mut self, step: &str) {
        if let Some(bar) = self.steps.remove(step) {
            bar.finish_and_clear();
            self.all.remove(&bar);
        }
        self.unseen.remove(step);
        if let (true, Some(next)) = (self.steps.len() < BARS, self.unseen.pop_first()) {
            self.begin(&next);
        }
        self.count_unseen();
    }

    fn count_unseen(&self) {
        let more = match self.unseen.len() {
            0 => String::new(),
            n => format!(", {} more under way", text::grouped(n as u64)),
        };
        self.whole.set_message(more);
    }

    /// What has happened stands above the bars.
    fn say(&self, line: &str) {
        let _ = self.all.println(fit::whole(line, SAID, self.look));
    }

    /// What a gate waits for is for people to act on: a bar would cut it short.
    fn ask(&mut self, step: &str, what: &str) {
        let is_gate = self.graph.step(step).is_some_and(|s| matches!(s.kind, StepKind::Gate(_)));
        if is_gate && self.asked.get(step).is_none_or(|said| said != what) {
            self.asked.insert(step.to_owned(), what.to_owned());
            self.say(&format!("         {step}: waits for {what}"));
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
                "  {spinner} {prefix}  {bar:24} {bytes} of {total_bytes}  {bytes_per_sec}  ETA {eta}  {wide_msg}",
            ));
        }
        bar.set_length(progress.bytes_total);
        bar.set_position(progress.bytes_done);
        let files = format!("{}/{} files", progress.files_done, progress.files_total);
        bar.set_message(self.paces.get(step).map_or(files.clone(), |pace| format!("{files}, {pace}")));
    }

    fn letting_go(&mut self, step: &str, progress: &LettingGo) {
        let Some(bar) = self.steps.get(step) else { return };
        if bar.length().is_none() {
            bar.set_style(style("  {spinner} {prefix}  {bar:24} {wide_msg}  {elapsed}"));
        }
        bar.set_length(progress.of);
        bar.set_position(progress.of.saturating_sub(progress.left));
        bar.set_message(progress.to_string());
    }

    fn record(&mut self, record: &Record) {
        match &record.event {
            Event::Intent { step, .. } => self.begin(step),
            Event::Outcome { step, .. } => {
                self.paces.remove(step);
                self.end(step);
                match &record.event {
                    Event::Outcome { result: StepResult::Done { .. }, undo: false, .. } => self.whole.inc(1),
                    Event::Outcome { result: StepResult::Done { .. }, undo: true, .. } => self.whole.dec(1),
                    _ => {}
                }
                if let Some(line) = record_line(&self.graph, &self.names, record, Paint(self.look.color)) {
                    self.say(&line);
                }
            }
            _ => {
                if let Some(line) = record_line(&self.graph, &self.names, record, Paint(self.look.color)) {
                    self.say(&line);
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
            Notice::LettingGo { step, progress } => self.letting_go(step, progress),
            Notice::Paced { step, pace } => {
                if let Some(bar) = self.steps.get(step).filter(|_| pace.limit == 0) {
                    bar.set_message(pace.to_string());
                }
                self.paces.insert(step.clone(), pace.clone());
            }
            Notice::Warning { what } => {
                self.say(&format!("{} {what}", Paint(self.look.color).yellow("warning:")));
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
