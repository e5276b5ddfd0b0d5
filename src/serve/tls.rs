//! TLS: a certificate and its key from files.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, crypto};

/// Why it cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file.
    #[error("{path}: {why}")]
    File {
        /// Which.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// Certificate and key do not belong together, or are of a kind that nobody takes.
    #[error("the certificate and its key cannot be used: {0}")]
    Unusable(String),
}

/// What answers with the certificates of a file, the server's own first.
pub fn acceptor(certificates: &Path, key: &Path) -> Result<TlsAcceptor, TlsError> {
    let wrong = |path: &Path| {
        let path = path.display().to_string();
        move |why: String| TlsError::File { path, why }
    };
    let read = CertificateDer::pem_file_iter(certificates).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = read.map_err(|e| wrong(certificates)(e.to_string()))?;
    if chain.is_empty() {
        return Err(wrong(certificates)("there is no certificate in it".to_owned()));
    }
    let own = PrivateKeyDer::from_pem_file(key).map_err(|e| wrong(key)(e.to_string()))?;
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let unusable = |e: tokio_rustls::rustls::Error| TlsError::Unusable(e.to_string());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = config.map_err(unusable)?.with_no_client_auth().with_single_cert(chain, own).map_err(unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
