//! The hosts of an ssh_config as a source: names that `Host` lines spell out, each as `ssh -G` resolves it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _};
use globset::{Glob, GlobSet, GlobSetBuilder};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::found::{self, Found};
use super::rules::{Rules, Usual};
use super::{Document, InventorySource, SourceError, SourceKind, file, program};
use crate::fields::kinds;
use crate::fields::template::Use;
use crate::secret::Secrets;
use crate::text;
use crate::yaml::map::Map;
use crate::yaml::reader::Value;

/// Files that include files that include files are followed this far.
const MAX_DEPTH: usize = 16;
/// Programs that run at the same time.
const BESIDE: usize = 8;

/// Which file, and which of its hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The file; `~/.ssh/config` unless given.
    pub file: PathBuf,
    /// What included files are relative to, as OpenSSH has it: `~/.ssh`.
    pub base: PathBuf,
    /// Patterns of names; none: all.
    pub hosts: Vec<String>,
}

impl kinds::Settings for Settings {
    const KEY: &'static str = "ssh_config";

    fn read(value: Value<'_>, _: &Map<'_>, _: &mut Vec<Use>) -> Option<Self> {
        value.map("ssh_config source", "ssh_config: {hosts: \"dal-*\"}", |m| {
            let file = match m.get("file") {
                Some(given) => given.path(),
                None => value.resolve("~/.ssh/config"),
            };
            let patterns = |v: Value<'_>| -> Option<Vec<String>> {
                let pattern = |v: &Value<'_>| {
                    let text = v.line("a pattern for names", "hosts: \"dal-*\"")?.value;
                    if Glob::new(&text).is_err() {
                        v.error(
                            format!("`{}` is not a pattern", text::escape(text.as_bytes(), 60)),
                            "for example `dal-*`",
                        );
                        return None;
                    }
                    Some(text)
                };
                v.one_or_many().iter().map(pattern).collect()
            };
            let hosts = m.get("hosts").map_or(Some(Vec::new()), patterns);
            let file = file?;
            let beside = file.parent().unwrap_or(Path::new("")).to_path_buf();
            let base = value.cx.home.map_or(beside, |home| home.join(".ssh"));
            Some(Self { file, base, hosts: hosts? })
        })?
    }
}

impl SourceKind for Settings {
    fn title(&self) -> &'static str {
        "ssh_config"
    }

    fn usual(&self) -> Usual {
        Usual { name: "{{ alias }}", addresses: &["host"], site: "{{ site }}" }
    }

    fn open(&self, address: &str, rules: &Rules) -> Box<dyn InventorySource> {
        Box::new(SshConfig { address: address.to_owned(), settings: self.clone(), rules: rules.clone() })
    }
}

struct SshConfig {
    address: String,
    settings: Settings,
    rules: Rules,
}

#[async_trait]
impl InventorySource for SshConfig {
    async fn documents(&self, _: &dyn Secrets) -> Result<Vec<Document>, SourceError> {
        let mut names = BTreeSet::new();
        aliases(&self.settings.file, &self.settings.base, 0, &mut names)?;
        let wanted = set(&self.settings.hosts)?;
        names.retain(|name| self.settings.hosts.is_empty() || wanted.is_match(name));
        let all: Vec<String> = names.iter().cloned().collect();
        let resolved = futures_util::stream::iter(all).map(|name| self.resolve(name));
        let mut found: Vec<Found> = resolved.buffered(BESIDE).try_collect().await?;
        for found in &mut found {
            through(found, &names);
        }
        let what = "Hosts of an ssh_config; what is not said of them here, the file with this source says.";
        found::documents(&self.address, what, &found, &self.rules)
    }
}

impl SshConfig {
    async fn resolve(&self, name: String) -> Result<Found, SourceError> {
        let path = self.settings.file.display().to_string();
        let said = program::output("ssh", &["-G", "-F", &path, "--", &name]).await?;
        let said = said.ok_or_else(|| SourceError {
            what: "`ssh` is not installed, which resolves the hosts of an ssh_config".to_owned(),
            hint: Some("install OpenSSH's client".to_owned()),
        })?;
        Ok(read(&name, &said))
    }
}

