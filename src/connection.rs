//! What controllers and agents alike need to know of an SSH connection: which cipher is fast here, which host keys can be verified, and
//! how far the other side is.
//!
//! Must never need more than the connection: agents have no configuration.

use std::time::{Duration, Instant};

use russh::cipher;
use russh::client::{Handle, Handler};
use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PublicKey};

/// How often a round trip is measured: a busy processor makes a near host look far, but not every time.
const PINGS: u32 = 2;
/// A connection that does not answer for so long is as good as gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// The shortest time to a host's sshd and back; `None` when it does not answer.
pub(crate) async fn round_trip<H: Handler>(handle: &Handle<H>) -> Option<Duration> {
    let mut shortest = None;
    for _ in 0..PINGS {
        let asked = Instant::now();
        tokio::time::timeout(PATIENCE, handle.send_ping()).await.ok()?.ok()?;
        let took = asked.elapsed();
        shortest = Some(shortest.map_or(took, |before: Duration| before.min(took)));
    }
    shortest
}

/// AES-GCM is twice as fast as ChaCha20 where the processor has AES, and slower where it has not.
pub(crate) fn ciphers() -> &'static [cipher::Name] {
    const AES: &[cipher::Name] = &[
        cipher::AES_256_GCM,
        cipher::AES_128_GCM,
        cipher::CHACHA20_POLY1305,
        cipher::AES_256_CTR,
        cipher::AES_128_CTR,
    ];
    const CHACHA: &[cipher::Name] = &[
        cipher::CHACHA20_POLY1305,
        cipher::AES_256_GCM,
        cipher::AES_128_GCM,
        cipher::AES_256_CTR,
        cipher::AES_128_CTR,
    ];
    if has_aes() { AES } else { CHACHA }
}

#[cfg(target_arch = "x86_64")]
fn has_aes() -> bool {
    std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq")
}

#[cfg(target_arch = "aarch64")]
fn has_aes() -> bool {
    std::arch::is_aarch64_feature_detected!("aes")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn has_aes() -> bool {
    false
}

/// Host key algorithms that can be verified here, in the order in which they are asked for. RSA with SHA-1 is not among them.
const HOST_KEYS: [Algorithm; 6] = [
    Algorithm::Ed25519,
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
    Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
    Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
];

/// Whether a key of this kind signs by this algorithm: an RSA key is of one kind, and signs by several.
fn signs_by(key: &PublicKey, algorithm: &Algorithm) -> bool {
    match (key.algorithm(), algorithm) {
        (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }) => true,
        (kind, algorithm) => kind == *algorithm,
    }
}

/// Algorithms to ask a host for: those of these keys first, so that it does not answer with a key nobody knows.
pub(crate) fn algorithms<'a>(known: impl Iterator<Item = &'a PublicKey> + Clone) -> Vec<Algorithm> {
    let is_known = |algorithm: &&Algorithm| known.clone().any(|key| signs_by(key, algorithm));
    let (mut order, others): (Vec<Algorithm>, Vec<Algorithm>) =
        HOST_KEYS.iter().cloned().partition(|algorithm| is_known(&algorithm));
    order.extend(others);
    order
}

/// Whether a key of this kind can be verified.
#[cfg(feature = "controller")]
pub(crate) fn is_supported(key: &PublicKey) -> bool {
    HOST_KEYS.iter().any(|algorithm| signs_by(key, algorithm))
}
