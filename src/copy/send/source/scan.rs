//! What is on the source: the tree, and what a scan of it finds.
//!
//! Owns reading the tree in parallel and telling which directories are as the baseline has them.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, fstat, statat};

use super::baseline::Baseline;
use crate::copy::failure::{Failure, Side};
use crate::copy::fs::filter::Filter;
use crate::copy::fs::listing::{Entries, Entry, GONE, LEFT_OUT, LINKED, Merged, OwnedEntry, merge};
use crate::copy::fs::path::{self, TempNames};
use crate::copy::fs::sync_point::SyncPoint;
use crate::copy::fs::tree::{Execution, Tree};
use crate::copy::fs::walk::{VisitedDir, Visitor, walk_below};
use crate::copy::send::ledger::Ledger;
use crate::copy::wire::task::TreeTask;

/// An open source.
pub struct Source {
    /// The tree.
    pub tree: Tree,
    /// What is not carried.
    pub filter: Filter,
    /// Names that are never sent.
    pub temp: TempNames,
    /// Entries that changed at or after this point are racy, and are taken again by the next pass.
    pub moment: SyncPoint,
}

impl Source {
    /// Opens the root. Every store into a file after that was opened, through a mapping too, moves its change time.
    pub fn open(task: &TreeTask, filter: Filter, execution: &Execution) -> Result<Self, Failure> {
        let (root, temp) = (&task.from, TempNames::of_job(&task.job));
        let tree = Tree::open(std::path::Path::new(root)).map_err(|e| {
            let failure = Failure::of(Side::Source, "open the source directory", root.as_bytes(), e);
            Failure { fatal: true, ..failure }.hint("check `from:` in the plan, and that its filesystem is mounted")
        })?;
        let tree = tree.executed(execution.clone()).bounded(task.rules.one_filesystem);
        let moment = SyncPoint::begin(&tree);
        Ok(Self { tree, filter, temp, moment })
    }

    /// Reads the whole tree and compares it with what is known.
    pub fn scan(&self, known: &Baseline, ledger: &Ledger) -> Result<Scan, Failure> {
        let st = fstat(self.tree.root()).map_err(|e| Failure::of(Side::Source, "look at", b"", e))?;
        let mut dirs = self.dirs_below(vec![Vec::new()], known, ledger);
        dirs.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let size = dirs.iter().fold((0, 0), |sum, dir| (sum.0 + dir.size.0, sum.1 + dir.size.1));
        let links = links(&dirs);
        let left_out = dirs.iter_mut().flat_map(|dir| std::mem::take(&mut dir.left_out)).collect();
        Ok(Scan { dirs, links, left_out, root: OwnedEntry::new(&Entry::of_stat(b"", &st)), size })
    }

    /// Reads some directories with everything below them.
    pub fn dirs_below(&self, from: Vec<Vec<u8>>, known: &Baseline, ledger: &Ledger) -> Vec<ScannedDir> {
        let scanner = Scanner { source: self, known, ledger, found: Mutex::default() };
        walk_below(&self.tree, Side::Source, self.tree.threads(), from, &scanner);
        scanner.found.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an entry is never sent.
    pub fn skips(&self, dir: &[u8], name: &[u8], is_dir: bool) -> bool {
        self.temp.matches(name) || !self.filter.is_empty() && self.filter.excludes(&path::join(dir, name), is_dir)
    }
}

/// A directory of the source.
pub struct ScannedDir {
    /// Its path.
    pub path: Vec<u8>,
    /// Its entries; `None` when they are the same as in the baseline.
    pub listing: Option<Vec<u8>>,
    /// How many entries it has, and the bytes of its regular files.
    pub size: (u64, u64),
    links: Vec<Link>,
    /// Paths in it on which filesystems are mounted that are not carried.
    left_out: Vec<Vec<u8>>,
}

impl ScannedDir {
    /// A directory whose hard links have not changed.
    pub fn new(path: Vec<u8>, listing: Vec<u8>, known: &[u8]) -> Self {
        let size = size_of(&listing);
        let listing = (!is_same(&listing, known)).then_some(listing);
        Self { path, listing, size, links: Vec::new(), left_out: Vec::new() }
    }

