//! One service with everything filled in: hosts, members, states. What is missing is refused here, once.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::connections::{self, BothSides};
use super::pool::{self, Covered, Member, PoolPlan};
use super::{Compilation, ServiceMove};
use crate::check::SubjectName;
use crate::model::finding::Finding;
use crate::model::{Host, Pair};
use crate::spec::{Service, Wave};
use crate::state::Carried;

/// A service ready to be laid out in steps.
pub struct ServicePlan<'a> {
    pub wave: &'a Wave,
    pub service: &'a Service,
    pub pairs: Vec<PairPlan<'a>>,
    /// In the order in which clients come to them.
    pub pools: Vec<PoolPlan<'a>>,
    /// Targets of pairs that an earlier run has moved one by one, the last ones of them.
    pub moved_before: Vec<SubjectName>,
}

/// A pair with its hosts.
pub struct PairPlan<'a> {
    pub pair: &'a Arc<Pair>,
    pub source: &'a Host,
    pub target: &'a Host,
    /// The target as checks name it.
    pub asked: SubjectName,
    /// Source and target in each of the pools.
    pub members: Vec<(Member, Member)>,
    /// What is carried over, in the order of the kinds.
    pub states: Vec<PairState<'a>>,
    /// Local port of the service on the source.
    pub port: Option<u16>,
    /// The same on the target.
    pub target_port: Option<u16>,
    /// How they let connections go, where the plan says anything about that.
    pub let_go: Option<BothSides>,
}

/// A pair in one of its pools.
#[derive(Clone, Copy)]
pub struct Place<'s> {
    pub pool: &'s PoolPlan<'s>,
    pub source: &'s Member,
    pub target: &'s Member,
}

/// Targets that are asked each time that a source leaves or is given back.
pub const AROUND: usize = 32;

/// All pairs; where there are many, the one that is meant and those that follow it, round and round, so that all are asked in turn: what is done
/// for each pair must not grow with the number of pairs.
pub fn around<T>(pairs: &[T], is: impl Fn(&T) -> bool) -> impl Iterator<Item = &T> {
    let first = if pairs.len() > AROUND { pairs.iter().position(is).unwrap_or(0) } else { 0 };
    pairs.iter().cycle().skip(first).take(pairs.len().min(AROUND))
}

/// A state of a pair.
pub struct PairState<'a> {
    /// Its place among the states of its kind.
    pub number: usize,
    /// Whether the copy agent carries it.
    pub needs_agent: bool,
    pub state: Box<dyn Carried + 'a>,
}

/// Puts every service together, wave by wave.
pub fn prepare(c: &mut Compilation<'_>) {
    let services: BTreeMap<&str, &Service> = c.spec.plan.services.iter().map(|s| (&*s.name, s)).collect();
    let covered = pool::covered(c.spec);
    for wave in &c.spec.plan.waves {
        for service in wave.services.iter().filter_map(|name| services.get(name.as_str())) {
            match ServicePlan::new(c, &covered, wave, service) {
                Ok(plan) => c.services.push(ServiceMove { plan, stretches: Vec::new(), no_return: Vec::new() }),
                Err(refusals) => c.findings.extend(refusals),
            }
        }
    }
}

impl<'a> ServicePlan<'a> {
    fn new(
        c: &Compilation<'a>,
        covered: &Covered<'_>,
        wave: &'a Wave,
        service: &'a Service,
    ) -> Result<Self, Vec<Finding>> {
        let pools = service.traffic.iter().map(|t| PoolPlan::new(c.spec, c.observed, covered, service, t));
        let pools = pools.collect::<Result<Vec<_>, Finding>>().map_err(|finding| vec![finding])?;
        let mut refusals = Vec::new();
        let mut pairs = Vec::new();
        for pair in &service.pairs {
            match pair_plan(c, service, pair, &pools) {
                Ok(plan) => pairs.push(plan),
                Err(finding) => refusals.push(finding),
            }
        }
        if refusals.is_empty() {
            Ok(Self { wave, service, pairs, pools, moved_before: Vec::new() })
        } else {
            Err(refusals)
        }
    }

