//! From where to where, and who takes whose place.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::fit;
use crate::config::pairing::{self, Unpaired};
use crate::config::read::moves::{MoveDraft, Pairing};
use crate::model::{Host, Pair};
use crate::text::suggest;
use crate::yaml::diagnostic::{Diagnostic, Sink};
use crate::yaml::source::{At, Located};

use super::{Draft, Inventories, some};

const MAX_PAIRS: usize = 20_000;

/// Makes the pairs of every service.
pub fn resolve(draft: &mut Draft<'_>, sink: &Sink) {
    let mut left = MAX_PAIRS + 1;
    for service in &draft.plan.services {
        let pairs = service.moves.as_ref().filter(|_| left > 0).and_then(|moves| pairs(draft.inventories, moves, sink));
        left = left.saturating_sub(pairs.as_ref().map_or(0, Vec::len));
        if left == 0 {
            let message = format!("the plan has more than {} pairs", crate::text::grouped(MAX_PAIRS as u64));
            sink.push(Diagnostic::error(&service.name.at, message).hint("make it several plans"));
        }
        draft.pairs.push(pairs);
    }
}

fn pairs(inventories: &Inventories, moves: &MoveDraft, sink: &Sink) -> Option<Vec<Pair>> {
    let (sources, targets) = (hosts(inventories, &moves.from, sink), hosts(inventories, &moves.to, sink));
    let paired = match &moves.pairing {
        Pairing::Explicit(pairs) => return explicit(inventories, moves, pairs, sources?, targets?, sink),
        Pairing::ByOrder => pairing::by_order(&sources?, &targets?),
        Pairing::ByName => pairing::by_name(&sources?, &targets?),
        Pairing::ByFit { too_small } => {
            let (sources, targets) = (sources?, targets?);
            // How many there are is judged as for pairs in order.
            pairing::by_order(&sources, &targets).map(|_| {
                let hosts = &inventories.inventory.hosts;
                let of = |names: &[String]| names.iter().filter_map(|name| hosts.get(name)).collect::<Vec<&Host>>();
                let fit = fit::by_fit(&of(&sources), &of(&targets));
                if !too_small {
                    report_misfits(&moves.at, &fit.misfits, sink);
                }
                fit.pairs
            })
        }
    };
    match paired {
        Ok(pairs) => Some(pairs.into_iter().map(|(source, target)| Pair { source, target }).collect()),
        // A host that could not be read may have been the partner.
        Err(_) if inventories.incomplete => None,
        Err(unpaired) => {
            report_unpaired(&moves.at, &unpaired, sink);
            None
        }
    }
}

/// Lists what does not fit, a line a pair.
fn report_misfits(at: &At, misfits: &[String], sink: &Sink) {
    const SHOWN: usize = 20;
    if misfits.is_empty() {
        return;
    }
    let count = crate::text::count(misfits.len() as u64, "pair");
    let found =
        Diagnostic::error(at, format!("targets are too small for their sources in {count}, however they are paired"));
    let found = misfits.iter().take(SHOWN).fold(found, |found, misfit| found.note(misfit));
    let rest = misfits.len().saturating_sub(SHOWN);
    let found = if rest > 0 { found.note(format!("and {rest} more")) } else { found };
    sink.push(found.hint("give larger targets, or say that it is meant: `too_small: allow`"));
}

fn report_unpaired(at: &At, unpaired: &Unpaired, sink: &Sink) {
    let side = |names: &[String], noun: &str, partner: &str| match names.len() {
        0 => None,
        n => Some(format!("{} without a {partner}: {}", crate::text::count(n as u64, noun), some(names))),
    };
    let parts = [side(&unpaired.sources, "source", "target"), side(&unpaired.targets, "target", "source")];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    let message = format!("sources and targets do not match up: {}", parts.join("; "));
    sink.push(Diagnostic::error(at, message).hint("write the pairs out: `pair: {dal-1: fra-1}`, or change the groups"));
}

/// The hosts that names of groups and hosts stand for, in order.
fn hosts(inventories: &Inventories, names: &[Located<String>], sink: &Sink) -> Option<Vec<String>> {
    let mut out: Vec<String> = Vec::new();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut complete = true;
    for name in names {
        let members = match inventories.inventory.groups.get(&name.value) {
            Some(members) => members.clone(),
            None if inventories.hosts.contains_key(&name.value) => vec![name.value.clone()],
            None => {
                complete = false;
                report_unknown(inventories, name, sink);
                continue;
            }
        };
        for member in members {
            if !seen.insert(member.clone()) {
                complete = false;
                let message = format!("host `{member}` is on this side twice");
                sink.push(Diagnostic::error(&name.at, message).hint("a host moves once"));
            } else {
                out.push(member);
            }
        }
    }
    complete.then_some(out)
}

