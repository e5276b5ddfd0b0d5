//! One resource after the other, from one server. What may be a passing trouble is asked for again.

use std::path::Path;
use std::time::Duration;

use reqwest::{Client, StatusCode, Url};
use serde_json::Value;

use crate::clock::SystemClock;
use crate::model::Bmc;
use crate::outside::{Error, Kind};
use crate::retry::{Policy, Retry};
use crate::secret::{Secret, Secrets};
use crate::web::{self, Trust};

/// Management controllers are slow, and not as slow as this.
const PATIENCE: Duration = Duration::from_secs(20);
/// The largest resource that is read.
const LONGEST: usize = 4 << 20;
const ASKED: Policy = Policy::new(3, Duration::from_millis(500), Duration::from_secs(4));

/// The way to one management controller.
pub struct Wire<'a> {
    http: Client,
    base: Url,
    bmc: &'a Bmc,
    password: Secret,
    at: String,
}

impl<'a> Wire<'a> {
    /// Contacts nobody yet.
    pub fn new(host: &str, bmc: &'a Bmc, url: &str, secrets: &dyn Secrets) -> Result<Self, Error> {
        let config = |what: String| Error::new(format!("the BMC of {host}"), Kind::Config, what);
        let base = Url::parse(url).map_err(|e| config(format!("its URL cannot be used: {e}")))?;
        if base.scheme() != "https" || !base.has_host() {
            return Err(config("its URL is none of https://, and a password is sent there".to_owned()));
        }
        let at = format!("the BMC of {host} ({})", base.host_str().unwrap_or_default());
        let trust = bmc.ca.as_deref().map_or(Trust::Machine, |ca: &Path| Trust::File(ca));
        let http =
            web::client(trust).map_err(|what| Error::new(&at, Kind::Config, what).hint("mend `ca` of its `bmc`"))?;
        let password = secrets.resolve(&bmc.password).map_err(|e| {
            Error::new(&at, Kind::Config, e.to_string()).hint("mend what `password` of its `bmc` refers to")
        })?;
        Ok(Self { http, base, bmc, password, at })
    }

    /// Who answers, for errors.
    pub fn at(&self) -> &str {
        &self.at
    }

    /// A resource by its path.
    pub async fn get(&self, path: &str) -> Result<Value, Error> {
        let mut retry = Retry::new(&SystemClock, ASKED);
        loop {
            match self.once(path).await {
                Ok(resource) => return Ok(resource),
                Err(e) => retry.after(e, |_| {}).await?,
            }
        }
    }

    fn error(&self, kind: Kind, what: impl Into<String>) -> Error {
        Error::new(&self.at, kind, what)
    }

    async fn once(&self, path: &str) -> Result<Value, Error> {
        let url = self.base.join(path).ok().filter(|url| path.starts_with('/') && url.origin() == self.base.origin());
        let url = url.ok_or_else(|| self.error(Kind::Refused, "it names a resource of another server"))?;
        let request = self.http.get(url).header("OData-Version", "4.0").header("Accept", "application/json");
        let request = request.basic_auth(&self.bmc.user, Some(self.password.reveal()));
        match tokio::time::timeout(PATIENCE, self.whole(request)).await {
            Ok(Ok((status, body))) => self.judge(status, &body),
            Ok(Err(e)) => Err(e),
            Err(_) => Err(self.error(Kind::Lost, "no answer in time").hint(REACH)),
        }
    }

    async fn whole(&self, request: reqwest::RequestBuilder) -> Result<(StatusCode, Vec<u8>), Error> {
        let lost = |e: reqwest::Error| match e.is_connect() {
            true => self.error(Kind::Unreachable, format!("it cannot be reached: {}", web::innermost(&e))).hint(REACH),
            false => self.error(Kind::Lost, format!("its answer was lost: {}", web::innermost(&e))).hint(REACH),
        };
        let mut response = request.send().await.map_err(lost)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(lost)? {
            body.extend_from_slice(&chunk);
            if body.len() > LONGEST {
                return Err(self.error(Kind::Refused, "its answer is too long"));
            }
        }
        Ok((response.status(), body))
    }

    fn judge(&self, status: StatusCode, body: &[u8]) -> Result<Value, Error> {
        let refused = |what: String, hint: &str| Err(self.error(Kind::Refused, what).hint(hint));
        match status.as_u16() {
            200 => match serde_json::from_slice(body) {
                Ok(resource @ Value::Object(_)) => Ok(resource),
                _ => refused(
                    "its answer is no resource of Redfish".to_owned(),
                    "see whether `url` is that of a Redfish service",
                ),
            },
            401 => refused(
                "user and password are not accepted (401)".to_owned(),
                "mend `user` and `password` of its `bmc`, and see that it lets people in with a password (basic authentication)",
            ),
            403 => refused("its user may not read that (403)".to_owned(), "give the user the role ReadOnly there"),
            404 => {
                refused("it has no such resource (404)".to_owned(), "see whether `url` is that of a Redfish service")
            }
            429 | 500..=599 => {
                let what = format!("it cannot answer now ({})", status.as_u16());
                Err(self.error(Kind::Lost, what).hint("it may be starting: try again in some minutes"))
            }
            other => {
                refused(format!("it answers with status {other}"), "see whether `url` is that of a Redfish service")
            }
        }
    }
}

const REACH: &str = "look at the way from this machine to it, and whether its certificate is one that `ca` vouches for";
