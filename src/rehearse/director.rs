//! Simulated directors: each turns a fault into the error that a real one would give.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::fault::{Call, Fault};
use super::pool::PoolModel;
use super::simulation::{Caller, History, Turn};
use crate::model::{Capabilities, Change, Ended, Member, Pool};
use crate::outside::{Error, Kind};
use crate::traffic::Director;

/// A simulated director, as one step sees it.
pub(super) struct SimDirector {
    pub caller: Arc<Caller>,
    pub name: String,
    pub can: Capabilities,
}

impl SimDirector {
    fn refused(&self) -> Error {
        Error::new(self.name.as_str(), Kind::Refused, "the request is refused")
    }

    fn lost(&self) -> Error {
        Error::new(self.name.as_str(), Kind::Lost, "no answer")
    }

    fn disagrees(&self) -> Error {
        Error::new(self.name.as_str(), Kind::Disagrees, "it says yes and reads back as before")
    }

    fn observed(&self, history: &History, pool: &str) -> Result<Pool, Error> {
        let found = history.model.pool(&self.name, pool).and_then(|p| history.model.pools.get(p));
        found.map(|p| seen(p, self.can, history.now)).ok_or_else(|| self.refused())
    }

    async fn read<T: Send>(
        &self,
        call: Call,
        what: &str,
        pool: &str,
        answer: impl FnOnce(&History) -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        self.caller
            .call(|turn| {
                if !turn.answers(&self.name) {
                    return Err(self.lost());
                }
                match turn.point(call, what) {
                    None | Some(Fault::ClockJump) => answer(turn.history),
                    Some(Fault::SetBack) => {
                        turn.history.set_back(turn.scenario, &self.name, pool);
                        answer(turn.history)
                    }
                    Some(Fault::Refused) => Err(self.refused()),
                    Some(fault) => {
                        turn.lose(&self.name, fault);
                        Err(self.lost())
                    }
                }
            })
            .await
    }

    /// A write; `act` takes whether all or a part of it happens.
    async fn write(
        &self,
        call: impl Fn(&Turn<'_>, usize) -> Call + Send,
        what: &str,
        pool: &str,
        act: impl Fn(&mut Turn<'_>, usize, bool) + Send,
    ) -> Result<Pool, Error> {
        self.caller
            .call(|turn| {
                if !turn.answers(&self.name) {
                    return Err(self.lost());
                }
                let Some(index) = turn.history.model.pool(&self.name, pool) else { return Err(self.refused()) };
                let fault = turn.point(call(turn, index), what);
                match fault {
                    Some(Fault::Sick) => {
                        act(turn, index, true);
                        turn.history.model.break_targets(index);
                    }
                    None | Some(Fault::ReplyLost | Fault::KilledAfter) => act(turn, index, true),
                    Some(Fault::Half | Fault::KilledHalf) => act(turn, index, false),
                    Some(fault) => turn.lose(&self.name, fault),
                }
                match fault {
                    None | Some(Fault::Sick) => self.observed(turn.history, pool),
                    Some(Fault::Refused) => Err(self.refused()),
                    Some(Fault::Ineffective) => Err(self.disagrees()),
                    Some(_) => Err(self.lost()),
                }
            })
            .await
    }
}

fn seen(pool: &PoolModel, can: Capabilities, now: Duration) -> Pool {
    let listed = pool.members.iter().filter(|m| !pool.presence || m.weight > 0);
    let members = listed.map(|m| Member {
        name: m.name.clone(),
        weight: m.weight,
        mode: m.mode,
        connections: can.connections.then(|| u64::from(m.has_users(now))),
        sessions: can.connections.then_some(0),
        up: None,
    });
    Pool { name: pool.name.clone(), members: members.collect(), ttl: pool.ttl }
}

#[async_trait]
impl Director for SimDirector {
    fn capabilities(&self) -> Capabilities {
        self.can
    }

    async fn observe(&self, pool: &str) -> Result<Pool, Error> {
        self.read(Call::Pool, "reads the pool", pool, |history| self.observed(history, pool)).await
    }

    async fn apply(&self, pool: &str, changes: &[Change]) -> Result<Pool, Error> {
        let act = |turn: &mut Turn<'_>, index: usize, whole: bool| {
            let count = if whole { changes.len() } else { changes.len() / 2 };
            let set = turn.history.model.set_weights(index, changes, count, turn.history.now);
            turn.history.keep(set);
        };
        let call = |turn: &Turn<'_>, index: usize| Call::Weights {
            many: changes.len() > 1,
            load: turn.history.model.may_break(index),
        };
        self.write(call, "sets weights", pool, act).await
    }

    async fn set_ttl(&self, pool: &str, ttl: Duration) -> Result<Pool, Error> {
        let act = |turn: &mut Turn<'_>, index: usize, _: bool| {
            turn.history.model.set_ttl(index, ttl, turn.history.now);
        };
        self.write(|_, _| Call::Ttl, "sets the TTL", pool, act).await
    }

    async fn settled(&self, pool: &str) -> Result<Option<String>, Error> {
        let lagging = |history: &History| {
            let pool = history.model.pool(&self.name, pool).and_then(|p| history.model.pools.get(p));
            let old = pool.and_then(|p| p.members.iter().find(|m| !m.serves() && m.has_users(history.now)));
            Ok(old.map(|m| format!("a resolver still answers {}", m.name)))
        };
        self.read(Call::Look, "asks the resolvers", pool, lagging).await
    }

    async fn end_sessions(&self, pool: &str, member: &str, most: u64) -> Result<Ended, Error> {
        let act = |turn: &mut Turn<'_>, index: usize, _: bool| {
            if most > 0 {
                let let_go = turn.history.model.let_go(index, member, turn.history.now);
                turn.history.keep(let_go);
            }
        };
        let after = self.write(|_, _| Call::Sessions, "ends sessions", pool, act).await?;
        let left = after.member(member).and_then(|m| m.connections).unwrap_or(0);
        Ok(Ended { ended: most.min(1), left, clients: Vec::new() })
    }

    async fn writable(&self, pool: &str) -> Result<(), Error> {
        self.read(Call::Look, "asks whether it may write", pool, |_| Ok(())).await
    }
}
