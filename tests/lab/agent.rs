//! The agent as a release of the program brings it: the static one, built once.
//!
//! Without it a program puts itself on hosts. Unoptimised, that is ten times as much for each of them to receive and to hash.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The directory that holds it.
pub fn directory() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(build)
}

/// The program.
pub fn program() -> PathBuf {
    directory().join("migrate-agent")
}

/// By the command that the documentation names, where build.rs has it built, too. Cargo does nothing where nothing has changed, and lets
/// several test binaries wait for each other.
fn build() -> PathBuf {
    let target = super::userland::cache().parent().expect("cargo's directory").join("agents");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["agent", "--quiet", "--target", "host-tuple", "--target-dir"]).arg(&target);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    for name in [
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTC_BOOTSTRAP",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "CARGO_BUILD_TARGET",
    ] {
        cargo.env_remove(name);
    }
    // What cargo tells tests of this package is nothing to the scripts of others: they would run once more, and all that needs them.
    for (name, _) in std::env::vars_os() {
        if ["CARGO_MANIFEST_", "CARGO_PKG_"].iter().any(|of_tests| name.to_string_lossy().starts_with(of_tests)) {
            cargo.env_remove(name);
        }
    }
    assert!(cargo.status().expect("cargo runs").success(), "the static agent cannot be built");
    let triples = std::fs::read_dir(&target).expect("what cargo has built").flatten();
    let own = triples.filter(|entry| entry.file_name().to_string_lossy().starts_with(std::env::consts::ARCH));
    let built = own.map(|entry| entry.path().join("agent")).find(|dir| dir.join("migrate-agent").is_file());
    built.expect("cargo has built the agent")
}
