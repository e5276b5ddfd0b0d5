//! Which histories are played: none with fewer faults is left out before one with more.
//!
//! A history is the undisturbed run with faults put in. Each that was played shows where the next fault can strike.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::fault::{Call, Fault};
use super::invariants::Violation;
use super::report::{Finding, Level, Report};
use super::simulation::{Point, Scenario, Snapshot, Strike};
use super::simulator::{End, Simulator};
use super::{Options, Progress, RehearseError, build};
use crate::spec::Spec;
use crate::step::{DecommissionAct, Graph, QUIET, Step, StepKind};

/// Of equal reads of one attempt of a step, faults strike the first and the last so many.
const EDGE: usize = 2;

/// A history that can be played: one that was played, and something more behind its last fault.
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
    let simulator = Simulator::new(spec, scenario(spec, graph)).map_err(RehearseError::Runtime)?;
    let mut search = Search { simulator, options, tally: Tally::new(spec, graph, options), parents: Vec::new() };
    let mut open = search.undisturbed();
    for faults in 0..=options.faults {
        open = search.level(faults, open, on_progress);
    }
    Ok(search.tally.finish(&search.simulator))
}

struct Search<'a> {
    simulator: Simulator,
    options: &'a Options,
    tally: Tally,
    parents: Vec<Parent>,
}

/// A history that others continue.
struct Parent {
    strikes: Vec<Strike>,
    /// Where they can begin, in order.
    quiet: Vec<Arc<Snapshot>>,
}

impl Parent {
    /// The last quiet state before a point.
    fn before(&self, at: u32) -> Option<&Arc<Snapshot>> {
        self.quiet.iter().rev().find(|q| q.at <= at)
    }
}

/// Histories still to be played.
#[derive(Default)]
struct Open {
    /// Those that go back, which is no fault.
    turns: Vec<Next>,
    /// Those with one fault more.
    faults: Vec<Next>,
}

impl Search<'_> {
    /// Plays the history without a fault, by which all others are judged.
    fn undisturbed(&mut self) -> Open {
        let end = self.simulator.play(None, &[], self.left(0));
        self.simulator.after = Some(self.simulator.facts());
        self.tally.report.levels.push(Level { faults: 0, histories: 1, played: 1 });
        self.tally.count(&[], &end);
        let mut open = Open::default();
        self.tally.report.points = self.continue_from(Vec::new(), None, &mut open);
        open
    }

    /// Faults that can still follow in a history with so many.
    fn left(&self, faults: usize) -> u8 {
        u8::try_from(self.options.faults.saturating_sub(faults)).unwrap_or(u8::MAX)
    }

    /// Plays the histories with so many faults; returns those with one more.
    fn level(&mut self, faults: usize, from: Open, on_progress: &mut dyn FnMut(Progress)) -> Open {
        let mut next = Open::default();
        let mut round = from.turns;
        if faults > 0 {
            self.tally.report.levels.push(Level { faults, histories: 0, played: 0 });
            round = from.faults;
        } else {
            next.faults = from.faults;
        }
        while !round.is_empty() {
            self.tally.found(round.len());
            let limit = self.options.limit.saturating_sub(self.tally.played());
            sample(&mut round, limit, self.options.seed);
            for (n, candidate) in round.iter().enumerate() {
                self.play(faults, *candidate, &mut next);
                if n % 64 == 0 {
                    let of = round.len() as u64;
                    on_progress(Progress { faults, played: n as u64, of, broken: self.tally.broken.len() });
                }
            }
            round = std::mem::take(&mut next.turns);
        }
        next
    }

    fn play(&mut self, faults: usize, candidate: Next, next: &mut Open) {
        let Some(parent) = self.parents.get(candidate.parent as usize) else { return };
        let strikes = [&parent.strikes[..], &[candidate.strike]].concat();
        let from = parent.before(candidate.strike.0).cloned();
        let end = self.simulator.play(from.as_deref(), &strikes, self.left(faults));
        self.tally.count(&strikes, &end);
        if !matches!(end, End::Violation(_)) {
            self.continue_from(strikes, from, next);
        }
    }

    /// Every way to go on from the history played last behind its last fault; how many points that had.
    fn continue_from(&mut self, strikes: Vec<Strike>, began: Option<Arc<Snapshot>>, open: &mut Open) -> usize {
        let (offset, trace, reached) = self.simulator.trace();
        let from = strikes.last().map_or(0, |(at, _)| at + 1);
        let turned = strikes.iter().any(|(_, f)| *f == Fault::RollBack);
        let more = strikes.len() - usize::from(turned) < self.options.faults;
        let parent = self.parents.len() as u32;
        let mut used = false;
        let edges = Edges::of(offset, &trace);
        for (point, at) in trace.iter().zip(offset..).filter(|(_, at)| *at >= from) {
            if !turned && point.call == (Call::Append { turn: true }) {
                open.turns.push(Next { parent, strike: (at, Fault::RollBack) });
                used = true;
            }
            if more && edges.include(point, at) {
                let faults = point.call.faults().iter();
                open.faults.extend(faults.map(|fault| Next { parent, strike: (at, *fault) }));
                used = true;
            }
        }
        if used {
            self.parents.push(Parent { strikes, quiet: began.into_iter().chain(reached).collect() });
        }
        trace.len()
    }
}

