//! A program, where it runs and what it can, as inventories say it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fields::template::Use;
use crate::fields::{kinds, secret};
use crate::model::{Capabilities, Weights};
use crate::secret::SecretRef;
use crate::text::name;
use crate::yaml::map::Map;
use crate::yaml::reader::Value;

const EXAMPLE: &str = "command: {run: [/usr/local/bin/our-balancer], can: {weights: 100}}";

/// How long one answer may take.
const WITHIN: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(600);

/// A program that somebody wrote for what `migrate` does not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The program and its own arguments.
    pub run: Vec<String>,
    /// The host of the inventory that it runs on; `None` for this machine.
    pub on: Option<String>,
    /// What it can.
    pub can: Capabilities,
    /// What it finds in its environment.
    pub secrets: BTreeMap<String, SecretRef>,
    /// How long one answer may take.
    pub within: Duration,
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = crate::text::escape(self.run.first().map_or("", String::as_str).as_bytes(), 80);
        match &self.on {
            Some(host) => write!(f, "{program} on {host}"),
            None => f.write_str(&program),
        }
    }
}

impl kinds::Settings for Settings {
    const KEY: &'static str = "command";

    fn read(value: Value<'_>, _: &Map<'_>, uses: &mut Vec<Use>) -> Option<Self> {
        value.map("command director", EXAMPLE, |m| {
            let run = m.need("run", "[/usr/local/bin/our-balancer]").and_then(words);
            let on = m.get("on").map(|v| v.identifier("a host", "on: lb-1"));
            let can = m.need("can", "{weights: 100}").and_then(abilities);
            let secrets = m.get("secrets").map_or(Some(BTreeMap::new()), secrets);
            let within = m.get("within").map_or(Some(WITHIN), |v| v.duration(Duration::from_secs(1)..=LONGEST));
            uses.extend(on.clone().flatten().map(Use::host));
            let on = on.map_or(Some(None), |host| host.map(|host| Some(host.value)));
            Some(Self { run: run?, on: on?, can: can?, secrets: secrets?, within: within? })
        })?
    }
}

fn words(value: Value<'_>) -> Option<Vec<String>> {
    let items = value.one_or_many();
    let words: Vec<String> = items
        .iter()
        .filter_map(|i| i.text("one word of a command", "run: [/usr/local/bin/our-balancer]").map(|t| t.value))
        .collect();
    if words.first().is_none_or(|program| program.trim().is_empty()) && words.len() == items.len() {
        value.error("`run` names no program", "for example `run: [/usr/local/bin/our-balancer, --site, fra]`");
        return None;
    }
    (words.len() == items.len()).then_some(words)
}

fn abilities(value: Value<'_>) -> Option<Capabilities> {
    value.map("abilities", "can: {weights: 100}", |m| {
        let can = |key| m.get(key).map_or(Some(false), |v| v.bool());
        let weights = m.need("weights", "100").and_then(weights);
        let (adds_members, connections, drain, ttl) =
            (can("adds_members"), can("connections"), can("drain"), can("ttl"));
        let can = Capabilities {
            weights: weights?,
            adds_members: adds_members?,
            connections: connections?,
            drain: drain?,
            ttl: ttl?,
            ends_sessions: false,
        };
        if can.weights == Weights::Presence && (can.drain || !can.adds_members) {
            let why = "members that are there or not are added and taken away, and have no drain";
            value.error(why, "write `can: {weights: presence, adds_members: true}`");
            return None;
        }
        Some(can)
    })?
}

fn weights(value: Value<'_>) -> Option<Weights> {
    let text = value.text("the largest weight, or `presence`", "weights: 100")?.value;
    let most = text.parse::<u16>().ok().filter(|most| *most > 0 && most.to_string() == text);
    match (text.as_str(), most) {
        ("presence", _) => Some(Weights::Presence),
        (_, Some(most)) => Some(Weights::Exact(most)),
        _ => {
            let shown = crate::text::escape(text.as_bytes(), 60);
            value.error(
                format!("`{shown}` is no largest weight"),
                "write a number from 1 to 65535, or `presence` where members are there or not",
            );
            None
        }
    }
}

fn secrets(value: Value<'_>) -> Option<BTreeMap<String, SecretRef>> {
    let entries = value.entries("secrets by the name of a variable", "secrets: {TOKEN: {file: ./token}}");
    let mut all = Some(BTreeMap::new());
    for (key, reference) in entries {
        let name = key.line("the name of a variable", "TOKEN").map(|t| t.value);
        let name = name.filter(|name| match name::check_variable(name) {
            Ok(()) => true,
            Err(why) => {
                key.error(format!("this is not the name of a variable: {why}"), "for example `TOKEN`");
                false
            }
        });
        all = match (all, name, secret::read(reference)) {
            (Some(mut all), Some(name), Some(reference)) => {
                all.insert(name, reference);
                Some(all)
            }
            _ => None,
        };
    }
    all
}

/// What it can, as an inventory would say it.
pub(super) fn in_words(can: &Capabilities) -> String {
    let weights = match can.weights {
        Weights::Exact(most) => most.to_string(),
        Weights::Presence => "presence".to_owned(),
    };
    let flags =
        [("adds_members", can.adds_members), ("connections", can.connections), ("drain", can.drain), ("ttl", can.ttl)];
    let flags = flags.iter().filter(|(_, can)| *can).map(|(name, _)| format!(", {name}: true"));
    format!("{{weights: {weights}{}}}", flags.collect::<String>())
}
