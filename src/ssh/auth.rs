//! Logging in: keys from the ssh-agent and from files, each tried once, within what servers allow.
//!
//! Owns what is offered and in which order. Must never ask for a passphrase, never read a key file that others can read, and never
//! show more of a key than its fingerprint.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::client::{AuthResult, Handle};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::ssh_key::private::PrivateKey;
use russh::keys::{Algorithm, HashAlg, PrivateKeyWithHashAlg, PublicKey};
use tokio::net::UnixStream;

use super::config::{Endpoint, shown};
use super::session::Client;
use crate::outside::{Error, Kind};
use crate::text::escape;

/// OpenSSH's default `MaxAuthTries`: the server hangs up after so many refused keys.
const MAX_TRIES: usize = 6;

type Agent = AgentClient<UnixStream>;

/// One key that can be offered.
enum Offer {
    /// The agent signs.
    Agent(Box<AgentIdentity>),
    /// We sign with a key from a file.
    File(PathBuf, Arc<PrivateKey>),
}

/// Logs in, or says what was tried.
pub(super) async fn log_in(handle: &mut Handle<Client>, endpoint: &Endpoint) -> Result<(), Error> {
    let mut tried = Tried::default();
    let files: Vec<KeyFile> = endpoint.identities.files.iter().map(|path| KeyFile::read(path)).collect();
    let mut agent = connect_agent(endpoint, &mut tried).await;
    let offers = offers(endpoint, &files, agent.as_mut(), &mut tried).await;
    for (n, offer) in offers.iter().enumerate() {
        if n == MAX_TRIES {
            tried.note(format!("{} more not tried, since servers hang up after {MAX_TRIES}", offers.len() - n));
            break;
        }
        let name = offer.name();
        match try_one(handle, &endpoint.user, offer, agent.as_mut()).await {
            Ok(AuthResult::Success) => return Ok(()),
            Ok(AuthResult::Failure { partial_success: true, .. }) => {
                tried.note(format!("{name} accepted, but the server asks for a second proof as well"));
                break;
            }
            Ok(AuthResult::Failure { remaining_methods, .. }) => {
                tried.note(format!("{name} refused"));
                if handle.is_closed() {
                    tried.note("the server hung up".to_owned());
                    break;
                }
                if !remaining_methods.contains(&russh::MethodKind::PublicKey) {
                    tried.note("the server takes no keys".to_owned());
                    break;
                }
            }
            Err(why) => tried.note(format!("{name}: {why}")),
        }
    }
    Err(tried.into_error(endpoint, offers.is_empty()))
}

/// What was tried, for the error.
#[derive(Default)]
struct Tried {
    notes: Vec<String>,
    /// The one thing to do about it, where it is clear.
    hint: Option<String>,
}

impl Tried {
    fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    fn into_error(self, endpoint: &Endpoint, nothing_offered: bool) -> Error {
        let tried = if self.notes.is_empty() { "no key was found".to_owned() } else { self.notes.join("; ") };
        let what = match nothing_offered {
            true => format!("there is no key to log in with: {tried}"),
            false => format!("refused the login of `{}`: {tried}", escape(endpoint.user.as_bytes(), 40)),
        };
        let hint = self.hint.unwrap_or_else(|| {
            format!(
                "put the public key into ~{}/.ssh/authorized_keys on the host, or name the right key by `key` under `ssh` in \
                 the inventory",
                escape(endpoint.user.as_bytes(), 40)
            )
        });
        Error::new(endpoint.to_string(), Kind::LoginRefused, what).hint(hint)
    }
}

/// A private key file, as far as it could be read.
struct KeyFile {
    path: PathBuf,
    public: Option<PublicKey>,
    private: Result<Arc<PrivateKey>, Unusable>,
}

/// Why a key file cannot be used.
enum Unusable {
    Missing,
    Other { why: String, hint: Option<String> },
}

impl KeyFile {
    fn read(path: &Path) -> Self {
        let public_file = PathBuf::from(format!("{}.pub", path.display()));
        let mut public = russh::keys::load_public_key(public_file).ok();
        let private = read_private(path, &mut public);
        Self { path: path.to_owned(), public, private }
    }
}

