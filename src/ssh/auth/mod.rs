//! Logging in: keys and certificates from the ssh-agent and from files, each tried once, within what servers allow.
//!
//! Must never ask for a passphrase, and never show more of a key than its fingerprint.

mod files;
mod offer;
mod sign;
mod tried;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use russh::client::{AuthResult, Handle};
use russh::keys::agent::AgentIdentity;
use russh::keys::{Algorithm, HashAlg};
use russh::{MethodKind, MethodSet};

use self::files::{KeyFile, Unusable};
use self::offer::Offer;
use self::sign::{Agent, NotSigned};
use self::tried::{Moment, Tried, named};
use super::config::{Endpoint, shown};
use super::openssh::USUAL_KEYS;
use super::session::Client;
use crate::outside::Error;
use crate::text::escape;

/// OpenSSH's default `MaxAuthTries`: the server hangs up after so many refused keys.
const MAX_TRIES: usize = 6;

const UNLOCK: &str =
    "unlock the ssh-agent (ssh-add -X), confirm its question, or name a key file by `key` in the inventory";
const USE_OTHER: &str = "use an Ed25519 or ECDSA key, or an RSA key of at least 2048 bits";

/// Logs in, or says what was tried.
pub(super) async fn log_in(handle: &mut Handle<Client>, endpoint: &Endpoint, now: Timestamp) -> Result<(), Error> {
    let mut tried = Tried::default();
    let identities = &endpoint.identities;
    let files: Vec<KeyFile> = identities.files.iter().map(|path| KeyFile::read(path)).collect();
    let mut agent = connect_agent(endpoint, &mut tried).await;
    let held = held(agent.as_mut(), &mut tried).await;
    let offers = offer::offers(identities, &files, &held, &mut tried);
    let moment = Moment { user: &endpoint.user, now };
    let mut queue: VecDeque<(&Offer, RsaHash)> = offers.iter().map(|offer| (offer, RsaHash::Best)).collect();
    let mut tries = 0;
    while let Some((offer, hash)) = queue.pop_front() {
        if tries == MAX_TRIES {
            let keys = [(offer, hash)].into_iter().chain(queue).filter(|(_, hash)| *hash == RsaHash::Best).count();
            tried.not_tried(keys, MAX_TRIES);
            break;
        }
        tries += 1;
        match try_one(handle, offer, hash, agent.as_mut(), &moment, &mut tried).await {
            Outcome::In => return Ok(()),
            Outcome::Next => {}
            Outcome::Over => break,
            Outcome::OtherHash => queue.push_back((offer, RsaHash::Sha256)),
        }
    }
    let files: Vec<String> = identities.files.iter().map(|path| shown(path)).collect();
    Err(tried.into_error(endpoint, &files))
}

/// What the agent at this socket holds, in words. One that is locked says that it holds nothing.
pub async fn keys_of_agent(socket: &Path) -> Result<Vec<String>, String> {
    let mut agent = Agent::connect_uds(socket).await.map_err(|e| e.to_string())?;
    let held = agent.request_identities().await.map_err(|e| e.to_string())?;
    let named = |identity: &AgentIdentity| escape(identity.comment().as_bytes(), 60);
    Ok(held.iter().map(named).collect())
}

/// The usual files of keys that there are, and what keeps them from being used.
pub fn keys_of_files(home: &Path) -> Vec<(PathBuf, Result<(), String>)> {
    let all = USUAL_KEYS.iter().map(|name| KeyFile::read(&home.join(".ssh").join(name)));
    let told = all.filter_map(|file| match file.private {
        Ok(_) => Some((file.path, Ok(()))),
        Err(Unusable::Missing) => None,
        Err(Unusable::OnlyPublic) => Some((file.path, Err("it is a public key".to_owned()))),
        Err(Unusable::Other { why, .. }) => Some((file.path, Err(why))),
    });
    told.collect()
}

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

/// What the agent holds. One that is locked says that it holds nothing.
async fn held(agent: Option<&mut Agent>, tried: &mut Tried) -> Vec<AgentIdentity> {
    let Some(agent) = agent else { return Vec::new() };
    match agent.request_identities().await {
        Ok(held) if held.is_empty() => {
            let hint = "unlock the ssh-agent (ssh-add -X), or add the key to it (ssh-add)".to_owned();
            tried.cannot_use("the ssh-agent shows no key: it holds none, or it is locked".to_owned(), Some(hint));
            held
        }
        Ok(held) => held,
        Err(e) => {
            tried.note(format!("the ssh-agent does not list its keys ({e})"));
            Vec::new()
        }
    }
}

