//! Refuses a source that looks as if its filesystem were not mounted, instead of removing everything on the target.
//!
//! Must be asked before the target is asked to remove anything.

use std::path::Path;

use rustix::fs::{fstat, fstatvfs};

use super::actions::Action;
use super::baseline::Baseline;
use super::scan::{Scan, Source};
use crate::copy::failure::{Failure, Side, show};
use crate::copy::fs::listing::{Entry, GONE, MOUNT};
use crate::copy::fs::path;
use crate::copy::fs::walk::dev_of;
use crate::copy::manifest::format::{FilesystemId, Header};
use crate::copy::wire::task::TreeTask;

/// The filesystem of the root.
#[derive(Debug, Clone, Copy)]
pub struct Mounted {
    /// The one it is on.
    pub now: FilesystemId,
    /// Whether that is another than at the last pass, which was allowed.
    pub moved: bool,
}

/// The filesystem of the root, unless it is another than the last pass saw, who is told by `last`; `record` is where that stands.
pub fn same_volume(task: &TreeTask, source: &Source, last: Option<&Header>, record: &Path) -> Result<Mounted, Failure> {
    let broken = |e| Failure::of(Side::Source, "look at", b"", e);
    let root = source.tree.root();
    let (dev, id) = (dev_of(&fstat(root).map_err(broken)?), fstatvfs(root).map_err(broken)?.f_fsid);
    let now = FilesystemId { dev, id };
    // Where there was nothing, there is nothing to lose.
    let before = last.filter(|last| last.size.0 > 0).and_then(|last| last.volume);
    let moved = before.is_some_and(|before| !before.may_be(&now));
    if !moved || task.rules.allow_moved {
        return Ok(Mounted { now, moved });
    }
    let what = format!("{} is on another filesystem than at the last pass", show(task.from.as_bytes()));
    let hint = format!(
        "mount the one it was on; if it was moved on purpose, say `allow_moved: true` in the plan (`migrate copy --allow-moved`), or \
         remove the record of the copy on the source: {}",
        show(record.as_os_str().as_encoded_bytes())
    );
    Err(Failure::fatal(Side::Source, what).hint(hint))
}

/// Refuses a source that is empty while the target is not, and one in which filesystems were mounted that are not any more.
pub fn nothing_unmounted(task: &TreeTask, known: &Baseline, found: &Scan) -> Result<(), Failure> {
    let from = show(task.from.as_bytes());
    if found.size.0 == 0 && !known.is_empty() && task.rules.delete && !task.rules.allow_empty {
        let what = format!("{from} is empty, but the target is not: nothing was deleted there");
        let hint = "check that its filesystem is mounted; if it is meant to be empty, say `allow_empty: true` in the plan (`migrate copy \
                    --allow-empty`)";
        return Err(Failure::fatal(Side::Source, what).hint(hint));
    }
    match unmounted(known, found).filter(|_| !task.rules.allow_moved) {
        Some(path) => {
            let what = format!("in {from}, {} was another filesystem at the last pass, and is none now", show(&path));
            let hint = "mount it; if its content is to go, or to stay in this filesystem, say `allow_moved: true` in the plan (`migrate \
                        copy --allow-moved`)";
            Err(Failure::fatal(Side::Source, what).hint(hint))
        }
        None => Ok(()),
    }
}

/// A directory on which a filesystem was mounted at the last pass.
fn unmounted(known: &Baseline, found: &Scan) -> Option<Vec<u8>> {
    let is_mount = |entry: &Entry<'_>| entry.flags & MOUNT != 0 && entry.flags & GONE == 0;
    (0..).zip(&found.dirs).find_map(|(nth, dir)| {
        found.actions(nth, known).find_map(|(act, old)| {
            let gone = match act {
                Action::Nothing => false,
                Action::Send(now)
                | Action::CreateNode(now)
                | Action::CreateDirectory(now)
                | Action::SetMetadata(now)
                | Action::Link(now, _) => !is_mount(&now),
                Action::Remove(_) => true,
            };
            let old = old.filter(|old| gone && is_mount(old))?;
            Some(path::join(&dir.path, old.name))
        })
    })
}
