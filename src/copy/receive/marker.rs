//! The target's record of which job wrote a root last and how far it came.
//!
//! Owns the file beside the agent that says so, and the lock that keeps two jobs off the same root. As long as it names the
//! state that the source believes the target to be in, nobody needs to look at the target.

use std::fs::File;
use std::io::{self, Write};
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
        std::fs::create_dir_all(&dir)?;
        let key = blake3::hash(root.as_os_str().as_encoded_bytes()).to_hex();
        let lock = File::options().create(true).truncate(false).write(true).open(dir.join(format!("{key}.lock")))?;
        let start = Instant::now();
        while let Err(e) = rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            match e {
                Errno::WOULDBLOCK if start.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(50)),
                Errno::WOULDBLOCK => return Ok(None),
                Errno::INTR => {}
                e => return Err(e.into()),
            }
        }
        Ok(Some(Self { file: dir.join(key.as_str()), job: job.to_owned(), id, _lock: lock }))
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

/// Removes the records of roots that these jobs wrote last.
pub fn forget_roots(work: &Path, jobs: &[String]) -> io::Result<()> {
    let entries = match std::fs::read_dir(work.join("roots")) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    for entry in entries {
        let file = entry?.path();
        let record = std::fs::read(&file).ok().and_then(|bytes| postcard::from_bytes::<Record>(&bytes).ok());
        if record.is_some_and(|record| jobs.contains(&record.job)) {
            std::fs::remove_file(&file)?;
            // Nobody holds it: the job is over.
            let _ = std::fs::remove_file(file.with_extension("lock"));
        }
    }
    Ok(())
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
}
