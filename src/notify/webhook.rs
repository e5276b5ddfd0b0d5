//! Any other receiver: a URL, headers, and a body that the plan writes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ChannelKind, Post, settings};
use crate::fields::kinds::Settings;
use crate::fields::secret;
use crate::fields::template::Use;
use crate::model::{Message, Occasion, Template};
use crate::secret::{Secret, SecretError, SecretRef, Secrets};
use crate::yaml::map::Map;
use crate::yaml::reader::Value;

const BODY: &str = r#"{"run": "{{ run }}", "plan": "{{ plan }}", "occasion": "{{ occasion }}", "step": "{{ step }}", "what": "{{ what }}", "next": "{{ next }}", "text": "{{ text }}"}"#;

/// A receiver of JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// Where it is.
    pub url: Place,
    /// What it is told.
    pub body: Template,
    /// Headers that it asks for.
    pub headers: BTreeMap<String, SecretRef>,
}

/// A URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// One that everybody may know.
    Open(String),
    /// One that lets in whoever knows it.
    Secret(SecretRef),
}

impl Settings for Webhook {
    const KEY: &'static str = "webhook";
    const BESIDE: &'static [&'static str] = &["body", "headers"];

    fn read(value: Value<'_>, map: &Map<'_>, _: &mut Vec<Use>) -> Option<Self> {
        let url = match value.is_map() {
            true => secret::read(value).map(Place::Secret),
            false => settings::url(value).map(Place::Open),
        };
        let body = map.get("body").map_or_else(|| Some(Template(BODY.to_owned())), body);
        let headers = map.get("headers").map_or_else(|| Some(BTreeMap::new()), headers);
        Some(Self { url: url?, body: body?, headers: headers? })
    }
}

/// JSON once its variables are filled in, whatever they hold.
fn body(value: Value<'_>) -> Option<Template> {
    let example = r#"body: '{"text": "{{ text }}"}'"#;
    let body = Template(value.text("JSON with variables", example)?.value);
    let hard = Message {
        run: "a \"b\" \\".to_owned(),
        plan: String::new(),
        occasion: Occasion::Hold,
        step: None,
        what: String::new(),
        next: None,
    };
    let problem = match body.render_with(&variables(&hard), json) {
        Err(why) => why.to_string(),
        Ok(text) => match serde_json::from_str::<serde_json::Value>(&text) {
            Ok(_) => return Some(body),
            Err(why) => format!("it is not JSON: {}", crate::text::escape(why.to_string().as_bytes(), 160)),
        },
    };
    let hint =
        "for example `'{\"text\": \"{{ text }}\"}'`; the variables are run, plan, occasion, step, what, next and text";
    value.error(format!("this body cannot be sent: {problem}"), hint);
    None
}

fn headers(value: Value<'_>) -> Option<BTreeMap<String, SecretRef>> {
    let mut read = BTreeMap::new();
    for (key, value) in value.entries("references to secrets by header", "headers: {Authorization: {env: TOKEN}}") {
        if reqwest::header::HeaderName::from_bytes(key.name().as_bytes()).is_err() {
            let shown = crate::text::escape(key.name().as_bytes(), 60);
            key.error(format!("`{shown}` cannot be the name of a header"), "for example `Authorization: {env: TOKEN}`");
            return None;
        }
        read.insert(key.name().to_owned(), secret::read(value)?);
    }
    Some(read)
}

/// A value as it stands between the quotes of JSON.
fn json(value: &str) -> String {
    let quoted = serde_json::Value::from(value).to_string();
    quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default().to_owned()
}

/// What the body may say.
fn variables(message: &Message) -> BTreeMap<String, String> {
    let pairs = [
        ("run", message.run.clone()),
        ("plan", message.plan.clone()),
        ("occasion", message.occasion.name().to_owned()),
        ("step", message.step.clone().unwrap_or_default()),
        ("what", message.what.clone()),
        ("next", message.next.clone().unwrap_or_default()),
        ("text", message.sentence()),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

impl ChannelKind for Webhook {
    fn post(&self, message: &Message, secrets: &dyn Secrets) -> Result<Post, SecretError> {
        let url = match &self.url {
            Place::Open(url) => Secret::new(url),
            Place::Secret(url) => secrets.resolve(url)?,
        };
        let headers = self.headers.iter().map(|(name, value)| Ok((name.clone(), secrets.resolve(value)?)));
        let headers = headers.collect::<Result<_, SecretError>>()?;
        let body = self
            .body
            .render_with(&variables(message), json)
            .map_err(|why| SecretError { from: "body".to_owned(), why: why.to_string() })?;
        Ok(Post { url, headers, body: Secret::new(body) })
    }
}
