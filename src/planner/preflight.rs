//! What speaks against a plan: by what was seen, and by reading it.

use std::time::Duration;

use super::observed::{Observed, Seen};
use crate::check::Outcome;
use crate::host::PathFacts;
use crate::model::finding::Finding;
use crate::model::{HookPoint, OnDeadline, State, Strategy};
use crate::spec::{Service, Spec};
use crate::step::{CopyStep, Graph, Live, Step, StepKind, TreeStep};
use crate::text;

/// Clocks further apart than this make logs and certificates lie.
const SKEW_MILLIS: u64 = 2000;

/// Everything that the live system speaks against.
pub fn check(spec: &Spec, observed: &Observed, graph: &Graph) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(silent("cannot be reached", &observed.hosts));
    findings.extend(silent("cannot be used", &observed.pools));
    findings.extend(clocks(observed));
    for step in &graph.steps {
        if let StepKind::Copy(CopyStep { tree, .. }) = &step.kind {
            findings.extend(tree_findings(observed, step, tree));
        }
    }
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

fn tree_findings(observed: &Observed, step: &Step, tree: &TreeStep) -> Vec<Finding> {
    let Some(pair) = &step.pair else { return Vec::new() };
    let mut findings = Vec::new();
    let path = |host: &str, path: &str| observed.host(host)?.paths.iter().find(|p| p.path == path).cloned();
    if let Some(from) = path(&pair.source, &tree.from) {
        findings.extend(source_tree(&pair.source, &from));
    }
    let size = observed.tree(&pair.source, &tree.from);
    if let Some(to) = path(&pair.target, &tree.to) {
        findings.extend(target_tree(&pair.target, &to, size.map(|s| s.bytes)));
    }
    if let (Some(source), Some(target)) = (observed.host(&pair.source), observed.host(&pair.target))
        && source.uid != target.uid
    {
        let what = format!("logs in as {} while {} logs in as {}", pair.source, pair.target, target.user);
        findings.push(Finding::note(&pair.source, what).hint("only root can keep owners"));
    }
    findings
}

fn source_tree(host: &str, path: &PathFacts) -> Option<Finding> {
    let about = format!("{host}:{}", path.path);
    if !path.exists {
        return Some(
            Finding::refused(about, "is not there: there is nothing to copy").hint("correct `state` in the plan"),
        );
    }
    if !path.directory {
        return Some(Finding::refused(about, "is not a directory"));
    }
    let hint = "log in as a user who may read all of it";
    (!path.readable).then(|| Finding::refused(about, "cannot be read by the login user").hint(hint))
}

fn target_tree(host: &str, path: &PathFacts, bytes: Option<u64>) -> Option<Finding> {
    let about = format!("{host}:{}", path.path);
    if path.exists && !path.directory {
        return Some(Finding::refused(about, "is there and is not a directory"));
    }
    if !(if path.exists { path.writable } else { path.nearest_writable }) {
        let what = if path.exists { "cannot be written by the login user" } else { "cannot be made by the login user" };
        return Some(Finding::refused(about, what).hint("log in as a user who may, or make it there first"));
    }
    let (Some(free), Some(bytes)) = (path.free_bytes, bytes) else { return None };
    let numbers = format!("{} are free and the source has {}", text::bytes(free), text::bytes(bytes));
    if path.exists && free < bytes {
        // Some of it may be there already, from an earlier run.
        return Some(Finding::risk(about, numbers).hint("make room, unless most of it is there already"));
    }
    (free < bytes).then(|| Finding::refused(about, numbers).hint("make room on the target"))
}

fn health(observed: &Observed, service: &Service) -> Vec<Finding> {
    // Before a cutover the target does not serve yet: that is no news.
    let checks = match service.strategy {
        Strategy::Ramp => service.all_checks(service.pairs.iter().map(|p| &p.target)),
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
    spec.plan.services.iter().flat_map(service_findings).collect()
}

fn service_findings(service: &Service) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut risk = |when: bool, what: &str, hint: &str| {
        if when {
            findings.push(Finding::risk(&service.name, what).hint(hint));
        }
    };
    let has_hook = |at: HookPoint| service.hooks.iter().any(|h| h.at == at);
    let cutover = service.strategy == Strategy::Cutover;
    risk(
        service.traffic.is_some() && service.checks_of(service.pairs.iter().map(|p| &p.target)).is_empty(),
        "has no health check: traffic would be shifted to targets that nobody has looked at",
        "add `health`",
    );
    risk(
        cutover && !has_hook(HookPoint::Freeze),
        "has no `freeze` hook: only the drain keeps the source from being written to",
        "add a hook that stops the writer",
    );
    risk(
        service.drain.on_deadline == OnDeadline::Proceed,
        "proceeds when its drain misses the deadline: connections that are left break",
        "use `on_deadline: hold`",
    );
    risk(
        service.state.iter().filter_map(State::directory).any(|d| !d.verify),
        "has state that is not verified: a damaged copy would be noticed by its users",
        "leave `verify` on",
    );
    if service.state.iter().any(|state| matches!(state, State::Stream(stream) if stream.timeout.is_none())) {
        let what = "is frozen for as long as its stream takes, which nobody can estimate: it begins after the freeze";
        let hint = "rehearse it by hand, measure how long it takes, and give it a `timeout`";
        findings.push(Finding::risk(&service.name, what).hint(hint));
    }
    findings
}

/// Where the way back ends. Pairs of a service are alike: the first of each kind stands for all.
pub fn no_return(graph: &Graph) -> Vec<Finding> {
    let mut named: Vec<(&str, &str)> = Vec::new();
    let mut findings = Vec::new();
    for step in &graph.steps {
        let (Some(why), kind) = (&step.no_return, (step.service.as_str(), step.kind.phase())) else { continue };
        if !named.contains(&kind) {
            named.push(kind);
            findings.push(Finding::note(&step.id, format!("is a point of no return: {why}")));
        }
    }
    findings
}
