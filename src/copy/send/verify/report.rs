//! Decides what the differences between both sides mean: the next pass will remove some, the others are wrong.
//!
//! Must never call an entry the same because the manifest says so: that only tells whether the source has changed since.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::compare::{Comparison, Lenience, Verdict, compare};
use crate::copy::digest::hash::HashedDir;
use crate::copy::failure::{Failure, Side, show};
use crate::copy::fs::filter::Filter;
use crate::copy::fs::listing::{Merged, merge};
use crate::copy::fs::path;
use crate::copy::fs::tree::Execution;
use crate::copy::job::{VerifyMode, VerifyReport};
use crate::copy::manifest::delta::Delta;
use crate::copy::manifest::full::Manifest;
use crate::copy::send::link::Link;
use crate::copy::send::source::records::{cannot_remember, new_generation, rules};
use crate::copy::send::source::scan::Source;
use crate::copy::send::target::owners;
use crate::copy::wire::request::Begin;
use crate::copy::wire::task::{Task, TreeTask};

/// Differences that are listed by path, at most.
const EXAMPLES: usize = 20;
/// Entries whose digests are no more than what a pass sends over the controller's own connections.
const LITTLE: u64 = 100_000;

/// Compares both trees.
pub fn verify(task: &TreeTask, when: VerifyMode, work: &Path, link: &Link) -> Result<VerifyReport, Failure> {
    let filter = Filter::new(&task.rules.exclude).map_err(|e| Failure::fatal(Side::Source, e.to_string()))?;
    let source = Source::open(task, filter, &Execution::default())?;
    let ready = link.begin(Begin::of(task, None, new_generation()?, true))?;
    owners::agree(task, &source, None, link)?;
    let found = Mutex::new(Differences::default());
    let dir = work.join("jobs").join(&task.job);
    Comparison { task, source: &source, dir: &dir, link, ready: &ready }.run(&|ours, theirs| {
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        found.add(ours, theirs, Lenience::of(task, &ready), task.rules.delete);
    })?;
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    match when {
        VerifyMode::Frozen => Ok(found.report(None)),
        VerifyMode::Ahead => {
            // Only now, so that it and the digests are not in memory at the same time.
            let sent = Manifest::load(&dir.join("manifest"), &rules(task)).map_err(|e| cannot_remember(&dir, &e))?;
            Ok(found.report(Some(&sent)))
        }
    }
}

/// Whether a comparison moves so little that a connection of its own would take longer.
pub fn is_little(task: &Task, work: &Path) -> bool {
    let Task::Verify { tree: task, .. } = task else { return false };
    let file = work.join("jobs").join(&task.job).join("manifest");
    let current = Delta::current(&file).ok().flatten();
    task.may_relay && current.is_some_and(|current| current.header.size.0 <= LITTLE)
}

/// What was found so far.
#[derive(Default)]
struct Differences {
    report: VerifyReport,
    differing: BTreeMap<Vec<u8>, Differing>,
}

/// The entries of a directory that differ, and in what.
#[derive(Default)]
struct Differing {
    listing: Vec<u8>,
    verdicts: Vec<Verdict>,
}

impl Differences {
    fn add(&mut self, ours: &HashedDir, theirs: &HashedDir, lenience: Lenience, extras_count: bool) {
        let mut differing = Differing::default();
        let report = &mut self.report;
        compare(ours, theirs, lenience, &mut |entry, verdict| {
            if entry.is_file() && verdict != Verdict::Extra {
                report.files += 1;
                report.bytes += entry.size;
            }
            match verdict {
                Verdict::Same { known, owner } => {
                    report.known += u64::from(known);
                    report.disowned += u64::from(!owner);
                }
                Verdict::Extra if !extras_count => {}
                Verdict::Differs { .. } | Verdict::Extra => {
                    entry.encode(&mut differing.listing);
                    differing.verdicts.push(verdict);
                }
            }
        });
        if !differing.verdicts.is_empty() {
            self.differing.insert(ours.path.clone(), differing);
        }
    }

    /// `sent` is what the target should have, where the source is still in use. Otherwise it should have all that the source has.
    fn report(self, sent: Option<&Manifest>) -> VerifyReport {
        let Self { mut report, differing } = self;
        for (dir, Differing { listing, verdicts }) in &differing {
            let known = sent.and_then(|sent| sent.listing(dir));
            let pairs = merge(listing, known.unwrap_or_default()).filter(|pair| !matches!(pair, Merged::Right(_)));
            for (pair, verdict) in pairs.zip(verdicts) {
                if sent.is_some() && !(known.is_some() && is_wrong(&pair, *verdict)) {
                    report.behind += 1;
                    continue;
                }
                report.different += 1;
                let (Merged::Left(entry) | Merged::Right(entry) | Merged::Both(entry, _)) = pair;
                if report.examples.len() < EXAMPLES {
                    report.examples.push(format!("{}: {}", show(&path::join(dir, entry.name)), said(*verdict)));
                }
            }
        }
        report
    }
}

/// Whether the target should have an entry as the source has it, or not at all, by what the last pass left there.
fn is_wrong(pair: &Merged<'_, '_>, verdict: Verdict) -> bool {
    match (pair, verdict) {
        // It was sent, and has not changed since.
        (Merged::Both(now, sent), Verdict::Differs { still, .. }) => still && now.is_covered_by(sent),
        // Nobody knows where it came from.
        (Merged::Left(_), Verdict::Extra) => true,
        _ => false,
    }
}

fn said(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Differs { still: false, .. } => "changed while it was read",
        Verdict::Differs { what, .. } => what,
        Verdict::Extra => "is only on the target",
        Verdict::Same { .. } => "is the same",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::fs::listing::{DIRTY, Entry, FileTime, GONE};

    fn entry(flags: u8, ctime: i64) -> Entry<'static> {
        let (mtime, ctime) = (FileTime::default(), FileTime { sec: ctime, nsec: 0 });
        Entry { name: b"x", flags, mode: 0o100_644, ino: 1, size: 3, mtime, ctime, uid: 0, gid: 0, rdev: 0 }
    }

    #[test]
    fn only_what_was_sent_and_has_not_changed_since_should_be_the_same() {
        let differs = |still| Verdict::Differs { what: "content differs", still };
        let (now, sent) = (entry(0, 7), entry(0, 7));
        assert!(is_wrong(&Merged::Both(now, sent), differs(true)));
        assert!(!is_wrong(&Merged::Both(now, sent), differs(false)), "it changed while it was read");
        assert!(!is_wrong(&Merged::Both(now, entry(0, 6)), differs(true)), "it changed since it was sent");
        assert!(!is_wrong(&Merged::Both(now, entry(DIRTY, 7)), differs(true)), "it is to be sent again anyway");
        assert!(!is_wrong(&Merged::Left(now), differs(true)), "it is new");
        assert!(is_wrong(&Merged::Left(now), Verdict::Extra), "somebody else put it there");
        assert!(!is_wrong(&Merged::Both(now, sent), Verdict::Extra), "the source has removed it since");
        assert!(!is_wrong(&Merged::Both(now, entry(GONE, 7)), Verdict::Extra), "it was not to be removed then");
    }
}
