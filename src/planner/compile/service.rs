//! One service with everything filled in: hosts, members, states. What is missing is refused here, once.

use std::collections::BTreeMap;

use super::pool::{self, Covered, Member, PoolPlan};
use super::{Compilation, ServiceMove};
use crate::model::finding::Finding;
use crate::model::{Host, Pair};
use crate::spec::{Service, Wave};
use crate::state::Carried;

/// A service ready to be laid out in steps.
pub struct ServicePlan<'a> {
    pub wave: &'a Wave,
    pub service: &'a Service,
    pub pairs: Vec<PairPlan<'a>>,
    pub pool: Option<PoolPlan<'a>>,
}

/// A pair with its hosts.
pub struct PairPlan<'a> {
    pub pair: &'a Pair,
    pub source: &'a Host,
    pub target: &'a Host,
    /// Members of the pool, when there is one.
    pub members: Option<(Member, Member)>,
    /// What is carried over, in the order of the kinds.
    pub states: Vec<PairState<'a>>,
    /// Local port of the service on the source.
    pub port: Option<u16>,
    /// The same on the target.
    pub target_port: Option<u16>,
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
    let services: BTreeMap<&str, &Service> = c.spec.plan.services.iter().map(|s| (s.name.as_str(), s)).collect();
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
        let pool = match &service.traffic {
            Some(traffic) => Some(PoolPlan::new(c.spec, c.observed, covered, service, traffic).map_err(|f| vec![f])?),
            None => None,
        };
        let mut refusals = Vec::new();
        let mut pairs = Vec::new();
        for pair in &service.pairs {
            match pair_plan(c, service, pair, pool.as_ref()) {
                Ok(plan) => pairs.push(plan),
                Err(finding) => refusals.push(finding),
            }
        }
        if refusals.is_empty() { Ok(Self { wave, service, pairs, pool }) } else { Err(refusals) }
    }

    /// The id of a step of a pair, or of the service as a whole.
    pub fn id(&self, pair: Option<&PairPlan<'_>>, name: &str) -> String {
        match pair {
            Some(pair) => format!("{}/{}/{name}", self.service.name, pair.source.name),
            None => format!("{}/{name}", self.service.name),
        }
    }
}

fn pair_plan<'a>(
    c: &Compilation<'a>,
    service: &'a Service,
    pair: &'a Pair,
    pool: Option<&PoolPlan<'a>>,
) -> Result<PairPlan<'a>, Finding> {
    let hosts = &c.spec.inventory.hosts;
    let host = |name: &str| hosts.get(name).ok_or_else(|| Finding::refused(name, "is not in the inventory"));
    let (source, target) = (host(&pair.source)?, host(&pair.target)?);
    let members = pool.map(|p| p.members(source, target)).transpose()?;
    let port = |host: &Host| match service.traffic.as_ref().and_then(|t| t.port.as_ref()) {
        Some(port) => Ok::<_, Finding>(Some(parse_port(&host.fill(port)?, host)?)),
        None => Ok(None),
    };
    let port_of_target = if service.reverse.until().is_some() { port(target)? } else { None };
    let port = port(source)?;
    let states = states(&c.spec.plan.name, service, source, target)?;
    Ok(PairPlan { pair, source, target, members, states, port, target_port: port_of_target })
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
