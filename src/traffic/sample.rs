//! A director for tests alone, a whole kind in one file: shares in a JSON file on a host.
//!
//! It can what none of the others can: exact weights, members that come and go, and a TTL, but no drain.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Context, Director, DirectorKind, Intent};
use crate::fields::template::{Unfit, Use};
use crate::fields::{kinds, secret};
use crate::host::{Command, Output};
use crate::model::finding::Finding;
use crate::model::{Capabilities, Change, Member, Mode, Pool, Weights};
use crate::outside::{Error, Kind};
use crate::secret::SecretRef;
use crate::yaml::map::Map;
use crate::yaml::reader::Value;

/// Where the file is, and what opens it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    host: String,
    path: String,
    token: SecretRef,
}

impl kinds::Settings for Settings {
    const KEY: &'static str = "test_weights_file";

    fn read(value: Value<'_>, _: &Map<'_>, uses: &mut Vec<Use>) -> Option<Self> {
        value.map("weights file", "test_weights_file: {host: lb-1, path: /weights, token: {env: TOKEN}}", |m| {
            let host = m.need("host", "lb-1").and_then(|v| v.identifier("a host", "lb-1"));
            let path = m.need("path", "/weights").and_then(|v| v.line("a path", "/weights"));
            let token = m.need("token", "{env: TOKEN}").and_then(secret::read);
            uses.extend(host.clone().map(Use::host));
            Some(Self { host: host?.value, path: path?.value, token: token? })
        })?
    }
}

const CAPABILITIES: Capabilities = Capabilities {
    weights: Weights::Exact(200),
    adds_members: true,
    connections: false,
    drain: false,
    ttl: true,
    ends_sessions: false,
};

impl DirectorKind for Settings {
    fn title(&self) -> &'static str {
        "a weights file"
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn default_member(&self) -> &'static str {
        "{{ address }}"
    }

    fn pool_name(&self, written: &str) -> Result<String, Unfit> {
        let fits = written.bytes().all(|b| b.is_ascii_alphabetic());
        let unfit = || Unfit::new("cannot be the name of a table", "names of tables are made of letters");
        if fits { Ok(written.to_ascii_lowercase()) } else { Err(unfit()) }
    }

    fn check_member(&self, name: &str) -> Result<(), Unfit> {
        let unfit = || Unfit::new("is not in 10.0.0.0/8", "use an address of the datacenter");
        name.starts_with("10.").then_some(()).ok_or_else(unfit)
    }

    fn advice(&self, intent: &Intent<'_>) -> Vec<Finding> {
        let there = intent.now.map_or(0, |pool| pool.members.len());
        let what = format!("has {there} members in {} and gets {}", self.path, intent.targets.join(" and "));
        vec![Finding::note(intent.about(), what)]
    }

    fn connect(&self, name: &str, context: &Context) -> Result<Arc<dyn Director>, Error> {
        Ok(Arc::new(WeightsFile { name: name.to_owned(), settings: self.clone(), context: context.clone() }))
    }
}

struct WeightsFile {
    name: String,
    settings: Settings,
    context: Context,
}

/// A pool as the file has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Table {
    pub ttl: u64,
    pub weights: BTreeMap<String, u16>,
}

pub(super) type Tables = BTreeMap<String, Table>;

impl WeightsFile {
    fn error(&self, kind: Kind, what: impl Into<String>) -> Error {
        Error::new(format!("{} ({} on {})", self.name, self.settings.path, self.settings.host), kind, what)
    }

    async fn run(&self, script: &str, args: &[&str], token: Option<&str>) -> Result<Vec<u8>, Error> {
        let args = [self.settings.path.as_str()].iter().chain(args).map(|a| (*a).to_owned()).collect();
        let env = token.map(|token| ("TOKEN".to_owned(), token.to_owned())).into_iter().collect();
        let command = Command { script: script.to_owned(), args, env, ..Command::default() };
        let ran = self.context.commands.run(&self.settings.host, &command).await;
        match ran.map_err(|e| self.error(Kind::Lost, e.to_string()))? {
            Output { status: 0, stdout, .. } => Ok(stdout),
            Output { status: 3, .. } => Err(self.error(Kind::Refused, "the token is not the right one")),
            Output { status, .. } => Err(self.error(Kind::Lost, format!("ended with {status}"))),
        }
    }

    async fn read(&self) -> Result<Tables, Error> {
        let text = self.run("cat -- \"$1\"", &[], None).await?;
        serde_json::from_slice(&text).map_err(|e| self.error(Kind::Lost, e.to_string()))
    }

    async fn write(&self, pool: &str, change: impl FnOnce(&mut Table)) -> Result<Pool, Error> {
        let mut tables = self.read().await?;
        let missing = || self.error(Kind::Refused, format!("there is no table `{pool}`"));
        change(tables.get_mut(pool).ok_or_else(missing)?);
        let text = serde_json::to_string(&tables).unwrap();
        let token = self.context.secrets.resolve(&self.settings.token);
        let token = token.map_err(|e| self.error(Kind::Refused, e.to_string()))?;
        let script = "[ \"$TOKEN\" = sesame ] || exit 3; printf %s \"$2\" > \"$1.new\" && mv -- \"$1.new\" \"$1\"";
        self.run(script, &[&text], Some(token.reveal())).await?;
        self.observe(pool).await
    }
}

#[async_trait]
impl Director for WeightsFile {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    async fn observe(&self, pool: &str) -> Result<Pool, Error> {
        let tables = self.read().await?;
        let missing = || self.error(Kind::Refused, format!("there is no table `{pool}`"));
        let table = tables.get(pool).ok_or_else(missing)?;
        let members = table.weights.iter().map(|(name, weight)| Member {
            name: name.clone(),
            weight: *weight,
            mode: Mode::Ready,
            connections: None,
            sessions: None,
            up: None,
        });
        Ok(Pool { name: pool.to_owned(), members: members.collect(), ttl: Some(Duration::from_secs(table.ttl)) })
    }

    async fn apply(&self, pool: &str, changes: &[Change]) -> Result<Pool, Error> {
        let wanted = changes.iter().map(|c| (c.member.clone(), if c.mode == Mode::Ready { c.weight } else { 0 }));
        self.write(pool, |table| table.weights.extend(wanted)).await
    }

    async fn set_ttl(&self, pool: &str, ttl: Duration) -> Result<Pool, Error> {
        self.write(pool, |table| table.ttl = ttl.as_secs()).await
    }

    async fn settled(&self, _: &str) -> Result<Option<String>, Error> {
        Ok(None)
    }

    async fn writable(&self, pool: &str) -> Result<(), Error> {
        self.write(pool, |_| {}).await.map(drop)
    }
}
