//! OpenSSH's client configuration, read by asking `ssh -G`.
//!
//! Owns what its output means and what holds where OpenSSH is not installed. Must never pass a name to `ssh` that could be taken
//! for an option; the caller has checked them.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use super::config::{Environment, Family};
use super::known_hosts::KnownHostsCommand;
use crate::model::SshTarget;
use crate::text::escape;

/// Where keys are that nobody has named, below `~/.ssh`.
pub(super) const USUAL_KEYS: [&str; 3] = ["id_ed25519", "id_ecdsa", "id_rsa"];

/// `Match exec` may run commands; they may hang.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What OpenSSH's client would do for a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Resolved {
    pub address: String,
    pub port: u16,
    pub user: String,
    pub identity_files: Vec<PathBuf>,
    pub certificate_files: Vec<PathBuf>,
    pub identities_only: bool,
    pub agent: Option<PathBuf>,
    /// The user's own first.
    pub known_hosts: Vec<PathBuf>,
    pub known_hosts_command: Option<KnownHostsCommand>,
    pub host_key_alias: Option<String>,
    pub proxy_jump: Option<String>,
    pub proxy_command: Option<String>,
    pub proxy_use_fdpass: bool,
    pub family: Family,
}

/// Asks OpenSSH about `address`; values of the inventory win. Errors are one clause about the host.
pub(super) async fn resolve(env: &Environment, address: &str, ssh: &SshTarget) -> Result<Resolved, String> {
    let output = match &env.ssh_program {
        Some(program) => ask(env, program, address, ssh).await?,
        None => None,
    };
    let mut found = match output {
        Some(text) => parse(env, address, &text)?,
        None => defaults(env, address),
    };
    if let Some(port) = ssh.port {
        found.port = port;
    }
    if let Some(user) = ssh.user.as_ref().or(env.user.as_ref()).filter(|_| ssh.user.is_some() || found.user.is_empty())
    {
        found.user = user.clone();
    }
    if found.user.is_empty() {
        return Err("has no login name: set `user` under `ssh` in the inventory".to_owned());
    }
    Ok(found)
}

/// The output of `ssh -G`; `None` where there is no OpenSSH client.
async fn ask(env: &Environment, program: &Path, address: &str, ssh: &SshTarget) -> Result<Option<String>, String> {
    let mut command = tokio::process::Command::new(program);
    command.arg("-G");
    if let Some(file) = &env.config_file {
        command.arg("-F").arg(file);
    }
    if let Some(user) = &ssh.user {
        command.arg("-l").arg(user);
    }
    if let Some(port) = ssh.port {
        command.arg("-p").arg(port.to_string());
    }
    command.arg("--").arg(address).stdin(Stdio::null()).kill_on_drop(true);
    let output = match tokio::time::timeout(TIMEOUT, command.output()).await {
        Err(_) => return Err(format!("`ssh -G` gave no answer within {} s", TIMEOUT.as_secs())),
        Ok(Err(e)) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Ok(Err(e)) => return Err(format!("cannot run {} -G: {e}", program.display())),
        Ok(Ok(output)) => output,
    };
    if !output.status.success() {
        return Err(format!("`ssh -G` does not accept the SSH configuration: {}", escape(&output.stderr, 300)));
    }
    Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// What holds where OpenSSH's client is not installed.
fn defaults(env: &Environment, address: &str) -> Resolved {
    let in_home = |names: &[&str]| -> Vec<PathBuf> {
        env.home.iter().flat_map(|home| names.iter().map(|name| home.join(".ssh").join(name))).collect()
    };
    let mut known_hosts = in_home(&["known_hosts", "known_hosts2"]);
    known_hosts.extend(["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"].map(PathBuf::from));
    Resolved {
        address: address.to_owned(),
        port: 22,
        identity_files: in_home(&USUAL_KEYS),
        agent: env.ssh_auth_sock.clone(),
        known_hosts,
        ..Resolved::default()
    }
}

fn parse(env: &Environment, original: &str, text: &str) -> Result<Resolved, String> {
    let mut found = Resolved { port: 22, agent: env.ssh_auth_sock.clone(), ..Resolved::default() };
    let (mut identity_files, mut certificate_files) = (Vec::new(), Vec::new());
    let (mut known_hosts, mut known_hosts_command) = (Vec::new(), None);
    let mut identity_agent = None;
    for line in text.lines() {
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        let set = || (value != "none" && !value.is_empty()).then(|| value.to_owned());
        match key {
            "hostname" => found.address = value.to_owned(),
            "user" => found.user = value.to_owned(),
            "port" => {
                found.port =
                    value.parse().map_err(|_| format!("`ssh -G` says port `{}`", escape(value.as_bytes(), 20)))?
            }
            "identityfile" => identity_files.extend(set()),
            "certificatefile" => certificate_files.extend(set()),
            "identitiesonly" => found.identities_only = value == "yes",
            "identityagent" => identity_agent = Some(value.to_owned()),
            "userknownhostsfile" => known_hosts.splice(..0, known_hosts_files(value)).for_each(drop),
            "globalknownhostsfile" => known_hosts.extend(known_hosts_files(value)),
            "knownhostscommand" => known_hosts_command = set(),
            "hostkeyalias" => found.host_key_alias = set(),
            "proxyjump" => found.proxy_jump = set(),
            "proxyusefdpass" => found.proxy_use_fdpass = value == "yes",
            "addressfamily" => found.family = family(value),
            "proxycommand" => found.proxy_command = set(),
            _ => {}
        }
    }
    let tokens = Tokens { env, original, found: found.clone() };
    found.identity_files = identity_files.iter().map(|file| tokens.expand(file)).collect::<Result<_, _>>()?;
    found.certificate_files = certificate_files.iter().map(|file| tokens.expand(file)).collect::<Result<_, _>>()?;
    match identity_agent.as_deref() {
        None | Some("SSH_AUTH_SOCK" | "$SSH_AUTH_SOCK") => {}
        Some("none") => found.agent = None,
        Some(path) => found.agent = Some(tokens.expand(path)?),
    }
    found.known_hosts_command =
        known_hosts_command.map(|setting| KnownHostsCommand::parse(&setting, tokens.all())).transpose()?;
    found.known_hosts =
        known_hosts.iter().map(|file| tokens.expand(&file.to_string_lossy())).collect::<Result<_, _>>()?;
    Ok(found)
}

fn family(value: &str) -> Family {
    match value {
        "inet" => Family::Inet,
        "inet6" => Family::Inet6,
        _ => Family::Any,
    }
}

/// `ssh -G` puts a space between the files, and does not quote those with a space in their name: a list of words is read such
/// that no file is lost when the whole value, or nothing else, exists.
fn known_hosts_files(value: &str) -> Vec<PathBuf> {
    if value == "none" {
        return Vec::new();
    }
    if Path::new(value).exists() {
        return vec![PathBuf::from(value)];
    }
    value.split_whitespace().map(PathBuf::from).collect()
}

/// The `%` tokens and `~` that `ssh -G` leaves in paths.
struct Tokens<'a> {
    env: &'a Environment,
    original: &'a str,
    found: Resolved,
}

