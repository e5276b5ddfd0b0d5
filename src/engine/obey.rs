//! Obeying operators: an order becomes a record, or is refused with the reason.

use super::dispatch::Engine;
use super::ending::{Ending, EngineError, Stop};
use super::orders::{Given, Order};
use crate::event::{Event, Operator};

impl Engine {
    /// A paused run stays, so that it can be told to go on.
    pub(super) fn waits_for_orders(&self) -> bool {
        self.state.paused.is_some() && self.hold.is_none() && *self.stop.borrow() == Stop::No
    }

    pub(super) fn obey(&mut self, given: Given) -> Result<(), EngineError> {
        let Given { order, by, answer } = given;
        let obeyed = match self.event_for(order, by) {
            Ok(event) => self.record(event).map(Ok)?,
            Err(why) => Err(why),
        };
        self.context.publish(&self.state);
        // Whoever asked may have gone away.
        let _ = answer.send(obeyed);
        Ok(())
    }

    fn event_for(&mut self, order: Order, by: Operator) -> Result<Event, String> {
        match order {
            Order::Pause { .. } if self.state.paused.is_some() => Err("the run is paused already".into()),
            Order::Pause { why } => Ok(Event::Paused { by, why }),
            Order::Resume if self.state.paused.is_none() => Err("the run is not paused".into()),
            Order::Resume => Ok(Event::Unpaused { by }),
            Order::Approve { step, why } => {
                self.state.check_approval(&step, &by).map(|()| Event::Approved { step, by, why })
            }
            Order::Set { setting } => Ok(Event::Tuned { setting, by }),
            Order::Abort { why } => {
                let (said, hint) = aborted(&by, &why);
                self.hold.get_or_insert(Ending::Held { step: None, why: said, hint: Some(hint), stuck: false });
                self.context.interrupt();
                Ok(Event::Aborted { by, why })
            }
        }
    }
}

/// What an abort holds a run for, and what to do then.
pub(crate) fn aborted(by: &Operator, why: &str) -> (String, String) {
    let said = format!("{}@{} aborted it: {why}", by.user, by.host);
    (said, "`migrate apply` goes on, `migrate rollback` goes back".to_owned())
}
