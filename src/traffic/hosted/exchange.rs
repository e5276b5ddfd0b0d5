//! One exchange with an API over HTTP, and what can become of it.
//!
//! Must never send a change a second time whose answer was lost.

use std::sync::OnceLock;
use std::time::Duration;

use crate::outside::Error;
use crate::text::escape;
use crate::yaml::reader::Value;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest answer that is read.
const LONGEST: usize = 8 << 20;
/// What is said of one that is longer.
pub const TOO_LONG: &str = "its answer is longer than 8 MiB";
/// How often a request that was refused for its pace is made, with pauses that double.
const TRIES: u32 = 6;
const PAUSE: Duration = Duration::from_millis(200);

/// An error of the API by its code, or one on the way.
#[derive(Debug)]
pub enum Failure {
    /// Code and message, both escaped.
    Said(String, String),
    /// Nothing was sent.
    Unsent(Error),
    /// Whether it was carried out is unknown.
    Lost(String),
    /// It was carried out, and may have written over what nobody has read.
    Overwrote(Error),
}

impl Failure {
    /// What was said, for people.
    pub fn said(code: &str, message: &str) -> Self {
        Self::Said(escape(code.as_bytes(), 60), escape(message.as_bytes(), 400))
    }
}

/// A client of one API, made when it is first needed.
#[derive(Default)]
pub struct Client(OnceLock<Result<reqwest::Client, String>>);

impl Client {
    /// The client for an endpoint; else why there is none.
    pub fn of(&self, endpoint: &str) -> Result<&reqwest::Client, String> {
        let build = || {
            let builder = reqwest::Client::builder()
                .user_agent(concat!("migrate/", env!("CARGO_PKG_VERSION")))
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never());
            // Plain HTTP works without any CA certificates, too.
            let plain = endpoint.starts_with("http://");
            let builder = if plain { builder.tls_certs_only([]).no_proxy() } else { builder };
            builder.build().map_err(|e| format!("there is no HTTPS here: {}", escape(reason(&e).as_bytes(), 200)))
        };
        self.0.get_or_init(build).as_ref().map_err(Clone::clone)
    }
}

/// What an API answers.
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub bytes: Vec<u8>,
}

/// Sends a request: its status, and the answer.
pub async fn send(request: reqwest::RequestBuilder) -> Result<(u16, Vec<u8>), Failure> {
    exchange(request).await.map(|answer| (answer.status, answer.bytes))
}

/// Sends a request: all of the answer.
pub async fn exchange(request: reqwest::RequestBuilder) -> Result<Answer, Failure> {
    let exchange = tokio::time::timeout(PATIENCE, answer(request)).await;
    exchange.map_err(|_| Failure::Lost(format!("no answer in {} s", PATIENCE.as_secs())))?
}

async fn answer(request: reqwest::RequestBuilder) -> Result<Answer, Failure> {
    let lost = |e: &reqwest::Error| Failure::Lost(escape(reason(e).as_bytes(), 200));
    let mut response = request.send().await.map_err(|e| lost(&e))?;
    let (status, headers) = (response.status().as_u16(), std::mem::take(response.headers_mut()));
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| lost(&e))? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > LONGEST {
            return Err(Failure::Lost(TOO_LONG.to_owned()));
        }
    }
    Ok(Answer { status, headers, bytes })
}

/// Reads where an API answers: `https://…`, without a slash at the end.
pub fn endpoint(value: Value<'_>, usual: &str) -> Option<String> {
    let text = value.line("where the API answers", &format!("endpoint: {usual}"))?.value;
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let fits = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
    if host.is_some_and(|host| !host.is_empty() && host.chars().all(fits)) {
        return Some(text);
    }
    let shown = escape(text.as_bytes(), 80);
    value.error(format!("`{shown}` is not where an API answers"), format!("for example `endpoint: {usual}`"));
    None
}

/// Pauses between requests that are refused for their pace; each is twice as long as the one before.
pub struct Pauses {
    left: u32,
    next: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self { left: TRIES - 1, next: PAUSE }
    }
}

impl Pauses {
    /// Rests before another try; false where there were enough.
    pub async fn rest(&mut self) -> bool {
        if self.left == 0 {
            return false;
        }
        tokio::time::sleep(self.next).await;
        (self.left, self.next) = (self.left - 1, self.next * 2);
        true
    }
}

/// The innermost reason; what is around it only names layers and repeats the URL.
fn reason(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
