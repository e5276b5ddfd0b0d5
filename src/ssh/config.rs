//! Where a host is, who logs in and what is trusted: inventory first, then OpenSSH's own configuration.
//!
//! Owns the resolved connection parameters. Must never read the environment of the process, and never let a name that looks
//! like an option or holds control characters reach a command line or the network.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::known_hosts::KnownHostsCommand;
use super::openssh::{self, Resolved};
use super::proxy;
use crate::model::{Host, SshTarget};
use crate::outside::{Error, Kind};
use crate::text::escape;

/// More jumps than anyone needs; a longer chain is a loop in the configuration.
const MAX_JUMPS: usize = 8;

/// What SSH needs to know about the user who runs `migrate`.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// The home directory, for `~` in paths.
    pub home: Option<PathBuf>,
    /// The socket of the ssh-agent.
    pub ssh_auth_sock: Option<PathBuf>,
    /// The login name, for hosts that do not say.
    pub user: Option<String>,
    /// OpenSSH's client, asked for its configuration by `ssh -G`. `None`, or one that is not there: OpenSSH's defaults hold.
    pub ssh_program: Option<PathBuf>,
    /// The configuration file to read instead of the user's and the system's.
    pub config_file: Option<PathBuf>,
}

/// Everything needed to connect to one host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Inventory name, or the name in `ProxyJump`.
    pub name: String,
    /// Host name or IP address to dial.
    pub address: String,
    /// TCP port.
    pub port: u16,
    /// Login name.
    pub user: String,
    /// What proves who we are.
    pub identities: Identities,
    /// Under which name the host's key is looked up.
    pub known_as: KnownAs,
    /// Files with trusted host keys, in order, the user's own first.
    pub known_hosts: Vec<PathBuf>,
    /// A program that prints more of them.
    pub known_hosts_command: Option<KnownHostsCommand>,
    /// The host that the connection goes through.
    pub via: Option<Arc<Endpoint>>,
    /// A command whose input and output are the connection, with its tokens put in.
    pub proxy: Option<String>,
    /// Which addresses of the name are dialled.
    pub family: Family,
}

/// `AddressFamily`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Family {
    /// All addresses.
    #[default]
    Any,
    /// IPv4.
    Inet,
    /// IPv6.
    Inet6,
}

impl Family {
    /// Whether an address is dialled.
    pub fn takes(self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Inet => address.is_ipv4(),
            Self::Inet6 => address.is_ipv6(),
        }
    }
}

/// What proves who we are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Identities {
    /// Files of private keys, or of public keys that say which key of the agent is meant, in order.
    pub files: Vec<PathBuf>,
    /// Certificate files that were named; without any, those beside `files` are used.
    pub certificates: Vec<PathBuf>,
    /// Whether a missing file is an error: it was named, and is not one of OpenSSH's defaults.
    pub named: bool,
    /// Socket of the ssh-agent.
    pub agent: Option<PathBuf>,
    /// Of the keys in the agent, use only those that belong to `files`.
    pub only_files: bool,
}

/// The name of a host in `known_hosts`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KnownAs {
    /// `host`, `[host]:port`, or the `HostKeyAlias`.
    pub name: String,
    /// The name without its port, which a line may have, too.
    pub without_port: Option<String>,
}

impl KnownAs {
    pub(super) fn new(address: &str, port: u16, alias: Option<&str>) -> Self {
        match alias {
            Some(alias) => Self { name: alias.to_lowercase(), without_port: None },
            None if port == 22 => Self { name: address.to_lowercase(), without_port: None },
            None => {
                let host = address.to_lowercase();
                Self { name: format!("[{host}]:{port}"), without_port: Some(host) }
            }
        }
    }
}

impl KnownAs {
    /// The name without a port: what a certificate has to be for.
    pub(super) fn host(&self) -> &str {
        self.without_port.as_ref().unwrap_or(&self.name)
    }
}

impl Endpoint {
    /// Whether it is dialled from here.
    pub fn is_direct(&self) -> bool {
        self.via.is_none() && self.proxy.is_none()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}@{}:{})", self.name, self.user, bracketed(&self.address), self.port)
    }
}

fn bracketed(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}

/// Finds inventory hosts by name, for jumps.
pub type Lookup<'a> = &'a (dyn Fn(&str) -> Option<Host> + Sync);

/// Finds out how to reach `host`.
pub async fn resolve(env: &Environment, host: &Host, lookup: Lookup<'_>) -> Result<Endpoint, Error> {
    through_inventory(env, host, lookup, 0).await
}

/// Resolves a host with the jump hosts that the inventory gives it. As with OpenSSH's `-J`, only the first of a chain may bring
/// jumps of its own.
async fn through_inventory(
    env: &Environment,
    host: &Host,
    lookup: Lookup<'_>,
    depth: usize,
) -> Result<Endpoint, Error> {
    check_depth(&host.name, depth)?;
    let mut via = None;
    for name in &host.ssh.jump {
        let Some(jump) = lookup(name) else {
            let name = escape(name.as_bytes(), 80);
            return Err(config_error(&host.name, format!("its jump host `{name}` is not in the inventory")));
        };
        let hop = match via {
            None => Box::pin(through_inventory(env, &jump, lookup, depth + 1)).await?,
            via => endpoint(env, &Wanted::from(&jump), via, depth).await?,
        };
        via = Some(Arc::new(hop));
    }
    endpoint(env, &Wanted::from(host), via, depth).await
}

