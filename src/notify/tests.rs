//! Receivers of every kind: how they are read, and what they are sent.

use std::cell::Cell;

use super::*;
use crate::model::Occasion;
use crate::secret::SecretRef;
use crate::yaml::diagnostic::Sink;
use crate::yaml::node;
use crate::yaml::reader::{Cx, Value};
use crate::yaml::source::Source;

/// Every secret is its own name.
struct Names;

impl Secrets for Names {
    fn resolve(&self, reference: &SecretRef) -> Result<Secret, SecretError> {
        match reference {
            SecretRef::Env(name) => Ok(Secret::new(name)),
            _ => Err(SecretError { from: "file".to_owned(), why: "it is not there".to_owned() }),
        }
    }
}

fn notify(yaml: &str) -> (Option<Notify>, Vec<String>) {
    let source = Source::from_text("plan.yaml", 0, yaml.to_owned());
    let sink = Sink::default();
    let parsed = node::parse(&source, &sink);
    let cx = Cx { source: &source, sink: &sink, home: None, dir: None, names_left: Cell::new(9) };
    let found = parsed.and_then(|node| read(Value::root(&cx, &node)));
    (found, sink.into_diagnostics().iter().map(|d| d.message.clone()).collect())
}

fn message(occasion: Occasion) -> Message {
    Message {
        run: "web-1".into(),
        plan: "web".into(),
        occasion,
        step: Some("web/a/check".into()),
        what: "no \"answer\" from <!channel> & [x](y)".into(),
        next: Some("migrate apply".into()),
    }
}

fn sent(yaml: &str, occasion: Occasion) -> (String, String) {
    let (notify, problems) = notify(yaml);
    let notify = notify.unwrap_or_else(|| panic!("{problems:?}"));
    let post = notify.channel.kind().post(&message(occasion), &Names).unwrap();
    (post.url.reveal().to_owned(), post.body.reveal().to_owned())
}

#[test]
fn every_kind_has_its_shape() {
    let shapes = ["slack: {env: URL}", "teams: {env: URL}", "pagerduty: {env: KEY}", "webhook: {env: URL}"];
    let all: Vec<String> = shapes
        .iter()
        .map(|yaml| {
            let (url, body) = sent(yaml, Occasion::Hold);
            format!("{url} {body}")
        })
        .collect();
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn nobody_of_a_channel_is_called_by_what_a_message_quotes() {
    let (_, body) = sent("slack: {env: URL}", Occasion::Hold);
    assert!(!body.contains("<!channel>") && body.contains("&lt;!channel&gt; &amp; [x]"), "{body}");
}

#[test]
fn the_end_of_a_run_ends_its_alert() {
    let (url, body) = sent("pagerduty: {env: KEY}", Occasion::End);
    assert_eq!(url, "https://events.pagerduty.com/v2/enqueue");
    assert!(body.contains("\"resolve\"") && body.contains("\"migrate/web-1\"") && !body.contains("payload"), "{body}");
}

#[test]
fn a_body_of_ones_own_is_json_whatever_is_put_in() {
    let (_, body) = sent("{webhook: \"http://a.example/x\", body: '{\"t\": [\"{{ text }}\"]}'}", Occasion::Hold);
    let json: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert!(json["t"][0].as_str().unwrap().contains("no \"answer\" from"), "{body}");
    for (body, why) in [
        ("'{\"t\": {{ text }}}'", "this body cannot be sent: it is not JSON"),
        ("'{\"t\": \"{{ nobody }}\"}'", "there is no variable `nobody`"),
    ] {
        let (none, problems) = notify(&format!("{{webhook: \"http://a.example/x\", body: {body}}}"));
        assert!(none.is_none() && problems.len() == 1 && problems[0].contains(why), "{problems:?}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused_and_no_secret_is_shown() {
    for (yaml, why) in [
        ("slack: https://hooks.slack.com/services/T0/B0/xyz", "takes a reference to a secret, not the secret itself"),
        ("{slack: {env: URL}, on: []}", "`on` is an empty list"),
        ("{slack: {env: URL}, on: [hold, lunch]}", "lunch"),
        ("{slack: {env: URL}, teams: {env: URL}}", "has two kinds"),
        ("{pagerduty: {env: KEY}, url: \"ftp://x\"}", "not an HTTP or HTTPS URL"),
        ("{webhook: \"http://me:xyz@a.example\"}", "must not hold a password"),
        ("{webhook: {env: URL}, headers: {\"a b\": {env: X}}}", "cannot be the name of a header"),
        ("{slack: {env: URL}, retry_for: 2h}", "from 1s to 1h"),
    ] {
        let (none, problems) = notify(yaml);
        assert!(none.is_none() && problems.iter().any(|p| p.contains(why)), "{yaml}: {problems:?}");
        assert!(!problems.iter().any(|p| p.contains("xyz")), "{problems:?}");
    }
}
