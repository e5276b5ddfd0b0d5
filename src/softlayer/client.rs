//! One call after the other: reads are tried again, writes are not.

use std::time::Duration;

use reqwest::{Client, Method, Response, Url, redirect};
use serde_json::{Value, json};

use super::Login;
use super::answer::{Trouble, judge};
use super::pace::Pace;
use crate::clock::{Clock as _, SystemClock};
use crate::outside::{Certainty, Error, Kind};
use crate::retry::Policy;
use crate::text;

/// An answer that has not come by then does not come.
const PATIENCE: Duration = Duration::from_secs(120);
/// The largest answer that is read.
const MAX_ANSWER: usize = 64 << 20;
/// How reads are tried again.
const READS: Policy = Policy::new(5, Duration::from_millis(500), Duration::from_secs(4));

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Call {
    /// Without `SoftLayer_`.
    pub service: &'static str,
    /// The object, for methods of one.
    pub id: Option<u64>,
    /// The method, by its whole name.
    pub method: &'static str,
    /// Every field that is wanted, by name.
    pub mask: Option<&'static str>,
    /// What lists are narrowed down by. Must be looked at again in what comes.
    pub filter: Option<Value>,
    /// Offset and number of rows.
    pub limit: Option<(usize, usize)>,
    /// For methods that take some.
    pub parameters: Vec<Value>,
}

/// A result, and for lists how many rows there are in all, where that is said.
#[derive(Debug)]
pub struct Answer {
    /// The result.
    pub value: Value,
    /// All rows, of which these may be a part.
    pub total: Option<usize>,
}

/// Why a call gave nothing.
#[derive(Debug, Clone)]
pub struct Failed {
    /// What callers tell apart.
    pub why: Why,
    /// For everybody else.
    pub error: Error,
}

/// What callers tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// There is no such object.
    Missing,
    /// Mostly too much was asked for at once.
    TooMuch,
    /// Too many requests came at once; this one was not looked at.
    TooFast,
    /// Everything else.
    Other,
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        failed.error
    }
}

/// The API, asked by one user.
pub struct Api {
    http: Client,
    login: Login,
    pace: Pace,
    at: String,
}

