//! Builds the agent for hosts and puts it into the program, in release builds: `migrate` is one file that brings all it needs.
//!
//! `MIGRATE_AGENT_TARGETS` names the targets, separated by blanks; without it there is one, that of the program. Empty: no agent is
//! built, and the program itself goes to hosts, as in other builds.

#![allow(clippy::print_stdout, reason = "that is how a build script speaks to cargo")]

use std::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    println!("cargo::rerun-if-env-changed=MIGRATE_AGENT_TARGETS");
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(required("OUT_DIR")?);
    let mut agents = Vec::new();
    if env::var_os("CARGO_FEATURE_CONTROLLER").is_some() && required("PROFILE")? == "release" {
        for target in targets()? {
            agents.push(build(&target, &target_dir(&out).join("agents"))?);
        }
    }
    let list: String = agents.iter().map(|path| format!("include_bytes!({path:?}), ")).collect();
    let text = format!("/// Programs for hosts.\npub static AGENTS: &[&[u8]] = &[{list}];\n");
    Ok(fs::write(out.join("agents.rs"), text)?)
}

fn targets() -> Result<Vec<String>> {
    let own = required("TARGET")?.into_string().map_err(|_| "TARGET is no text")?;
    let named = env::var("MIGRATE_AGENT_TARGETS").ok();
    Ok(named.map_or_else(|| vec![own], |list| list.split_whitespace().map(str::to_owned).collect()))
}

/// Where cargo puts everything: it marks that directory.
fn target_dir(out: &Path) -> &Path {
    out.ancestors().find(|dir| dir.join("CACHEDIR.TAG").is_file()).unwrap_or(out)
}

/// Builds by the alias in .cargo/config.toml, in a directory of its own, whose lock nobody else holds.
fn build(target: &str, dir: &Path) -> Result<PathBuf> {
    let mut cargo = Command::new(required("CARGO")?);
    cargo.args(["agent", "--quiet", "--target", target, "--target-dir"]).arg(dir);
    cargo.current_dir(required("CARGO_MANIFEST_DIR")?);
    // What belongs to the build of the program is not meant for the agent's.
    for name in
        ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO_BUILD_TARGET"]
    {
        cargo.env_remove(name);
    }
    // Cargo tells build scripts their features, and takes none away that its own environment has: the agent's build would take itself for
    // that of the whole program, and build an agent, too, without end.
    for (name, _) in env::vars_os() {
        if ["CARGO_FEATURE_", "CARGO_CFG_"].iter().any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes()))
        {
            cargo.env_remove(name);
        }
    }
    if !cargo.status()?.success() {
        return Err(format!(
            "the agent for {target} could not be built, see above. It is linked statically, which needs the C library as an archive (libc6-dev, \
             glibc-static). `MIGRATE_AGENT_TARGETS= cargo build --release` builds without one: hosts then need the libraries of this machine"
        )
        .into());
    }
    let agent = dir.join(target).join("agent/migrate-agent");
    for source in sources(&agent.with_extension("d"))? {
        println!("cargo::rerun-if-changed={}", source.display());
    }
    for file in ["Cargo.toml", "Cargo.lock", ".cargo/config.toml"] {
        println!("cargo::rerun-if-changed={file}");
    }
    Ok(agent)
}

/// What cargo has noted that the agent is made of: `PROGRAM: FILE FILE…`.
fn sources(notes: &Path) -> Result<Vec<PathBuf>> {
    let text = fs::read_to_string(notes)?;
    let files = text.split_once(": ").map(|(_, files)| files).unwrap_or_default();
    // Blanks within names are behind a backslash.
    let files = files.replace("\\ ", "\0");
    Ok(files.split_whitespace().map(|file| PathBuf::from(file.replace('\0', " "))).collect())
}

fn required(name: &str) -> Result<OsString> {
    env::var_os(name).ok_or_else(|| format!("cargo sets no {name}").into())
}
