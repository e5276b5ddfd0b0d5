//! The other terminal's end.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::{Answer, MAX_MESSAGE, Request};

/// An engine answers at once; only its disk can keep it waiting.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a live run could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens there: no controller works on the run.
    #[error("no controller listens on {path}")]
    NobodyThere {
        /// The socket.
        path: String,
    },
    /// The connection broke; whether the order was taken is in the journal.
    #[error("the controller did not answer: {0}")]
    Lost(String),
}

/// Asks once.
pub fn ask(path: &Path, request: &Request) -> Result<Answer, ControlError> {
    let Ok(mut stream) = UnixStream::connect(path) else {
        return Err(ControlError::NobodyThere { path: path.display().to_string() });
    };
    let lost = |e: &dyn std::fmt::Display| ControlError::Lost(e.to_string());
    let mut exchange = || -> std::io::Result<Vec<u8>> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(&serde_json::to_vec(request)?)?;
        stream.shutdown(Shutdown::Write)?;
        let mut bytes = Vec::new();
        (&mut stream).take(MAX_MESSAGE).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = exchange().map_err(|e| lost(&e))?;
    serde_json::from_slice(&bytes).map_err(|e| lost(&e))
}
