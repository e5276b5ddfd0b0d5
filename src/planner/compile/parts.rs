//! What gates, hooks, states and the service itself contribute to each moment, in this order.

use std::collections::BTreeMap;

use super::moves::{self, At, Urgent};
use super::service::{PairPlan, ServicePlan};
use super::{Compilation, Planned, Stretch, confirm, freeze, relay, reverse, silence, traffic};
use crate::gate::{Gate, Sides};
use crate::model::finding::Finding;
use crate::model::{CONTROLLER, Hook, HookPoint, Host, Side, Undo};
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
                    Stretch::Together(drafts.flat_map(|(at, drafts)| planned(plan, at, drafts)).collect())
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
        out.push((at.moment, planned(plan, at, drafts)));
    }
    Ok(out)
}

fn planned(plan: &ServicePlan<'_>, at: &At, drafts: Vec<Draft>) -> Vec<Planned> {
    let freeze = freeze::of(plan, at.moment);
    // The first is one for each director.
    let first = drafts.first().and_then(|draft| draft.kind.purpose());
    let firsts = drafts.iter().rposition(|draft| first.is_some() && draft.kind.purpose() == first).unwrap_or(0);
    let urgent = |n: usize| match at.urgent {
        Urgent::None => false,
        Urgent::All => true,
        Urgent::First => n <= firsts,
    };
    let plan = |(n, draft)| Planned { draft, urgent: urgent(n), freeze, asked: false };
    drafts.into_iter().enumerate().map(plan).collect()
}

fn drafts(plan: &ServicePlan<'_>, pair: &PairPlan<'_>, moment: Moment) -> Result<Vec<Draft>, Finding> {
    let mut drafts = gates(plan, pair, moment)?;
    let hooks = plan.service.hooks.iter().filter(|hook| Moment::of(hook.at) == moment);
    for (n, hook) in hooks.enumerate() {
        drafts.push(Draft { opens: thaws_for_all(plan, hook), ..self::hook(pair, hook, n)? });
    }
    let way_back = plan.service.reverse.until().is_some();
    for state in &pair.states {
        let steps = state.state.steps(moment).into_iter();
        drafts.extend(steps.map(|draft| Draft {
            name: numbered(&draft.name, state.number),
            // What is carried back is not given up.
            no_return: draft.no_return.filter(|_| !(draft.opens && way_back)),
            ..draft
        }));
    }
    drafts.extend(own(plan, pair, moment)?);
    Ok(drafts)
}

fn gates(plan: &ServicePlan<'_>, pair: &PairPlan<'_>, moment: Moment) -> Result<Vec<Draft>, Finding> {
    let gates =
        plan.service.gates.iter().filter(|gate| gate.at != HookPoint::EachShift && Moment::of(gate.at) == moment);
    gates.enumerate().map(|(n, gate)| self::gate(gate, &[sides(pair)], format!("gate-{}", gate.at.name()), n)).collect()
}

/// The gates between two steps of a shift, for all pairs that are shifted together.
pub fn gates_between(plan: &ServicePlan<'_>, pairs: &[&PairPlan<'_>], share: u8) -> Result<Vec<Draft>, Finding> {
    let gates = plan.service.gates.iter().filter(|gate| gate.at == HookPoint::EachShift);
    let sides: Vec<Sides<'_>> = pairs.iter().map(|pair| sides(pair)).collect();
    gates.enumerate().map(|(n, gate)| self::gate(gate, &sides, format!("gate-{share}"), n)).collect()
}

fn sides<'a>(pair: &PairPlan<'a>) -> Sides<'a> {
    Sides { source: pair.source, target: pair.target }
}

