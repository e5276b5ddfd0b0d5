//! Which host keys are trusted: `known_hosts` files as OpenSSH reads them, strictly.
//!
//! Owns the verdict about a host's key. Must never write to a file, and never trust a key because nothing is known about the host.

use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use russh::keys::ssh_key::known_hosts::{Entry, HostPatterns, Marker};
use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PublicKey};
use sha1::Sha1;

use super::config::{Endpoint, KnownAs, shown};
use crate::outside::{Error, Kind};
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

/// Host key algorithms that can be verified here, in the order in which they are asked for. RSA with SHA-1 is not among them.
const ALGORITHMS: [Algorithm; 6] = [
    Algorithm::Ed25519,
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
    Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
    Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
];

/// Whether a key of this kind signs by this algorithm: an RSA key is of one kind, and signs by several.
fn signs_by(key: &PublicKey, algorithm: &Algorithm) -> bool {
    match (key.algorithm(), algorithm) {
        (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }) => true,
        (kind, algorithm) => kind == *algorithm,
    }
}

/// Algorithms to ask a host for: those of these keys first, so that it does not answer with a key nobody knows.
pub(crate) fn algorithms<'a>(known: impl Iterator<Item = &'a PublicKey> + Clone) -> Vec<Algorithm> {
    let is_known = |algorithm: &&Algorithm| known.clone().any(|key| signs_by(key, algorithm));
    let (mut order, others): (Vec<Algorithm>, Vec<Algorithm>) =
        ALGORITHMS.iter().cloned().partition(|algorithm| is_known(&algorithm));
    order.extend(others);
    order
}

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
    /// Algorithms to ask the host for.
    pub fn algorithms(&self) -> Vec<Algorithm> {
        let keys: Vec<&PublicKey> = self.plain().map(|line| &line.key).collect();
        algorithms(keys.iter().copied())
    }

    /// The keys by which the host is known and that were not revoked.
    pub fn trusted(&self) -> Vec<PublicKey> {
        self.plain().filter(|line| self.verdict(&line.key) == Verdict::Trusted).map(|line| line.key.clone()).collect()
    }

    /// Whether this is the key of the host; the error says what to do.
    pub fn check(&self, endpoint: &Endpoint, offered: &PublicKey) -> Result<(), Error> {
        let shown_key = format!("{} key {}", offered.algorithm(), fingerprint(offered));
        let host = endpoint.to_string();
        match self.verdict(offered) {
            Verdict::Trusted => Ok(()),
            Verdict::Unknown => {
                let what = format!("its {shown_key} is unknown: {}", self.why_unknown());
                Err(Error::new(host, Kind::UnknownHostKey, what).hint(self.how_to_add(endpoint, offered)))
            }
            Verdict::Changed(known) => {
                let known: Vec<String> = known
                    .iter()
                    .map(|(at, key)| format!("{at} has {} {}", key.algorithm(), fingerprint(key)))
                    .collect();
                let what = format!("offers another key than the known one: {shown_key}, but {}", list(&known));
                Err(Error::new(host, Kind::ChangedHostKey, what).hint(
                    "someone may be in between, or the host was installed anew: compare with the host's own \
                     `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on its console before anything is trusted",
                ))
            }
            Verdict::Revoked(at) => {
                let what = format!("its {shown_key} was revoked by {at}");
                Err(Error::new(host, Kind::ChangedHostKey, what)
                    .hint("whoever holds this key must not be trusted: give the host a new key"))
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
        let usable =
            |line: &&Line| !line.confirms_only && ALGORITHMS.iter().any(|algorithm| signs_by(&line.key, algorithm));
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

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const B: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA6rWI3G1sz07DnfFlrouTcysQlj2P+jpNSOEWD9OJ3X";
    const ECDSA: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBHwf2HMM5TRXvo2SQJjsNkiDD5KqiiNjrGVv3UUh+mMT5RHxiRtOnlqvjhQtBq0VpmpCV/PwUdhOig4vkbqAcEc=";

    fn known(text: &str, host: &str, port: u16, alias: Option<&str>) -> Known {
        let name = KnownAs::new(host, port, alias);
        let file = Path::new("/kh");
        Known { lines: matching_lines(file, text, &name).collect(), files: vec![(file.to_owned(), None)] }
    }

    fn verdict(text: &str, host: &str, port: u16) -> Verdict {
        known(text, host, port, None).verdict(&key(A))
    }

    fn key(line: &str) -> PublicKey {
        PublicKey::from_openssh(line).unwrap()
    }

    fn changed(at: &str, line: &str) -> Verdict {
        Verdict::Changed(vec![(at.to_owned(), key(line))])
    }

    #[test]
    fn a_plain_name_is_known_on_its_port_only() {
        let text = format!("web1 {A}\n[web2]:2201 {A} with a comment\n");
        assert_eq!(verdict(&text, "WEB1", 22), Verdict::Trusted);
        assert_eq!(verdict(&text, "web2", 2201), Verdict::Trusted);
        assert_eq!(verdict(&text, "web2", 22), Verdict::Unknown);
        assert_eq!(verdict(&text, "web", 22), Verdict::Unknown);
    }

    #[test]
    fn a_line_without_port_confirms_a_key_on_another_port_but_does_not_contradict_one() {
        assert_eq!(verdict(&format!("web1 {A}\n"), "web1", 2201), Verdict::Trusted);
        assert_eq!(verdict(&format!("web1 {B}\n"), "web1", 2201), Verdict::Unknown);
        assert_eq!(verdict(&format!("[web1]:2201 {B}\nweb1 {A}\n"), "web1", 2201), Verdict::Trusted);
    }

    #[test]
    fn wildcards_and_negation_are_understood() {
        let text = format!("# web1 {A}\n  *.example.org,!db.example.org\t{A}\n");
        assert_eq!(verdict(&text, "web.example.org", 22), Verdict::Trusted);
        assert_eq!(verdict(&text, "db.example.org", 22), Verdict::Unknown);
        assert_eq!(verdict(&text, "example.org", 22), Verdict::Unknown);
        assert_eq!(verdict(&format!("10.0.0.? {A}\n"), "10.0.0.7", 22), Verdict::Trusted);
        assert_eq!(verdict(&format!("10.0.0.? {A}\n"), "10.0.0.77", 22), Verdict::Unknown);
        assert_eq!(verdict(&format!("a*b*c {A}\n"), "aXbXbc", 22), Verdict::Trusted);
        assert_eq!(verdict(&format!("a*b*c {A}\n"), "aXbXb", 22), Verdict::Unknown);
    }

    #[test]
    fn hashed_names_are_known() {
        // ssh-keygen -H of `example.com`.
        let text = format!("|1|O33ESRMWPVkMYIwJ1Uw+n877jTo=|nuuC5vEqXlEZ/8BXQR7m619W6Ak= {A}\n");
        assert_eq!(verdict(&text, "example.com", 22), Verdict::Trusted);
        assert_eq!(verdict(&text, "example.org", 22), Verdict::Unknown);
    }

    #[test]
    fn several_keys_of_a_host_are_all_good_and_another_one_is_a_change() {
        assert_eq!(verdict(&format!("web1 {B}\nweb1 {A}\n"), "web1", 22), Verdict::Trusted);
        assert_eq!(verdict(&format!("other {A}\nweb1 {B}\n"), "web1", 22), changed("/kh:2", B));
        assert_eq!(verdict(&format!("web1 {ECDSA}\n"), "web1", 22), changed("/kh:1", ECDSA));
    }

    #[test]
    fn revoked_keys_are_refused_even_where_they_are_listed() {
        let text = format!("web1 {A}\n@revoked * {A}\n");
        assert_eq!(verdict(&text, "web1", 22), Verdict::Revoked("/kh:2".to_owned()));
        assert_eq!(verdict(&format!("web1 {A}\n@revoked * {B}\n"), "web1", 22), Verdict::Trusted);
    }

    #[test]
    fn certificate_authorities_vouch_for_nothing() {
        let known = known(&format!("@cert-authority * {A}\n"), "web1", 22, None);
        assert_eq!(known.verdict(&key(A)), Verdict::Unknown);
        assert!(known.why_unknown().contains("host certificates are not supported"));
    }

    #[test]
    fn an_alias_is_looked_up_without_port() {
        let known = known(&format!("cluster {A}\n"), "10.0.0.1", 2201, Some("Cluster"));
        assert_eq!(known.verdict(&key(A)), Verdict::Trusted);
    }

    #[test]
    fn algorithms_of_known_keys_are_asked_for_first() {
        let known = known(&format!("web1 {ECDSA}\n"), "web1", 22, None);
        assert_eq!(known.algorithms().first(), Some(&Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 }));
        assert_eq!(known.algorithms().len(), ALGORITHMS.len());
    }

    #[test]
    fn nothing_in_a_file_makes_a_panic_or_trust() {
        let strange = [
            "web1",
            "web1 ssh-ed25519",
            "web1 ssh-ed25519 AAAA",
            "|1|x|y z w",
            "@revoked",
            "@x web1 y z",
            "\u{0}",
            "!web1 a b",
        ];
        for text in strange {
            assert_eq!(verdict(text, "web1", 22), Verdict::Unknown, "{text:?}");
        }
        proptest::proptest!(|(text in "(web1|\\*|!|@revoked|\\|1\\||#|,| |\n|ssh-ed25519|[A-Za-z=]{0,8}){0,12}")| {
            proptest::prop_assert_eq!(verdict(&text, "web1", 22), Verdict::Unknown);
        });
    }
}
