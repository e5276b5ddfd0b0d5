//! Where NGINX's upstreams are written, and how it is seen what it serves, as inventories say it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::fields::kinds;
use crate::fields::template::Use;
use crate::yaml::map::Map;
use crate::yaml::reader::Value;

const EXAMPLE: &str = "nginx: {file: /etc/nginx/migrate/web.conf, marker: /run/nginx-migrate.sock, on: lb-1}";

/// NGINX on one machine or on several that share the traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The file with the upstreams, on each of them.
    pub file: String,
    /// The socket at which NGINX answers the generation that it serves.
    pub marker: String,
    /// The hosts of the inventory; none for this machine.
    pub on: Vec<String>,
    /// NGINX's program, with what it needs to find its configuration.
    pub command: Vec<String>,
    /// The file with the process id of its master.
    pub pid: String,
}

impl kinds::Settings for Settings {
    const KEY: &'static str = "nginx";

    fn read(value: Value<'_>, _: &Map<'_>, uses: &mut Vec<Use>) -> Option<Self> {
        value.map("nginx director", EXAMPLE, |m| {
            let file =
                m.need("file", "/etc/nginx/migrate/web.conf").and_then(|v| absolute(v, "/etc/nginx/migrate/web.conf"));
            let marker =
                m.need("marker", "/run/nginx-migrate.sock").and_then(|v| absolute(v, "/run/nginx-migrate.sock"));
            let on = m.get("on").map_or(Some(Vec::new()), |v| hosts(v, uses));
            let command = m.get("command").map_or_else(|| Some(vec!["nginx".to_owned()]), words);
            let pid = m.get("pid").map_or_else(|| Some("/run/nginx.pid".to_owned()), |v| absolute(v, "/run/nginx.pid"));
            Some(Self { file: file?, marker: marker?, on: on?, command: command?, pid: pid? })
        })?
    }
}

fn absolute(value: Value<'_>, example: &str) -> Option<String> {
    let example = format!("{}: {example}", value.name());
    let text = value.line("the absolute path of a file there", &example)?.value;
    if text.starts_with('/') && !text.ends_with('/') {
        return Some(text);
    }
    let shown = crate::text::escape(text.as_bytes(), 80);
    value.error(format!("`{shown}` is not the absolute path of a file"), format!("for example `{example}`"));
    None
}

fn hosts(value: Value<'_>, uses: &mut Vec<Use>) -> Option<Vec<String>> {
    let items = value.one_or_many();
    let hosts: Vec<_> = items.iter().filter_map(|item| item.identifier("a host", "on: lb-1")).collect();
    if items.is_empty() {
        value.error("`on` names no host", "for example `on: [lb-1, lb-2]`; leave it out for this machine");
    }
    let complete = !items.is_empty() && hosts.len() == items.len();
    uses.extend(hosts.iter().cloned().map(Use::host));
    complete.then(|| hosts.into_iter().map(|host| host.value).collect())
}

fn words(value: Value<'_>) -> Option<Vec<String>> {
    let items = value.one_or_many();
    let word = |item: &Value<'_>| item.line("one word of a command", "command: [nginx, -c, /etc/nginx/edge.conf]");
    let words: Vec<String> = items.iter().filter_map(|item| word(item).map(|t| t.value)).collect();
    if items.is_empty() {
        value.error("`command` names no program", "for example `command: [/usr/sbin/nginx, -c, /etc/nginx/edge.conf]`");
    }
    (!items.is_empty() && words.len() == items.len()).then_some(words)
}

/// One machine with an NGINX.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place<'a> {
    pub host: Option<&'a str>,
    pub file: &'a str,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host {
            Some(host) => write!(f, "{} on {host}", self.file),
            None => f.write_str(self.file),
        }
    }
}
