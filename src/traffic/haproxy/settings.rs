//! Where HAProxy's runtime API answers, as inventories say it.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::fields::kinds;
use crate::fields::template::Use;
use crate::text::name;
use crate::yaml::map::Map;
use crate::yaml::reader::Value;
use crate::yaml::source::Located;

const HINT: &str = "write unix:/run/haproxy/admin.sock, tcp:10.0.0.1:9999 or ssh:HOST:/run/haproxy/admin.sock";

/// Where HAProxy's runtime API answers. Every endpoint is one process (or one master CLI); all are written and read back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// All HAProxy instances that share the traffic.
    pub endpoints: Vec<Endpoint>,
    /// The files that they were started with, in order; none where nobody may read them.
    #[serde(default)]
    pub config: Vec<ConfigPath>,
}

/// A file or directory that HAProxy reads when it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfigPath {
    /// On every machine that has one of the sockets.
    BesideSockets(PathBuf),
    /// On one host.
    OnHost {
        /// Inventory name of the host.
        host: String,
        /// Where it is there.
        path: PathBuf,
    },
}

/// One runtime API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// `host:port`.
    Tcp(String),
    /// A socket on this machine.
    Unix(PathBuf),
    /// A socket on an inventory host, reached by SSH.
    Ssh {
        /// Inventory name of the host.
        host: String,
        /// Path of the socket there.
        path: String,
    },
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp {address}"),
            Self::Unix(path) => write!(f, "unix {}", path.display()),
            Self::Ssh { host, path } => write!(f, "unix {path} on {host}"),
        }
    }
}

impl kinds::Settings for Settings {
    const KEY: &'static str = "haproxy";
    const BESIDE: &'static [&'static str] = &["config"];

    fn read(value: Value<'_>, map: &Map<'_>, uses: &mut Vec<Use>) -> Option<Self> {
        let items = value.one_or_many();
        let endpoints: Vec<Endpoint> = items.iter().filter_map(|item| endpoint(*item, uses)).collect();
        if items.is_empty() {
            value.error("`haproxy` names no runtime API", HINT);
        }
        let written = map.get("config").map(|v| v.one_or_many()).unwrap_or_default();
        let config: Vec<ConfigPath> = written.iter().filter_map(|item| config_path(*item, uses)).collect();
        let complete = !items.is_empty() && endpoints.len() == items.len() && config.len() == written.len();
        complete.then_some(Self { endpoints, config })
    }
}

fn endpoint(value: Value<'_>, uses: &mut Vec<Use>) -> Option<Endpoint> {
    let text = value.line("where HAProxy's runtime API answers", "haproxy: \"unix:/run/haproxy/admin.sock\"")?;
    let bad = |why: &str| {
        value.error(format!("`{}` is no runtime API: {why}", crate::text::escape(text.value.as_bytes(), 100)), HINT);
        None
    };
    match text.value.split_once(':') {
        Some(("unix", "")) => bad("the path is missing"),
        Some(("unix", path)) => value.resolve(path).map(Endpoint::Unix),
        Some(("tcp", rest)) => match name::check_host_port(rest) {
            Ok(()) => Some(Endpoint::Tcp(rest.to_owned())),
            Err(why) => bad(why),
        },
        Some(("ssh", rest)) => match rest.split_once(':') {
            Some((host, path)) if path.starts_with('/') && name::check(host).is_ok() => {
                uses.push(Use::host(Located { value: host.to_owned(), at: text.at.clone() }));
                Some(Endpoint::Ssh { host: host.to_owned(), path: path.to_owned() })
            }
            _ => bad("after `ssh:` come a host of the inventory and the absolute path of a socket there"),
        },
        _ => bad("it begins neither with `unix:` nor with `tcp:` nor with `ssh:`"),
    }
}

fn config_path(value: Value<'_>, uses: &mut Vec<Use>) -> Option<ConfigPath> {
    let text = value.line("where haproxy.cfg is", "config: /etc/haproxy/haproxy.cfg")?;
    let on_host = text.value.strip_prefix("ssh:").and_then(|rest| rest.split_once(':'));
    match on_host {
        Some((host, path)) if path.starts_with('/') && name::check(host).is_ok() => {
            uses.push(Use::host(Located { value: host.to_owned(), at: text.at.clone() }));
            Some(ConfigPath::OnHost { host: host.to_owned(), path: path.into() })
        }
        None if text.value.starts_with('/') => Some(ConfigPath::BesideSockets(text.value.into())),
        _ => {
            let shown = crate::text::escape(text.value.as_bytes(), 100);
            value.error(
                format!("`{shown}` is not where a haproxy.cfg can be"),
                "write its absolute path on the machines that have the sockets, or ssh:HOST:/etc/haproxy/haproxy.cfg",
            );
            None
        }
    }
}
