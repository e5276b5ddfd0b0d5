//! What speaks against a plan: by what was seen, and by reading it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::observed::{Observed, Seen};
use super::{bmcs, machines};
use crate::check::{Outcome, SubjectName};
use crate::model::finding::Finding;
use crate::model::{HookPoint, OnDeadline, Strategy};
use crate::spec::{Service, Spec};
use crate::step::Graph;
use crate::text;

/// Clocks further apart than this make logs and certificates lie.
pub const SKEW_MILLIS: u64 = 2000;

/// Everything that the live system speaks against.
pub fn check(spec: &Spec, observed: &Observed) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(silent("cannot be reached", &observed.hosts));
    findings.extend(silent("cannot have the copy agent", &observed.agents));
    findings.extend(unanswered(observed));
    findings.extend(silent("cannot refuse new connections", &observed.fences));
    findings.extend(silent("cannot send clients on", &observed.relays));
    findings.extend(silent("cannot reset connections", &observed.resets));
    findings.extend(machines::findings(observed));
    findings.extend(alertmanagers(spec, observed));
    findings.extend(bmcs::findings(spec, observed));
    findings.extend(silent("cannot be used", &observed.pools));
    findings.extend(clocks(observed));
    for service in &spec.plan.services {
        findings.extend(health(observed, service));
    }
    findings
}

fn silent<T>(what: &str, seen: &std::collections::BTreeMap<String, Seen<T>>) -> Vec<Finding> {
    let failed = seen.iter().filter_map(|(name, seen)| match seen {
        Seen::Failed { why, hint } => Some((name, why, hint)),
        Seen::Live(_) => None,
    });
    failed
        .map(|(name, why, hint)| Finding { hint: hint.clone(), ..Finding::refused(name, format!("{what}: {why}")) })
        .collect()
}

/// Alertmanagers that cannot be asked: what follows from that is the plan's to say.
fn alertmanagers(spec: &Spec, observed: &Observed) -> Vec<Finding> {
    let asked = spec.plan.services.iter().filter_map(|service| Some((service, service.silence.as_ref()?)));
    let failed = asked.filter_map(|(service, silence)| match observed.alertmanagers.get(&silence.at.url)? {
        Seen::Failed { why, hint } if silence.must => {
            let what = format!("its alerts cannot be silenced: {why}");
            Some(Finding { hint: hint.clone(), ..Finding::refused(&*service.name, what) })
        }
        Seen::Failed { why, .. } => {
            let what = format!("its alerts cannot be silenced now: {why}");
            Some(Finding::risk(&*service.name, what).hint("people may be called while it moves"))
        }
        Seen::Live(_) => None,
    });
    failed.collect()
}

/// Questions of states that hosts which can be reached did not answer.
fn unanswered(observed: &Observed) -> Vec<Finding> {
    let reached = |host: &str| observed.hosts.get(host).is_some_and(|seen| seen.live().is_some());
    let open = observed.answers.iter().filter_map(|(key, seen)| match (key.split_once(": "), seen) {
        (Some((host, _)), Seen::Failed { why, hint }) if reached(host) => Some((host, why, hint)),
        _ => None,
    });
    let what = |why: &str| format!("does not answer the `check` of its state: {why}");
    open.map(|(host, why, hint)| Finding { hint: hint.clone(), ..Finding::refused(host, what(why)) }).collect()
}

fn clocks(observed: &Observed) -> Vec<Finding> {
    let clocks = observed.hosts.iter().filter_map(|(name, seen)| Some((name, seen.live()?.clock)));
    clocks
        .filter(|(_, clock)| clock.millis.unsigned_abs() > SKEW_MILLIS + clock.error_millis)
        .map(|(name, clock)| {
            let way = if clock.millis.is_positive() { "ahead" } else { "behind" };
            let skew = text::duration(Duration::from_millis(clock.millis.unsigned_abs()));
            Finding::risk(name, format!("its clock is {skew} {way} of this machine"))
                .hint("start time synchronisation there before the move")
        })
        .collect()
}

fn health(observed: &Observed, service: &Service) -> Vec<Finding> {
    // Before a cutover the target does not serve yet: that is no news.
    let checks = match service.strategy {
        Strategy::Ramp => service.all_checks(service.pairs.iter().map(|p| SubjectName::host(&p.target))),
        Strategy::Cutover => service.checks_of_itself(),
    };
    let mut findings = Vec::new();
    for subject in checks.subjects() {
        let failed = observed.health.get(&subject).into_iter().flatten().filter(|v| v.outcome != Outcome::Pass);
        for verdict in failed {
            let what = format!("does not pass its check now: {}", verdict.evidence);
            findings.push(Finding::risk(&subject, what).hint("apply will not shift anything before it passes"));
        }
    }
    findings
}

/// What can be said without looking at anything live.
pub fn by_reading(spec: &Spec) -> Vec<Finding> {
    spec.plan.services.iter().flat_map(service_findings).chain(warnings(spec)).collect()
}

/// What the inventory says against moving hosts of the plan.
fn warnings(spec: &Spec) -> Vec<Finding> {
    let hosts = spec.plan.services.iter().flat_map(|s| &s.pairs).flat_map(|pair| [&pair.source, &pair.target]);
    let of = |host: &String| {
        let warned = spec.inventory.warnings.get(host).into_iter().flatten();
        warned.map(|what| Finding::risk(host, what)).collect::<Vec<_>>()
    };
    hosts.flat_map(of).collect()
}

fn service_findings(service: &Service) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut risk = |when: bool, what: &str, hint: &str| {
        if when {
            findings.push(Finding::risk(&*service.name, what).hint(hint));
        }
    };
    let has_hook = |at: HookPoint| service.hooks.iter().any(|h| h.at == at);
    let cutover = service.strategy == Strategy::Cutover;
    let fenced = !service.state.is_empty() && service.state.iter().all(|state| state.kind().fences());
    risk(
        !service.traffic.is_empty()
            && service.checks_of(service.pairs.iter().map(|p| SubjectName::host(&p.target))).is_empty(),
        "has no health check: traffic would be shifted to targets that nobody has looked at",
        "add `health`",
    );
    risk(
        cutover && !has_hook(HookPoint::Freeze) && !fenced,
        "has no `freeze` hook: only the drain keeps the source from being written to",
        "add a hook that stops the writer",
    );
    risk(
        service.drain.on_deadline == OnDeadline::Proceed,
        "proceeds when its drain misses the deadline: connections that are left break",
        "use `on_deadline: hold`",
    );
    for found in service.state.iter().flat_map(|state| state.kind().risks()) {
        risk(true, found.what, found.hint);
    }
    findings
}

/// Where the way back ends. Pairs of a service are alike: the first of each kind stands for all.
pub fn no_return(graph: &Graph) -> Vec<Finding> {
    let mut named: BTreeSet<(&str, &str)> = BTreeSet::new();
    let mut findings = Vec::new();
    for step in &graph.steps {
        let (Some(why), kind) = (&step.no_return, (&*step.service, step.kind.phase())) else { continue };
        if named.insert(kind) {
            findings.push(Finding::note(&step.id, format!("is a point of no return: {why}")));
        }
    }
    findings
}
