//! Reads the live system, as far as a plan touches it. Writes nothing anywhere.

mod alerts;
mod bmcs;
mod firewall;
mod machines;
mod resets;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream;

use super::compile::states;
use super::observed::{Observed, Seen};
use super::parity;
use crate::alerts::Silences;
use crate::check::{Health, SubjectName, Verdict};
use crate::copy::Copier;
use crate::host::{AgentFacts, Command, Facts, Hosts, Output, TreeSize};
use crate::model::{Host, Pair, Side};
use crate::model::{Pool, PoolFacts};
use crate::outside::Error;
use crate::provider::Providers;
use crate::redfish::Bmcs;
use crate::spec::{Service, Spec};
use crate::state::{Ask, Question};
use crate::step::Answer;
use crate::traffic::Director;

/// Hosts asked at the same time.
const PARALLEL: usize = 16;

/// What can be asked.
pub struct LiveSystem<'a> {
    /// Hosts.
    pub hosts: &'a dyn Hosts,
    /// Who knows what agents need.
    pub copier: &'a dyn Copier,
    /// Checks.
    pub health: &'a dyn Health,
    /// Directors by name; those that could not be connected say why.
    pub directors: &'a BTreeMap<String, Result<Arc<dyn Director>, Error>>,
    /// Whom hosts are rented from.
    pub providers: &'a dyn Providers,
    /// Silences of alerts.
    pub silences: &'a dyn Silences,
    /// Management controllers.
    pub bmcs: &'a dyn Bmcs,
}

/// Asks everything that the plan touches, at the same time.
pub async fn observe(spec: &Spec, live: &LiveSystem<'_>) -> Observed {
    let paths = paths_by_host(spec);
    let (hosts, seen, trees, health, answers, machines, alertmanagers, bmcs) = tokio::join!(
        hosts(spec, live, &paths),
        pools(spec, live),
        trees(spec, live),
        health(spec, live),
        answers(spec, live),
        machines::survey(spec, live),
        alerts::look(spec, live),
        bmcs::survey(spec, live)
    );
    let (agents, fences, relays, resets) = tokio::join!(
        agents(spec, live, &hosts),
        firewall::fences(spec, live, &hosts),
        firewall::relays(spec, live, &hosts),
        resets::look(spec, live, &hosts)
    );
    let mut observed = Observed {
        hosts,
        agents,
        fences,
        relays,
        resets,
        machines,
        trees,
        health,
        answers,
        alertmanagers,
        bmcs,
        day: Some(jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date()),
        ..Observed::default()
    };
    for (key, seen) in seen {
        let pool = match seen {
            Seen::Live((pool, facts)) => {
                observed.facts.insert(key.clone(), facts);
                Seen::Live(pool)
            }
            Seen::Failed { why, hint } => Seen::Failed { why, hint },
        };
        observed.pools.insert(key, pool);
    }
    observed
}

/// Puts agents on all hosts that need one, starts them, lets them look at the trees, and takes them away again. Where there was no answer
/// before, or it is known that there can be none, nothing is tried.
pub async fn probe(spec: &Spec, live: &LiveSystem<'_>, observed: &mut Observed) {
    let trees = sized(spec);
    let suited = observed.agents.iter().filter(|(_, agent)| agent.live().is_some());
    let asked = suited.filter_map(|(name, _)| Some((spec.inventory.hosts.get(name)?, trees.get(name)))).map(
        |(host, trees)| async move {
            let trees: Vec<String> = trees.into_iter().flatten().cloned().collect();
            let seen = live.copier.probe(host, &trees).await;
            // What is left behind where that fails is told by the next one who cleans up there.
            let _ = live.copier.clean_up(host, &[]).await;
            (host.name.clone(), seen.map_or_else(unreachable, |seen| Seen::Live(Some(seen))))
        },
    );
    let tried: Vec<_> = stream::iter(asked).buffer_unordered(PARALLEL).collect().await;
    observed.agents.extend(tried);
}

