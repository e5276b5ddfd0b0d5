//! Reading a cluster of PostgreSQL from YAML.

use std::time::Duration;

use super::{Cluster, Link, Method, PostgresState, pooler};
use crate::fields::kinds::Settings;
use crate::fields::template::{Role, Sides, Use};
use crate::state::server::{self, Texts, any, given, path, word};
use crate::yaml::map::{Map, one_of};
use crate::yaml::reader::Value;

const EXAMPLE: &str = "{from: {data: …}, to: {data: …}, link: {user: replicator}}";
const DATA: &str = "data: /var/lib/postgresql/15/main";
const TIMEOUT: Duration = Duration::from_secs(120);
const METHODS: [(&str, Method); 3] =
    [("auto", Method::Auto), ("physical", Method::Physical), ("logical", Method::Logical)];
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
            let link = m.need("link", "{user: replicator}");
            let link = link.and_then(|value| self::link(value, [Sides::Source, Sides::Target], uses));
            let back = m.get("back").map(|value| self::link(value, [Sides::Target, Sides::Source], uses));
            let pooler = m.get("pooler").map(|value| pooler::read(value, uses));
            let role = m.get("role").map(role);
            let method = m.get("method").map(|value| one_of(value, "a way", "ways", &METHODS).map(|read| read.value));
            let method = given(method)?.unwrap_or_default();
            let databases = databases(m, method);
            let verify = only_for(m, "verify", method, Method::Logical).map(server::verify);
            let bandwidth = only_for(m, "bandwidth", method, Method::Physical).and_then(|value| value.rate());
            let limits = server::limits(m, TIMEOUT, given(verify)?.unwrap_or_default());
            let role = role.unwrap_or_else(|| Some("postgres".to_owned()));
            let (from, to) = (Box::new(from?), Box::new(to?));
            let (link, back, databases, role) = (link?, given(back)?, databases?, role?);
            let pooler = given(pooler)?.map(Box::new);
            Some(Self { from, to, link, back, method, databases, role, pooler, bandwidth, limits })
        })?
    }
}

/// The databases that move one by one; they must be named where nothing else can move.
fn databases(m: &Map<'_>, method: Method) -> Option<Vec<String>> {
    let value = match method {
        Method::Logical => Some(m.need("databases", "[app]")?),
        _ => only_for(m, "databases", method, Method::Logical),
    };
    let names = value.into_iter().flat_map(|value| value.one_or_many());
    names.map(|value| server::name(value, "the name of a database", "databases: [app]")).collect()
}

/// A key that has a meaning on one way alone.
fn only_for<'a>(m: &Map<'a>, key: &'static str, method: Method, meant: Method) -> Option<Value<'a>> {
    let value = m.get(key)?;
    if method == meant || method == Method::Auto {
        return Some(value);
    }
    let way = METHODS.iter().find(|(_, other)| *other == meant).map_or("", |(word, _)| word);
    value
        .error(format!("`{key}` is for what moves by {way} replication"), format!("remove it, or say `method: {way}`"));
    None
}

fn cluster(value: Value<'_>, sides: Sides, uses: &mut Vec<Use>) -> Option<Cluster> {
    value.map("postgres cluster", "{data: /var/lib/postgresql/15/main}", |map| {
        let mut texts = Texts { map, sides, example: DATA, uses };
        let bin = texts.optional("bin", Role::Own(path), "an absolute path");
        let port = texts.or("port", Role::Port, "a port", "5432");
        let socket = texts.or("socket", Role::Own(path), "an absolute path", "/var/run/postgresql");
        let user = texts.or("user", Role::Own(word), "a user of the system", "postgres");
        let start = texts.optional("start", Role::Command, "a command");
        let stop = texts.optional("stop", Role::Command, "a command");
        let options = texts.optional("options", Role::Own(any), "options of the server");
        let data = texts.needed("data", Role::Directory, "an absolute path", "/var/lib/postgresql/15/main");
        Some(Cluster {
            data: data?,
            bin: bin?,
            port: port?,
            socket: socket?,
            user: user?,
            start: start?,
            stop: stop?,
            options: options?,
        })
    })?
}

/// From one side, whose variables the file has, to the other, whose variables the address has.
fn link(value: Value<'_>, [there, here]: [Sides; 2], uses: &mut Vec<Use>) -> Option<Link> {
    const EXAMPLE: &str = "link: {user: replicator}";
    value.map("postgres link", "{user: replicator}", |map| {
        let user = map.need("user", "replicator").and_then(role);
        let mut at_source = Texts { map, sides: there, example: EXAMPLE, uses };
        let host = at_source.optional("host", Role::Own(word), "a name or an address");
        let mut at_target = Texts { map, sides: here, example: EXAMPLE, uses };
        let passfile = at_target.optional("passfile", Role::Own(path), "an absolute path");
        let sslmode = map.get("sslmode").map(|value| one_of(value, "a mode", "modes", &SSLMODES));
        let sslmode = match sslmode {
            Some(read) => Some(read?.value.to_owned()),
            None => None,
        };
        Some(Link { user: user?, host: host?, passfile: passfile?, sslmode })
    })?
}

fn role(value: Value<'_>) -> Option<String> {
    server::name(value, "the name of a role", "user: replicator")
}