impl Tokens<'_> {
    fn expand(&self, path: &str) -> Result<PathBuf, String> {
        let fail = |why: &str| format!("ssh_config has the path `{}`: {why}", escape(path.as_bytes(), 120));
        if path.contains('$') {
            return Err(fail("environment variables in paths are not supported"));
        }
        let (mut out, mut chars) = (String::new(), path.chars());
        while let Some(c) = chars.next() {
            match c {
                '%' => out.push_str(&self.token(chars.next()).ok_or_else(|| fail("this % token is not supported"))?),
                c => out.push(c),
            }
        }
        match out.strip_prefix('~') {
            None => Ok(PathBuf::from(out)),
            Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                let home = self.env.home.as_ref().ok_or_else(|| fail("the home directory is not known"))?;
                Ok(home.join(rest.trim_start_matches('/')))
            }
            Some(_) => Err(fail("the home directory of another user is not supported")),
        }
    }

    /// What each stands for.
    fn all(&self) -> Vec<(char, String)> {
        "dhiknpru".chars().filter_map(|name| Some((name, self.token(Some(name))?))).collect()
    }

    fn token(&self, name: Option<char>) -> Option<String> {
        let host = &self.found;
        match name? {
            '%' => Some("%".to_owned()),
            'd' => Some(self.env.home.as_ref()?.to_string_lossy().into_owned()),
            'h' => Some(host.address.clone()),
            'k' => Some(host.host_key_alias.clone().unwrap_or_else(|| self.original.to_owned())),
            'n' => Some(self.original.to_owned()),
            'p' => Some(host.port.to_string()),
            'r' => Some(host.user.clone()),
            'u' => self.env.user.clone(),
            'i' => Some(rustix::process::getuid().as_raw().to_string()),
            _ => None,
        }
    }
}