/// Which of the hosts that need an agent can have one, by what they said of themselves.
async fn agents(
    spec: &Spec,
    live: &LiveSystem<'_>,
    hosts: &BTreeMap<String, Seen<Facts>>,
) -> BTreeMap<String, Seen<Option<AgentFacts>>> {
    let mut agents = BTreeMap::new();
    let carried = |service: &&Service| service.state.iter().any(|state| state.kind().needs_agent());
    let needed = spec.plan.services.iter().filter(carried).flat_map(|service| &service.pairs);
    for name in needed.flat_map(|pair| [&pair.source, &pair.target]).collect::<BTreeSet<_>>() {
        let Some((host, facts)) = spec.inventory.hosts.get(name).zip(hosts.get(name).and_then(Seen::live)) else {
            continue;
        };
        let seen = live.copier.suits(host, facts).await.map_or_else(unreachable, |()| Seen::Live(None));
        agents.insert(name.clone(), seen);
    }
    agents
}

/// The trees that are sized, by host.
fn sized(spec: &Spec) -> BTreeMap<String, BTreeSet<String>> {
    let mut trees: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for service in &spec.plan.services {
        for pair in &service.pairs {
            let asks = service.state.iter().flat_map(|state| state.kind().asks()).filter(|ask| ask.size.is_some());
            for (host, path) in asks.filter_map(|ask| asked_on(spec, pair, ask)) {
                trees.entry(host.name.clone()).or_default().insert(path);
            }
        }
    }
    trees
}

/// The directories that are looked at on each host. Every host is there on which anything of the plan runs, if only to see that there is a
/// way in; of the others nothing is asked.
fn paths_by_host(spec: &Spec) -> BTreeMap<String, BTreeSet<String>> {
    let mut paths: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for service in &spec.plan.services {
        for other in service.state.iter().flat_map(|state| state.kind().others()) {
            paths.entry(other.to_owned()).or_default();
        }
        for pair in &service.pairs {
            let sides = [(Side::Source, &pair.source), (Side::Target, &pair.target)];
            for (_, name) in sides.into_iter().filter(|(side, _)| service.logs_in_to(*side)) {
                let known = paths.entry(name.clone()).or_default();
                if let Some(host) = spec.inventory.hosts.get(name).filter(|_| !service.state.is_empty()) {
                    known.insert(host.work_dir().to_owned());
                }
            }
            for ask in service.state.iter().flat_map(|state| state.kind().asks()) {
                let filled = asked_on(spec, pair, ask);
                paths.entry(pair.on(ask.side).to_owned()).or_default().extend(filled.map(|(_, path)| path));
            }
        }
    }
    paths
}

/// The host and the path that a state wants to know about.
fn asked_on<'a>(spec: &'a Spec, pair: &Pair, ask: Ask<'_>) -> Option<(&'a Host, String)> {
    let host = spec.inventory.hosts.get(pair.on(ask.side))?;
    Some((host, ask.path.render_plain(&host.vars).ok()?))
}

async fn hosts(
    spec: &Spec,
    live: &LiveSystem<'_>,
    paths: &BTreeMap<String, BTreeSet<String>>,
) -> BTreeMap<String, Seen<Facts>> {
    let known = paths.iter().filter_map(|(name, paths)| Some((spec.inventory.hosts.get(name)?, paths)));
    let asked = known.map(|(host, paths)| async move {
        let paths: Vec<String> = paths.iter().cloned().collect();
        let facts = live.hosts.facts(host, &paths).await;
        (host.name.clone(), facts.map_or_else(unreachable, Seen::Live))
    });
    stream::iter(asked).buffer_unordered(PARALLEL).collect().await
}

fn unreachable<T>(error: Error) -> Seen<T> {
    Seen::Failed { why: error.what, hint: error.hint }
}