impl Api {
    /// Contacts nobody yet. `name` is what errors are about.
    pub fn new(name: &str, login: Login) -> Result<Self, Error> {
        // No proxy of this machine stands between, as nothing but what files say counts; nothing is ever sent twice by itself.
        let builder = Client::builder()
            .user_agent(concat!("migrate/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(Duration::from_secs(10))
            .timeout(PATIENCE)
            .no_proxy();
        // Plain HTTP works on machines without any certificates.
        let builder = if login.endpoint.scheme() == "http" { builder.tls_certs_only([]) } else { builder };
        let at = format!("{name} ({})", login.endpoint.host_str().unwrap_or("SoftLayer"));
        let http = builder.build().map_err(|e| Error::new(&at, Kind::Config, innermost(&e)))?;
        Ok(Self { http, login, pace: Pace::default(), at })
    }

    /// Who answers, for errors.
    pub fn at(&self) -> &str {
        &self.at
    }

    /// Asks for something. What may be a passing trouble is tried again.
    pub async fn read(&self, call: &Call) -> Result<Value, Failed> {
        Ok(self.ask(call, true).await?.value)
    }

    /// The same for a part of a list; with `small` no smaller part can be asked for.
    pub(super) async fn ask(&self, call: &Call, small: bool) -> Result<Answer, Failed> {
        let mut failed = 0;
        loop {
            let error = match self.once(call).await {
                Err(e) if e.error.transient || e.why == Why::TooMuch && small => e,
                other => return other,
            };
            failed += 1;
            if failed >= READS.tries {
                return Err(error);
            }
            SystemClock.sleep(READS.pause.saturating_mul(1 << (failed - 1)).min(READS.longest)).await;
        }
    }

    /// Changes something. It is sent again only when it was surely not looked at.
    pub async fn write(&self, call: &Call) -> Result<Value, Failed> {
        for failed in 1..READS.tries {
            match self.once(call).await {
                Err(Failed { why: Why::TooFast, .. }) => SystemClock.sleep(READS.pause * failed).await,
                other => return other.map(|answer| answer.value),
            }
        }
        Ok(self.once(call).await?.value)
    }

    async fn once(&self, call: &Call) -> Result<Answer, Failed> {
        self.pace.turn().await;
        let url = url(&self.login.endpoint, call);
        let (method, body) = match call.parameters.is_empty() {
            true => (Method::GET, None),
            false => (Method::POST, Some(json!({ "parameters": call.parameters }).to_string())),
        };
        let (user, key) = (self.login.username.reveal(), self.login.api_key.reveal());
        let mut request =
            self.http.request(method, url).basic_auth(user, Some(key)).header("accept", "application/json");
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let sent = request.send().await.map_err(|e| self.lost(call, &e))?;
        let total = sent.headers().get("SoftLayer-Total-Items").and_then(|v| v.to_str().ok()?.trim().parse().ok());
        let status = sent.status().as_u16();
        let body = self.body(call, sent).await?;
        let value = judge(status, &body).map_err(|trouble| self.failed(call, trouble))?;
        Ok(Answer { value, total })
    }

    async fn body(&self, call: &Call, mut response: Response) -> Result<Vec<u8>, Failed> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| self.lost(call, &e))? {
            if body.len() + chunk.len() > MAX_ANSWER {
                let what = format!("the answer has more than {}", text::bytes(MAX_ANSWER as u64));
                return Err(self.failed(call, Trouble::TooMuch(what)));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn lost(&self, call: &Call, error: &reqwest::Error) -> Failed {
        let kind = if error.is_connect() { Kind::Unreachable } else { Kind::Lost };
        let what = if error.is_timeout() { "no answer in time".to_owned() } else { innermost(error) };
        let what = format!("{}: {}", call.name(), text::escape(what.as_bytes(), 300));
        let error = Error::new(&self.at, kind, what).hint("see whether the API can be reached from this machine");
        Failed { why: Why::Other, error }
    }

    fn failed(&self, call: &Call, trouble: Trouble) -> Failed {
        let new = |kind, said: &str| Error::new(&self.at, kind, format!("{}: {said}", call.name()));
        let (why, error) = match &trouble {
            Trouble::Denied => {
                let hint = format!(
                    "the key is from {}; see that it is the classic API key of {}, and that its user may log in from this address",
                    self.login.from, "that user"
                );
                (Why::Other, new(Kind::LoginRefused, "user name or API key are not accepted (401)").hint(hint))
            }
            Trouble::Missing(said) => (Why::Missing, new(Kind::Refused, said)),
            Trouble::TooFast(said) => {
                let error = Error { transient: true, ..new(Kind::Refused, said).certainty(Certainty::NotDone) };
                (Why::TooFast, error.hint("somebody else uses up the account's requests: try again later"))
            }
            Trouble::TooMuch(said) => (Why::TooMuch, Error { transient: false, ..new(Kind::Lost, said) }),
            Trouble::Refused(said) => (Why::Other, new(Kind::Refused, said)),
            Trouble::Garbled(said) => (Why::Other, new(Kind::Lost, said)),
        };
        Failed { why, error }
    }
}

impl Call {
    /// For people: `Account::getHardware`.
    pub fn name(&self) -> String {
        match self.id {
            Some(id) => format!("{}({id})::{}", self.service, self.method),
            None => format!("{}::{}", self.service, self.method),
        }
    }
}

fn url(endpoint: &Url, call: &Call) -> Url {
    let id = call.id.map(|id| format!("/{id}")).unwrap_or_default();
    let mut url = endpoint.clone();
    url.set_path(&format!("{}SoftLayer_{}{id}/{}.json", endpoint.path(), call.service, call.method));
    let mask = call.mask.map(|mask| ("objectMask", mask.split_whitespace().collect::<String>()));
    let filter = call.filter.as_ref().map(|filter| ("objectFilter", filter.to_string()));
    let limit = call.limit.map(|(offset, rows)| ("resultLimit", format!("{offset},{rows}")));
    let pairs: Vec<(&str, String)> = mask.into_iter().chain(filter).chain(limit).collect();
    if !pairs.is_empty() {
        url.query_pairs_mut().extend_pairs(pairs);
    }
    url
}

/// The innermost reason; what is around it only names layers and repeats the URL.
fn innermost(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
