//! A tree of everything odd that a filesystem allows.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, UTIME_OMIT, XattrFlags};

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub fn name(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

pub fn set_mtime(path: &Path, sec: i64, nsec: i64) {
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: sec, tv_nsec: nsec },
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Bytes that look random and are the same every time.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

pub fn make_odd_tree(root: &Path) {
    fs::create_dir_all(root.join("dir/sub/deep")).unwrap();
    fs::create_dir_all(root.join("empty dir")).unwrap();
    fs::write(root.join("plain"), b"plain\n").unwrap();
    fs::write(root.join("empty"), b"").unwrap();
    fs::write(root.join("dir/just over small"), noise(1, (256 << 10) + 1)).unwrap();
    fs::write(root.join("dir/large"), noise(2, (5 << 20) + 77)).unwrap();
    for odd in [&b"new\nline"[..], b"\xff\xfe not utf8", b"-rf", b" lead and trail ", b"*?[", b"\x01\x1b[2J"] {
        fs::write(root.join("dir").join(name(odd)), odd).unwrap();
    }
    fs::write(root.join(name(&[b'x'; 255])), b"longest name").unwrap();
    modes(root);
    links(root);
    times(root);
    attributes(root);
    sparse(root);
    deep(root);
    if is_root() {
        owners_and_devices(root);
    }
    set_mtime(&root.join("empty dir"), 1_000_000_000, 123_456_789);
    set_mtime(&root.join("dir"), 999_999_999, 1);
}

fn modes(root: &Path) {
    for mode in [0o000, 0o400, 0o444, 0o600, 0o640, 0o755, 0o1644, 0o2755, 0o4755, 0o6711, 0o777] {
        // A file that its owner cannot read can only be copied by root.
        if mode & 0o400 == 0 && !is_root() {
            continue;
        }
        let path = root.join(format!("mode {mode:o}"));
        fs::write(&path, format!("{mode:o}")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let closed = root.join("read-only dir");
    fs::create_dir(&closed).unwrap();
    fs::write(closed.join("inside"), b"x").unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
    let sticky = root.join("sticky dir");
    fs::create_dir(&sticky).unwrap();
    fs::set_permissions(&sticky, fs::Permissions::from_mode(0o3777)).unwrap();
    fs::write(sticky.join("inherits the group"), b"x").unwrap();
}

fn links(root: &Path) {
    symlink("plain", root.join("to plain")).unwrap();
    symlink("/nowhere/at all", root.join("dangling")).unwrap();
    symlink("..", root.join("dir/up")).unwrap();
    let long = |len| symlink(OsStr::from_bytes(&vec![b'l'; len]), root.join("long link"));
    // xfs takes no longer ones.
    long(3000).or_else(|_| long(1000)).unwrap();
    fs::write(root.join("dir/hard 1"), noise(3, 1000)).unwrap();
    fs::hard_link(root.join("dir/hard 1"), root.join("hard 2")).unwrap();
    fs::hard_link(root.join("dir/hard 1"), root.join("dir/sub/hard 3")).unwrap();
    fs::hard_link(root.join("dir/large"), root.join("dir/sub/large too")).unwrap();
    rustix::fs::mknodat(CWD, root.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
    rustix::fs::mknodat(CWD, root.join("socket"), FileType::Socket, Mode::from_raw_mode(0o600), 0).unwrap();
    fs::hard_link(root.join("fifo"), root.join("dir/fifo too")).unwrap();
}

fn times(root: &Path) {
    for (n, (sec, nsec)) in
        [(0, 0), (-1, 5), (-100_000_000, 0), (1, 999_999_999), (4_000_000_000, 1)].iter().enumerate()
    {
        let path = root.join(format!("time {n}"));
        fs::write(&path, b"t").unwrap();
        set_mtime(&path, *sec, *nsec);
    }
    set_mtime(&root.join("to plain"), 1_234_567_890, 987_654_321);
}

fn attributes(root: &Path) {
    let path = root.join("with attributes");
    fs::write(&path, b"a").unwrap();
    let set = |path: &Path, key: &str, value: &[u8]| {
        rustix::fs::lsetxattr(path, key, value, XattrFlags::empty()).unwrap_or_else(|e| panic!("{key}: {e}"));
    };
    set(&path, "user.empty", b"");
    set(&path, "user.binary", b"\0\x01\xff");
    set(&path, "user.long", &noise(9, 2000));
    set(&root.join("dir/sub"), "user.on a directory", b"yes");
    let acl = |args: &[&str], path: &Path| {
        let setfacl = crate::lab::packages::program("setfacl", "acl");
        assert!(Command::new(setfacl).args(args).arg(path).status().unwrap().success());
    };
    acl(&["-m", "u:12345:rwx,g:23456:r-x"], &path);
    let defaults = root.join("default acl");
    fs::create_dir(&defaults).unwrap();
    fs::write(defaults.join("made before"), b"x").unwrap();
    acl(&["-d", "-m", "u:12345:rwx,g::---,o::r"], &defaults);
    fs::write(defaults.join("made after"), b"x").unwrap();
    if is_root() {
        set(&path, "trusted.secret", b"only root");
        set(&root.join("dangling"), "trusted.on a link", b"l");
        set(&root.join("socket"), "trusted.on a socket", b"s");
        // cap_net_raw=ep, as `setcap` writes it.
        let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        set(&root.join("mode 755"), "security.capability", &capability);
    }
}

fn sparse(root: &Path) {
    let mut file = File::create(root.join("sparse")).unwrap();
    file.set_len(40 << 20).unwrap();
    for at in [0u64, 1 << 20, 33 << 20] {
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(&noise(at, 5000)).unwrap();
    }
    File::create(root.join("all hole")).unwrap().set_len(32 << 20).unwrap();
    File::create(root.join("small hole")).unwrap().set_len(100_000).unwrap();
}

/// The names in a chain of directories that is too deep for rsync.
pub const DEEP: [u8; 200] = [b'd'; 200];

/// A chain of directories longer than one system call takes.
fn deep(root: &Path) {
    let name = DEEP;
    let mut at = rustix::fs::openat(CWD, root, rustix::fs::OFlags::DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..25 {
        rustix::fs::mkdirat(&at, &name[..], Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, &name[..], rustix::fs::OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
    let file = rustix::fs::openat(&at, "at the bottom", flags, Mode::RUSR).unwrap();
    rustix::io::write(&file, b"deep").unwrap();
}

fn owners_and_devices(root: &Path) {
    std::os::unix::fs::chown(root.join("plain"), Some(12345), Some(23456)).unwrap();
    std::os::unix::fs::chown(root.join("mode 6711"), Some(12345), Some(23456)).unwrap();
    fs::set_permissions(root.join("mode 6711"), fs::Permissions::from_mode(0o6711)).unwrap();
    std::os::unix::fs::lchown(root.join("dangling"), Some(1), Some(2)).unwrap();
    std::os::unix::fs::chown(root.join("dir/sub/deep"), Some(77), Some(88)).unwrap();
    let null = rustix::fs::makedev(1, 3);
    rustix::fs::mknodat(CWD, root.join("null"), FileType::CharacterDevice, Mode::from_raw_mode(0o666), null).unwrap();
    let loop0 = rustix::fs::makedev(7, 200);
    rustix::fs::mknodat(CWD, root.join("block"), FileType::BlockDevice, Mode::from_raw_mode(0o600), loop0).unwrap();
}
