//! HTTP and HTTPS probes: one GET on a connection of its own, judged by status, headers, body and time.
//!
//! Redirects are never followed: a check that expects one lists its status.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use reqwest::{Response, Url, redirect};
use serde::{Deserialize, Serialize};

use super::net::{blames_the_service, resolve};
use super::read::{HOUR, MILLISECOND};
use super::{Clients, ProbeKind, Subject, Verdict, quote};
use crate::fields::kinds::Settings;
use crate::fields::template::{self, Role, Sides, Unfit, Use};
use crate::model::Template;
use crate::text;
use crate::yaml::map::Map;
use crate::yaml::reader::Value;

/// How much of a body is looked at.
const BODY_LIMIT: usize = 64 * 1024;

/// A GET from the controller, and what its answer must look like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Http {
    /// The URL.
    pub url: Template,
    /// Accepted status codes; 200 unless given.
    pub status: Vec<u16>,
    /// Text the body must hold (its first 64 KiB are looked at).
    pub body: Option<String>,
    /// Headers the answer must have, with these values.
    pub headers: BTreeMap<String, String>,
    /// Longest accepted time to the full answer.
    pub latency: Option<Duration>,
}

impl Settings for Http {
    const KEY: &'static str = "http";
    const BESIDE: &'static [&'static str] = &["status", "body", "headers", "latency"];

    fn read(value: Value<'_>, map: &Map<'_>, uses: &mut Vec<Use>) -> Option<Self> {
        let example = "http: \"http://{{ address }}:8080/health\"";
        let used = template::read(value, Role::Own(is_url), Sides::Both, "a URL", example);
        let codes = |v: Value<'_>| {
            v.one_or_many().iter().filter_map(|v| v.integer(100..=599)).filter_map(|n| u16::try_from(n).ok()).collect()
        };
        let status = map.get("status").map(codes).filter(|s: &Vec<u16>| !s.is_empty()).unwrap_or_else(|| vec![200]);
        let body = map.get("body").and_then(|v| v.text("text", "body: ok")).map(|t| t.value);
        let headers = map.get("headers").map(read_headers).unwrap_or_default();
        let latency = map.get("latency").and_then(|v| v.duration(MILLISECOND..=HOUR));
        let used = used?;
        let url = used.template.value.clone();
        uses.push(used);
        Some(Self { url, status, body, headers, latency })
    }
}

fn read_headers(value: Value<'_>) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for (key, value) in value.entries("headers by name", "headers: {X-Ready: \"yes\"}") {
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if key.name().is_empty() || !key.name().chars().all(token) {
            let shown = text::escape(key.name().as_bytes(), 60);
            key.error(format!("`{shown}` cannot be the name of a header"), "for example `Content-Type: text/plain`");
        } else if let Some(text) = value.line("the value of a header", "Content-Type: text/plain") {
            out.insert(key.name().to_owned(), text.value);
        }
    }
    out
}

fn is_url(text: &str) -> Result<(), Unfit> {
    let unfit = |why: String| Err(Unfit::new(why, "for example http://{{ address }}:8080/health"));
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(why) => return unfit(format!("is not a URL: {why}")),
    };
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(()),
        other => unfit(format!("is not an HTTP or HTTPS URL but `{}`", text::escape(other.as_bytes(), 20))),
    }
}

#[async_trait]
impl ProbeKind for Http {
    async fn probe(&self, subject: &Subject<'_>, timeout: Duration, clients: &Clients) -> Verdict {
        clients.http.probe(self, subject, timeout).await
    }
}

/// The clients, made at first use. Plain HTTP has its own so that it works on a machine without any CA certificates.
#[derive(Default)]
pub struct Client {
    plain: OnceLock<Result<reqwest::Client, String>>,
    tls: OnceLock<Result<reqwest::Client, String>>,
}

impl Client {
    async fn probe(&self, probe: &Http, subject: &Subject<'_>, timeout: Duration) -> Verdict {
        let start = Instant::now();
        let url = match parse_url(probe, subject) {
            Ok(url) => url,
            Err(why) => return Verdict::unknown(format!("GET {} → {}", quote(&probe.url.0), quote(why))),
        };
        let asked = format!("GET {}", shown(&url));
        let client = match self.client(&url) {
            Ok(client) => client,
            Err(why) => return Verdict::unknown(format!("{asked} → cannot ask over TLS: {}", quote(why))),
        };
        let name = format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or(80));
        if let Err(unknown) = resolve(&asked, &name, timeout).await {
            return unknown;
        }
        let left = timeout.saturating_sub(start.elapsed());
        match tokio::time::timeout(left, ask(client, url, probe, &asked)).await {
            Ok(verdict) => verdict,
            Err(_) => Verdict::fail(format!("{asked} → no full answer in {}", text::duration(timeout))),
        }
    }

    fn client(&self, url: &Url) -> Result<&reqwest::Client, &String> {
        match url.scheme() {
            "https" => self.tls.get_or_init(|| build(builder())),
            _ => self.plain.get_or_init(|| build(builder().tls_certs_only([]))),
        }
        .as_ref()
    }
}

