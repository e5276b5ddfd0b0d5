//! What is offered to a server, and in which order.
//!
//! Owns OpenSSH's order: certificates that were named, keys of the ssh-agent that files name, other keys of the agent, files. Must never
//! offer a key of the agent that the user has excluded.

use std::path::Path;
use std::sync::Arc;

use russh::keys::agent::AgentIdentity;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Certificate, HashAlg, PrivateKey, PublicKey};

use super::files::{KeyFile, Unusable, read_certificate};
use super::sign::{Agent, Signer};
use super::tried::Tried;
use crate::ssh::config::{Identities, shown};
use crate::text::escape;

/// One key or certificate that can be offered.
pub(super) struct Offer {
    /// For people.
    pub name: String,
    pub what: AgentIdentity,
    by: By,
}

/// Who signs.
#[derive(Clone)]
enum By {
    /// The agent, with this one of its keys, which may be the key without the certificate.
    Agent(Box<AgentIdentity>),
    File(Arc<PrivateKey>),
}

impl Offer {
    fn held(identity: &AgentIdentity) -> Self {
        let comment = escape(identity.comment().as_bytes(), 60);
        let name = match identity {
            AgentIdentity::PublicKey { key, .. } => {
                format!("key {comment} of the ssh-agent ({})", key.fingerprint(HashAlg::Sha256))
            }
            AgentIdentity::Certificate { certificate, .. } => {
                format!(
                    "certificate {comment} of the ssh-agent (key {})",
                    certificate.public_key().fingerprint(HashAlg::Sha256)
                )
            }
        };
        Self { name, what: identity.clone(), by: By::Agent(Box::new(identity.clone())) }
    }

    fn file(path: &Path, key: &Arc<PrivateKey>) -> Self {
        let what = AgentIdentity::from(key.public_key().clone());
        Self { name: shown(path), what, by: By::File(key.clone()) }
    }

    fn certificate(path: &Path, certificate: &Certificate, by: By) -> Self {
        let what = AgentIdentity::from(certificate.clone());
        Self { name: format!("certificate {}", shown(path)), what, by }
    }

    /// Who signs for it; `None` when the agent is gone.
    pub fn signer<'a>(&'a self, agent: Option<&'a mut Agent>) -> Option<Signer<'a>> {
        match &self.by {
            By::Agent(identity) => agent.map(|agent| Signer::Agent(agent, identity)),
            By::File(key) => Some(Signer::File(key)),
        }
    }
}

/// The key that has to sign.
fn key_data(identity: &AgentIdentity) -> &KeyData {
    match identity {
        AgentIdentity::PublicKey { key, .. } => key.key_data(),
        AgentIdentity::Certificate { certificate, .. } => certificate.public_key(),
    }
}

/// What there is to choose from.
struct Choice<'a> {
    identities: &'a Identities,
    files: &'a [KeyFile],
    /// What the agent holds.
    held: &'a [AgentIdentity],
    offers: Vec<Offer>,
}

/// What to offer; `tried` learns what cannot be used.
pub(super) fn offers(
    identities: &Identities,
    files: &[KeyFile],
    held: &[AgentIdentity],
    tried: &mut Tried,
) -> Vec<Offer> {
    let mut choice = Choice { identities, files, held, offers: Vec::new() };
    choice.named_certificates(tried);
    for file in files {
        choice.keys_in_agent(file, tried);
    }
    if !identities.only_files {
        held.iter().for_each(|identity| choice.push(Offer::held(identity)));
    }
    for file in files {
        choice.key_in_file(file, tried);
    }
    choice.offers
}

