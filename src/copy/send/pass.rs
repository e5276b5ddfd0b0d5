//! One pass: look, send, link, delete, settle directories, make it durable, remember.
//!
//! Owns the order of these. Must never delete before everything else has arrived, and never remember before the target's
//! disk has it.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::by_content::by_content;
use super::feed::Feed;
use super::files::{Read, Reader};
use super::guard;
use super::identity::new_generation;
use super::known::{self, Known};
use super::ledger::{Item, Ledger, Sent};
use super::link::Link;
use super::look::Seen;
use super::makes::Makes;
use super::outcome::{Outcomes, Result as Outcome};
use super::owners;
use super::source::{Act, Found, Source, allocated};
use crate::copy::blocks::Store;
use crate::copy::failure::{Failure, Side, show};
use crate::copy::manifest::{Header, Manifest};
use crate::copy::message::{Begin, Make, Node, Order, Orders, Ready, Report};
use crate::copy::path;
use crate::copy::wire::VERSION;
use crate::copy::{Looked, PassReport};
use crate::text;

/// Entries in one request of those without content.
pub(super) const PER_ORDER: usize = 256;

/// Everything that a pass works with.
pub struct Pass<'a> {
    /// What to do.
    pub orders: &'a Orders,
    /// The stream.
    pub link: &'a Link,
    /// Requests under way.
    pub ledger: &'a Ledger,
}

/// What is known once both sides were looked at.
pub(super) struct View<'a> {
    store: &'a Store,
    pub source: &'a Source,
    pub known: &'a Known,
    pub found: &'a Found,
    pub outcomes: &'a Outcomes,
    pub ready: &'a Ready,
}

