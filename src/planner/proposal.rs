//! A plan to read: wave by wave, step by step, before → after, with how sure each line is.
//!
//! Owns what every rendering of a plan shows. Must never claim more than was seen.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::change_detection::ChangeDetection;
use super::cost::Bill;
use super::estimate::{self, Estimate};
use super::observed::Observed;
use crate::copy::watch::ExpectedScan;
use crate::model::finding::{Finding, Severity};
use crate::model::{Input, Weights};
use crate::spec::Spec;
use crate::step::{Class, Graph, Mark, Played, Preview, Step};
use crate::text;

/// Everything that a plan shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// Name of the plan.
    pub plan: String,
    /// One line for people.
    pub description: Option<String>,
    /// Whether the live system was looked at.
    pub live: bool,
    /// The files it came from.
    pub inputs: Vec<Input>,
    /// Waves in order.
    pub waves: Vec<WaveView>,
    /// What speaks against it, worst first.
    pub findings: Vec<Finding>,
    /// How long it takes.
    pub estimate: Estimate,
    /// What it does to the bill.
    #[serde(default, skip_serializing_if = "Bill::is_empty")]
    pub bill: Bill,
    /// What would be run.
    pub graph: Graph,
}

/// One wave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaveView {
    /// Its name.
    pub name: String,
    /// Pairs that may be out of service at once.
    pub max_unavailable: usize,
    /// Pairs of each batch, where they are split.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub batches: Vec<usize>,
    /// What concerns one pair, or all of a service, in order.
    pub groups: Vec<GroupView>,
}

impl WaveView {
    /// How many of its pairs move at a time, for people.
    pub fn rules(&self) -> String {
        let at_once = text::count(self.max_unavailable as u64, "pair");
        let batches = if self.batches.is_empty() { String::new() } else { format!(", {}", told(&self.batches)) };
        format!("at most {at_once} out of service at once{batches}")
    }
}

/// The sizes of batches: `in batches of 1, 5, then 25 at a time`.
fn told(sizes: &[usize]) -> String {
    const SHOWN: usize = 8;
    let grouped = |size: &usize| text::grouped(*size as u64);
    let of = |sizes: &[usize]| sizes.iter().map(grouped).collect::<Vec<_>>();
    let whole = sizes.len().saturating_sub(1);
    let again = sizes.iter().take(whole).rev().take_while(|size| Some(*size) == sizes.iter().take(whole).next_back());
    match again.count() {
        again @ 2.. => {
            let (first, rest) = sizes.split_at(whole - again);
            let each = rest.first().map(grouped).unwrap_or_default();
            match first {
                [] => format!("in batches of {each}"),
                first if first.len() <= SHOWN => format!("in batches of {}, then of {each}", of(first).join(", ")),
                _ => format!("in {} batches, the last ones of {each}", text::grouped(sizes.len() as u64)),
            }
        }
        _ if sizes.len() <= SHOWN => format!("in batches of {}", text::list(&of(sizes))),
        _ => format!("in {} batches", text::grouped(sizes.len() as u64)),
    }
}

/// The steps of one pair, or of a service as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupView {
    /// The service.
    pub service: String,
    /// `source → target`; `None` for what concerns all pairs.
    pub pair: Option<String>,
    /// Its steps in order.
    pub lines: Vec<Line>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Id of the step.
    pub step: String,
    /// One word.
    pub phase: Cow<'static, str>,
    /// What would be done.
    pub what: String,
    /// Before → after, or what was seen.
    pub seen: Option<String>,
    /// Of a copy: how passes after the first will find what changed on the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<ExpectedScan>,
    /// How sure that is.
    pub mark: Mark,
    /// Effect class.
    pub class: Class,
}

impl Proposal {
    /// Whether there is anything to do.
    pub fn is_empty(&self) -> bool {
        self.graph.steps.is_empty()
    }

    /// Whether it says of any tree how changes will be found.
    pub fn tells_of_changes(&self) -> bool {
        self.waves.iter().flat_map(|w| &w.groups).flat_map(|g| &g.lines).any(|line| line.changes.is_some())
    }

    /// What speaks against it besides what the plan and the live system say.
    pub fn also(&mut self, findings: Vec<Finding>) {
        self.findings.extend(findings);
        self.findings.sort();
    }

    /// What keeps it from being applied.
    pub fn refusals(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|f| f.severity == Severity::Refused)
    }
}

/// Puts everything together.
pub fn build(spec: &Spec, observed: Option<&Observed>, graph: Graph, findings: Vec<Finding>, bill: Bill) -> Proposal {
    let nothing = Observed::default();
    let changes = ChangeDetection::new(observed, &graph);
    let directors = spec.inventory.directors.iter();
    let by_presence = directors.filter(|(_, config)| config.kind().capabilities().weights == Weights::Presence);
    let played = Played::new(by_presence.map(|(name, _)| name.clone()).collect());
    let mut viewer = Viewer { observed: observed.unwrap_or(&nothing), changes, played };
    // Waves follow each other in the graph as they do in the plan.
    let mut steps = graph.steps.iter().peekable();
    let mut waves = Vec::new();
    for wave in &spec.plan.waves {
        let own = std::iter::from_fn(|| steps.next_if(|s| s.wave == wave.name));
        let groups = viewer.groups(own);
        if !groups.is_empty() {
            let (name, batches) = (wave.name.to_string(), wave.batches.clone());
            waves.push(WaveView { name, max_unavailable: wave.max_unavailable, batches, groups });
        }
    }
    Proposal {
        plan: spec.plan.name.clone(),
        description: spec.plan.description.clone(),
        live: observed.is_some(),
        inputs: spec.inputs.clone(),
        waves,
        findings,
        estimate: estimate::estimate(&graph, observed.unwrap_or(&nothing)),
        bill,
        graph,
    }
}

/// Plays the plan through, so that each line can say what it will find.
struct Viewer<'a> {
    observed: &'a Observed,
    changes: ChangeDetection<'a>,
    played: Played,
}

impl Viewer<'_> {
    fn groups<'s>(&mut self, steps: impl Iterator<Item = &'s Step>) -> Vec<GroupView> {
        let mut groups: Vec<GroupView> = Vec::new();
        let mut last = None;
        for step in steps {
            let line = self.line(step);
            let whom = Some((&step.service, &step.pair));
            match groups.last_mut().filter(|_| last == whom) {
                Some(group) => group.lines.push(line),
                None => {
                    let pair = step.pair.as_ref().map(|p| format!("{} → {}", p.source, p.target));
                    groups.push(GroupView { service: step.service.to_string(), pair, lines: vec![line] });
                }
            }
            last = whom;
        }
        groups
    }

    fn line(&mut self, step: &Step) -> Line {
        let Preview { seen, mark } = step.kind.preview(step, self.observed, &mut self.played);
        Line {
            step: step.id.clone(),
            phase: step.kind.phase().into(),
            what: step.kind.describe(),
            seen,
            changes: self.changes.of(step),
            mark,
            class: step.kind.class(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::told;

    #[test]
    fn batches_are_told_in_few_words() {
        assert_eq!(told(&[1, 5, 25, 69]), "in batches of 1, 5, 25 and 69");
        assert_eq!(told(&[1, 5, 10, 10, 10, 4]), "in batches of 1, 5, then of 10");
        assert_eq!(told(&[10, 10, 10]), "in batches of 10");
        assert_eq!(told(&[7]), "in batches of 7");
        assert_eq!(told(&(1..=9).collect::<Vec<_>>()), "in 9 batches");
    }
}
