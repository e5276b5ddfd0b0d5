//! Microsoft Teams: a webhook of its workflows, which takes adaptive cards.

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

/// A webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Teams {
    /// Its URL.
    pub url: SecretRef,
}

impl Settings for Teams {
    const KEY: &'static str = "teams";

    fn read(value: Value<'_>, _: &Map<'_>, _: &mut Vec<Use>) -> Option<Self> {
        secret::read(value).map(|url| Self { url })
    }
}

impl ChannelKind for Teams {
    fn post(&self, message: &Message, secrets: &dyn Secrets) -> Result<Post, SecretError> {
        let block = |text: &str, weight: &str| json!({ "type": "TextBlock", "text": plain(text), "wrap": true, "weight": weight });
        let mut body = vec![block(&message.sentence(), "bolder")];
        body.extend(message.next.as_deref().map(|next| block(next, "default")));
        let card = json!({
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard",
            "version": "1.4",
            "body": body,
        });
        let attachment = json!({ "contentType": "application/vnd.microsoft.card.adaptive", "content": card });
        let said = json!({ "type": "message", "attachments": [attachment] });
        Ok(Post::json(secrets.resolve(&self.url)?, &said))
    }
}

/// Cards read Markdown: what is meant as it is must not become a link.
fn plain(text: &str) -> String {
    text.replace('[', "\\[").replace('*', "\\*").replace('_', "\\_")
}
