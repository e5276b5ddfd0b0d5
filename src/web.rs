//! Clients for what answers over HTTP and HTTPS: whom they trust, and what they never do by themselves.
//!
//! Must never go by way of a proxy of this machine, follow a redirect, or send anything twice: nothing but what files say counts.

use std::path::Path;

use reqwest::{Certificate, Client, Identity, redirect};

use crate::text;

/// Whom a server must be vouched for by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust<'a> {
    /// Nobody: plain HTTP, which works on machines without any certificates.
    Plain,
    /// Whom this machine trusts.
    Machine,
    /// The certificates in this file, and nobody else.
    File(&'a Path),
}

/// A client. Contacts nobody yet; an error says what is wrong with the file.
pub fn client(trust: Trust<'_>) -> Result<Client, String> {
    client_as(trust, None)
}

/// One that shows a certificate of its own: a file with that, and a file with its key.
pub fn client_as(trust: Trust<'_>, identity: Option<(&Path, &Path)>) -> Result<Client, String> {
    let builder = Client::builder()
        .user_agent(concat!("migrate/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy();
    let builder = match trust {
        Trust::Plain => builder.tls_certs_only([]),
        Trust::Machine => builder,
        Trust::File(ca) => builder.tls_certs_only(certificates(ca)?),
    };
    let builder = match identity {
        Some((certificate, key)) => builder.identity(own(certificate, key)?),
        None => builder,
    };
    builder.build().map_err(|e| format!("cannot ask over TLS: {}", innermost(&e)))
}

fn shown(path: &Path) -> String {
    text::escape(path.as_os_str().as_encoded_bytes(), 200)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|e| format!("cannot read {}: {e}", shown(path)))
}

fn own(certificate: &Path, key: &Path) -> Result<Identity, String> {
    let pem = [read(certificate)?, b"\n".to_vec(), read(key)?].concat();
    let identity = Identity::from_pem(&pem);
    identity.map_err(|e| format!("cannot use {} with {}: {}", shown(certificate), shown(key), innermost(&e)))
}

fn certificates(ca: &Path) -> Result<Vec<Certificate>, String> {
    let (shown, pem) = (shown(ca), read(ca)?);
    match Certificate::from_pem_bundle(&pem) {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(format!("there is no certificate in {shown}")),
        Err(e) => Err(format!("cannot use the certificates in {shown}: {}", innermost(&e))),
    }
}

/// The innermost reason, escaped; what is around it only names layers and repeats the URL.
pub fn innermost(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    text::escape(innermost.to_string().as_bytes(), 200)
}
