//! Reading a pooler from YAML.

use std::time::Duration;

use super::Pooler;
use crate::fields::template::{Role, Sides, Unfit, Use};
use crate::state::server::{self, Texts, given, path, word};
use crate::yaml::map::Map;
use crate::yaml::reader::Value;

const EXAMPLE: &str = "pooler: {pgbouncer: edge, database: app}";
const MILLISECOND: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

/// Reads `{pgbouncer: edge, database: app}`.
pub(in super::super) fn read(value: Value<'_>, uses: &mut Vec<Use>) -> Option<Pooler> {
    value.map("postgres pooler", "{pgbouncer: edge, database: app}", |map| {
        let on = map.need("pgbouncer", "edge").and_then(|v| v.line("the name of a host", EXAMPLE));
        let database = map.need("database", "app").and_then(|v| server::name(v, "the name of a database", EXAMPLE));
        let mut texts = Texts { map, sides: Sides::Target, example: EXAMPLE, uses };
        let host = texts.optional("host", Role::Own(word), "a name or an address");
        let config = text(map, "config", path, "/etc/pgbouncer/pgbouncer.ini");
        let socket = text(map, "socket", path, "/var/run/postgresql");
        let user = text(map, "user", word, "postgres");
        let admin = text(map, "admin", word, "pgbouncer");
        let port = map.get("port").map(|v| v.integer(1..=65535).and_then(|port| u16::try_from(port).ok()));
        let within = |key, most| map.get(key).map(|v| v.duration(MILLISECOND..=most));
        let (pause, resumes) = (within("pause_within", HOUR), within("resumes_after", HOUR));
        Some(Pooler {
            on: on?.value,
            database: database?,
            host: host?,
            config: config?,
            socket: socket?,
            port: given(port)?.unwrap_or(6432),
            user: user?,
            admin: admin?,
            pause_within: given(pause)?.unwrap_or(Duration::from_secs(2)),
            resumes_after: given(resumes)?.unwrap_or(Duration::from_secs(60)),
        })
    })?
}

/// A word or a path that may be left out.
fn text(map: &Map<'_>, key: &'static str, fits: fn(&str) -> Result<(), Unfit>, default: &str) -> Option<String> {
    let Some(value) = map.get(key) else { return Some(default.to_owned()) };
    let text = value.line("a word", default)?.value;
    match fits(&text) {
        Ok(()) => Some(text),
        Err(unfit) => {
            value.error(unfit.sentence(&text), unfit.hint);
            None
        }
    }
}
