//! Owner, permissions, times and extended attributes: read on the source, applied on the target.
//!
//! Owns the order in which they are applied (a change of owner drops set-user-ID and capabilities, an ACL changes the mode).
//! Must never give a file to nobody with set-user-ID left on.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::io::{Errno, Result};
use serde::{Deserialize, Serialize};

use super::listing::{Entry, FileTime};

/// Longest list of names and longest value that Linux knows.
const XATTR_MAX: usize = 64 << 10;
const ACL_DEFAULT: &[u8] = b"system.posix_acl_default";
const SELINUX: &[u8] = b"security.selinux";

/// Owner, permissions, time and extended attributes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Type and permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of last modification.
    pub mtime: FileTime,
    /// Extended attributes, ACLs among them.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Who the agent is.
#[derive(Debug, Clone, Copy)]
pub struct Privileges {
    /// Whether it may do everything.
    pub privileged: bool,
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
}

impl Privileges {
    /// Of this process.
    pub fn of_process() -> Self {
        let uid = rustix::process::geteuid();
        Self { privileged: uid.is_root(), uid: uid.as_raw(), gid: rustix::process::getegid().as_raw() }
    }
}

/// Something whose extended attributes can be read or set.
#[derive(Clone, Copy)]
pub enum Object<'a> {
    /// By descriptor: files and directories.
    Open(BorrowedFd<'a>),
    /// By name in an open directory, not following a symlink: everything else.
    Named(BorrowedFd<'a>, &'a [u8]),
}

impl Object<'_> {
    /// There is no descriptor-relative call for links and devices; the directory is reached through its descriptor in /proc.
    fn path(dir: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
        let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
        path.extend_from_slice(name);
        path
    }

    fn list(&self, buf: &mut [u8]) -> Result<usize> {
        match self {
            Self::Open(fd) => rustix::fs::flistxattr(fd, buf),
            Self::Named(dir, name) => rustix::fs::llistxattr(Self::path(*dir, name), buf),
        }
    }

    fn get(&self, key: &[u8], buf: &mut [u8]) -> Result<usize> {
        match self {
            Self::Open(fd) => rustix::fs::fgetxattr(fd, key, buf),
            Self::Named(dir, name) => rustix::fs::lgetxattr(Self::path(*dir, name), key, buf),
        }
    }

    fn set(&self, key: &[u8], value: &[u8]) -> Result<()> {
        match self {
            Self::Open(fd) => rustix::fs::fsetxattr(fd, key, value, XattrFlags::empty()),
            Self::Named(dir, name) => rustix::fs::lsetxattr(Self::path(*dir, name), key, value, XattrFlags::empty()),
        }
    }

    fn remove(&self, key: &[u8]) -> Result<()> {
        match self {
            Self::Open(fd) => rustix::fs::fremovexattr(fd, key),
            Self::Named(dir, name) => rustix::fs::lremovexattr(Self::path(*dir, name), key),
        }
    }
}

/// Names and values of all extended attributes that are carried, sorted by name.
pub fn read_xattrs(object: Object<'_>) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut found = Vec::new();
    for key in names(object)? {
        // It may have been removed since it was listed.
        if let Some(value) = read_xattr(object, &key)? {
            found.push((key, value));
        }
    }
    found.sort();
    Ok(found)
}

/// One extended attribute; `None` where there is none.
pub fn read_xattr(object: Object<'_>, key: &[u8]) -> Result<Option<Vec<u8>>> {
    let mut small = [0; 256];
    match object.get(key, &mut small) {
        Ok(n) => Ok(Some(small.get(..n).unwrap_or_default().to_vec())),
        Err(Errno::RANGE) => {
            let mut large = vec![0; XATTR_MAX];
            let n = object.get(key, &mut large)?;
            large.truncate(n);
            Ok(Some(large))
        }
        Err(Errno::NODATA) => Ok(None),
        Err(e) => Err(e),
    }
}

