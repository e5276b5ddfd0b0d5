//! A plan to read: wave by wave, step by step, before → after, with how sure each line is.
//!
//! Owns what every rendering of a plan shows. Must never claim more than was seen.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::estimate::{self, Estimate};
use super::lookout::Lookout;
use super::observed::{Observed, Seen};
use crate::copy::watch::Outlook;
use crate::model::Input;
use crate::model::finding::{Finding, Severity};
use crate::model::{Change, Mode, Pool};
use crate::spec::Spec;
use crate::step::{Class, CopyPhase, Graph, Step, StepKind};
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
    /// What it costs.
    pub estimate: Estimate,
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
    /// What concerns one pair, or all of a service, in order.
    pub groups: Vec<GroupView>,
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
    pub phase: String,
    /// What would be done.
    pub what: String,
    /// Before → after, or what was seen.
    pub seen: Option<String>,
    /// Of a copy: how passes after the first will find what changed on the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Outlook>,
    /// How sure that is.
    pub mark: Mark,
    /// Effect class.
    pub class: Class,
}

/// How sure a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// Seen on the live system.
    Verified,
    /// Follows from the plan, or from an estimate.
    Assumed,
    /// Nobody can tell before it is done.
    CannotBeChecked,
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

    /// What keeps it from being applied.
    pub fn refusals(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|f| f.severity == Severity::Refused)
    }
}

/// Puts everything together.
pub fn build(spec: &Spec, observed: Option<&Observed>, graph: Graph, findings: Vec<Finding>) -> Proposal {
    let nothing = Observed::default();
    let lookout = Lookout::new(observed, &graph);
    let mut viewer = Viewer { observed: observed.unwrap_or(&nothing), lookout, pools: BTreeMap::new() };
    let waves = spec.plan.waves.iter().filter_map(|wave| {
        let steps: Vec<&Step> = graph.steps.iter().filter(|s| s.wave == wave.name).collect();
        let groups = viewer.groups(&steps);
        (!groups.is_empty()).then(|| WaveView {
            name: wave.name.clone(),
            max_unavailable: wave.max_unavailable,
            groups,
        })
    });
    let waves = waves.collect();
    Proposal {
        plan: spec.plan.name.clone(),
        description: spec.plan.description.clone(),
        live: observed.is_some(),
        inputs: spec.inputs.clone(),
        waves,
        findings,
        estimate: estimate::estimate(&graph, observed.unwrap_or(&nothing)),
        graph,
    }
}

/// Plays the plan through, so that each line can say what it will find.
struct Viewer<'a> {
    observed: &'a Observed,
    lookout: Lookout<'a>,
    pools: BTreeMap<String, Pool>,
}

impl Viewer<'_> {
    fn groups(&mut self, steps: &[&Step]) -> Vec<GroupView> {
        let mut groups: Vec<GroupView> = Vec::new();
        for step in steps {
            let pair = step.pair.as_ref().map(|p| format!("{} → {}", p.source, p.target));
            let line = self.line(step);
            match groups.last_mut().filter(|g| g.service == step.service && g.pair == pair) {
                Some(group) => group.lines.push(line),
                None => groups.push(GroupView { service: step.service.clone(), pair, lines: vec![line] }),
            }
        }
        groups
    }

    fn line(&mut self, step: &Step) -> Line {
        let (seen, mark) = self.look(step);
        Line {
            step: step.id.clone(),
            phase: step.kind.phase().to_owned(),
            what: step.kind.describe(),
            seen,
            changes: self.lookout.of(step),
            mark,
            class: step.kind.class(),
        }
    }

    fn look(&mut self, step: &Step) -> (Option<String>, Mark) {
        match &step.kind {
            StepKind::Traffic { director, pool, changes, .. } => self.traffic(director, pool, changes),
            StepKind::LowerTtl { director, pool, ttl } => {
                match self.observed.pool(director, pool).and_then(|p| p.ttl) {
                    Some(now) => (Some(format!("{} → {}", text::duration(now), text::duration(*ttl))), Mark::Verified),
                    None => (None, Mark::Assumed),
                }
            }
            StepKind::Copy(tree) => {
                let source = step.pair.as_ref().map(|p| p.source.as_str()).unwrap_or_default();
                match self.observed.tree(source, &tree.from) {
                    Some(size) if tree.phase == CopyPhase::Seed => {
                        let entries = format!("{} entries", text::grouped(size.entries));
                        (Some(format!("{entries}, {}", text::bytes(size.bytes))), Mark::Verified)
                    }
                    _ => (None, Mark::Assumed),
                }
            }
            StepKind::Empty { director, pool, member, .. } => {
                let now = self.observed.pool(director, pool).and_then(|p| p.member(member)).and_then(|m| m.connections);
                (now.map(|n| format!("{} now", text::count(n, "connection"))), Mark::Assumed)
            }
            StepKind::Check { host, .. } => {
                let seen = self.observed.health.get(host).and_then(|v| v.first());
                (seen.map(|v| format!("now: {}", v.evidence)), Mark::Assumed)
            }
            StepKind::Stream(_) => (None, Mark::CannotBeChecked),
            StepKind::Hook(hook) => {
                let reached = matches!(self.observed.hosts.get(&hook.host), Some(Seen::Live(_)));
                (reached.then(|| format!("{} can be reached", hook.host)), Mark::CannotBeChecked)
            }
            _ => (None, Mark::Assumed),
        }
    }

    fn traffic(&mut self, director: &str, pool: &str, changes: &[Change]) -> (Option<String>, Mark) {
        let key = Observed::pool_key(director, pool);
        let Some(seen) = self.observed.pool(director, pool) else { return (None, Mark::Assumed) };
        let now = self.pools.entry(key).or_insert_with(|| seen.clone());
        let lines: Vec<String> = changes
            .iter()
            .map(|change| {
                let before = now.members.iter().find(|m| m.name == change.member).map(|m| setting(m.mode, m.weight));
                format!("{} → {}", before.unwrap_or_else(|| "absent".into()), after(change, seen.ttl.is_some()))
            })
            .collect();
        for change in changes {
            play(now, change);
        }
        (Some(lines.join(", ")), Mark::Verified)
    }
}

fn setting(mode: Mode, weight: u16) -> String {
    match mode {
        Mode::Ready => weight.to_string(),
        Mode::Drain => "drain".into(),
        Mode::Maint => "maintenance".into(),
    }
}

fn after(change: &Change, by_presence: bool) -> String {
    if by_presence && change.weight == 0 { "absent".into() } else { setting(change.mode, change.weight) }
}

fn play(pool: &mut Pool, change: &Change) {
    match pool.members.iter_mut().find(|m| m.name == change.member) {
        Some(_) if pool.ttl.is_some() && change.weight == 0 => pool.members.retain(|m| m.name != change.member),
        Some(member) => (member.mode, member.weight) = (change.mode, change.weight),
        None => pool.members.push(crate::model::Member {
            name: change.member.clone(),
            weight: change.weight,
            mode: change.mode,
            connections: None,
            up: None,
        }),
    }
}
