//! What is known of hosts and of who directs traffic: from options, and from whom they name. Everything is read as a plan would read it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::super::connect;
use super::super::environment::{Environment, ProcessSecrets};
use super::super::failure::advised;
use super::super::load;
use super::Args;
use super::place::Place;
use crate::config::{self, Ask, Sources};
use crate::model::{Mode, Pool, PoolFacts, Selector};
use crate::render::{HostRow, host_entry};
use crate::spec::Inventory;
use crate::text::{escape, suggest};

/// What the director of the options is called.
pub const DIRECTOR: &str = "edge";

/// What has to be written by somebody who knows.
pub const TODO: &str = "TODO";

/// What is known.
pub struct Known {
    /// What hosts are, as inventories write it, by name or range of names.
    pub hosts: BTreeMap<String, Value>,
    /// Sources and targets, in order.
    pub sources: Vec<String>,
    pub targets: Vec<String>,
    /// Hosts that others are reached through.
    pub jumps: Vec<String>,
    /// The pool, if somebody could be asked.
    pub pool: Option<Seen>,
}

/// A pool as it is.
pub struct Seen {
    pub now: Pool,
    pub facts: PoolFacts,
}

/// Asks whoever is named.
pub async fn gather(args: &Args, place: &Place, environment: &Environment) -> anyhow::Result<Known> {
    let inventory = import(args, place, environment).await?;
    let pool = pool(args, &inventory, environment).await?;
    let imported = args.ssh_config.is_some() || args.ansible.is_some() || args.softlayer;
    let mut known = Known { hosts: BTreeMap::new(), sources: Vec::new(), targets: Vec::new(), jumps: Vec::new(), pool };
    for (words, is_source) in [(&args.source, true), (&args.target, false)] {
        let mut names = Vec::new();
        for word in words {
            names.extend(named(word, &inventory, imported, &mut known.hosts)?);
        }
        if words.is_empty() {
            names = members(&known.pool, is_source, &inventory, &mut known.hosts);
        }
        let side = if is_source { &mut known.sources } else { &mut known.targets };
        *side = names;
    }
    if known.sources.is_empty() && imported {
        let names = inventory.hosts.keys().map(String::as_str);
        let hint = format!(
            "say --source and --target with names, patterns, tag=NAME or site=NAME; {}",
            suggest::hint("", "hosts", names)
        );
        return Err(advised("nobody has said which of the hosts move", hint));
    }
    if known.sources.is_empty() {
        known.sources.push("old-1".to_owned());
        known.hosts.insert("old-1".to_owned(), json!({ "address": TODO }));
    }
    if known.targets.is_empty() {
        known.targets = known.sources.iter().map(|source| format!("new-{source}")).collect();
        let unknown = |name: &String| (name.clone(), json!({ "address": format!("{{{{ name }}}}.{TODO}") }));
        known.hosts.extend(known.targets.iter().map(unknown));
    }
    let jumps = jumps(&known, &inventory);
    for name in &jumps {
        known.hosts.entry(name.clone()).or_insert(entry(name, &inventory)?);
    }
    known.jumps = jumps;
    Ok(known)
}

/// Hosts and directors of the options, read as an inventory that names them.
async fn import(args: &Args, place: &Place, environment: &Environment) -> anyhow::Result<Inventory> {
    let mut sources = Map::new();
    if let Some(file) = &args.ssh_config {
        let file = if file.starts_with("~/") { file.clone() } else { whole(file.as_ref())? };
        sources.insert("ssh".to_owned(), json!({ "ssh_config": { "file": file } }));
    }
    if let Some(file) = &args.ansible {
        sources.insert("ansible".to_owned(), json!({ "ansible": { "inventory": whole(file)? } }));
    }
    if args.softlayer {
        sources.insert("softlayer".to_owned(), json!({ "softlayer": {} }));
    }
    let mut asked = Map::new();
    if !sources.is_empty() {
        asked.insert("sources".to_owned(), Value::Object(sources));
    }
    if !args.haproxy.is_empty() {
        asked.insert("directors".to_owned(), json!({ DIRECTOR: { "haproxy": args.haproxy } }));
    }
    let through = args.haproxy.iter().filter_map(|address| address.strip_prefix("ssh:")?.split_once(':'));
    let own = args.source.iter().chain(&args.target).filter_map(|word| word.split_once('=')).filter(is_host);
    let hosts: Map<String, Value> =
        own.map(|(name, address)| (name.to_owned(), json!({ "address": address }))).collect();
    let mut hosts = hosts;
    for (host, _) in through.filter(|_| asked.get("sources").is_none()) {
        hosts.entry(host.to_owned()).or_insert_with(|| json!({ "address": host }));
    }
    if !hosts.is_empty() {
        asked.insert("hosts".to_owned(), Value::Object(hosts));
    }
    if let (Some(user), false) = (&args.user, asked.is_empty()) {
        asked.insert("defaults".to_owned(), json!({ "ssh": { "user": user } }));
    }
    if asked.is_empty() {
        return Ok(Inventory::default());
    }
    let file = place.scratch(&Value::Object(asked).to_string())?;
    let sources = Sources { secrets: &ProcessSecrets, pinned: &|_| Vec::new(), ask: Ask::Once };
    let loaded = config::load_inventory_from(&[file.at()], &load::options(environment), &sources).await;
    let (inventory, _, warnings) = loaded.map_err(|problems| {
        let hint = "nothing was written; the line shown is what the options say, as an inventory has it";
        advised(format!("the options cannot be used:\n{}", file.named(&problems.to_string())), hint)
    })?;
    if !warnings.is_empty() {
        eprintln!("{}", file.named(&warnings.to_string()));
    }
    Ok(inventory)
}

