//! The programs that can be put on hosts, one for each kind of machine.
//!
//! Owns which of them there are: those that this program carries, those of a directory that somebody names, and this program itself
//! where it carries none for its own kind of machine. Must never offer a host a program for another kind of machine than it says.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use crate::text;

mod carried {
    //! What the build has put in: see `build.rs`.
    include!(concat!(env!("OUT_DIR"), "/agents.rs"));
}

/// What files of agents are called, with anything behind it.
const NAME: &str = "migrate-agent";
/// What a program begins with.
const MAGIC: &[u8; 4] = b"\x7fELF";
/// A larger file is none.
const LARGEST: u64 = 512 << 20;

/// One program for one kind of machine.
#[derive(Debug, Clone)]
pub struct AgentProgram {
    /// The kind of machine, as `uname -m` says it.
    pub machine: &'static str,
    /// Whether it needs a loader and libraries of the host: then old hosts cannot run it.
    pub needs_libraries: bool,
    /// SHA-256, hex.
    pub hash: String,
    /// The program.
    pub bytes: Bytes,
}

/// Where a program is.
#[derive(Debug, Clone)]
enum Origin {
    Carried(&'static [u8]),
    File(PathBuf),
}

/// The programs there are, read when the first of them is needed. Clones share them.
#[derive(Debug, Clone)]
pub struct Agents {
    places: Arc<Vec<Origin>>,
    loaded: Arc<OnceCell<Vec<AgentProgram>>>,
}

impl Agents {
    /// Those that this program carries; without one for its own kind of machine, `itself` too.
    pub fn of_this_program(itself: PathBuf) -> Self {
        Self::new(carried(itself))
    }

    /// Those of a directory, and for other kinds of machines those of [`Agents::of_this_program`].
    pub fn of_directory(dir: &Path, itself: PathBuf) -> std::io::Result<Self> {
        let mut places = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            // Sums, notes and signatures may lie beside them.
            if entry.file_name().as_encoded_bytes().starts_with(NAME.as_bytes()) && is_program(&entry.path())? {
                places.push(Origin::File(entry.path()));
            }
        }
        if places.is_empty() {
            return Err(std::io::Error::other(format!("it holds no program whose name begins with `{NAME}`")));
        }
        places.extend(carried(itself));
        Ok(Self::new(places))
    }

    /// One file.
    pub fn of_file(program: PathBuf) -> Self {
        Self::new(vec![Origin::File(program)])
    }

    fn new(places: Vec<Origin>) -> Self {
        Self { places: Arc::new(places), loaded: Arc::default() }
    }

    /// All of them; the first one of a kind of machine counts. An error names the file.
    pub async fn load(&self) -> Result<&[AgentProgram], String> {
        let load = || async {
            let mut found: Vec<AgentProgram> = Vec::new();
            for place in self.places.iter() {
                let program = place.read().await?;
                if found.iter().all(|other| other.machine != program.machine) {
                    found.push(program);
                }
            }
            Ok(found)
        };
        self.loaded.get_or_try_init(load).await.map(Vec::as_slice)
    }
}

fn carried(itself: PathBuf) -> Vec<Origin> {
    let own = carried::AGENTS.iter().any(|bytes| elf(bytes).is_some_and(|elf| elf.machine == std::env::consts::ARCH));
    let itself = (!own).then_some(Origin::File(itself));
    carried::AGENTS.iter().map(|bytes| Origin::Carried(bytes)).chain(itself).collect()
}

impl Origin {
    async fn read(&self) -> Result<AgentProgram, String> {
        let (name, bytes) = match self {
            Self::Carried(bytes) => ("an agent in this program".to_owned(), Bytes::from_static(bytes)),
            Self::File(path) => {
                let name = text::escape(path.as_os_str().as_encoded_bytes(), 200);
                let read = read(path).await.map_err(|e| format!("cannot read the agent {name}: {e}"))?;
                (name, read)
            }
        };
        let Some(Elf { machine, needs_libraries }) = elf(&bytes) else {
            return Err(format!("{name} is no program for a 64-bit Linux that could be an agent"));
        };
        let hash = text::hex(&Sha256::digest(&bytes));
        Ok(AgentProgram { machine, needs_libraries, hash, bytes })
    }
}

fn is_program(path: &Path) -> std::io::Result<bool> {
    let mut begin = [0; MAGIC.len()];
    let read = std::io::Read::read(&mut std::fs::File::open(path)?, &mut begin);
    Ok(read.is_ok() && begin == *MAGIC)
}

async fn read(path: &Path) -> std::io::Result<Bytes> {
    if tokio::fs::metadata(path).await?.len() > LARGEST {
        return Err(std::io::Error::other("it is far too large"));
    }
    tokio::fs::read(path).await.map(Bytes::from)
}

/// What the header of a program says.
struct Elf {
    machine: &'static str,
    needs_libraries: bool,
}

/// Reads the header of a 64-bit little-endian ELF program.
fn elf(bytes: &[u8]) -> Option<Elf> {
    const INTERPRETER: u32 = 3;
    let number = |at: usize, length: usize| -> Option<u64> {
        let part = bytes.get(at..at.checked_add(length)?)?;
        Some(part.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    if !bytes.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let machine = match number(18, 2)? {
        62 => "x86_64",
        183 => "aarch64",
        243 => "riscv64",
        21 => "ppc64le",
        _ => return None,
    };
    let (headers, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    let mut needs_libraries = false;
    for n in 0..count {
        let at = headers.checked_add(n.checked_mul(size)?)?;
        needs_libraries |= number(usize::try_from(at).ok()?, 4)? == u64::from(INTERPRETER);
    }
    Some(Elf { machine, needs_libraries })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_is_one_for_this_machine() {
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let found = elf(&bytes).unwrap();
        assert_eq!(
            (found.machine, found.needs_libraries),
            (std::env::consts::ARCH, cfg!(not(target_feature = "crt-static")))
        );
        for cut in [0, 5, 20, 60, 100] {
            assert!(elf(&bytes[..cut]).is_none(), "{cut}");
        }
        assert!(elf(b"#!/bin/sh\necho no program\n").is_none());
    }

    #[tokio::test]
    async fn the_first_program_of_a_kind_of_machine_counts() {
        let dir = tempfile::tempdir().unwrap();
        let this = std::env::current_exe().unwrap();
        let refused = Agents::of_directory(dir.path(), this.clone()).unwrap_err();
        assert!(refused.to_string().contains("migrate-agent"), "{refused}");
        let mut other = std::fs::read(&this).unwrap();
        other.push(0);
        std::fs::write(dir.path().join("migrate-agent-x"), &other).unwrap();
        let agents = Agents::of_directory(dir.path(), this).unwrap();
        let loaded = agents.load().await.unwrap();
        assert_eq!(loaded.iter().filter(|a| a.machine == std::env::consts::ARCH).count(), 1);
        assert_eq!(loaded[0].bytes.len(), other.len());
        std::fs::write(dir.path().join("migrate-agent-x"), b"\x7fELF\x01").unwrap();
        std::fs::write(dir.path().join("migrate-agent-x.sha256"), "00").unwrap();
        let bad = Agents::of_directory(dir.path(), std::env::current_exe().unwrap()).unwrap();
        assert!(bad.load().await.unwrap_err().contains("migrate-agent-x is no program"));
    }
}
