//! Putting a file on a host: checked there, then renamed into place.
//!
//! Owns how a file arrives. Must never leave half a file under its final name.

use std::io::Read as _;
use std::path::Path;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;

use super::pool::Pool;
use super::stream::Writer;
use crate::model::Host;
use crate::outside::{Error, Kind};
use crate::text::escape;

const BLOCK: usize = 1 << 20;
/// The file is already there; its content was not asked for.
const ALREADY_THERE: i32 = 70;
/// The content arrived cut or changed.
const DAMAGED: i32 = 71;

/// `$1` path, `$2` length, `$3` SHA-256; the content on standard input.
const RECEIVE: &str = r#"
case $1 in "~/"*) f=$HOME/${1#"~/"} ;; *) f=$1 ;; esac
sum() { h=$({ sha256sum || shasum -a 256 || openssl dgst -sha256 -r; } <"$1" 2>/dev/null); h=${h%% *}; }
umask 077
if [ -f "$f" ] && [ -x "$f" ] && sum "$f" && [ "$h" = "$3" ]; then exit 70; fi
mkdir -p -- "${f%/*}" || exit 1
t=$f.$(uname -n).$$.part
trap 'rm -f -- "$t"' EXIT
trap 'exit 1' HUP INT PIPE TERM
cat >"$t" || exit 1
sum "$t"
[ "$(wc -c <"$t")" -eq "$2" ] || exit 71
[ -z "$h" ] || [ "$h" = "$3" ] || exit 71
chmod 700 -- "$t" && mv -f -- "$t" "$f"
"#;

/// What to put on a host.
#[derive(Debug, Clone)]
pub enum Upload<'a> {
    /// These bytes.
    Bytes(Bytes),
    /// A file of this machine.
    File(&'a Path),
}

impl Pool {
    /// Puts a file at `path` (absolute, or below the home directory as `~/…`) on a host, with mode 0700 and its directories made.
    /// It appears there whole or not at all; when it is there already, nothing is sent.
    pub async fn upload(&self, host: &Host, what: &Upload<'_>, path: &str) -> Result<(), Error> {
        let label = self.endpoint(host).await?.to_string();
        if !path.starts_with('/') && !path.starts_with("~/") || path.ends_with('/') {
            let what = format!("cannot upload to `{}`: not an absolute path of a file", escape(path.as_bytes(), 200));
            return Err(Error::new(label, Kind::Config, what));
        }
        let local = |e: std::io::Error| local_error(&label, what, &e);
        let (length, hash) = what.measure().await.map_err(local)?;
        let stream = self.open(host, &["/bin/sh", "-c", RECEIVE, "sh", path, &length.to_string(), &hash]).await?;
        let (reader, mut writer, ending) = stream.into_parts();
        drop(reader);
        what.send(&mut writer).await.map_err(local)?;
        writer.end().await;
        let exit = ending.wait().await?;
        let path = escape(path.as_bytes(), 200);
        let failed = |why: String| Error::new(label.clone(), Kind::Refused, format!("cannot write {path}: {why}"));
        match exit.status {
            Some(0 | ALREADY_THERE) => Ok(()),
            Some(DAMAGED) => Err(failed("it arrived cut or changed".to_owned()).hint("try again")),
            _ => Err(failed(escape(&exit.stderr, 300)).hint("is there room, and may the login user write there?")),
        }
    }
}

fn local_error(label: &str, what: &Upload<'_>, e: &std::io::Error) -> Error {
    let name = match what {
        Upload::Bytes(_) => "the bytes to upload".to_owned(),
        Upload::File(path) => escape(path.as_os_str().as_encoded_bytes(), 200),
    };
    Error::new(label, Kind::Config, format!("cannot read {name}: {e}"))
}

impl Upload<'_> {
    /// Length and SHA-256.
    async fn measure(&self) -> std::io::Result<(u64, String)> {
        let (length, digest) = match self {
            Self::Bytes(bytes) => (bytes.len() as u64, Sha256::digest(bytes)),
            Self::File(path) => {
                let path = path.to_path_buf();
                tokio::task::spawn_blocking(move || hash_file(&path)).await.map_err(std::io::Error::other)??
            }
        };
        Ok((length, digest.iter().map(|b| format!("{b:02x}")).collect()))
    }

    /// A host that takes no more says why by its exit, so only reading can fail here.
    async fn send(&self, writer: &mut Writer) -> std::io::Result<()> {
        match self {
            Self::Bytes(bytes) => {
                let _ = writer.send(bytes.clone()).await;
            }
            Self::File(path) => {
                let mut file = tokio::fs::File::open(path).await?;
                loop {
                    let mut block = Vec::with_capacity(BLOCK);
                    if file.read_buf(&mut block).await? == 0 || writer.send(block.into()).await.is_err() {
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}

fn hash_file(path: &Path) -> std::io::Result<(u64, sha2::digest::Output<Sha256>)> {
    let mut file = std::fs::File::open(path)?;
    let (mut hasher, mut length, mut block) = (Sha256::new(), 0u64, vec![0u8; BLOCK]);
    loop {
        let n = file.read(&mut block)?;
        if n == 0 {
            return Ok((length, hasher.finalize()));
        }
        hasher.update(block.get(..n).unwrap_or_default());
        length += n as u64;
    }
}
