//! The lines of `known_hosts` files that speak of one host.
//!
//! Owns how they are read and whom they name, as OpenSSH has it. A line that cannot be read says nothing.

use hmac::{Hmac, KeyInit, Mac};
use russh::keys::PublicKey;
use russh::keys::ssh_key::known_hosts::{Entry, HostPatterns, Marker};
use sha1::Sha1;

use crate::ssh::config::KnownAs;

/// A line that speaks of the host.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// Where it stands, for people.
    pub at: String,
    pub marker: Option<Marker>,
    pub key: PublicKey,
    /// The line names the host without the port that is dialled: it can confirm a key, not contradict one.
    pub confirms_only: bool,
}

/// Lines of `text` about a host; `from` is where the text is from.
pub(super) fn matching<'a>(from: &'a str, text: &'a str, known_as: &'a KnownAs) -> impl Iterator<Item = Line> + 'a {
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
        Some(Line { at: format!("{from}:{}", n + 1), marker: entry.marker().copied(), key, confirms_only: !exact })
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
pub(super) fn glob(pattern: &str, name: &str) -> bool {
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
