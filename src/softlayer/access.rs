//! Who asks, and where: what inventories say, and what slcli reads (`SL_USERNAME`, `SL_API_KEY`, `~/.softlayer`, `/etc/softlayer.conf`).

use std::net::IpAddr;
use std::path::PathBuf;

use reqwest::Url;
use serde::{Deserialize, Serialize};

use crate::fields::secret;
use crate::outside::{Error, Kind};
use crate::secret::{Secret, SecretRef, Secrets};
use crate::text;
use crate::yaml::map::Map;
use crate::yaml::reader::Value;

/// Where the API is, unless something else is said.
const PUBLIC: &str = "https://api.softlayer.com/rest/v3.1/";
/// The settings that every user of a machine has.
const FOR_ALL: &str = "/etc/softlayer.conf";

/// How to log in. What is `None` is found where slcli finds it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// The user.
    pub username: Option<SecretRef>,
    /// Its API key.
    pub api_key: Option<SecretRef>,
    /// The REST interface.
    pub endpoint: Option<String>,
    /// Files of settings as slcli reads them; the first one that has a setting gives it.
    pub files: Vec<PathBuf>,
}

/// The keys that [`Access::read`] asks for.
pub const KEYS: &[&str] = &["username", "api_key", "endpoint"];

/// Credentials and where they go.
pub struct Login {
    /// The user.
    pub username: Secret,
    /// Its API key.
    pub api_key: Secret,
    /// The REST interface, with a slash at its end.
    pub endpoint: Url,
    /// Where the key was found, for people.
    pub from: String,
}

impl Access {
    /// Reads the keys from a mapping.
    pub fn read(map: &Map<'_>, home: Option<PathBuf>) -> Self {
        Self {
            username: map.get("username").and_then(secret::read),
            api_key: map.get("api_key").and_then(secret::read),
            endpoint: map.get("endpoint").and_then(endpoint),
            files: home.map(|home| home.join(".softlayer")).into_iter().chain([FOR_ALL.into()]).collect(),
        }
    }

    /// Looks everything up.
    pub fn login(&self, secrets: &dyn Secrets) -> Result<Login, Error> {
        let ini = self.files.iter().filter_map(|path| {
            let text = secrets.resolve(&SecretRef::File(path.clone())).ok()?;
            Some((path.display().to_string(), Ini(text)))
        });
        let ini: Vec<(String, Ini)> = ini.collect();
        let find = |given: &Option<SecretRef>, variable: &str, key: &str| -> Result<Option<(String, Secret)>, Error> {
            if let Some(given) = given {
                let found = secrets.resolve(given).map_err(|e| config(e.to_string()))?;
                return Ok(Some(("the inventory's reference".to_owned(), found)));
            }
            let variable = secrets.resolve(&SecretRef::Env(variable.into())).ok().map(|s| (format!("${variable}"), s));
            let filled = |(_, secret): &(String, Secret)| !secret.reveal().is_empty();
            let from_file = || ini.iter().find_map(|(path, ini)| Some((path.clone(), ini.get(key)?)));
            Ok(variable.filter(filled).or_else(from_file))
        };
        let missing = |what: &str, variable: &str| {
            let hint = format!("set {variable}, run `slcli setup`, or write `{what}: {{env: NAME}}` in the inventory");
            config(format!("no {} is known for SoftLayer", what.replace('_', " "))).hint(hint)
        };
        let (_, username) =
            find(&self.username, "SL_USERNAME", "username")?.ok_or_else(|| missing("username", "SL_USERNAME"))?;
        let (from, api_key) =
            find(&self.api_key, "SL_API_KEY", "api_key")?.ok_or_else(|| missing("api_key", "SL_API_KEY"))?;
        let written = ini.iter().find_map(|(_, ini)| ini.get("endpoint_url"));
        let written = written.map(|url| rest(url.reveal()));
        let text = self.endpoint.clone().or(written).unwrap_or_else(|| PUBLIC.to_owned());
        let endpoint = check_endpoint(&text).map_err(|why| {
            config(format!("the endpoint `{}` {why}", text::escape(text.as_bytes(), 100)))
                .hint(format!("for example {PUBLIC}"))
        })?;
        Ok(Login { username, api_key, endpoint, from })
    }
}

fn config(what: impl Into<String>) -> Error {
    Error::new("SoftLayer", Kind::Config, what)
}

/// The REST interface beside that for XML-RPC, which slcli's settings name.
fn rest(url: &str) -> String {
    url.replacen("/xmlrpc/", "/rest/", 1)
}

fn endpoint(value: Value<'_>) -> Option<String> {
    let text = value.line("the URL of the REST interface", &format!("endpoint: {PUBLIC}"))?.value;
    match check_endpoint(&text) {
        Ok(_) => Some(text),
        Err(why) => {
            value.error(format!("`{}` {why}", text::escape(text.as_bytes(), 100)), format!("for example {PUBLIC}"));
            None
        }
    }
}

