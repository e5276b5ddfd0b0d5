//! A time that must have come.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Answer, Clients, ConditionKind, Holds, Surroundings};
use crate::fields::kinds::Settings;
use crate::fields::template::Use;
use crate::text;
use crate::yaml::map::Map;
use crate::yaml::reader::Value;

/// It is this time, or later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotBefore(pub Timestamp);

impl Settings for NotBefore {
    const KEY: &'static str = "not_before";

    fn read(value: Value<'_>, _: &Map<'_>, _: &mut Vec<Use>) -> Option<Self> {
        let text = value.line("a time", "not_before: 2026-12-01T02:00:00Z")?;
        match text.value.parse() {
            Ok(time) => Some(Self(time)),
            Err(_) => {
                let shown = text::escape(text.value.as_bytes(), 60);
                value.error(
                    format!("`{shown}` is not a time with an offset"),
                    "for example `2026-12-01T02:00:00Z` or `2026-12-01T03:00:00+01:00`",
                );
                None
            }
        }
    }
}

#[async_trait]
impl ConditionKind for NotBefore {
    fn describe(&self) -> String {
        format!("it is {}", self.0)
    }

    async fn ask(&self, around: &dyn Surroundings, _: &Clients) -> Answer {
        let (now, wants) = (around.now(), self.0.to_string());
        match now < self.0 {
            true => Answer::new(Holds::NotYet, wants, ""),
            false => Answer::new(Holds::Yes, wants, format!("it was {now:.0}")),
        }
    }

    fn measures(&self) -> bool {
        false
    }
}
