//! Commands on hosts: those that start at once, and those that start late.

use super::*;

impl Sim {
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
            if let Some(tale) = &mut self.tale {
                tale.say(if starts { "the late command starts now" } else { "the late command is not let start" });
            }
            if starts {
                self.act(late.hook, late.undo);
            }
        }
    }

    /// A hook has its effect, or is taken back.
    pub fn act(&mut self, hook: usize, undo: bool) {
        let acted = if undo { self.model.take_back(hook) } else { self.model.run_hook(hook) };
        self.keep(acted);
    }

    /// A command will start by itself.
    pub fn start_later(&mut self, hook: usize, undo: bool, key: (Key, u64), fault: Fault) {
        let left = if fault.kills() { MUCH_LATER } else { LATE };
        self.late.push(Late { hook, undo, key, left });
    }
}
