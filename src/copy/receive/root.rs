//! The root on the target: opened or created, locked, and checked for free space.
//!
//! Must never make anything but the root itself.

use std::path::PathBuf;

use rustix::fs::{CWD, Mode, fstat, fstatvfs, mkdirat};
use rustix::io::Errno;

use super::marker::Marker;
use super::target;
use crate::copy::failure::{Failure, Side};
use crate::copy::fs::metadata::Privileges;
use crate::copy::fs::tree::Tree;
use crate::copy::fs::walk::dev_of;
use crate::copy::wire::frame::VERSION;
use crate::copy::wire::response::Ready;

/// What the controller allows.
#[derive(Debug, Clone)]
pub struct Permit {
    /// The job.
    pub job: String,
    /// The only directory that is written, absolute.
    pub root: PathBuf,
    /// Where the record of the root is kept.
    pub work: PathBuf,
    /// Whether anything may be removed.
    pub delete: bool,
}

/// Opens the root and makes it where only itself is missing.
pub fn open_root(permit: &Permit, read_only: bool) -> Result<Tree, Failure> {
    let shown = permit.root.display();
    let cannot = |doing: &str, e: Errno| {
        let f = Failure::of(Side::Target, doing, permit.root.as_os_str().as_encoded_bytes(), e);
        Failure { fatal: true, ..f }
    };
    match Tree::open(&permit.root) {
        Err(Errno::NOENT) if !read_only => {}
        other => return other.map_err(|e| cannot("open the target directory", e)),
    }
    match mkdirat(CWD, &permit.root, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => Tree::open(&permit.root).map_err(|e| cannot("open the target directory", e)),
        Err(Errno::NOENT) => {
            let f = Failure::fatal(Side::Target, format!("the parent of the target directory {shown} does not exist"));
            Err(f.hint("make it on the target, or correct `to:` in the plan"))
        }
        Err(e) => Err(cannot("make the target directory", e)),
    }
}

/// Keeps other runs off the root.
pub fn lock_root(permit: &Permit, tree: &Tree) -> Result<Marker, Failure> {
    let st = fstat(tree.root()).map_err(|e| target::failed("look at", b"", e))?;
    let root = std::fs::canonicalize(&permit.root).unwrap_or_else(|_| permit.root.clone());
    #[allow(clippy::unnecessary_cast, reason = "its width differs between architectures")]
    let id = (dev_of(&st), st.st_ino as u64);
    match Marker::lock(&permit.work, &root, id, &permit.job) {
        Ok(Some(marker)) => Ok(marker),
        Ok(None) => {
            let f = Failure::fatal(Side::Target, format!("another run is writing to {}", permit.root.display()));
            Err(Failure { retryable: true, ..f }.hint("wait for it to end, or stop it"))
        }
        Err(e) => Err(marker_failed(e)),
    }
}

/// The record of the root cannot be kept.
pub fn marker_failed(e: std::io::Error) -> Failure {
    Failure::fatal(Side::Target, format!("cannot keep the record of the copy in the work directory: {e}"))
        .hint("free space there, or set `work_dir` of the host to a place that can be written")
}

/// What the source has to know before it sends anything.
#[allow(clippy::useless_conversion, reason = "the widths of these fields differ between architectures")]
pub fn ready(tree: &Tree, rights: Privileges, trusted: bool) -> Result<Ready, Failure> {
    let vfs = fstatvfs(tree.root()).map_err(|e| target::failed("ask for free space of", b"", e))?;
    let blocks = if rights.privileged { vfs.f_bfree } else { vfs.f_bavail };
    Ok(Ready {
        version: VERSION,
        trusted,
        privileged: rights.privileged,
        free_bytes: u64::from(blocks).saturating_mul(vfs.f_frsize),
        free_inodes: if vfs.f_files == 0 { u64::MAX } else { vfs.f_favail },
    })
}
