//! The final metadata of directories. It is sent last, because every change in a directory changes its times, and the deepest first.

use std::collections::{BTreeSet, HashMap};

use rustix::fs::fstat;
use rustix::io::Errno;

use super::context::{PER_ORDER, Transfer};
use crate::copy::failure::{Failure, Side};
use crate::copy::fs::listing::{Entries, Entry};
use crate::copy::fs::metadata::{Metadata, meta_of_open};
use crate::copy::fs::path;
use crate::copy::send::ledger::Sent;
use crate::copy::send::source::actions::Action;
use crate::copy::send::source::baseline::Baseline;
use crate::copy::wire::request::Request;

/// Directories as the scan recorded them, by path: `None` for one that its parent did not have, nothing where the parent was not
/// looked at.
type Recorded<'a> = HashMap<&'a [u8], Option<Entry<'a>>>;

impl Transfer<'_> {
    /// Sends the attributes of directories that changed, or in which something was done.
    pub fn settle_directories(&self) -> Result<(), Failure> {
        let touched = touched(self);
        let recorded = recorded(self, &touched);
        let mut dirs: Vec<(Vec<u8>, Metadata)> = Vec::new();
        for path in touched.iter().rev() {
            if let Some(meta) = self.directory_meta(path, &recorded) {
                dirs.push((path.clone(), meta));
            }
            if dirs.len() == PER_ORDER {
                self.settle(std::mem::take(&mut dirs))?;
            }
        }
        self.settle(dirs)
    }

    fn settle(&self, dirs: Vec<(Vec<u8>, Metadata)>) -> Result<(), Failure> {
        if dirs.is_empty() {
            return Ok(());
        }
        let seq = self.ledger.register(Sent::default());
        self.link.request(&Request::SetMetadata { seq, dirs }, Vec::new())
    }

    /// A directory's attributes as the scan recorded them; `None` when it is gone.
    fn directory_meta(&self, path: &[u8], recorded: &Recorded<'_>) -> Option<Metadata> {
        let fd = match self.source.tree.dir(path) {
            Ok(fd) => fd,
            Err(e) => {
                self.left_unfinished(path, recorded);
                if !matches!(e, Errno::NOENT | Errno::NOTDIR | Errno::LOOP) {
                    self.ledger.fail(Failure::of(Side::Source, "open the directory", path, e));
                }
                return None;
            }
        };
        let entry = match (path.is_empty(), recorded.get(path)) {
            (true, _) => self.found.root.get(),
            (false, Some(entry)) => *entry,
            // A watched pass does not look at every parent.
            (false, None) if matches!(self.known, Baseline::Watched(_)) => {
                fstat(&fd).ok().map(|st| Entry::of_stat(path::split(path).1, &st))
            }
            // It was not there when its parent was read.
            (false, None) => None,
        }?;
        self.source.tree.before_call();
        match meta_of_open(&fd, &entry) {
            Ok(meta) => Some(meta),
            Err(e) => {
                self.ledger.fail(Failure::of(Side::Source, "read the attributes of", path, e));
                None
            }
        }
    }

    /// A directory that was made, or changed, keeps what attributes it has on the target: the next pass takes it again.
    fn left_unfinished(&self, path: &[u8], recorded: &Recorded<'_>) {
        let at = self.found.position(path::split(path).0);
        if let (Some(at), Some(Some(entry))) = (at, recorded.get(path)) {
            self.outcomes.unfinished(at, entry);
        }
    }
}

/// The directories whose attributes are to be set.
fn touched(transfer: &Transfer<'_>) -> BTreeSet<Vec<u8>> {
    let mut touched = BTreeSet::new();
    for (nth, dir) in (0..).zip(&transfer.found.dirs) {
        for (act, _) in transfer.found.actions(nth, transfer.known) {
            if act != Action::Nothing && !touched.contains(&dir.path) {
                touched.insert(dir.path.clone());
            }
            if let Action::CreateDirectory(entry) | Action::SetMetadata(entry) = act {
                touched.insert(path::join(&dir.path, entry.name));
            }
        }
    }
    if transfer.found.sets_root(transfer.known) {
        touched.insert(Vec::new());
    }
    touched.extend(transfer.known.littered().cloned());
    touched
}

/// Looks directories up in the listings of their parents, each of which is read once.
fn recorded<'a>(transfer: &'a Transfer<'_>, paths: &'a BTreeSet<Vec<u8>>) -> Recorded<'a> {
    let mut wanted: HashMap<&[u8], HashMap<&[u8], &[u8]>> = HashMap::new();
    for path in paths {
        let (parent, name) = path::split(path);
        wanted.entry(parent).or_default().insert(name, path);
    }
    let mut recorded = Recorded::new();
    for (parent, mut names) in wanted {
        let at = transfer.found.dirs.binary_search_by(|dir| dir.path.as_slice().cmp(parent));
        let Some(parent) = at.ok().and_then(|at| transfer.found.dirs.get(at)) else { continue };
        let listing = parent.listing.as_deref().or_else(|| transfer.known.listing(&parent.path)).unwrap_or_default();
        recorded.extend(Entries(listing).filter_map(|entry| Some((names.remove(entry.name)?, Some(entry)))));
        recorded.extend(names.into_values().map(|path| (path, None)));
    }
    recorded
}
