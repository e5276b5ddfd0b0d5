//! What gates, hooks, states and the service itself contribute to each moment, in this order.

use super::moves::{self, At, Urgent};
use super::service::{PairPlan, ServicePlan};
use super::{Compilation, Planned, Stretch, confirm, reverse, traffic};
use crate::gate::Gate;
use crate::model::finding::Finding;
use crate::model::{Hook, HookPoint, Side, Undo};
use crate::step::{CheckStep, CleanUpStep, Draft, GateStep, HookStep, Moment, StepKind};

/// Asks everybody what is to be done at every moment of the moves.
pub fn contribute(c: &mut Compilation<'_>) {
    for service in &mut c.services {
        let plan = &service.plan;
        for stretch in moves::of(plan.service.strategy) {
            service.stretches.push(match stretch {
                moves::Stretch::EachPair(moments) => {
                    let pairs = plan.pairs.iter().map(|pair| of_pair(plan, pair, moments));
                    let planned = pairs.map(|planned| {
                        planned.unwrap_or_else(|finding| {
                            c.findings.push(finding);
                            Vec::new()
                        })
                    });
                    Stretch::EachPair(planned.collect())
                }
                moves::Stretch::Together(moments) => {
                    let drafts = moments.iter().map(|at| (at, traffic::together(plan, at.moment, &mut c.findings)));
                    Stretch::Together(drafts.flat_map(|(at, drafts)| planned(at, drafts)).collect())
                }
            });
        }
    }
}

/// Lets every state judge what was seen of its hosts.
pub fn judge_states(c: &mut Compilation<'_>) {
    let states = c.services.iter().flat_map(|s| &s.plan.pairs).flat_map(|pair| &pair.states);
    c.findings.extend(states.flat_map(|state| state.state.findings(c.observed)));
    let back = c.services.iter().filter(|s| s.plan.service.reverse.until().is_some());
    let states = back.flat_map(|s| &s.plan.pairs).flat_map(|pair| &pair.states);
    c.findings.extend(states.flat_map(|state| state.state.findings_back(c.observed)));
}

fn of_pair(
    plan: &ServicePlan<'_>,
    pair: &PairPlan<'_>,
    moments: &[At],
) -> Result<Vec<(Moment, Vec<Planned>)>, Finding> {
    let mut out: Vec<(Moment, Vec<Planned>)> = Vec::with_capacity(moments.len());
    for at in moments {
        let nothing_at = |moment| out.iter().all(|(m, steps)| *m != moment || steps.is_empty());
        let left_out = at.way_back && plan.service.reverse.until().is_none();
        let drafts = match at.follows {
            _ if left_out => Vec::new(),
            Some(earlier) if nothing_at(earlier) => Vec::new(),
            _ => drafts(plan, pair, at.moment)?,
        };
        out.push((at.moment, planned(at, drafts)));
    }
    Ok(out)
}

fn planned(at: &At, drafts: Vec<Draft>) -> Vec<Planned> {
    let urgent = |n: usize| match at.urgent {
        Urgent::None => false,
        Urgent::All => true,
        Urgent::First => n == 0,
    };
    drafts.into_iter().enumerate().map(|(n, draft)| Planned { draft, urgent: urgent(n), asked: false }).collect()
}

fn drafts(plan: &ServicePlan<'_>, pair: &PairPlan<'_>, moment: Moment) -> Result<Vec<Draft>, Finding> {
    let mut drafts = gates(plan, moment);
    let hooks = plan.service.hooks.iter().filter(|hook| Moment::of(hook.at) == moment);
    for (n, hook) in hooks.enumerate() {
        drafts.push(Draft { opens: thaws_for_all(plan, hook), ..self::hook(pair, hook, n)? });
    }
    for state in &pair.states {
        let steps = state.state.steps(moment).into_iter();
        drafts.extend(steps.map(|draft| Draft { name: numbered(&draft.name, state.number), ..draft }));
    }
    drafts.extend(own(plan, pair, moment));
    Ok(drafts)
}

