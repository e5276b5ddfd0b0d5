//! People who have to say yes.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Answer, Clients, ConditionKind, Holds, Surroundings};
use crate::fields::kinds::Settings;
use crate::fields::template::Use;
use crate::text;
use crate::yaml::map::Map;
use crate::yaml::reader::Value;

/// So many different people approve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approvals {
    /// How many.
    pub needed: u8,
}

impl Settings for Approvals {
    const KEY: &'static str = "approve";

    fn read(value: Value<'_>, _: &Map<'_>, _: &mut Vec<Use>) -> Option<Self> {
        value.integer(1..=9).and_then(|n| u8::try_from(n).ok()).map(|needed| Self { needed })
    }
}

#[async_trait]
impl ConditionKind for Approvals {
    fn describe(&self) -> String {
        match self.needed {
            1 => "somebody approves".to_owned(),
            n => format!("{n} different people approve"),
        }
    }

    async fn ask(&self, around: &dyn Surroundings, _: &Clients) -> Answer {
        let given = around.approvals();
        if given.len() >= usize::from(self.needed) {
            return Answer::new(Holds::Yes, "approval", format!("approved by {}", text::list(&given)));
        }
        let saw = format!("{} of {}", given.len(), self.needed);
        Answer { help: Some(around.approve_with()), ..Answer::new(Holds::NotYet, "approval", saw) }
    }

    fn measures(&self) -> bool {
        false
    }
}
