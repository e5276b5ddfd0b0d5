//! Pairs whose users may be cut off, as the journal tells it: the source has left service, or takes no writes, and the target does not serve.
//!
//! That is how every cutover is for a moment. It matters when nobody is at work on it. Must never be left out because something is not known:
//! what may have happened counts where it closes, and only what is done counts where it opens.

use jiff::Timestamp;
use serde::Serialize;

use super::{OfPair, RunState, StepState};
use crate::model::HookPoint;
use crate::step::{Purpose, ReplicaAct, Step, StepKind};

/// A pair whose users may be cut off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CutOff {
    /// The service.
    pub service: String,
    /// The host that has left.
    pub source: String,
    /// The host that does not serve yet, or not any more.
    pub target: String,
    /// Whether the source takes no writes, or may take none; else it is only drained.
    pub frozen: bool,
    /// Since when that may be so.
    pub since: Option<Timestamp>,
}

impl std::fmt::Display for CutOff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { service, source, target, frozen, .. } = self;
        let how = if *frozen { "takes no writes" } else { "gets no traffic" };
        write!(f, "{service}: {source} {how}, and {target} does not serve")
    }
}

impl RunState {
    /// Every pair whose users may be cut off now.
    pub fn cut_off(&self) -> Vec<CutOff> {
        let mut found: Vec<CutOff> = self.by_pair().iter().filter_map(cut_off).collect();
        found.sort_by(|a, b| (a.since, &a.source, &a.service).cmp(&(b.since, &b.source, &b.service)));
        found
    }
}

fn cut_off(OfPair { service, pair, steps }: &OfPair<'_>) -> Option<CutOff> {
    // The freeze ends with the last step that must not wait. Where pairs are shifted together there is none, and somebody serves throughout.
    let opens = steps.iter().rfind(|known| known.step.urgent)?;
    if opens.record.state == StepState::Done {
        return None;
    }
    let closed = |closes: fn(&Step) -> bool| {
        let begun = steps.iter().filter(move |known| closes(known.step));
        begun.filter(|known| known.record.state != StepState::Waiting).map(|known| known.record).collect::<Vec<_>>()
    };
    let (left, frozen) = (closed(leaves), closed(freezes));
    let since = left.iter().chain(&frozen).filter_map(|record| record.first.or(record.began)).min();
    let frozen = !frozen.is_empty();
    (frozen || !left.is_empty()).then(|| CutOff {
        service: (*service).to_owned(),
        source: pair.source.clone(),
        target: pair.target.clone(),
        frozen,
        since,
    })
}

/// Whether a source gets no new traffic from here on.
fn leaves(step: &Step) -> bool {
    matches!(step.kind, StepKind::Fence(_)) || step.kind.purpose() == Some(Purpose::Drain)
}

