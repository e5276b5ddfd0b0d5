//! Debian packages of the lab: all of a part at once, before anything of it is looked for. Root installs them; others are told one line to copy.
//!
//! A package brings users and groups, too: who copies `/etc` before has a host on which its server does not start.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::OnceLock;

use super::process::find_program;

/// What there is, by parts.
pub const LIST: &str = include_str!("packages.txt");

/// A part of [`LIST`]: the demo needs few of them.
struct Part {
    name: &'static str,
    installed: OnceLock<()>,
}

static PARTS: [Part; 2] =
    [Part { name: "demo", installed: OnceLock::new() }, Part { name: "tests", installed: OnceLock::new() }];

/// The path of `program`, which comes with Debian's `package`.
pub fn program(program: &str, package: &str) -> PathBuf {
    ready(package);
    find_program(program).unwrap_or_else(|| missing(program))
}

/// A file that is no program, which comes with Debian's `package`.
pub fn file(path: &str, package: &str) -> PathBuf {
    ready(package);
    Some(PathBuf::from(path)).filter(|path| path.is_file()).unwrap_or_else(|| missing(path))
}

/// Sees to it that a package is there, with all of its part.
pub fn ready(package: &str) {
    let has = |part: &&Part| packages(part.name).any(|name| name == package);
    let part = PARTS.iter().find(has).unwrap_or_else(|| panic!("{package} is missing in tests/lab/packages.txt"));
    part.installed.get_or_init(|| {
        let wanted: Vec<&str> = packages(part.name).collect();
        if rustix::process::geteuid().is_root() && !absent(&wanted).is_empty() {
            install(&wanted);
        }
    });
}

/// The packages of a part.
pub fn packages(part: &str) -> impl Iterator<Item = &'static str> {
    let text = LIST.split('[').find_map(|text| text.strip_prefix(part)?.strip_prefix("]\n")).unwrap_or_default();
    text.lines().filter(|line| !line.is_empty())
}

/// Those that are not installed, by the state that dpkg has: a file alone may be of an older version, or of another system.
fn absent<'a>(wanted: &[&'a str]) -> Vec<&'a str> {
    let mut query = Command::new("dpkg-query");
    query.args(["-W", "-f", "${db:Status-Status} ${Package}\n"]).args(wanted);
    // Where there is no dpkg, there is nothing to install either.
    let Ok(out) = query.output() else { return Vec::new() };
    let known = String::from_utf8_lossy(&out.stdout);
    let there: BTreeSet<&str> = known.lines().filter_map(|line| line.strip_prefix("installed ")).collect();
    wanted.iter().copied().filter(|package| !there.contains(package)).collect()
}

/// One process of the machine at a time; those that have waited find all there.
fn install(wanted: &[&str]) {
    let lock = std::fs::File::create(std::env::temp_dir().join("migrate-lab-packages.lock")).expect("a file to lock");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("a lock");
    let absent = absent(wanted);
    if absent.is_empty() {
        return;
    }
    apt(&["update"]);
    let out = apt(&[&["install", "-y", "--no-install-recommends"], absent.as_slice()].concat());
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "`apt-get install {}` failed:\n{said}", absent.join(" "));
}

fn apt(args: &[&str]) -> Output {
    let mut apt = Command::new("apt-get");
    apt.args(["-o", "DPkg::Lock::Timeout=300", "-q"]).args(args);
    // Services of the packages must not start: the lab starts its own.
    apt.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
    apt.output().unwrap_or_else(|e| panic!("cannot run apt-get: {e}"))
}

fn missing(what: &str) -> ! {
    let wanted: Vec<&str> = PARTS.iter().flat_map(|part| packages(part.name)).collect();
    let absent = absent(&wanted);
    let names = if absent.is_empty() { wanted } else { absent };
    panic!(
        "the lab needs `{what}`; install it with:\n    sudo apt-get install --no-install-recommends {}",
        names.join(" ")
    )
}
