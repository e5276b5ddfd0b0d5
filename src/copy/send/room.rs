//! How much room on the target a pass needs, and whether it is there.

use super::source::actions::Action;
use super::source::baseline::Baseline;
use super::source::scan::{Scan, Source, allocated};
use crate::copy::wire::response::Ready;
use crate::text;

/// What a pass would do, in numbers.
#[derive(Debug, Default)]
pub struct Needs {
    /// Whether there is anything to do.
    pub any: bool,
    /// Files to be sent.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The bytes that they need beyond what is there of them.
    pub room: u64,
    /// Names that are not there.
    pub inodes: u64,
}

impl Needs {
    /// Of what was found. `moved` knows what is there under another name.
    pub fn of(
        source: &Source,
        known: &Baseline,
        found: &Scan,
        delete: bool,
        moved: impl Fn(u32, &[u8]) -> Option<u64>,
    ) -> Self {
        let mut needs = Self::default();
        for (nth, dir) in (0..).zip(&found.dirs) {
            for (act, old) in found.actions(nth, known) {
                needs.any |= act != Action::Nothing && (delete || !matches!(act, Action::Remove(_)));
                needs.inodes += u64::from(old.is_none());
                if let Action::Send(entry) = act {
                    needs.files += 1;
                    needs.bytes += entry.size;
                    let part = || known.partial(&dir.path, &source.temp.partial(entry.name));
                    let there = moved(nth, entry.name).or(old.map(|old| old.size)).or_else(part).unwrap_or(0);
                    needs.room += allocated(source, &dir.path, &entry).saturating_sub(there);
                }
            }
        }
        needs
    }

    /// What the target has too little of.
    pub fn lacks(&self, ready: &Ready) -> Option<String> {
        let (free, free_inodes) = (ready.free_bytes, ready.free_inodes);
        let (need, have) = match (self.room > free, self.inodes > free_inodes) {
            (true, _) => (text::bytes(self.room), text::bytes(free)),
            (false, true) => (text::count(self.inodes, "inode"), text::count(free_inodes, "inode")),
            (false, false) => return None,
        };
        Some(format!("has room for {have}, but {need} would have to go there"))
    }
}
