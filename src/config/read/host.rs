//! Hosts, and the settings that sites and `defaults` give to many of them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::config::read::{becoming, bmc};
use crate::model::{Become, Bmc, Money, SshTarget, Template};
use crate::text::name;
use crate::text::units;
use crate::yaml::diagnostic::Diagnostic;
use crate::yaml::map::Map;
use crate::yaml::reader::{Cx, Value};
use crate::yaml::source::Located;

/// Variables that every host has by itself.
pub const BUILT_IN: [&str; 3] = ["name", "address", "site"];

/// What can be said of one host, of a site's hosts, or of all.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub site: Option<Located<String>>,
    pub ssh: Ssh,
    pub tags: Vec<String>,
    pub capacity: Option<u32>,
    pub cost_per_month: Option<Money>,
    pub bmc: Option<Bmc>,
    pub vars: BTreeMap<String, String>,
}

/// Whom settings are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One host, or one range.
    Host,
    /// The hosts of a site.
    Site,
    /// The hosts of a group.
    Group,
    /// Every host.
    All,
}

/// How to log in, as far as it is said.
#[derive(Debug, Clone, Default)]
pub struct Ssh {
    /// Only of a host; for a range a range.
    pub address: Option<Located<String>>,
    pub user: Option<String>,
    pub port: Option<u16>,
    pub key: Option<PathBuf>,
    pub jump: Option<Vec<Located<String>>>,
    pub known_hosts: Option<PathBuf>,
    pub work_dir: Option<String>,
    /// `Some(None)`: programs run as the user who logs in, whatever is said for more hosts than this one.
    pub becomes: Option<Option<Become>>,
}

/// One entry of `hosts`, ranges expanded.
#[derive(Debug, Clone)]
pub struct HostDraft {
    pub name: Located<String>,
    pub address: Located<String>,
    /// What speaks against moving it.
    pub warnings: Vec<String>,
    pub settings: Settings,
    /// What its site and `defaults` say of logging in: groups go between this and what it says itself.
    pub inherited: Ssh,
}

/// Reads one entry of `hosts`: one host, or a range of them. When it cannot be read, that is reported, and the names it
/// would have had are returned, so that nobody is told that they are unknown.
pub fn read(key: Value<'_>, value: Value<'_>) -> Result<Vec<HostDraft>, Vec<String>> {
    let names = names(key);
    let read = value.map("host", "dal-1: {address: 10.0.0.1}", |m| {
        let address =
            m.need("address", "10.0.0.1").and_then(|v| v.line("an IP address or a DNS name", "address: 10.0.0.1"));
        let warnings = m.get("warnings").map(warnings).unwrap_or_default();
        (address.map(|a| (addresses(key.cx, &a, &names), a.at)), warnings, settings(m, Scope::Host))
    });
    let broken = |names: Vec<Located<String>>| names.into_iter().map(|n| n.value).collect();
    let Some((Some((Some(addresses), at)), warnings, settings)) = read else { return Err(broken(names)) };
    // The address to dial is written as the host's own is: for a range it is a range, or holds the name.
    let dial = match &settings.ssh.address {
        Some(written) => match addresses_or_none(key.cx, written, &names) {
            Some(dial) => dial,
            None => return Err(broken(names)),
        },
        None => vec![None; names.len()],
    };
    let mut hosts = Vec::with_capacity(names.len());
    for ((name, address), dial) in names.into_iter().zip(addresses).zip(dial) {
        let mut settings = settings.clone();
        settings.ssh.address = dial.map(|value| Located { value, at: at.clone() });
        let address = Located { value: address, at: at.clone() };
        hosts.push(HostDraft { name, address, warnings: warnings.clone(), settings, inherited: Ssh::default() });
    }
    if hosts.is_empty() { Err(Vec::new()) } else { Ok(hosts) }
}

fn warnings(value: Value<'_>) -> Vec<String> {
    let line = |v: &Value<'_>| v.line("one line of text", "warnings: [its disk fails]").map(|text| text.value);
    value.one_or_many().iter().filter_map(line).collect()
}

/// Reads an amount of money.
pub(super) fn money(value: Value<'_>) -> Option<Money> {
    let (cents, currency) = value.unit("an amount of money", "412.50 USD", units::money)?;
    Some(Money { cents, currency })
}

