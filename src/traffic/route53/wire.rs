//! One request to Route 53: signed, sent, tried again where it asks for that.
//!
//! Must never send a change a second time whose answer was lost.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::settings::Settings;
use super::sign::Unsigned;
use super::{credentials, xml};
use crate::outside::{Error, Kind};
use crate::secret::Secrets;
use crate::text::escape;

const PATIENCE: Duration = Duration::from_secs(30);
/// The longest answer that is read.
const LONGEST: usize = 8 << 20;
/// How often a request that was refused for its pace is made, with pauses that double.
const TRIES: u32 = 6;
const PAUSE: Duration = Duration::from_millis(200);

/// What Route 53 says no with when it means later.
const LATER: [&str; 4] = ["Throttling", "ThrottlingException", "PriorRequestNotComplete", "ServiceUnavailable"];

/// The way to the API.
pub(super) struct Api {
    pub name: String,
    pub settings: Settings,
    pub secrets: Arc<dyn Secrets>,
    client: OnceLock<Result<reqwest::Client, String>>,
}

/// An error of the API by its code, or one on the way.
#[derive(Debug)]
pub(super) enum Failure {
    /// Code and message, both escaped.
    Said(String, String),
    /// Nothing was sent.
    Unsent(Error),
    /// Whether it was carried out is unknown.
    Lost(String),
}

/// What is asked.
pub(super) struct Ask<'a> {
    pub method: &'static str,
    pub path: String,
    pub query: &'a [(&'a str, &'a str)],
    pub body: String,
}

impl Api {
    pub fn new(name: &str, settings: &Settings, secrets: Arc<dyn Secrets>) -> Self {
        Self { name: name.to_owned(), settings: settings.clone(), secrets, client: OnceLock::new() }
    }

    pub fn error(&self, kind: Kind, what: impl Into<String>) -> Error {
        Error::new(format!("{} (Route 53 zone {})", self.name, self.settings.zone), kind, what)
    }

    /// Asks, and again where it says later.
    pub async fn ask(&self, ask: Ask<'_>) -> Result<Vec<u8>, Failure> {
        let mut pause = PAUSE;
        for _ in 1..TRIES {
            match self.once(&ask).await {
                Err(Failure::Said(code, _)) if LATER.contains(&code.as_str()) => tokio::time::sleep(pause).await,
                answered => return answered,
            }
            pause *= 2;
        }
        self.once(&ask).await
    }

    async fn once(&self, ask: &Ask<'_>) -> Result<Vec<u8>, Failure> {
        let found = credentials::find(&self.settings.credentials, self.secrets.as_ref());
        let credentials = found.map_err(|why| {
            let error = self.error(Kind::Config, format!("there are no credentials: {why}"));
            Failure::Unsent(error.hint("see `credentials` of the director in docs/inventory.md"))
        })?;
        let endpoint = &self.settings.endpoint;
        let host = endpoint.split_once("://").map_or(endpoint.as_str(), |(_, host)| host);
        let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let unsigned = Unsigned {
            method: ask.method,
            host,
            path: &ask.path,
            query: ask.query,
            body: ask.body.as_bytes(),
            time: &time,
        };
        let url = match unsigned.query() {
            query if query.is_empty() => format!("{endpoint}{}", ask.path),
            query => format!("{endpoint}{}?{query}", ask.path),
        };
        let client = self.client().map_err(Failure::Unsent)?;
        let mut request = if ask.method == "POST" { client.post(url) } else { client.get(url) };
        for (name, value) in unsigned.sign(&credentials) {
            request = request.header(name, value);
        }
        if !ask.body.is_empty() {
            request = request.header("content-type", "application/xml").body(ask.body.clone());
        }
        let exchange = tokio::time::timeout(PATIENCE, answer(request)).await;
        let (good, bytes) = exchange.map_err(|_| Failure::Lost(format!("no answer in {} s", PATIENCE.as_secs())))??;
        match (good, xml::error(&bytes)) {
            (true, _) => Ok(bytes),
            (false, Some((code, message))) => {
                Err(Failure::Said(escape(code.as_bytes(), 60), escape(message.as_bytes(), 400)))
            }
            (false, None) => Err(Failure::Lost("its answer cannot be understood".to_owned())),
        }
    }

    fn client(&self) -> Result<&reqwest::Client, Error> {
        let build = || {
            let builder = reqwest::Client::builder()
                .user_agent(concat!("migrate/", env!("CARGO_PKG_VERSION")))
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never());
            // Plain HTTP works without any CA certificates, too.
            let plain = self.settings.endpoint.starts_with("http://");
            let builder = if plain { builder.tls_certs_only([]).no_proxy() } else { builder };
            builder.build().map_err(|e| reason(&e))
        };
        let client = self.client.get_or_init(build).as_ref();
        client
            .map_err(|why| self.error(Kind::Config, format!("there is no HTTPS here: {}", escape(why.as_bytes(), 200))))
    }
}

/// Whether it is a success, and the answer.
async fn answer(request: reqwest::RequestBuilder) -> Result<(bool, Vec<u8>), Failure> {
    let lost = |e: &reqwest::Error| Failure::Lost(escape(reason(e).as_bytes(), 200));
    let mut response = request.send().await.map_err(|e| lost(&e))?;
    let good = response.status().is_success();
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| lost(&e))? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > LONGEST {
            return Err(Failure::Lost("its answer is too long".to_owned()));
        }
    }
    Ok((good, bytes))
}

/// The innermost reason; what is around it only names layers and repeats the URL.
fn reason(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
