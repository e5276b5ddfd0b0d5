//! One exchange with a runtime API: a line of commands, half-close, everything that comes back.
//!
//! Must never take an answer that was cut off for a whole one.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::super::dial::Stream;
use crate::outside::reason;

/// Longest reply that is read: some hundred thousand servers.
const REPLY_LIMIT: u64 = 16 * 1024 * 1024;

/// How long a connection may take, and one exchange on it.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// What came back.
pub(super) struct Reply {
    /// The text; invalid UTF-8 is replaced.
    pub text: String,
    /// Whether it was longer than we read.
    pub cut: bool,
}

/// Why nothing useful came back. The commands may have been carried out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lost(pub String);

/// Sends commands joined by `;` and reads until the other side closes.
pub(super) async fn exchange(stream: &mut dyn Stream, commands: &str) -> Result<Reply, Lost> {
    let talk = async {
        stream.write_all(format!("{commands}\n").as_bytes()).await?;
        stream.flush().await?;
        stream.shutdown().await?;
        let mut bytes = Vec::new();
        let n = stream.take(REPLY_LIMIT).read_to_end(&mut bytes).await?;
        Ok::<_, std::io::Error>(Reply {
            text: String::from_utf8_lossy(&bytes).into_owned(),
            cut: n as u64 == REPLY_LIMIT,
        })
    };
    match timeout(PATIENCE, talk).await {
        Err(_) => Err(Lost(format!("no complete answer in {} s", PATIENCE.as_secs()))),
        Ok(Err(e)) => Err(Lost(format!("the connection broke: {}", reason(&e)))),
        // Even success is a newline.
        Ok(Ok(reply)) if !reply.text.ends_with('\n') && !reply.cut => Err(Lost("the answer ended early".to_owned())),
        Ok(Ok(reply)) => Ok(reply),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answer(bytes: &'static [u8]) -> Result<Reply, Lost> {
        let (mut ours, mut theirs) = tokio::io::duplex(1 << 20);
        let server = tokio::spawn(async move {
            let mut asked = String::new();
            theirs.read_to_string(&mut asked).await.unwrap();
            theirs.write_all(bytes).await.unwrap();
            asked
        });
        let reply = exchange(&mut ours, "show stat").await;
        assert_eq!(server.await.unwrap(), "show stat\n");
        reply
    }

    #[tokio::test]
    async fn a_reply_that_was_cut_off_is_not_taken_for_an_answer() {
        assert_eq!(answer(b"\n").await.unwrap().text, "\n");
        assert_eq!(answer(b"").await.err(), Some(Lost("the answer ended early".to_owned())));
        assert_eq!(answer(b"1\n# be_id be_na").await.err(), Some(Lost("the answer ended early".to_owned())));
    }
}
