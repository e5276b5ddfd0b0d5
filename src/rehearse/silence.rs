//! The simulated Alertmanager: what is silenced must be heard again in the end.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::fault::{Call, Fault};
use super::simulation::{Caller, Turn};
use crate::alerts::{Owner, Silences, Wanted};
use crate::metrics::Server;
use crate::outside::{Error, Kind};
use crate::step::StepKind;

/// All Alertmanagers of a plan are one.
pub(super) struct SimSilences(pub Arc<Caller>);

fn failed(fault: Fault) -> Error {
    match fault {
        Fault::Refused => Error::new("Alertmanager", Kind::Refused, "the request is refused"),
        Fault::Ineffective => Error::new("Alertmanager", Kind::Disagrees, "it was accepted and cannot be found"),
        _ => Error::new("Alertmanager", Kind::Lost, "no answer"),
    }
}

impl Turn<'_> {
    /// Whether a run must not go on without it. Where it may, what stays ends by itself.
    fn must_silence(&self) -> bool {
        let step = self.step.and_then(|at| self.scenario.graph.steps.get(at));
        step.is_some_and(|step| matches!(&step.kind, StepKind::Silence(silence) if silence.must))
    }

    fn silence(&mut self, owner: &Owner, makes: bool) -> Result<(), Error> {
        let what = if makes { "silences alerts" } else { "lets alerts be heard" };
        let fault = self.point(Call::Silence, what);
        let took = matches!(fault, None | Some(Fault::ReplyLost | Fault::KilledAfter));
        if took && self.must_silence() {
            let silenced = &mut self.history.model.silenced;
            let _ = if makes { silenced.insert(owner.pair.clone()) } else { silenced.remove(&owner.pair) };
        }
        fault.map_or(Ok(()), |fault| Err(failed(fault)))
    }
}

#[async_trait]
impl Silences for SimSilences {
    async fn make(&self, _: &Server, owner: &Owner, _: &[Wanted], _: Duration) -> Result<String, Error> {
        self.0.call(|turn| turn.silence(owner, true)).await.map(|()| "silenced".to_owned())
    }

    async fn lift(&self, _: &Server, owner: &Owner) -> Result<u64, Error> {
        self.0.call(|turn| turn.silence(owner, false)).await.map(|()| 1)
    }

    /// Plans are made before a rehearsal.
    async fn look(&self, _: &Server) -> Result<String, Error> {
        Ok("simulated".to_owned())
    }
}
