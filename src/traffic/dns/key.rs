//! The TSIG key: its name and algorithm checked at once, its secret looked up for each update.

use std::sync::Arc;

use domain::tsig::{Algorithm, Key, KeyName};
use domain::utils::base64;

use super::TsigKey;
use crate::secret::SecretRef;
use crate::secret::Secrets;

/// A key whose secret is not known yet.
pub(super) struct Signer {
    pub name: String,
    wire_name: KeyName,
    algorithm: Algorithm,
    reference: SecretRef,
    secrets: Arc<dyn Secrets>,
}

/// What is wrong with a key, and what to do about it.
pub(super) struct BadKey(pub String, pub &'static str);

impl Signer {
    pub fn new(key: &TsigKey, secrets: Arc<dyn Secrets>) -> Result<Self, BadKey> {
        let wire_name = key.name.parse::<KeyName>().map_err(|_| {
            BadKey(format!("`{}` cannot be the name of a TSIG key", key.name), "use the name after `key` in named.conf")
        })?;
        let algorithm = key.algorithm.to_ascii_lowercase().parse().map_err(|_| {
            BadKey(
                format!("unknown TSIG algorithm `{}`", key.algorithm),
                "there are hmac-sha1, hmac-sha256, hmac-sha384 and hmac-sha512",
            )
        })?;
        let (name, reference) = (key.name.clone(), key.secret.clone());
        Ok(Self { name, wire_name, algorithm, reference, secrets })
    }

    /// The key with its secret, for one message.
    pub async fn key(&self) -> Result<Key, BadKey> {
        let (secrets, reference) = (self.secrets.clone(), self.reference.clone());
        // A secret may come from a command.
        let resolved = tokio::task::spawn_blocking(move || secrets.resolve(&reference)).await;
        let secret = match resolved {
            Ok(Ok(secret)) => secret,
            Ok(Err(e)) => {
                return Err(BadKey(format!("the secret of TSIG key `{}` cannot be had: {e}", self.name), HAD));
            }
            Err(_) => return Err(BadKey(format!("the secret of TSIG key `{}` cannot be had", self.name), HAD)),
        };
        let bytes: Vec<u8> = base64::decode(secret.reveal().trim()).map_err(|_| self.not_base64())?;
        if bytes.is_empty() {
            return Err(self.not_base64());
        }
        Key::new(self.algorithm, &bytes, self.wire_name.clone(), None, None).map_err(|_| self.not_base64())
    }

    fn not_base64(&self) -> BadKey {
        BadKey(
            format!("the secret of TSIG key `{}` is not base64", self.name),
            "use the text after `secret` in named.conf, without quotes",
        )
    }
}

const HAD: &str = "check where the inventory says that this secret is";
