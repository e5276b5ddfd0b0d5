//! One request to Cloud DNS: with a token, sent, made again where it asks for that.
//!
//! Must never send a change a second time whose answer was lost.

use std::sync::Arc;

use serde_json::Value;

use super::super::hosted::Api as _;
use super::super::hosted::exchange::{self, Client, Failure, Pauses};
use super::credentials::Tokens;
use super::rrset;
use super::settings::Settings;
use crate::outside::Kind;
use crate::secret::Secrets;

/// What Google says no with when it means later.
const LATER: [&str; 5] = ["rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded", "RESOURCE_EXHAUSTED", BUSY];
/// A question that its servers could not answer just now.
const BUSY: &str = "backendError";

/// Whether a request may be made again after a while.
pub(super) fn means_later(reason: &str) -> bool {
    LATER.contains(&reason)
}

/// The way to the API.
pub struct Api {
    pub(super) name: String,
    pub(super) settings: Settings,
    tokens: Tokens,
    client: Client,
}

/// What is asked below the zone.
#[derive(Clone, Copy)]
pub(super) struct Ask<'a> {
    pub path: &'a str,
    pub query: &'a [(&'a str, &'a str)],
    /// What is sent, where it is more than a question.
    pub body: Option<&'a Value>,
}

impl Api {
    pub(super) fn new(name: &str, settings: &Settings, secrets: Arc<dyn Secrets>) -> Self {
        let tokens = Tokens::new(settings.credentials.clone(), secrets);
        Self { name: name.to_owned(), settings: settings.clone(), tokens, client: Client::default() }
    }

    /// Asks, and again where it says later.
    pub(super) async fn ask(&self, ask: Ask<'_>) -> Result<Vec<u8>, Failure> {
        let mut pauses = Pauses::default();
        loop {
            match self.with_token(ask).await {
                Err(Failure::Said(reason, _)) if means_later(&reason) && pauses.rest().await => {}
                answered => return answered,
            }
        }
    }

    /// A token that was kept may have ended meanwhile: then with a new one.
    async fn with_token(&self, ask: Ask<'_>) -> Result<Vec<u8>, Failure> {
        let (status, bytes, kept) = self.once(ask).await?;
        let (status, bytes) = match (status, kept) {
            (401, true) => {
                self.tokens.forget().await;
                let (status, bytes, _) = self.once(ask).await?;
                (status, bytes)
            }
            _ => (status, bytes),
        };
        match (status, rrset::error(&bytes)) {
            (200..300, _) => Ok(bytes),
            // Whether a change was made before they failed is unknown; a question may be asked again.
            (500.., _) if ask.body.is_some() => Err(Failure::Lost(format!("it answers with status {status}"))),
            (500.., _) => Err(Failure::said(BUSY, &format!("it answers with status {status}"))),
            (_, Some((reason, message))) => Err(Failure::said(&reason, &message)),
            (_, None) => Err(Failure::Lost("its answer cannot be understood".to_owned())),
        }
    }

    /// Status and answer, and whether the token was kept from before.
    async fn once(&self, ask: Ask<'_>) -> Result<(u16, Vec<u8>, bool), Failure> {
        let config = |what: String| self.error(Kind::Config, what);
        let (token, kept) = self.tokens.get().await.map_err(|why| {
            let hint = "see `credentials` of the director in docs/inventory.md";
            Failure::Unsent(config(format!("there are no credentials: {why}")).hint(hint))
        })?;
        let Settings { project, zone, endpoint, .. } = &self.settings;
        let query: Vec<String> = ask.query.iter().map(|(key, value)| format!("{key}={}", encoded(value))).collect();
        let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
        let url = format!("{endpoint}/dns/v1/projects/{project}/managedZones/{zone}/{}{query}", ask.path);
        let client = self.client.of(endpoint).map_err(|why| Failure::Unsent(config(why)))?;
        let request = match ask.body {
            Some(body) => client.post(url).header("content-type", "application/json").body(body.to_string()),
            None => client.get(url),
        };
        let (status, bytes) = exchange::send(request.bearer_auth(token.reveal())).await?;
        Ok((status, bytes, kept))
    }
}

/// A value as it stands in a URL.
fn encoded(value: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    value.bytes().map(one).collect()
}