fn names(key: Value<'_>) -> Vec<Located<String>> {
    let Some(written) = key.line("the name of a host", "dal-1") else { return Vec::new() };
    let expanded = match key.cx.expand(&written.value) {
        Ok(names) => names,
        Err(why) => {
            key.error(format!("`{}` names no hosts: {why}", written.value), "for example `dal-[01-20]`");
            return Vec::new();
        }
    };
    let check = |n: &String| name::check(n).map_err(|why| (n.clone(), why));
    if let Some(Err((bad, why))) = expanded.iter().map(check).find(Result::is_err) {
        key.error(
            format!("`{}` cannot be the name of a host: {why}", crate::text::escape(bad.as_bytes(), 60)),
            name::RULE,
        );
        return Vec::new();
    }
    expanded.into_iter().map(|value| Located { value, at: written.at.clone() }).collect()
}

fn addresses_or_none(cx: &Cx<'_>, written: &Located<String>, names: &[Located<String>]) -> Option<Vec<Option<String>>> {
    addresses(cx, written, names).map(|all| all.into_iter().map(Some).collect())
}

/// One address for each name. `{{ name }}` and a range of the same length make addresses for a range of hosts.
fn addresses(cx: &Cx<'_>, written: &Located<String>, names: &[Located<String>]) -> Option<Vec<String>> {
    let error = |message: String, hint: &str| {
        cx.sink.push(Diagnostic::error(&written.at, message).hint(hint));
        None
    };
    let expanded = match expand_address(cx, &written.value, names) {
        Ok(addresses) => addresses,
        Err(why) => {
            return error(
                format!("this address cannot be used: {why}"),
                "for example `10.1.0.[11-30]` or `\"{{ name }}.example.com\"`",
            );
        }
    };
    if expanded.len() != names.len() {
        // Without names there is nothing to count; that has been reported.
        let (hosts, given) = (crate::text::count(names.len() as u64, "host"), expanded.len());
        let message =
            if given == 1 { format!("{hosts} with one address") } else { format!("{hosts} with {given} addresses") };
        return if names.is_empty() {
            None
        } else {
            error(message, "give a range of the same length, as in `10.1.0.[11-30]`, or use `{{ name }}`")
        };
    }
    let check = |a: &String| name::check_address(a).map_err(|why| (a.clone(), why));
    match expanded.iter().map(check).find(Result::is_err) {
        Some(Err((bad, why))) => {
            let shown = crate::text::escape(bad.as_bytes(), 80);
            error(format!("`{shown}` cannot be an address: {why}"), "for example 10.0.0.1 or web.example.com")
        }
        _ => Some(expanded),
    }
}

fn expand_address(cx: &Cx<'_>, written: &str, names: &[Located<String>]) -> Result<Vec<String>, String> {
    if !written.contains("{{") {
        return cx.expand(written).map_err(str::to_owned);
    }
    let template = Template(written.to_owned());
    let fill =
        |name: &Located<String>| template.render_plain(&BTreeMap::from([("name".to_owned(), name.value.clone())]));
    names
        .iter()
        .map(fill)
        .collect::<Result<Vec<String>, _>>()
        .map_err(|e| format!("{e}; only `{{{{ name }}}}` is known here"))
}

/// Reads what hosts, sites and defaults have in common.
pub fn settings(m: &Map<'_>, scope: Scope) -> Settings {
    Settings {
        site: if scope == Scope::Site { None } else { m.get("site").and_then(|v| v.identifier("a site", "dal10")) },
        ssh: m.get("ssh").and_then(|v| ssh(v, scope)).unwrap_or_default(),
        tags: m.get("tags").map(tags).unwrap_or_default(),
        capacity: m.get("capacity").and_then(|v| v.integer(1..=1_000_000)).and_then(|n| u32::try_from(n).ok()),
        cost_per_month: m.get("cost_per_month").and_then(money),
        bmc: m.get("bmc").and_then(bmc::read),
        vars: m.get("vars").map(vars).unwrap_or_default(),
    }
}

/// Reads labels: one or a list.
pub fn tags(value: Value<'_>) -> Vec<String> {
    value.one_or_many().iter().filter_map(|v| v.identifier("a tag", "web")).map(|t| t.value).collect()
}

fn vars(value: Value<'_>) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for (key, value) in value.entries("variables by name", "vars: {data: /srv}") {
        if let Err(why) = name::check_variable(key.name()) {
            key.error(
                format!("`{}` cannot be the name of a variable: {why}", crate::text::escape(key.name().as_bytes(), 60)),
                "for example `data: /srv`",
            );
        } else if BUILT_IN.contains(&key.name()) {
            key.error(format!("`{}` is a variable that every host has by itself", key.name()), "choose another name");
        } else if let Some(text) = value.text("text or a number", "data: /srv") {
            out.insert(key.name().to_owned(), text.value);
        }
    }
    out
}

