//! The address of a store in etcd: `etcd://a:2379,b:2379,c:2379/prefix?ca=FILE&cert=FILE&key=FILE&user=NAME&password=env:NAME`.
//!
//! Owns what it may say. Must never hold a secret: only where one is found.

use std::path::PathBuf;

use crate::secret::SecretRef;
use crate::text::{self, name};

/// The port of etcd's clients.
const PORT: u16 = 2379;
/// Where keys stand when nothing else is said.
const PREFIX: &str = "/migrate";

/// Where a cluster is, and how it is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Its servers, `HOST:PORT`.
    pub servers: Vec<String>,
    /// What all keys begin with: `/migrate`.
    pub prefix: String,
    /// TLS: who vouches for the servers.
    pub ca: Option<PathBuf>,
    /// This side's certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Who logs in, and where the password is.
    pub login: Option<(String, SecretRef)>,
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "etcd://{}{}", self.servers.join(","), self.prefix)
    }
}

impl Address {
    /// Reads what follows `etcd:`; an error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("//").ok_or("an address is etcd://HOST:PORT,HOST:PORT/PREFIX")?;
        let (place, settings) = rest.split_once('?').unwrap_or((rest, ""));
        let (servers, prefix) = place.split_once('/').unwrap_or((place, ""));
        let servers: Result<Vec<String>, String> = servers.split(',').map(server).collect();
        let prefix = match prefix.trim_matches('/') {
            "" => PREFIX.to_owned(),
            prefix => format!("/{prefix}"),
        };
        if prefix.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err("the prefix holds what no prefix of keys should".to_owned());
        }
        let mut address = Self { servers: servers?, prefix, ca: None, identity: None, login: None };
        address.settings(settings)?;
        Ok(address)
    }

    fn settings(&mut self, text: &str) -> Result<(), String> {
        let (mut cert, mut key, mut user, mut password) = (None, None, None, None);
        for setting in text.split('&').filter(|s| !s.is_empty()) {
            let (name, value) = setting
                .split_once('=')
                .filter(|(_, value)| !value.is_empty())
                .ok_or_else(|| format!("`{}` is no setting: write NAME=VALUE", text::escape(setting.as_bytes(), 40)))?;
            match name {
                "ca" => self.ca = Some(PathBuf::from(value)),
                "cert" => cert = Some(PathBuf::from(value)),
                "key" => key = Some(PathBuf::from(value)),
                "user" => user = Some(value.to_owned()),
                "password" => password = Some(reference(value)?),
                _ => {
                    let shown = text::escape(name.as_bytes(), 40);
                    return Err(format!(
                        "there is no setting `{shown}`: settings are ca, cert, key, user and password"
                    ));
                }
            }
        }
        self.identity = both(cert, key, "cert", "key")?;
        self.login = both(user, password, "user", "password")?;
        if self.identity.is_some() && self.ca.is_none() {
            return Err("`cert` needs `ca`, the certificates that vouch for the servers".to_owned());
        }
        Ok(())
    }
}

fn both<A, B>(a: Option<A>, b: Option<B>, first: &str, second: &str) -> Result<Option<(A, B)>, String> {
    match (a, b) {
        (Some(a), Some(b)) => Ok(Some((a, b))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(format!("`{first}` needs `{second}`")),
        (None, Some(_)) => Err(format!("`{second}` needs `{first}`")),
    }
}

fn server(text: &str) -> Result<String, String> {
    let named_port = text.rsplit_once(':').is_some_and(|(host, _)| !host.contains(':') || host.ends_with(']'));
    let server = if named_port { text.to_owned() } else { format!("{text}:{PORT}") };
    match name::check_host_port(&server) {
        Ok(()) => Ok(server),
        Err(why) => Err(format!("`{}` is no server: {why}", text::escape(text.as_bytes(), 80))),
    }
}

/// A reference to a secret in one word; the secret itself is refused, and not shown.
fn reference(text: &str) -> Result<SecretRef, String> {
    let wants = "`password` takes a reference, not the password itself: env:NAME, file:PATH or exec:PROGRAM";
    match text.split_once(':') {
        Some(("env", name)) => match name::check_variable(name) {
            Ok(()) => Ok(SecretRef::Env(name.to_owned())),
            Err(why) => Err(format!("`password=env:` takes the name of an environment variable: {why}")),
        },
        Some(("file", path)) if !path.is_empty() => Ok(SecretRef::File(PathBuf::from(path))),
        Some(("exec", program)) if !program.is_empty() => Ok(SecretRef::Exec(vec![program.to_owned()])),
        Some(_) | None => Err(wants.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_with_all_that_it_may_say() {
        let address = Address::parse("//a,b:1,[::1]:2/teams/fra").unwrap();
        assert_eq!(address.to_string(), "etcd://a:2379,b:1,[::1]:2/teams/fra");
        assert_eq!(Address::parse("//10.0.0.7").unwrap().to_string(), "etcd://10.0.0.7:2379/migrate");
        let whole = "//a/x?ca=/ca.pem&cert=/me.pem&key=/me.key&user=migrate&password=env:ETCD_PASSWORD";
        let whole = Address::parse(whole).unwrap();
        assert_eq!(whole.identity, Some(("/me.pem".into(), "/me.key".into())));
        assert_eq!(whole.login, Some(("migrate".into(), SecretRef::Env("ETCD_PASSWORD".into()))));
        assert!(!whole.to_string().contains("PASSWORD"));
    }

    #[test]
    fn what_is_wrong_with_one_is_told_and_no_secret_is() {
        for (address, why) in [
            ("a,b", "etcd://HOST:PORT"),
            ("//", "no server"),
            ("//a,,b", "no server"),
            ("//a:port", "no server"),
            ("//a/x y", "prefix"),
            ("//a?tls=on", "settings are"),
            ("//a?ca", "NAME=VALUE"),
            ("//a?user=me", "`user` needs `password`"),
            ("//a?cert=c&key=k", "needs `ca`"),
            ("//a?user=me&password=hunter2", "a reference"),
            ("//a?user=me&password=env:1-2", "environment variable"),
        ] {
            let refused = Address::parse(address).unwrap_err();
            assert!(refused.contains(why) && !refused.contains("hunter2"), "{address}: {refused}");
        }
    }
}
