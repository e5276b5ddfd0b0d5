//! Waves: every service in one, one after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::config::read::plan::WaveDraft;
use crate::config::read::service::ServiceDraft;
use crate::model::Pair;
use crate::spec::{Unreachable, Wave};
use crate::yaml::diagnostic::{Diagnostic, Sink};
use crate::yaml::source::At;

use super::{Draft, batches, unknown};

/// Puts the waves in order.
pub fn order(draft: &mut Draft<'_>, sink: &Sink) {
    let Some(all) = &draft.plan.waves else {
        draft.waves = vec![Wave {
            name: "all".into(),
            services: draft.plan.services.iter().map(|s| s.name.value.clone()).collect(),
            pairs: draft.pairs.iter().flatten().map(Vec::len).sum(),
            max_unavailable: 1,
            batches: Vec::new(),
            pause: Duration::ZERO,
            failure_budget: 0,
            unreachable: Unreachable::default(),
        }];
        return;
    };
    let waves: Vec<&WaveDraft> = all.iter().flatten().collect();
    let complete = waves.len() == all.len();
    names_once(&waves, sink);
    services_once(draft, &waves, complete, sink);
    let mut known = true;
    let names: BTreeSet<&String> = waves.iter().map(|w| &w.name.value).collect();
    for after in waves.iter().flat_map(|w| &w.after) {
        if !names.contains(&after.value) && complete {
            known = false;
            unknown(sink, after, "wave", waves.iter().map(|w| &w.name.value));
        }
    }
    if let Some(sorted) = sort(&waves, known && complete, sink) {
        draft.waves = sorted.into_iter().map(|wave| model(draft, wave, sink)).collect();
    }
}

fn model(draft: &Draft<'_>, wave: &WaveDraft, sink: &Sink) -> Wave {
    let names: BTreeSet<&str> = wave.services.iter().map(|s| s.value.as_str()).collect();
    let own = draft.plan.services.iter().zip(&draft.pairs).filter(|(s, _)| names.contains(s.name.value.as_str()));
    let (own, of_each): (Vec<&ServiceDraft>, Vec<&Option<Vec<Pair>>>) = own.unzip();
    let pairs = of_each.iter().copied().flatten().map(Vec::len).sum();
    let known = of_each.iter().all(|pairs| pairs.is_some());
    Wave {
        name: wave.name.value.as_str().into(),
        services: wave.services.iter().map(|s| s.value.clone()).collect(),
        pairs,
        max_unavailable: wave.max_unavailable.of(pairs),
        batches: batches::of_wave(wave, &own, pairs, known, sink),
        pause: wave.pause,
        failure_budget: wave.failure_budget,
        unreachable: unreachable(wave, &own, sink),
    }
}

/// What becomes of pairs that cannot be reached: only pairs that move by themselves can be left out, and only where some may fail.
fn unreachable(wave: &WaveDraft, own: &[&ServiceDraft], sink: &Sink) -> Unreachable {
    let Some(given) = wave.unreachable.as_ref().filter(|given| given.value == Unreachable::Budget) else {
        return Unreachable::Refuse;
    };
    if wave.failure_budget == 0 {
        let what = "pairs that cannot be reached count against the wave's `failure_budget`, and that is 0";
        sink.push(Diagnostic::error(&given.at, what).hint("say how many may fail: `failure_budget: 5`"));
    }
    batches::no_ramps(own, &given.at, "none of them can be left out", sink);
    given.value
}

fn names_once(waves: &[&WaveDraft], sink: &Sink) {
    let mut seen: BTreeMap<&str, &At> = BTreeMap::new();
    for wave in waves {
        if let Some(first) = seen.insert(&wave.name.value, &wave.name.at) {
            let message = format!("wave `{}` is defined twice", wave.name.value);
            sink.push(
                Diagnostic::error(&wave.name.at, message)
                    .note(format!("first at {}", first.short()))
                    .hint("rename one of the two"),
            );
        }
    }
}

