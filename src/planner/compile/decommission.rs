//! Sources that are given back to whom they are rented from, once nothing of the plan needs them.
//!
//! These steps stand behind everything else that has to do with a host; nothing else waits for them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Compilation;
use super::service::around;
use crate::check::SubjectName;
use crate::model::finding::Finding;
use crate::model::{HookPoint, Host, Pair};
use crate::provider::Machine;
use crate::spec::{Decommission, Service, Spec, Wipe};
use crate::step::{
    CheckStep, Comparison, Counted, DecommissionAct, DecommissionStep, EmptyStep, HookStep, Step, StepKind, Steps,
};
use crate::text;

/// Adds them.
pub fn give_back(c: &mut Compilation<'_>) {
    let wanted: Vec<(&Service, &Decommission)> =
        c.spec.plan.services.iter().filter_map(|s| Some((s, s.decommission.as_ref()?))).collect();
    if wanted.is_empty() {
        return;
    }
    let mut given = Vec::new();
    let mut sources = BTreeSet::new();
    for (service, how) in wanted {
        for pair in service.pairs.iter().filter(|pair| sources.insert(pair.source.clone())) {
            let steps = evidence(c, service, how, pair).and_then(|seen| {
                let steps = of_pair(c.spec, service, how, pair, &seen)?;
                Ok((steps, seen.earlier.map(|run| moved_by(&pair.source, run))))
            });
            match steps {
                Ok((steps, note)) => {
                    given.extend(steps);
                    c.findings.extend(note);
                }
                Err(finding) => c.findings.push(finding),
            }
        }
    }
    c.findings.extend(claimed_twice(c.spec, &given));
    c.graph.steps = c.graph.steps.iter().cloned().chain(given).collect();
}

/// Why a source may go: what this run sees of it, or an earlier one has seen.
struct Evidence<'a> {
    /// The steps of this run that it waits for.
    own: Vec<&'a Step>,
    /// Where nobody may be left.
    counted: Counted,
    /// The run that has moved it, where that is not this one.
    earlier: Option<&'a str>,
}

fn evidence<'a>(
    c: &'a Compilation<'_>,
    service: &Service,
    how: &Decommission,
    pair: &Pair,
) -> Result<Evidence<'a>, Finding> {
    let own = steps_of(c.spec, &c.graph.steps, &pair.source);
    let moves = |step: &&Step| step.service == service.name && step.pair.as_deref() == Some(pair);
    let (members, earlier) = if own.iter().any(moves) {
        unverified(&own, &pair.source)?;
        (members_of(&own, &pair.source), None)
    } else {
        let kept =
            |why: &str| Finding::note(&pair.source, format!("has moved already, and {why}: it is not given back"));
        let Some(earlier) = c.observed.earlier.get(&pair.source) else {
            return Err(kept("no run is known that has seen what became of its copy"));
        };
        if let Some(why) = &earlier.against {
            return Err(kept(why));
        }
        (earlier.members.clone(), Some(earlier.run.as_str()))
    };
    let counted = counted(c.spec, service, how, &pair.source, members)?;
    Ok(Evidence { own, counted, earlier })
}

fn moved_by(source: &str, run: &str) -> Finding {
    Finding::note(
        source,
        format!("has moved in run {run}, which has seen to its copy and its way back: it is given back"),
    )
}

fn of_pair(
    spec: &Spec,
    service: &Service,
    how: &Decommission,
    pair: &Pair,
    seen: &Evidence<'_>,
) -> Result<Vec<Step>, Finding> {
    let source = spec.inventory.hosts.get(&pair.source);
    let source = source.ok_or_else(|| Finding::refused(&pair.source, "is not in the inventory"))?;
    let machine = how.provider.kind().machine(source)?;
    let wave = spec.plan.waves.iter().find(|wave| wave.services.iter().any(|name| **name == *service.name));
    let step = |name: &str, act: DecommissionAct, after: Vec<String>| {
        let back = DecommissionStep {
            host: source.name.clone(),
            machine: machine.clone(),
            provider: how.provider.clone(),
            counted: seen.counted.clone(),
            interval: how.interval,
            act,
        };
        let for_good = match (&back.act, how.provider.kind().is_revocable()) {
            (DecommissionAct::Wipe(_), _) => Some(format!("the disks of {} are wiped", source.name)),
            (DecommissionAct::Cancel, false) | (DecommissionAct::Follow, _) => Some(back.gives_up()),
            _ => None,
        };
        let id = format!("{}/{}/{name}", service.name, source.name);
        let wave = wave.map_or_else(Arc::default, |wave| wave.name.clone());
        Step {
            service: service.name.clone(),
            pair: Some(pair.clone().into()),
            no_return: for_good,
            ..Step::of_wave(id, wave, StepKind::Decommission(Box::new(back)), after)
        }
    };
    let quiet = step("quiet", DecommissionAct::Quiet(how.quiet_for), ends(&seen.own));
    let ask = step("give-back", DecommissionAct::Ask, vec![quiet.id.clone()]);
    let look = last_look(service, pair, &ask);
    let before = look.as_ref().unwrap_or(&ask).id.clone();
    let wipe = how.wipe.as_ref().map(|wipe| wiped(source, wipe)).transpose()?;
    let wipe = wipe.map(|hook| step("wipe", DecommissionAct::Wipe(Box::new(hook)), vec![before.clone()]));
    let before = wipe.as_ref().map_or(before, |wipe| wipe.id.clone());
    let cancel = step("cancel", DecommissionAct::Cancel, vec![before]);
    let follow = step("reclaimed", DecommissionAct::Follow, vec![cancel.id.clone()]);
    Ok([Some(quiet), Some(ask), look, wipe, Some(cancel), Some(follow)].into_iter().flatten().collect())
}