/// Resolves a host with the jump hosts of `ProxyJump`.
async fn through_config(env: &Environment, name: &str, jumps: &str, depth: usize) -> Result<Arc<Endpoint>, Error> {
    check_depth(name, depth)?;
    let mut via = None;
    for jump in jumps.split(',') {
        let (address, ssh) = openssh::parse_jump(jump).map_err(|why| config_error(name, why))?;
        let wanted = Wanted { name: &address, address: &address, ssh: &ssh };
        via = Some(Arc::new(Box::pin(endpoint(env, &wanted, via, depth)).await?));
    }
    via.ok_or_else(|| config_error(name, "its ProxyJump is empty"))
}

fn check_depth(name: &str, depth: usize) -> Result<(), Error> {
    if depth <= MAX_JUMPS {
        return Ok(());
    }
    Err(config_error(name, format!("is behind more than {MAX_JUMPS} jump hosts; do they go in a circle?")))
}

/// A host before OpenSSH's configuration is asked.
struct Wanted<'a> {
    name: &'a str,
    address: &'a str,
    ssh: &'a SshTarget,
}

impl<'a> From<&'a Host> for Wanted<'a> {
    fn from(host: &'a Host) -> Self {
        Self { name: &host.name, address: host.ssh.address.as_deref().unwrap_or(&host.address), ssh: &host.ssh }
    }
}

/// One hop: `via` is how to get there, unless the configuration has to say.
async fn endpoint(
    env: &Environment,
    wanted: &Wanted<'_>,
    via: Option<Arc<Endpoint>>,
    depth: usize,
) -> Result<Endpoint, Error> {
    let fail = |why: String| config_error(wanted.name, why);
    check_word("address", wanted.address).map_err(fail)?;
    if let Some(user) = &wanted.ssh.user {
        check_word("user", user).map_err(fail)?;
    }
    let found = openssh::resolve(env, wanted.address, wanted.ssh).await.map_err(fail)?;
    check_word("HostName", &found.address).map_err(fail)?;
    check_word("User", &found.user).map_err(fail)?;
    let (via, proxy) = match via {
        Some(via) => (Some(via), None),
        None => configured_way(env, wanted, &found, depth).await?,
    };
    Ok(Endpoint {
        name: wanted.name.to_owned(),
        identities: identities(wanted.ssh, &found),
        known_as: KnownAs::new(&found.address, found.port, found.host_key_alias.as_deref()),
        known_hosts_command: found.known_hosts_command.filter(|_| wanted.ssh.known_hosts.is_none()),
        known_hosts: wanted.ssh.known_hosts.clone().map_or(found.known_hosts, |file| vec![file]),
        address: found.address,
        port: found.port,
        user: found.user,
        via,
        proxy,
        family: found.family,
    })
}

/// What `ProxyJump` and `ProxyCommand` say.
async fn configured_way(
    env: &Environment,
    wanted: &Wanted<'_>,
    found: &Resolved,
    depth: usize,
) -> Result<(Option<Arc<Endpoint>>, Option<String>), Error> {
    if let Some(jumps) = &found.proxy_jump {
        return Ok((Some(through_config(env, wanted.name, jumps, depth + 1).await?), None));
    }
    let Some(command) = &found.proxy_command else { return Ok((None, None)) };
    if found.proxy_use_fdpass {
        let what = "ssh_config sets ProxyUseFdpass, which is not supported";
        return Err(
            config_error(wanted.name, what).hint("use a ProxyCommand that carries the bytes itself, or ProxyJump")
        );
    }
    let value = |token: char| match token {
        '%' => Some("%".to_owned()),
        'h' => Some(found.address.clone()),
        'n' => Some(wanted.address.to_owned()),
        'p' => Some(found.port.to_string()),
        'r' => Some(found.user.clone()),
        _ => None,
    };
    let command = proxy::expand(command, value).map_err(|why| config_error(wanted.name, why))?;
    Ok((None, Some(command)))
}

fn identities(ssh: &SshTarget, found: &Resolved) -> Identities {
    let (agent, certificates) = (found.agent.clone(), found.certificate_files.clone());
    match &ssh.key {
        // The agent may hold the named key, decrypted; its other keys are none of our business.
        Some(key) => Identities { files: vec![key.clone()], certificates, named: true, agent, only_files: true },
        None => {
            let (files, only_files) = (found.identity_files.clone(), found.identities_only);
            Identities { files, certificates, named: false, agent, only_files }
        }
    }
}

/// Refuses what OpenSSH or a shell could take for something else.
fn check_word(what: &str, word: &str) -> Result<(), String> {
    let shown = escape(word.as_bytes(), 80);
    if word.is_empty() {
        return Err(format!("its {what} is empty"));
    }
    if word.starts_with('-') {
        return Err(format!("its {what} `{shown}` starts with `-`, which could be taken for an option"));
    }
    if word.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(format!("its {what} `{shown}` holds a space or a control character"));
    }
    Ok(())
}

fn config_error(name: &str, what: impl Into<String>) -> Error {
    Error::new(escape(name.as_bytes(), 80), Kind::Config, what)
}

/// `path`, with `~` put in for the home directory, for people.
pub(crate) fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_encoded_bytes(), 200)
}
