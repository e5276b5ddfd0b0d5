//! Copies whose limit falls and rises by what Prometheus says: how fast each may go, over all its passes.
//!
//! Must never let a copy go on while a number is not known.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::super::governor::{Governor, Sign};
use super::Context;
use crate::event::{Event, Notice, RunState, StepState};
use crate::model::Paced;
use crate::step::Step;

/// How often a limit is recorded at most.
const RECORDED: Duration = Duration::from_secs(60);

/// The limits of all copies that are governed, by job.
#[derive(Default)]
pub struct Governed {
    copies: Mutex<BTreeMap<String, Copy>>,
    /// What an earlier controller had come to.
    before: BTreeMap<String, u64>,
}

/// The limit of one copy.
struct Copy {
    governor: Governor,
    recorded: Option<(Duration, Paced)>,
}

impl Governed {
    /// This controller has copied nothing yet; what an earlier one did is in the journal.
    pub fn new(state: &RunState) -> Self {
        let mut before = BTreeMap::new();
        for (id, pace) in &state.paced {
            let open = matches!(state.state_of(id), Some(StepState::Running | StepState::Undoing));
            if let Some(job) = state.graph.step(id).filter(|_| open).and_then(|step| step.kind.carries()) {
                before.insert(job.to_owned(), pace.aims);
            }
        }
        Self { copies: Mutex::default(), before }
    }

    /// What was said of a copy last; before anything was, it stands still.
    pub fn now(&self, job: &str, most: u64) -> Paced {
        self.with(job, most, |copy| copy.told(most))
    }

    fn with<T>(&self, job: &str, most: u64, act: impl FnOnce(&mut Copy) -> T) -> T {
        let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = || Copy { governor: Governor::new(most, self.before.get(job).copied()), recorded: None };
        act(copies.entry(job.to_owned()).or_insert_with(begin))
    }
}

impl Copy {
    fn told(&self, most: u64) -> Paced {
        let (limit, aims) = (self.governor.pace().min(most), self.governor.aims().min(most));
        Paced { limit, aims, most, held_by: self.governor.held_by().map(str::to_owned) }
    }

    /// Whether anything has changed that nobody has recorded lately, or so far that whoever takes over would begin much too fast.
    fn is_due(&mut self, told: &Paced, now: Duration) -> bool {
        let due = match &self.recorded {
            None => told.aims < told.most || told.held_by.is_some(),
            Some((at, before)) => {
                let changed = (before.limit, before.most) != (told.limit, told.most);
                changed && (now >= *at + RECORDED || told.aims <= before.aims / 2)
            }
        };
        if due {
            self.recorded = Some((now, told.clone()));
        }
        due
    }
}

/// Takes in what was measured of a copy, tells it, and records it now and then.
pub async fn decide(context: &Context, step: &Step, job: &str, signs: &[Sign], most: u64) -> Paced {
    let now = context.since_epoch();
    let (pace, record) = context.governed.with(job, most, |copy| {
        copy.governor.decide(signs.iter(), most);
        let told = copy.told(most);
        let record = copy.is_due(&told, now);
        (told, record)
    });
    let _ = context.notices.send(Notice::Paced { step: step.id.clone(), pace: pace.clone() });
    if record {
        context.report(Event::Paced { step: step.id.clone(), pace: pace.clone() }).await;
    }
    pace
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy() -> Sign {
        Sign::Busy("a latency of 9".to_owned())
    }

    #[test]
    fn it_begins_at_the_most_falls_by_half_and_rises_by_a_twentieth() {
        let governed = Governed::default();
        assert_eq!(governed.now("a", 800).limit, 0, "nothing was asked yet");
        let after = |sign: Sign, most: u64| {
            governed.with("a", most, |copy| copy.governor.decide([sign].iter(), most));
            let now = governed.now("a", most);
            (now.limit, now.held_by.is_some())
        };
        assert_eq!(after(Sign::Calm, 800), (800, false));
        assert_eq!(after(busy(), 800), (400, true));
        assert_eq!(after(busy(), 800), (200, true));
        assert_eq!(after(Sign::Unknown("silent".to_owned()), 800), (0, true));
        assert_eq!(governed.now("a", 800).aims, 200);
        assert_eq!(after(Sign::Calm, 800), (200, false), "as before it stood still");
        assert_eq!(after(Sign::Calm, 800), (240, false));
        assert_eq!(after(Sign::Calm, 100), (100, false), "an operator has set less");
        assert_eq!(governed.now("b", 800).aims, 800, "each copy has its own");
    }

    #[test]
    fn what_has_changed_is_recorded_once_a_minute() {
        let mut copy = Copy { governor: Governor::new(800, None), recorded: None };
        let told = |limit: u64| Paced { limit, aims: limit, most: 800, held_by: None };
        let mut at = |second, limit| copy.is_due(&told(limit), Duration::from_secs(second));
        assert!(!at(0, 800), "nothing has happened");
        assert!(at(5, 400));
        let later = [at(10, 300), at(64, 300), at(65, 300), at(70, 300), at(200, 300)];
        assert_eq!(later, [false, false, true, false, false]);
        assert!(at(205, 150), "half of that is told at once");
    }
}