/// Whether it takes no writes from here on.
fn freezes(step: &Step) -> bool {
    match &step.kind {
        StepKind::Hook(hook) => hook.at == HookPoint::Freeze,
        StepKind::Replica(replica) => matches!(replica.act, ReplicaAct::Fence(_)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::check::Checks;
    use crate::event::{Blob, Event, Operator, Record, Started, StepResult};
    use crate::model::{OnFailure, Pair};
    use crate::step::{CheckStep, Graph, TrafficStep, WayBack};

    fn traffic(purpose: Purpose) -> StepKind {
        StepKind::Traffic(TrafficStep {
            director: "edge".into(),
            pool: "web".into(),
            changes: Vec::new(),
            purpose,
            back: WayBack::default(),
            on_drift: Default::default(),
            was_writer: false,
            targets_get: None,
            over_all: None,
        })
    }

    /// A drain, then steps that must not wait up to the first shift; a ramp has none that must not.
    fn steps(urgent: bool) -> Vec<Step> {
        let check = StepKind::Check(CheckStep { checks: Checks::default(), serving: false });
        let kinds = [("drain", traffic(Purpose::Drain)), ("check", check), ("shift", traffic(Purpose::Shift(100)))];
        let step = |(name, kind): (&str, StepKind)| Step {
            id: format!("web/a/{name}"),
            wave: "w".into(),
            service: "web".into(),
            pair: Some(Pair { source: "a".into(), target: "b".into() }.into()),
            kind,
            after: Vec::new(),
            urgent: urgent && name != "drain",
            on_failure: OnFailure::Hold,
            no_return: None,
            opens: Vec::new(),
            freeze: None,
            beside: None,
        };
        kinds.into_iter().map(step).collect()
    }

    /// A run in which these have begun in this order: the name, whether it is an undo, and whether that has come to its end.
    fn run(urgent: bool, begun: &[(&str, bool, bool)]) -> RunState {
        let by = Operator { user: "ada".into(), host: "desk".into(), pid: 7 };
        let mut events = vec![Event::Started(Box::new(Started {
            run: "web-1".into(),
            plan: "web".into(),
            inputs: Vec::new(),
            texts: Vec::new(),
            graph: Blob::default(),
            steps: 3,
            by: by.clone(),
            version: "0".into(),
        }))];
        if begun.iter().any(|(_, undo, _)| *undo) {
            // The way there is the same; only what is undone comes behind the word.
            let there = begun.iter().filter(|(_, undo, _)| !undo);
            there.for_each(|step| events.extend(acts(*step, 1)));
            events.push(Event::RollbackBegan { by, to: None, why: "wrong day".into(), accept_gap: false });
            begun.iter().filter(|(_, undo, _)| *undo).for_each(|step| events.extend(acts(*step, 2)));
        } else {
            begun.iter().for_each(|step| events.extend(acts(*step, 1)));
        }
        let records = (0..).zip(events).map(|(seq, event)| Record { seq, at: at(seq), event });
        RunState::fold(records, Arc::new(Graph { steps: steps(urgent).into(), ..Graph::default() })).unwrap()
    }

    fn at(seq: u64) -> Timestamp {
        Timestamp::from_second(seq as i64).unwrap()
    }

    fn acts((name, undo, ended): (&str, bool, bool), attempt: u32) -> Vec<Event> {
        let step = format!("web/a/{name}");
        let result = StepResult::Done { evidence: "done".into(), millis: 0, figures: None };
        let intent = Event::Intent { step: step.clone(), attempt, undo, before: None };
        let outcome = ended.then_some(Event::Outcome { step, attempt, undo, result });
        [Some(intent), outcome].into_iter().flatten().collect()
    }

    #[test]
    fn from_the_intent_of_the_drain_to_the_end_of_the_first_shift_users_may_be_cut_off() {
        const DRAIN: (&str, bool, bool) = ("drain", false, true);
        const CHECK: (&str, bool, bool) = ("check", false, true);
        let since = |begun: &[(&str, bool, bool)]| run(true, begun).cut_off().first().map(|found| found.since);
        assert_eq!(since(&[]), None);
        assert_eq!(since(&[("drain", false, false)]), Some(Some(at(1))));
        assert_eq!(since(&[DRAIN, CHECK, ("shift", false, false)]), Some(Some(at(1))));
        assert_eq!(since(&[DRAIN, CHECK, ("shift", false, true)]), None);
    }

    #[test]
    fn on_the_way_back_users_may_be_cut_off_until_the_source_is_in_service() {
        let there = [("drain", false, true), ("check", false, true), ("shift", false, true)];
        let back = |more: &[(&str, bool, bool)]| !run(true, &[&there, more].concat()).cut_off().is_empty();
        assert!(back(&[("shift", true, false)]) && back(&[("shift", true, true), ("drain", true, false)]));
        assert!(!back(&[("shift", true, true), ("check", true, true), ("drain", true, true)]));
    }

    #[test]
    fn in_a_ramp_somebody_serves_throughout() {
        assert_eq!(run(false, &[("drain", false, true)]).cut_off(), Vec::new());
    }
}
