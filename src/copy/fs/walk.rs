//! The parallel walk over a tree, and what it finds on the source compared with what was sent before.
//!
//! Owns the order of system calls per entry (one `getdents64` for many, one `stat` each). Must never follow a symlink.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, RawDir, fstat, statat};
use rustix::io::Errno;

pub use super::listing::dev_of;
use super::listing::{Entry, LEFT_OUT, MOUNT};
use super::mounts::is_made_up;
use super::path;
use super::tree::{Tree, open_dir};
use crate::copy::failure::{Failure, Side};

/// A directory that was read.
pub struct VisitedDir<'a> {
    /// Its path below the root; empty for the root.
    pub path: &'a [u8],
    /// Its descriptor.
    pub fd: BorrowedFd<'a>,
    /// The filesystem it is on.
    pub dev: u64,
    /// Its entries, encoded and sorted.
    pub listing: Vec<u8>,
}

/// Receives what a walk finds, from several threads at once.
pub trait Visitor: Sync {
    /// Whether to leave an entry out.
    fn skips(&self, dir: &[u8], name: &[u8], is_dir: bool) -> bool;
    /// A directory with all its entries. Those of its subdirectories follow.
    fn visit(&self, visit: VisitedDir<'_>);
    /// A directory or entry that could not be read.
    fn problem(&self, failure: Failure);
}

/// Walks everything below the root of `tree` with some threads.
pub fn walk(tree: &Tree, side: Side, threads: usize, visitor: &dyn Visitor) {
    walk_below(tree, side, threads, vec![Vec::new()], visitor);
}

/// Walks some directories with everything below them. None is below another.
pub fn walk_below(tree: &Tree, side: Side, threads: usize, from: Vec<Vec<u8>>, visitor: &dyn Visitor) {
    let queue = Queue::default();
    queue.push(from.into_iter().map(|path| PendingDir { parent: None, name: Vec::new(), path }).collect());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                Worker { tree, side, visitor, queue: &queue, buffer: vec![MaybeUninit::uninit(); 64 << 10] }.run()
            });
        }
    });
}

/// A directory to be read; its parent is kept open until then.
struct PendingDir {
    parent: Option<Arc<OwnedFd>>,
    name: Vec<u8>,
    path: Vec<u8>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<(Vec<PendingDir>, usize)>,
    changed: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, (Vec<PendingDir>, usize)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, tasks: Vec<PendingDir>) {
        if !tasks.is_empty() {
            self.lock().0.extend(tasks);
            self.changed.notify_all();
        }
    }

    /// The next task, deepest first so that few parents are open; `None` when all are done.
    fn pop(&self) -> Option<PendingDir> {
        let mut state = self.lock();
        loop {
            if let Some(task) = state.0.pop() {
                state.1 += 1;
                return Some(task);
            }
            if state.1 == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn done(&self) {
        let mut state = self.lock();
        state.1 -= 1;
        if state.1 == 0 {
            self.changed.notify_all();
        }
    }
}

struct Worker<'a> {
    tree: &'a Tree,
    side: Side,
    visitor: &'a dyn Visitor,
    queue: &'a Queue,
    buffer: Vec<MaybeUninit<u8>>,
}

impl Worker<'_> {
    fn run(mut self) {
        while let Some(task) = self.queue.pop() {
            match self.read(&task) {
                // It vanished, or became something else: the next pass sees what.
                Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) if !task.path.is_empty() => {}
                Ok(()) => {}
                Err(e) => self.visitor.problem(Failure::of(self.side, "read the directory", &task.path, e)),
            }
            self.queue.done();
        }
    }

    fn read(&mut self, task: &PendingDir) -> rustix::io::Result<()> {
        self.tree.before_call();
        let fd = match &task.parent {
            Some(parent) => Arc::new(open_dir(parent.as_fd(), &task.name)?),
            None => self.tree.dir(&task.path)?,
        };
        let dev = dev_of(&fstat(&fd)?);
        if task.parent.is_none() {
            rustix::fs::seek(&fd, rustix::fs::SeekFrom::Start(0))?;
        }
        let found = self.entries(task, &fd, dev)?;
        let mut subdirectories = Vec::new();
        for at in found.order.iter().filter(|at| at.is_entered) {
            let name = found.name(at);
            let path = path::join(&task.path, name);
            subdirectories.push(PendingDir { parent: Some(Arc::clone(&fd)), name: name.to_vec(), path });
        }
        // The stack is popped from its end: keep the order of names.
        subdirectories.reverse();
        let listing = found.listing();
        self.visitor.visit(VisitedDir { path: &task.path, fd: fd.as_fd(), dev, listing });
        self.queue.push(subdirectories);
        Ok(())
    }

    fn entries(&mut self, task: &PendingDir, fd: &Arc<OwnedFd>, dev: u64) -> rustix::io::Result<DirEntries> {
        let mut found = DirEntries::default();
        let mut dir = RawDir::new(fd.as_fd(), &mut self.buffer);
        while let Some(item) = dir.next() {
            let item = item?;
            let name = item.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            self.tree.before_call();
            let st = match statat(fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(st) => st,
                Err(Errno::NOENT) => continue,
                Err(e) => {
                    let path = path::join(&task.path, name.to_bytes());
                    self.visitor.problem(Failure::of(self.side, "look at", &path, e));
                    continue;
                }
            };
            let mut entry = Entry::of_stat(name.to_bytes(), &st);
            if self.visitor.skips(&task.path, entry.name, entry.is_dir()) {
                continue;
            }
            if entry.is_dir() && dev_of(&st) != dev {
                entry.flags |= mounted(self.tree, fd.as_fd(), entry.name);
            }
            found.push(&entry);
        }
        found.sort();
        Ok(found)
    }
}