    /// Whether it contains hard links.
    pub fn is_linked(&self) -> bool {
        !self.links.is_empty()
    }
}

/// How many entries a listing has, and the bytes of its regular files.
pub fn size_of(listing: &[u8]) -> (u64, u64) {
    let there = Entries(listing).filter(|entry| entry.flags & GONE == 0);
    there.fold((0, 0), |sum, entry| (sum.0 + 1, sum.1 + entry.size))
}

/// All directories of the source.
pub struct Scan {
    /// In the order of their paths.
    pub dirs: Vec<ScannedDir>,
    /// For every further hard link: where the first name of its inode is, as directory and position.
    pub links: HashMap<(u32, u32), (u32, u32)>,
    /// Directories on which filesystems are mounted that are not carried, in the order of their paths.
    pub left_out: BTreeSet<Vec<u8>>,
    /// The root's own entry.
    pub root: OwnedEntry,
    /// Entries below the root, and the bytes of the regular files.
    pub size: (u64, u64),
}

impl Scan {
    /// Whether a path is where a filesystem is mounted that is not carried, or below that.
    pub fn is_left_out(&self, path: &[u8]) -> bool {
        path::is_below(path, &self.left_out)
    }
}

struct Scanner<'a> {
    source: &'a Source,
    known: &'a Baseline,
    ledger: &'a Ledger,
    found: Mutex<Vec<ScannedDir>>,
}

impl Visitor for Scanner<'_> {
    fn skips(&self, dir: &[u8], name: &[u8], is_dir: bool) -> bool {
        self.source.skips(dir, name, is_dir)
    }

    fn visit(&self, visit: VisitedDir<'_>) {
        let mut size = (0, 0);
        let mut linked = false;
        let mut left_out = Vec::new();
        for entry in Entries(&visit.listing) {
            if entry.flags & LEFT_OUT != 0 {
                left_out.push(path::join(visit.path, entry.name));
            }
            size = (size.0 + 1, size.1 + entry.size);
            linked |= entry.flags & LINKED != 0;
        }
        self.ledger.scanned.fetch_add(size.0, Ordering::Relaxed);
        let known = self.known.listing(visit.path);
        let links = if linked { links_of(&visit, known.unwrap_or_default()) } else { Vec::new() };
        let same = known.is_some_and(|known| is_same(&visit.listing, known));
        let listing = (linked || !same).then_some(visit.listing);
        lock(&self.found).push(ScannedDir { path: visit.path.to_vec(), listing, size, links, left_out });
    }

    fn problem(&self, failure: Failure) {
        self.ledger.fail(failure);
    }
}

/// Whether a directory's entries are exactly those of the baseline.
fn is_same(listing: &[u8], known: &[u8]) -> bool {
    listing == known
        || merge(listing, known).all(|pair| matches!(pair, Merged::Both(now, then) if now.is_covered_by(&then)))
}

/// One of several names of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Link {
    dev: u64,
    ino: u64,
    /// Index of the directory.
    dir: u32,
    /// Position in its listing.
    nth: u32,
    /// Whether the target has it under this name.
    covered: bool,
}

fn links_of(visit: &VisitedDir<'_>, known: &[u8]) -> Vec<Link> {
    let mut links = Vec::new();
    let pairs = merge(&visit.listing, known).filter(|pair| !matches!(pair, Merged::Right(_)));
    for (nth, pair) in (0..).zip(pairs) {
        let (now, covered) = match pair {
            Merged::Both(now, then) => (now, now.is_covered_by(&then)),
            Merged::Left(now) | Merged::Right(now) => (now, false),
        };
        if now.flags & LINKED != 0 {
            links.push(Link { dev: visit.dev, ino: now.ino, dir: 0, nth, covered });
        }
    }
    links
}

/// Maps further names of an inode to its first, for inodes of which the target lacks a name.
fn links(dirs: &[ScannedDir]) -> HashMap<(u32, u32), (u32, u32)> {
    let numbered = (0..).zip(dirs).flat_map(|(dir, found)| found.links.iter().map(move |link| Link { dir, ..*link }));
    let mut all: Vec<Link> = numbered.collect();
    all.sort_unstable();
    let mut first_of = HashMap::new();
    for names in all.chunk_by(|a, b| (a.dev, a.ino) == (b.dev, b.ino)) {
        let Some((first, others)) = names.split_first() else { continue };
        if names.iter().any(|link| !link.covered) {
            first_of.extend(others.iter().map(|link| ((link.dir, link.nth), (first.dir, first.nth))));
        }
    }
    first_of
}

/// Bytes that a file takes on disk. A sparse file takes less than its length.
pub fn allocated(source: &Source, dir: &[u8], entry: &Entry<'_>) -> u64 {
    const WORTH_ASKING: u64 = 1 << 20;
    if entry.size < WORTH_ASKING {
        return entry.size;
    }
    let st = source.tree.dir(dir).and_then(|fd| statat(fd.as_fd(), entry.name, AtFlags::SYMLINK_NOFOLLOW));
    st.map_or(entry.size, |st| entry.size.min(u64::try_from(st.st_blocks).unwrap_or(0) * 512))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
