//! The other terminal's end.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::{Answer, MAX_MESSAGE, Request};
use crate::event::Notice;

/// An engine answers at once; only its disk can keep it waiting.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

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

/// Follows a run from a record on until its controller ends, or until `see` has seen enough and says so; whether it was that.
pub fn follow(path: &Path, from: u64, mut see: impl FnMut(Notice) -> bool) -> Result<bool, ControlError> {
    let Ok(mut stream) = UnixStream::connect(path) else {
        return Err(ControlError::NobodyThere { path: path.display().to_string() });
    };
    let lost = |e: &dyn std::fmt::Display| ControlError::Lost(e.to_string());
    let request = serde_json::to_vec(&Request::Follow { from }).map_err(|e| lost(&e))?;
    stream.write_all(&request).and_then(|()| stream.shutdown(Shutdown::Write)).map_err(|e| lost(&e))?;
    for line in BufReader::new(stream).lines() {
        // A controller that dies ends in the middle of a line.
        let Some(notice) = line.ok().and_then(|line| serde_json::from_str(&line).ok()) else { return Ok(false) };
        if see(notice) {
            return Ok(true);
        }
    }
    Ok(false)
}
