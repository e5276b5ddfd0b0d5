//! Debian packages of the lab: installed once when run as root, else named in one line to copy.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;

use super::process::find_program;

static INSTALL: Mutex<()> = Mutex::new(());

/// The path of `program`, which comes with Debian's `package`.
pub fn program(program: &str, package: &str) -> PathBuf {
    installed(program, package, || find_program(program))
}

/// A file that is no program, which comes with Debian's `package`.
pub fn file(path: &str, package: &str) -> PathBuf {
    installed(path, package, || Some(PathBuf::from(path)).filter(|path| path.is_file()))
}

fn installed(what: &str, package: &str, find: impl Fn() -> Option<PathBuf>) -> PathBuf {
    let _one_at_a_time = INSTALL.lock().unwrap_or_else(|e| e.into_inner());
    if let Some(path) = find() {
        return path;
    }
    assert!(
        rustix::process::geteuid().is_root(),
        "the lab needs `{what}`; install it with:\n    sudo apt-get install --no-install-recommends haproxy nginx-light bird2 knot pdns-server pdns-backend-sqlite3 sqlite3 bind9 bind9-dnsutils openssh-server openssh-client rsync acl attr postgresql python3-venv strace sudo opendoas openssl binutils busybox-static debootstrap iproute2 nftables"
    );
    install(package);
    find().unwrap_or_else(|| panic!("package {package} is installed but has no `{what}`"))
}

/// Several test binaries may need the same package at once: apt waits for its own lock.
pub fn install(package: &str) {
    let apt = |args: &[&str]| {
        Command::new("apt-get")
            .args(["-o", "DPkg::Lock::Timeout=300", "-q"])
            .args(args)
            // Services of the packages must not start: the lab starts its own.
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("RUNLEVEL", "1")
            .output()
            .unwrap_or_else(|e| panic!("cannot run apt-get: {e}"))
    };
    let mut out = apt(&["install", "-y", "--no-install-recommends", package]);
    if !out.status.success() {
        apt(&["update"]);
        out = apt(&["install", "-y", "--no-install-recommends", package]);
    }
    assert!(out.status.success(), "apt-get install {package} failed:\n{}", String::from_utf8_lossy(&out.stderr));
}
