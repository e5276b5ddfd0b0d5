//! Servers and queries as files write them.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::Bound;
use crate::fields::secret;
use crate::fields::template::{self, Role, Sides, Use};
use crate::model::Template;
use crate::secret::SecretRef;
use crate::yaml::map::Map;
use crate::yaml::reader::Value;

/// Samples that are older are no news: two scrapes of the usual length have failed.
const MAX_AGE: Duration = Duration::from_secs(120);
const HOUR: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);

/// What a kind of server is called where it is asked for.
pub struct Words {
    /// `prometheus server`.
    pub what: &'static str,
    /// A URL of one, in quotes.
    pub url: &'static str,
    /// A whole setting, with credentials.
    pub example: &'static str,
    /// What is found under its URL.
    pub found: &'static str,
}

/// Prometheus, or what speaks its API.
const PROMETHEUS: Words = Words {
    what: "prometheus server",
    url: "\"http://prometheus.example.com:9090\"",
    example: "server: {url: \"https://prometheus.example.com\", token: {env: PROMETHEUS_TOKEN}}",
    found: "/api/v1/query",
};

/// A Prometheus server, or what speaks its API; also others of its family.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Server {
    /// Under which `/api/v1/query` is found; without a slash at its end.
    pub url: String,
    /// The token that it asks for.
    pub token: Option<SecretRef>,
    /// The user and the password that it asks for.
    pub user: Option<(String, SecretRef)>,
    /// Certificates of those whom it must be vouched for by, instead of those whom this machine trusts.
    pub ca: Option<PathBuf>,
}

/// A query, what its number is compared with, and when that is no news any more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    /// Who is asked.
    pub server: Server,
    /// What; when it is asked, with its variables filled in.
    pub query: Template,
    /// How its number must be.
    pub bound: Bound,
    /// The oldest that samples may be.
    pub max_age: Duration,
}

impl Ask {
    /// Reads what is asked. The query is added to `uses`.
    pub fn read(map: &Map<'_>, sides: Sides, uses: &mut Vec<Use>) -> Option<Self> {
        let server = map.need("server", "\"http://prometheus.example.com:9090\"").and_then(Server::read);
        let query = map.need("query", "sum(rate(errors_total[1m]))").and_then(|v| query(v, sides, uses));
        let bound = Bound::read(map);
        let max_age = max_age(map);
        Some(Self { server: server?, query: query?, bound: bound?, max_age })
    }

    /// The same with a query whose variables are filled in.
    #[must_use]
    pub fn asking(&self, query: String) -> Self {
        Self { query: Template(query), ..self.clone() }
    }
}

/// Reads a query and adds it to `uses`.
pub fn query(value: Value<'_>, sides: Sides, uses: &mut Vec<Use>) -> Option<Template> {
    let used = template::read(value, Role::Own(|_| Ok(())), sides, "a query", "query: sum(rate(errors_total[1m]))")?;
    let query = used.template.value.clone();
    uses.push(used);
    Some(query)
}

/// Reads how old samples may be.
pub fn max_age(map: &Map<'_>) -> Duration {
    map.get("max_age").and_then(|v| v.duration(SECOND..=HOUR)).unwrap_or(MAX_AGE)
}

impl Server {
    /// Reads a URL, or a mapping with credentials.
    pub fn read(value: Value<'_>) -> Option<Self> {
        Self::read_as(value, &PROMETHEUS)
    }

    /// The same for a server of another kind.
    pub fn read_as(value: Value<'_>, words: &Words) -> Option<Self> {
        let url = |value| url(value, words);
        if !value.is_map() {
            return Some(Self { url: url(value)?, token: None, user: None, ca: None });
        }
        value.map(words.what, words.example, |m| {
            let url = m.need("url", words.url).and_then(url);
            let token = m.get("token").map(secret::read);
            let name = m.get("user").map(|v| v.line("the name of a user", "user: migrate").map(|l| l.value));
            let password = m.get("password").map(secret::read);
            let ca = m.get("ca").map(|v| v.path());
            let user = match (name, password) {
                (Some(name), Some(password)) => Some(name.zip(password)),
                (None, None) => None,
                (given, _) => {
                    let (there, missing) = if given.is_some() { ("user", "password") } else { ("password", "user") };
                    let what = format!("`{there}` needs `{missing}` beside it");
                    value.error(what, "for example {user: migrate, password: {env: PROMETHEUS_PASSWORD}}");
                    Some(None)
                }
            };
            if let (Some(_), Some(token)) = (&user, m.get("token")) {
                token
                    .error("a server is asked with a token or with a password, not with both", "leave one of them out");
                return None;
            }
            if let (Some(ca), Some(Some(_)), true) =
                (m.get("ca"), &ca, url.as_ref().is_some_and(|u| !u.starts_with("https:")))
            {
                ca.error(
                    "there is nobody to be vouched for over plain HTTP",
                    "write https:// in `url`, or leave `ca` out",
                );
                return None;
            }
            // What was given and could not be read must not be taken for not given.
            Some(Self { url: url?, token: flat(token)?, user: flat(user)?, ca: flat(ca)? })
        })?
    }

    /// The server by its host, for people.
    pub fn host(&self) -> &str {
        let after = self.url.split_once("://").map_or(self.url.as_str(), |(_, rest)| rest);
        after.split('/').next().unwrap_or(after)
    }
}

/// `None` where something was given that could not be read.
fn flat<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    match read {
        None => Some(None),
        Some(None) => None,
        Some(Some(value)) => Some(Some(value)),
    }
}

fn url(value: Value<'_>, words: &Words) -> Option<String> {
    let example = words.url;
    let text = value.line("a URL", example)?.value;
    let shown = crate::text::escape(text.as_bytes(), 100);
    let problem = match Url::parse(&text) {
        Err(why) => format!("`{shown}` is not a URL: {why}"),
        Ok(url) if !matches!(url.scheme(), "http" | "https") || !url.has_host() => {
            format!("`{shown}` is not an HTTP or HTTPS URL")
        }
        // Not shown: it holds a secret.
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            value.error(
                "a URL in a file must not hold a password",
                "write {url: …, user: NAME, password: {env: PROMETHEUS_PASSWORD}}",
            );
            return None;
        }
        Ok(url) if url.query().is_some() || url.fragment().is_some() => {
            format!("`{shown}` goes on after its path")
        }
        Ok(url) => return Some(url.as_str().trim_end_matches('/').to_owned()),
    };
    value.error(problem, format!("for example {example}: that under which `{}` is found", words.found));
    None
}
