//! What the target has, reported to the source when nobody knows it any more.

use std::os::fd::BorrowedFd;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Access, AtFlags, accessat, fstat, statat};
use rustix::io::Errno;

use super::target::Target;
use crate::copy::failure::{Failure, Side};
use crate::copy::fs::listing::split;
use crate::copy::fs::walk::{VisitedDir, Visitor, walk};
use crate::copy::wire::response::Response;

/// Sends every directory's listing, and, to `tidy` up, removes what runs of this job that were cut left behind.
pub fn list(
    target: &Target,
    tidy: bool,
    send: &(dyn Fn(Response) -> Result<(), Failure> + Sync),
) -> Result<(), Failure> {
    let lister = Lister { target, tidy, send, failure: Mutex::default() };
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 8));
    walk(&target.tree, Side::Target, threads, &lister);
    match lister.failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(failure) => Err(Failure { fatal: true, ..failure }),
        None => send(Response::ListingEnd),
    }
}

struct Lister<'a> {
    target: &'a Target,
    tidy: bool,
    send: &'a (dyn Fn(Response) -> Result<(), Failure> + Sync),
    failure: Mutex<Option<Failure>>,
}

impl Visitor for Lister<'_> {
    fn skips(&self, dir: &[u8], name: &[u8], is_dir: bool) -> bool {
        if self.target.temp.matches(name) {
            self.leftover(dir, name);
            return true;
        }
        let filter = &self.target.filter;
        !filter.is_empty() && filter.excludes(&crate::copy::fs::path::join(dir, name), is_dir)
    }

    fn visit(&self, visit: VisitedDir<'_>) {
        if !self.tidy && self.is_closed(visit.fd) {
            self.report(Response::Closed { path: visit.path.to_vec() });
        }
        for listing in split(&visit.listing) {
            self.report(Response::Listing { path: visit.path.to_vec(), listing: listing.to_vec() });
        }
    }

    fn problem(&self, failure: Failure) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
    }
}

impl Lister<'_> {
    fn report(&self, report: Response) {
        if let Err(failure) = (self.send)(report) {
            self.problem(failure);
        }
    }

    /// Whether nothing can be made in a directory: it is closed to this login, which may not change that either.
    fn is_closed(&self, dir: BorrowedFd<'_>) -> bool {
        let rights = self.target.rights;
        let write = Access::WRITE_OK | Access::EXEC_OK;
        let refused = || matches!(accessat(dir, ".", write, AtFlags::empty()), Err(Errno::ACCESS | Errno::PERM));
        let own = || fstat(dir).is_ok_and(|st| st.st_uid == rights.uid);
        !rights.privileged && refused() && !own()
    }

    /// What is left of large files may be gone on with; the rest is removed.
    fn leftover(&self, dir: &[u8], name: &[u8]) {
        if !self.tidy {
            return;
        }
        let mut bytes = 0;
        if let Ok(fd) = self.target.tree.dir(dir) {
            if self.target.temp.is_partial(name) {
                self.target.keep_leftover(dir, name);
                let blocks = statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW).map(|st| u64::try_from(st.st_blocks));
                bytes = blocks.map_or(0, |blocks| blocks.unwrap_or(0).saturating_mul(512));
            } else {
                self.target.remove_leftover(&fd, name);
            }
        }
        let (dir, name) = (dir.to_vec(), name.to_vec());
        self.report(Response::Leftover { dir, name, bytes });
    }
}
