//! Slack, and what takes its incoming webhooks (Mattermost, Rocket.Chat).

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{ChannelKind, Post};
use crate::fields::kinds::Settings;
use crate::fields::secret;
use crate::fields::template::Use;
use crate::model::Message;
use crate::secret::{SecretError, SecretRef, Secrets};
use crate::yaml::map::Map;
use crate::yaml::reader::Value;

/// An incoming webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slack {
    /// Its URL.
    pub url: SecretRef,
}

impl Settings for Slack {
    const KEY: &'static str = "slack";

    fn read(value: Value<'_>, _: &Map<'_>, _: &mut Vec<Use>) -> Option<Self> {
        secret::read(value).map(|url| Self { url })
    }
}

impl ChannelKind for Slack {
    fn post(&self, message: &Message, secrets: &dyn Secrets) -> Result<Post, SecretError> {
        let mut text = escaped(&message.sentence());
        if let Some(next) = &message.next {
            text += &format!("\n> {}", escaped(next));
        }
        Ok(Post::json(secrets.resolve(&self.url)?, &json!({ "text": text })))
    }
}

/// The three characters that mean something there: a message must not be able to call everybody of a channel.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
