//! What a transfer works with, once both sides have been looked at.

use super::moved::Moves;
use super::results::EntryResults;
use crate::copy::failure::Failure;
use crate::copy::fs::path;
use crate::copy::manifest::blocks::Store;
use crate::copy::send::ledger::{Ledger, Sent};
use crate::copy::send::link::Link;
use crate::copy::send::source::baseline::Baseline;
use crate::copy::send::source::scan::{Scan, Source};
use crate::copy::wire::request::{NewNode, Request};
use crate::copy::wire::response::Ready;
use crate::copy::wire::task::TreeTask;

/// Entries in one request of those without content.
pub const PER_ORDER: usize = 256;

/// The link to the target, and the source compared with what the target has.
pub struct Transfer<'a> {
    /// How the job is done.
    pub task: &'a TreeTask,
    /// The stream to the target.
    pub link: &'a Link,
    /// Requests under way.
    pub ledger: &'a Ledger,
    /// Hashes of the blocks of large files.
    pub store: &'a Store,
    /// The source.
    pub source: &'a Source,
    /// What the target had before.
    pub known: &'a Baseline,
    /// What the scan found on the source.
    pub found: &'a Scan,
    /// Large files that the target has under other names.
    pub moves: &'a Moves,
    /// What became of entries that did not go as the scan saw them.
    pub outcomes: &'a EntryResults,
    /// The state of the target.
    pub ready: &'a Ready,
}

impl Transfer<'_> {
    /// Asks for entries without content.
    pub fn make(&self, items: Vec<NewNode>, sent: Sent) -> Result<(), Failure> {
        if items.is_empty() {
            return Ok(());
        }
        let seq = self.ledger.register(sent);
        self.link.request(&Request::CreateNodes { seq, items }, Vec::new())
    }

    /// The path of an entry in the `dir`th directory of the scan.
    pub fn path(&self, dir: u32, name: &[u8]) -> Vec<u8> {
        path::join(self.found.dirs.get(dir as usize).map_or(&[], |d| &d.path), name)
    }
}
