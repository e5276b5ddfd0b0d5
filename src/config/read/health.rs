//! What must hold on a target.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{HealthCheck, HttpProbe, Probe};
use crate::text::units;
use crate::yaml::diagnostic::Diagnostic;
use crate::yaml::map::Map;
use crate::yaml::reader::Value;

use crate::fields::template::{self, Role, Sides, Use};

/// The kinds there are.
pub const KINDS: [&str; 3] = ["http", "tcp", "exec"];
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const MILLISECOND: Duration = Duration::from_millis(1);

/// A check and the template it asks with.
#[derive(Debug, Clone)]
pub struct HealthDraft {
    pub check: HealthCheck,
    pub template: Use,
}

/// Reads one entry of `health`.
pub fn read(value: Value<'_>) -> Option<HealthDraft> {
    value.map("health check", "http: \"http://{{ address }}/health\"", |m| {
        let kind = m.kind(&KINDS);
        // Without a kind every key may be meant.
        let is_http = kind.is_none_or(|k| k.name() == "http");
        let http = is_http.then(|| http_settings(m));
        let probe = kind.and_then(|k| probe(k, http));
        let check = timing(m);
        check_timing(m, &check);
        let (probe, template) = probe?;
        Some(HealthDraft { check: HealthCheck { probe, ..check }, template })
    })?
}

fn probe(kind: Value<'_>, http: Option<HttpProbe>) -> Option<(Probe, Use)> {
    let template = match kind.name() {
        "http" => template::read(kind, Role::Url, Sides::Both, "a URL", "http: \"http://{{ address }}:8080/health\""),
        "tcp" => template::read(kind, Role::HostPort, Sides::Both, "a host and a port", "tcp: \"{{ address }}:8080\""),
        _ => template::read(kind, Role::Command, Sides::Both, "a command", "exec: systemctl is-active web"),
    }?;
    let text = template.template.value.clone();
    let probe = match (kind.name(), http) {
        ("http", Some(http)) => Probe::Http(HttpProbe { url: text, ..http }),
        ("tcp", _) => Probe::Tcp(text),
        _ => Probe::Exec(text),
    };
    Some((probe, template))
}

fn http_settings(m: &Map<'_>) -> HttpProbe {
    let status = |v: Value<'_>| {
        v.one_or_many().iter().filter_map(|v| v.integer(100..=599)).filter_map(|n| u16::try_from(n).ok()).collect()
    };
    HttpProbe {
        url: crate::model::Template(String::new()),
        status: m.get("status").map(status).filter(|s: &Vec<u16>| !s.is_empty()).unwrap_or_else(|| vec![200]),
        body: m.get("body").and_then(|v| v.text("text", "body: ok")).map(|t| t.value),
        headers: m.get("headers").map(headers).unwrap_or_default(),
        latency: m.get("latency").and_then(|v| v.duration(MILLISECOND..=HOUR)),
    }
}

fn headers(value: Value<'_>) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for (key, value) in value.entries("headers by name", "headers: {X-Ready: \"yes\"}") {
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if key.name().is_empty() || !key.name().chars().all(token) {
            let shown = crate::text::escape(key.name().as_bytes(), 60);
            key.error(format!("`{shown}` cannot be the name of a header"), "for example `Content-Type: text/plain`");
        } else if let Some(text) = value.line("the value of a header", "Content-Type: text/plain") {
            out.insert(key.name().to_owned(), text.value);
        }
    }
    out
}

fn timing(m: &Map<'_>) -> HealthCheck {
    let times = |key| m.get(key).and_then(|v| v.integer(1..=1000)).and_then(|n| u32::try_from(n).ok());
    let span = |key, low| m.get(key).and_then(|v| v.duration(low..=HOUR));
    HealthCheck {
        probe: Probe::Tcp(crate::model::Template(String::new())),
        rise: times("rise").unwrap_or(3),
        fall: times("fall").unwrap_or(2),
        interval: span("interval", MILLISECOND).unwrap_or(2 * SECOND),
        timeout: span("timeout", MILLISECOND).unwrap_or(5 * SECOND),
        within: span("within", MILLISECOND).unwrap_or(60 * SECOND),
    }
}

/// A check that can never pass is a plan that can never end.
fn check_timing(m: &Map<'_>, check: &HealthCheck) {
    let needed = check.interval.saturating_mul(check.rise.saturating_sub(1));
    if needed > check.within {
        let (rise, interval) = (check.rise, units::show(check.interval));
        let message = format!(
            "this check can never pass: {rise} passes {interval} apart take longer than `within` ({})",
            units::show(check.within)
        );
        m.report(
            Diagnostic::error(m.at(), message)
                .hint(format!("give `within` more than {}, or lower `rise`", units::show(needed))),
        );
    }
}
