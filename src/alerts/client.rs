//! Silences by Alertmanager's API, version 2.
//!
//! Must never take an answer for the state of things: what was made or taken away is read again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::{Matcher, Owner, Silences, Wanted};
use crate::metrics::{Request, Server, Wire};
use crate::outside::{Error, Kind};
use crate::secret::Secrets;
use crate::text;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The largest answer that is read: silences that have ended are listed for days.
const LONGEST: usize = 64 << 20;
/// How far the clocks on both sides may be apart.
const SKEW: Duration = Duration::from_secs(300);

/// Silences at real Alertmanagers.
pub struct Alertmanager {
    wire: Wire,
}

/// A silence as it stands there.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    id: String,
    status: Status,
    created_by: String,
    comment: String,
    starts_at: Timestamp,
    ends_at: Timestamp,
    matchers: Vec<Matcher>,
}

#[derive(Debug, Clone, Deserialize)]
struct Status {
    state: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct About {
    version_info: Version,
}

#[derive(Debug, Deserialize)]
struct Version {
    version: String,
}

impl Found {
    fn is(&self, wanted: &Wanted, owner: &Owner) -> bool {
        let (mut has, mut should) = (self.matchers.clone(), wanted.matchers.clone());
        has.sort();
        should.sort();
        has == should && self.comment == comment(wanted, owner)
    }
}

fn author(owner: &Owner) -> String {
    format!("migrate {}", owner.run)
}

fn comment(wanted: &Wanted, owner: &Owner) -> String {
    format!("{} moves: {}, run {} of migrate", wanted.host, owner.pair, owner.run)
}

impl Alertmanager {
    /// Contacts nobody yet.
    pub fn new(secrets: Arc<dyn Secrets>) -> Self {
        Self { wire: Wire::new(secrets) }
    }

    async fn ask(&self, at: &Server, method: Method, path: &str, body: Option<String>) -> Result<Vec<u8>, Error> {
        let path = format!("api/v2/{path}");
        let request = Request { method, path: &path, query: &[], body, longest: LONGEST };
        let answer = self.wire.ask(at, request, PATIENCE).await;
        let (status, body) = answer.map_err(|e| {
            error(at, Kind::Lost, e.why).hint("look whether Alertmanager runs, and at the way from here to it")
        })?;
        let said = || text::escape(body.trim_ascii(), 200);
        match status {
            200..=299 => Ok(body),
            401 | 403 => Err(error(at, Kind::LoginRefused, format!("it answered {status}: {}", said()))
                .hint("mend what `token` or `password` of `alertmanager` refers to")),
            408 | 425 | 429 | 500..=599 => Err(error(at, Kind::Lost, format!("it answered {status}: {}", said()))),
            _ => Err(error(at, Kind::Refused, format!("it answered {status}: {}", said()))
                .hint("mend `alertmanager` or `matchers` of `silence`")),
        }
    }

    /// The silences of an owner that are in effect, or will be.
    async fn own(&self, at: &Server, owner: &Owner) -> Result<Vec<Found>, Error> {
        let body = self.ask(at, Method::GET, "silences", None).await?;
        let all: Vec<Found> = read(at, &body)?;
        let pair = format!(" moves: {}, run ", owner.pair);
        let own = |found: &Found| found.created_by == author(owner) && found.comment.contains(&pair);
        Ok(all.into_iter().filter(|found| found.status.state != "expired" && own(found)).collect())
    }

    async fn set(
        &self,
        at: &Server,
        owner: &Owner,
        wanted: &Wanted,
        before: Option<&Found>,
        until: Timestamp,
    ) -> Result<(), Error> {
        let start = before.map_or(Timestamp::now() - SKEW, |found| found.starts_at);
        let silence = json!({
            "id": before.map_or("", |found| found.id.as_str()),
            "matchers": wanted.matchers,
            "startsAt": start.to_string(),
            "endsAt": until.to_string(),
            "createdBy": author(owner),
            "comment": comment(wanted, owner),
        });
        self.ask(at, Method::POST, "silences", Some(silence.to_string())).await.map(|_| ())
    }

    async fn end(&self, at: &Server, found: &Found) -> Result<(), Error> {
        match self.ask(at, Method::DELETE, &format!("silence/{}", found.id), None).await {
            // Another question about it may have ended it before; what stands is read again.
            Err(e) if e.kind == Kind::Refused => Ok(()),
            ended => ended.map(|_| ()),
        }
    }
}

fn error(at: &Server, kind: Kind, what: impl Into<String>) -> Error {
    Error::new(format!("Alertmanager {}", at.host()), kind, what)
}

fn read<T: for<'de> Deserialize<'de>>(at: &Server, body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|e| {
        let what = format!(
            "it answers something else than Alertmanager does: {}",
            text::escape(e.to_string().as_bytes(), 160)
        );
        error(at, Kind::Refused, what).hint("`alertmanager` is the URL under which `/api/v2/silences` is found")
    })
}

#[async_trait]
impl Silences for Alertmanager {
    async fn make(&self, at: &Server, owner: &Owner, wanted: &[Wanted], lasts: Duration) -> Result<String, Error> {
        let until = Timestamp::now() + lasts;
        let own = self.own(at, owner).await?;
        for wanted in wanted {
            let mut same = own.iter().filter(|found| found.is(wanted, owner));
            self.set(at, owner, wanted, same.next(), until).await?;
            // The answer to an earlier try was lost, and the silence had been made.
            for twice in same {
                self.end(at, twice).await?;
            }
        }
        let own = self.own(at, owner).await?;
        for wanted in wanted {
            let Some(found) = own.iter().find(|found| found.is(wanted, owner)) else {
                let what = format!("a silence for {} was accepted, and cannot be found", wanted.host);
                return Err(error(at, Kind::Disagrees, what));
            };
            if found.status.state != "active" || found.ends_at + SKEW < until {
                let what = format!(
                    "the silence {} for {} is {} until {}, and should be active until {until:.0}",
                    text::escape(found.id.as_bytes(), 60),
                    wanted.host,
                    text::escape(found.status.state.as_bytes(), 20),
                    found.ends_at
                );
                return Err(error(at, Kind::Disagrees, what).hint("compare the clocks on both sides"));
            }
        }
        let hosts: Vec<&str> = wanted.iter().map(|wanted| wanted.host.as_str()).collect();
        Ok(format!("{} silenced at {} until {until:.0} at the latest", text::list(&hosts), at.host()))
    }

    async fn lift(&self, at: &Server, owner: &Owner) -> Result<u64, Error> {
        let own = self.own(at, owner).await?;
        for found in &own {
            self.end(at, found).await?;
        }
        if let Some(left) = self.own(at, owner).await?.first() {
            let id = text::escape(left.id.as_bytes(), 60);
            return Err(error(at, Kind::Disagrees, format!("the silence {id} was taken away, and is still in effect")));
        }
        Ok(own.len() as u64)
    }

    async fn look(&self, at: &Server) -> Result<String, Error> {
        let about: About = read(at, &self.ask(at, Method::GET, "status", None).await?)?;
        // That it tells of silences is what matters.
        let _: Vec<Found> = read(at, &self.ask(at, Method::GET, "silences", None).await?)?;
        Ok(text::escape(about.version_info.version.as_bytes(), 40))
    }
}