/// One entry of `ProxyJump`: `[user@]host[:port]` or `ssh://[user@]host[:port]`.
pub(super) fn parse_jump(text: &str) -> Result<(String, SshTarget), String> {
    let fail = || format!("ProxyJump has `{}`, which is not [user@]host[:port]", escape(text.as_bytes(), 120));
    let rest = text.trim();
    let rest = rest.strip_prefix("ssh://").map_or(rest, |uri| uri.trim_end_matches('/'));
    let (user, rest) = rest.rsplit_once('@').map_or((None, rest), |(user, rest)| (Some(user.to_owned()), rest));
    let (address, port) = match rest.strip_prefix('[') {
        Some(bracketed) => {
            let (address, port) = bracketed.split_once(']').ok_or_else(fail)?;
            (address, port.strip_prefix(':'))
        }
        None => match rest.split_once(':') {
            // An IPv6 address without brackets has no port.
            Some((_, port)) if port.contains(':') => (rest, None),
            Some((address, port)) => (address, Some(port)),
            None => (rest, None),
        },
    };
    let port = port.map(|port| port.parse::<u16>().map_err(|_| fail())).transpose()?;
    if address.is_empty() || user.as_ref().is_some_and(String::is_empty) {
        return Err(fail());
    }
    Ok((address.to_owned(), SshTarget { user, port, ..SshTarget::default() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env() -> Environment {
        Environment {
            home: Some("/home/ops".into()),
            ssh_auth_sock: Some("/run/agent".into()),
            user: Some("ops".to_owned()),
            ..Environment::default()
        }
    }

    #[test]
    fn the_output_of_ssh_is_understood() {
        let text = "host web1\nuser deploy\nhostname 10.0.0.7\nport 2201\nidentitiesonly yes\nidentityfile ~/.ssh/id_%r_%h\n\
                    identityfile none\nidentityfile /keys/%%d\ncertificatefile ~/%r-cert.pub\nuserknownhostsfile /a /b\nglobalknownhostsfile none\n\
                    hostkeyalias web\nproxyjump ops@hop:22,[::1]:2222\nproxycommand none\nidentityagent none\naddressfamily inet6\n";
        let found = parse(&env(), "web1", text).unwrap();
        let expected = Resolved {
            address: "10.0.0.7".to_owned(),
            port: 2201,
            user: "deploy".to_owned(),
            identity_files: vec!["/home/ops/.ssh/id_deploy_10.0.0.7".into(), "/keys/%d".into()],
            certificate_files: vec!["/home/ops/deploy-cert.pub".into()],
            identities_only: true,
            agent: None,
            known_hosts: vec!["/a".into(), "/b".into()],
            known_hosts_command: None,
            host_key_alias: Some("web".to_owned()),
            proxy_jump: Some("ops@hop:22,[::1]:2222".to_owned()),
            proxy_command: None,
            proxy_use_fdpass: false,
            family: Family::Inet6,
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn the_agent_is_the_users_unless_the_configuration_says_otherwise() {
        let agent = |value: &str| parse(&env(), "x", &format!("identityagent {value}\n")).unwrap().agent;
        assert_eq!(parse(&env(), "x", "").unwrap().agent, Some("/run/agent".into()));
        assert_eq!(agent("SSH_AUTH_SOCK"), Some("/run/agent".into()));
        assert_eq!(agent("~/a.sock"), Some("/home/ops/a.sock".into()));
    }

    #[test]
    fn paths_that_cannot_be_expanded_are_named() {
        let fail = |value: &str| parse(&env(), "x", &format!("identityfile {value}\n")).unwrap_err();
        assert_eq!(fail("%C/id"), "ssh_config has the path `%C/id`: this % token is not supported");
        assert_eq!(
            fail("~bob/id"),
            "ssh_config has the path `~bob/id`: the home directory of another user is not supported"
        );
    }

    #[test]
    fn jumps_are_read_in_all_their_forms() {
        let jump = |text: &str| {
            let (address, ssh) = parse_jump(text).unwrap();
            (address, ssh.user, ssh.port)
        };
        assert_eq!(jump("hop"), ("hop".to_owned(), None, None));
        assert_eq!(jump("a@b@hop:2201"), ("hop".to_owned(), Some("a@b".to_owned()), Some(2201)));
        assert_eq!(jump("ssh://ops@hop:22/"), ("hop".to_owned(), Some("ops".to_owned()), Some(22)));
        assert_eq!(jump("[2001:db8::1]:22"), ("2001:db8::1".to_owned(), None, Some(22)));
        assert_eq!(jump("2001:db8::1"), ("2001:db8::1".to_owned(), None, None));
        for bad in ["", "@hop", "hop:x", "hop:99999", "[::1", "user@"] {
            assert!(parse_jump(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn without_an_openssh_client_its_defaults_hold() {
        let env = Environment { ssh_program: Some("/no/such/ssh".into()), ..env() };
        let found = resolve(&env, "web1", &SshTarget::default()).await.unwrap();
        assert_eq!((found.user.as_str(), found.port, found.address.as_str()), ("ops", 22, "web1"));
        assert_eq!(found.known_hosts.first(), Some(&PathBuf::from("/home/ops/.ssh/known_hosts")));
        let nobody = Environment { user: None, ..env };
        assert!(resolve(&nobody, "web1", &SshTarget::default()).await.unwrap_err().contains("has no login name"));
    }
}
