//! What a pass would do, without doing it.
//!
//! Must never write anything: not on the target, and no record on the source.

use std::collections::BTreeMap;
use std::path::Path;

use super::ledger::Ledger;
use super::link::Link;
use super::source::baseline::{Known, Leftovers};
use super::source::changes::Act;
use super::source::mounts;
use super::source::records::{new_generation, rules};
use super::source::scan::{Found, Source};
use super::target::listing;
use super::target::owners;
use super::verify::checksum::by_content;
use crate::copy::failure::{Failure, Side, show};
use crate::copy::fs::filter::Filter;
use crate::copy::fs::path::{self, TempNames};
use crate::copy::job::Preview;
use crate::copy::manifest::delta::Delta;
use crate::copy::manifest::full::Manifest;
use crate::copy::wire::frame::VERSION;
use crate::copy::wire::request::Begin;
use crate::copy::wire::task::Orders;

/// Changes that are spelled out.
const SHOWN: usize = 1000;

/// Compares both sides as a pass does. Where there is no `target` yet, everything would be sent.
pub fn preview(orders: &Orders, target: bool, work: &Path, link: &Link, ledger: &Ledger) -> Result<Preview, Failure> {
    let filter = Filter::new(&orders.rules.exclude).map_err(|e| Failure::fatal(Side::Source, e.to_string()))?;
    let source = Source::open(&orders.from, filter, TempNames::of_job(&orders.job))?;
    let work = work.join("jobs").join(&orders.job);
    let header = Delta::current(&work.join("manifest")).ok().flatten().map(|current| current.header);
    mounts::same_volume(orders, &source, header.filter(|header| header.rules == rules(orders)).as_ref(), &work)?;
    let known = match target {
        true => ask(orders, &source, &work, link)?,
        false => Known::Target(BTreeMap::new(), Leftovers::new()),
    };
    let found = source.scan(&known, ledger)?;
    mounts::nothing_unmounted(orders, &known, &found)?;
    if let (_, 1.., failures) = ledger.failures()
        && let Some(first) = failures.first()
    {
        return Err(Failure { fatal: true, ..first.clone() });
    }
    Ok(tell(orders, &known, &found))
}

fn ask(orders: &Orders, source: &Source, work: &Path, link: &Link) -> Result<Known, Failure> {
    let manifest = match orders.checksum {
        true => Manifest::default(),
        // A record that cannot be read is none: then more is compared.
        false => Manifest::load(&work.join("manifest"), &rules(orders)).unwrap_or_default(),
    };
    let (next, exclude) = (new_generation()?, orders.rules.exclude.clone());
    let ready = link.begin(Begin { version: VERSION, generation: None, next, exclude, read_only: true })?;
    owners::agree(orders, source, None, link)?;
    let known = listing::ask(link, &Known::Manifest(manifest), ready.privileged)?;
    // What a comparison remembers it also writes down.
    let orders = Orders { fresh: true, ..orders.clone() };
    by_content(&orders, source, work, link, known, &ready)
}

fn tell(orders: &Orders, known: &Known, found: &Found) -> Preview {
    let (entries, bytes) = found.size;
    let mut preview = Preview { entries, bytes, ..Preview::default() };
    for (nth, dir) in (0..).zip(&found.dirs) {
        for (act, _) in found.acts(nth, known) {
            let Some((verb, name)) = verb(act, orders.rules.delete, &mut preview) else { continue };
            if preview.changes.len() < SHOWN {
                preview.changes.push(format!("{verb} {}", show(&path::join(&dir.path, name))));
            }
        }
    }
    preview
}

/// Counts one change; the word for it and whom it concerns.
fn verb<'a>(act: Act<'a>, delete: bool, preview: &mut Preview) -> Option<(&'static str, &'a [u8])> {
    match act {
        Act::Nothing => None,
        Act::Send(entry) => {
            preview.files_sent += 1;
            preview.bytes_sent += entry.size;
            Some(("send", entry.name))
        }
        Act::Make(entry) | Act::Enter(entry) => {
            preview.made += 1;
            Some(("make", entry.name))
        }
        Act::Link(entry, _) => {
            preview.made += 1;
            Some(("link", entry.name))
        }
        Act::Settle(entry) => {
            preview.made += 1;
            Some(("attributes", entry.name))
        }
        Act::Remove(entry) if delete => {
            preview.deleted += 1;
            Some(("remove", entry.name))
        }
        Act::Remove(_) => None,
    }
}
