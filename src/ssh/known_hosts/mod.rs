//! Which host keys are trusted: `known_hosts` files and `KnownHostsCommand` as OpenSSH reads them, strictly.
//!
//! Owns the verdict about a host's key. Must never write to a file, and never trust a key because nothing is known about the host.

mod certificate;
mod command;
mod hint;
mod lines;

use std::path::Path;

use jiff::Timestamp;
use russh::keys::ssh_key::known_hosts::Marker;
use russh::keys::{Algorithm, Certificate, HashAlg, PublicKey, PublicKeyOrCertificate};

use self::certificate::Doubt;
pub use self::command::KnownHostsCommand;
use self::command::Reason;
use self::lines::Line;
use super::config::{Endpoint, shown};
use crate::connection::{algorithms, is_supported};
use crate::outside::{Error, Kind};
use crate::text::list;

/// A file larger than this is not a known_hosts file.
const MAX_FILE: u64 = 64 << 20;

/// What the files say about one host.
#[derive(Debug, Clone, Default)]
pub struct Known {
    lines: Vec<Line>,
    /// Each place that was looked at, and what is wrong with it.
    places: Vec<(String, Option<String>)>,
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

/// Reads what is known about a host. A file that is not there is like an empty one.
pub async fn read(endpoint: &Endpoint) -> Result<Known, Error> {
    let mut known = Known::default();
    for file in &endpoint.known_hosts {
        known.add_file(file, endpoint).await;
    }
    if let Some(command) = &endpoint.known_hosts_command {
        known.add_command(command, endpoint, &Reason::Order).await?;
    }
    Ok(known)
}

async fn read_file(file: &Path) -> std::io::Result<String> {
    if tokio::fs::metadata(file).await?.len() > MAX_FILE {
        return Err(std::io::Error::other("is larger than 64 MiB"));
    }
    Ok(String::from_utf8_lossy(&tokio::fs::read(file).await?).into_owned())
}

impl Known {
    async fn add_file(&mut self, file: &Path, endpoint: &Endpoint) {
        let at = shown(file);
        let problem = match read_file(file).await {
            Ok(text) => {
                self.lines.extend(lines::matching(&at, &text, &endpoint.known_as));
                None
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Some("does not exist".to_owned()),
            Err(e) => Some(e.to_string()),
        };
        self.places.push((at, problem));
    }

    async fn add_command(
        &mut self,
        command: &KnownHostsCommand,
        endpoint: &Endpoint,
        reason: &Reason<'_>,
    ) -> Result<(), Error> {
        const NAME: &str = "what KnownHostsCommand prints";
        let text = command.run(&endpoint.known_as, reason).await.map_err(|what| {
            Error::new(endpoint.to_string(), Kind::Config, what)
                .hint("run it by hand, or name a file by `known_hosts` under `ssh` in the inventory instead")
        })?;
        self.lines.extend(lines::matching(NAME, &text, &endpoint.known_as));
        if !self.places.iter().any(|(place, _)| place == NAME) {
            self.places.push((NAME.to_owned(), None));
        }
        Ok(())
    }

    /// Algorithms to ask the host for.
    pub fn algorithms(&self) -> Vec<Algorithm> {
        let keys: Vec<&PublicKey> = self.plain().map(|line| &line.key).collect();
        algorithms(keys.iter().copied())
    }

    /// Algorithms of certificates to ask the host for: none without an authority that could have signed one.
    pub fn certificate_algorithms(&self) -> Vec<Algorithm> {
        if self.authorities().next().is_some() { self.algorithms() } else { Vec::new() }
    }

    /// The keys by which the host is known and that were not revoked.
    pub fn trusted(&self) -> Vec<PublicKey> {
        self.plain().filter(|line| self.verdict(&line.key) == Verdict::Trusted).map(|line| line.key.clone()).collect()
    }

    /// Whether this is the key of the host; the error says what to do.
    pub async fn check(
        &self,
        endpoint: &Endpoint,
        offered: &PublicKeyOrCertificate,
        now: Timestamp,
    ) -> Result<(), Error> {
        let key = offered.public_key();
        match endpoint.known_hosts_command.as_ref().filter(|command| command.asks_for_a_key()) {
            Some(command) => {
                let mut known = self.clone();
                known.add_command(command, endpoint, &Reason::Hostname(&key)).await?;
                known.judge(endpoint, &key, offered.certificate(), now)
            }
            None => self.judge(endpoint, &key, offered.certificate(), now),
        }
    }

    fn judge(
        &self,
        endpoint: &Endpoint,
        key: &PublicKey,
        certificate: Option<&Certificate>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let doubt = match certificate.map(|certificate| self.doubt(endpoint, certificate, now)) {
            Some(None) => return Ok(()),
            Some(Some(doubt)) => Some(doubt),
            None => None,
        };
        let host = endpoint.to_string();
        if let Some(doubt) = doubt.as_ref().filter(|doubt| doubt.is_revoked()) {
            return Err(Error::new(host, Kind::ChangedHostKey, doubt.what()).hint(doubt.hint(endpoint)));
        }
        // As OpenSSH: with a certificate that does not count, the key in it may still be a known one.
        let shown_key = format!("{} key {}", key.algorithm(), fingerprint(key));
        let about = doubt.as_ref().map_or_else(String::new, |doubt| format!("{}; ", doubt.what()));
        match self.verdict(key) {
            Verdict::Trusted => Ok(()),
            Verdict::Unknown => {
                let what = format!("{about}its {shown_key} is unknown: {}", self.why_unknown(certificate.is_some()));
                let hint = doubt.map_or_else(|| hint::how_to_add(endpoint, key), |doubt| doubt.hint(endpoint));
                Err(Error::new(host, Kind::UnknownHostKey, what).hint(hint))
            }
            Verdict::Changed(known) => {
                let known: Vec<String> = known
                    .iter()
                    .map(|(at, key)| format!("{at} has {} {}", key.algorithm(), fingerprint(key)))
                    .collect();
                let what = format!("{about}offers another key than the known one: {shown_key}, but {}", list(&known));
                let hint = doubt.map_or_else(|| hint::changed(key), |doubt| doubt.hint(endpoint));
                Err(Error::new(host, Kind::ChangedHostKey, what).hint(hint))
            }
            Verdict::Revoked(at) => {
                let what = format!("its {shown_key} was revoked by {at}");
                Err(Error::new(host, Kind::ChangedHostKey, what)
                    .hint("whoever holds this key must not be trusted: give the host a new key"))
            }
        }
    }

    /// Why a certificate does not count; `None` when it does.
    fn doubt(&self, endpoint: &Endpoint, certificate: &Certificate, now: Timestamp) -> Option<Doubt> {
        let authorities: Vec<&PublicKey> = self.authorities().map(|line| &line.key).collect();
        let revoked = |key: &PublicKey| self.revoked(key).map(|line| line.at.clone());
        certificate::doubt(certificate, endpoint.known_as.host(), &authorities, revoked, now)
    }

    fn verdict(&self, offered: &PublicKey) -> Verdict {
        if let Some(line) = self.revoked(offered) {
            return Verdict::Revoked(line.at.clone());
        }
        if self.plain().any(|line| line.key == *offered) {
            return Verdict::Trusted;
        }
        // Known keys of another kind count, too: such keys are asked for first, so the host no longer has them.
        let usable = |line: &&Line| !line.confirms_only && is_supported(&line.key);
        let known: Vec<_> = self.plain().filter(usable).map(|line| (line.at.clone(), line.key.clone())).collect();
        if known.is_empty() { Verdict::Unknown } else { Verdict::Changed(known) }
    }

    fn plain(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| line.marker.is_none())
    }

