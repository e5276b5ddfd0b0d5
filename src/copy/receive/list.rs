//! What the target has, reported to the source when nobody knows it any more.

use std::sync::{Mutex, PoisonError};

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
        for listing in split(&visit.listing) {
            let report = Response::Listing { path: visit.path.to_vec(), listing: listing.to_vec() };
            if let Err(failure) = (self.send)(report) {
                self.problem(failure);
            }
        }
    }

    fn problem(&self, failure: Failure) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
    }
}

impl Lister<'_> {
    /// What is left of large files may be gone on with; the rest is removed.
    fn leftover(&self, dir: &[u8], name: &[u8]) {
        if !self.tidy {
            return;
        }
        if self.target.temp.is_partial(name) {
            self.target.keep_leftover(dir, name);
        } else if let Ok(fd) = self.target.tree.dir(dir) {
            self.target.remove_leftover(&fd, name);
        }
        if let Err(failure) = (self.send)(Response::Leftover { dir: dir.to_vec(), name: name.to_vec() }) {
            self.problem(failure);
        }
    }
}