/// The flags of a directory on which another filesystem is mounted.
fn mounted(tree: &Tree, parent: BorrowedFd<'_>, name: &[u8]) -> u8 {
    match tree.is_one_filesystem() {
        // It may come and go: there is nothing in it that could be lost.
        _ if is_made_up(parent, name) => LEFT_OUT,
        true => MOUNT | LEFT_OUT,
        false => MOUNT,
    }
}

/// Encoded entries in the order in which the kernel gave them, and where each is: in the order of names once they are sorted.
#[derive(Default)]
struct DirEntries {
    packed: Vec<u8>,
    order: Vec<PackedEntry>,
}

/// An encoded entry: its bytes, and its name among them.
#[derive(Clone, Copy)]
struct PackedEntry {
    begin: u32,
    end: u32,
    name: u32,
    name_len: u16,
    /// Whether what is in it belongs to the tree.
    is_entered: bool,
}

impl DirEntries {
    fn push(&mut self, entry: &Entry<'_>) {
        let is_entered = entry.is_dir() && entry.flags & LEFT_OUT == 0;
        let begin = self.packed.len();
        entry.encode(&mut self.packed);
        let name_len = entry.name.len();
        let name = begin + if name_len < 0x80 { 1 } else { 2 };
        let places = (u32::try_from(begin), u32::try_from(self.packed.len()), u32::try_from(name), name_len.try_into());
        // 4 GiB are some 80 million entries of one directory.
        if let (Ok(begin), Ok(end), Ok(name), Ok(name_len)) = places {
            self.order.push(PackedEntry { begin, end, name, name_len, is_entered });
        }
    }

    fn name(&self, at: &PackedEntry) -> &[u8] {
        self.packed.get(at.name as usize..at.name as usize + usize::from(at.name_len)).unwrap_or_default()
    }

    /// Brings them into the order of their names. A name that was removed and made again while the directory was read may have
    /// come twice: the later is the newer.
    fn sort(&mut self) {
        let mut order = std::mem::take(&mut self.order);
        order.sort_by(|a, b| self.name(b).cmp(self.name(a)).then(b.begin.cmp(&a.begin)));
        order.dedup_by(|a, b| self.name(a) == self.name(b));
        order.reverse();
        self.order = order;
    }

    fn listing(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.packed.len());
        for at in &self.order {
            out.extend_from_slice(self.packed.get(at.begin as usize..at.end as usize).unwrap_or_default());
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::fs::listing::{Entries, is_valid};
    use std::collections::BTreeMap;

    #[derive(Default)]
    struct Collect(Mutex<BTreeMap<Vec<u8>, Vec<Vec<u8>>>>);

    impl Visitor for Collect {
        fn skips(&self, _: &[u8], name: &[u8], _: bool) -> bool {
            name == b"skipped"
        }
        fn visit(&self, visit: VisitedDir<'_>) {
            assert!(is_valid(&visit.listing));
            let names = Entries(&visit.listing).map(|e| e.name.to_vec()).collect();
            assert!(self.0.lock().unwrap().insert(visit.path.to_vec(), names).is_none());
        }
        fn problem(&self, failure: Failure) {
            panic!("{failure:?}");
        }
    }

    #[test]
    fn a_name_that_came_twice_counts_once_and_as_it_was_last() {
        let mut found = DirEntries::default();
        let entry = |name: &'static [u8], ino| Entry {
            name,
            ino,
            ..Entry::of_stat(name, &fstat(rustix::stdio::stdin()).unwrap())
        };
        for (name, ino) in [(&b"b"[..], 1), (b"a", 2), (b"b", 3), (b"c", 4), (b"a", 5)] {
            found.push(&entry(name, ino));
        }
        found.sort();
        let listing = found.listing();
        assert!(is_valid(&listing));
        assert_eq!(Entries(&listing).map(|e| e.ino).collect::<Vec<_>>(), [5, 3, 4]);
    }

    #[test]
    fn every_directory_is_seen_once_and_no_symlink_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let mut expected = BTreeMap::from([(vec![], vec![])]);
        for d in 0..30 {
            let name = format!("d{d:02}");
            std::fs::create_dir_all(dir.path().join(&name).join("sub")).unwrap();
            std::fs::create_dir_all(dir.path().join(&name).join("skipped/inner")).unwrap();
            std::os::unix::fs::symlink("..", dir.path().join(&name).join("up")).unwrap();
            expected.get_mut(&b""[..]).unwrap().push(name.clone().into_bytes());
            expected.insert(name.clone().into_bytes(), vec![b"sub".to_vec(), b"up".to_vec()]);
            expected.insert(format!("{name}/sub").into_bytes(), vec![]);
        }
        let found = Collect::default();
        walk(&Tree::open(dir.path()).unwrap(), Side::Source, 4, &found);
        assert_eq!(found.0.into_inner().unwrap(), expected);
    }
}