async fn pools(spec: &Spec, live: &LiveSystem<'_>) -> BTreeMap<String, Seen<(Pool, PoolFacts)>> {
    let wanted: BTreeSet<(&str, &str)> =
        spec.plan.services.iter().flat_map(|s| &s.traffic).map(|t| (&*t.director, &*t.pool)).collect();
    let asked = wanted.into_iter().map(|(director, pool)| async move {
        let seen = match live.directors.get(director) {
            Some(Ok(found)) => look_at(found.as_ref(), pool).await.map_or_else(|e| silent(&e), Seen::Live),
            Some(Err(e)) => silent(e),
            None => Seen::Failed { why: "is not in the inventory".into(), hint: None },
        };
        (Observed::pool_key(director, pool), seen)
    });
    stream::iter(asked).buffer_unordered(PARALLEL).collect().await
}

/// A pool that can be read and would take writes: better to learn now than in the middle of a move.
async fn look_at(director: &dyn Director, pool: &str) -> Result<(Pool, PoolFacts), Error> {
    let seen = director.observe(pool).await?;
    director.writable(pool).await?;
    Ok((seen, director.facts(pool).await?))
}

fn silent<T>(error: &Error) -> Seen<T> {
    // With the director's address: what cannot be reached must be named.
    Seen::Failed { why: error.to_string(), hint: error.hint.clone() }
}

async fn trees(spec: &Spec, live: &LiveSystem<'_>) -> BTreeMap<String, Seen<TreeSize>> {
    let pairs = spec.plan.services.iter().flat_map(|s| s.pairs.iter().map(move |pair| (s, pair)));
    let asks = pairs.flat_map(|(s, pair)| s.state.iter().flat_map(|s| s.kind().asks()).map(move |ask| (pair, ask)));
    let wanted = asks.filter_map(|(pair, ask)| Some((asked_on(spec, pair, ask)?, ask.size?)));
    let asked = wanted.map(|((host, path), extent)| async move {
        // What is excluded from the copy is counted, too.
        let size = live.hosts.tree_size(host, &path, extent).await;
        (Observed::tree_key(&host.name, &path), size.map_or_else(unreachable, Seen::Live))
    });
    stream::iter(asked).buffer_unordered(PARALLEL).collect().await
}

/// What states ask of their hosts.
async fn answers(spec: &Spec, live: &LiveSystem<'_>) -> BTreeMap<String, Seen<Answer>> {
    let host = |name: &str| spec.inventory.hosts.get(name);
    let pairs = spec.plan.services.iter().flat_map(|s| s.pairs.iter().map(move |pair| (s, pair)));
    let asks = pairs.flat_map(|(service, pair)| match (host(&pair.source), host(&pair.target)) {
        (Some(source), Some(target)) => states(&spec.plan.name, service, source, target)
            .map(|states| states.iter().flat_map(|state| state.state.questions()).collect())
            .unwrap_or_default(),
        _ => Vec::new(),
    });
    let asked = asks.chain(parity::questions(spec)).filter_map(|question| Some((host(&question.host)?, question))).map(
        |(host, question)| async move {
            let key = Observed::answer_key(&question.host, &question.about);
            let Question { script, env, timeout, .. } = question;
            let command = Command { script, env, timeout: Some(timeout), ..Command::default() };
            (key, live.hosts.query(host, &command).await.map_or_else(unreachable, |output| Seen::Live(answer(&output))))
        },
    );
    stream::iter(asked).buffer_unordered(PARALLEL).collect().await
}

fn answer(output: &Output) -> Answer {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Answer { status: output.status, stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

async fn health(spec: &Spec, live: &LiveSystem<'_>) -> BTreeMap<String, Vec<Verdict>> {
    let asked = spec.plan.services.iter().flat_map(|service| {
        let checks = service.all_checks(service.pairs.iter().map(|p| SubjectName::host(&p.target)));
        checks.each().map(|(subject, check)| (subject.clone(), check.clone())).collect::<Vec<_>>()
    });
    let asked = asked.map(|(name, check)| async move {
        let subject = name.known(&spec.inventory.hosts)?;
        Some((name.to_string(), live.health.probe(&check, &subject).await))
    });
    let answers: Vec<_> = stream::iter(asked).buffered(PARALLEL).collect().await;
    let mut health: BTreeMap<String, Vec<Verdict>> = BTreeMap::new();
    for (subject, verdict) in answers.into_iter().flatten() {
        health.entry(subject).or_default().push(verdict);
    }
    health
}
