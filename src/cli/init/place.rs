//! Two files that come to be together, or not at all.

use std::path::{Path, PathBuf};

use super::super::failure::advised;

/// Where files are put.
pub struct Place {
    dir: PathBuf,
    force: bool,
    /// Directories that were made, the last one first: removed where nothing has come of it.
    made: Vec<PathBuf>,
}

/// A file that is written and not yet in its place; it goes where nobody keeps it.
pub struct Prepared {
    next: PathBuf,
    path: PathBuf,
    force: bool,
}

impl Place {
    /// A directory, which is made when it is not there.
    pub fn new(dir: &Path, force: bool) -> anyhow::Result<Self> {
        if !force
            && let Some(there) = [super::PLAN, super::INVENTORY]
                .map(|name| dir.strip_prefix(".").unwrap_or(dir).join(name))
                .iter()
                .find(|p| p.exists())
        {
            let what = format!("{} is there already, and nothing was written", there.display());
            return Err(advised(what, "name another directory, or say --force to write over both files"));
        }
        // What stands here needs no way to it.
        let dir = dir.strip_prefix(".").unwrap_or(dir);
        let made =
            dir.ancestors().filter(|dir| !dir.as_os_str().is_empty() && !dir.exists()).map(Path::to_owned).collect();
        let hint = "name a directory that you may write to";
        std::fs::create_dir_all(dir).map_err(|e| advised(format!("{} cannot be made: {e}", dir.display()), hint))?;
        Ok(Self { dir: dir.to_owned(), force, made })
    }

    /// A file that is only for this command.
    pub fn scratch(&self, text: &str) -> anyhow::Result<Prepared> {
        self.file("asked", text)
    }

    /// Files beside their places.
    pub fn prepare<const N: usize>(&self, files: [(&str, &str); N]) -> anyhow::Result<[Prepared; N]> {
        let made: Vec<Prepared> =
            files.iter().map(|(name, text)| self.file(name, text)).collect::<anyhow::Result<_>>()?;
        made.try_into().map_err(|_| anyhow::anyhow!("a file is missing"))
    }

    fn file(&self, name: &str, text: &str) -> anyhow::Result<Prepared> {
        let next = self.dir.join(format!(".{name}.{}.new", std::process::id()));
        let prepared = Prepared { next, path: self.dir.join(name), force: self.force };
        std::fs::write(&prepared.next, text).map_err(|e| {
            let what = format!("{} cannot be written to: {e}", self.dir.display());
            advised(what, "name a directory that you may write to")
        })?;
        Ok(prepared)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Fails where something is in it, as it should.
        self.made.iter().for_each(|dir| drop(std::fs::remove_dir(dir)));
    }
}

impl Prepared {
    /// Where it is for now.
    pub fn at(&self) -> &Path {
        &self.next
    }

    /// What it is called for now, and what it will be called.
    pub fn names(&self) -> (String, String) {
        (self.next.display().to_string(), self.path.display().to_string())
    }

    /// A text that names it as it will be called.
    pub fn named(&self, text: &str) -> String {
        let (next, name) = self.names();
        text.replace(&next, &name)
    }

    /// Puts it in its place.
    pub fn keep(self) -> anyhow::Result<PathBuf> {
        let done = match self.force {
            true => std::fs::rename(&self.next, &self.path),
            // A file that has come meanwhile is somebody's.
            false => std::fs::hard_link(&self.next, &self.path),
        };
        let hint = "look at what is there; --force writes over it";
        done.map_err(|e| advised(format!("{} cannot be put in its place: {e}", self.path.display()), hint))?;
        Ok(self.path.clone())
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.next);
    }
}
