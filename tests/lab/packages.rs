//! Debian packages of the lab: installed once when run as root, else named in one line to copy.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;

use super::process::find_program;

static INSTALL: Mutex<()> = Mutex::new(());

/// The path of `program`, which comes with Debian's `package`.
pub fn program(program: &str, package: &str) -> PathBuf {
    let _one_at_a_time = INSTALL.lock().unwrap_or_else(|e| e.into_inner());
    if let Some(path) = find_program(program) {
        return path;
    }
    assert!(
        rustix::process::geteuid().is_root(),
        "the lab needs `{program}`; install it with:\n    sudo apt-get install --no-install-recommends haproxy bind9 bind9-dnsutils openssh-server openssh-client rsync acl attr postgresql strace sudo opendoas openssl binutils busybox-static debootstrap"
    );
    install(package);
    find_program(program).unwrap_or_else(|| panic!("package {package} is installed but has no `{program}`"))
}

/// Several test binaries may need the same package at once: apt waits for its own lock.
fn install(package: &str) {
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
