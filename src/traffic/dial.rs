//! Byte streams to runtime APIs, wherever their sockets are.
//!
//! Owns the seam behind which SSH stands: directors ask for a stream and do not know how it comes about.

use std::io;
use std::path::Path;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::outside::reason;

/// A connection, whatever carries it.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Opens connections. The caller bounds the time.
#[async_trait]
pub trait Dial: Send + Sync {
    /// Connects to `host:port`.
    async fn tcp(&self, address: &str) -> Result<Box<dyn Stream>, DialError> {
        let stream = TcpStream::connect(address).await.map_err(|e| DialError::io(&e, None))?;
        // Commands are one small write each.
        let _ = stream.set_nodelay(true);
        Ok(Box::new(stream))
    }

    /// Connects to a unix socket on this machine.
    async fn unix(&self, path: &Path) -> Result<Box<dyn Stream>, DialError> {
        let stream = UnixStream::connect(path).await.map_err(|e| DialError::io(&e, unix_hint(e.kind())))?;
        Ok(Box::new(stream))
    }

    /// Connects to a unix socket on an inventory host.
    async fn remote_unix(&self, host: &str, path: &str) -> Result<Box<dyn Stream>, DialError>;
}

/// Connections that need no SSH.
pub struct Local;

#[async_trait]
impl Dial for Local {
    async fn remote_unix(&self, host: &str, _path: &str) -> Result<Box<dyn Stream>, DialError> {
        Err(DialError { what: format!("there is no SSH connection to {host} here"), hint: None })
    }
}

/// Why no connection could be made. Nothing was sent.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{what}")]
pub struct DialError {
    /// The reason, escaped: `no such file or directory`.
    pub what: String,
    /// What to do next.
    pub hint: Option<String>,
}

impl DialError {
    fn io(error: &io::Error, hint: Option<&str>) -> Self {
        Self { what: reason(error), hint: hint.map(str::to_owned) }
    }
}

fn unix_hint(kind: io::ErrorKind) -> Option<&'static str> {
    match kind {
        io::ErrorKind::NotFound => {
            Some("check that HAProxy runs and has `stats socket PATH level admin` with this path")
        }
        io::ErrorKind::PermissionDenied => {
            Some("run as a user or group that the socket's `mode`, `user` and `group` let in")
        }
        io::ErrorKind::ConnectionRefused => {
            Some("the socket is left over from a process that has ended: start HAProxy")
        }
        _ => None,
    }
}
