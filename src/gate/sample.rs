//! A condition for tests alone. It stands for those that measure something outside.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Answer, Clients, ConditionKind, Holds, Surroundings};
use crate::fields::kinds::Settings;
use crate::fields::template::Use;
use crate::yaml::map::Map;
use crate::yaml::reader::Value;

/// A number that must be below a limit; it is the minute of the hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quiet {
    /// The limit.
    pub below: u64,
}

impl Settings for Quiet {
    const KEY: &'static str = "test_quiet";

    fn read(value: Value<'_>, _: &Map<'_>, _: &mut Vec<Use>) -> Option<Self> {
        value.integer(0..=60).map(|below| Self { below })
    }
}

#[async_trait]
impl ConditionKind for Quiet {
    fn describe(&self) -> String {
        format!("it is quieter than {}", self.below)
    }

    async fn ask(&self, around: &dyn Surroundings, _: &Clients) -> Answer {
        let noise = around.now().as_second() / 60 % 60;
        let wants = format!("less noise than {}", self.below);
        match u64::try_from(noise) {
            Ok(noise) if noise < self.below => Answer::new(Holds::Yes, wants, format!("the noise was {noise}")),
            Ok(noise) if self.below > 0 => Answer::new(Holds::NotYet, wants, noise.to_string()),
            Ok(noise) => Answer::new(Holds::No, wants, format!("{noise}, and there always is some")),
            Err(_) => Answer::new(Holds::Unknown, wants, "there is no number"),
        }
    }
}