/// No proxy of this machine and no pooled connection may stand between the question and the answer: a check proves that the
/// service takes new connections.
fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("migrate/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .pool_max_idle_per_host(0)
        .no_proxy()
}

fn build(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, String> {
    builder.build().map_err(|error| reason(&error))
}

fn parse_url(probe: &Http, subject: &Subject<'_>) -> Result<Url, String> {
    let url = probe.url.render_plain(&subject.vars()).map_err(|error| error.to_string())?;
    let url = Url::parse(&url).map_err(|error| format!("not a URL: {error}"))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        other => Err(format!("cannot ask `{other}:`, only http: and https:")),
    }
}

/// The URL without its password, for evidence.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    if url.password().is_some() {
        let _ = url.set_password(Some("…"));
    }
    quote(url.as_str())
}

async fn ask(client: &reqwest::Client, url: Url, probe: &Http, asked: &str) -> Verdict {
    let start = Instant::now();
    let mut response = match client.get(url).send().await {
        Ok(response) => response,
        Err(error) => return broken(asked, &error),
    };
    let body = match read(&mut response, probe.latency.is_some()).await {
        Ok(body) => body,
        Err(error) => return broken(&format!("{asked} → {}, then", response.status().as_u16()), &error),
    };
    let took = start.elapsed();
    let evidence = format!("{asked} → {} in {}", response.status().as_u16(), text::duration(took));
    match complaint(probe, &response, &body, took) {
        None => Verdict::pass(evidence),
        Some(complaint) => Verdict::fail(format!("{evidence}, {complaint}")),
    }
}

/// The start of the body. With `whole` the answer is read to its end, so that its time can be told.
async fn read(response: &mut Response, whole: bool) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = BODY_LIMIT.saturating_sub(body.len());
        body.extend(chunk.iter().take(room));
        if body.len() == BODY_LIMIT && !whole {
            break;
        }
    }
    Ok(body)
}

fn complaint(probe: &Http, response: &Response, body: &[u8], took: Duration) -> Option<String> {
    status_complaint(&probe.status, response.status().as_u16())
        .or_else(|| header_complaint(&probe.headers, response.headers()))
        .or_else(|| body_complaint(probe.body.as_deref()?, body))
        .or_else(|| latency_complaint(probe.latency?, took))
}

fn status_complaint(wanted: &[u16], got: u16) -> Option<String> {
    let fine = if wanted.is_empty() { got == 200 } else { wanted.contains(&got) };
    let wanted: Vec<String> = wanted.iter().map(u16::to_string).collect();
    (!fine).then(|| format!("wanted {}", if wanted.is_empty() { "200".to_owned() } else { wanted.join(" or ") }))
}

fn header_complaint(wanted: &BTreeMap<String, String>, got: &reqwest::header::HeaderMap) -> Option<String> {
    let (name, value) = wanted
        .iter()
        .find(|(name, value)| !got.get_all(name.as_str()).iter().any(|v| v.as_bytes() == value.as_bytes()))?;
    let is = match got.get(name.as_str()) {
        Some(other) => format!("is `{}`", quote(other.as_bytes())),
        None => "is missing".to_owned(),
    };
    Some(format!("but the header {} {is}, wanted `{}`", quote(name), quote(value)))
}

fn body_complaint(wanted: &str, body: &[u8]) -> Option<String> {
    let fine = wanted.is_empty() || body.windows(wanted.len()).any(|window| window == wanted.as_bytes());
    (!fine).then(|| format!("but the body does not hold `{}`; it starts with `{}`", quote(wanted), quote(body)))
}

fn latency_complaint(limit: Duration, took: Duration) -> Option<String> {
    (took > limit).then(|| format!("slower than {}", text::duration(limit)))
}

/// An answer that did not come, or not whole. Only what the way to the service is to blame for is unknown.
fn broken(asked: &str, error: &reqwest::Error) -> Verdict {
    let evidence = format!("{asked} → {}", quote(reason(error)));
    let on_the_way = error.is_builder() || error.is_connect() && io_kind(error).is_none_or(|k| !blames_the_service(k));
    if on_the_way { Verdict::unknown(evidence) } else { Verdict::fail(evidence) }
}

/// The kind of the innermost I/O error; layers wrap one in another, and an `io::Error` does not name what it wraps as its source.
fn io_kind(error: &reqwest::Error) -> Option<std::io::ErrorKind> {
    let mut next = error.source();
    let mut kind = None;
    while let Some(error) = next {
        let io = error.downcast_ref::<std::io::Error>();
        kind = io.map(std::io::Error::kind).or(kind);
        next = match io.and_then(|io| io.get_ref()) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    kind
}

/// The innermost reason; what is around it only names layers and repeats the URL.
fn reason(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
