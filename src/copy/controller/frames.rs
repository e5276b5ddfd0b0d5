//! Frames on the streams to and from agents, read and written without blocking.
//!
//! Must never take in more than a header's bounds allow.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::copy::failure::{Failure, Side};
use crate::copy::wire::frame::{HEADER, Header, PREAMBLE, WireError};

/// What a login shell may print before the agent starts.
const MAX_NOISE: usize = 64 << 10;
/// Why a task ended early.
pub enum Broken {
    /// An agent reported a failure.
    Failed(Failure),
    /// The stream of a side ended or failed.
    Stream(Side, String),
}

pub type Reader = Box<dyn AsyncRead + Send + Unpin>;
pub type Writer = Box<dyn AsyncWrite + Send + Unpin>;
/// The failure of the stream of a side.
pub fn stream(side: Side, e: impl std::fmt::Display) -> Broken {
    Broken::Stream(side, e.to_string())
}

/// Skips what a login shell prints before the agent's preamble.
pub async fn skip_noise(input: &mut Reader) -> std::io::Result<()> {
    let mut seen = Vec::new();
    while !seen.ends_with(PREAMBLE) {
        if seen.len() > MAX_NOISE {
            return Err(std::io::Error::other("the agent did not start: something else is printed at login"));
        }
        seen.push(input.read_u8().await?);
    }
    Ok(())
}

/// Writes a whole frame.
pub async fn write(to: &mut Writer, frame: &[u8]) -> std::io::Result<()> {
    to.write_all(frame).await?;
    to.flush().await
}

/// Reads one frame, header and all, into `frame`.
pub async fn next(from: &mut Reader, frame: &mut Vec<u8>) -> Result<Header, WireError> {
    let mut raw = [0; HEADER];
    from.read_exact(&mut raw).await?;
    let header = Header::parse(&raw)?;
    frame.clear();
    frame.extend_from_slice(&raw);
    let read = from.take(header.body as u64).read_to_end(frame).await?;
    if read < header.body {
        return Err(WireError::Closed);
    }
    Ok(header)
}
