//! One pool out of what several processes say about it.
//!
//! Weights and modes must be the same everywhere; connections add up. Must never choose one answer over another.

use super::instance::{Process, Reading, setting};
use crate::model::{Change, Member, Pool};
use crate::outside::{Error, Kind};

/// The pool that all processes agree on.
pub(super) fn pool(director: &str, name: &str, readings: &[Reading]) -> Result<Pool, Error> {
    let mut processes = readings.iter().flat_map(|r| &r.processes);
    let first = processes.next().ok_or_else(|| disagrees(director, format!("nothing answers for `{name}`")))?;
    let mut members = first.members.clone();
    for process in processes {
        agree(director, name, first, process)?;
        for member in &mut members {
            if let Some(other) = find(&process.members, &member.name) {
                member.connections = add(member.connections, other.connections);
                member.sessions = add(member.sessions, other.sessions);
                member.up = both_up(member.up, other.up);
            }
        }
    }
    for member in &mut members {
        for lingering in readings.iter().filter_map(|r| r.lingering.get(&member.name)) {
            member.connections = add(member.connections, Some(lingering.connections));
            member.sessions = add(member.sessions, Some(lingering.sessions));
        }
    }
    Ok(Pool { name: name.to_owned(), members, ttl: None })
}

/// What was asked for is what is there; of several changes to one member the last counts.
pub(super) fn confirm(director: &str, pool: &Pool, changes: &[Change]) -> Result<(), Error> {
    for (n, change) in changes.iter().enumerate() {
        if changes.iter().skip(n + 1).any(|later| later.member == change.member) {
            continue;
        }
        let wanted = setting(change.weight, change.mode);
        match pool.member(&change.member) {
            Some(now) if now.weight == change.weight && now.mode == change.mode => {}
            Some(now) => {
                let now = setting(now.weight, now.mode);
                let what = format!("{}/{} was set to {wanted} and reads back {now}", pool.name, change.member);
                return Err(disagrees(director, what).hint(
                    "either somebody else or an agent-check is changing it, or it follows another server (`track`) or a name that does not resolve",
                ));
            }
            None => {
                let what = format!("{}/{} is gone since it was written", pool.name, change.member);
                return Err(disagrees(director, what).hint("was HAProxy reloaded with another configuration?"));
            }
        }
    }
    Ok(())
}

fn agree(director: &str, pool: &str, one: &Process, other: &Process) -> Result<(), Error> {
    let (here, there) = (&one.at, &other.at);
    for (a, b, has, lacks) in [(one, other, here, there), (other, one, there, here)] {
        if let Some(extra) = a.members.iter().find(|m| find(&b.members, &m.name).is_none()) {
            let what = format!("{has} has server {pool}/{} and {lacks} has not", extra.name);
            return Err(disagrees(director, what).hint("give all instances the same servers in this backend"));
        }
    }
    for member in &one.members {
        let Some(same) = find(&other.members, &member.name) else { continue };
        if (same.weight, same.mode) != (member.weight, member.mode) {
            let what = format!(
                "{pool}/{} has {} at {here} and {} at {there}",
                member.name,
                setting(member.weight, member.mode),
                setting(same.weight, same.mode)
            );
            return Err(disagrees(director, what).hint(
                "an instance was reloaded or changed by hand: set the server the same everywhere, or apply again",
            ));
        }
    }
    Ok(())
}

fn find<'a>(members: &'a [Member], name: &str) -> Option<&'a Member> {
    members.iter().find(|m| m.name == name)
}

/// A count is known only when every part of it is.
fn add(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    Some(a?.saturating_add(b?))
}

/// Down anywhere is down.
fn both_up(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a && b),
        (known, None) | (None, known) => known,
    }
}

fn disagrees(director: &str, what: impl Into<String>) -> Error {
    Error::new(director, Kind::Disagrees, what)
}