impl Pass<'_> {
    /// Does it.
    pub fn run(&self, seen: Seen) -> Result<PassReport, Failure> {
        let Seen { start, work, rules, source, volume, known, found, generation, watch, mut looked } = seen;
        let next = new_generation()?;
        let exclude = self.orders.rules.exclude.clone();
        let ready = self.link.begin(Begin { version: VERSION, generation, next, exclude, read_only: false })?;
        let sends = found.as_ref().filter(|_| ready.trusted).map(|found| (found, &known));
        let nameless = owners::agree(self.orders, &source.carried(), sends, self.link)?;
        let (known, found) = match found {
            Some(found) if ready.trusted => (known, found),
            found => {
                if found.is_some() {
                    looked = Looked::Swept { why: "the target is not as it was left".to_owned() };
                }
                let known = match known {
                    Known::Watched(_) => {
                        let manifest = Manifest::load(&work.join("manifest"), &rules);
                        Known::Manifest(manifest.map_err(|e| cannot_remember(&work, &e))?)
                    }
                    known => known,
                };
                let known = known::ask(self.link, &known, ready.privileged)?;
                let known = by_content(self.orders, &source, &work, self.link, known, &ready)?;
                self.ledger.restart();
                let found = source.scan(&known, self.ledger)?;
                (known, found)
            }
        };
        guard::nothing_unmounted(self.orders, &known, &found)?;
        let outcomes = Outcomes::default();
        let store = Store::of_job(&work);
        let view =
            View { store: &store, source: &source, known: &known, found: &found, outcomes: &outcomes, ready: &ready };
        let mut state = generation;
        // A record of another filesystem would be asked about again.
        if self.plan(&view)? || volume.moved {
            let deleted = self.bring_up(&view)?;
            let exact = self.ledger.failures().1 == 0;
            self.finish(exact)?;
            state = exact.then_some(next);
            let header = Header { rules, generation: state, size: found.size, volume: Some(volume.now) };
            let outcome = Outcome { source: &source, found: &found, known: &known, outcomes: &outcomes, deleted };
            outcome.save(&work.join("manifest"), header, &store).map_err(|e| cannot_remember(&work, &e))?;
        }
        let complete = self.ledger.failures().1 == 0 && !outcomes.has_postponed();
        if let (Some(watch), Some(state)) = (watch, state.filter(|_| complete)) {
            watch.done(rules, state);
        }
        Ok(PassReport { nameless, ..self.report(&found, start, looked)? })
    }

    /// Counts what is to be sent and checks that the target has room; whether there is anything to do.
    fn plan(&self, view: &View<'_>) -> Result<bool, Failure> {
        let (mut any, mut files, mut bytes, mut room, mut inodes) = (!view.ready.trusted, 0, 0, 0, 0);
        for (nth, dir) in (0..).zip(&view.found.dirs) {
            for (act, old) in view.found.acts(nth, view.known) {
                any |= act != Act::Nothing && (self.orders.rules.delete || !matches!(act, Act::Remove(_)));
                inodes += u64::from(old.is_none());
                if let Act::Send(entry) = act {
                    files += 1;
                    bytes += entry.size;
                    let there = old.map_or(0, |old| old.size);
                    room += allocated(view.source, &dir.path, &entry).saturating_sub(there);
                }
            }
        }
        self.ledger.files_total.store(files, Ordering::Relaxed);
        self.ledger.bytes_total.store(bytes, Ordering::Relaxed);
        let (free, free_inodes) = (view.ready.free_bytes, view.ready.free_inodes);
        if room > free || inodes > free_inodes {
            let (need, have) = match room > free {
                true => (text::bytes(room), text::bytes(free)),
                false => (text::count(inodes, "inode"), text::count(free_inodes, "inode")),
            };
            let what = format!("{} has room for {have}, but {need} would have to go there", self.orders.to);
            return Err(
                Failure::fatal(Side::Target, what).hint("free space there, then run again: nothing was sent yet")
            );
        }
        Ok(any)
    }

    /// Sends all that is missing; whether deletions were done.
    fn bring_up(&self, view: &View<'_>) -> Result<bool, Failure> {
        // What takes the place of a whole directory comes last, like the deletion that it is.
        for replaces_directories in [false, true] {
            self.send_contents(view, replaces_directories)?;
            self.ledger.settle()?;
        }
        view.outcomes.failed(&self.ledger.failures().0);
        self.make_links(view)?;
        self.ledger.settle()?;
        let (failed, failures, _) = self.ledger.failures();
        view.outcomes.failed(&failed);
        let deletes = self.orders.rules.delete && failures == 0;
        if deletes {
            self.delete(view)?;
            self.ledger.settle()?;
        }
        self.settle_directories(view)?;
        self.ledger.settle()?;
        view.outcomes.failed(&self.ledger.failures().0);
        Ok(deletes)
    }

    fn send_contents(&self, view: &View<'_>, replaces_directories: bool) -> Result<(), Failure> {
        let readers = std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 8));
        let next_file = AtomicU32::new(if replaces_directories { 1 << 31 } else { 0 });
        let reader = Reader {
            source: view.source,
            found: view.found,
            outcomes: view.outcomes,
            ledger: self.ledger,
            link: self.link,
            next_file: &next_file,
            known: view.known,
            trusted: view.ready.trusted,
            store: view.store,
        };
        let (work, queue) = std::sync::mpsc::sync_channel::<Read>(2 * readers);
        let queue = Mutex::new(Some(queue));
        std::thread::scope(|scope| {
            for _ in 0..readers {
                scope.spawn(|| read_all(&reader, &queue));
            }
            let mut feed = Feed::new(&work);
            let mut makes = Makes { pass: self, view, items: Vec::new(), sent: Sent::default() };
            for nth in 0..u32::try_from(view.found.dirs.len()).unwrap_or(u32::MAX) {
                for (act, old) in view.found.acts(nth, view.known) {
                    let replaces = old.is_some_and(|old| old.is_dir());
                    match act {
                        Act::Send(entry) if replaces == replaces_directories => feed.add(nth, &entry, old)?,
                        Act::Make(entry) if replaces == replaces_directories => makes.add(nth, &entry)?,
                        Act::Enter(entry) if !replaces_directories => makes.add(nth, &entry)?,
                        _ => {}
                    }
                }
            }
            makes.flush()?;
            feed.flush()?;
            drop(work);
            Ok(())
        })
        .map_err(|failure: Failure| self.ledger.broken().unwrap_or(failure))
    }

    /// Gives inodes with several names their other ones, now that the first is there.
    fn make_links(&self, view: &View<'_>) -> Result<(), Failure> {
        let (mut items, mut sent) = (Vec::new(), Sent::default());
        let firsts = view.found.firsts(view.known);
        for nth in 0..u32::try_from(view.found.dirs.len()).unwrap_or(u32::MAX) {
            for (act, _) in view.found.acts(nth, view.known) {
                let Act::Link(entry, first) = act else { continue };
                let Some(existing) = firsts.get(&first).cloned() else { continue };
                if view.outcomes.is_unsent(first.0, path::split(&existing).1) {
                    // It vanished meanwhile: the next pass finds another first name.
                    view.outcomes.unsent(nth, entry.name);
                    view.outcomes.postpone();
                    self.ledger.unsettled.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                items.push(Make { path: self.path(view, nth, entry.name), what: Node::Link(existing) });
                sent.items.push(Item { dir: nth, name: entry.name.to_vec() });
                if items.len() == PER_ORDER {
                    self.make(std::mem::take(&mut items), std::mem::take(&mut sent))?;
                }
            }
        }
        self.make(items, sent)
    }

    pub(super) fn make(&self, items: Vec<Make>, sent: Sent) -> Result<(), Failure> {
        if items.is_empty() {
            return Ok(());
        }
        let seq = self.ledger.register(sent);
        self.link.order(&Order::Make { seq, items }, Vec::new())
    }

    fn delete(&self, view: &View<'_>) -> Result<(), Failure> {
        let mut paths = Vec::new();
        for nth in 0..u32::try_from(view.found.dirs.len()).unwrap_or(u32::MAX) {
            for (act, _) in view.found.acts(nth, view.known) {
                if let Act::Remove(entry) = act {
                    paths.push(self.path(view, nth, entry.name));
                }
            }
        }
        for paths in paths.chunks(PER_ORDER) {
            let seq = self.ledger.register(Sent::default());
            self.link.order(&Order::Delete { seq, paths: paths.to_vec() }, Vec::new())?;
        }
        Ok(())
    }

    fn finish(&self, exact: bool) -> Result<(), Failure> {
        self.link.order(&Order::Finish { exact }, Vec::new())?;
        match self.link.report()? {
            Report::Finished => Ok(()),
            _ => Err(Failure::protocol(Side::Target, "an answer to another question")),
        }
    }

    fn report(&self, found: &Found, start: Instant, looked: Looked) -> Result<PassReport, Failure> {
        let (_, count, failures) = self.ledger.failures();
        if let Some(first) = failures.first() {
            let shown: Vec<&str> = failures.iter().take(3).map(|f| f.what.as_str()).collect();
            let more = if count > 3 { format!("; and {} more", count - 3) } else { String::new() };
            let what = format!("{} could not be copied: {}{more}", text::entries(count), shown.join("; "));
            return Err(Failure { what, fatal: true, ..first.clone() });
        }
        let (entries, bytes) = found.size;
        let (files_sent, bytes_sent) = self.ledger.sent();
        Ok(PassReport {
            entries,
            bytes,
            files_sent,
            bytes_sent,
            deleted: self.ledger.deleted(),
            unsettled: self.ledger.unsettled.load(Ordering::Relaxed),
            looked,
            millis: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
            ..PassReport::default()
        })
    }

    pub(super) fn path(&self, view: &View<'_>, dir: u32, name: &[u8]) -> Vec<u8> {
        path::join(view.found.dirs.get(dir as usize).map_or(&[], |d| &d.path), name)
    }
}

pub(super) fn cannot_remember(work: &Path, e: &std::io::Error) -> Failure {
    let place = show(work.as_os_str().as_encoded_bytes());
    Failure::fatal(Side::Source, format!("cannot keep the record of the copy in {place}: {e}"))
        .hint("free space there, or set `work_dir` of the host to a place that can be written")
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
            reader.ledger.break_off(failure);
            // The feeder must not wait for a place in a queue that nobody empties.
            queue.lock().unwrap_or_else(PoisonError::into_inner).take();
            return;
        }
    }
}