fn whole(path: &std::path::Path) -> anyhow::Result<String> {
    Ok(std::path::absolute(path)?.display().to_string())
}

/// `NAME=ADDRESS`, and no condition.
fn is_host((name, _): &(&str, &str)) -> bool {
    !matches!(*name, "site" | "tag" | "name")
}

/// The pool that the options mean, as its director has it now.
async fn pool(args: &Args, inventory: &Inventory, environment: &Environment) -> anyhow::Result<Option<Seen>> {
    let Some(config) = inventory.directors.get(DIRECTOR) else { return Ok(None) };
    let director = config.kind().connect(DIRECTOR, &connect::surroundings(inventory, environment))?;
    let name = match &args.pool {
        Some(name) => name.clone(),
        None => match director.pools().await?.as_slice() {
            [one] => one.clone(),
            all => {
                let hint = suggest::hint("", "backends", all.iter().map(String::as_str));
                return Err(advised("nobody has said which backend moves", format!("say --pool NAME; {hint}")));
            }
        },
    };
    Ok(Some(Seen { now: director.observe(&name).await?, facts: director.facts(&name).await? }))
}

/// The hosts that a word means; what they are is noted.
fn named(
    word: &str,
    inventory: &Inventory,
    imported: bool,
    hosts: &mut BTreeMap<String, Value>,
) -> anyhow::Result<Vec<String>> {
    let shown = escape(word.as_bytes(), 80);
    let selector = match word.split_once('=') {
        Some(("site", site)) => Selector { sites: BTreeSet::from([site.to_owned()]), ..Selector::default() },
        Some(("tag", tag)) => Selector { tags: BTreeSet::from([tag.to_owned()]), ..Selector::default() },
        Some(("name", pattern)) => Selector { name: Some(pattern.to_owned()), ..Selector::default() },
        Some((name, address)) => {
            hosts.insert(name.to_owned(), json!({ "address": address }));
            return Ok(vec![name.to_owned()]);
        }
        None if !imported => {
            hosts.entry(word.to_owned()).or_insert(json!({ "address": format!("{{{{ name }}}}.{TODO}") }));
            return Ok(vec![word.to_owned()]);
        }
        None => Selector { name: Some(word.to_owned()), ..Selector::default() },
    };
    let picked = selector.pick(inventory.hosts.values());
    if picked.is_empty() {
        let names = inventory.hosts.keys().map(String::as_str);
        return Err(advised(format!("no host is `{shown}`"), suggest::hint(word, "hosts", names)));
    }
    for name in &picked {
        hosts.insert(name.clone(), entry(name, inventory)?);
    }
    Ok(picked)
}

fn entry(name: &str, inventory: &Inventory) -> anyhow::Result<Value> {
    let Some(host) = inventory.hosts.get(name) else { anyhow::bail!("there is no host {name}") };
    let warnings = inventory.warnings.get(name).cloned().unwrap_or_default();
    let mut entry = host_entry(&HostRow { host: host.clone(), warnings });
    // Everybody's login stands once, above all hosts.
    if let Some(ssh) = entry.get_mut("ssh").and_then(Value::as_object_mut) {
        ssh.retain(|_, value| !value.is_null());
    }
    Ok(entry)
}

/// Servers of the pool: those that get something are sources, the others are targets. Hosts that are known already keep how they are reached.
fn members(
    pool: &Option<Seen>,
    is_source: bool,
    inventory: &Inventory,
    hosts: &mut BTreeMap<String, Value>,
) -> Vec<String> {
    let Some(Seen { now, facts }) = pool else { return Vec::new() };
    let serves = |member: &&crate::model::Member| (member.mode == Mode::Ready && member.weight > 0) == is_source;
    let mut names = Vec::new();
    for member in now.members.iter().filter(serves) {
        if hosts.contains_key(&member.name) {
            continue;
        }
        let address =
            facts.members.get(&member.name).and_then(|facts| facts.address).map(|address| address.to_string());
        let known =
            inventory.hosts.values().find(|host| host.name == member.name || Some(&host.address) == address.as_ref());
        let value = known.and_then(|host| entry(&host.name, inventory).ok());
        let value = value.unwrap_or_else(|| json!({ "address": address.unwrap_or_else(|| TODO.to_owned()) }));
        hosts.insert(member.name.clone(), value);
        names.push(member.name.clone());
    }
    names
}

/// Hosts that those of the plan are reached through, and those through which the director is.
fn jumps(known: &Known, inventory: &Inventory) -> Vec<String> {
    let mut found: BTreeSet<String> = BTreeSet::new();
    let mut open: Vec<String> = known.hosts.keys().cloned().collect();
    while let Some(name) = open.pop() {
        let jumps = inventory.hosts.get(&name).map(|host| host.ssh.jump.clone()).unwrap_or_default();
        for jump in jumps.into_iter().filter(|jump| !known.hosts.contains_key(jump)) {
            if found.insert(jump.clone()) {
                open.push(jump);
            }
        }
    }
    found.into_iter().collect()
}
