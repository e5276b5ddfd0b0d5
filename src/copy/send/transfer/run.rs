//! Sends everything that the target lacks, in an order that never loses what it has.
//!
//! Must never delete before everything else has arrived.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use super::context::{PER_ORDER, Transfer};
use super::files::{FileBatcher, Read, Reader};
use super::nodes::NodeBatcher;
use crate::copy::failure::{Failure, Side};
use crate::copy::fs::path;
use crate::copy::send::ledger::{Item, Sent};
use crate::copy::send::source::actions::Action;
use crate::copy::wire::request::{NewNode, Node, Request};

impl Transfer<'_> {
    /// Sends all that is missing; whether deletions were done.
    pub fn bring_up(&self) -> Result<bool, Failure> {
        self.set_aside()?;
        // What takes the place of a whole directory comes last, like the deletion that it is.
        for replaces_directories in [false, true] {
            self.send_contents(replaces_directories)?;
            self.ledger.settle()?;
        }
        self.outcomes.failed(&self.ledger.failures().0);
        self.make_links()?;
        self.ledger.settle()?;
        let (failed, failures, _) = self.ledger.failures();
        self.outcomes.failed(&failed);
        let deletes = self.task.rules.delete && failures == 0;
        if deletes {
            self.delete()?;
            self.ledger.settle()?;
        }
        self.settle_directories()?;
        self.ledger.settle()?;
        self.outcomes.failed(&self.ledger.failures().0);
        Ok(deletes)
    }

    /// Has the target put large files aside that have other names now, before anything takes their old ones.
    fn set_aside(&self) -> Result<(), Failure> {
        for moves in self.moves.requests().chunks(PER_ORDER) {
            let seq = self.ledger.register(Sent::default());
            self.link.request(&Request::SetAside { seq, moves: moves.to_vec() }, Vec::new())?;
        }
        self.ledger.settle()
    }

    fn send_contents(&self, replaces_directories: bool) -> Result<(), Failure> {
        let readers = self.source.tree.threads();
        let next_file = AtomicU32::new(if replaces_directories { 1 << 31 } else { 0 });
        let reader = Reader { transfer: self, next_file: &next_file };
        if readers == 1 {
            return self.feed(replaces_directories, &|read| reader.run(read));
        }
        let (work, queue) = std::sync::mpsc::sync_channel::<Read>(2 * readers);
        let queue = Mutex::new(Some(queue));
        std::thread::scope(|scope| {
            for _ in 0..readers {
                scope.spawn(|| read_all(&reader, &queue));
            }
            let stopped = |_| Failure::lost(Side::Source, "the readers stopped");
            let fed = self.feed(replaces_directories, &|read| work.send(read).map_err(stopped));
            drop(work);
            fed
        })
        .map_err(|failure: Failure| self.ledger.broken().unwrap_or(failure))
    }

    /// Hands every file that is to be sent to `work`, and sends what has no content.
    fn feed(&self, replaces_directories: bool, work: &dyn Fn(Read) -> Result<(), Failure>) -> Result<(), Failure> {
        let mut feed = FileBatcher::new(work);
        let mut makes = NodeBatcher { transfer: self, items: Vec::new(), sent: Sent::default() };
        for nth in 0..u32::try_from(self.found.dirs.len()).unwrap_or(u32::MAX) {
            for (act, old) in self.found.actions(nth, self.known) {
                let replaces = old.is_some_and(|old| old.is_dir());
                match act {
                    Action::Send(entry) if replaces == replaces_directories => {
                        // What was put aside is no base any more for what has its name now.
                        let old = old.filter(|old| !self.moves.is_taken(&self.path(nth, old.name)));
                        feed.add(nth, &entry, old)?
                    }
                    Action::CreateNode(entry) if replaces == replaces_directories => makes.add(nth, &entry)?,
                    Action::CreateDirectory(entry) if !replaces_directories => makes.add(nth, &entry)?,
                    _ => {}
                }
            }
        }
        makes.flush()?;
        feed.flush()
    }

    /// Gives inodes with several names their other ones, now that the first is there.
    fn make_links(&self) -> Result<(), Failure> {
        let (mut items, mut sent) = (Vec::new(), Sent::default());
        let firsts = self.found.firsts(self.known);
        for nth in 0..u32::try_from(self.found.dirs.len()).unwrap_or(u32::MAX) {
            for (act, _) in self.found.actions(nth, self.known) {
                let Action::Link(entry, first) = act else { continue };
                let Some(existing) = firsts.get(&first).cloned() else { continue };
                if self.outcomes.is_unsent(first.0, path::split(&existing).1) {
                    // It vanished meanwhile: the next pass finds another first name.
                    self.outcomes.unsent(nth, entry.name);
                    self.outcomes.postpone();
                    self.ledger.unsettled.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                items.push(NewNode { path: self.path(nth, entry.name), what: Node::Link(existing) });
                sent.items.push(Item { dir: nth, name: entry.name.to_vec() });
                if items.len() == PER_ORDER {
                    self.make(std::mem::take(&mut items), std::mem::take(&mut sent))?;
                }
            }
        }
        self.make(items, sent)
    }

    fn delete(&self) -> Result<(), Failure> {
        let mut paths = Vec::new();
        for nth in 0..u32::try_from(self.found.dirs.len()).unwrap_or(u32::MAX) {
            for (act, _) in self.found.actions(nth, self.known) {
                if let Action::Remove(entry) = act {
                    paths.push(self.path(nth, entry.name));
                }
            }
        }
        for paths in paths.chunks(PER_ORDER) {
            let seq = self.ledger.register(Sent::default());
            self.link.request(&Request::Delete { seq, paths: paths.to_vec() }, Vec::new())?;
        }
        Ok(())
    }
}

/// Reads until there is no more work; the first failure ends everyone's.
fn read_all(reader: &Reader<'_>, queue: &Mutex<Option<std::sync::mpsc::Receiver<Read>>>) {
    loop {
        let next = {
            let queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.as_ref().and_then(|queue| queue.recv().ok())
        };
        let Some(read) = next else { return };
        if let Err(failure) = reader.run(read) {
            reader.transfer.ledger.break_off(failure);
            // The feeder must not wait for a place in a queue that nobody empties.
            queue.lock().unwrap_or_else(PoisonError::into_inner).take();
            return;
        }
    }
}