impl Choice<'_> {
    /// Nothing is offered twice: every refusal counts.
    fn push(&mut self, offer: Offer) {
        let same = |other: &Offer| match (&other.what, &offer.what) {
            (AgentIdentity::PublicKey { key: a, .. }, AgentIdentity::PublicKey { key: b, .. }) => {
                a.key_data() == b.key_data()
            }
            (AgentIdentity::Certificate { certificate: a, .. }, AgentIdentity::Certificate { certificate: b, .. }) => {
                // Comments are no part of a certificate.
                a.signature() == b.signature() && a.public_key() == b.public_key()
            }
            (AgentIdentity::PublicKey { .. }, AgentIdentity::Certificate { .. })
            | (AgentIdentity::Certificate { .. }, AgentIdentity::PublicKey { .. }) => false,
        };
        if !self.offers.iter().any(same) {
            self.offers.push(offer);
        }
    }

    /// What `CertificateFile` names.
    fn named_certificates(&mut self, tried: &mut Tried) {
        for path in &self.identities.certificates {
            match read_certificate(path) {
                Ok(certificate) => self.certificate(path, &certificate, tried),
                Err(why) => tried.note(format!("{}: {why}", shown(path))),
            }
        }
    }

    fn certificate(&mut self, path: &Path, certificate: &Certificate, tried: &mut Tried) {
        if certificate.cert_type() != CertType::User {
            let hint = "have the user's key signed without `-h`: ssh-keygen -s CA -I ID -n USER KEY.pub".to_owned();
            tried.cannot_use(format!("{} is a certificate for a host, not for a user", shown(path)), Some(hint));
            return;
        }
        match self.who_signs(certificate.public_key()) {
            Some(by) => self.push(Offer::certificate(path, certificate, by)),
            None => tried.note(format!("{}: neither a key file nor the ssh-agent has its private key", shown(path))),
        }
    }

    fn who_signs(&self, key: &KeyData) -> Option<By> {
        let mut held = self.held.iter().filter(|identity| key_data(identity) == key);
        if let Some(identity) = held.next() {
            return Some(By::Agent(Box::new(identity.clone())));
        }
        let private = self.files.iter().filter_map(|file| file.private.as_ref().ok());
        private.filter(|private| private.public_key().key_data() == key).map(|private| By::File(private.clone())).next()
    }

    /// The agent's keys that a file names, and the certificate beside the file.
    fn keys_in_agent(&mut self, file: &KeyFile, tried: &mut Tried) {
        let mine: Vec<&AgentIdentity> = self.held.iter().filter(|held| is_of(file, held)).collect();
        mine.iter().for_each(|identity| self.push(Offer::held(identity)));
        if !mine.is_empty() {
            self.certificate_beside(file, tried);
        }
    }

    fn key_in_file(&mut self, file: &KeyFile, tried: &mut Tried) {
        if self.held.iter().any(|held| is_of(file, held)) {
            return;
        }
        match &file.private {
            Ok(key) => {
                self.push(Offer::file(&file.path, key));
                self.certificate_beside(file, tried);
            }
            Err(why) => self.unusable(file, why, tried),
        }
    }

    /// As in OpenSSH, certificates that were named are used instead.
    fn certificate_beside(&mut self, file: &KeyFile, tried: &mut Tried) {
        let certificate = file.certificate.as_ref().filter(|_| self.identities.certificates.is_empty());
        if let Some((path, certificate)) = certificate {
            self.certificate(path, certificate, tried);
        }
    }

    fn unusable(&self, file: &KeyFile, why: &Unusable, tried: &mut Tried) {
        let path = shown(&file.path);
        let not_held = match &self.identities.agent {
            Some(_) => "the ssh-agent does not hold its private key",
            None => "there is no ssh-agent that could hold its private key",
        };
        match why {
            Unusable::Missing if file.public.is_some() => tried.note(format!("{path} does not exist, and {not_held}")),
            Unusable::Missing if self.identities.named => tried.note(format!("{path} does not exist")),
            Unusable::Missing => {}
            Unusable::OnlyPublic => tried.cannot_use(
                format!("{path} is a public key, and {not_held}"),
                Some("add the private key to the ssh-agent (ssh-add -l shows what it holds), or name the private key's file".to_owned()),
            ),
            Unusable::Other { why, hint } => tried.cannot_use(format!("{path}: {why}"), hint.clone()),
        }
    }
}

fn is_of(file: &KeyFile, held: &AgentIdentity) -> bool {
    file.public.as_ref().map(PublicKey::key_data) == Some(key_data(held))
}