fn services_once(draft: &Draft<'_>, waves: &[&WaveDraft], complete: bool, sink: &Sink) {
    let services: BTreeSet<&String> = draft.plan.services.iter().map(|s| &s.name.value).collect();
    let mut seen: BTreeMap<&str, &At> = BTreeMap::new();
    for service in waves.iter().flat_map(|w| &w.services) {
        if let Some(first) = seen.get(service.value.as_str()) {
            let message = format!("service `{}` is in two waves", service.value);
            let hint = "a service moves once";
            sink.push(Diagnostic::error(&service.at, message).note(format!("first at {}", first.short())).hint(hint));
            continue;
        }
        seen.insert(&service.value, &service.at);
        if draft.plan.complete && !services.contains(&service.value) {
            unknown(sink, service, "service", services.iter().copied());
        }
    }
    for service in draft.plan.services.iter().filter(|s| complete && !seen.contains_key(s.name.value.as_str())) {
        let message = format!("service `{}` is in no wave", service.name.value);
        sink.push(
            Diagnostic::error(&service.name.at, message)
                .hint("add it to one, or leave `waves` out to move everything in one"),
        );
    }
}

/// File order, moved only where `after` asks for it. `None` when waves wait for each other, which is reported if `report`.
fn sort<'a>(waves: &[&'a WaveDraft], report: bool, sink: &Sink) -> Option<Vec<&'a WaveDraft>> {
    let index: BTreeMap<&str, usize> = waves.iter().enumerate().map(|(i, w)| (w.name.value.as_str(), i)).collect();
    let waits_for =
        |w: &WaveDraft| w.after.iter().filter_map(|a| index.get(a.value.as_str()).copied()).collect::<BTreeSet<_>>();
    let mut waiting: Vec<BTreeSet<usize>> = waves.iter().map(|w| waits_for(w)).collect();
    let mut followers: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (i, after) in waiting.iter().enumerate() {
        after.iter().for_each(|a| followers.entry(*a).or_default().push(i));
    }
    let mut ready: BTreeSet<usize> = waiting.iter().enumerate().filter(|(_, a)| a.is_empty()).map(|(i, _)| i).collect();
    let mut out = Vec::new();
    while let Some(i) = ready.pop_first() {
        out.extend(waves.get(i).copied());
        for follower in followers.remove(&i).unwrap_or_default() {
            if let Some(after) = waiting.get_mut(follower)
                && after.remove(&i)
                && after.is_empty()
            {
                ready.insert(follower);
            }
        }
    }
    if out.len() == waves.len() {
        return Some(out);
    }
    let left: Vec<&WaveDraft> = waves.iter().zip(&waiting).filter(|(_, a)| !a.is_empty()).map(|(w, _)| *w).collect();
    if report {
        report_cycle(&left, sink);
    }
    None
}

/// Every wave that is left waits for another one that is left: following them leads into a cycle.
fn report_cycle(left: &[&WaveDraft], sink: &Sink) {
    const SHOWN: usize = 8;
    let by_name: BTreeMap<&str, &WaveDraft> = left.iter().map(|w| (w.name.value.as_str(), *w)).collect();
    let mut path: Vec<&WaveDraft> = Vec::new();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut next = left.first().copied();
    while let Some(wave) = next {
        if let Some(start) = seen.get(wave.name.value.as_str()) {
            let mut names: Vec<&str> = path.iter().skip(*start).take(SHOWN).map(|w| w.name.value.as_str()).collect();
            names.push(if names.len() == SHOWN { "…" } else { &wave.name.value });
            let at =
                wave.after.iter().find(|a| by_name.contains_key(a.value.as_str())).map_or(&wave.name.at, |a| &a.at);
            let message = format!("waves wait for each other: {}", names.join(" after "));
            sink.push(Diagnostic::error(at, message).hint("remove one `after`"));
            return;
        }
        seen.insert(&wave.name.value, path.len());
        path.push(wave);
        next = wave.after.iter().find_map(|a| by_name.get(a.value.as_str()).copied());
    }
}
