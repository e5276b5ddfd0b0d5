//! Hosts with another userland than this machine's: an old distribution, and a small system where even common tools are missing.
//!
//! Each is an sshd in a root of its own, which all hosts of a kind share for reading. The host's directory is at the same place inside and
//! outside, so that paths mean the same.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FlockOperation, flock};

use super::packages::program;
use super::process::free_port;
use super::sshd::{Sshd, next_address};

/// What a userland is made for.
#[derive(Debug, Clone, Copy)]
pub enum Userland {
    /// Debian 11: glibc 2.31.
    Bullseye,
    /// The same, whose programs for users are those of busybox, and no program for checksums or name services is there.
    Busybox,
}

impl Userland {
    /// A host of this kind with all its files below `dir`, which is below /tmp.
    pub fn start(self, dir: &Path, name: &str) -> Sshd {
        fs::create_dir_all(dir).expect("the host's directory");
        let dir = dir.canonicalize().expect("the host's directory");
        assert!(dir.starts_with("/tmp"), "{} is seen by the host only below /tmp", dir.display());
        let top = dir.parent().expect("a directory above").display().to_string();
        let (root, tools) = (base(), matches!(self, Self::Busybox).then(tools));
        let mut script = format!(
            "set -e; r={root}; mount --bind $r $r; mount -t tmpfs tmpfs $r/tmp; mount -t tmpfs tmpfs $r/run; mkdir -p $r/run/sshd $r{top}; \
             mount --bind {top} $r{top}; mount -t proc proc $r/proc; mount --rbind /dev $r/dev; ",
            root = root.display()
        );
        if let Some(tools) = tools {
            script += &format!("mount --bind {} $r/usr/bin; ", tools.display());
        }
        script += "exec chroot $r /usr/sbin/sshd \"$@\"";
        // The path of this machine's sshd is `$0` of the script.
        let within =
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", &script].map(str::to_owned).to_vec();
        let ip = next_address();
        Sshd::start_within(&dir, name, SocketAddr::new(ip, free_port(ip)), &[], within)
    }
}

/// Where what takes long to make is kept.
pub fn cache() -> PathBuf {
    option_env!("CARGO_TARGET_TMPDIR").unwrap_or(concat!(env!("CARGO_MANIFEST_DIR"), "/target/tmp")).into()
}

/// The root of Debian 11, made once.
fn base() -> PathBuf {
    once("bullseye", |root| {
        let debootstrap = program("debootstrap", "debootstrap");
        let mut make = Command::new(debootstrap);
        make.args(["--variant=minbase", "--include=openssh-server", "bullseye"]).arg(root).args(mirror());
        let out = make.output().expect("debootstrap runs");
        assert!(out.status.success(), "no Debian 11 could be made: {}", String::from_utf8_lossy(&out.stdout));
        let _ = fs::remove_dir_all(root.join("var/cache/apt/archives"));
    })
}

/// The programs of busybox but for a few.
fn tools() -> PathBuf {
    const MISSING: [&str; 8] = ["sha256sum", "sha1sum", "sha512sum", "sha3sum", "md5sum", "cksum", "openssl", "getent"];
    once("busybox", |dir| {
        let busybox = program("busybox", "busybox-static");
        fs::create_dir(dir).expect("a directory for busybox");
        fs::copy(&busybox, dir.join("busybox")).expect("a copy of busybox");
        let list = Command::new(&busybox).arg("--list").output().expect("busybox runs");
        for name in String::from_utf8_lossy(&list.stdout).lines().filter(|name| !MISSING.contains(name)) {
            if name != "busybox" {
                symlink("busybox", dir.join(name)).expect("a name of busybox");
            }
        }
        // What /etc/passwd names as the login shell.
        fs::write(dir.join("bash"), "#!/usr/bin/sh\nexec /usr/bin/sh \"$@\"\n").expect("a login shell");
        fs::set_permissions(dir.join("bash"), fs::Permissions::from_mode(0o755)).expect("a login shell that runs");
    })
}

/// Makes something that stays until cargo's directory is emptied. Several test binaries may want it at once.
fn once(name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let path = cache().join(name);
    let lock = fs::File::create(cache().join(format!("{name}.lock"))).expect("a lock");
    flock(&lock, FlockOperation::LockExclusive).expect("the lock of what is made once");
    if !path.exists() {
        let next = cache().join(format!("{name}.part"));
        let _ = fs::remove_dir_all(&next);
        make(&next);
        fs::rename(&next, &path).expect("what is whole gets its name");
    }
    path
}

/// Where apt of this machine gets Debian's packages.
fn mirror() -> Option<String> {
    let lists = ["/etc/apt/sources.list", "/etc/apt/sources.list.d/debian.sources"];
    let text: String = lists.iter().filter_map(|file| fs::read_to_string(file).ok()).collect();
    let url = |line: &str| {
        line.split_whitespace()
            .find(|word| word.starts_with("http") && word.trim_end_matches('/').ends_with("/debian"))
            .map(str::to_owned)
    };
    text.lines().filter(|line| !line.starts_with('#')).find_map(url)
}
