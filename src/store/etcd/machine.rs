//! What stays on this machine of runs in a cluster: the receipts of commands that ran here, and the sockets of controllers.

use std::fs::DirBuilder;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::text;

/// A directory of this machine's.
#[derive(Debug, Clone)]
pub struct Machine {
    dir: PathBuf,
}

impl Machine {
    /// Touches nothing yet.
    pub fn new(state_dir: &Path) -> Self {
        let dir = state_dir.join("etcd");
        Self { dir: std::path::absolute(&dir).unwrap_or(dir) }
    }

    /// For people.
    pub fn place(&self) -> String {
        self.dir.display().to_string()
    }

    /// What tells this directory from those of other machines and users; made when it is asked for the first time.
    pub fn id(&self) -> std::io::Result<String> {
        let path = self.dir.join("id");
        match std::fs::read_to_string(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            read => return Ok(read?.trim().to_owned()),
        }
        make_directory(&self.dir)?;
        let mine = self.dir.join(format!("id.{}", random()));
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(&mine)?;
        file.write_all(format!("{}\n", random()).as_bytes())?;
        file.sync_all()?;
        // One of several that begin at the same time wins.
        let linked = std::fs::hard_link(&mine, &path);
        std::fs::remove_file(&mine)?;
        match linked {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => Err(e),
            _ => Ok(std::fs::read_to_string(&path)?.trim().to_owned()),
        }
    }

    /// What belongs to a run: by its name for people, and by what tells it from others that had the name.
    pub fn directory(&self, run: &str, id: Option<&str>) -> PathBuf {
        let id = id.map_or("unknown", |id| id.get(..8).unwrap_or(id));
        self.dir.join(format!("{run}.{id}"))
    }

    /// Makes that.
    pub fn make(&self, run: &str, id: &str) -> std::io::Result<()> {
        make_directory(&self.directory(run, Some(id)))
    }
}

fn make_directory(dir: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// A number that nobody else has.
pub fn random() -> String {
    let mut bytes = [0; 16];
    if getrandom::fill(&mut bytes).is_err() {
        // Without the kernel's numbers: no two processes of a machine have this at the same time.
        let now = jiff::Timestamp::now().as_nanosecond().to_le_bytes();
        bytes.copy_from_slice(&now);
        bytes.iter_mut().zip(std::process::id().to_le_bytes()).for_each(|(b, n)| *b ^= n.rotate_left(3));
    }
    text::hex(&bytes)
}
