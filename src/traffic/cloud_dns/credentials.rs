//! Access tokens of Google, from where people have them: the key of a service account, the metadata server of a machine, a token that
//! somebody else gets.
//!
//! A token is kept until shortly before it ends. Must never show any of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::{rand, signature};
use domain::utils::base64;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

use super::super::hosted::exchange::{self, Client, Failure};
use super::settings::From;
use crate::secret::{Secret, SecretRef, Secrets};

/// What a token is asked for: to read and change zones.
const SCOPE: &str = "https://www.googleapis.com/auth/ndev.clouddns.readwrite";
/// How long a token of a service account is asked for.
const HOUR: i64 = 3600;
/// How long before its end a token is not used any more.
const SPARE: Duration = Duration::from_secs(60);
/// How long a token is kept of which nobody knows when it ends.
const KEPT: Duration = Duration::from_secs(30);

/// Gets tokens, and keeps the last one.
pub(super) struct Tokens {
    from: From,
    secrets: Arc<dyn Secrets>,
    kept: Mutex<Option<(Secret, Instant)>>,
    client: Client,
}

/// The key of a service account, as Google's console gives it out.
#[derive(Deserialize)]
struct ServiceAccount {
    client_email: String,
    private_key: String,
    private_key_id: Option<String>,
    token_uri: String,
}

/// An answer with a token.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: u64,
}

impl Tokens {
    pub fn new(from: From, secrets: Arc<dyn Secrets>) -> Self {
        Self { from, secrets, kept: Mutex::default(), client: Client::default() }
    }

    /// A token, and whether it was kept from before; else why there is none, for people.
    pub async fn get(&self) -> Result<(Secret, bool), String> {
        let mut kept = self.kept.lock().await;
        if let Some((token, until)) = kept.as_ref()
            && Instant::now() < *until
        {
            return Ok((token.clone(), true));
        }
        let (token, lasts) = self.fetch().await?;
        *kept = Some((token.clone(), Instant::now() + lasts));
        Ok((token, false))
    }

    /// Lets go of a token that is not taken any more.
    pub async fn forget(&self) {
        *self.kept.lock().await = None;
    }

    async fn fetch(&self) -> Result<(Secret, Duration), String> {
        match &self.from {
            From::Token(reference) => Ok((checked(self.look(reference)?.reveal().trim())?, KEPT)),
            From::ServiceAccount(reference) => self.of_account(self.look(reference)?.reveal()).await,
            From::Metadata(server) => {
                let path = "computeMetadata/v1/instance/service-accounts/default/token";
                let request = self.client.of(server)?.get(format!("{server}/{path}"));
                granted(request.header("metadata-flavor", "Google"), "the metadata server").await
            }
        }
    }

    fn look(&self, reference: &SecretRef) -> Result<Secret, String> {
        self.secrets.resolve(reference).map_err(|e| e.to_string())
    }

    /// A token for a statement that the account's key has signed (RFC 7523).
    async fn of_account(&self, key: &str) -> Result<(Secret, Duration), String> {
        // The parser's words could hold a part of it.
        let unread = "the key of the service account is not JSON with `client_email`, `private_key` and `token_uri`";
        let account: ServiceAccount = serde_json::from_str(key).map_err(|_| unread.to_owned())?;
        let statement = account.statement(jiff::Timestamp::now().as_second())?;
        let grant = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";
        let client = self.client.of(&account.token_uri)?;
        let request = client.post(&account.token_uri).header("content-type", "application/x-www-form-urlencoded");
        granted(request.body(format!("{grant}&assertion={statement}")), "the token server").await
    }
}

impl ServiceAccount {
    /// Who asks for what, signed with RSA and SHA-256.
    fn statement(&self, now: i64) -> Result<String, String> {
        let bad = |_| "the key of the service account has no usable `private_key`".to_owned();
        let der = PrivatePkcs8KeyDer::from_pem_slice(self.private_key.as_bytes()).map_err(|_| bad(()))?;
        let key = KeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| bad(()))?;
        let head = json!({ "alg": "RS256", "typ": "JWT", "kid": self.private_key_id });
        let claims = json!({
            "iss": self.client_email, "scope": SCOPE, "aud": self.token_uri, "iat": now, "exp": now + HOUR,
        });
        let signed = format!("{}.{}", url_safe(head.to_string().as_bytes()), url_safe(claims.to_string().as_bytes()));
        let mut signature = vec![0; key.public_modulus_len()];
        let random = rand::SystemRandom::new();
        key.sign(&signature::RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature).map_err(|_| bad(()))?;
        Ok(format!("{signed}.{}", url_safe(&signature)))
    }
}

/// Base64 as it stands in URLs.
fn url_safe(bytes: &[u8]) -> String {
    base64::encode_string(bytes).trim_end_matches('=').replace('+', "-").replace('/', "_")
}

async fn granted(request: reqwest::RequestBuilder, who: &str) -> Result<(Secret, Duration), String> {
    let (status, bytes) = match exchange::send(request).await {
        Ok(answer) => answer,
        Err(Failure::Lost(why) | Failure::Said(_, why)) => return Err(format!("{who} does not answer: {why}")),
        Err(Failure::Unsent(e) | Failure::Overwrote(e)) => return Err(format!("{who} cannot be asked: {e}")),
    };
    if status != 200 {
        // `invalid_grant` and the like; the answer to a refused request holds no token.
        let said: Option<serde_json::Value> = serde_json::from_slice(&bytes).ok();
        let part = |key: &str| said.as_ref().and_then(|said| said.get(key)?.as_str()).unwrap_or_default().to_owned();
        let said = [part("error"), part("error_description")].join(" ");
        let said = crate::text::escape(said.trim().as_bytes(), 200);
        return Err(format!("{who} says no with status {status}: {said}").trim_end_matches(": ").to_owned());
    }
    let granted: Granted = serde_json::from_slice(&bytes).map_err(|_| format!("the answer of {who} holds no token"))?;
    let lasts = Duration::from_secs(granted.expires_in).saturating_sub(SPARE);
    Ok((checked(&granted.access_token)?, lasts))
}

/// It becomes a part of a header.
fn checked(token: &str) -> Result<Secret, String> {
    match !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic()) {
        true => Ok(Secret::new(token)),
        false => Err("the access token is empty or holds characters that none has".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_key_is_refused_without_showing_it() {
        let account = |private_key: &str| ServiceAccount {
            client_email: "mover@lab.iam.gserviceaccount.com".to_owned(),
            private_key: private_key.to_owned(),
            private_key_id: None,
            token_uri: "https://oauth2.googleapis.com/token".to_owned(),
        };
        for bad in ["", "hunter2", "-----BEGIN PRIVATE KEY-----\naHVudGVyMg==\n-----END PRIVATE KEY-----\n"] {
            let why = account(bad).statement(0).unwrap_err();
            assert!(why.contains("no usable `private_key`") && !why.contains("hunter2"), "{why}");
        }
    }

    #[test]
    fn base64_is_as_urls_need_it() {
        assert_eq!(url_safe(&[0xfb, 0xff, 0xfe, 0xff]), "-__-_w");
    }

    #[test]
    fn a_token_is_what_fits_into_a_header() {
        assert_eq!(checked("ya29.a-b_c").unwrap().reveal(), "ya29.a-b_c");
        for bad in ["", "a b", "a\nb", "ü"] {
            assert!(checked(bad).is_err(), "{bad:?}");
        }
    }
}
