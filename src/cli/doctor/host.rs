//! A host and a director of an inventory, asked as a plan asks them.

use std::time::Duration;

use super::super::environment::Environment;
use super::super::{connect, failure};
use super::Line;
use crate::copy::Copier as _;
use crate::copy::controller;
use crate::host::Hosts as _;
use crate::planner::preflight::SKEW_MILLIS;
use crate::spec::Inventory;
use crate::text::{self, suggest};

/// One host: whether it answers, as whom, and what it has.
pub async fn look(name: &str, inventory: &Inventory, environment: &Environment) -> anyhow::Result<Vec<Line>> {
    let Some(host) = inventory.hosts.get(name) else {
        let shown = text::escape(name.as_bytes(), 80);
        let hint = suggest::hint(name, "hosts", inventory.hosts.keys().map(String::as_str));
        return Err(failure::advised(format!("the inventory has no host `{shown}`"), hint));
    };
    let pool = connect::hosts(inventory, environment);
    let facts = match pool.facts(host, &[host.work_dir().to_owned()]).await {
        Ok(facts) => facts,
        Err(e) => {
            let next =
                e.hint.clone().unwrap_or_else(|| "try it with `ssh`, with the same user, port and key".to_owned());
            // What comes behind it was not looked at, and is not told.
            return Ok(vec![Line::bad("reach and login", e.to_string(), next)]);
        }
    };
    let mut lines = vec![Line::well(
        "reach and login",
        format!("it answers with a host key that is trusted; programs run as {} (uid {})", facts.user, facts.uid),
    )];
    lines.push(Line::well("system", format!("{}, {}, {}", facts.os, facts.kernel, facts.arch)));
    let clock = facts.clock;
    let apart = text::duration(Duration::from_millis(clock.millis.unsigned_abs()));
    lines.push(match clock.millis.unsigned_abs() > SKEW_MILLIS + clock.error_millis {
        true => {
            let way = if clock.millis.is_positive() { "ahead" } else { "behind" };
            Line::look(
                "clock",
                format!("{apart} {way} of this machine"),
                "start time synchronisation there before the move",
            )
        }
        false => {
            let within = text::duration(Duration::from_millis(clock.millis.unsigned_abs() + clock.error_millis));
            Line::well("clock", format!("within {within} of this machine's"))
        }
    });
    let engine = controller::Engine::new(std::sync::Arc::new(pool), connect::agents(environment)?);
    lines.push(match engine.suits(host, &facts).await {
        Ok(()) => {
            let free = facts.paths.first().and_then(|path| path.free_bytes);
            let free = free.map(|free| format!(", {} free", text::bytes(free))).unwrap_or_default();
            Line::well(
                "copy agent",
                format!("there is one for it, the tools that it needs, and room for it in {}{free}", host.work_dir()),
            )
        }
        Err(e) => {
            let next = e.hint.clone().unwrap_or_else(|| "only a host whose state is copied needs one".to_owned());
            Line::bad("copy agent", e.to_string(), next)
        }
    });
    for warning in inventory.warnings.get(name).into_iter().flatten() {
        lines.push(Line::look("inventory", warning.clone(), "see that this is over before the host moves"));
    }
    Ok(lines)
}

/// A director: whether it answers, and what it has in the pool.
pub async fn director(
    name: &str,
    pool: Option<&str>,
    inventory: &Inventory,
    environment: &Environment,
) -> anyhow::Result<Vec<Line>> {
    let Some(config) = inventory.directors.get(name) else {
        let shown = text::escape(name.as_bytes(), 80);
        let hint = suggest::hint(name, "directors", inventory.directors.keys().map(String::as_str));
        return Err(failure::advised(format!("the inventory has no director `{shown}`"), hint));
    };
    let kind = config.kind();
    let pool = match pool.map(|pool| (pool, kind.pool_name(pool))) {
        None => None,
        Some((_, Ok(name))) => Some(name),
        Some((pool, Err(unfit))) => return Err(failure::advised(unfit.sentence(pool), unfit.hint)),
    };
    let broken = |about: &str, e: crate::outside::Error| {
        let next = e.hint.clone().unwrap_or_else(|| "see docs/directors.md for what it needs".to_owned());
        vec![Line::bad(about, e.to_string(), next)]
    };
    let director = match kind.connect(name, &connect::surroundings(inventory, environment)) {
        Ok(director) => director,
        Err(e) => return Ok(broken("settings", e)),
    };
    let Some(pool) = pool else {
        return Ok(match director.pools().await {
            Ok(pools) if pools.is_empty() => {
                vec![Line::look(
                    "pools",
                    format!("{} was not asked: it cannot list its pools", kind.title()),
                    format!("name one: migrate doctor --director {name} POOL"),
                )]
            }
            Ok(pools) => vec![Line::well("pools", format!("it answers, and has {}", text::some(&pools, 8)))],
            Err(e) => broken("reach", e),
        });
    };
    let now = match director.observe(&pool).await {
        Ok(now) => now,
        Err(e) => return Ok(broken("pool", e)),
    };
    let next = format!("migrate director show {name} {pool} tells all of it");
    let mut lines = vec![match now.members.is_empty() {
        true => Line::look(format!("pool {pool}"), "it answers, and the pool has nobody", next),
        false => Line::well(
            format!("pool {pool}"),
            format!("it answers, with {}", text::count(now.members.len() as u64, "member")),
        ),
    }];
    let down: Vec<&str> = now.members.iter().filter(|m| m.up == Some(false)).map(|m| m.name.as_str()).collect();
    if !down.is_empty() {
        lines.push(Line::look(
            "health",
            format!("its own check fails for {}", text::some(&down, 8)),
            "see why before they get traffic",
        ));
    }
    match director.facts(&pool).await {
        Ok(facts) => facts.unseen.iter().for_each(|what| {
            lines.push(Line::look("not looked at", what.clone(), "docs/directors.md tells what it needs for that"));
        }),
        Err(e) => lines.extend(broken("facts", e)),
    }
    Ok(lines)
}