    fn authorities(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| line.marker == Some(Marker::CertAuthority))
    }

    fn revoked(&self, key: &PublicKey) -> Option<&Line> {
        self.lines.iter().find(|line| line.marker == Some(Marker::Revoked) && line.key == *key)
    }

    fn why_unknown(&self, by_certificate: bool) -> String {
        let places: Vec<String> = self
            .places
            .iter()
            .map(|(place, problem)| problem.as_ref().map_or_else(|| place.clone(), |p| format!("{place} ({p})")))
            .collect();
        let mut why = match places.is_empty() {
            true => "no known_hosts file is configured".to_owned(),
            false => format!("it is not in {}", list(&places)),
        };
        if let (false, Some(line)) = (by_certificate, self.authorities().next()) {
            why.push_str(&format!("; {} trusts an authority, but the host shows no certificate", line.at));
        }
        why
    }
}

fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssh::config::KnownAs;

    const A: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const B: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA6rWI3G1sz07DnfFlrouTcysQlj2P+jpNSOEWD9OJ3X";
    const ECDSA: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBHwf2HMM5TRXvo2SQJjsNkiDD5KqiiNjrGVv3UUh+mMT5RHxiRtOnlqvjhQtBq0VpmpCV/PwUdhOig4vkbqAcEc=";

    fn known(text: &str, host: &str, port: u16, alias: Option<&str>) -> Known {
        let name = KnownAs::new(host, port, alias);
        Known { lines: lines::matching("/kh", text, &name).collect(), places: vec![("/kh".to_owned(), None)] }
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
    fn the_key_of_an_authority_is_not_the_key_of_a_host() {
        let known = known(&format!("@cert-authority * {A}\n"), "web1", 22, None);
        assert_eq!(known.verdict(&key(A)), Verdict::Unknown);
        assert!(known.why_unknown(false).ends_with("/kh:1 trusts an authority, but the host shows no certificate"));
        assert!(known.trusted().is_empty());
    }

    #[test]
    fn certificates_are_asked_for_only_where_an_authority_could_have_signed_one() {
        let algorithms = |text: &str| known(text, "web1", 22, None).certificate_algorithms();
        assert_eq!(
            algorithms(&format!("@cert-authority web1 {A}\nweb1 {ECDSA}\n")).first().unwrap().as_str(),
            "ecdsa-sha2-nistp256"
        );
        assert!(algorithms(&format!("@cert-authority web2 {A}\nweb1 {A}\n")).is_empty());
    }

    #[test]
    fn an_alias_is_looked_up_without_port() {
        let known = known(&format!("cluster {A}\n"), "10.0.0.1", 2201, Some("Cluster"));
        assert_eq!(known.verdict(&key(A)), Verdict::Trusted);
    }

    #[test]
    fn algorithms_of_known_keys_are_asked_for_first() {
        let known = known(&format!("web1 {ECDSA}\n"), "web1", 22, None);
        assert_eq!(known.algorithms().first().unwrap().as_str(), "ecdsa-sha2-nistp256");
        assert_eq!(known.algorithms().len(), algorithms([].into_iter()).len());
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
