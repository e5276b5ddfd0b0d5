//! Which host keys are trusted: `known_hosts` files as OpenSSH reads them, strictly.
//!
//! Owns the verdict about a host's key. Must never write to a file, and never trust a key because nothing is known about the host.

use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use russh::keys::ssh_key::known_hosts::{Entry, HostPatterns, Marker};
use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PublicKey};
use sha1::Sha1;

use super::config::{Endpoint, KnownAs, shown};
use super::{SshError, SshErrorKind};
use crate::text::list;

/// A file larger than this is not a known_hosts file.
const MAX_FILE: u64 = 64 << 20;

/// What the files say about one host.
#[derive(Debug, Clone, Default)]
pub struct Known {
    lines: Vec<Line>,
    /// Each file that was looked at, and what is wrong with it.
    files: Vec<(PathBuf, Option<String>)>,
}

/// A line that speaks of the host.
#[derive(Debug, Clone)]
struct Line {
    file: PathBuf,
    number: usize,
    marker: Option<Marker>,
    key: PublicKey,
    /// The line names the host without the port that is dialled: it can confirm a key, not contradict one.
    confirms_only: bool,
}

/// What `known_hosts` says about a key that a host offers.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Trusted,
    Unknown,
    /// Where the known keys stand.
    Changed(Vec<(String, PublicKey)>),
    /// Where it was revoked.
    Revoked(String),
}

/// Host key algorithms that can be verified here, in the order in which they are asked for.
pub(super) const ALGORITHMS: [Algorithm; 4] = [
    Algorithm::Ed25519,
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
];

/// Reads what the files know about a host. A file that is not there is like an empty one.
pub async fn read(files: &[PathBuf], known_as: &KnownAs) -> Known {
    let mut known = Known::default();
    for file in files {
        let problem = match read_file(file).await {
            Ok(text) => {
                known.lines.extend(matching_lines(file, &text, known_as));
                None
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Some("does not exist".to_owned()),
            Err(e) => Some(e.to_string()),
        };
        known.files.push((file.clone(), problem));
    }
    known
}

async fn read_file(file: &Path) -> std::io::Result<String> {
    if tokio::fs::metadata(file).await?.len() > MAX_FILE {
        return Err(std::io::Error::other("is larger than 64 MiB"));
    }
    Ok(String::from_utf8_lossy(&tokio::fs::read(file).await?).into_owned())
}

fn matching_lines<'a>(file: &'a Path, text: &'a str, known_as: &'a KnownAs) -> impl Iterator<Item = Line> + 'a {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with('#'));
    lines.filter_map(move |(n, line)| {
        // Fields may be parted by any white space; lines that cannot be read are skipped, as OpenSSH does.
        let entry: Entry = line.split_whitespace().collect::<Vec<_>>().join(" ").parse().ok()?;
        let exact = matches(entry.host_patterns(), &known_as.name);
        let portless = || known_as.without_port.as_ref().is_some_and(|name| matches(entry.host_patterns(), name));
        if !exact && !portless() {
            return None;
        }
        let key = PublicKey::new(entry.public_key().key_data().clone(), "");
        Some(Line { file: file.to_owned(), number: n + 1, marker: entry.marker().copied(), key, confirms_only: !exact })
    })
}

fn matches(patterns: &HostPatterns, name: &str) -> bool {
    match patterns {
        HostPatterns::HashedName { salt, hash } => {
            let Ok(mac) = Hmac::<Sha1>::new_from_slice(salt) else { return false };
            mac.chain_update(name.as_bytes()).verify_slice(hash).is_ok()
        }
        HostPatterns::Patterns(patterns) => {
            let mut found = false;
            for pattern in patterns {
                match pattern.strip_prefix('!') {
                    Some(not) if glob(&not.to_lowercase(), name) => return false,
                    None if glob(&pattern.to_lowercase(), name) => found = true,
                    _ => {}
                }
            }
            found
        }
    }
}

/// `*` stands for any text, `?` for one character.
fn glob(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || Some(c) == name.get(n) => {
                p += 1;
                n += 1;
            }
            _ => match star {
                // Let the last star take one character more.
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    n = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(|c| *c == '*'))
}

