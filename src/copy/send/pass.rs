//! One pass: opens a session, finds what changed, transfers it, makes it durable, writes the manifest.
//!
//! Owns the order of these. Must never write a manifest before the target's disk has what it says.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::ledger::Ledger;
use super::link::Link;
use super::source::actions::Action;
use super::source::baseline::Baseline;
use super::source::mounts;
use super::source::records::{cannot_remember, new_generation};
use super::source::scan::{Scan, allocated};
use super::source::survey::Survey;
use super::target::{listing, owners};
use super::transfer::context::Transfer;
use super::transfer::moved::Moves;
use super::transfer::next_manifest::NextManifest;
use super::transfer::results::EntryResults;
use super::verify::checksum::by_content;
use crate::copy::failure::{Failure, Side, show};
use crate::copy::job::{PassReport, ScanMode};
use crate::copy::manifest::blocks::Store;
use crate::copy::manifest::format::Header;
use crate::copy::manifest::full::Manifest;
use crate::copy::wire::request::{Begin, Request};
use crate::copy::wire::response::Response;
use crate::copy::wire::task::TreeTask;
use crate::text;

/// Mounted filesystems that are named.
const LEFT_OUT_SHOWN: usize = 20;

/// Everything that a pass works with.
pub struct Pass<'a> {
    /// What to do.
    pub task: &'a TreeTask,
    /// The stream.
    pub link: &'a Link,
    /// Requests under way.
    pub ledger: &'a Ledger,
}

impl Pass<'_> {
    /// Does it.
    pub fn run(&self, seen: Survey) -> Result<PassReport, Failure> {
        let Survey { start, work, rules, source, volume, known, found, generation, watch, mut looked } = seen;
        let next = new_generation()?;
        let ready = self.link.begin(Begin::of(self.task, generation, next, false))?;
        let sends = found.as_ref().filter(|_| ready.trusted).map(|found| (found, &known));
        let nameless = owners::agree(self.task, &source, sends, self.link)?;
        let (known, found) = match found {
            Some(found) if ready.trusted => (known, found),
            found => {
                if found.is_some() {
                    looked = ScanMode::Swept { why: "the target is not as it was left".to_owned() };
                }
                let known = match known {
                    Baseline::Watched(_) => {
                        let manifest = Manifest::load(&work.join("manifest"), &rules);
                        Baseline::Manifest(manifest.map_err(|e| cannot_remember(&work, &e))?)
                    }
                    known => known,
                };
                let known = listing::ask(self.task, self.link, &known, ready.privileged)?;
                let known = by_content(self.task, &source, &work, self.link, known, &ready)?;
                self.ledger.restart();
                let found = source.scan(&known, self.ledger)?;
                (known, found)
            }
        };
        mounts::nothing_unmounted(self.task, &known, &found)?;
        let outcomes = EntryResults::default();
        let store = Store::of_job(&work);
        let moves = match ready.trusted && self.task.rules.delete {
            true => Moves::find(&found, &known, &store, source.tree.large()),
            false => Moves::default(),
        };
        let transfer = Transfer {
            task: self.task,
            link: self.link,
            ledger: self.ledger,
            store: &store,
            source: &source,
            known: &known,
            found: &found,
            moves: &moves,
            outcomes: &outcomes,
            ready: &ready,
        };
        let mut state = generation;
        // A record of another filesystem would be asked about again.
        if self.plan(&transfer)? || volume.moved {
            let deleted = transfer.bring_up()?;
            let exact = self.ledger.failures().1 == 0;
            self.finish(exact)?;
            state = exact.then_some(next);
            let outcome = NextManifest {
                source: &source,
                found: &found,
                known: &known,
                moves: &moves,
                outcomes: &outcomes,
                deleted,
            };
            let (size, root) = (found.size, outcome.root());
            let header = Header { rules, generation: state, size, volume: Some(volume.now), root };
            outcome.save(&work.join("manifest"), header, &store).map_err(|e| cannot_remember(&work, &e))?;
        }
        let complete = self.ledger.failures().1 == 0 && !outcomes.has_postponed();
        if let (Some(watch), Some(state)) = (watch, state.filter(|_| complete)) {
            watch.done(rules, state);
        }
        Ok(PassReport { nameless, ..self.report(&found, start, looked)? })
    }

    /// Counts what is to be sent and checks that the target has room; whether there is anything to do.
    fn plan(&self, transfer: &Transfer<'_>) -> Result<bool, Failure> {
        let mut any = !transfer.ready.trusted || transfer.found.sets_root(transfer.known);
        let (mut files, mut bytes, mut room, mut inodes) = (0, 0, 0, 0);
        for (nth, dir) in (0..).zip(&transfer.found.dirs) {
            for (act, old) in transfer.found.actions(nth, transfer.known) {
                any |= act != Action::Nothing && (self.task.rules.delete || !matches!(act, Action::Remove(_)));
                inodes += u64::from(old.is_none());
                if let Action::Send(entry) = act {
                    files += 1;
                    bytes += entry.size;
                    let there = transfer.moves.size(nth, entry.name).or(old.map(|old| old.size)).unwrap_or(0);
                    room += allocated(transfer.source, &dir.path, &entry).saturating_sub(there);
                }
            }
        }
        self.ledger.files_total.store(files, Ordering::Relaxed);
        self.ledger.bytes_total.store(bytes, Ordering::Relaxed);
        let (free, free_inodes) = (transfer.ready.free_bytes, transfer.ready.free_inodes);
        if room > free || inodes > free_inodes {
            let (need, have) = match room > free {
                true => (text::bytes(room), text::bytes(free)),
                false => (text::count(inodes, "inode"), text::count(free_inodes, "inode")),
            };
            let what = format!("{} has room for {have}, but {need} would have to go there", self.task.to);
            return Err(
                Failure::fatal(Side::Target, what).hint("free space there, then run again: nothing was sent yet")
            );
        }
        Ok(any)
    }

    fn finish(&self, exact: bool) -> Result<(), Failure> {
        self.link.request(&Request::FinishPass { exact }, Vec::new())?;
        match self.link.response()? {
            Response::PassFinished => Ok(()),
            _ => Err(Failure::protocol(Side::Target, "an unexpected response")),
        }
    }

    fn report(&self, found: &Scan, start: Instant, looked: ScanMode) -> Result<PassReport, Failure> {
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
            left_out: found.left_out.iter().take(LEFT_OUT_SHOWN).map(|path| show(path)).collect(),
            looked,
            millis: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
            ..PassReport::default()
        })
    }
}
