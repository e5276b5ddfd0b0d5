//! One request to PowerDNS's API.
//!
//! Must never send a change a second time whose answer was lost.

use std::sync::Arc;

use reqwest::RequestBuilder;
use serde_json::Value;

use super::super::hosted::Api as _;
use super::super::hosted::exchange::{self, Answer, Client, Failure};
use super::settings::Settings;
use super::zone;
use crate::outside::Kind;
use crate::secret::Secrets;

/// What is said of a name that is not as it was read.
pub(super) const OVERTAKEN: &str = "overtaken";
/// What is said of a zone that cannot be read as a whole.
pub(super) const TOO_LARGE: &str = "too large";
/// Where it tells the serial that a change has made.
const SERIAL: &str = "x-pdns-new-serial";

/// The way to the API.
pub struct Api {
    pub(super) name: String,
    pub(super) settings: Settings,
    secrets: Arc<dyn Secrets>,
    client: Client,
}

impl Api {
    pub(super) fn new(name: &str, settings: &Settings, secrets: Arc<dyn Secrets>) -> Self {
        Self { name: name.to_owned(), settings: settings.clone(), secrets, client: Client::default() }
    }

    /// The zone with all its record sets: asked for one name alone, it leaves out records that are disabled.
    pub(super) async fn read(&self) -> Result<Vec<u8>, Failure> {
        let answer = self.ask(reqwest::Client::get).await;
        let answer = answer.map_err(|failure| match failure {
            // Asking again would not make it shorter.
            Failure::Lost(why) if why == exchange::TOO_LONG => Failure::said(TOO_LARGE, &why),
            other => other,
        })?;
        answer_of(answer).map(|answer| answer.bytes)
    }

    /// Changes the zone: all of it, or nothing. The serial that it has after that.
    pub(super) async fn patch(&self, body: &Value) -> Result<Option<u32>, Failure> {
        let body = body.to_string();
        let patch = |client: &reqwest::Client, url: String| {
            client.patch(url).header("content-type", "application/json").body(body.clone())
        };
        let answer = self.ask(patch).await?;
        if answer.status >= 500 {
            let said = crate::text::escape(zone::error(&answer.bytes).as_bytes(), 200);
            return Err(Failure::Lost(format!("it answers with status {}: {said}", answer.status)));
        }
        let answer = answer_of(answer)?;
        Ok(answer.headers.get(SERIAL).and_then(|serial| serial.to_str().ok()?.trim().parse().ok()))
    }

    async fn ask(&self, request: impl Fn(&reqwest::Client, String) -> RequestBuilder) -> Result<Answer, Failure> {
        let hint = "see `api_key` and `endpoint` of the director in docs/inventory.md";
        let config = |what: String| Failure::Unsent(self.error(Kind::Config, what).hint(hint));
        let (secrets, reference) = (self.secrets.clone(), self.settings.api_key.clone());
        let key = tokio::task::spawn_blocking(move || secrets.resolve(&reference)).await;
        let key = key.map_err(|e| config(e.to_string()))?.map_err(|e| config(format!("there is no API key: {e}")))?;
        let Settings { endpoint, domain, .. } = &self.settings;
        // A request has nothing of the key but in a header that is never shown.
        let mut header = reqwest::header::HeaderValue::from_str(key.reveal().trim())
            .map_err(|_| config("the API key has characters that no header can have".to_owned()))?;
        header.set_sensitive(true);
        let client = self.client.of(endpoint).map_err(config)?;
        let url = format!("{endpoint}/api/v1/servers/localhost/zones/{}.", domain.trim_end_matches('.'));
        exchange::exchange(request(client, url).header("x-api-key", header)).await
    }
}

/// The answer, unless it says no.
fn answer_of(answer: Answer) -> Result<Answer, Failure> {
    match answer.status {
        200..300 => Ok(answer),
        status => Err(Failure::said(&status.to_string(), &zone::error(&answer.bytes))),
    }
}
