//! Python programs that the lab's doubles are held to: each set of packages in a virtual environment of its own, made once.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::packages::program;

/// The directory of programs of an environment with these packages (`NAME==VERSION`).
pub fn programs(packages: &[&str]) -> PathBuf {
    let name: String = packages.join("+").chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    // Examples have no directory of their own for such things.
    let base = option_env!("CARGO_TARGET_TMPDIR").unwrap_or(concat!(env!("CARGO_MANIFEST_DIR"), "/target/tmp"));
    let base = Path::new(base);
    let (dir, lock) = (base.join(format!("python-{name}")), base.join(format!("python-{name}.lock")));
    let lock = std::fs::File::create(lock).expect("a file to lock");
    // Several tests may need it at once.
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("a lock");
    let done = dir.join("complete");
    if !done.exists() {
        let _ = std::fs::remove_dir_all(&dir);
        make(&dir);
        let mut pip = Command::new(dir.join("bin/pip"));
        pip.args(["install", "--quiet", "--disable-pip-version-check"]).args(packages);
        run(&mut pip);
        std::fs::write(done, "").expect("the environment can be marked as complete");
    }
    dir.join("bin")
}

fn make(dir: &Path) {
    run(Command::new(program("python3", "python3-venv")).args(["-m", "venv"]).arg(dir));
}

fn run(command: &mut Command) {
    let out = command.output().unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
    assert!(out.status.success(), "{command:?} failed: {}", String::from_utf8_lossy(&out.stderr));
}
