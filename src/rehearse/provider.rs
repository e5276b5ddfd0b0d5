//! The simulated provider: hosts that are given back go after a while, and whoever looks is told how it stands.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::fault::{Call, Fault};
use super::invariants::Violation;
use super::model::Model;
use super::simulation::{Caller, Turn};
use crate::event::StepState;
use crate::outside::{Error, Kind};
use crate::provider::{Leaving, Machine, Prospect, Provider, ProviderConfig, Providers, Standing};
use crate::step::{DecommissionAct, Step, StepKind};

/// Looks of who waits for that after which a host that was given back is gone.
const LOOKS: u32 = 2;

/// How it stands with a host that was given back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Given {
    looks: u32,
}

impl Given {
    pub fn is_gone(&self) -> bool {
        self.looks >= LOOKS
    }
}

/// All providers of a plan are alike.
pub(super) struct SimProviders(pub Arc<Caller>);

impl Providers for SimProviders {
    fn find(&self, _: &ProviderConfig) -> Arc<dyn Provider> {
        Arc::new(SimProvider(Arc::clone(&self.0)))
    }
}

struct SimProvider(Arc<Caller>);

fn failed(fault: Fault) -> Error {
    match fault {
        Fault::Refused => Error::new("provider", Kind::Refused, "the request is refused"),
        Fault::Ineffective => Error::new("provider", Kind::Disagrees, "it was accepted and cannot be found"),
        _ => Error::new("provider", Kind::Lost, "no answer"),
    }
}

fn leaving() -> Leaving {
    Leaving { by: "ticket 1".into(), status: "approved".into(), ends: None }
}

fn standing(model: &Model, host: &str) -> Standing {
    match model.given.get(host) {
        None => Standing::Rented,
        Some(given) if given.is_gone() => Standing::Gone(leaving()),
        Some(_) => Standing::Leaving(leaving()),
    }
}

impl Model {
    /// A host is given back. `way_back`: whether what its target takes may still be wanted on it.
    pub fn give_back(&mut self, host: &str, way_back: bool, now: Duration) -> Result<(), Violation> {
        let mut own = self.pairs.iter().filter(|pair| pair.source == host).peekable();
        let why = if own.peek().is_none() {
            Some("no pair moves from it")
        } else if self.given.contains_key(host) {
            Some("that has been asked for before")
        } else if own.any(|pair| self.reached(pair, now).0) {
            Some("users are on it")
        } else if way_back {
            Some("there is a way back to it")
        } else {
            None
        };
        self.given.insert(host.to_owned(), Given::default());
        why.map_or(Ok(()), |why| Err(Violation::GivenAway { host: host.to_owned(), why: why.to_owned() }))
    }

    /// Where they stand, for comparing ends.
    pub fn given_facts(&self) -> Vec<String> {
        let given = |g: &Given| if g.is_gone() { "gone" } else { "given back" };
        self.given.iter().map(|(host, g)| format!("{host}: {}", given(g))).collect()
    }

    /// A host that was given back, and to which users are sent all the same.
    pub fn sent_to_given(&self) -> Result<(), Violation> {
        for pair in self.pairs.iter().filter(|pair| self.given.contains_key(&pair.source) && !self.is_set_back(pair)) {
            if self.members(pair).any(|(source, _)| source.serves()) {
                let why = "users are sent to it".to_owned();
                return Err(Violation::GivenAway { host: pair.source.clone(), why });
            }
        }
        Ok(())
    }
}

