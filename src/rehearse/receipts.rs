//! What simulated hosts keep of commands that must run once: the rules of the real receipts, without a shell.

use std::collections::BTreeMap;

use super::stage::Late;

/// A host's index and a key.
pub(super) type Key = (usize, String);

/// Receipts and fences of all hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Receipts {
    kept: BTreeMap<Key, Receipt>,
    fences: BTreeMap<usize, u64>,
}

/// What became of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Receipt {
    /// It ran to its end.
    Finished(i32),
    /// It began, and the host went down before its end was kept.
    Lost { step: usize },
    /// It will never start.
    Sealed,
}

impl Receipts {
    pub fn get(&self, key: &Key) -> Option<Receipt> {
        self.kept.get(key).copied()
    }

    /// Whether only a look can tell what became of a step's command.
    pub fn is_lost(&self, step: usize) -> bool {
        self.kept.values().any(|r| *r == Receipt::Lost { step })
    }

    pub fn decide(&mut self, key: Key, receipt: Receipt) {
        self.kept.entry(key).or_insert(receipt);
    }

    /// Leaves a fence on a host; the newest there.
    pub fn fence(&mut self, host: usize, fence: u64) -> u64 {
        let newest = self.fences.entry(host).or_default();
        *newest = fence.max(*newest);
        *newest
    }

    /// Whether a late command may start; decides its key.
    pub fn admits(&mut self, late: &Late) -> bool {
        let Some((key, fence)) = &late.key else { return true };
        if self.kept.contains_key(key) {
            return false;
        }
        let fenced = self.fences.get(&key.0).is_some_and(|newest| newest > fence);
        self.kept.insert(key.clone(), if fenced { Receipt::Sealed } else { Receipt::Finished(0) });
        !fenced
    }

    /// Forgets everything about a host.
    pub fn remove(&mut self, host: usize) {
        self.kept.retain(|(place, _), _| *place != host);
        self.fences.remove(&host);
    }
}