fn names(object: Object<'_>) -> Result<Vec<Vec<u8>>> {
    let mut small = [0; 1024];
    let (list, large);
    match object.list(&mut small) {
        Ok(0) | Err(Errno::NOTSUP) => return Ok(Vec::new()),
        Ok(n) => list = small.get(..n).unwrap_or_default(),
        Err(Errno::RANGE) => {
            let mut buf = vec![0; XATTR_MAX];
            let n = object.list(&mut buf)?;
            buf.truncate(n);
            large = buf;
            list = &large;
        }
        Err(e) => return Err(e),
    }
    Ok(list.split(|b| *b == 0).filter(|n| is_carried(n)).map(<[u8]>::to_vec).collect())
}

/// What other filesystems would understand. The rest (`system.nfs4_acl`, `btrfs.…`) belongs to one of them.
fn is_carried(name: &[u8]) -> bool {
    [&b"user."[..], b"security.", b"trusted.", b"system.posix_acl_"].iter().any(|space| name.starts_with(space))
}

/// Whether this process may set it.
fn is_ours(name: &[u8], rights: Privileges) -> bool {
    is_carried(name) && (rights.privileged || name.starts_with(b"user.") || name.starts_with(b"system."))
}

/// The attributes of an entry whose extended ones have been read.
pub fn meta_of(entry: &Entry<'_>, xattrs: Vec<(Vec<u8>, Vec<u8>)>) -> Metadata {
    Metadata { mode: entry.mode, uid: entry.uid, gid: entry.gid, mtime: entry.mtime, xattrs }
}

/// Whether new entries of a directory inherit an ACL.
pub fn has_default_acl(dir: BorrowedFd<'_>) -> bool {
    rustix::fs::fgetxattr(dir, ACL_DEFAULT, &mut [0; 4096][..]).map_or_else(|e| e == Errno::RANGE, |n| n > 0)
}

/// The permission bits that may be set: none that lend an identity which could not be given.
pub fn allowed_mode(meta: &Metadata, rights: Privileges) -> Mode {
    let mut mode = meta.mode & 0o7777;
    if !rights.privileged && meta.uid != rights.uid {
        mode &= !0o4000;
    }
    if !rights.privileged && meta.gid != rights.gid && FileType::from_raw_mode(meta.mode) != FileType::Directory {
        mode &= !0o2000;
    }
    Mode::from_raw_mode(mode)
}

/// Access time left alone, modification time as given.
pub fn times(mtime: FileTime) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime.sec, tv_nsec: i64::from(mtime.nsec.min(999_999_999)) },
    }
}

/// A step that failed, and how.
pub type FailedStep = (&'static str, Errno);

/// Makes an open file or directory have exactly these attributes.
pub fn apply(fd: BorrowedFd<'_>, meta: &Metadata, rights: Privileges) -> std::result::Result<(), FailedStep> {
    chown(meta, rights, |uid, gid| rustix::fs::fchown(fd, uid, gid))?;
    if !rights.privileged && !meta.xattrs.is_empty() {
        rustix::fs::fchmod(fd, Mode::RWXU).map_err(|e| ("open up", e))?;
    }
    reconcile(Object::Open(fd), meta, rights)?;
    rustix::fs::fchmod(fd, allowed_mode(meta, rights)).map_err(|e| ("set the permissions of", e))?;
    rustix::fs::futimens(fd, &times(meta.mtime)).map_err(|e| ("set the time of", e))
}

/// The same for a symlink or special file that was just made under `name`.
pub fn apply_named(
    dir: BorrowedFd<'_>,
    name: &[u8],
    meta: &Metadata,
    rights: Privileges,
) -> std::result::Result<(), FailedStep> {
    chown(meta, rights, |uid, gid| rustix::fs::chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW))?;
    reconcile(Object::Named(dir, name), meta, rights)?;
    if FileType::from_raw_mode(meta.mode) != FileType::Symlink {
        // Just made by us under a name of ours, so it is no symlink that could lead elsewhere.
        rustix::fs::chmodat(dir, name, allowed_mode(meta, rights), AtFlags::empty())
            .map_err(|e| ("set the permissions of", e))?;
    }
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::utimensat(dir, name, &times(meta.mtime), flags).map_err(|e| ("set the time of", e))
}

