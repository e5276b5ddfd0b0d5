//! Obeying operators: an order becomes a record, or is refused with the reason.

use super::dispatch::{Ending, Engine, EngineError, Stop};
use super::orders::{Given, Order};
use crate::event::{Event, Operator};
use crate::planner::graph::StepKind;

impl Engine {
    /// A paused run stays, so that it can be told to go on.
    pub(super) fn waits_for_orders(&self) -> bool {
        self.state.paused.is_some() && self.hold.is_none() && *self.stop.borrow() == Stop::No
    }

    pub(super) fn obey(&mut self, given: Given) -> Result<(), EngineError> {
        let Given { order, by, answer } = given;
        let obeyed = match self.event_for(order, by) {
            Ok(Some(event)) => self.record(event).map(Ok)?,
            Ok(None) => Ok(()),
            Err(why) => Err(why),
        };
        self.context.publish(&self.state);
        // Whoever asked may have gone away.
        let _ = answer.send(obeyed);
        Ok(())
    }

    fn event_for(&mut self, order: Order, by: Operator) -> Result<Option<Event>, String> {
        match order {
            Order::Pause { .. } if self.state.paused.is_some() => Err("the run is paused already".into()),
            Order::Pause { why } => Ok(Some(Event::Paused { by, why })),
            Order::Resume if self.state.paused.is_none() => Err("the run is not paused".into()),
            Order::Resume => Ok(Some(Event::Unpaused { by })),
            Order::Approve { step, why } => {
                self.check_approval(&step, &by).map(|()| Some(Event::Approved { step, by, why }))
            }
            Order::Set { setting } => Ok(Some(Event::Tuned { setting, by })),
            Order::Abort { why } => {
                let why = format!("{}@{} aborted it: {why}", by.user, by.host);
                let hint = Some("`migrate apply` goes on, `migrate rollback` goes back".to_owned());
                self.hold.get_or_insert(Ending::Held { step: None, why, hint, stuck: false });
                self.context.interrupt();
                Ok(None)
            }
        }
    }

    fn check_approval(&self, step: &str, by: &Operator) -> Result<(), String> {
        match self.steps.get(step).map(|s| &s.kind) {
            Some(StepKind::Gate(_)) => {}
            Some(_) => return Err(format!("{step} is not a gate")),
            None => return Err(format!("there is no step {step}")),
        }
        let given = self.state.approvals.get(step).into_iter().flatten();
        match given.into_iter().any(|a| a.by.user == by.user) {
            true => Err(format!("{} has approved {step} already", by.user)),
            false => Ok(()),
        }
    }
}
