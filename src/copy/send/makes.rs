//! Entries without content: directories, links, devices, gathered into requests.
//!
//! Must never make something out of an entry that became something else meanwhile: the next pass takes it again.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use rustix::fs::FileType;

use super::ledger::{Item, Sent};
use super::pass::{PER_ORDER, Pass, View};
use crate::copy::failure::{Failure, Side};
use crate::copy::listing::Entry;
use crate::copy::message::{Make, Node};
use crate::copy::meta::{Object, meta_of, read_xattrs};

/// Collects entries without content into requests.
pub(super) struct Makes<'a> {
    pub pass: &'a Pass<'a>,
    pub view: &'a View<'a>,
    pub items: Vec<Make>,
    pub sent: Sent,
}

impl Makes<'_> {
    pub fn add(&mut self, dir: u32, entry: &Entry<'_>) -> Result<(), Failure> {
        let path = self.pass.path(self.view, dir, entry.name);
        let what = match self.node(dir, entry) {
            Ok(Some(what)) => what,
            Ok(None) => {
                self.view.outcomes.unsent(dir, entry.name);
                self.pass.ledger.unsettled.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
            Err(e) => {
                self.view.outcomes.unsent(dir, entry.name);
                self.pass.ledger.fail(Failure::of(Side::Source, "read", &path, e));
                return Ok(());
            }
        };
        self.items.push(Make { path, what });
        self.sent.items.push(Item { dir, name: entry.name.to_vec() });
        if self.items.len() == PER_ORDER { self.flush() } else { Ok(()) }
    }

    pub fn flush(&mut self) -> Result<(), Failure> {
        self.pass.make(std::mem::take(&mut self.items), std::mem::take(&mut self.sent))
    }

    /// What to make; `None` when it is gone or became something else.
    fn node(&self, dir: u32, entry: &Entry<'_>) -> rustix::io::Result<Option<Node>> {
        use rustix::io::Errno;
        if entry.is_dir() {
            return Ok(Some(Node::Directory));
        }
        let dir_path = self.view.found.dirs.get(dir as usize).map_or(&[][..], |d| &d.path);
        let node = self.view.source.tree.dir(dir_path).and_then(|fd| {
            let xattrs = match read_xattrs(Object::Named(fd.as_fd(), entry.name)) {
                Err(Errno::NOTSUP | Errno::PERM) => Vec::new(),
                other => other?,
            };
            let meta = meta_of(entry, xattrs);
            match entry.kind() {
                FileType::Symlink => {
                    let to = rustix::fs::readlinkat(&fd, entry.name, Vec::new())?;
                    Ok(Node::Symlink(to.into_bytes(), meta))
                }
                _ => Ok(Node::Special(entry.rdev, meta)),
            }
        });
        match node {
            Ok(node) => Ok(Some(node)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::INVAL) => Ok(None),
            Err(e) => Err(e),
        }
    }
}
