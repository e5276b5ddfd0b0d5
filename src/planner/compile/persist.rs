//! Whether a restart of a director keeps what the plan sets, and what runs now.

use std::collections::BTreeMap;

use super::pool::PoolPlan;
use super::service::ServicePlan;
use super::{Compilation, Planned, Stretch};
use crate::model::finding::Finding;
use crate::model::{Change, Line, Persist};
use crate::step::{Draft, PersistStep, RewriteStep, StepKind};

/// Lines that are told in one finding.
const SHOWN: usize = 10;

/// What comes behind everything else of a service: nothing waits for it.
pub fn steps(plan: &ServicePlan<'_>, stretches: &[Stretch]) -> Vec<Draft> {
    let looked_at = plan.pools.iter().filter(|_| plan.service.persist != Persist::Ignore);
    looked_at.flat_map(|pool| of_pool(plan, pool, stretches)).collect()
}

fn of_pool(plan: &ServicePlan<'_>, pool: &PoolPlan<'_>, stretches: &[Stretch]) -> Vec<Draft> {
    let members = in_the_end(pool, stretches);
    if members.is_empty() {
        return Vec::new();
    }
    let (at, expected) = (pool.traffic.pool_ref(), pool.kept(&members));
    let is_written = plan.service.persist == Persist::Write && pool.writes();
    let write = RewriteStep { pool: at.clone(), members: members.clone(), expected: expected.clone() };
    let persist = PersistStep { pool: at, members, expected, is_written };
    let write = is_written.then(|| held_alone(pool.named("write-config"), StepKind::Rewrite(write)));
    write.into_iter().chain([held_alone(pool.named("persist"), StepKind::Persist(persist))]).collect()
}

/// Traffic is where it belongs: what is missing on a disk puts nothing back.
fn held_alone(name: String, kind: StepKind) -> Draft {
    Draft { on_failure: Some(crate::model::OnFailure::Hold), ..Draft::new(name, kind) }
}

/// What every member of a pool is set to last.
fn in_the_end(pool: &PoolPlan<'_>, stretches: &[Stretch]) -> Vec<Change> {
    let mut last: BTreeMap<&str, &Change> = BTreeMap::new();
    let mut order: Vec<&str> = Vec::new();
    let steps = stretches.iter().flat_map(|stretch| -> Vec<&Planned> {
        match stretch {
            Stretch::EachPair(pairs) => pairs.iter().flatten().flat_map(|(_, planned)| planned).collect(),
            Stretch::Together(planned) => planned.iter().collect(),
        }
    });
    for planned in steps {
        let StepKind::Traffic(traffic) = &planned.draft.kind else { continue };
        if !pool.is_set_by(traffic) {
            continue;
        }
        for change in &traffic.changes {
            if last.insert(&change.member, change).is_none() {
                order.push(&change.member);
            }
        }
    }
    order.into_iter().filter_map(|member| last.get(member).copied().cloned()).collect()
}

/// Says where what runs now is not what a restart would make.
pub fn look_at(c: &mut Compilation<'_>) {
    let services = c.services.iter().filter(|service| service.plan.service.persist != Persist::Ignore);
    let pools = services.flat_map(|service| &service.plan.pools);
    let found: Vec<Finding> = pools
        .filter_map(|pool| {
            let lines = pool.restarted()?.lines;
            let said = |line: &Line| format!("{} says `{}`, and `{}` runs", line.at, line.from, line.to);
            let mut told: Vec<String> = lines.iter().take(SHOWN).map(said).collect();
            if lines.len() > SHOWN {
                told.push(format!("{} more", lines.len() - SHOWN));
            }
            let what = format!("a reload would change what runs: {}", told.join("; "));
            let hint = "find out which of them is right before the move";
            (!lines.is_empty()).then(|| Finding::risk(pool.about(), what).hint(hint))
        })
        .collect();
    c.findings.extend(found);
}

/// Says what the run will wait for in the end.
pub fn judge(c: &mut Compilation<'_>) {
    let mut found = Vec::new();
    for step in &c.graph.steps {
        let StepKind::Persist(PersistStep { pool, expected: Some(kept), is_written, .. }) = &step.kind else {
            continue;
        };
        let about = format!("{} {}", pool.director, pool.pool);
        let by_hand = kept.lines.iter().any(|line| line.by_hand.is_some()) || !kept.unclear.is_empty();
        if kept.agrees() || (*is_written && !by_hand) {
            continue;
        }
        let lines = kept.lines.len() + kept.unclear.len();
        let what =
            format!("a restart would undo the move: the run is held at {} until {} changed", step.id, many(lines));
        let hint = match is_written {
            true => "these lines are for a person to change",
            false => "the step says which; `persist: write` has the run change them, `persist: ignore` does not look",
        };
        found.push(Finding::risk(about, what).hint(hint));
    }
    c.findings.extend(found);
}

fn many(lines: usize) -> String {
    if lines == 1 { "1 place is".to_owned() } else { format!("{lines} places are") }
}
