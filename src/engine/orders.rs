//! What an operator may ask of a live run. Each order is in the journal before it is answered.

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::event::{Operator, Setting};

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
}

/// An order with its giver, and where the answer goes: `Err` says why it was not obeyed.
pub struct Given {
    /// What.
    pub order: Order,
    /// Who.
    pub by: Operator,
    /// Answered once the order is in the journal.
    pub answer: oneshot::Sender<Result<(), String>>,
}

/// Where an engine takes orders from.
pub type Orders = mpsc::Receiver<Given>;
