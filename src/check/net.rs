//! What a failed connection says: about the service, or only about the way to it.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use super::{Verdict, quote};
use crate::text;

/// The addresses behind `host:port`; an unknown verdict when the name cannot be looked up.
pub async fn resolve(asked: &str, host_and_port: &str, timeout: Duration) -> Result<Vec<SocketAddr>, Verdict> {
    let lookup = tokio::time::timeout(timeout, tokio::net::lookup_host(host_and_port.to_owned())).await;
    let why = match lookup {
        Ok(Ok(found)) => match found.collect::<Vec<_>>() {
            none if none.is_empty() => "the name has no address".to_owned(),
            found => return Ok(found),
        },
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer from the resolver in {}", text::duration(timeout)),
    };
    Err(Verdict::unknown(format!("{asked} → cannot look up {}: {}", quote(host_and_port), quote(why))))
}

/// Whether an error of this kind comes from the other end. A refused connection is an answer: nothing serves there. A missing
/// route, or no free file descriptor here, says nothing about the service.
pub fn blames_the_service(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::UnexpectedEof
            | ErrorKind::InvalidData
            | ErrorKind::TimedOut
    )
}
