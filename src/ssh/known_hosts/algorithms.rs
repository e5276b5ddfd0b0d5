//! By which algorithms host keys prove themselves.
//!
//! Owns what can be verified here, and in which order hosts are asked for it. Must never ask for SHA-1.

use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PublicKey};

/// Host key algorithms that can be verified here, in the order in which they are asked for. RSA with SHA-1 is not among them.
const ALGORITHMS: [Algorithm; 6] = [
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
        ALGORITHMS.iter().cloned().partition(|algorithm| is_known(&algorithm));
    order.extend(others);
    order
}

/// Whether a key of this kind can be verified.
pub(super) fn is_supported(key: &PublicKey) -> bool {
    ALGORITHMS.iter().any(|algorithm| signs_by(key, algorithm))
}
