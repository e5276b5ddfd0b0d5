//! The key that signs checkpoints: Ed25519, made at first use, in PKCS #8 so that other tools can read it.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey, KeypairBytes};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use crate::text;

const NAME: &str = "audit-key.pem";
const PREFIX: &str = "ed25519:";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("the audit key {path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// Others than its owner can read it.
    #[error(
        "the audit key {path} can be read by others (mode {mode:04o}); its signatures prove nothing until that ends: chmod 600 it"
    )]
    Open {
        /// The file.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
    /// Not a key.
    #[error("the audit key {path} is not an Ed25519 private key in PKCS #8 PEM: put the right one back from a copy")]
    NotAKey {
        /// The file.
        path: String,
    },
    /// The system gives no random bytes.
    #[error("no random bytes for an audit key: {0}")]
    Random(String),
}

/// A private key.
pub struct AuditKey(SigningKey);

impl AuditKey {
    /// Where the key of a state directory is.
    pub fn path(state_dir: &Path) -> PathBuf {
        state_dir.join(NAME)
    }

    /// The key of a state directory, made when there is none.
    pub fn load_or_make(state_dir: &Path) -> Result<Self, KeyError> {
        if let Some(key) = Self::load(state_dir)? {
            return Ok(key);
        }
        make(&Self::path(state_dir))?;
        // Another process may have been faster: what is there now is the key.
        Self::load(state_dir)?.ok_or_else(|| {
            io(&Self::path(state_dir))(std::io::Error::new(std::io::ErrorKind::NotFound, "it is gone again"))
        })
    }

    /// The key of a state directory, if there is one.
    pub fn load(state_dir: &Path) -> Result<Option<Self>, KeyError> {
        let path = Self::path(state_dir);
        let shown = || path.display().to_string();
        let mode = match fs::metadata(&path) {
            Ok(meta) => meta.permissions().mode() & 0o777,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(io(&path)(e)),
        };
        if mode & 0o077 != 0 {
            return Err(KeyError::Open { path: shown(), mode });
        }
        let pem = fs::read_to_string(&path).map_err(io(&path))?;
        SigningKey::from_pkcs8_pem(&pem).map(|key| Some(Self(key))).map_err(|_| KeyError::NotAKey { path: shown() })
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs; hex.
    pub(super) fn sign(&self, message: &[u8]) -> String {
        text::hex(&self.0.sign(message).to_bytes())
    }
}

/// Makes a key that is whole from the moment it has its name; one that is there stays.
fn make(path: &Path) -> Result<(), KeyError> {
    let mut seed = [0_u8; 32];
    getrandom::fill(&mut seed).map_err(|e| KeyError::Random(e.to_string()))?;
    // Without the public half: with it OpenSSL 3 cannot read the file.
    let key = KeypairBytes { secret_key: seed, public_key: None };
    let pem = key.to_pkcs8_pem(LineEnding::LF).map_err(|e| KeyError::Random(e.to_string()))?;
    let made = path.with_extension(format!("{}.new", std::process::id()));
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&made)?;
        file.write_all(pem.as_bytes())?;
        file.sync_all()?;
        match fs::hard_link(&made, path) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(e),
            _ => File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all(),
        }
    };
    let written = write();
    // It has its own name now, or is of no use.
    let _ = fs::remove_file(&made);
    written.map_err(io(path))
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> KeyError + '_ {
    |source| KeyError::Io { path: path.display().to_string(), source }
}

/// A public key; shown and read as `ed25519:` and 64 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Whether this key signed the message. Strict: keys and signatures that fit many messages fit none here.
    pub(super) fn signed(&self, message: &[u8], signature: &str) -> bool {
        let bytes = text::unhex(signature).and_then(|b| <[u8; 64]>::try_from(b).ok());
        bytes.is_some_and(|b| self.0.verify_strict(message, &Signature::from_bytes(&b)).is_ok())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", text::hex(self.0.as_bytes()))
    }
}

impl FromStr for PublicKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = text.strip_prefix(PREFIX).and_then(text::unhex).and_then(|b| <[u8; 32]>::try_from(b).ok());
        let key = bytes.and_then(|b| VerifyingKey::from_bytes(&b).ok());
        key.map(Self)
            .ok_or_else(|| format!("a public key is `{PREFIX}` and 64 hex digits, as `migrate audit key` prints it"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_readable_by_its_owner_only_and_signs_from_then_on() {
        let dir = tempfile::tempdir().unwrap();
        assert!(AuditKey::load(dir.path()).unwrap().is_none());
        let first = AuditKey::load_or_make(dir.path()).unwrap();
        let again = AuditKey::load_or_make(dir.path()).unwrap();
        assert_eq!(first.public(), again.public());
        assert_eq!(fs::metadata(AuditKey::path(dir.path())).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "only the key itself is left");
        let signature = again.sign(b"message");
        assert!(first.public().signed(b"message", &signature));
        assert!(!first.public().signed(b"massage", &signature));
    }

    #[test]
    fn processes_that_make_it_at_once_get_the_same_key() {
        let dir = tempfile::tempdir().unwrap();
        make(&AuditKey::path(dir.path())).unwrap();
        let first = AuditKey::load_or_make(dir.path()).unwrap().public();
        make(&AuditKey::path(dir.path())).unwrap();
        assert_eq!(AuditKey::load_or_make(dir.path()).unwrap().public(), first);
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_none_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        AuditKey::load_or_make(dir.path()).unwrap();
        fs::set_permissions(AuditKey::path(dir.path()), fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(AuditKey::load_or_make(dir.path()), Err(KeyError::Open { mode: 0o640, .. })));
        fs::write(AuditKey::path(dir.path()), "no key").unwrap();
        fs::set_permissions(AuditKey::path(dir.path()), fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(AuditKey::load_or_make(dir.path()), Err(KeyError::NotAKey { .. })));
    }

    #[test]
    fn a_public_key_is_read_as_it_is_shown() {
        let key = AuditKey(SigningKey::from_bytes(&[7; 32])).public();
        assert_eq!(key.to_string().parse(), Ok(key));
        for bad in ["", "ed25519:", "ed25519:00", "rsa:00", &key.to_string().to_uppercase()] {
            assert!(bad.parse::<PublicKey>().is_err(), "{bad}");
        }
    }
}