/// What became of one offer.
enum Outcome {
    In,
    Next,
    /// An RSA key was refused that may be taken with another hash: what a server announces is not always what it takes.
    OtherHash,
    /// Nothing more can be tried on this connection.
    Over,
}

/// By which hash an RSA key signs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RsaHash {
    /// The best that the server announces.
    Best,
    Sha256,
}

async fn try_one(
    handle: &mut Handle<Client>,
    offer: &Offer,
    wanted: RsaHash,
    agent: Option<&mut Agent>,
    moment: &Moment<'_>,
    tried: &mut Tried,
) -> Outcome {
    let announced = match announced(handle, &offer.what).await {
        Ok(announced) => announced,
        Err(why) => {
            tried.not_signed(offer, &why, USE_OTHER);
            return Outcome::Next;
        }
    };
    let hash = match wanted {
        RsaHash::Best => announced.hash,
        RsaHash::Sha256 => Some(HashAlg::Sha256),
    };
    let Some(mut signer) = offer.signer(agent) else {
        tried.not_signed(offer, "the ssh-agent is gone", UNLOCK);
        return Outcome::Next;
    };
    let answer = match &offer.what {
        AgentIdentity::PublicKey { key, .. } => {
            handle.authenticate_publickey_with(moment.user, key.clone(), hash, &mut signer).await
        }
        AgentIdentity::Certificate { certificate, .. } => {
            handle.authenticate_certificate_with(moment.user, certificate.clone(), hash, &mut signer).await
        }
    };
    match answer {
        Ok(AuthResult::Success) => Outcome::In,
        Ok(AuthResult::Failure { partial_success: true, remaining_methods }) => {
            let second = named(&remaining_methods);
            tried.second_proof(format!(
                "{} accepted, but the server asks for a second proof as well ({second})",
                offer.name
            ));
            Outcome::Over
        }
        Ok(AuthResult::Failure { remaining_methods, .. }) => {
            match wanted {
                RsaHash::Best => tried.refused(offer, &remaining_methods, announced.remark, moment),
                RsaHash::Sha256 => tried.refused_by_both_hashes(),
            }
            match after_refusal(handle, &remaining_methods, tried) {
                Outcome::Next if wanted == RsaHash::Best && hash == Some(HashAlg::Sha512) => Outcome::OtherHash,
                next => next,
            }
        }
        Err(e) => {
            let hint = match &e {
                NotSigned::AgentDeclined | NotSigned::Agent(_) => UNLOCK,
                NotSigned::Key(_) | NotSigned::Closed => USE_OTHER,
            };
            tried.not_signed(offer, &e.to_string(), hint);
            Outcome::Next
        }
    }
}

/// Whether the next key can be tried.
fn after_refusal(handle: &Handle<Client>, methods: &MethodSet, tried: &mut Tried) -> Outcome {
    if handle.is_closed() {
        tried.server(
            "the server hung up".to_owned(),
            "name the right key by `key` under `ssh` in the inventory, so that it is tried first: servers hang up after a few \
             refused keys (MaxAuthTries)"
                .to_owned(),
        );
        return Outcome::Over;
    }
    if methods.contains(&MethodKind::PublicKey) {
        return Outcome::Next;
    }
    tried.server(
        "the server takes no keys".to_owned(),
        "let its sshd take keys for this account: PubkeyAuthentication and AuthenticationMethods in sshd_config"
            .to_owned(),
    );
    Outcome::Over
}

/// What a server says of RSA.
struct Announced {
    hash: Option<HashAlg>,
    /// What to know when the server refuses.
    remark: Option<&'static str>,
}

async fn announced(handle: &Handle<Client>, offered: &AgentIdentity) -> Result<Announced, String> {
    if !matches!(offered.public_key().algorithm(), Algorithm::Rsa { .. }) {
        return Ok(Announced { hash: None, remark: None });
    }
    match handle.best_supported_rsa_hash().await.map_err(|e| e.to_string())? {
        Some(Some(hash)) => Ok(Announced { hash: Some(hash), remark: None }),
        Some(None) => {
            Err("the server takes RSA keys only with SHA-1 signatures, which are not made any more".to_owned())
        }
        // A server that does not say takes SHA-2 by today's standards.
        None => Ok(Announced {
            hash: Some(HashAlg::Sha512),
            remark: Some("the server does not say that it takes RSA with SHA-2; OpenSSH before 7.2 takes only SHA-1"),
        }),
    }
}