fn read_private(path: &Path, public: &mut Option<PublicKey>) -> Result<Arc<PrivateKey>, Unusable> {
    let other = |why: String, hint: String| Unusable::Other { why, hint: Some(hint) };
    let meta = match std::fs::metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(Unusable::Missing),
        Err(e) => return Err(Unusable::Other { why: e.to_string(), hint: None }),
    };
    let mode = meta.permissions().mode() & 0o777;
    // As OpenSSH: who owns the file has to protect it; root may read a key of someone else.
    if meta.uid() == rustix::process::getuid().as_raw() && mode & 0o077 != 0 {
        let hint = format!("chmod 600 {}", shown(path));
        return Err(other(format!("others can read it (mode {mode:04o}), so it is not used"), hint));
    }
    let bytes = std::fs::read(path).map_err(|e| Unusable::Other { why: e.to_string(), hint: None })?;
    let text = String::from_utf8_lossy(&bytes);
    let add = format!("add it to the ssh-agent: ssh-add {}", shown(path));
    // OpenSSH's own format tells the public key even when the private one is encrypted.
    let key = match PrivateKey::from_openssh(text.trim()) {
        Ok(key) => key,
        Err(_) if text.contains("ENCRYPTED") => return Err(other("it is encrypted".to_owned(), add)),
        Err(_) if text.contains("BEGIN RSA PRIVATE KEY") => return Err(other(RSA.to_owned(), add)),
        Err(_) => russh::keys::decode_secret_key(&text, None).map_err(|e| Unusable::Other {
            why: format!("it is not a private key that can be read ({e})"),
            hint: Some("make a key with: ssh-keygen -t ed25519".to_owned()),
        })?,
    };
    public.get_or_insert_with(|| key.public_key().clone());
    match key.algorithm() {
        Algorithm::Rsa { .. } => Err(other(RSA.to_owned(), add)),
        _ if key.is_encrypted() => Err(other("it is encrypted".to_owned(), add)),
        Algorithm::Ed25519 | Algorithm::Ecdsa { .. } => Ok(Arc::new(key)),
        kind => Err(other(format!("keys of kind {kind} work only through the ssh-agent"), add)),
    }
}

const RSA: &str = "RSA keys work only through the ssh-agent";

async fn connect_agent(endpoint: &Endpoint, tried: &mut Tried) -> Option<Agent> {
    let socket = endpoint.identities.agent.as_ref()?;
    match Agent::connect_uds(socket).await {
        Ok(agent) => Some(agent),
        Err(e) => {
            tried.note(format!("no ssh-agent answers at {} ({e})", shown(socket)));
            None
        }
    }
}

/// What to offer, in OpenSSH's order: keys that are in the agent and named by files, other keys of the agent, other files.
async fn offers(endpoint: &Endpoint, files: &[KeyFile], agent: Option<&mut Agent>, tried: &mut Tried) -> Vec<Offer> {
    let mut held = match agent {
        Some(agent) => agent.request_identities().await.unwrap_or_else(|e| {
            tried.note(format!("the ssh-agent does not list its keys ({e})"));
            Vec::new()
        }),
        None => Vec::new(),
    };
    let (mut first, mut last) = (Vec::new(), Vec::new());
    for file in files {
        let in_agent = |identity: &AgentIdentity| {
            let key = file.public.as_ref().map(PublicKey::key_data);
            key == Some(identity.public_key().key_data())
        };
        let (mine, others) = held.into_iter().partition(in_agent);
        held = others;
        if !Vec::is_empty(&mine) {
            first.extend(mine.into_iter().map(|identity| Offer::Agent(Box::new(identity))));
            continue;
        }
        match &file.private {
            Ok(key) => last.push(Offer::File(file.path.clone(), key.clone())),
            Err(Unusable::Missing) if !endpoint.identities.named => {}
            Err(Unusable::Missing) => tried.note(format!("{} does not exist", shown(&file.path))),
            Err(Unusable::Other { why, hint }) => {
                tried.note(format!("{}: {why}", shown(&file.path)));
                tried.hint = tried.hint.take().or_else(|| hint.clone());
            }
        }
    }
    if !endpoint.identities.only_files {
        first.extend(held.into_iter().map(|identity| Offer::Agent(Box::new(identity))));
    }
    first.extend(last);
    first
}

impl Offer {
    fn name(&self) -> String {
        match self {
            Self::File(path, _) => shown(path),
            Self::Agent(identity) => {
                let key = identity.public_key();
                let comment = escape(identity.comment().as_bytes(), 60);
                format!("key {comment} of the ssh-agent ({})", key.fingerprint(HashAlg::Sha256))
            }
        }
    }
}

async fn try_one(
    handle: &mut Handle<Client>,
    user: &str,
    offer: &Offer,
    agent: Option<&mut Agent>,
) -> Result<AuthResult, String> {
    match (offer, agent) {
        (Offer::File(_, key), _) => {
            let key = PrivateKeyWithHashAlg::new(key.clone(), None);
            handle.authenticate_publickey(user, key).await.map_err(|e| e.to_string())
        }
        (Offer::Agent(identity), Some(agent)) => {
            let hash = rsa_hash(handle, &identity.public_key()).await?;
            let answer = match identity.as_ref() {
                AgentIdentity::PublicKey { key, .. } => {
                    handle.authenticate_publickey_with(user, key.clone(), hash, agent).await
                }
                AgentIdentity::Certificate { certificate, .. } => {
                    handle.authenticate_certificate_with(user, certificate.clone(), hash, agent).await
                }
            };
            answer.map_err(|e| format!("the ssh-agent did not sign ({e})"))
        }
        (Offer::Agent(_), None) => Err("the ssh-agent is gone".to_owned()),
    }
}

async fn rsa_hash(handle: &Handle<Client>, key: &PublicKey) -> Result<Option<HashAlg>, String> {
    if !matches!(key.algorithm(), Algorithm::Rsa { .. }) {
        return Ok(None);
    }
    let best = handle.best_supported_rsa_hash().await.map_err(|e| e.to_string())?;
    // A server that does not say takes SHA-2 by today's standards.
    Ok(best.unwrap_or(Some(HashAlg::Sha512)))
}
