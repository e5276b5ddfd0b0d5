//! Runs as metrics, in the text format that Prometheus reads.
//!
//! All of it is folded from journals, so that it is the same whoever asks, and whether a controller is at work or not. Must never have a name
//! for something that changes with every run as anything but a label, and never pairs of runs that have ended: series would only grow.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::report::{RunReport, RunRow};
use crate::event::{Direction, Figures, RunState, StepState};

/// The statuses that a run may have, as labels.
const STATUSES: [&str; 9] =
    ["running", "interrupted", "held", "stuck", "stopped", "finished", "rolled_back", "abandoned", "unreadable"];

/// A run, as it is now.
pub struct Told<'a> {
    /// Its name.
    pub run: &'a str,
    /// What its records fold to; why they cannot be read.
    pub state: Result<&'a RunState, String>,
    /// Whether a controller works on it.
    pub live: bool,
}

/// Metrics by name.
#[derive(Default)]
struct Metrics(BTreeMap<&'static str, Metric>);

/// What is told of a metric, and its series by their labels.
#[derive(Default)]
struct Metric {
    help: &'static str,
    series: Vec<(String, f64)>,
}

impl Metrics {
    fn add(&mut self, name: &'static str, help: &'static str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let metric = self.0.entry(name).or_default();
        metric.help = help;
        metric.series.push((labels.join(","), value));
    }

    fn text(&self) -> String {
        let mut out = String::new();
        for (name, Metric { help, series }) in &self.0 {
            let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, value) in series {
                let _ = match labels.is_empty() {
                    true => writeln!(out, "{name} {value}"),
                    false => writeln!(out, "{name}{{{labels}}} {value}"),
                };
            }
        }
        out
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// All these runs.
pub fn exposition<'a>(runs: impl IntoIterator<Item = Told<'a>>) -> String {
    let mut metrics = Metrics::default();
    let mut count = 0_u32;
    for told in runs {
        count += 1;
        one(&mut metrics, &told);
    }
    metrics.add("migrate_runs", "Runs that are kept.", &[], f64::from(count));
    metrics.text()
}

fn one(metrics: &mut Metrics, told: &Told<'_>) {
    let run = told.run;
    let row = RunRow::new(run, told.state.clone(), told.live);
    let is = row.status.replace(' ', "_");
    for status in STATUSES {
        let help = "Whether a run has this status.";
        metrics.add("migrate_run_status", help, &[("run", run), ("status", status)], f64::from(u8::from(status == is)));
    }
    let Ok(state) = told.state else { return };
    let own = [("run", run)];
    let (plan, version) = (state.started.plan.as_str(), state.started.version.as_str());
    let labels = [("run", run), ("plan", plan), ("version", version)];
    metrics.add("migrate_run_info", "What a run is of, and which version began it.", &labels, 1.0);
    let seconds = |at: jiff::Timestamp| at.as_millisecond() as f64 / 1000.0;
    metrics.add("migrate_run_start_timestamp_seconds", "When a run began.", &own, seconds(state.started_at));
    metrics.add(
        "migrate_run_last_record_timestamp_seconds",
        "When something last happened in a run.",
        &own,
        seconds(state.last_at),
    );
    for (word, step) in STEPS {
        let help = "Steps of a run by where they stand.";
        metrics.add("migrate_run_steps", help, &[("run", run), ("state", word)], state.count(step) as f64);
    }
    let back = state.direction != Direction::Forward;
    metrics.add("migrate_run_going_back", "Whether a run goes back.", &own, f64::from(u8::from(back)));
    let paused = state.paused.is_some();
    metrics.add("migrate_run_paused", "Whether somebody has paused a run.", &own, f64::from(u8::from(paused)));
    metrics.add(
        "migrate_run_drifts_total",
        "How often others had changed what a run had set.",
        &own,
        state.drifts.len() as f64,
    );
    let cut_off = state.cut_off().len() as f64;
    metrics.add("migrate_run_cut_off_pairs", "Pairs whose users may be cut off.", &own, cut_off);
    metrics.add("migrate_run_carried_bytes", "Bytes that copies which stand have carried.", &own, carried(state));
    if !state.status.is_over() {
        pairs(metrics, state, told.live);
    }
}

const STEPS: [(&str, StepState); 6] = [
    ("waiting", StepState::Waiting),
    ("running", StepState::Running),
    ("done", StepState::Done),
    ("failed", StepState::Failed),
    ("unknown", StepState::Unknown),
    ("undoing", StepState::Undoing),
];

fn carried(state: &RunState) -> f64 {
    let bytes = |at: usize| match state.at(at)?.figures? {
        Figures::Carried { bytes, .. } => Some(bytes as f64),
        Figures::Compared { .. } | Figures::Sessions { .. } => None,
    };
    (0..state.graph.steps.len()).filter_map(bytes).sum()
}

fn pairs(metrics: &mut Metrics, state: &RunState, live: bool) {
    let report = RunReport::new(state, live);
    for pair in &report.pairs {
        let Some((source, target)) = pair.pair.split_once(" → ") else { continue };
        let labels = [("run", report.run.as_str()), ("service", &pair.service), ("source", source), ("target", target)];
        let share = f64::from(pair.share) / 100.0;
        metrics.add("migrate_pair_share_ratio", "How much of its full weight a target has.", &labels, share);
        let done = pair.done as f64 / pair.steps.max(1) as f64;
        metrics.add("migrate_pair_done_ratio", "How many of its steps a pair has done.", &labels, done);
        if let Some(millis) = pair.freeze_ms {
            let help = "How long a pair was frozen.";
            metrics.add("migrate_pair_freeze_seconds", help, &labels, millis as f64 / 1000.0);
        }
    }
    for (step, reverse) in &state.reverses {
        let help = "Whether a source keeps in step with its target, so that going back has little to wait for.";
        let in_step = f64::from(u8::from(reverse.pace.is_in_step()));
        metrics.add("migrate_way_back_in_step", help, &[("run", &report.run), ("step", step)], in_step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_label_holds_cannot_end_it() {
        let mut metrics = Metrics::default();
        metrics.add("migrate_runs", "Runs.", &[("run", "a\"} 1\n\\")], 2.0);
        assert_eq!(
            metrics.text(),
            "# HELP migrate_runs Runs.\n# TYPE migrate_runs gauge\nmigrate_runs{run=\"a\\\"} 1\\n\\\\\"} 2\n"
        );
    }

    #[test]
    fn a_run_that_cannot_be_read_is_told_of() {
        let told = exposition([Told { run: "web-1", state: Err("torn".to_owned()), live: false }]);
        assert!(told.contains("migrate_run_status{run=\"web-1\",status=\"unreadable\"} 1\n"), "{told}");
        assert!(told.contains("\nmigrate_runs 1\n"), "{told}");
    }
}
