//! Which histories are played: none with fewer faults is left out before one with more.
//!
//! A history is the undisturbed run with faults put in. Each that was played shows where the next fault can strike.

use std::collections::BTreeMap;

use super::fault::Call;
use super::history::{End, Theatre};
use super::promise::Broken;
use super::report::{Finding, Level, Report};
use super::stage::{Point, Script, Strike};
use super::{Options, Progress, RehearseError, build};
use crate::planner::graph::{Graph, StepKind};
use crate::spec::model::Spec;

/// Of equal reads of one attempt of a step, faults strike the first and the last so many.
const EDGE: usize = 2;

/// A history that can be played: those of the level before that it continues, and one more fault.
#[derive(Debug, Clone, Copy)]
struct Next {
    parent: u32,
    strike: Strike,
}

/// Plays everything that the options ask for.
pub(super) fn search(
    spec: &Spec,
    graph: &Graph,
    options: &Options,
    on_progress: &mut dyn FnMut(Progress),
) -> Result<Report, RehearseError> {
    let mut theatre = Theatre::new(spec, script(spec, graph)).map_err(RehearseError::Runtime)?;
    let mut tally = Tally::new(spec, graph, options);
    let depth = u8::try_from(options.faults).unwrap_or(u8::MAX);
    let first = theatre.play(&[], depth);
    theatre.after = Some(theatre.facts());
    tally.report.points = theatre.trace().len();
    tally.report.levels.push(Level { faults: 0, histories: 1, played: 1 });
    tally.count(&[], &first);
    let mut parents: Vec<Vec<Strike>> = vec![Vec::new()];
    let mut next = continuations(&theatre.trace(), 0, &[]);
    for faults in 1..=options.faults {
        let histories = next.len() as u64;
        sample(&mut next, options.limit.saturating_sub(tally.played()), options.seed);
        tally.report.levels.push(Level { faults, histories, played: 0 });
        let last = faults == options.faults;
        let (mut played, mut further) = (Vec::new(), Vec::new());
        for (n, candidate) in next.iter().enumerate() {
            let mut strikes = parents.get(candidate.parent as usize).cloned().unwrap_or_default();
            strikes.push(candidate.strike);
            let end = theatre.play(&strikes, depth - faults as u8);
            tally.count(&strikes, &end);
            if !last && !matches!(end, End::Broken(_)) {
                further.extend(continuations(&theatre.trace(), played.len() as u32, &strikes));
                played.push(strikes);
            }
            if n % 64 == 0 {
                on_progress(Progress { faults, played: n as u64, of: next.len() as u64, broken: tally.broken.len() });
            }
        }
        (parents, next) = (played, further);
    }
    Ok(tally.finish(&theatre))
}

fn script(spec: &Spec, graph: &Graph) -> Script {
    let names = spec.inventory.hosts.keys().chain(spec.inventory.directors.keys());
    let verified = graph.steps.iter().filter_map(|s| match &s.kind {
        StepKind::Verify(tree) => Some(tree.job.clone()),
        _ => None,
    });
    Script {
        index: graph.steps.iter().zip(0..).map(|(s, n)| (s.id.clone(), n)).collect(),
        model: build::build(spec, graph),
        places: names.cloned().zip(0..).collect(),
        verified: verified.collect(),
        graph: graph.clone(),
    }
}

/// Every way to go on from a history with one more fault behind its last.
fn continuations(trace: &[Point], parent: u32, strikes: &[Strike]) -> Vec<Next> {
    let from = strikes.last().map_or(0, |(at, _)| at + 1);
    let mut next = Vec::new();
    for (at, point) in
        trace.iter().zip(0..).filter(|(p, at)| *at >= from && !is_inner_read(trace, p, *at)).map(|(p, at)| (at, p))
    {
        next.extend(point.call.faults().iter().map(|fault| Next { parent, strike: (at, *fault) }));
    }
    next
}

/// A read among many equal ones: what a fault does there, it does at the edges, too.
fn is_inner_read(trace: &[Point], point: &Point, at: u32) -> bool {
    let at = at as usize;
    if point.call.writes() || point.call == Call::Append {
        return false;
    }
    let same = |p: &&Point| (p.call, p.step, p.attempt) == (point.call, point.step, point.attempt);
    let (before, after) = trace.split_at(at.min(trace.len()));
    before.iter().filter(same).nth(EDGE - 1).is_some() && after.iter().skip(1).filter(same).nth(EDGE - 1).is_some()
}

/// Leaves as many as the limit lets, chosen by the seed, in their order.
fn sample(next: &mut Vec<Next>, limit: u64, seed: u64) {
    let keep = usize::try_from(limit).unwrap_or(usize::MAX);
    if next.len() <= keep {
        return;
    }
    let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut rank = || {
        // xorshift64*: any spread will do, as long as it is the same for the same seed.
        random ^= random >> 12;
        random ^= random << 25;
        random ^= random >> 27;
        random.wrapping_mul(0x2545_F491_4F6C_DD1D)
    };
    let mut ranked: Vec<(u64, usize)> = (0..next.len()).map(|n| (rank(), n)).collect();
    ranked.sort_unstable();
    ranked.truncate(keep);
    let mut chosen: Vec<usize> = ranked.into_iter().map(|(_, n)| n).collect();
    chosen.sort_unstable();
    *next = chosen.into_iter().filter_map(|n| next.get(n).copied()).collect();
}

/// Counts how histories end.
struct Tally {
    report: Report,
    /// Broken promises by what they say, in the order in which they were found.
    broken: BTreeMap<String, (Broken, u64, Vec<Strike>)>,
}

impl Tally {
    fn new(spec: &Spec, graph: &Graph, options: &Options) -> Self {
        let report = Report {
            plan: spec.plan.name.clone(),
            steps: graph.steps.len(),
            points: 0,
            levels: Vec::new(),
            seed: options.seed,
            done: 0,
            held: 0,
            rolled_back: 0,
            merged: 0,
            broken: Vec::new(),
        };
        Self { report, broken: BTreeMap::new() }
    }

    fn played(&self) -> u64 {
        self.report.levels.iter().map(|l| l.played).sum()
    }

    fn count(&mut self, strikes: &[Strike], end: &End) {
        if let Some(level) = self.report.levels.last_mut().filter(|_| !strikes.is_empty()) {
            level.played += 1;
        }
        match end {
            End::Done { looks: 0 } => self.report.done += 1,
            End::Done { .. } => self.report.held += 1,
            End::RolledBack { .. } => self.report.rolled_back += 1,
            End::Merged => self.report.merged += 1,
            End::Broken(broken) => {
                let entry = self.broken.entry(broken.to_string());
                entry.or_insert_with(|| (broken.clone(), 0, strikes.to_vec())).1 += 1;
            }
        }
    }

    fn finish(mut self, theatre: &Theatre) -> Report {
        let found = self.broken.into_values().map(|(broken, times, strikes)| {
            let history = theatre.tell(&strikes);
            Finding { broken, times, history }
        });
        self.report.broken = found.collect();
        self.report.broken.sort_by_key(|f| f.history.len());
        self.report
    }
}