/// The command that wipes a source. It is asked for by its proof before and afterwards.
fn wiped(source: &Host, wipe: &Wipe) -> Result<HookStep, Finding> {
    Ok(HookStep {
        host: source.name.clone(),
        at: HookPoint::AfterPair,
        run: source.fill_command(&wipe.run)?,
        timeout: wipe.timeout,
        idempotent: false,
        done_when: Some(source.fill_command(&wipe.proof)?),
        undo: None,
        secrets: BTreeMap::new(),
        env: BTreeMap::new(),
    })
}

/// Nothing is given back while a target that took over is not well: the last look at them, behind the word that asks for it.
fn last_look(service: &Service, pair: &Pair, asked: &Step) -> Option<Step> {
    let checks = service
        .all_checks(around(&service.pairs, |other| **other == *pair).map(|pair| SubjectName::host(&pair.target)));
    let id = asked.id.rsplit_once('/').map_or("", |(of, _)| of);
    (!checks.is_empty()).then(|| Step {
        id: format!("{id}/last-look"),
        kind: StepKind::Check(CheckStep { checks, serving: true }),
        after: vec![asked.id.clone()],
        ..asked.clone()
    })
}

/// Every step that has to do with a host: of its pairs, and of all pairs of its services together.
pub(in crate::planner) fn steps_of<'a>(spec: &Spec, graph: &'a Steps, host: &str) -> Vec<&'a Step> {
    let is = |pair: &Pair| pair.source == host || pair.target == host;
    let services: BTreeSet<&str> =
        spec.plan.services.iter().filter(|s| s.pairs.iter().any(|pair| is(pair))).map(|s| &*s.name).collect();
    let own = |step: &&Step| services.contains(&*step.service) && step.pair.as_deref().is_none_or(is);
    graph.iter().filter(own).collect()
}

/// Those of them that no other one waits for.
pub(super) fn ends(own: &[&Step]) -> Vec<String> {
    let waited: BTreeSet<&String> = own.iter().flat_map(|step| &step.after).collect();
    own.iter().filter(|step| !waited.contains(&step.id)).map(|step| step.id.clone()).collect()
}

/// A copy that nobody has compared is no reason to give the original away.
pub(in crate::planner) fn unverified(own: &[&Step], source: &str) -> Result<(), Finding> {
    let compared: BTreeSet<&str> = own
        .iter()
        .filter_map(|step| match &step.kind {
            StepKind::Compare(compare) if compare.comparison == Comparison::Whole => Some(compare.tree.job.as_str()),
            _ => None,
        })
        .collect();
    let carried = own.iter().filter(|step| step.pair.as_ref().is_some_and(|pair| pair.source == source));
    let carried: BTreeSet<&str> = carried
        .filter_map(|step| match &step.kind {
            StepKind::Copy(copy) => Some(copy.tree.job.as_str()),
            _ => None,
        })
        .collect();
    match carried.difference(&compared).next() {
        None => Ok(()),
        Some(_) => {
            let what = "is to be given back, and its copy is never compared with it";
            Err(Finding::refused(source, what).hint("leave `verify` of its state on, or leave `decommission` out"))
        }
    }
}

/// The pools in which a source was seen to be empty.
pub(in crate::planner) fn members_of(own: &[&Step], source: &str) -> Vec<EmptyStep> {
    let members = own.iter().filter_map(|step| match &step.kind {
        StepKind::Empty(empty) if empty.host == source => Some(empty.clone()),
        _ => None,
    });
    members.collect()
}

/// Where nobody may be left on a source: in every pool that it was in, and at the ports that the plan names.
fn counted(
    spec: &Spec,
    service: &Service,
    how: &Decommission,
    source: &str,
    members: Vec<EmptyStep>,
) -> Result<Counted, Finding> {
    let counts = |empty: &EmptyStep| {
        let director = spec.inventory.directors.get(&empty.director);
        empty.port.is_some() || director.is_some_and(|d| d.kind().capabilities().connections)
    };
    if !members.iter().any(counts) && how.ports.is_empty() {
        let what = format!("is to be given back, and nothing can count who is still on it for {}", service.name);
        let hint = "name the ports of its services: `decommission: {ports: [8080]}`";
        return Err(Finding::refused(source, what).hint(hint));
    }
    Ok(Counted { members, ports: how.ports.clone() })
}

/// Two hosts of an inventory that are the same machine: giving back one takes the other away.
fn claimed_twice(spec: &Spec, given: &[Step]) -> Vec<Finding> {
    let mut machines: BTreeMap<(String, String), BTreeSet<&str>> = BTreeMap::new();
    let given: Vec<&DecommissionStep> = given
        .iter()
        .filter_map(|step| match &step.kind {
            StepKind::Decommission(back) if back.act == DecommissionAct::Cancel => Some(back.as_ref()),
            _ => None,
        })
        .collect();
    let Some(kind) = given.first().map(|back| back.provider.kind()) else { return Vec::new() };
    for host in spec.inventory.hosts.values() {
        if let Ok(Machine { kind, id, .. }) = kind.machine(host) {
            machines.entry((kind, id)).or_default().insert(&host.name);
        }
    }
    let shared = given.iter().filter_map(|back| {
        let hosts = machines.get(&(back.machine.kind.clone(), back.machine.id.clone()))?;
        let others: Vec<String> = hosts.iter().filter(|h| **h != back.host).map(|h| (*h).to_owned()).collect();
        let what = format!("is {} as {} is: giving it back would take that away", back.machine, text::list(&others));
        (!others.is_empty()).then(|| Finding::refused(&back.host, what).hint("see which of them the machine is"))
    });
    shared.collect()
}