/// Gives it to its owner. Without privilege only the group can change, to one that the user belongs to.
fn chown(
    meta: &Metadata,
    rights: Privileges,
    set: impl Fn(Option<Uid>, Option<Gid>) -> Result<()>,
) -> std::result::Result<(), FailedStep> {
    let gid = id(meta.gid).map(Gid::from_raw);
    if rights.privileged {
        return set(id(meta.uid).map(Uid::from_raw), gid).map_err(|e| ("set the owner of", e));
    }
    match set(None, gid) {
        Ok(()) | Err(Errno::PERM) => Ok(()),
        Err(e) => Err(("set the group of", e)),
    }
}

/// All ones means «leave alone» to the kernel and is nobody's number.
fn id(raw: u32) -> Option<u32> {
    (raw != u32::MAX).then_some(raw)
}

/// Sets what is missing or differs and removes what should not be there.
fn reconcile(object: Object<'_>, meta: &Metadata, rights: Privileges) -> std::result::Result<(), FailedStep> {
    let there = read_xattrs(object).map_err(|e| ("read the extended attributes of", e))?;
    if there == meta.xattrs {
        return Ok(());
    }
    for (key, _) in there.iter().filter(|(k, _)| is_ours(k, rights) && k != SELINUX) {
        if !meta.xattrs.iter().any(|(k, _)| k == key) {
            object.remove(key).map_err(|e| ("remove an extended attribute of", e))?;
        }
    }
    let missing = meta.xattrs.iter().filter(|x| !there.contains(x));
    set_xattrs(object, missing, rights)
}

/// Sets extended attributes on something that has none.
pub fn set_xattrs<'a>(
    object: Object<'_>,
    xattrs: impl Iterator<Item = &'a (Vec<u8>, Vec<u8>)>,
    rights: Privileges,
) -> std::result::Result<(), FailedStep> {
    for (key, value) in xattrs.filter(|(k, _)| is_ours(k, rights)) {
        match object.set(key, value) {
            // The label is the target's own business where its policy does not know the source's.
            Err(_) if key == SELINUX => {}
            other => other.map_err(|e| ("set an extended attribute of", e))?,
        }
    }
    Ok(())
}

/// Gives a new, plain file its attributes with as few calls as possible. It was created by this process with the mode
/// [`creation_mode`], in a directory that passes nothing on.
pub fn apply_fresh(fd: BorrowedFd<'_>, meta: &Metadata, rights: Privileges) -> std::result::Result<(), FailedStep> {
    if needs_chown(meta, rights) {
        chown(meta, rights, |uid, gid| rustix::fs::fchown(fd, uid, gid))?;
    }
    set_xattrs(Object::Open(fd), meta.xattrs.iter(), rights)?;
    let mode = allowed_mode(meta, rights);
    if mode != creation_mode(meta, rights) {
        rustix::fs::fchmod(fd, mode).map_err(|e| ("set the permissions of", e))?;
    }
    rustix::fs::futimens(fd, &times(meta.mtime)).map_err(|e| ("set the time of", e))
}

/// The mode to create a file with: its own when it stays with this process's user, else closed to everyone until it has its owner.
pub fn creation_mode(meta: &Metadata, rights: Privileges) -> Mode {
    // Setting extended attributes takes write permission, too.
    match needs_chown(meta, rights) || !meta.xattrs.is_empty() {
        true => Mode::RUSR | Mode::WUSR,
        false => allowed_mode(meta, rights) & Mode::from_raw_mode(0o777),
    }
}

fn needs_chown(meta: &Metadata, rights: Privileges) -> bool {
    (rights.privileged && meta.uid != rights.uid) || meta.gid != rights.gid
}

/// Reads the attributes of an open file or directory.
pub fn meta_of_open(fd: impl AsFd, entry: &Entry<'_>) -> Result<Metadata> {
    Ok(meta_of(entry, read_xattrs(Object::Open(fd.as_fd()))?))
}
