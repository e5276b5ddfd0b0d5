//! One service with everything filled in: hosts, members, paths, weights. What is missing is refused here, once.

use std::time::Duration;

use super::pool::{Member, PoolPlan};
use super::{Chain, Scope, Steps, aside};
use crate::model::finding::Finding;
use crate::model::{
    DirectoryState, HookPoint, Host, OnRollback, Pair, Side, State, StreamState, Template, Throttle, Undo,
};
use crate::spec::Service;
use crate::step::{
    CheckStep, CleanUpStep, CompareStep, Comparison, CopyPass, CopyStep, GateStep, HookStep, StepKind, StreamStep,
    TreeStep, WatchStep, WayBack,
};

/// A service ready to be laid out in steps.
pub struct ServicePlan<'a> {
    pub scope: Scope<'a>,
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
    /// Trees to carry, each with the most passes of catching up.
    pub trees: Vec<(TreeStep, u32)>,
    /// Streams to pour.
    pub streams: Vec<StreamStep>,
    /// Local port of the service on the source.
    pub port: Option<u16>,
}

impl PairPlan<'_> {
    /// Whether anything is carried over.
    pub fn has_state(&self) -> bool {
        !self.trees.is_empty() || !self.streams.is_empty()
    }

    /// Ids of everything that is carried over.
    fn jobs(&self) -> Vec<String> {
        let trees = self.trees.iter().map(|(t, _)| &t.job);
        trees.chain(self.streams.iter().map(|s| &s.job)).cloned().collect()
    }
}

impl<'a> ServicePlan<'a> {
    pub fn new(scope: &Scope<'a>, service: &'a Service) -> Result<Self, Vec<Finding>> {
        let pool = match &service.traffic {
            Some(traffic) => Some(PoolPlan::new(scope, service, traffic).map_err(|f| vec![f])?),
            None => None,
        };
        let mut refusals = Vec::new();
        let mut pairs = Vec::new();
        for pair in &service.pairs {
            match pair_plan(scope, service, pair, pool.as_ref()) {
                Ok(plan) => pairs.push(plan),
                Err(finding) => refusals.push(finding),
            }
        }
        if refusals.is_empty() { Ok(Self { scope: *scope, service, pairs, pool }) } else { Err(refusals) }
    }

    /// A chain for one pair.
    pub fn chain(&self, pair: Option<&Pair>, after: Vec<String>) -> Chain {
        Chain::new(&self.scope.wave.name, &self.service.name, pair, after).on_failure(self.service.on_failure)
    }

    /// The id of a step of a pair.
    pub fn id(&self, pair: &PairPlan<'_>, name: &str) -> String {
        format!("{}/{}/{name}", self.service.name, pair.source.name)
    }

    /// Adds the gates and the hooks of a point, in the order of the plan.
    pub fn hooks(
        &self,
        chain: &mut Chain,
        steps: &mut Steps,
        pair: &PairPlan<'_>,
        at: HookPoint,
    ) -> Result<(), Finding> {
        for (n, gate) in self.service.gates.iter().filter(|g| g.at == at).enumerate() {
            let name = numbered(&format!("gate-{}", at.name()), n);
            let kind = StepKind::Gate(GateStep { asks: gate.clone(), past: Vec::new() });
            chain.add(steps, &self.id(pair, &name), kind);
            if let (Some(on_failure), Some(step)) = (gate.on_failure, steps.0.last_mut()) {
                step.on_failure = on_failure;
            }
        }
        let hooks: Vec<_> = self.service.hooks.iter().filter(|h| h.at == at).collect();
        for (n, hook) in hooks.iter().enumerate() {
            let host = if hook.on == Side::Source { pair.source } else { pair.target };
            let step = HookStep {
                host: host.name.clone(),
                at,
                run: fill_shell(&hook.run, host)?,
                timeout: hook.timeout,
                idempotent: hook.idempotent,
                done_when: hook.done_when.as_ref().map(|d| fill_shell(d, host)).transpose()?,
                undo: match &hook.undo {
                    Undo::Run(script) => Some(fill_shell(script, host)?),
                    Undo::Nothing | Undo::Unsaid => None,
                },
                secrets: hook.secrets.clone(),
            };
            let name = numbered(at.name(), n);
            chain.add(steps, &self.id(pair, &name), StepKind::Hook(step));
            if hook.undo == Undo::Unsaid {
                Chain::no_return(steps, format!("the hook {name} on {} says nothing of its `undo`", host.name));
            }
        }
        Ok(())
    }