/// Reads how to log in.
pub fn ssh(value: Value<'_>, scope: Scope) -> Option<Ssh> {
    value.map("ssh", "ssh: {user: deploy}", |m| Ssh {
        // Many hosts do not share one address.
        address: match scope {
            Scope::Host => m.get("address").and_then(|v| v.line("an IP address or a DNS name", "address: 10.0.0.1")),
            Scope::Site | Scope::Group | Scope::All => None,
        },
        user: m.get("user").and_then(|v| checked(v, "the name of a user", "deploy", name::check_user)),
        port: m.get("port").and_then(|v| v.integer(1..=65_535)).and_then(|n| u16::try_from(n).ok()),
        key: m.get("key").and_then(|v| v.path()),
        jump: m.get("jump").map(|v| v.one_or_many().iter().filter_map(|v| v.identifier("a host", "dal-1")).collect()),
        known_hosts: m.get("known_hosts").and_then(|v| v.path()),
        work_dir: m
            .get("work_dir")
            .and_then(|v| checked(v, "a directory on the host", "/var/lib/migrate", check_work_dir)),
        becomes: m.get("become").and_then(becoming::read),
    })
}

pub(super) fn checked(
    value: Value<'_>,
    wants: &str,
    example: &str,
    check: fn(&str) -> Result<(), &'static str>,
) -> Option<String> {
    let found = value.line(wants, &format!("{}: {example}", value.name()))?;
    match check(&found.value) {
        Ok(()) => Some(found.value),
        Err(why) => {
            let shown = crate::text::escape(found.value.as_bytes(), 80);
            value.error(
                format!("`{shown}` cannot be {wants}: {why}"),
                format!("for example `{}: {example}`", value.name()),
            );
            None
        }
    }
}

fn check_work_dir(path: &str) -> Result<(), &'static str> {
    let inside = path.strip_prefix("~/").or_else(|| path.strip_prefix('/'));
    match inside {
        None => Err("it begins neither with `/` nor with `~/`"),
        Some(rest) if rest.split('/').any(|part| part == "..") => Err("it holds `..`"),
        Some(rest) if rest.trim_matches('/').is_empty() => Err("it would be the whole home or root directory"),
        Some(_) => Ok(()),
    }
}

impl Settings {
    /// These settings, with `wider` where they say nothing. Tags add up, variables go by name; how to log in waits for the groups.
    #[must_use]
    pub fn over(mut self, wider: &Settings) -> Self {
        self.site = self.site.or_else(|| wider.site.clone());
        self.tags.extend(wider.tags.iter().cloned());
        self.capacity = self.capacity.or(wider.capacity);
        self.cost_per_month = self.cost_per_month.or_else(|| wider.cost_per_month.clone());
        self.bmc = self.bmc.or_else(|| wider.bmc.clone());
        for (key, value) in &wider.vars {
            self.vars.entry(key.clone()).or_insert_with(|| value.clone());
        }
        self
    }
}

impl Ssh {
    /// These settings, with `wider` where they say nothing.
    #[must_use]
    pub fn over(self, wider: &Ssh, host: &str) -> Self {
        // A bastion that all hosts are reached through is not reached through itself.
        let inherited = wider.jump.clone().filter(|hops| hops.iter().all(|hop| hop.value != host));
        Self {
            address: self.address,
            user: self.user.or_else(|| wider.user.clone()),
            port: self.port.or(wider.port),
            key: self.key.or_else(|| wider.key.clone()),
            jump: self.jump.or(inherited),
            known_hosts: self.known_hosts.or_else(|| wider.known_hosts.clone()),
            work_dir: self.work_dir.or_else(|| wider.work_dir.clone()),
            becomes: self.becomes.or_else(|| wider.becomes.clone()),
        }
    }

    /// As the model has it.
    pub fn target(&self) -> SshTarget {
        SshTarget {
            address: self.address.as_ref().map(|a| a.value.clone()),
            user: self.user.clone(),
            port: self.port,
            key: self.key.clone(),
            jump: self.jump.iter().flatten().map(|hop| hop.value.clone()).collect(),
            known_hosts: self.known_hosts.clone(),
            work_dir: self.work_dir.clone(),
            becomes: self.becomes.clone().flatten(),
        }
    }
}
