//! What was tried to log in, for the error.
//!
//! Owns the words about it and the one thing to do next. Must never advise what cannot help: the remedy for a certificate is another
//! than that for a key.

use jiff::Timestamp;
use russh::MethodSet;
use russh::keys::agent::AgentIdentity;
use russh::keys::{Certificate, HashAlg};

use super::offer::Offer;
use crate::outside::{Error, Kind};
use crate::ssh::certificate;
use crate::ssh::config::{Endpoint, shown};
use crate::text::{escape, list};

/// What was tried.
#[derive(Default)]
pub(super) struct Tried {
    notes: Vec<String>,
    /// What to do about something on this side that could not be used.
    own: Option<String>,
    /// What to do about what the server did, where it is clear.
    servers: Option<String>,
    /// What to do about certificates that were refused.
    certificates: Option<String>,
    /// How else the server lets people in.
    methods: Option<String>,
    offered: usize,
    /// An RSA key was refused, whatever the hash.
    rsa: bool,
}

impl Tried {
    pub fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// So many were left out, since servers hang up after `most`.
    pub fn not_tried(&mut self, left: usize, most: usize) {
        if left == 0 {
            return;
        }
        self.server(
            format!("{left} more not tried, since servers hang up after {most}"),
            "name the right key by `key` under `ssh` in the inventory".to_owned(),
        );
    }

    /// Something on this side cannot be used.
    pub fn cannot_use(&mut self, note: String, hint: Option<String>) {
        self.note(note);
        self.own = self.own.take().or(hint);
    }

    /// The server does not let keys in at all, or not alone.
    pub fn server(&mut self, note: String, hint: String) {
        self.note(note);
        self.servers.get_or_insert(hint);
    }

    /// The key is the right one, and does not suffice.
    pub fn second_proof(&mut self, note: String) {
        self.offered += 1;
        let hint =
            "a second proof is not supported: `AuthenticationMethods publickey` for this account in its sshd_config";
        self.server(note, hint.to_owned());
    }

    /// There was no signature.
    pub fn not_signed(&mut self, offer: &Offer, why: &str, hint: &str) {
        self.offered += 1;
        self.cannot_use(format!("{}: {why}", offer.name), Some(hint.to_owned()));
    }

    /// The server refused it, and takes these methods.
    pub fn refused(&mut self, offer: &Offer, methods: &MethodSet, remark: Option<&str>, at: &Moment<'_>) {
        self.offered += 1;
        let mut note = format!("{} refused", offer.name);
        if let AgentIdentity::Certificate { certificate, .. } = &offer.what {
            let about = about(certificate, at.now);
            note.push_str(&format!(" ({about})"));
            self.certificates.get_or_insert_with(|| remedy(certificate, at));
        }
        if let Some(remark) = remark {
            note.push_str(&format!(" ({remark})"));
        }
        self.note(note);
        if !methods.is_empty() {
            self.methods = Some(named(methods));
        }
    }

    /// An RSA key that was refused by SHA-512 was refused by SHA-256, too.
    pub fn refused_by_both_hashes(&mut self) {
        self.rsa = true;
    }

    pub fn into_error(self, endpoint: &Endpoint, files: &[String]) -> Error {
        let user = escape(endpoint.user.as_bytes(), 40);
        let (what, hint) = match self.offered {
            0 => (format!("there is no key to log in with: {}", self.nothing(endpoint, files)), None),
            _ => {
                let takes = self.methods.as_ref().map_or_else(String::new, |methods| format!(" (it takes {methods})"));
                (
                    format!("refused the login of `{user}`{takes}: {}", self.notes.join("; ")),
                    self.servers.or(self.certificates),
                )
            }
        };
        let hint = hint.or(self.own).unwrap_or_else(|| match self.offered {
            0 => "name a key by `key` under `ssh` in the inventory, or add one to the ssh-agent (ssh-add)".to_owned(),
            _ => format!(
                "put the public key into ~{user}/.ssh/authorized_keys on the host, or name the right key by `key` under `ssh` in \
                 the inventory{}",
                if self.rsa { "; an RSA key that is there is refused where sshd takes RSA only with SHA-1: use an Ed25519 key" } else { "" }
            ),
        });
        Error::new(endpoint.to_string(), Kind::LoginRefused, what).hint(hint)
    }

    /// Why nothing was offered.
    fn nothing(&self, endpoint: &Endpoint, files: &[String]) -> String {
        if !self.notes.is_empty() {
            return self.notes.join("; ");
        }
        let agent = match &endpoint.identities.agent {
            Some(socket) if endpoint.identities.only_files => {
                format!("the ssh-agent at {} holds none of", shown(socket))
            }
            Some(socket) => format!("the ssh-agent at {} holds no key, and there is none of", shown(socket)),
            None => "there is no ssh-agent, and none of".to_owned(),
        };
        match files.is_empty() {
            true => "no key file is configured, and the ssh-agent holds no key".to_owned(),
            false => format!("{agent} {}", list(files)),
        }
    }
}

/// When a login is tried, and as whom.
pub(super) struct Moment<'a> {
    pub user: &'a str,
    pub now: Timestamp,
}

/// What may be wrong with a certificate.
fn about(certificate: &Certificate, now: Timestamp) -> String {
    let id = escape(certificate.key_id().as_bytes(), 80);
    let valid = certificate::out_of_time(certificate, now).map_or_else(String::new, |why| format!("; it {why}"));
    format!("ID {id}, for {}{valid}", certificate::principals(certificate))
}

fn remedy(certificate: &Certificate, at: &Moment<'_>) -> String {
    let user = escape(at.user.as_bytes(), 40);
    if let Some(why) = certificate::out_of_time(certificate, at.now) {
        return format!("the certificate {why}: have a new one signed");
    }
    let authority = certificate.signature_key().fingerprint(HashAlg::Sha256);
    if !certificate.valid_principals().iter().any(|name| name == at.user) {
        return format!(
            "the certificate is for {}, not for {user}: have one signed with `-n {user}`, or let the host map its principals \
             (AuthorizedPrincipalsFile)",
            certificate::principals(certificate)
        );
    }
    format!(
        "the host has to trust the CA that signed the certificate ({authority}): its public key belongs into the file that \
         TrustedUserCAKeys names in sshd_config; the host's log says what it does not like"
    )
}

/// The methods of a server.
pub(super) fn named(methods: &MethodSet) -> String {
    let names: Vec<String> = methods
        .iter()
        .map(|method| {
            let name: &'static str = method.into();
            name.to_owned()
        })
        .collect();
    list(&names)
}