impl Turn<'_> {
    /// Whether what the target of a host has taken may still be wanted back on it.
    fn has_way_back(&self, host: &str) -> bool {
        let Some(state) = &self.history.state else { return false };
        let open = |id: &str| state.state_of(id) != Some(StepState::Done);
        state.graph.steps.iter().any(|s| matches!(&s.kind, StepKind::Commit(c) if c.source == host) && open(&s.id))
    }

    /// Whether a host is about to be given back for the first time.
    fn is_to_cancel(&self, machine: &Machine) -> bool {
        let step = self.step.and_then(|at| self.scenario.graph.steps.get(at));
        let cancels =
            |step: &Step| matches!(&step.kind, StepKind::Decommission(back) if back.act == DecommissionAct::Cancel);
        let runs = self.step.zip(self.history.state.as_ref()).and_then(|(at, state)| state.at(at));
        step.is_some_and(|step| cancels(step))
            && runs.is_some_and(|record| record.state == StepState::Running)
            && !self.history.model.given.contains_key(&machine.host)
    }

    /// Whether the step waits until a host is gone.
    fn follows(&self) -> bool {
        let step = self.step.and_then(|at| self.scenario.graph.steps.get(at));
        let follows =
            |step: &Step| matches!(&step.kind, StepKind::Decommission(back) if back.act == DecommissionAct::Follow);
        step.is_some_and(|step| follows(step))
    }

    /// Somebody puts a host back into service.
    fn set_back(&mut self, host: &str) {
        let model = &self.history.model;
        let pools = model.pairs.iter().filter(|pair| pair.source == host).flat_map(|pair| &pair.memberships);
        let pools = pools.filter_map(|place| model.pools.get(place.pool));
        let pools: Vec<(String, String)> = pools.map(|pool| (pool.director.clone(), pool.name.clone())).collect();
        for (director, pool) in pools {
            self.history.set_back(self.scenario, &director, &pool);
        }
    }

    fn write(&mut self, what: &str, act: impl FnOnce(&mut Self)) -> Result<(), Error> {
        let fault = self.point(Call::GiveBack, what);
        match fault {
            None | Some(Fault::ReplyLost | Fault::KilledAfter) => act(self),
            Some(_) => {}
        }
        fault.map_or(Ok(()), |fault| Err(failed(fault)))
    }
}

#[async_trait]
impl Provider for SimProvider {
    async fn look(&self, machine: &Machine) -> Result<Standing, Error> {
        self.0
            .call(|turn| {
                match turn.point(Call::Rented { to_cancel: turn.is_to_cancel(machine) }, "asks the provider") {
                    fault @ (None | Some(Fault::ClockJump | Fault::SetBack)) => {
                        if fault == Some(Fault::SetBack) {
                            turn.set_back(&machine.host);
                        }
                        // Whoever waits for it is the first to see that it is gone.
                        let follows = turn.follows();
                        if let Some(given) = turn.history.model.given.get_mut(&machine.host).filter(|_| follows) {
                            given.looks = LOOKS.min(given.looks + 1);
                        }
                        Ok(standing(&turn.history.model, &machine.host))
                    }
                    Some(fault) => Err(failed(fault)),
                }
            })
            .await
    }

    /// Plans are made before a rehearsal.
    async fn survey(&self, machines: &[Machine]) -> Vec<Result<Prospect, Error>> {
        let none = || Prospect { standing: Standing::Rented, billed: String::new(), passing: None, against: None };
        machines.iter().map(|_| Ok(none())).collect()
    }

    async fn cancel(&self, machine: &Machine, _: &str) -> Result<Leaving, Error> {
        self.0
            .call(|turn| {
                turn.write("gives the host back", |turn| {
                    let way_back = turn.has_way_back(&machine.host);
                    let given = turn.history.model.give_back(&machine.host, way_back, turn.history.now);
                    turn.history.keep(given);
                })
            })
            .await
            .map(|()| leaving())
    }

    async fn void(&self, machine: &Machine) -> Result<(), Error> {
        self.0
            .call(|turn| {
                if standing(&turn.history.model, &machine.host) == Standing::Gone(leaving()) {
                    return Err(failed(Fault::Refused));
                }
                turn.write("takes the host again", |turn| {
                    turn.history.model.given.remove(&machine.host);
                })
            })
            .await
    }
}