impl Known {
    /// Algorithms to ask the host for: those of its known keys first, so that it does not answer with a key nobody knows.
    pub fn algorithms(&self) -> Vec<Algorithm> {
        let is_known = |a: &&Algorithm| self.plain().any(|line| line.key.algorithm() == **a);
        let mut order: Vec<Algorithm> = ALGORITHMS.iter().filter(is_known).cloned().collect();
        order.extend(ALGORITHMS.iter().filter(|a| !is_known(a)).cloned());
        order
    }

    /// Whether this is the key of the host; the error says what to do.
    pub fn check(&self, endpoint: &Endpoint, offered: &PublicKey) -> Result<(), SshError> {
        let shown_key = format!("{} key {}", offered.algorithm(), fingerprint(offered));
        let host = endpoint.to_string();
        match self.verdict(offered) {
            Verdict::Trusted => Ok(()),
            Verdict::Unknown => {
                let what = format!("its {shown_key} is unknown: {}", self.why_unknown());
                Err(SshError::new(host, SshErrorKind::UnknownHostKey, what)
                    .with_hint(self.how_to_add(endpoint, offered)))
            }
            Verdict::Changed(known) => {
                let known: Vec<String> = known
                    .iter()
                    .map(|(at, key)| format!("{at} has {} {}", key.algorithm(), fingerprint(key)))
                    .collect();
                let what = format!("offers another key than the known one: {shown_key}, but {}", list(&known));
                Err(SshError::new(host, SshErrorKind::ChangedHostKey, what).with_hint(
                    "someone may be in between, or the host was installed anew: compare with the host's own \
                     `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on its console before anything is trusted",
                ))
            }
            Verdict::Revoked(at) => {
                let what = format!("its {shown_key} was revoked by {at}");
                Err(SshError::new(host, SshErrorKind::ChangedHostKey, what)
                    .with_hint("whoever holds this key must not be trusted: give the host a new key"))
            }
        }
    }

    fn verdict(&self, offered: &PublicKey) -> Verdict {
        let at = |line: &Line| format!("{}:{}", shown(&line.file), line.number);
        let same = |line: &&Line| line.key == *offered;
        if let Some(line) = self.lines.iter().filter(same).find(|line| line.marker == Some(Marker::Revoked)) {
            return Verdict::Revoked(at(line));
        }
        if self.plain().any(|line| line.key == *offered) {
            return Verdict::Trusted;
        }
        // Known keys of another kind count, too: such keys are asked for first, so the host no longer has them.
        let usable = |line: &&Line| !line.confirms_only && ALGORITHMS.contains(&line.key.algorithm());
        let known: Vec<_> = self.plain().filter(usable).map(|line| (at(line), line.key.clone())).collect();
        if known.is_empty() { Verdict::Unknown } else { Verdict::Changed(known) }
    }

    fn plain(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| line.marker.is_none())
    }

    fn why_unknown(&self) -> String {
        let files: Vec<String> = self
            .files
            .iter()
            .map(|(file, problem)| problem.as_ref().map_or_else(|| shown(file), |p| format!("{} ({p})", shown(file))))
            .collect();
        let mut why = match files.is_empty() {
            true => "no known_hosts file is configured".to_owned(),
            false => format!("it is not in {}", list(&files)),
        };
        if self.plain().any(|line| matches!(line.key.algorithm(), Algorithm::Rsa { .. })) {
            why.push_str("; an RSA key of this host is known, but RSA host keys are not supported");
        }
        if self.lines.iter().any(|line| line.marker == Some(Marker::CertAuthority)) {
            why.push_str("; a @cert-authority line matches, but host certificates are not supported");
        }
        why
    }

    fn how_to_add(&self, endpoint: &Endpoint, offered: &PublicKey) -> String {
        let kind = offered.algorithm().to_string();
        let kind = if kind.starts_with("ecdsa") { "ecdsa" } else { kind.trim_start_matches("ssh-") };
        let port = if endpoint.port == 22 { String::new() } else { format!("-p {} ", endpoint.port) };
        let file = self.files.first().map_or_else(|| "~/.ssh/known_hosts".to_owned(), |(file, _)| shown(file));
        let through = endpoint.via.as_ref().map_or_else(String::new, |via| format!(" (run it on {})", via.name));
        format!(
            "compare the fingerprint with the host's own (`ssh-keygen -lf /etc/ssh/ssh_host_{kind}_key.pub` on its console); \
             if it is the same, add it: ssh-keyscan {port}-t {kind} {} >> {file}{through}",
            endpoint.address
        )
    }
}

fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}
