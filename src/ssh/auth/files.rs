//! Files that `IdentityFile`, `key` and `CertificateFile` name: private keys, public keys, certificates.
//!
//! Owns what is in them and whether it may be used. Must never ask for a passphrase, and never use a private key that others can read.

use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::keys::ssh_key::private::PrivateKey;
use russh::keys::{Algorithm, Certificate, PublicKey};

use crate::ssh::config::shown;

/// A larger file is no key.
const MAX_FILE: u64 = 1 << 20;

/// A file that names a key, as far as it could be read.
pub(super) struct KeyFile {
    pub path: PathBuf,
    /// The public half: from the file itself, or from `PATH.pub`.
    pub public: Option<PublicKey>,
    /// The file itself, or `PATH-cert.pub`.
    pub certificate: Option<(PathBuf, Certificate)>,
    pub private: Result<Arc<PrivateKey>, Unusable>,
}

/// Why there is no private key in a file.
pub(super) enum Unusable {
    Missing,
    /// It is a public key or a certificate: it says which key of the ssh-agent is meant.
    OnlyPublic,
    Other {
        why: String,
        hint: Option<String>,
    },
}

impl KeyFile {
    pub fn read(path: &Path) -> Self {
        let beside = |suffix: &str| PathBuf::from(format!("{}{suffix}", path.display()));
        let text = read_text(path);
        if let Some(public) = text.as_deref().ok().and_then(Public::parse) {
            let private = Err(Unusable::OnlyPublic);
            let (public, certificate) = match public {
                Public::Key(key) => (key, None),
                Public::Certificate(cert) => {
                    (PublicKey::from(cert.public_key().clone()), Some((path.to_owned(), *cert)))
                }
            };
            return Self { path: path.to_owned(), public: Some(public), certificate, private };
        }
        let mut public = match read_public(&beside(".pub")) {
            Some(Public::Key(key)) => Some(key),
            Some(Public::Certificate(_)) | None => None,
        };
        let certificate = match read_public(&beside("-cert.pub")) {
            Some(Public::Certificate(certificate)) => Some((beside("-cert.pub"), *certificate)),
            Some(Public::Key(_)) | None => None,
        };
        let private = text.and_then(|text| read_private(path, &text, &mut public));
        Self { path: path.to_owned(), public, certificate, private }
    }
}

/// The certificate in a file that was named for it.
pub(super) fn read_certificate(path: &Path) -> Result<Certificate, String> {
    let text = read_text(path).map_err(|e| match e {
        Unusable::Missing => "does not exist".to_owned(),
        Unusable::OnlyPublic => "it is not a certificate".to_owned(),
        Unusable::Other { why, .. } => why,
    })?;
    match Public::parse(&text) {
        Some(Public::Certificate(certificate)) => Ok(*certificate),
        Some(Public::Key(_)) => Err("it is a public key, and no certificate".to_owned()),
        None => Err("it is not a certificate that can be read".to_owned()),
    }
}

/// What a line of a public file says.
enum Public {
    Key(PublicKey),
    Certificate(Box<Certificate>),
}

impl Public {
    fn parse(text: &str) -> Option<Self> {
        let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'))?;
        let certificate =
            || Certificate::from_openssh(line).ok().map(|certificate| Self::Certificate(Box::new(certificate)));
        certificate().or_else(|| PublicKey::from_openssh(line).ok().map(Self::Key))
    }
}

fn read_public(path: &Path) -> Option<Public> {
    read_text(path).ok().as_deref().and_then(Public::parse)
}

fn read_text(path: &Path) -> Result<String, Unusable> {
    let other = |why: String| Unusable::Other { why, hint: None };
    let failed = |e: std::io::Error| match e.kind() {
        ErrorKind::NotFound => Unusable::Missing,
        _ => other(e.to_string()),
    };
    let meta = std::fs::metadata(path).map_err(failed)?;
    if !meta.is_file() || meta.len() > MAX_FILE {
        return Err(other("it is not a key file".to_owned()));
    }
    Ok(String::from_utf8_lossy(&std::fs::read(path).map_err(failed)?).into_owned())
}

fn read_private(path: &Path, text: &str, public: &mut Option<PublicKey>) -> Result<Arc<PrivateKey>, Unusable> {
    let other = |why: String, hint: String| Unusable::Other { why, hint: Some(hint) };
    check_mode(path)?;
    let add = format!("add it to the ssh-agent: ssh-add {}", shown(path));
    // OpenSSH's own format tells the public key even when the private one is encrypted.
    let key = match PrivateKey::from_openssh(text.trim()) {
        Ok(key) => key,
        Err(_) if text.contains("ENCRYPTED") => return Err(other("it is encrypted".to_owned(), add)),
        Err(_) => russh::keys::decode_secret_key(text, None).map_err(|e| Unusable::Other {
            why: format!("it is not a private key that can be read ({e})"),
            hint: Some(make_one()),
        })?,
    };
    public.get_or_insert_with(|| key.public_key().clone());
    match key.algorithm() {
        _ if key.is_encrypted() => Err(other("it is encrypted".to_owned(), add)),
        Algorithm::Ed25519 | Algorithm::Ecdsa { .. } | Algorithm::Rsa { .. } => Ok(Arc::new(key)),
        Algorithm::Dsa => Err(other("it is a DSA key, which servers do not take any more".to_owned(), make_one())),
        kind => Err(other(format!("keys of kind {kind} work only through the ssh-agent"), add)),
    }
}

fn make_one() -> String {
    "make a key with: ssh-keygen -t ed25519".to_owned()
}

/// As OpenSSH: who owns the file has to protect it; root may read a key of someone else.
fn check_mode(path: &Path) -> Result<(), Unusable> {
    let meta = std::fs::metadata(path).map_err(|e| Unusable::Other { why: e.to_string(), hint: None })?;
    let mode = meta.permissions().mode() & 0o777;
    if meta.uid() == rustix::process::getuid().as_raw() && mode & 0o077 != 0 {
        return Err(Unusable::Other {
            why: format!("others can read it (mode {mode:04o}), so it is not used"),
            hint: Some(format!("chmod 600 {}", shown(path))),
        });
    }
    Ok(())
}
