//! What the steps under way have said last, for those who ask.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Event, Notice};
use crate::model::{LettingGo, Paced};
use crate::text;

/// The last words of each step under way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastWords {
    /// In one line for people.
    pub says: BTreeMap<String, String>,
    /// How far connections are moved away.
    #[serde(default)]
    pub connections: BTreeMap<String, LettingGo>,
    /// How fast copies that are governed may go.
    #[serde(default)]
    pub paces: BTreeMap<String, Paced>,
}

impl LastWords {
    /// Takes in what happens.
    pub fn take_in(&mut self, notice: &Notice) {
        match notice {
            Notice::Waiting { step, what } => drop(self.says.insert(step.clone(), what.clone())),
            Notice::Copying { step, progress } => {
                let done = text::bytes(progress.bytes_done);
                let says = match (progress.bytes_total, progress.bytes_done) {
                    (0, 0) => format!("{} looked at", text::entries(progress.files_scanned)),
                    (0, _) => format!("{done} so far"),
                    (total, _) => format!("{done} of {} are done", text::bytes(total)),
                };
                self.says.insert(step.clone(), says);
            }
            Notice::LettingGo { step, progress } => {
                self.says.insert(step.clone(), progress.to_string());
                self.connections.insert(step.clone(), progress.clone());
            }
            Notice::Paced { step, pace } => drop(self.paces.insert(step.clone(), pace.clone())),
            Notice::Warning { .. } => {}
            Notice::Recorded(record) => {
                if let Event::Outcome { step, .. } = &record.event {
                    self.says.remove(step);
                    self.connections.remove(step);
                    self.paces.remove(step);
                }
            }
        }
    }
}
