//! One pass: opens a session, finds what changed, transfers it, makes it durable, writes the manifest.
//!
//! Owns the order of these. Must never write a manifest before the target's disk has what it says.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::ledger::Ledger;
use super::link::Link;
use super::room::Needs;
use super::source::baseline::Baseline;
use super::source::mounts;
use super::source::records::{cannot_remember, new_generation};
use super::source::scan::Scan;
use super::source::survey::Survey;
use super::target::listing::{self, Listed};
use super::target::owners;
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
use crate::copy::wire::response::{Ready, Response};
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

fn whole_record(work: &Path, rules: &[u8; 32]) -> Result<Baseline, Failure> {
    let manifest = Manifest::load(&work.join("manifest"), rules);
    manifest.map(Baseline::Manifest).map_err(|e| cannot_remember(work, &e))
}

impl Pass<'_> {
    /// Does it.
    pub fn run(&self, seen: Survey) -> Result<PassReport, Failure> {
        let Survey { start, work, rules, source, volume, known, found, generation, watch, mut looked } = seen;
        let next = new_generation()?;
        let mut ready = self.link.begin(Begin::of(self.task, generation, next, false))?;
        let believed = ready.trusted && !self.task.listed;
        let sends = found.as_ref().filter(|_| believed).map(|found| (found, &known));
        let nameless = owners::agree(self.task, &source, sends, self.link)?;
        let listed = match ready.trusted && self.task.listed {
            true => self.changed_behind(&work, &rules, &mut ready)?,
            false => None,
        };
        let (known, found) = match found {
            Some(found) if ready.trusted => (known, found),
            found => {
                if found.is_some() {
                    looked = ScanMode::Swept { why: "the target is not as it was left".to_owned() };
                }
                let known = match (listed, known) {
                    (Some(known), _) => known,
                    (None, Baseline::Watched(_)) => self.listed(&whole_record(&work, &rules)?, &ready)?.known,
                    (None, known) => self.listed(&known, &ready)?.known,
                };
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

    /// Looks at the target behind the record's back. Where it is not as it was left nobody knows it any more; then what it has.
    fn changed_behind(&self, work: &Path, rules: &[u8; 32], ready: &mut Ready) -> Result<Option<Baseline>, Failure> {
        let listed = self.listed(&whole_record(work, rules)?, ready)?;
        if listed.as_left {
            return Ok(None);
        }
        self.link.request(&Request::Distrust, Vec::new())?;
        ready.trusted = false;
        Ok(Some(listed.known))
    }

    fn listed(&self, record: &Baseline, ready: &Ready) -> Result<Listed, Failure> {
        listing::ask(self.task, self.link, record, ready.privileged)
    }

    /// Counts what is to be sent and checks that the target has room; whether there is anything to do.
    fn plan(&self, transfer: &Transfer<'_>) -> Result<bool, Failure> {
        let Transfer { source, known, found, moves, ready, .. } = *transfer;
        let needs = Needs::of(source, known, found, self.task.rules.delete, |nth, name| moves.size(nth, name));
        self.ledger.files_total.store(needs.files, Ordering::Relaxed);
        self.ledger.bytes_total.store(needs.bytes, Ordering::Relaxed);
        if let Some(lacks) = needs.lacks(ready) {
            let failure = Failure::fatal(Side::Target, format!("{} {lacks}", self.task.to));
            return Err(failure.hint("free space there, then run again: nothing was sent yet"));
        }
        Ok(needs.any || !ready.trusted || found.sets_root(known))
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
