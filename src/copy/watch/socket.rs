//! How a pass asks the watch, over a socket beside the manifest.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::copy::manifest::format::Generation;
use crate::copy::manifest::full::Extent;
use crate::copy::wire::frame::{Frame, OutFrame, Route};

/// The watch reads a manifest before it answers, at worst.
const PATIENCE: Duration = Duration::from_secs(60);
const SOCKET: &str = "watch";

/// What a pass says to the watch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum WatchRequest {
    /// A pass begins: where must it look? What happens from now on belongs to the next one.
    Take {
        /// The state that the pass starts from.
        generation: Option<Generation>,
        /// Device and inode of the root.
        root: (u64, u64),
        /// What is open for writing.
        open: Vec<u64>,
    },
    /// A pass that had asked where to look has left the target in this state.
    Done {
        /// The rules of the job.
        rules: [u8; 32],
        /// The state.
        generation: Generation,
    },
}

/// What the watch answers to [`WatchRequest::Take`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum WatchAnswer {
    /// A directory to look at.
    Look(ChangedDir),
    /// That was all.
    End,
    /// It does not know.
    Sweep(String),
}

/// A directory to look at.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChangedDir {
    /// Its path.
    pub path: Vec<u8>,
    /// Its listing in the manifest file: where, and how long. Nowhere when it changed since that was written.
    pub at: Option<Extent>,
    /// Names to look at.
    pub names: Vec<Vec<u8>>,
    /// Inodes to look at, whatever their names.
    pub inodes: Vec<u64>,
}

/// A pass's line to the watch.
pub struct WatchClient(UnixStream);

impl WatchClient {
    /// Reaches the watch of a job; `None` when there is none.
    pub fn reach(job: &Path) -> Option<Self> {
        let dir = std::fs::File::open(job).ok()?;
        let stream = UnixStream::connect(short(&dir)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        Some(Self(stream))
    }

    /// Where a pass has to look; the reason when it has to look everywhere.
    pub fn take(&mut self, ask: &WatchRequest) -> Result<Vec<ChangedDir>, String> {
        let broken = |e: &dyn std::fmt::Display| format!("the watch does not answer: {e}");
        send(&mut self.0, ask).map_err(|e| broken(&e))?;
        let mut places = Vec::new();
        loop {
            match receive(&mut self.0).map_err(|e| broken(&e))? {
                WatchAnswer::Look(place) => places.push(place),
                WatchAnswer::End => return Ok(places),
                WatchAnswer::Sweep(why) => return Err(why),
            }
        }
    }

    /// Tells how the pass ended. When that is lost, the next pass sweeps.
    pub fn done(mut self, rules: [u8; 32], generation: Generation) {
        let _ = send(&mut self.0, &WatchRequest::Done { rules, generation });
    }
}

/// A socket that goes with its watch.
pub struct Socket {
    job: PathBuf,
    /// Tells it from one of another watch, which may have got its inode.
    identity: Identity,
}

/// Device, inode, and when that was made.
type Identity = (u64, u64, i64, i64);

fn identity(job: &Path) -> io::Result<Identity> {
    let meta = std::fs::symlink_metadata(job.join(SOCKET))?;
    Ok((meta.dev(), meta.ino(), meta.ctime(), meta.ctime_nsec()))
}

/// Listens for passes of the job in this directory.
pub fn listen(job: &Path) -> io::Result<(UnixListener, Socket)> {
    std::fs::create_dir_all(job)?;
    match std::fs::remove_file(job.join(SOCKET)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(short(&std::fs::File::open(job)?))?;
    Ok((listener, Socket { job: job.to_owned(), identity: identity(job)? }))
}

impl Drop for Socket {
    /// Another watch may have taken its place. A watch that began so late that the job was cleaned up already leaves nothing of it, either:
    /// directories with something in them stay.
    fn drop(&mut self) {
        if identity(&self.job).is_ok_and(|there| there == self.identity) {
            let _ = std::fs::remove_file(self.job.join(SOCKET));
            let _ = self.job.ancestors().take(3).try_for_each(std::fs::remove_dir);
        }
    }
}

/// Addresses of sockets are short, paths are not.
fn short(dir: &std::fs::File) -> String {
    format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd())
}

pub(super) fn send<M: Serialize>(stream: &mut UnixStream, message: &M) -> io::Result<()> {
    OutFrame::new(Route::Peer, message, Vec::new()).map_err(io::Error::other)?.write_to(stream)
}

pub(super) fn receive<M: serde::de::DeserializeOwned>(stream: &mut UnixStream) -> io::Result<M> {
    let frame = Frame::read_from(stream).map_err(io::Error::other)?;
    frame.message().map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_takes_its_own_socket_along_and_what_it_alone_has_made() {
        let home = tempfile::tempdir().unwrap();
        let job = home.path().join("work/jobs/a");
        drop(listen(&job).unwrap());
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);

        let (_old, gone) = listen(&job).unwrap();
        let (_new, stays) = listen(&job).unwrap();
        drop(gone);
        assert!(job.join(SOCKET).exists(), "it is of the other watch");
        std::fs::write(job.join("manifest"), "").unwrap();
        drop(stays);
        assert_eq!(std::fs::read_dir(&job).unwrap().count(), 1);
    }
}
