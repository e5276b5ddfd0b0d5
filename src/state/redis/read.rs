//! Reading a server of Redis from YAML.

use std::time::Duration;

use super::{RedisState, Server};
use crate::fields;
use crate::fields::kinds::Settings;
use crate::fields::template::{Role, Sides, Use};
use crate::model::Template;
use crate::state::replica::Verify;
use crate::state::server::{self, Texts, given, path, word};
use crate::yaml::map::Map;
use crate::yaml::reader::Value;

const EXAMPLE: &str = "{from: {password: {env: REDIS_PASSWORD}}, to: {password: {env: REDIS_PASSWORD}}}";
const SERVER: &str = "{config: /etc/redis/redis.conf, port: \"6379\"}";

impl Settings for RedisState {
    const KEY: &'static str = "redis";

    fn read(value: Value<'_>, _: &Map<'_>, uses: &mut Vec<Use>) -> Option<Self> {
        value.map("redis", EXAMPLE, |m| {
            let mut server = |key, sides| match m.get(key) {
                Some(value) => server(value, sides, uses),
                None => Some(Server::usual()),
            };
            let (from, to) = (server("from", Sides::Source), server("to", Sides::Target));
            let limits = server::limits(m, Duration::from_secs(60), Verify::Frozen);
            Some(Self { from: Box::new(from?), to: Box::new(to?), limits })
        })?
    }
}

const CONFIG: &str = "/etc/redis/redis.conf";
const HOST: &str = "127.0.0.1";
const PORT: &str = "6379";

impl Server {
    /// As Debian's package sets it up.
    fn usual() -> Self {
        let [config, host, port] = [CONFIG, HOST, PORT].map(|text| Template(text.to_owned()));
        Self { config, host, port, address: None, cli: None, user: None, password: None }
    }
}

fn server(value: Value<'_>, sides: Sides, uses: &mut Vec<Use>) -> Option<Server> {
    value.map("redis server", SERVER, |map| {
        let mut texts = Texts { map, sides, example: SERVER, uses };
        let config = texts.or("config", Role::Own(path), "an absolute path", CONFIG);
        let host = texts.or("host", Role::Own(word), "a name or an address", HOST);
        let port = texts.or("port", Role::Port, "a port", PORT);
        let address = texts.optional("address", Role::Own(word), "a name or an address");
        let cli = texts.optional("cli", Role::Command, "a command");
        let user = map.get("user").map(|value| server::name(value, "the name of a user", "user: migrate"));
        let password = map.get("password").map(fields::secret::read);
        let (user, password) = (given(user)?, given(password)?);
        Some(Server { config: config?, host: host?, port: port?, address: address?, cli: cli?, user, password })
    })?
}
