//! What a pass would do, without doing it.
//!
//! Must never write anything: not on the target, and no record on the source.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::ledger::Ledger;
use super::link::Link;
use super::room::Needs;
use super::source::actions::Action;
use super::source::baseline::{Baseline, Leftovers};
use super::source::mounts;
use super::source::records::{new_generation, rules};
use super::source::scan::{Scan, Source};
use super::target::listing::{self, Listed};
use super::target::owners;
use super::verify::checksum::by_content;
use crate::copy::failure::{Failure, Side, show};
use crate::copy::fs::filter::Filter;
use crate::copy::fs::path;
use crate::copy::fs::tree::Execution;
use crate::copy::job::Preview;
use crate::copy::manifest::delta::Delta;
use crate::copy::manifest::full::Manifest;
use crate::copy::wire::request::Begin;
use crate::copy::wire::response::Ready;
use crate::copy::wire::task::TreeTask;

/// Changes that are spelled out.
const SHOWN: usize = 1000;

/// Compares both sides as a pass does. Where there is no `target` yet, everything would be sent.
pub fn preview(task: &TreeTask, target: bool, work: &Path, link: &Link, ledger: &Ledger) -> Result<Preview, Failure> {
    let filter = Filter::new(&task.rules.exclude).map_err(|e| Failure::fatal(Side::Source, e.to_string()))?;
    let source = Source::open(task, filter, &Execution::default())?;
    let work = work.join("jobs").join(&task.job);
    let header = Delta::current(&work.join("manifest")).ok().flatten().map(|current| current.header);
    mounts::same_volume(task, &source, header.filter(|header| header.rules == rules(task)).as_ref(), &work)?;
    let (known, asked) = match target {
        true => ask(task, &source, &work, link).map(|(known, asked)| (known, Some(asked)))?,
        false => (Baseline::Listing(BTreeMap::new(), Leftovers::new()), None),
    };
    let found = source.scan(&known, ledger)?;
    mounts::nothing_unmounted(task, &known, &found)?;
    if let (_, 1.., failures) = ledger.failures()
        && let Some(first) = failures.first()
    {
        return Err(Failure { fatal: true, ..first.clone() });
    }
    let needs = Needs::of(&source, &known, &found, task.rules.delete, |_, _| None);
    let (lacks, closed) = match asked {
        Some(Asked { ready, closed }) => (needs.lacks(&ready), closed),
        // Who asks looks at what will hold the target.
        None => (None, BTreeSet::new()),
    };
    let preview = tell(task, &known, &found, &closed);
    Ok(Preview { lacks, room: needs.room, inodes: needs.inodes, ..preview })
}

/// What the target has said of itself.
struct Asked {
    ready: Ready,
    closed: BTreeSet<Vec<u8>>,
}

fn ask(task: &TreeTask, source: &Source, work: &Path, link: &Link) -> Result<(Baseline, Asked), Failure> {
    let manifest = match task.checksum {
        true => Manifest::default(),
        // A record that cannot be read is none: then more is compared.
        false => Manifest::load(&work.join("manifest"), &rules(task)).unwrap_or_default(),
    };
    let ready = link.begin(Begin::of(task, None, new_generation()?, true))?;
    owners::agree(task, source, None, link)?;
    let Listed { known, closed, .. } = listing::ask(task, link, &Baseline::Manifest(manifest), ready.privileged)?;
    // What a comparison remembers it also writes down.
    let task = TreeTask { fresh: true, ..task.clone() };
    let known = by_content(&task, source, work, link, known, &ready)?;
    Ok((known, Asked { ready, closed }))
}

fn tell(task: &TreeTask, known: &Baseline, found: &Scan, closed: &BTreeSet<Vec<u8>>) -> Preview {
    let (entries, bytes) = found.size;
    let mut preview = Preview { entries, bytes, ..Preview::default() };
    for (nth, dir) in (0..).zip(&found.dirs) {
        let mut is_closed = closed.contains(&dir.path);
        for (act, _) in found.actions(nth, known) {
            let Some((verb, name)) = verb(act, task.rules.delete, &mut preview) else { continue };
            if std::mem::take(&mut is_closed) {
                preview.closed += 1;
                preview.closed_first.get_or_insert_with(|| show(&dir.path));
            }
            if preview.changes.len() < SHOWN {
                preview.changes.push(format!("{verb} {}", show(&path::join(&dir.path, name))));
            }
        }
    }
    preview
}

/// Counts one change; the word for it and whom it concerns.
fn verb<'a>(act: Action<'a>, delete: bool, preview: &mut Preview) -> Option<(&'static str, &'a [u8])> {
    match act {
        Action::Nothing => None,
        Action::Send(entry) => {
            preview.files_sent += 1;
            preview.bytes_sent += entry.size;
            Some(("send", entry.name))
        }
        Action::CreateNode(entry) | Action::CreateDirectory(entry) => {
            preview.made += 1;
            Some(("make", entry.name))
        }
        Action::Link(entry, _) => {
            preview.made += 1;
            Some(("link", entry.name))
        }
        Action::SetMetadata(entry) => {
            preview.made += 1;
            Some(("attributes", entry.name))
        }
        Action::Remove(entry) if delete => {
            preview.deleted += 1;
            Some(("remove", entry.name))
        }
        Action::Remove(_) => None,
    }
}
