//! Signatures of logins: by the ssh-agent, or with a key that was read from a file.
//!
//! Owns how a key from a file signs. Must never sign by SHA-1, and never use an RSA key by code whose time depends on the key.

use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::{rand, signature as aws};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::ssh_encoding::Encode;
use russh::keys::ssh_key::{self, Signature};
use russh::keys::{Algorithm, HashAlg, PrivateKey, pkcs8, signature};
use tokio::net::UnixStream;

/// A connection to the ssh-agent.
pub(super) type Agent = AgentClient<UnixStream>;

/// Who signs for what is offered.
pub(super) enum Signer<'a> {
    /// The agent, with this one of its keys.
    Agent(&'a mut Agent, &'a AgentIdentity),
    /// We, with a key from a file.
    File(&'a PrivateKey),
}

/// Why there is no signature.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotSigned {
    /// The agent says no: it is locked, it has lost the key, or somebody declined.
    #[error("the ssh-agent did not sign (is it locked, or was the request declined?)")]
    AgentDeclined,
    /// The agent is gone, or speaks another language.
    #[error("the ssh-agent did not sign ({0})")]
    Agent(russh::keys::Error),
    /// The key cannot be used.
    #[error("{0}")]
    Key(String),
    /// The connection ended meanwhile.
    #[error("the connection was closed")]
    Closed,
}

impl From<russh::SendError> for NotSigned {
    fn from(_: russh::SendError) -> Self {
        Self::Closed
    }
}

impl russh::Signer for Signer<'_> {
    type Error = NotSigned;

    async fn auth_sign(
        &mut self,
        _offered: &AgentIdentity,
        hash: Option<HashAlg>,
        mut message: Vec<u8>,
    ) -> Result<Vec<u8>, Self::Error> {
        match self {
            Self::Agent(agent, identity) => agent.sign_request(identity, hash, message).await.map_err(|e| match e {
                russh::keys::Error::AgentFailure => NotSigned::AgentDeclined,
                e => NotSigned::Agent(e),
            }),
            Self::File(key) => {
                let failed = |e: &dyn std::fmt::Display| NotSigned::Key(format!("the key cannot sign ({e})"));
                let signature = signed(key, hash, &message)?.encode_vec().map_err(|e| failed(&e))?;
                signature.encode(&mut message).map_err(|e| failed(&e))?;
                Ok(message)
            }
        }
    }
}

fn signed(key: &PrivateKey, hash: Option<HashAlg>, message: &[u8]) -> Result<Signature, NotSigned> {
    match key.algorithm() {
        Algorithm::Rsa { .. } => by_rsa(key, hash, message),
        _ => {
            signature::Signer::try_sign(key, message).map_err(|e| NotSigned::Key(format!("the key cannot sign ({e})")))
        }
    }
}

/// AWS-LC does what needs the private key: its time does not depend on the key, that of the `rsa` crate may (RUSTSEC-2023-0071).
fn by_rsa(key: &PrivateKey, hash: Option<HashAlg>, message: &[u8]) -> Result<Signature, NotSigned> {
    let encoding = match hash {
        Some(HashAlg::Sha256) => &aws::RSA_PKCS1_SHA256,
        Some(HashAlg::Sha512) => &aws::RSA_PKCS1_SHA512,
        Some(_) | None => return Err(NotSigned::Key("RSA signatures are made by SHA-2 only".to_owned())),
    };
    let broken = |e: &dyn std::fmt::Display| NotSigned::Key(format!("this RSA key cannot be used ({e})"));
    let der = pkcs8::encode_pkcs8(key).map_err(|e| broken(&e))?;
    let pair = KeyPair::from_pkcs8(&der).map_err(|e| broken(&e))?;
    let mut bytes = vec![0; pair.public_modulus_len()];
    pair.sign(encoding, &rand::SystemRandom::new(), message, &mut bytes).map_err(|e| broken(&e))?;
    Signature::new(Algorithm::Rsa { hash }, bytes).map_err(|e: ssh_key::Error| broken(&e))
}
