//! Looks for directories on hosts, and makes one.

use tokio::io::AsyncReadExt;

use super::transport::{Channel, Ended, Transport};
use crate::copy::failure::failed;
use crate::model::Host;
use crate::outside::Error;
use crate::text;

/// What is read of the output of a script that has none to give.
const OUTPUT: u64 = 64 << 10;
/// Exit status: there is nothing.
const NOTHING: i32 = 44;

/// `$1` path. Anything but a directory is an error: it would be in the way.
const LOOK: &str = r#"if [ -d "$1" ]; then exit 0; fi
if [ -e "$1" ] || [ -h "$1" ]; then echo "it is there and is no directory" >&2; exit 1; fi; exit 44"#;

/// `$1` path.
const MAKE: &str = r#"[ -d "$1" ] || mkdir -- "$1""#;

/// Whether there is a directory at `path`; what is there and is none is an error.
pub async fn is_directory(transport: &dyn Transport, host: &Host, path: &str) -> Result<bool, Error> {
    let ended = run(transport, host, LOOK, path).await?;
    match ended.status {
        Some(0) => Ok(true),
        Some(NOTHING) => Ok(false),
        _ => Err(failed(&host.name, format!("cannot use {}: {}", shown(path), ended.stderr))),
    }
}

/// Makes a directory unless it is there; its parent must exist.
pub async fn make_directory(transport: &dyn Transport, host: &Host, path: &str) -> Result<(), Error> {
    let ended = run(transport, host, MAKE, path).await?;
    match ended.status {
        Some(0) => Ok(()),
        _ => Err(failed(&host.name, format!("cannot make {}: {}", shown(path), ended.stderr))),
    }
}

async fn run(transport: &dyn Transport, host: &Host, script: &str, path: &str) -> Result<Ended, Error> {
    let Channel { mut reader, writer, ended, .. } =
        transport.open(host, &["/bin/sh", "-c", script, "sh", path]).await?;
    drop(writer);
    let mut output = Vec::new();
    let _ = (&mut reader).take(OUTPUT).read_to_end(&mut output).await;
    ended.await
}

fn shown(path: &str) -> String {
    text::escape(path.as_bytes(), 200)
}