    /// Adds one copy step for each tree.
    pub fn copies(&self, chain: &mut Chain, steps: &mut Steps, pair: &PairPlan<'_>, pass: CopyPass, name: &str) {
        for (n, (tree, max_passes)) in pair.trees.iter().enumerate() {
            if pass == CopyPass::Seed && self.directory(n).is_some_and(|d| d.on_rollback == OnRollback::Restore) {
                let hook = aside::hook(&pair.target.name, &tree.to);
                chain.add(steps, &self.id(pair, &numbered("aside", n)), StepKind::Hook(hook));
            }
            let copy = CopyStep { tree: tree.clone(), pass, max_passes: *max_passes };
            chain.add(steps, &self.id(pair, &numbered(name, n)), StepKind::Copy(copy));
        }
    }

    /// Adds one comparison for each tree that is to be compared.
    pub fn comparisons(
        &self,
        chain: &mut Chain,
        steps: &mut Steps,
        pair: &PairPlan<'_>,
        comparison: Comparison,
        name: &str,
    ) {
        for (n, (tree, _)) in pair.trees.iter().enumerate() {
            if self.directory(n).is_some_and(|d| d.verify) {
                let compare = CompareStep { tree: tree.clone(), comparison };
                chain.add(steps, &self.id(pair, &numbered(name, n)), StepKind::Compare(compare));
            }
        }
    }

    /// Compares while the source lives, so that in the freeze only what changed since is read again. That takes its time: what changes
    /// meanwhile is caught up on.
    pub fn verify_ahead(&self, chain: &mut Chain, steps: &mut Steps, pair: &PairPlan<'_>) {
        if self.service.state.iter().filter_map(State::directory).any(|d| d.verify) {
            self.comparisons(chain, steps, pair, Comparison::Ahead, "verify-ahead");
            self.copies(chain, steps, pair, CopyPass::CatchUp, "catch-up-again");
        }
    }

    fn directory(&self, n: usize) -> Option<&DirectoryState> {
        self.service.state.iter().filter_map(State::directory).nth(n)
    }

    /// Adds one step for each stream.
    pub fn streams(&self, chain: &mut Chain, steps: &mut Steps, pair: &PairPlan<'_>) {
        for (n, stream) in pair.streams.iter().enumerate() {
            chain.add(steps, &self.id(pair, &numbered("stream", n)), StepKind::Stream(stream.clone()));
        }
    }

    /// Adds the check of the target, if the service has any.
    pub fn check(&self, chain: &mut Chain, steps: &mut Steps, pair: &PairPlan<'_>) {
        let checks = self.service.checks_of([&pair.target.name]);
        if !checks.is_empty() {
            chain.add(steps, &self.id(pair, "check"), StepKind::Check(CheckStep { checks }));
        }
    }

    /// Adds the check of the service as it is before anything shifts, if there is any: what fails already says nothing of the targets.
    pub fn check_service(&self, chain: &mut Chain, steps: &mut Steps) {
        let checks = self.service.checks_of_itself();
        if !checks.is_empty() {
            chain.add(steps, &format!("{}/check", self.service.name), StepKind::Check(CheckStep { checks }));
        }
    }

