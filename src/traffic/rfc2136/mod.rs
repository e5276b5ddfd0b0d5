//! A DNS zone as director: RFC 2136 updates signed with TSIG, read back from every authoritative server.

use std::net::SocketAddr;

use crate::spec::model::SecretRef;

/// Where a zone is written and read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rfc2136Config {
    /// The zone's name.
    pub zone: String,
    /// The server that takes updates.
    pub primary: SocketAddr,
    /// Every authoritative server that must answer the same; the primary is asked too.
    pub secondaries: Vec<SocketAddr>,
    /// Resolvers that must answer the new records before the move goes on.
    pub resolvers: Vec<SocketAddr>,
    /// Name, algorithm and secret of the TSIG key. `None` sends unsigned updates.
    pub key: Option<TsigKey>,
}

/// A TSIG key by reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TsigKey {
    /// Key name as the server has it.
    pub name: String,
    /// `hmac-sha256` unless given; also `hmac-sha1`, `hmac-sha384`, `hmac-sha512`.
    pub algorithm: String,
    /// The base64 secret.
    pub secret: SecretRef,
}
