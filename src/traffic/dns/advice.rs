//! What must be known of a name with addresses before a move.
//!
//! Pure. Must never let a move pass that leaves clients of one family behind or shows the public an address that it cannot reach.

use std::net::IpAddr;

use super::super::Intent;
use super::refusal::MOST_RECORDS;
use crate::model::Strategy;
use crate::model::finding::Finding;
use crate::text::list;

/// Everything that is to be known before a move begins.
pub(in crate::traffic) fn of(intent: &Intent<'_>) -> Vec<Finding> {
    let steps = shares(intent);
    steps.into_iter().chain(others(intent)).chain(private(intent)).chain(too_many(intent)).collect()
}

fn shares(intent: &Intent<'_>) -> Option<Finding> {
    if intent.strategy != Strategy::Ramp {
        return None;
    }
    let what = "is a set of plain addresses: shares are what the number of addresses gives, and only about that";
    let note = Finding::note(intent.about(), what);
    let given: Vec<String> = intent
        .shares
        .iter()
        .filter(|s| s.wanted < 100 && s.new)
        .map(|s| format!("{} % is {:.0} %", s.wanted, s.reached))
        .collect();
    let idle: Vec<String> = intent.shares.iter().filter(|s| !s.new).map(|s| format!("{} %", s.wanted)).collect();
    let fall_away = format!("steps that give the same set are one: {} fall away", idle.join(", "));
    match (given.is_empty(), idle.is_empty()) {
        (true, true) => Some(note),
        (false, true) => Some(note.hint(list(&given))),
        (true, false) => Some(note.hint(fall_away)),
        (false, false) => Some(note.hint(format!("{}; {fall_away}", list(&given)))),
    }
}

fn parsed(names: &[&str]) -> Vec<IpAddr> {
    names.iter().filter_map(|name| name.parse().ok()).collect()
}

/// Addresses that stay although their neighbours go.
fn others(intent: &Intent<'_>) -> Vec<Finding> {
    let names: Vec<&str> = intent.others.iter().map(|m| m.name.as_str()).collect();
    let sources = parsed(&intent.sources);
    if names.is_empty() || intent.others_stay {
        return Vec::new();
    }
    let mut found = Vec::new();
    let family = |ip: &IpAddr| if ip.is_ipv4() { "IPv4" } else { "IPv6" };
    let moves = |of: &str| sources.iter().any(|ip| family(ip) == of);
    let left: Vec<&str> =
        names.iter().copied().filter(|name| parsed(&[name]).iter().any(|ip| !moves(family(ip)))).collect();
    let beside: Vec<&str> = names.iter().copied().filter(|name| !left.contains(name)).collect();
    if let Some(of) = left.first().and_then(|name| parsed(&[name]).first().map(family)) {
        let what =
            format!("also has {}, which no host of the plan has: whoever comes by {of} stays there", list(&left));
        let hint =
            "move them, too, with a service that has another `member` (`{{ address6 }}`), or say `others_stay: true`";
        found.push(Finding::refused(intent.about(), what).hint(hint));
    }
    if !beside.is_empty() {
        let what = format!("also has {}, which no host of the plan has: they keep their clients", list(&beside));
        found.push(Finding::risk(intent.about(), what).hint("move them, too, or say `others_stay: true`"));
    }
    found
}

/// Private addresses in answers that had none.
fn private(intent: &Intent<'_>) -> Option<Finding> {
    let there = &intent.now?.members;
    let targets: Vec<&str> = intent.targets.iter().copied().filter(|t| parsed(&[t]).iter().any(is_private)).collect();
    let was_public = there.iter().all(|m| m.name.parse().is_ok_and(|ip| !is_private(&ip)));
    if targets.is_empty() || there.is_empty() || !was_public {
        return None;
    }
    let what = format!("has public addresses alone, and would get {}: nobody outside can reach that", list(&targets));
    Some(
        Finding::refused(intent.about(), what)
            .hint("give `member` with a variable that holds the public address of each host"),
    )
}

fn is_private(ip: &IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            ip.is_private() || ip.is_loopback() || ip.is_link_local() || (a == 100 && (64..128).contains(&b))
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// Record sets that grow over what name servers take, before sources are taken away.
fn too_many(intent: &Intent<'_>) -> Vec<Finding> {
    let now: Vec<&str> = intent.now.iter().flat_map(|pool| &pool.members).map(|m| m.name.as_str()).collect();
    let mut all = parsed(&now);
    all.extend(parsed(&intent.targets).into_iter().filter(|ip| !parsed(&now).contains(ip)));
    let families =
        [("A", true), ("AAAA", false)].map(|(of, v4)| (of, all.iter().filter(|ip| ip.is_ipv4() == v4).count()));
    let over = families.into_iter().filter(|(_, n)| *n > MOST_RECORDS);
    let finding = |(of, n): (&str, usize)| {
        let what = format!("would have {n} {of} records for a while, and BIND takes {MOST_RECORDS} of a type");
        Finding::risk(intent.about(), what)
            .hint("raise `max-records-per-type` on every server of the zone, or move fewer pairs at once")
    };
    over.map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_the_public_cannot_reach_are_known() {
        for ip in [
            "10.1.2.3",
            "127.0.0.1",
            "169.254.1.1",
            "100.64.0.1",
            "192.168.1.1",
            "fd00::1",
            "fe80::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(is_private(&ip.parse().unwrap()), "{ip}");
        }
        for ip in ["203.0.113.5", "8.8.8.8", "100.128.0.1", "2001:db8::1"] {
            assert!(!is_private(&ip.parse().unwrap()), "{ip}");
        }
    }
}
