//! Reading a cluster of PostgreSQL from YAML.

use std::time::Duration;

use super::{Cluster, Link, PostgresState};
use crate::fields::kinds::Settings;
use crate::fields::template::{self, Role, Sides, Unfit, Use};
use crate::model::Template;
use crate::state::replica::{Limits, Verify};
use crate::text::units::YEAR;
use crate::yaml::map::{Map, one_of};
use crate::yaml::reader::Value;

const EXAMPLE: &str = "{from: {data: …}, to: {data: …}, link: {user: replicator}}";
const DATA: &str = "data: /var/lib/postgresql/15/main";
const MILLISECOND: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);
const SSLMODES: [(&str, &str); 6] = [
    ("verify-full", "verify-full"),
    ("verify-ca", "verify-ca"),
    ("require", "require"),
    ("prefer", "prefer"),
    ("allow", "allow"),
    ("disable", "disable"),
];

impl Settings for PostgresState {
    const KEY: &'static str = "postgres";

    fn read(value: Value<'_>, _: &Map<'_>, uses: &mut Vec<Use>) -> Option<Self> {
        value.map("postgres", EXAMPLE, |m| {
            let from = m.need("from", DATA).and_then(|value| cluster(value, Sides::Source, uses));
            let to = m.need("to", DATA).and_then(|value| cluster(value, Sides::Target, uses));
            let link = m.need("link", "{user: replicator}").and_then(|value| link(value, uses));
            let role = m.get("role").map(name);
            let bandwidth = m.get("bandwidth").and_then(|value| value.rate());
            let limits = limits(m);
            let role = role.unwrap_or_else(|| Some("postgres".to_owned()));
            let (from, to) = (Box::new(from?), Box::new(to?));
            Some(Self { from, to, link: link?, role: role?, bandwidth, limits })
        })?
    }
}

fn limits(m: &Map<'_>) -> Limits {
    let within = |key, default: Duration, most| {
        m.get(key).and_then(|value| value.duration(MILLISECOND..=most)).unwrap_or(default)
    };
    Limits {
        settle_below: m.get("settle_below").and_then(|value| value.size()).unwrap_or(1 << 20),
        settle_within: within("settle_within", HOUR, YEAR),
        freeze_within: within("freeze_within", Duration::from_secs(30), HOUR),
        timeout: within("timeout", Duration::from_secs(120), HOUR),
        verify: Verify::default(),
    }
}

fn cluster(value: Value<'_>, sides: Sides, uses: &mut Vec<Use>) -> Option<Cluster> {
    value.map("postgres cluster", "{data: /var/lib/postgresql/15/main}", |m| {
        let mut plain =
            |key: &'static str, role: Role, wants: &str, default: Option<&str>| -> Option<Option<Template>> {
                let Some(value) = m.get(key) else { return Some(default.map(|text| Template(text.to_owned()))) };
                let read = template::read(value, role, sides, wants, DATA)?;
                let template = read.template.value.clone();
                uses.push(read);
                Some(Some(template))
            };
        let bin = plain("bin", Role::Own(path), "an absolute path", None);
        let port = plain("port", Role::Port, "a port", Some("5432"));
        let socket = plain("socket", Role::Own(path), "an absolute path", Some("/var/run/postgresql"));
        let user = plain("user", Role::Own(word), "a user of the system", Some("postgres"));
        let start = plain("start", Role::Command, "a command", None);
        let stop = plain("stop", Role::Command, "a command", None);
        let options = plain("options", Role::Own(any), "options of the server", None);
        let data = m.need("data", "/var/lib/postgresql/15/main");
        let data = data.and_then(|v| template::read(v, Role::Directory, sides, "an absolute path", DATA));
        let data = data?;
        let template = data.template.value.clone();
        uses.push(data);
        Some(Cluster {
            data: template,
            bin: bin?,
            port: port??,
            socket: socket??,
            user: user??,
            start: start?,
            stop: stop?,
            options: options?,
        })
    })?
}

fn link(value: Value<'_>, uses: &mut Vec<Use>) -> Option<Link> {
    value.map("postgres link", "{user: replicator}", |m| {
        let user = m.need("user", "replicator").and_then(name);
        let mut plain = |key: &'static str, role, sides, wants: &str| -> Option<Option<Template>> {
            let Some(value) = m.get(key) else { return Some(None) };
            let read = template::read(value, role, sides, wants, "link: {user: replicator}")?;
            let template = read.template.value.clone();
            uses.push(read);
            Some(Some(template))
        };
        let host = plain("host", Role::Own(word), Sides::Source, "a name or an address");
        let passfile = plain("passfile", Role::Own(path), Sides::Target, "an absolute path");
        let sslmode = m.get("sslmode").map(|value| one_of(value, "a mode", "modes", &SSLMODES));
        let sslmode = match sslmode {
            Some(read) => Some(read?.value.to_owned()),
            None => None,
        };
        Some(Link { user: user?, host: host?, passfile: passfile?, sslmode })
    })?
}

/// The name of a role: it becomes a word of a connection string.
fn name(value: Value<'_>) -> Option<String> {
    let text = value.line("the name of a role", "user: replicator")?;
    match word(&text.value) {
        Ok(()) => Some(text.value),
        Err(unfit) => {
            value.error(unfit.sentence(&text.value), unfit.hint);
            None
        }
    }
}

fn word(text: &str) -> Result<(), Unfit> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-:@/".contains(c);
    match !text.is_empty() && !text.starts_with('-') && text.chars().all(plain) {
        true => Ok(()),
        false => Err(Unfit::new("is not made of letters, digits and . _ - : @ / alone", "rename it, or correct it")),
    }
}

fn path(text: &str) -> Result<(), Unfit> {
    word(text)?;
    match text.starts_with('/') {
        true => Ok(()),
        false => Err(Unfit::new("is not an absolute path", "begin it with `/`")),
    }
}

fn any(_: &str) -> Result<(), Unfit> {
    Ok(())
}