/// What `ssh -G` says of a host.
fn read(name: &str, said: &str) -> Found {
    let mut found = Found { origin: format!("host `{name}`"), ..Found::default() };
    found.fact("alias", Some(name.to_owned()));
    let keys: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("identityfile ")).collect();
    for line in said.lines() {
        match line.split_once(' ') {
            Some(("hostname", host)) => found.fact("host_address", Some(host.to_owned())),
            Some(("user", user)) => drop(found.ssh.insert("user".into(), json!(user))),
            Some(("port", port)) => drop(found.ssh.insert("port".into(), json!(port.parse::<u16>().unwrap_or(22)))),
            Some(("proxyjump", hops)) if hops != "none" => found.fact("proxy_jump", Some(hops.to_owned())),
            _ => {}
        }
    }
    // Several are what everybody tries; one is what somebody has chosen.
    if let [key] = keys.as_slice() {
        found.ssh.insert("key".into(), json!(key));
    }
    found
}

/// Hops that are hosts themselves are gone through; others are told.
fn through(found: &mut Found, names: &BTreeSet<String>) {
    let Some(hops) = found.facts.get("proxy_jump").cloned() else { return };
    let hops: Vec<&str> = hops.split(',').collect();
    match hops.iter().find(|hop| !names.contains(**hop)) {
        // OpenSSH writes the way from here; inventories begin at the host.
        None => drop(found.ssh.insert("jump".into(), json!(hops.iter().rev().collect::<Vec<_>>()))),
        Some(hop) => found.warnings.push(format!(
            "it is reached through `{}`, which is no host of the ssh_config: give it `ssh: {{jump: …}}`",
            text::escape(hop.as_bytes(), 80)
        )),
    }
}

fn set(patterns: &[String]) -> Result<GlobSet, SourceError> {
    let mut builder = GlobSetBuilder::new();
    let bad = |e: globset::Error| SourceError { what: format!("a pattern cannot be used: {e}"), hint: None };
    for pattern in patterns {
        builder.add(Glob::new(pattern).map_err(bad)?);
    }
    builder.build().map_err(bad)
}

/// Names that `Host` lines spell out, in this file and in those that it includes.
fn aliases(path: &Path, base: &Path, depth: usize, names: &mut BTreeSet<String>) -> Result<(), SourceError> {
    if depth > MAX_DEPTH {
        let what = format!("{} is included more than {MAX_DEPTH} files deep", path.display());
        return Err(SourceError { what, hint: None });
    }
    let text = String::from_utf8_lossy(&file::read(path)?.bytes).into_owned();
    for line in text.lines().map(str::trim) {
        let Some((key, rest)) = line.split_once(|c: char| c.is_whitespace() || c == '=') else { continue };
        let words = rest.split_whitespace().map(|word| word.trim_matches('"'));
        match key.to_ascii_lowercase().as_str() {
            "host" => names.extend(words.filter(|w| !w.contains(['*', '?', '!'])).map(str::to_owned)),
            "include" => {
                for pattern in words {
                    included(pattern, base)?.iter().try_for_each(|path| aliases(path, base, depth + 1, names))?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Files that an `Include` means; patterns only in the last part.
fn included(pattern: &str, base: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let home = base.parent().unwrap_or(base);
    let path = match pattern.strip_prefix("~/") {
        Some(rest) => home.join(rest),
        None => base.join(pattern),
    };
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if !name.contains(['*', '?', '[']) {
        return Ok(if path.is_file() { vec![path] } else { Vec::new() });
    }
    let wanted = set(&[name])?;
    let entries = std::fs::read_dir(path.parent().unwrap_or(base)).into_iter().flatten().flatten();
    let fits = entries.filter(|entry| wanted.is_match(Path::new(&entry.file_name())));
    let mut files: Vec<PathBuf> = fits.map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_are_spelled_out_here_and_in_included_files() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("config", "Host bastion b2\n  User x\nInclude more.d-*\nInclude none\nHost *.x !y dal-?\nHost=eq\n");
        write("more.d-1", "host dal-1\n");
        let mut names = BTreeSet::new();
        aliases(&dir.path().join("config"), dir.path(), 0, &mut names).unwrap();
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["b2", "bastion", "dal-1", "eq"]);
        write("round", "Include round\n");
        assert!(aliases(&dir.path().join("round"), dir.path(), 0, &mut BTreeSet::new()).is_err());
    }

    #[test]
    fn hops_are_hosts_or_are_told() {
        let said = "hostname 10.0.0.1\nuser ops\nport 2222\nidentityfile ~/.ssh/only\nproxyjump a,b\n";
        let both = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
        let mut found = read("x", said);
        through(&mut found, &both);
        assert_eq!(
            serde_json::to_string(&found.ssh).unwrap(),
            r#"{"jump":["b","a"],"key":"~/.ssh/only","port":2222,"user":"ops"}"#
        );
        let mut found = read("x", said);
        through(&mut found, &BTreeSet::new());
        assert!(found.warnings[0].contains("through `a`"), "{:?}", found.warnings);
    }
}
