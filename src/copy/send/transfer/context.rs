//! What a transfer works with, once both sides have been looked at.

use super::results::Outcomes;
use crate::copy::failure::Failure;
use crate::copy::fs::path;
use crate::copy::manifest::blocks::Store;
use crate::copy::send::ledger::{Ledger, Sent};
use crate::copy::send::link::Link;
use crate::copy::send::source::baseline::Known;
use crate::copy::send::source::scan::{Found, Source};
use crate::copy::wire::request::{Make, Order};
use crate::copy::wire::response::Ready;
use crate::copy::wire::task::Orders;

/// Entries in one request of those without content.
pub const PER_ORDER: usize = 256;

/// The link to the target, and the source compared with what the target has.
pub struct Transfer<'a> {
    /// How the job is done.
    pub orders: &'a Orders,
    /// The stream to the target.
    pub link: &'a Link,
    /// Requests under way.
    pub ledger: &'a Ledger,
    /// Hashes of the blocks of large files.
    pub store: &'a Store,
    /// The source.
    pub source: &'a Source,
    /// What the target had before.
    pub known: &'a Known,
    /// What the scan found on the source.
    pub found: &'a Found,
    /// What became of entries that did not go as the scan saw them.
    pub outcomes: &'a Outcomes,
    /// The state of the target.
    pub ready: &'a Ready,
}

impl Transfer<'_> {
    /// Asks for entries without content.
    pub fn make(&self, items: Vec<Make>, sent: Sent) -> Result<(), Failure> {
        if items.is_empty() {
            return Ok(());
        }
        let seq = self.ledger.register(sent);
        self.link.order(&Order::Make { seq, items }, Vec::new())
    }

    /// The path of an entry in the `dir`th directory of the scan.
    pub fn path(&self, dir: u32, name: &[u8]) -> Vec<u8> {
        path::join(self.found.dirs.get(dir as usize).map_or(&[], |d| &d.path), name)
    }
}
