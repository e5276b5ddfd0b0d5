//! One inventory file.

use std::path::PathBuf;

use crate::fields::template::Use;
use crate::inventory::{self, Document, Rules, SourceConfig, SourceError, rules};
use crate::model::Money;
use crate::secret::Secrets;
use crate::traffic::DirectorConfig;
use crate::yaml::diagnostic::Diagnostic;
use crate::yaml::map::Map;
use crate::yaml::reader::Value;
use crate::yaml::source::Located;

use super::group::{self, GroupDraft};
use super::host::{self, HostDraft, Scope, Settings};

/// What one inventory file says.
#[derive(Debug, Default)]
pub struct InventoryDraft {
    pub sites: Vec<(Located<String>, SiteDraft)>,
    pub defaults: Settings,
    pub hosts: Vec<HostDraft>,
    /// Names of hosts that could not be read.
    pub broken: Vec<String>,
    /// Whether some entry of `hosts` could not be read at all.
    pub incomplete: bool,
    pub groups: Vec<(Located<String>, GroupDraft)>,
    pub directors: Vec<(Located<String>, DirectorDraft)>,
    /// What the next invoices of accounts come to.
    pub invoices: Vec<(Located<String>, Option<Money>)>,
    /// Sources of more hosts, `None` where they could not be read, which is reported.
    pub sources: Vec<(Located<String>, Option<SourceDraft>)>,
    /// Whether it comes from such a source: what it says of sites gives way to what anybody else says of them.
    pub implied: bool,
}

/// A source of hosts.
#[derive(Debug, Clone)]
pub struct SourceDraft {
    pub config: SourceConfig,
    pub rules: Rules,
}

impl SourceDraft {
    /// What the documents of the source of this name are called.
    pub fn address(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("{}:{name}", self.config.key()))
    }

    /// Asks it.
    pub async fn ask(&self, name: &str, secrets: &dyn Secrets) -> Result<Vec<Document>, SourceError> {
        let address = self.address(name).display().to_string();
        inventory::ask(self.config.kind().open(&address, &self.rules).as_ref(), secrets).await
    }
}

/// A site, with what it gives to its hosts.
#[derive(Debug, Clone, Default)]
pub struct SiteDraft {
    pub description: Option<String>,
    pub defaults: Settings,
}

/// A director, and what has to be judged when the hosts are known.
#[derive(Debug, Clone, Default)]
pub struct DirectorDraft {
    /// `None` when it could not be read, which is reported.
    pub config: Option<DirectorConfig>,
    /// Hosts that it names.
    pub uses: Vec<Use>,
}

/// Reads an inventory.
pub fn read(root: Value<'_>) -> InventoryDraft {
    if root.is_null() {
        root.cx.sink.push(Diagnostic::error(&root.at(), "the file is empty").hint("an inventory begins with `hosts:`"));
        return InventoryDraft::default();
    }
    if super::is_plan(root) {
        let what = Diagnostic::error(&root.at(), "this is a plan, and an inventory is wanted here");
        root.cx.sink.push(what.hint("name the file with `hosts:`, as the plan does under `inventory:`"));
        return InventoryDraft { incomplete: true, ..InventoryDraft::default() };
    }
    let mut draft = InventoryDraft::default();
    root.map("the inventory", "hosts: {dal-1: {address: 10.0.0.1}}", |m| {
        fill(&mut draft, m);
    });
    draft
}

fn fill(draft: &mut InventoryDraft, m: &Map<'_>) {
    draft.sites =
        m.get("sites").map(|v| named(v, "a site", "sites: {dal10: {description: Dallas}}", site)).unwrap_or_default();
    draft.defaults = m
        .get("defaults")
        .and_then(|v| v.map("defaults", "defaults: {ssh: {user: deploy}}", |m| host::settings(m, Scope::All)))
        .unwrap_or_default();
    for (key, value) in
        m.get("hosts").map(|v| v.entries("hosts by name", "hosts: {dal-1: {address: 10.0.0.1}}")).unwrap_or_default()
    {
        match host::read(key, value) {
            Ok(hosts) => draft.hosts.extend(hosts),
            Err(names) => {
                draft.incomplete = true;
                draft.broken.extend(names);
            }
        }
    }
    draft.groups =
        m.get("groups").map(|v| named(v, "a group", "groups: {old: [dal-1, dal-2]}", group::read)).unwrap_or_default();
    draft.sources = m
        .get("sources")
        .map(|v| named(v, "a source", "sources: {dallas: {softlayer: {datacenter: dal10}}}", source))
        .unwrap_or_default();
    draft.invoices = m
        .get("invoices")
        .map(|v| named(v, "an account", "invoices: {softlayer-278444: 412.50 USD}", host::money))
        .unwrap_or_default();
    draft.directors = m
        .get("directors")
        .map(|v| named(v, "a director", "directors: {edge: {haproxy: \"tcp:10.0.0.1:9999\"}}", director))
        .unwrap_or_default();
}

fn named<T>(value: Value<'_>, kind: &str, example: &str, read: impl Fn(Value<'_>) -> T) -> Vec<(Located<String>, T)> {
    let entries = value.entries(&format!("{}s by name", kind.trim_start_matches("a ")), example);
    // Both are read, so that a bad name does not hide what is wrong below it.
    let pairs = entries.into_iter().map(|(key, value)| (key.identifier(kind, "dal-1"), read(value)));
    pairs.filter_map(|(name, value)| Some((name?, value))).collect()
}

fn director(value: Value<'_>) -> DirectorDraft {
    let mut uses = Vec::new();
    let read = |m: &Map<'_>| DirectorConfig::read(m, &mut uses);
    let config = value.map("director", "edge: {haproxy: \"unix:/run/haproxy/admin.sock\"}", read).flatten();
    DirectorDraft { config, uses }
}

fn source(value: Value<'_>) -> Option<SourceDraft> {
    value.map("source", "dallas: {softlayer: {datacenter: dal10}}", |m| {
        let Some(config) = SourceConfig::read(m, &mut Vec::new()) else {
            m.ask(rules::KEYS);
            return None;
        };
        let rules = Rules::read(m, config.kind().usual())?;
        Some(SourceDraft { config, rules })
    })?
}

fn site(value: Value<'_>) -> SiteDraft {
    if value.is_null() {
        return SiteDraft::default();
    }
    let draft = value.map("site", "dal10: {description: SoftLayer Dallas}", |m| SiteDraft {
        description: m
            .get("description")
            .and_then(|v| v.line("one line of text", "description: SoftLayer Dallas"))
            .map(|t| t.value),
        defaults: m
            .get("defaults")
            .and_then(|v| {
                v.map("site defaults", "defaults: {ssh: {jump: bastion}}", |m| host::settings(m, Scope::Site))
            })
            .unwrap_or_default(),
    });
    draft.unwrap_or_default()
}
