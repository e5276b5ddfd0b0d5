//! A pool is what the plan thinks it is: sources serve in it, and its members are the hosts that the plan takes them for.

use std::net::IpAddr;

use super::Compilation;
use super::pool::PoolPlan;
use super::service::{PairPlan, Place, ServicePlan};
use crate::model::finding::Finding;
use crate::model::{Host, Mode};
use crate::spec::Spec;

/// Looks at every pool that was seen.
pub fn look_at(c: &mut Compilation<'_>) {
    for service in &c.services {
        let plan = &service.plan;
        for pair in &plan.pairs {
            for place in plan.members(pair).filter(|place| place.pool.now.is_some()) {
                let Place { pool, source, target } = place;
                c.findings.extend(serves(place, pair));
                c.findings.extend(address(c.spec, plan, pool, pair.source, &source.name));
                c.findings.extend(address(c.spec, plan, pool, pair.target, &target.name));
            }
        }
    }
}

/// A source must be a member in service, or there is nothing to move away from.
fn serves(Place { pool, source, target }: Place<'_>, pair: &PairPlan<'_>) -> Option<Finding> {
    if pool.serves(&source.name) || pool.traffic.absent_sources {
        return None;
    }
    let said = if source.name == pair.source.name { String::new() } else { format!(" ({})", pair.source.name) };
    let refused = |what: String| Finding::refused(pool.about(), what);
    match pool.member(&source.name) {
        None => Some(
            refused(format!("has no member `{}`{said}; {}", source.name, pool.there()))
                .hint("correct `member` in the plan, or say `absent_sources: true` if this source is not to serve"),
        ),
        // It was taken out by a move that has come this far.
        Some(_) if pool.serves(&target.name) => None,
        Some(now) => {
            let how = match now.mode {
                Mode::Ready => "weight 0",
                Mode::Drain => "drain",
                Mode::Maint => "maintenance",
            };
            Some(refused(format!("`{}`{said} is not in service there: {how}", source.name)).hint(
                "put it into service, go on with the run that took it out (`migrate status`), or say `absent_sources: true`",
            ))
        }
    }
}

/// A member must be the host that the plan takes it for: else one machine is drained and another one frozen.
fn address(spec: &Spec, plan: &ServicePlan<'_>, pool: &PoolPlan<'_>, host: &Host, member: &str) -> Option<Finding> {
    let there = pool.facts?.members.get(member)?.address?.to_canonical();
    let (meant, said) = match &pool.traffic.address {
        None => (known(host), host.address.clone()),
        Some(template) => match host.fill(template) {
            Ok(text) if text == ANY_ADDRESS => return None,
            Ok(text) => (text.parse().into_iter().collect(), text),
            Err(finding) => return Some(finding),
        },
    };
    // A host that is known by name alone has nothing to compare.
    if meant.is_empty() || meant.iter().any(|ip| ip.to_canonical() == there) {
        return None;
    }
    let mut of_plan = plan.pairs.iter().flat_map(|pair| [pair.source, pair.target]);
    let owner = of_plan
        .find(|other| known(other).contains(&there))
        .or_else(|| spec.inventory.hosts.values().find(|other| known(other).contains(&there)));
    let owner = owner.map(|other| format!(", which is {}", other.name)).unwrap_or_default();
    let what = format!("`{member}` is {there} there{owner}, and {} is {said} here", host.name);
    let hint = "correct `member` or the inventory; if it is meant, say which address members have: `address: \"{{ private }}\"`, or `address: any`";
    Some(Finding::refused(pool.about(), what).hint(hint))
}

/// What `address` says where nothing is compared.
pub const ANY_ADDRESS: &str = "any";

/// Every address that the inventory knows of a host.
fn known(host: &Host) -> Vec<IpAddr> {
    let texts = [Some(&host.address), host.ssh.address.as_ref()].into_iter().flatten().chain(host.vars.values());
    texts.filter_map(|text| text.parse::<IpAddr>().ok()).map(|ip| ip.to_canonical()).collect()
}