    /// What the way back of a step that takes traffic from these sources has to respect.
    pub fn way_back<'p>(&self, pairs: impl Iterator<Item = &'p PairPlan<'p>>, hold: Duration) -> WayBack {
        // Of hosts alone: a service that fails because of its targets must not keep them from losing their traffic.
        let checks = self.service.checks_of(pairs.map(|p| &p.source.name));
        WayBack { checks, hold, settle: self.pool.as_ref().is_some_and(|p| p.can.ttl) }
    }

    /// A watch over the targets and the service for the plan's hold.
    pub fn watch<'p>(&self, pairs: impl Iterator<Item = &'p PairPlan<'p>>) -> StepKind {
        let checks = self.service.all_checks(pairs.map(|p| &p.target.name));
        StepKind::Watch(WatchStep { hold: self.service.shift.hold, checks })
    }

    /// Adds the removal of what was left on the hosts: agents, manifests, receipts.
    pub fn clean_up(&self, chain: &mut Chain, steps: &mut Steps, pair: &PairPlan<'_>) {
        if pair.has_state() || !self.service.hooks.is_empty() {
            let kind = StepKind::CleanUp(CleanUpStep {
                hosts: vec![pair.source.name.clone(), pair.target.name.clone()],
                jobs: pair.jobs(),
            });
            chain.add(steps, &self.id(pair, "clean-up"), kind);
        }
    }
}

/// `seed`, `seed-2`, …
fn numbered(name: &str, n: usize) -> String {
    if n == 0 { name.to_owned() } else { format!("{name}-{}", n + 1) }
}

fn pair_plan<'a>(
    scope: &Scope<'a>,
    service: &'a Service,
    pair: &'a Pair,
    pool: Option<&PoolPlan<'a>>,
) -> Result<PairPlan<'a>, Finding> {
    let host = |name: &str| {
        let hosts = &scope.spec.inventory.hosts;
        hosts.get(name).ok_or_else(|| Finding::refused(name, "is not in the inventory"))
    };
    let (source, target) = (host(&pair.source)?, host(&pair.target)?);
    let members = pool.map(|p| p.members(source, target)).transpose()?;
    let port = match service.traffic.as_ref().and_then(|t| t.port.as_ref()) {
        Some(port) => Some(parse_port(&fill(port, source)?, source)?),
        None => None,
    };
    let (mut trees, mut streams) = (Vec::new(), Vec::new());
    for (n, state) in service.state.iter().enumerate() {
        let job = job_id(&[&scope.spec.plan.name, &service.name, &source.name, &target.name, &n.to_string()]);
        match state {
            State::Directory(d) => trees.push(tree((source, target), job, d)?),
            State::Stream(s) => streams.push(stream((source, target), job, s)?),
        }
    }
    Ok(PairPlan { pair, source, target, members, trees, streams, port })
}

fn stream((source, target): (&Host, &Host), job: String, state: &StreamState) -> Result<StreamStep, Finding> {
    Ok(StreamStep {
        job,
        from: fill_shell(&state.from, source)?,
        to: fill_shell(&state.to, target)?,
        timeout: state.timeout,
        bandwidth: state.bandwidth,
        idempotent: state.idempotent,
    })
}

fn tree((source, target): (&Host, &Host), job: String, state: &DirectoryState) -> Result<(TreeStep, u32), Finding> {
    let tree = TreeStep {
        job,
        from: fill(&state.from, source)?,
        to: fill(&state.to, target)?,
        rules: state.rules.clone(),
        bandwidth: state.bandwidth,
        path: state.path,
        throttle: match &state.throttle {
            Some(throttle) => {
                Some(Throttle { command: Template(fill_shell(&throttle.command, source)?), ..throttle.clone() })
            }
            None => None,
        },
        settle_below: state.settle_below,
    };
    Ok((tree, state.max_passes))
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

/// Fills a template from a host's variables.
pub fn fill(template: &Template, host: &Host) -> Result<String, Finding> {
    template.render_plain(&host.vars).map_err(|e| Finding::refused(&host.name, e.to_string()))
}

fn fill_shell(template: &Template, host: &Host) -> Result<String, Finding> {
    template.render_shell(&host.vars).map_err(|e| Finding::refused(&host.name, e.to_string()))
}