/// The URL, with a slash at its end.
fn check_endpoint(text: &str) -> Result<Url, &'static str> {
    let whole = format!("{}/", text.trim_end_matches('/'));
    let url = Url::parse(&whole).map_err(|_| "is not a URL")?;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err("holds more than a host and a path");
    }
    let here = |host: &str| {
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|ip| ip.is_loopback())
    };
    match url.scheme() {
        "https" if url.has_host() => Ok(url),
        "http" if url.host_str().is_some_and(here) => Ok(url),
        "http" => Err("would carry the key unencrypted"),
        _ => Err("is neither HTTPS nor HTTP"),
    }
}

/// A file of settings: sections, and `key = value` or `key: value` in them.
struct Ini(Secret);

impl Ini {
    fn get(&self, key: &str) -> Option<Secret> {
        let mut inside = false;
        for line in self.0.reveal().lines().map(str::trim) {
            if let Some(section) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                inside = section.trim() == "softlayer";
            } else if inside && !line.starts_with(['#', ';']) {
                let found = line.split_once(['=', ':']).filter(|(k, _)| k.trim().eq_ignore_ascii_case(key));
                if let Some((_, value)) = found.filter(|(_, value)| !value.trim().is_empty()) {
                    return Some(Secret::new(value.trim()));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::secret::SecretError;

    struct Known(BTreeMap<&'static str, &'static str>);

    impl Secrets for Known {
        fn resolve(&self, reference: &SecretRef) -> Result<Secret, SecretError> {
            let name = match reference {
                SecretRef::Env(name) => name.clone(),
                SecretRef::File(path) => path.display().to_string(),
                SecretRef::Exec(words) => words.concat(),
            };
            let found = self.0.get(name.as_str()).map(|value| Secret::new(*value));
            found.ok_or_else(|| SecretError { from: name, why: "not there".into() })
        }
    }

    const FILE: &str = "[other]\nusername = no\n[softlayer]\n# api_key = no\nusername = anna\nAPI_KEY: one\nendpoint_url = https://api.service.softlayer.com/xmlrpc/v3.1/\n";

    fn login(access: &Access, known: &[(&'static str, &'static str)]) -> Result<[String; 4], String> {
        let found = access.login(&Known(known.iter().copied().collect())).map_err(|e| e.to_string())?;
        let Login { username, api_key, endpoint, from } = found;
        Ok([username.reveal().to_owned(), api_key.reveal().to_owned(), endpoint.to_string(), from])
    }

    #[test]
    fn credentials_are_found_where_slcli_finds_them() {
        let access = Access { files: vec!["/home/.softlayer".into(), FOR_ALL.into()], ..Access::default() };
        let private = "https://api.service.softlayer.com/rest/v3.1/";
        assert_eq!(
            login(&access, &[("/home/.softlayer", FILE)]).unwrap(),
            ["anna", "one", private, "/home/.softlayer"]
        );
        let both = [("/home/.softlayer", FILE), ("SL_API_KEY", "two")];
        assert_eq!(login(&access, &both).unwrap(), ["anna", "two", private, "$SL_API_KEY"]);
        let own = Access { api_key: Some(SecretRef::Env("OWN".into())), endpoint: Some(PUBLIC.into()), ..access };
        let all = [("/home/.softlayer", FILE), ("SL_API_KEY", "two"), ("OWN", "three")];
        assert_eq!(login(&own, &all).unwrap()[1..3], ["three", PUBLIC]);
        // A reference that leads nowhere is no reason to take another key.
        assert_eq!(login(&own, &both).unwrap_err(), "SoftLayer: secret from OWN: not there");
        assert_eq!(login(&Access::default(), &[]).unwrap_err(), "SoftLayer: no username is known for SoftLayer");
    }

    #[test]
    fn keys_go_over_https_or_stay_on_this_machine() {
        for fine in [PUBLIC, "https://api.softlayer.com/rest/v3.1", "http://127.0.0.1:80/rest/v3/", "http://[::1]/x"] {
            assert!(check_endpoint(fine).unwrap().as_str().ends_with('/'), "{fine}");
        }
        for (bad, why) in [
            ("http://api.softlayer.com/rest/v3.1/", "would carry the key unencrypted"),
            ("https://a:b@api.softlayer.com/", "holds more than a host and a path"),
            ("ftp://api.softlayer.com/", "is neither HTTPS nor HTTP"),
            ("rest", "is not a URL"),
        ] {
            assert_eq!(check_endpoint(bad).unwrap_err(), why, "{bad}");
        }
    }
}