    /// All pools with the source and the target of a pair in each.
    pub fn members<'s>(&'s self, pair: &'s PairPlan<'_>) -> impl Iterator<Item = Place<'s>> {
        let places = self.pools.iter().zip(&pair.members);
        places.map(|(pool, (source, target))| Place { pool, source, target })
    }

    /// The service and the target of a pair, by their names.
    pub fn moved(&self, pair: usize) -> Option<(&'a str, SubjectName)> {
        Some((&self.service.name, self.pairs.get(pair)?.asked.clone()))
    }

    /// The pairs that have moved before one that takes a slot: those of its slot, and where it is the first one those of earlier runs.
    pub fn moved_before_it(&self, mut of_slot: Vec<(&'a str, SubjectName)>) -> Vec<(&'a str, SubjectName)> {
        let name = &*self.service.name;
        if of_slot.iter().all(|(service, _)| *service != name) {
            of_slot.extend(self.moved_before.iter().map(|target| (name, target.clone())));
        }
        of_slot
    }

    /// The id of a step of a pair, or of the service as a whole.
    pub fn id(&self, pair: Option<&PairPlan<'_>>, name: &str) -> String {
        match pair {
            Some(pair) => [&*self.service.name, "/", &*pair.source.name, "/", name].concat(),
            None => [&*self.service.name, "/", name].concat(),
        }
    }
}

fn pair_plan<'a>(
    c: &Compilation<'a>,
    service: &'a Service,
    pair: &'a Arc<Pair>,
    pools: &[PoolPlan<'a>],
) -> Result<PairPlan<'a>, Finding> {
    let hosts = &c.spec.inventory.hosts;
    let host = |name: &str| hosts.get(name).ok_or_else(|| Finding::refused(name, "is not in the inventory"));
    let (source, target) = (host(&pair.source)?, host(&pair.target)?);
    let members = pools.iter().map(|pool| pool.members(source, target)).collect::<Result<_, Finding>>()?;
    let port = |host: &Host| match service.port() {
        Some(port) => Ok::<_, Finding>(Some(parse_port(&host.fill(port)?, host)?)),
        None => Ok(None),
    };
    let let_go = connections::fill(service, source, target)?;
    let port_of_target = if service.reverse.until().is_some() || let_go.is_some() { port(target)? } else { None };
    let port = port(source)?;
    let mut states = states(&c.spec.plan.name, service, source, target)?;
    states.iter_mut().for_each(|state| state.state.settle(c.observed));
    let asked = SubjectName::host(&target.name);
    Ok(PairPlan { pair, source, target, asked, members, states, port, target_port: port_of_target, let_go })
}

/// The states of a pair, in the order of the kinds.
pub fn states<'a>(
    plan: &str,
    service: &'a Service,
    source: &'a Host,
    target: &'a Host,
) -> Result<Vec<PairState<'a>>, Finding> {
    let mut by_kind: BTreeMap<usize, Vec<PairState<'_>>> = BTreeMap::new();
    for (n, state) in service.state.iter().enumerate() {
        let job = job_id(&[plan, &service.name, &source.name, &target.name, &n.to_string()]);
        let filled = state.kind().between(source, target, job)?;
        let of_kind = by_kind.entry(state.rank()).or_default();
        let needs_agent = state.kind().needs_agent();
        of_kind.push(PairState { number: of_kind.len(), needs_agent, state: filled });
    }
    Ok(by_kind.into_values().flatten().collect())
}

/// Readable, and unique even where names hold characters that an id may not.
fn job_id(parts: &[&str]) -> String {
    let clean = |part: &&str| {
        part.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect::<String>()
    };
    let readable: Vec<String> = parts.iter().map(clean).collect();
    let digest = blake3::hash(parts.join("\0").as_bytes()).to_hex();
    let readable: String = readable.join(".").chars().take(80).collect();
    format!("{readable}.{}", digest.get(..8).unwrap_or_default())
}

fn parse_port(text: &str, host: &Host) -> Result<u16, Finding> {
    text.parse().map_err(|_| Finding::refused(&host.name, format!("port `{text}` is not a number from 1 to 65535")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_pairs_are_all_asked_and_of_many_as_many_for_each() {
        let of = |n: usize, at: usize| {
            around(&(0..n).collect::<Vec<_>>(), |other| *other == at).copied().collect::<Vec<_>>()
        };
        assert_eq!(of(0, 0), Vec::<usize>::new());
        assert_eq!(of(3, 2), [0, 1, 2]);
        let asked = of(100, 90);
        assert_eq!(asked.len(), AROUND);
        assert_eq!(asked[..12], [90, 91, 92, 93, 94, 95, 96, 97, 98, 99, 0, 1]);
    }
}