fn report_unknown(inventories: &Inventories, name: &Located<String>, sink: &Sink) {
    // What is there but broken has been reported where it is broken.
    if inventories.broken.contains(&name.value) || inventories.groups.contains_key(&name.value) {
        return;
    }
    let found = Diagnostic::error(&name.at, format!("`{}` is neither a group nor a host", name.value));
    if sink.is_long() {
        return sink.push(found);
    }
    let there = inventories.groups.keys().chain(inventories.hosts.keys()).map(String::as_str);
    let hint = suggest::hint(&name.value, "groups and hosts", there);
    sink.push(found.hint(hint));
}

fn explicit(
    inventories: &Inventories,
    moves: &MoveDraft,
    pairs: &[(Located<String>, Located<String>)],
    sources: Vec<String>,
    targets: Vec<String>,
    sink: &Sink,
) -> Option<Vec<Pair>> {
    let mut complete = true;
    for host in pairs.iter().flat_map(|(source, target)| [source, target]) {
        if !inventories.hosts.contains_key(&host.value) {
            complete = false;
            if !inventories.broken.contains(&host.value) {
                super::unknown(sink, host, "host", inventories.hosts.keys());
            }
        }
    }
    if pairs.is_empty() {
        sink.push(Diagnostic::error(&moves.at, "there are no pairs").hint("write `pair: {dal-1: fra-1}`"));
    }
    let sides = [
        ("from", &moves.from, sources, pairs.iter().map(|p| &p.0).collect::<Vec<_>>()),
        ("to", &moves.to, targets, pairs.iter().map(|p| &p.1).collect()),
    ];
    for (key, written, side, named) in sides {
        if !written.is_empty() && complete {
            same(key, &moves.at, &side, &named, sink);
        }
    }
    let pair = |(source, target): &(Located<String>, Located<String>)| Pair {
        source: source.value.clone(),
        target: target.value.clone(),
    };
    (complete && !pairs.is_empty()).then(|| pairs.iter().map(pair).collect())
}

/// Explicit pairs name exactly the hosts of `from` and `to`, where these are given.
fn same(key: &str, at: &At, side: &[String], named: &[&Located<String>], sink: &Sink) {
    let names: BTreeSet<&String> = named.iter().map(|n| &n.value).collect();
    let side: BTreeSet<&String> = side.iter().collect();
    let missing: Vec<String> = side.difference(&names).map(|host| (*host).clone()).collect();
    if !missing.is_empty() {
        let message = format!(
            "{} of `{key}` without a pair: {}",
            crate::text::count(missing.len() as u64, "host"),
            some(&missing)
        );
        sink.push(Diagnostic::error(at, message).hint(format!("add them to `pair`, or leave `{key}` out")));
    }
    for extra in named.iter().filter(|n| !side.contains(&n.value)) {
        let message = format!("host `{}` is not in `{key}`", extra.value);
        sink.push(Diagnostic::error(&extra.at, message).hint(format!("add it to `{key}`, or leave `{key}` out")));
    }
}

/// A host is a source or a target of one pair in the whole plan.
pub fn hosts_once(draft: &mut Draft<'_>, sink: &Sink) {
    let mut used: BTreeMap<String, (&str, &str, &At)> = BTreeMap::new();
    for (service, pairs) in draft.plan.services.iter().zip(&draft.pairs) {
        let Some(moves) = &service.moves else { continue };
        for pair in pairs.iter().flatten() {
            if pair.source == pair.target {
                let message = format!("host `{}` is its own target", pair.source);
                sink.push(Diagnostic::error(&moves.at, message).hint("source and target are different hosts"));
                continue;
            }
            for (host, role) in [(&pair.source, "source"), (&pair.target, "target")] {
                match used.get(host) {
                    None => drop(used.insert(host.clone(), (&service.name.value, role, &moves.at))),
                    Some((first, as_what, at)) => {
                        let message = format!(
                            "host `{host}` is used twice: as {role} here, and as {as_what} of service `{first}`"
                        );
                        let found = Diagnostic::error(&moves.at, message)
                            .note(format!("`{first}` moves at {}", at.short()))
                            .hint("a host is in one pair of a plan; move what runs on it as one service, or in a second plan");
                        sink.push(found);
                    }
                }
            }
        }
    }
}
