//! What an operator may ask of a live run. Each order is in the journal before it is answered.

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::dispatch::Engine;
use super::ending::{Ending, EngineError, Stop};
use crate::event::{Event, Operator, Setting};
use crate::model::Notified;

/// One order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "order")]
pub enum Order {
    /// Begin nothing new.
    Pause {
        /// Why.
        why: String,
    },
    /// Go on.
    Resume,
    /// Stop at the next safe point, and hold.
    Abort {
        /// Why.
        why: String,
    },
    /// Say yes to a gate.
    Approve {
        /// Id of the gate's step.
        step: String,
        /// Why.
        why: String,
    },
    /// Change a setting.
    Set {
        /// Which and to what.
        setting: Setting,
    },
    /// Write down what became of a message; the controller itself gives this one.
    Note {
        /// What.
        notified: Notified,
    },
}

/// An order with its giver, and where the answer goes: `Err` says why it was refused.
pub struct OrderRequest {
    /// What.
    pub order: Order,
    /// Who.
    pub by: Operator,
    /// Answered once the order is in the journal.
    pub answer: oneshot::Sender<Result<(), String>>,
}

/// Where an engine takes orders from.
pub type Orders = mpsc::Receiver<OrderRequest>;

impl Engine {
    /// A paused run stays, so that it can be told to go on.
    pub(super) fn waits_for_orders(&self) -> bool {
        self.state.paused.is_some() && self.hold.is_none() && *self.stop.borrow() == Stop::No
    }

    /// An order becomes a record, or is refused with the reason.
    pub(super) fn take_order(&mut self, request: OrderRequest) -> Result<(), EngineError> {
        let OrderRequest { order, by, answer } = request;
        let recorded = match self.event_for(order, by) {
            Ok(event) => self.record(event).map(Ok)?,
            Err(why) => Err(why),
        };
        self.write()?;
        self.context.publish(&self.state);
        // Whoever asked may have gone away.
        let _ = answer.send(recorded);
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
            Order::Note { notified } => Ok(Event::Notified(notified)),
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
