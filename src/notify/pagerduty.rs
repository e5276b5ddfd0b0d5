//! PagerDuty, by its Events API v2. A run is one alert: the end of the run resolves it.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{ChannelKind, Post, settings};
use crate::fields::kinds::Settings;
use crate::fields::secret;
use crate::fields::template::Use;
use crate::model::{Message, Occasion};
use crate::secret::{Secret, SecretError, SecretRef, Secrets};
use crate::yaml::map::Map;
use crate::yaml::reader::Value;

const URL: &str = "https://events.pagerduty.com/v2/enqueue";
/// The longest summary that it takes, in characters.
const SUMMARY: usize = 1024;

/// An integration of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PagerDuty {
    /// Its routing key.
    pub key: SecretRef,
    /// Where events go.
    pub url: String,
}

impl Settings for PagerDuty {
    const KEY: &'static str = "pagerduty";
    const BESIDE: &'static [&'static str] = &["url"];

    fn read(value: Value<'_>, map: &Map<'_>, _: &mut Vec<Use>) -> Option<Self> {
        let url = map.get("url").map_or_else(|| Some(URL.to_owned()), settings::url);
        Some(Self { key: secret::read(value)?, url: url? })
    }
}

impl ChannelKind for PagerDuty {
    fn post(&self, message: &Message, secrets: &dyn Secrets) -> Result<Post, SecretError> {
        let key = secrets.resolve(&self.key)?;
        let (key, run) = (key.reveal(), format!("migrate/{}", message.run));
        let severity = match message.occasion {
            Occasion::Hold => "critical",
            Occasion::Failure => "error",
            Occasion::Gate => "warning",
            Occasion::End => {
                let event = json!({ "routing_key": key, "dedup_key": run, "event_action": "resolve" });
                return Ok(Post::json(Secret::new(&self.url), &event));
            }
        };
        let payload = json!({
            "summary": message.sentence().chars().take(SUMMARY).collect::<String>(),
            "source": message.plan,
            "severity": severity,
            "component": message.step,
            "custom_details": { "run": message.run, "next": message.next },
        });
        let event = json!({ "routing_key": key, "dedup_key": run, "event_action": "trigger", "payload": payload });
        Ok(Post::json(Secret::new(&self.url), &event))
    }
}
