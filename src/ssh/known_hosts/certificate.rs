//! Whether the certificate of a host counts.
//!
//! Owns the rules of OpenSSH's certificates for hosts. Must never let one count whose authority is not trusted for just this host.

use jiff::Timestamp;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Algorithm, Certificate, HashAlg, PublicKey};

use super::fingerprint;
use super::lines::glob;
use crate::ssh::certificate::{out_of_time, principals};
use crate::ssh::config::Endpoint;
use crate::text::{escape, list};

/// Why a certificate does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Doubt {
    /// The certificate, for people.
    name: String,
    why: Why,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Why {
    /// The key in it, or that of its authority, and where it was revoked.
    Revoked(&'static str, String),
    /// The authority's fingerprint.
    UnknownAuthority(String),
    NotForHosts,
    /// It is too early or too late.
    Time(String),
    /// Whom it is for, and the name that was looked for.
    OtherName(String, String),
    CriticalOptions(String),
    /// Signed by an algorithm that proves nothing any more.
    WeakSignature(String),
    Signature,
}

/// Whether `certificate` says that its key is the one of the host called `name`; if not, why.
pub(super) fn doubt(
    certificate: &Certificate,
    name: &str,
    authorities: &[&PublicKey],
    revoked: impl Fn(&PublicKey) -> Option<String>,
    now: Timestamp,
) -> Option<Doubt> {
    let why = why(certificate, name, authorities, revoked, now)?;
    let id = escape(certificate.key_id().as_bytes(), 80);
    Some(Doubt { name: format!("its certificate (ID {id}, serial {})", certificate.serial()), why })
}

fn why(
    certificate: &Certificate,
    name: &str,
    authorities: &[&PublicKey],
    revoked: impl Fn(&PublicKey) -> Option<String>,
    now: Timestamp,
) -> Option<Why> {
    let authority = PublicKey::from(certificate.signature_key().clone());
    if let Some(at) = revoked(&authority) {
        return Some(Why::Revoked("authority", at));
    }
    if let Some(at) = revoked(&PublicKey::from(certificate.public_key().clone())) {
        return Some(Why::Revoked("key", at));
    }
    if !authorities.iter().any(|trusted| trusted.key_data() == authority.key_data()) {
        return Some(Why::UnknownAuthority(fingerprint(&authority)));
    }
    if certificate.cert_type() != CertType::Host {
        return Some(Why::NotForHosts);
    }
    if let Some(why) = out_of_time(certificate, now) {
        return Some(Why::Time(why));
    }
    // As OpenSSH since 10.3: a certificate without names is for nobody, not for everybody.
    if !certificate.valid_principals().iter().any(|pattern| glob(pattern, name)) {
        return Some(Why::OtherName(principals(certificate), escape(name.as_bytes(), 80)));
    }
    let options: Vec<String> = certificate.critical_options().keys().map(|name| escape(name.as_bytes(), 80)).collect();
    if !options.is_empty() {
        return Some(Why::CriticalOptions(list(&options)));
    }
    if let weak @ (Algorithm::Rsa { hash: None } | Algorithm::Dsa) = certificate.signature().algorithm() {
        return Some(Why::WeakSignature(weak.to_string()));
    }
    let seconds = u64::try_from(now.as_second()).unwrap_or_default();
    let authority = authority.fingerprint(HashAlg::Sha256);
    certificate.validate_at(seconds, [&authority]).is_err().then_some(Why::Signature)
}

impl Doubt {
    /// Whether somebody has said that the key must not be trusted, whatever else speaks for it.
    pub fn is_revoked(&self) -> bool {
        matches!(self.why, Why::Revoked(..))
    }

    pub fn what(&self) -> String {
        let name = &self.name;
        match &self.why {
            Why::Revoked(whose, at) => format!("{name} does not count: its {whose} was revoked by {at}"),
            Why::UnknownAuthority(key) => {
                format!("{name} is signed by an authority ({key}) that no @cert-authority line trusts for this host")
            }
            Why::NotForHosts => format!("{name} is one for a user, not for a host"),
            Why::Time(why) => format!("{name} {why}"),
            Why::OtherName(names, name_of_host) => format!("{name} is for {names}, not for {name_of_host}"),
            Why::CriticalOptions(options) => format!("{name} has critical options, which no host may have: {options}"),
            Why::WeakSignature(algorithm) => format!("{name} is signed by {algorithm}, which is SHA-1"),
            Why::Signature => format!("{name} has a signature that does not fit"),
        }
    }

    /// What to do about it.
    pub fn hint(&self, endpoint: &Endpoint) -> String {
        let name = escape(endpoint.known_as.host().as_bytes(), 80);
        match &self.why {
            Why::Revoked("authority", _) => "have the host's key signed by an authority that is trusted".to_owned(),
            Why::Revoked(..) => "whoever holds this key must not be trusted: give the host a new key and certificate".to_owned(),
            Why::UnknownAuthority(_) => {
                "compare the fingerprint with that of your authority (`ssh-keygen -lf CA.pub`); if it is the same, add its public \
                 key to known_hosts, with `@cert-authority PATTERN ` before it"
                    .to_owned()
            }
            Why::OtherName(..) => format!(
                "connect by a name that it is for (`address` in the inventory, HostName or HostKeyAlias in ssh_config), or have the \
                 host's key signed with `-n {name}`"
            ),
            Why::NotForHosts => format!("have the host's key signed as one: ssh-keygen -h -s CA -I ID -n {name} KEY.pub"),
            Why::Time(_) => "have the host's key signed anew, and look at this machine's clock".to_owned(),
            Why::WeakSignature(_) => {
                "have the host's key signed anew, by `ssh-keygen -t rsa-sha2-512` or an authority with an Ed25519 key".to_owned()
            }
            Why::CriticalOptions(_) | Why::Signature => {
                "have the host's key signed anew; `ssh-keygen -Lf` on the host shows its certificate".to_owned()
            }
        }
    }
}
