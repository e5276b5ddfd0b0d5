//! Tells the target what the owners on the source are called.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};

use rustix::fs::FileType;

use crate::copy::failure::{Failure, Side};
use crate::copy::fs::acl;
use crate::copy::fs::acl::IdKind;
use crate::copy::fs::listing::{Entries, Entry};
use crate::copy::fs::metadata::{Object, read_xattr};
use crate::copy::fs::tree::Tree;
use crate::copy::fs::walk::{VisitedDir, Visitor, walk};
use crate::copy::owners::names;
use crate::copy::send::link::Link;
use crate::copy::send::source::actions::Action;
use crate::copy::send::source::baseline::Baseline;
use crate::copy::send::source::scan::{Scan, Source};
use crate::copy::wire::request::Request;
use crate::copy::wire::response::Response;
use crate::copy::wire::task::TreeTask;
use crate::model::Owners;

/// Agrees with the target about owners by name, if they are to go by it; how many users and groups keep their number all the same.
/// `found` is what will be sent, where that is known already.
pub fn agree(task: &TreeTask, source: &Source, found: Option<(&Scan, &Baseline)>, link: &Link) -> Result<u64, Failure> {
    if task.rules.owners != Owners::Names {
        return Ok(0);
    }
    let ids = match found {
        Some((found, known)) => of_found(found, known, &source.tree),
        // The target's listing is in the source's terms, so that they are needed before anything is compared.
        None => of_tree(source),
    };
    let (users, groups) = (names(IdKind::Passwd, &ids.users), names(IdKind::Group, &ids.groups));
    let nameless = (ids.users.len() - users.len()) + (ids.groups.len() - groups.len());
    link.request(&Request::Owners { users, groups }, Vec::new())?;
    match link.response()? {
        Response::Owners { unknown } => Ok(unknown + nameless as u64),
        _ => Err(Failure::protocol(Side::Target, "an unexpected response")),
    }
}

#[derive(Default)]
struct Ids {
    users: BTreeSet<u32>,
    groups: BTreeSet<u32>,
}

impl Ids {
    fn add(&mut self, entry: &Entry<'_>) {
        self.users.insert(entry.uid);
        self.groups.insert(entry.gid);
    }

    /// Who is in its ACLs. One that cannot be read fails when the entry is sent.
    fn add_acls(&mut self, object: Object<'_>, kind: FileType) {
        let keys = match kind {
            FileType::Symlink => &[][..],
            FileType::Directory => &acl::KEYS,
            // Only directories have a default one.
            _ => &acl::KEYS[..1],
        };
        for value in keys.iter().filter_map(|key| read_xattr(object, key).ok().flatten()) {
            for (kind, id) in acl::owners(&value) {
                match kind {
                    IdKind::Passwd => self.users.insert(id),
                    IdKind::Group => self.groups.insert(id),
                };
            }
        }
    }

    /// The same for an open directory.
    fn add_dir(&mut self, dir: BorrowedFd<'_>) {
        if let Ok(st) = rustix::fs::fstat(dir) {
            self.add(&Entry::of_stat(b"", &st));
        }
        self.add_acls(Object::Open(dir), FileType::Directory);
    }
}

fn of_found(found: &Scan, known: &Baseline, tree: &Tree) -> Ids {
    let mut ids = Ids::default();
    if let Some(root) = found.root.get() {
        ids.add(&root);
        ids.add_acls(Object::Open(tree.root().as_fd()), root.kind());
    }
    for (nth, dir) in (0..).zip(&found.dirs) {
        let Some(listing) = dir.listing.as_deref() else { continue };
        Entries(listing).for_each(|entry| ids.add(&entry));
        let Ok(fd) = tree.dir(&dir.path) else { continue };
        // It gets its attributes again, and its parent may be none of these.
        ids.add_dir(fd.as_fd());
        for (act, _) in found.actions(nth, known) {
            if let Action::Send(entry)
            | Action::CreateNode(entry)
            | Action::CreateDirectory(entry)
            | Action::SetMetadata(entry) = act
            {
                ids.add_acls(Object::Named(fd.as_fd(), entry.name), entry.kind());
            }
        }
    }
    ids
}

fn of_tree(source: &Source) -> Ids {
    let collector = Collector { source, ids: Mutex::default() };
    collector.lock().add_dir(source.tree.root().as_fd());
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 8));
    walk(&source.tree, Side::Source, threads, &collector);
    collector.ids.into_inner().unwrap_or_else(PoisonError::into_inner)
}

struct Collector<'a> {
    source: &'a Source,
    ids: Mutex<Ids>,
}

impl Collector<'_> {
    fn lock(&self) -> std::sync::MutexGuard<'_, Ids> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Visitor for Collector<'_> {
    fn skips(&self, dir: &[u8], name: &[u8], is_dir: bool) -> bool {
        self.source.skips(dir, name, is_dir)
    }

    fn visit(&self, visit: VisitedDir<'_>) {
        let mut ids = Ids::default();
        for entry in Entries(&visit.listing) {
            ids.add(&entry);
            ids.add_acls(Object::Named(visit.fd, entry.name), entry.kind());
        }
        let mut all = self.lock();
        all.users.extend(ids.users);
        all.groups.extend(ids.groups);
    }

    /// The scan that follows comes to it, too.
    fn problem(&self, _: Failure) {}
}