/// What is the same in all histories of a plan.
pub(super) fn scenario(spec: &Spec, graph: &Graph) -> Scenario {
    let names = spec.inventory.hosts.keys().chain(spec.inventory.directors.keys());
    let verified = graph.steps.iter().filter_map(|s| match &s.kind {
        StepKind::Compare(compare) => Some(compare.tree.job.clone()),
        StepKind::HandOver(hand_over) if hand_over.verify => Some(hand_over.tree.job.clone()),
        _ => None,
    });
    Scenario {
        index: graph.steps.iter().zip(0..).map(|(s, n)| (s.id.clone(), n)).collect(),
        model: build::build(spec, graph),
        places: names.cloned().zip(0..).collect(),
        verified: verified.collect(),
        graph: Arc::new(shortened(graph)),
    }
}

/// Some looks stand for as many as a plan wants before it gives a host back.
fn shortened(graph: &Graph) -> Graph {
    let shorter = |step: &Step| {
        let mut step = step.clone();
        if let StepKind::Decommission(back) = &mut step.kind
            && let DecommissionAct::Quiet(time) = &mut back.act
        {
            *time = (*time).min(back.interval * QUIET);
        }
        step
    };
    match graph.steps.iter().any(|s| matches!(s.kind, StepKind::Decommission(_))) {
        true => Graph { steps: graph.steps.iter().map(shorter).collect(), ..graph.clone() },
        false => graph.clone(),
    }
}

/// Which of many equal reads of one attempt of a step are worth a fault: what it does in the middle, it does at the edges, too.
struct Edges(BTreeMap<(Call, u32, u32), Vec<u32>>);

impl Edges {
    fn of(offset: u32, trace: &[Point]) -> Self {
        let mut reads: BTreeMap<_, Vec<u32>> = BTreeMap::new();
        for (point, at) in trace.iter().zip(offset..).filter(|(p, _)| !p.call.writes()) {
            reads.entry((point.call, point.step, point.attempt)).or_default().push(at);
        }
        Self(reads)
    }

    fn include(&self, point: &Point, at: u32) -> bool {
        let Some(equal) = self.0.get(&(point.call, point.step, point.attempt)) else { return true };
        let rank = equal.binary_search(&at).unwrap_or(0);
        rank < EDGE || rank + EDGE >= equal.len()
    }
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
    /// Violation promises by what they say, in the order in which they were found.
    broken: BTreeMap<String, (Violation, u64, Vec<Strike>)>,
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

    fn found(&mut self, histories: usize) {
        if let Some(level) = self.report.levels.last_mut() {
            level.histories += histories as u64;
        }
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
            End::Violation(broken) => {
                let entry = self.broken.entry(broken.to_string());
                entry.or_insert_with(|| (broken.clone(), 0, strikes.to_vec())).1 += 1;
            }
        }
    }

    fn finish(mut self, simulator: &Simulator) -> Report {
        let found = self.broken.into_values().map(|(broken, times, strikes)| {
            let history = simulator.tell(&strikes);
            Finding { broken, times, history }
        });
        self.report.broken = found.collect();
        self.report.broken.sort_by_key(|f| f.history.len());
        self.report
    }
}
