//! Entries without content: directories, links, devices, gathered into requests.
//!
//! Must never make something out of an entry that became something else meanwhile: the next pass takes it again.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use rustix::fs::FileType;

use super::context::{PER_ORDER, Transfer};
use crate::copy::failure::{Failure, Side};
use crate::copy::fs::listing::Entry;
use crate::copy::fs::metadata::{Object, meta_of, read_xattrs};
use crate::copy::send::ledger::{Item, Sent};
use crate::copy::wire::request::{NewNode, Node};

/// Collects entries without content into requests.
pub struct NodeBatcher<'a> {
    pub transfer: &'a Transfer<'a>,
    pub items: Vec<NewNode>,
    pub sent: Sent,
}

impl NodeBatcher<'_> {
    pub fn add(&mut self, dir: u32, entry: &Entry<'_>) -> Result<(), Failure> {
        let path = self.transfer.path(dir, entry.name);
        let what = match self.node(dir, entry) {
            Ok(Some(what)) => what,
            Ok(None) => {
                self.transfer.outcomes.unsent(dir, entry.name);
                self.transfer.ledger.unsettled.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
            Err(e) => {
                self.transfer.outcomes.unsent(dir, entry.name);
                self.transfer.ledger.fail(Failure::of(Side::Source, "read", &path, e));
                return Ok(());
            }
        };
        self.items.push(NewNode { path, what });
        self.sent.items.push(Item { dir, name: entry.name.to_vec() });
        if self.items.len() == PER_ORDER { self.flush() } else { Ok(()) }
    }

    pub fn flush(&mut self) -> Result<(), Failure> {
        self.transfer.make(std::mem::take(&mut self.items), std::mem::take(&mut self.sent))
    }

    /// What to make; `None` when it is gone or became something else.
    fn node(&self, dir: u32, entry: &Entry<'_>) -> rustix::io::Result<Option<Node>> {
        use rustix::io::Errno;
        if entry.is_dir() {
            return Ok(Some(Node::Directory));
        }
        let dir_path = self.transfer.found.dirs.get(dir as usize).map_or(&[][..], |d| &d.path);
        let tree = &self.transfer.source.tree;
        let node = tree.dir(dir_path).and_then(|fd| {
            tree.before_call();
            let xattrs = match read_xattrs(Object::Named(fd.as_fd(), entry.name)) {
                Err(Errno::NOTSUP | Errno::PERM) => Vec::new(),
                other => other?,
            };
            let meta = meta_of(entry, xattrs);
            match entry.kind() {
                FileType::Symlink => {
                    tree.before_call();
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