fn gate(gate: &Gate, pairs: &[Sides<'_>], name: String, n: usize) -> Result<Draft, Finding> {
    let step = StepKind::Gate(GateStep { asks: gate.filled(pairs)?, past: Vec::new() });
    Ok(Draft { on_failure: gate.on_failure, ..Draft::new(numbered(&name, n), step) })
}

fn hook(pair: &PairPlan<'_>, hook: &Hook, n: usize) -> Result<Draft, Finding> {
    let host = if hook.on == Side::Source { pair.source } else { pair.target };
    let step = HookStep {
        host: if hook.on_controller { CONTROLLER.to_owned() } else { host.name.clone() },
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
        env: if hook.on_controller { both_hosts(pair) } else { BTreeMap::new() },
    };
    let name = numbered(hook.at.name(), n);
    let unsaid = format!("the hook {name} on {} says nothing of its `undo`", step.host);
    let no_return = (hook.undo == Undo::Unsaid).then_some(unsaid);
    Ok(Draft { no_return, ..Draft::new(name, StepKind::Hook(step)) })
}

/// What a command that runs on none of them is told of the hosts of its pair.
fn both_hosts(pair: &PairPlan<'_>) -> BTreeMap<String, String> {
    let of = |side: &str, host: &Host| {
        [(format!("MIGRATE_{side}"), host.name.clone()), (format!("MIGRATE_{side}_ADDRESS"), host.address.clone())]
    };
    of("SOURCE", pair.source).into_iter().chain(of("TARGET", pair.target)).collect()
}

/// Without a director the target may take writes as soon as its writer starts.
fn thaws_for_all(plan: &ServicePlan<'_>, hook: &Hook) -> bool {
    plan.pools.is_empty() && hook.at == HookPoint::Thaw && hook.on == Side::Target
}

/// What every service does by itself.
fn own(plan: &ServicePlan<'_>, pair: &PairPlan<'_>, moment: Moment) -> Result<Vec<Draft>, Finding> {
    Ok(match moment {
        moment if moment == silence::before(plan) => return silence::make(plan, pair),
        Moment::AfterPair => return silence::lift(plan, pair),
        Moment::Drained => traffic::drain(plan, pair),
        Moment::Fenced => confirm::drained(plan, pair),
        Moment::Proved => confirm::throughout(plan, pair),
        Moment::Shifted => return traffic::shift(plan, pair),
        Moment::Retired => traffic::retire(plan, pair).into_iter().chain(relay::set(plan, pair)?).collect(),
        Moment::Checked => check(plan, pair).into_iter().collect(),
        Moment::Committed => reverse::commit(plan, pair).into_iter().collect(),
        Moment::CleanUp => traffic::unfence(plan, pair).into_iter().chain(clean_up(plan, pair)).collect(),
        _ => Vec::new(),
    })
}

/// The check of the target, if the service has any.
fn check(plan: &ServicePlan<'_>, pair: &PairPlan<'_>) -> Option<Draft> {
    let checks = plan.service.checks_of([pair.asked.clone()]);
    (!checks.is_empty()).then(|| Draft::new("check", StepKind::Check(CheckStep { checks, serving: false })))
}

/// The removal of what was left on the hosts: agents, manifests, receipts.
fn clean_up(plan: &ServicePlan<'_>, pair: &PairPlan<'_>) -> Option<Draft> {
    let sides = [(Side::Source, pair.source), (Side::Target, pair.target)];
    let touched = sides.into_iter().filter(|(side, _)| plan.service.puts_on(*side));
    let hosts: Vec<String> = touched.map(|(_, host)| host.name.clone()).collect();
    let carried = pair.states.iter().filter(|state| state.needs_agent);
    let jobs = carried.flat_map(|state| state.state.jobs()).map(str::to_owned).collect();
    (!hosts.is_empty()).then(|| Draft::new("clean-up", StepKind::CleanUp(CleanUpStep { hosts, jobs })))
}

/// `seed`, `seed-2`, …
fn numbered(name: &str, n: usize) -> String {
    if n == 0 { name.to_owned() } else { format!("{name}-{}", n + 1) }
}
