//! The target's record of which job wrote a root last and how far it came.
//!
//! Owns the file beside the agent that says so, and the lock that keeps two jobs off the same root. As long as it names the
//! state that the source believes the target to be in, nobody needs to look at the target.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::copy::fs::file::replace;
use crate::copy::manifest::format::Generation;

/// How long an agent of a run that was cut may take to notice.
const PATIENCE: Duration = Duration::from_secs(15);

/// What the record says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    job: String,
    /// `None` while a pass is under way.
    generation: Option<Generation>,
    dev: u64,
    ino: u64,
}

/// The record of one root, locked for this process.
#[derive(Debug)]
pub struct Marker {
    file: PathBuf,
    job: String,
    id: (u64, u64),
    _lock: File,
}

impl Marker {
    /// Locks the record of `root`, whose device and inode are `id`. `Ok(None)`: another run writes there.
    pub fn lock(work: &Path, root: &Path, id: (u64, u64), job: &str) -> io::Result<Option<Self>> {
        let dir = work.join("roots");
        let key = blake3::hash(&[root.as_os_str().as_encoded_bytes(), b"\0", &machine()].concat()).to_hex();
        let start = Instant::now();
        loop {
            let lock = lock_file(&dir, &format!("{key}.lock"))?;
            match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) if is_at(&lock, &dir.join(format!("{key}.lock"))) => {
                    return Ok(Some(Self { file: dir.join(key.as_str()), job: job.to_owned(), id, _lock: lock }));
                }
                // A clean-up has removed it in between: the next one is another.
                Ok(()) | Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) if start.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(50)),
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// The state in which this job left the root, if nobody else wrote there and it was not replaced.
    pub fn generation(&self) -> Option<Generation> {
        let record: Record = postcard::from_bytes(&std::fs::read(&self.file).ok()?).ok()?;
        (record.job == self.job && (record.dev, record.ino) == self.id).then_some(record.generation)?
    }

    /// Records the state; `None` while writing. When this returns, the disk has it.
    pub fn set(&self, generation: Option<Generation>) -> io::Result<()> {
        let (dev, ino) = self.id;
        let record = Record { job: self.job.clone(), generation, dev, ino };
        let bytes = postcard::to_stdvec(&record).map_err(io::Error::other)?;
        let next = self.file.with_extension("next");
        let mut file = File::create(&next)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        replace(&next, &self.file)
    }
}

/// Opens a lock. Another host that cleans up may take the directory away until something is in it.
fn lock_file(dir: &Path, name: &str) -> io::Result<File> {
    let mut tries = 5;
    loop {
        std::fs::create_dir_all(dir)?;
        tries -= 1;
        match File::options().create(true).truncate(false).write(true).open(dir.join(name)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound && tries > 0 => {}
            opened => return opened,
        }
    }
}

/// What tells this machine from others that may have the same work directory.
fn machine() -> Vec<u8> {
    let id = std::fs::read("/etc/machine-id").unwrap_or_default();
    [id.trim_ascii(), b"\0", rustix::system::uname().nodename().to_bytes()].concat()
}

/// Removes the records of roots that these jobs wrote last, and what one that was killed has left without a record.
pub fn forget_roots(work: &Path, jobs: &[String]) -> io::Result<()> {
    let entries = match std::fs::read_dir(work.join("roots")) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    for entry in entries {
        let file = entry?.path().with_extension("");
        let record = std::fs::read(&file).ok().and_then(|bytes| postcard::from_bytes::<Record>(&bytes).ok());
        if record.is_none_or(|record| jobs.contains(&record.job)) {
            forget(&file)?;
        }
    }
    Ok(())
}

/// Removes one record, unless a job writes to its root now: that one records itself.
fn forget(file: &Path) -> io::Result<()> {
    let lock = file.with_extension("lock");
    let held = match File::options().write(true).open(&lock) {
        Ok(held) => Some(held),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(e),
    };
    if let Some(held) = &held
        && rustix::fs::flock(held, FlockOperation::NonBlockingLockExclusive).is_err()
    {
        return Ok(());
    }
    for file in [file, &file.with_extension("next"), &lock] {
        match std::fs::remove_file(file) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

/// Whether an open file is still the one that is found there.
fn is_at(file: &File, path: &Path) -> bool {
    let id = |meta: std::fs::Metadata| (meta.dev(), meta.ino());
    matches!((file.metadata().map(id), std::fs::metadata(path).map(id)), (Ok(open), Ok(there)) if open == there)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_job_that_wrote_last_is_trusted_and_only_on_the_same_directory() {
        let work = tempfile::tempdir().unwrap();
        let root = Path::new("/srv/data");
        let open = |job, id| Marker::lock(work.path(), root, id, job).unwrap().unwrap();
        let marker = open("a", (1, 2));
        assert_eq!(marker.generation(), None);
        marker.set(Some([7; 16])).unwrap();
        assert_eq!(marker.generation(), Some([7; 16]));
        drop(marker);
        assert_eq!(open("a", (1, 2)).generation(), Some([7; 16]));
        assert_eq!(open("a", (1, 3)).generation(), None, "the root was replaced");
        assert_eq!(open("b", (1, 2)).generation(), None, "another job");
        open("b", (1, 2)).set(None).unwrap();
        assert_eq!(open("a", (1, 2)).generation(), None, "another job wrote since");
    }

    #[test]
    fn nothing_stays_of_jobs_that_are_over_and_all_of_others() {
        let work = tempfile::tempdir().unwrap();
        let lock = |root: &str, job| Marker::lock(work.path(), Path::new(root), (1, 2), job).unwrap().unwrap();
        let names = || -> Vec<_> {
            let entries = std::fs::read_dir(work.path().join("roots")).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        lock("/other", "b").set(Some([1; 16])).unwrap();
        let of_others = names();
        // One was killed before its first record, one while it wrote it, one is over.
        drop(lock("/locked", "a"));
        let half = lock("/half", "a");
        std::fs::write(half.file.with_extension("next"), "1").unwrap();
        drop(half);
        lock("/done", "a").set(Some([1; 16])).unwrap();
        let under_way = lock("/under/way", "c");
        forget_roots(work.path(), &["a".to_owned()]).unwrap();
        assert_eq!(names().len(), of_others.len() + 1, "{:?}", names());
        drop(under_way);
        forget_roots(work.path(), &["a".to_owned()]).unwrap();
        assert_eq!(names(), of_others);
    }
}
