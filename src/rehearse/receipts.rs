//! What simulated hosts keep of commands that must run once: the rules of the real receipts, without a shell, and with starts that come late.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use super::fault::{Call, Fault};
use super::replica::WayBack;
use super::simulation::{History, LATE, Late, MUCH_LATER};
use crate::event::Direction;

/// A host's index and a key.
pub(super) type Key = (usize, String);

/// Receipts and fences of all hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Receipts {
    /// With the step whose command it is about.
    kept: BTreeMap<Key, (usize, Receipt)>,
    /// A host that has one has the run's directory, too: both come and go together.
    fences: BTreeMap<usize, u64>,
}

/// What became of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Receipt {
    /// It ran to its end.
    Finished(i32),
    /// It began, and the host went down before its end was kept.
    Lost,
    /// It will never start.
    Sealed,
}

impl Receipts {
    pub fn get(&self, key: &Key) -> Option<Receipt> {
        self.kept.get(key).map(|(_, receipt)| *receipt)
    }

    /// Whether only a look can tell what became of a step's command.
    pub fn is_lost(&self, step: usize) -> bool {
        self.kept.values().any(|kept| *kept == (step, Receipt::Lost))
    }

    pub fn decide(&mut self, key: Key, step: usize, receipt: Receipt) {
        self.kept.entry(key).or_insert((step, receipt));
    }

    /// Leaves a fence on a host; the newest there.
    pub fn fence(&mut self, host: usize, fence: u64) -> u64 {
        let newest = self.fences.entry(host).or_default();
        *newest = fence.max(*newest);
        *newest
    }

    /// Whether a late command may start; decides its key.
    pub fn admits(&mut self, late: &Late) -> bool {
        let (key, fence) = &late.key;
        let Some(newest) = self.fences.get(&key.0) else { return false };
        if self.kept.contains_key(key) {
            return false;
        }
        let fenced = newest > fence;
        let receipt = if fenced { Receipt::Sealed } else { Receipt::Finished(0) };
        self.kept.insert(key.clone(), (late.hook, receipt));
        !fenced
    }

    /// Hashes what can still be asked for: the receipts of steps whose outcome is not settled.
    pub fn fingerprint(&self, open: impl Fn(usize) -> bool, to: &mut impl Hasher) {
        self.kept.iter().filter(|(_, (step, _))| open(*step)).for_each(|kept| kept.hash(to));
    }

    /// Forgets everything about a host.
    pub fn remove(&mut self, host: usize) {
        self.kept.retain(|(place, _), _| *place != host);
        self.fences.remove(&host);
    }
}

impl History {
    /// Whether a call only takes away what a run has left behind that goes back: no step has that effect, and it does no harm.
    pub(super) fn sweeps(&self, call: Call) -> bool {
        call == Call::CleanUp && self.state.as_ref().is_some_and(|s| s.direction != Direction::Forward)
    }

    /// The run has ended, and what is late comes after its end.
    pub fn start_the_rest(&mut self) {
        self.late.iter_mut().for_each(|late| late.left = 0);
        self.start_late();
        self.settle();
    }

    pub(super) fn start_late(&mut self) {
        for late in &mut self.late {
            late.left = late.left.saturating_sub(1);
        }
        while let Some(at) = self.late.iter().position(|late| late.left == 0) {
            let late = self.late.remove(at);
            let starts = self.receipts.admits(&late);
            if let Some(transcript) = &mut self.transcript {
                transcript.say(if starts {
                    "the late command starts now"
                } else {
                    "the late command is not let start"
                });
            }
            if starts {
                self.act(late.hook, late.undo, late.means);
            }
        }
    }

    /// A hook has its effect, or is taken back.
    pub fn act(&mut self, hook: usize, undo: bool, means: Option<WayBack>) {
        let acted = match means {
            Some(WayBack { pair, replica, means, ended }) => self.model.act_on_replica(pair, replica, means, ended),
            None if undo => self.model.take_back(hook),
            None => self.model.run_hook(hook),
        };
        self.keep(acted);
    }

    /// A command will start by itself.
    pub fn start_later(&mut self, hook: usize, does: (bool, Option<WayBack>), key: (Key, u64), fault: Fault) {
        let (undo, means) = does;
        let left = if fault.kills() { MUCH_LATER } else { LATE };
        self.late.push(Late { hook, undo, means, key, left });
    }
}