fn gates(plan: &ServicePlan<'_>, moment: Moment) -> Vec<Draft> {
    let gates = plan.service.gates.iter().filter(|gate| Moment::of(gate.at) == moment);
    let draft = |(n, gate): (usize, &Gate)| Draft {
        on_failure: gate.on_failure,
        ..Draft::new(
            numbered(&format!("gate-{}", gate.at.name()), n),
            StepKind::Gate(GateStep { asks: gate.clone(), past: Vec::new() }),
        )
    };
    gates.enumerate().map(draft).collect()
}

fn hook(pair: &PairPlan<'_>, hook: &Hook, n: usize) -> Result<Draft, Finding> {
    let host = if hook.on == Side::Source { pair.source } else { pair.target };
    let step = HookStep {
        host: host.name.clone(),
        at: hook.at,
        run: host.fill_command(&hook.run)?,
        timeout: hook.timeout,
        idempotent: hook.idempotent,
        done_when: hook.done_when.as_ref().map(|d| host.fill_command(d)).transpose()?,
        undo: match &hook.undo {
            Undo::Run(script) => Some(host.fill_command(script)?),
            Undo::Nothing | Undo::Unsaid => None,
        },
        secrets: hook.secrets.clone(),
        env: Default::default(),
    };
    let name = numbered(hook.at.name(), n);
    let unsaid = format!("the hook {name} on {} says nothing of its `undo`", host.name);
    let no_return = (hook.undo == Undo::Unsaid).then_some(unsaid);
    Ok(Draft { no_return, ..Draft::new(name, StepKind::Hook(step)) })
}

/// Without a director the target may take writes as soon as its writer starts.
fn thaws_for_all(plan: &ServicePlan<'_>, hook: &Hook) -> bool {
    plan.pool.is_none() && hook.at == HookPoint::Thaw && hook.on == Side::Target
}

/// What every service does by itself.
fn own(plan: &ServicePlan<'_>, pair: &PairPlan<'_>, moment: Moment) -> Vec<Draft> {
    match moment {
        Moment::Drained => traffic::drain(plan, pair),
        Moment::Fenced => confirm::drained(plan, pair).into_iter().collect(),
        Moment::Proved => confirm::throughout(plan, pair).into_iter().collect(),
        Moment::Shifted => traffic::shift(plan, pair),
        Moment::Retired => traffic::retire(plan, pair).into_iter().collect(),
        Moment::Checked => check(plan, pair).into_iter().collect(),
        Moment::Committed => reverse::commit(plan, pair).into_iter().collect(),
        Moment::CleanUp => traffic::unfence(plan, pair).into_iter().chain(clean_up(plan, pair)).collect(),
        _ => Vec::new(),
    }
}

/// The check of the target, if the service has any.
fn check(plan: &ServicePlan<'_>, pair: &PairPlan<'_>) -> Option<Draft> {
    let checks = plan.service.checks_of([&pair.target.name]);
    (!checks.is_empty()).then(|| Draft::new("check", StepKind::Check(CheckStep { checks })))
}

/// The removal of what was left on the hosts: agents, manifests, receipts.
fn clean_up(plan: &ServicePlan<'_>, pair: &PairPlan<'_>) -> Option<Draft> {
    let hosts = vec![pair.source.name.clone(), pair.target.name.clone()];
    let carried = pair.states.iter().filter(|state| state.needs_agent);
    let jobs = carried.flat_map(|state| state.state.jobs()).map(str::to_owned).collect();
    let anything = !pair.states.is_empty() || !plan.service.hooks.is_empty() || plan.service.drain.fence.is_some();
    anything.then(|| Draft::new("clean-up", StepKind::CleanUp(CleanUpStep { hosts, jobs })))
}

/// `seed`, `seed-2`, …
fn numbered(name: &str, n: usize) -> String {
    if n == 0 { name.to_owned() } else { format!("{name}-{}", n + 1) }
}
