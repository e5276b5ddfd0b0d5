//! Removes what jobs left on a host: their manifests, their records of roots, and keys that a killed run could not take back.

use std::path::Path;

use super::authorize;
use super::failure::{Failure, Side};
use super::receive;

/// Removes all traces of `jobs` below the work directory. What is not there is no error.
pub fn clean(work: &Path, home: &Path, jobs: &[String]) -> Result<(), Failure> {
    for job in jobs {
        // A run that was killed may have left the key of its copy.
        authorize::forbid(home, job)
            .map_err(|e| Failure::fatal(Side::Target, format!("cannot change authorized_keys: {e}")))?;
        let dir = work.join("jobs").join(job);
        match std::fs::remove_dir_all(&dir) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(Failure::fatal(Side::Source, format!("cannot remove {}: {e}", dir.display()))),
        }
    }
    receive::forget_roots(work, jobs).map_err(|e| {
        Failure::fatal(Side::Target, format!("cannot remove records of copies in {}: {e}", work.display()))
    })
}
