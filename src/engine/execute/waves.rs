//! What all steps of a wave share that let connections go: how many may go now, and how fast that is.
//!
//! Must never be waited for: whoever looks holds nothing up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::super::allowance::Allowance;
use super::super::governor::{Governor, Sign};
use super::Context;
use super::signals::Counted;
use crate::check::PoolRef;
use crate::event::{RunState, StepState};
use crate::step::Step;

/// What each wave may let go.
pub struct Waves {
    /// What they count their time from.
    epoch: Instant,
    waves: Mutex<BTreeMap<Arc<str>, Wave>>,
    /// The pace that an earlier controller had come to.
    before: BTreeMap<Arc<str>, u64>,
}

/// What all steps of a wave share.
#[derive(Default)]
pub struct Wave {
    pub allowance: Allowance,
    pub governor: Option<Governor>,
    /// What each service has measured last, and when; meanwhile it is measured by one of its steps.
    pub measured: BTreeMap<Arc<str>, (Duration, Vec<Sign>)>,
    pub counted: BTreeMap<Arc<str>, Counted>,
    /// By the pool that they come back to.
    pub ended: BTreeMap<PoolRef, Ended>,
    /// When the governor has decided last: once for all services.
    pub decided: Option<Duration>,
}

/// Sessions that were ended.
#[derive(Default)]
pub struct Ended {
    pub gone: u64,
    /// What all members had got before.
    pub base: Option<u64>,
}

impl Waves {
    /// This controller has let nothing go yet; what an earlier one did is in the journal.
    pub fn new(epoch: Instant, state: &RunState) -> Self {
        let mut before: BTreeMap<Arc<str>, u64> = BTreeMap::new();
        for (id, progress) in &state.let_go {
            let open = matches!(state.state_of(id), Some(StepState::Running | StepState::Undoing));
            if let Some(step) = state.graph.step(id).filter(|_| open) {
                before
                    .entry(step.wave.clone())
                    .and_modify(|pace| *pace = progress.pace.min(*pace))
                    .or_insert(progress.pace);
            }
        }
        Self { epoch, waves: Mutex::default(), before }
    }

    /// The pace of a wave that an earlier controller had come to.
    pub fn before(&self, wave: &str) -> Option<u64> {
        self.before.get(wave).copied()
    }

    /// Looks at a wave, or changes it. Never waits inside.
    pub fn with<T>(&self, wave: &str, act: impl FnOnce(&mut Wave) -> T) -> T {
        act(self.waves.lock().unwrap_or_else(PoisonError::into_inner).entry(wave.into()).or_default())
    }
}

impl Context {
    /// Whether an operator has paused the run.
    pub(super) fn is_paused(&self) -> bool {
        *self.paused.borrow()
    }

    /// Connections that a wave lets go in a second at most: what an operator has set, else what the plan says.
    pub(super) fn most(&self, planned: u64) -> u64 {
        self.tuning.borrow().pace.unwrap_or(planned)
    }

    /// How many connections a step may let go now; it has taken them from what its wave may.
    pub(super) fn may_let_go(&self, step: &Step, pace: u64, ahead: Duration, most: u64) -> u64 {
        let now = self.since_epoch();
        self.waves.with(&step.wave, |wave| wave.allowance.take(now, pace, ahead, most))
    }

    /// How long the controller has been at work.
    pub(super) fn since_epoch(&self) -> Duration {
        self.world.clock.now().saturating_duration_since(self.waves.epoch)
    }
}
