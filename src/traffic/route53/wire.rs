//! One request to Route 53: signed, sent, made again where it asks for that.
//!
//! Must never send a change a second time whose answer was lost.

use std::sync::Arc;

use super::super::hosted::Api as _;
use super::super::hosted::exchange::{self, Client, Failure, Pauses};
use super::metadata::Role;
use super::settings::Settings;
use super::sign::Unsigned;
use super::{credentials, xml};
use crate::outside::Kind;
use crate::secret::Secrets;

/// What Route 53 says no with when it means later.
const LATER: [&str; 4] = ["Throttling", "ThrottlingException", "PriorRequestNotComplete", "ServiceUnavailable"];

/// The way to the API.
pub struct Api {
    pub(super) name: String,
    pub(super) settings: Settings,
    secrets: Arc<dyn Secrets>,
    role: Role,
    client: Client,
}

/// What is asked.
pub(super) struct Ask<'a> {
    pub method: &'static str,
    pub path: String,
    pub query: &'a [(&'a str, &'a str)],
    pub body: String,
}

impl Api {
    pub(super) fn new(name: &str, settings: &Settings, secrets: Arc<dyn Secrets>) -> Self {
        Self {
            name: name.to_owned(),
            settings: settings.clone(),
            secrets,
            role: Role::default(),
            client: Client::default(),
        }
    }

    /// Asks, and again where it says later.
    pub(super) async fn ask(&self, ask: Ask<'_>) -> Result<Vec<u8>, Failure> {
        let mut pauses = Pauses::default();
        loop {
            match self.once(&ask).await {
                Err(Failure::Said(code, _)) if LATER.contains(&code.as_str()) && pauses.rest().await => {}
                answered => return answered,
            }
        }
    }

    async fn once(&self, ask: &Ask<'_>) -> Result<Vec<u8>, Failure> {
        let config = |what: String| self.error(Kind::Config, what);
        let found = credentials::find(&self.settings.credentials, self.secrets.as_ref(), &self.role).await;
        let credentials = found.map_err(|why| {
            let hint = "see `credentials` of the director in docs/inventory.md";
            Failure::Unsent(config(format!("there are no credentials: {why}")).hint(hint))
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
        let client = self.client.of(endpoint).map_err(|why| Failure::Unsent(config(why)))?;
        let mut request = if ask.method == "POST" { client.post(url) } else { client.get(url) };
        for (name, value) in unsigned.sign(&credentials) {
            request = request.header(name, value);
        }
        if !ask.body.is_empty() {
            request = request.header("content-type", "application/xml").body(ask.body.clone());
        }
        let (status, bytes) = exchange::send(request).await?;
        match (status, xml::error(&bytes)) {
            (200..300, _) => Ok(bytes),
            (_, Some((code, message))) => Err(Failure::said(&code, &message)),
            (_, None) => Err(Failure::Lost("its answer cannot be understood".to_owned())),
        }
    }
}
