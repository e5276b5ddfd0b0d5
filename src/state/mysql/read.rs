//! Reading a server of MariaDB from YAML.

use std::time::Duration;

use super::{Link, MysqlState, Server};
use crate::fields;
use crate::fields::kinds::Settings;
use crate::fields::template::{Role, Sides, Use};
use crate::model::Template;
use crate::state::replica::Verify;
use crate::state::server::{self, Texts, given, path, word};
use crate::yaml::map::Map;
use crate::yaml::reader::Value;

const EXAMPLE: &str = "{link: {user: replicator, password: {env: REPLICATOR_PASSWORD}}}";
const SERVER: &str = "{socket: /run/mysqld/mysqld.sock, port: \"3306\"}";
const LINK: &str = "{user: replicator, password: {env: REPLICATOR_PASSWORD}}";
const CONFIG: &str = "/etc/mysql/mariadb.conf.d";
const SOCKET: &str = "/run/mysqld/mysqld.sock";
const PORT: &str = "3306";
const USER: &str = "root";

impl Settings for MysqlState {
    const KEY: &'static str = "mysql";

    fn read(value: Value<'_>, _: &Map<'_>, uses: &mut Vec<Use>) -> Option<Self> {
        value.map("mysql", EXAMPLE, |m| {
            let mut server = |key, sides| match m.get(key) {
                Some(value) => server(value, sides, uses),
                None => Some(Server::usual()),
            };
            let (from, to) = (server("from", Sides::Source), server("to", Sides::Target));
            let link = m.need("link", LINK).and_then(link);
            let limits = server::limits(m, Duration::from_secs(60), Verify::default());
            Some(Self { from: Box::new(from?), to: Box::new(to?), link: link?, limits })
        })?
    }
}

impl Server {
    /// As Debian's package sets it up.
    fn usual() -> Self {
        let [config, socket, port] = [CONFIG, SOCKET, PORT].map(|text| Template(text.to_owned()));
        Self { config, socket, port, address: None, user: USER.to_owned(), password: None }
    }
}

fn server(value: Value<'_>, sides: Sides, uses: &mut Vec<Use>) -> Option<Server> {
    value.map("mysql server", SERVER, |map| {
        let mut texts = Texts { map, sides, example: SERVER, uses };
        let config = texts.or("config", Role::Own(path), "an absolute path", CONFIG);
        let socket = texts.or("socket", Role::Own(path), "an absolute path", SOCKET);
        let port = texts.or("port", Role::Port, "a port", PORT);
        let address = texts.optional("address", Role::Own(word), "a name or an address");
        let user = map.get("user").map(user);
        let password = map.get("password").map(fields::secret::read);
        let (user, password) = (given(user)?, given(password)?);
        let user = user.unwrap_or_else(|| USER.to_owned());
        Some(Server { config: config?, socket: socket?, port: port?, address: address?, user, password })
    })?
}

fn link(value: Value<'_>) -> Option<Link> {
    value.map("mysql link", LINK, |map| {
        let user = map.need("user", "replicator").and_then(user);
        let password = map.need("password", "{env: REPLICATOR_PASSWORD}").and_then(fields::secret::read);
        let tls = map.get("tls").and_then(|value| value.bool()).unwrap_or(false);
        Some(Link { user: user?, password: password?, tls })
    })?
}

fn user(value: Value<'_>) -> Option<String> {
    server::name(value, "the name of a user", "user: replicator")
}
