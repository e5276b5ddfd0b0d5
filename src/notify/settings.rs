//! Notifications as plans write them.

use std::time::Duration;

use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::Channel;
use crate::model::Occasion;
use crate::yaml::map::one_of;
use crate::yaml::reader::Value;

/// How long a receiver may be away.
const RETRY_FOR: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// Who is told of what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notify {
    /// Who.
    pub channel: Channel,
    /// Of what.
    pub on: Vec<Occasion>,
    /// How long a message is tried that nobody takes.
    pub retry_for: Duration,
}

/// Reads one entry of `notify`.
pub fn read(value: Value<'_>) -> Option<Notify> {
    value.map("notification", "slack: {env: SLACK_WEBHOOK}", |m| {
        let channel = Channel::read(m, &mut Vec::new());
        let on = m.get("on").map_or_else(|| Some(vec![Occasion::Hold, Occasion::Gate, Occasion::End]), occasions);
        let retry_for = m.get("retry_for").map_or(Some(RETRY_FOR), |v| v.duration(SECOND..=HOUR));
        Some(Notify { channel: channel?, on: on?, retry_for: retry_for? })
    })?
}

fn occasions(value: Value<'_>) -> Option<Vec<Occasion>> {
    let items = value.one_or_many();
    if items.is_empty() {
        value.error("`on` is an empty list: nobody is told anything", "leave it out, or leave out the whole entry");
        return None;
    }
    let read = items.iter().map(|v| one_of(*v, "what people are told of", "occasions", &Occasion::WORDS));
    read.map(|occasion| occasion.map(|located| located.value)).collect()
}

/// A URL that is no secret.
pub fn url(value: Value<'_>) -> Option<String> {
    let example = "\"https://alerts.example.com/migrate\"";
    let text = value.line("a URL", example)?.value;
    let problem = match Url::parse(&text) {
        Err(why) => format!("this is not a URL: {why}"),
        Ok(url) if !matches!(url.scheme(), "http" | "https") || !url.has_host() => {
            "this is not an HTTP or HTTPS URL".to_owned()
        }
        // Not shown: it holds a secret.
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            value.error(
                "a URL in a file must not hold a password",
                "refer to the whole URL: {env: NAME} or {file: PATH}",
            );
            return None;
        }
        Ok(url) => return Some(url.as_str().to_owned()),
    };
    value.error(problem, format!("for example {example}"));
    None
}
