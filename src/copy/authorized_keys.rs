//! Lets the source of one copy log in to the target, for this copy only: one line in `authorized_keys`, put there and taken away.
//!
//! Owns every change to that file. Must never touch a line that is not its own, and never leave a half file.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

/// What the comment of each line of ours begins with.
const TAG: &str = "migrate-copy:";

/// Adds a line for a job, in place of those that its earlier runs left.
pub fn allow(home: &Path, job: &str, line: &str) -> io::Result<()> {
    if line.contains(['\n', '\0']) || !is_ours(line.as_bytes(), job) {
        return Err(io::Error::other("not a line of this job"));
    }
    edit(home, job, Some(line))
}

/// Removes the lines of a job.
pub fn forbid(home: &Path, job: &str) -> io::Result<()> {
    edit(home, job, None)
}

/// The comment that marks the lines of a job.
pub fn tag(job: &str) -> String {
    format!("{TAG}{job}")
}

fn is_ours(line: &[u8], job: &str) -> bool {
    line.rsplit(|b| b.is_ascii_whitespace()).find(|word| !word.is_empty()) == Some(tag(job).as_bytes())
}

fn edit(home: &Path, job: &str, add: Option<&str>) -> io::Result<()> {
    let dir = home.join(".ssh");
    if !dir.exists() {
        if add.is_none() {
            return Ok(());
        }
        fs::DirBuilder::new().create(&dir)?;
        fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    }
    // Other pairs with the same target do the same at the same time.
    let lock = File::open(&dir)?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive)?;
    let file = fs::canonicalize(dir.join("authorized_keys")).unwrap_or_else(|_| dir.join("authorized_keys"));
    let before = match fs::read(&file) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(e) => return Err(e),
    };
    // Of one that was killed before it had swapped it in.
    let _ = fs::remove_file(next(&file));
    let after = edited(&before, job, add);
    if after == before {
        return Ok(());
    }
    replace(&file, &after)
}

fn edited(before: &[u8], job: &str, add: Option<&str>) -> Vec<u8> {
    let mut after = Vec::with_capacity(before.len() + 1024);
    for line in before.split_inclusive(|b| *b == b'\n').filter(|line| !is_ours(line, job)) {
        after.extend_from_slice(line);
    }
    if let Some(line) = add {
        if !after.is_empty() && !after.ends_with(b"\n") {
            after.push(b'\n');
        }
        after.extend_from_slice(line.as_bytes());
        after.push(b'\n');
    }
    after
}

/// What `file` will be, beside it. Whoever writes it holds the lock.
fn next(file: &Path) -> PathBuf {
    file.with_extension("migrate-next")
}

/// Writes the whole file anew, with owner and mode of the old one, and swaps it in.
fn replace(file: &Path, content: &[u8]) -> io::Result<()> {
    let next = next(file);
    let mut out = File::options().write(true).create_new(true).mode(0o600).open(&next)?;
    if let Ok(old) = fs::metadata(file) {
        std::os::unix::fs::fchown(&out, Some(old.uid()), Some(old.gid()))?;
        out.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(old.mode() & 0o7777))?;
    }
    out.write_all(content)?;
    out.sync_all()?;
    crate::copy::fs::file::replace(&next, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "restrict,command=\"x y\" ssh-ed25519 AAAA migrate-copy:job";

    #[test]
    fn only_lines_of_the_same_job_are_touched() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join(".ssh/authorized_keys");
        forbid(home.path(), "job").unwrap();
        assert!(!home.path().join(".ssh").exists());
        allow(home.path(), "job", OURS).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(home.path().join(".ssh")).unwrap().mode() & 0o777, 0o700);
        let others = "# mine\nssh-rsa BBBB me@home\n\nssh-ed25519 CC migrate-copy:job-2\nssh-rsa DD ä";
        fs::write(&file, others).unwrap();
        allow(home.path(), "job", OURS).unwrap();
        allow(home.path(), "job", OURS).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), format!("{others}\n{OURS}\n"));
        forbid(home.path(), "job").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), format!("{others}\n"));
        assert_eq!(fs::read_dir(home.path().join(".ssh")).unwrap().count(), 1);
    }

    #[test]
    fn a_line_that_is_two_or_another_jobs_is_refused() {
        let home = tempfile::tempdir().unwrap();
        for bad in ["a\nb migrate-copy:job", "ssh-rsa AAAA", "ssh-rsa AAAA migrate-copy:other"] {
            assert!(allow(home.path(), "job", bad).is_err());
        }
    }

    #[test]
    fn a_symlinked_file_stays_a_symlink() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join(".ssh")).unwrap();
        fs::write(home.path().join("real"), "ssh-rsa A me\n").unwrap();
        std::os::unix::fs::symlink("../real", home.path().join(".ssh/authorized_keys")).unwrap();
        allow(home.path(), "job", OURS).unwrap();
        assert!(home.path().join(".ssh/authorized_keys").is_symlink());
        assert!(fs::read_to_string(home.path().join("real")).unwrap().ends_with("migrate-copy:job\n"));
    }
}
