//! Pairs that are frozen for too long, or whose freeze fails: they go back into service on their source, beside all others, and are tried
//! again.
//!
//! Must never let a pair go whose target may take writes, and never try again more often than the plan says.

use std::sync::Arc;
use std::time::Duration;

use super::dispatch::Engine;
use super::ending::{Ending, EngineError};
use super::execute::{Effect, wait};
use super::undo;
use crate::event::{Direction, Event, RunState, StepResult};
use crate::model::Freeze;
use crate::mutant::{self, Mutant};
use crate::step::{Class, Step};
use crate::text;

/// A pair on its way back into service.
pub(super) struct Release {
    /// Id of the step from which on everything is undone.
    from: String,
    /// What is left to undo, for popping from the end.
    left: Vec<String>,
    /// The step that is being undone.
    under_way: Option<String>,
    /// Whether this controller tries it again: it was let go by another one, or is to be.
    tries_again: bool,
}

impl Release {
    /// Those that another controller has begun.
    pub fn open(state: &RunState) -> Vec<Self> {
        let open = |(from, left)| Self { from, left, under_way: None, tries_again: true };
        undo::open_releases(state).into_iter().map(open).collect()
    }

    /// What is left to undo: nothing of it begins before that has been.
    pub fn left(&self) -> &[String] {
        &self.left
    }
}

impl Engine {
    /// Takes the next step of each back, unless something of its pair is still under way. A stop waits for that.
    pub(super) fn begin_releases(&mut self) -> Result<(), EngineError> {
        if self.state.direction != Direction::Forward {
            // All of it is among what is undone.
            self.releases.clear();
        }
        let waiting = self.releases.iter().filter(|release| release.under_way.is_none());
        let next: Vec<Arc<Step>> =
            waiting.filter_map(|release| self.steps.by_id(release.left.last()?).cloned()).collect();
        for step in next.into_iter().filter(|step| !self.is_pair_busy(step)).collect::<Vec<_>>() {
            // Each may have taken the room of the next.
            if !self.steps.position(&step.id).is_some_and(|at| self.ready.has_room(at)) {
                continue;
            }
            if let Some(release) = self.releases.iter_mut().find(|r| r.left.last() == Some(&step.id)) {
                release.under_way = release.left.pop();
            }
            self.undo_step(&step)?;
        }
        Ok(())
    }

    fn is_pair_busy(&self, step: &Step) -> bool {
        let of_pair = |other: &Arc<Step>| (&other.service, &other.pair) == (&step.service, &step.pair);
        self.active.iter().filter_map(|id| self.steps.by_id(id)).any(of_pair)
    }

    /// A step of a release has been undone, or could not be.
    pub(super) fn release_goes_on(&mut self, id: &str, is_undone: bool) {
        let Some(at) = self.releases.iter().position(|r| r.under_way.as_deref() == Some(id)) else { return };
        if is_undone && self.releases.get(at).is_some_and(|release| !release.left.is_empty()) {
            self.releases.iter_mut().skip(at).take(1).for_each(|release| release.under_way = None);
            return;
        }
        let Release { from, tries_again, .. } = self.releases.swap_remove(at);
        if is_undone && tries_again {
            self.try_again(&from);
        }
    }

    /// What was put back may begin again.
    fn try_again(&mut self, from: &str) {
        let Some(at) = self.steps.position(from) else { return };
        for at in self.steps.dependents(at) {
            if let Some(step) = self.steps.get(at) {
                self.given_up.remove(&step.id);
            }
        }
        self.offer(at);
    }

    /// How long the pair of a step may be frozen before it is done.
    fn bound(&self, step: &Step) -> Option<Freeze> {
        if mutant::is(Mutant::ReleasesAfterPromote) {
            return self.steps.iter().filter(|s| s.pair == step.pair).find_map(|s| s.freeze);
        }
        step.freeze
    }

    /// How long the pair of a step may still be frozen; nothing where nothing bounds that. A stream is not cut off: nobody could tell what
    /// has arrived of it.
    fn left_of_freeze(&self, step: &Step) -> Option<Duration> {
        let freeze = self.bound(step)?;
        let now = self.context.world.clock.wall();
        // A clock that was set back says nothing of how long it took.
        let frozen = |since| Duration::try_from(now.duration_since(since)).unwrap_or_default();
        let frozen = undo::frozen_since(&self.state, step).map(frozen);
        Some(freeze.within.saturating_sub(frozen.unwrap_or_default()))
    }

    /// Why a step need not begin any more: its pair is frozen for too long.
    pub(super) fn is_overdue(&self, step: &Step) -> Option<String> {
        self.left_of_freeze(step).filter(|left| left.is_zero()).map(|_| too_long(step, self.bound(step)))
    }

    /// Runs an effect for as long as its pair may be frozen. Cut off, it is like one whose controller has died: its undo brings it to an end.
    pub(super) fn spawn_bounded(&mut self, step: &Step, effect: impl Future<Output = Effect> + Send + 'static) {
        let Some(left) = self.left_of_freeze(step).filter(|_| step.kind.class() != Class::Opaque) else {
            self.spawn(&step.id, effect);
            return;
        };
        let (clock, why) = (Arc::clone(&self.context.world.clock), too_long(step, self.bound(step)));
        self.spawn(&step.id, async move {
            tokio::select! {
                biased;
                effect = effect => effect,
                () = clock.sleep(left) => Effect::Overdue(why),
            }
        });
    }

    /// A pair has been frozen for too long.
    pub(super) fn overdue(&mut self, step: &Step, why: String) -> Result<(), EngineError> {
        let Some(freeze) = self.bound(step) else {
            return self.close(step, false, StepResult::Failed { why, hint: None });
        };
        if self.state.direction != Direction::Forward {
            return Ok(());
        }
        let before = undo::release(&self.state, step).and_then(|(from, _)| Some(self.state.releases.get(&from)?.times));
        let again = (before.unwrap_or(0) + 1 < freeze.attempts).then_some(freeze.pause);
        self.give_up(step);
        let is_let_go = self.let_go(step, &why, again)?;
        let why = match (is_let_go, again) {
            (true, Some(_)) => return Ok(()),
            (true, None) => format!("{why}, {} in a row", text::count(freeze.attempts.into(), "time")),
            (false, _) => format!("{why}, and its pair cannot go back into service"),
        };
        let hint = Some("see what takes so long; `migrate apply` tries it again".to_owned());
        let held = Ending::Held { step: Some(step.id.clone()), why: why.clone(), hint, stuck: false };
        self.in_trouble(step, step.on_failure, held, &why)
    }

    /// Lets the pair of a step go back into service on its source; `false` where it cannot.
    pub(super) fn let_go(&mut self, step: &Step, why: &str, again: Option<Duration>) -> Result<bool, EngineError> {
        let Some((from, left)) = undo::release(&self.state, step) else { return Ok(false) };
        if self.releases.iter().any(|release| release.from == from) {
            return Ok(true);
        }
        let why = why.to_owned();
        self.record(Event::Released { step: step.id.clone(), from: from.clone(), why, again })?;
        self.releases.push(Release { from, left, under_way: None, tries_again: again.is_some() });
        Ok(true)
    }

    /// How long a step is still to wait until its pair is tried again.
    pub(super) fn pause_before(&self, step: &Step) -> Option<Duration> {
        let until = self.state.releases.get(&step.id)?.until()?;
        let left = until.duration_since(self.context.world.clock.wall());
        (left.is_positive() && !left.is_zero()).then(|| left.unsigned_abs())
    }

    /// Offers a step again after some time. Nothing waits for that, and what stops the run ends it.
    pub(super) fn wait_out(&mut self, step: Arc<Step>, pause: Duration) {
        if let Some(at) = self.steps.position(&step.id) {
            // It has not left service.
            self.ready.recorded(&self.state, at, false);
        }
        let (context, id) = (self.context.for_step(&step.id), step.id.clone());
        let task = self.spawn(&id, async move {
            wait::rest(&context, &step, pause).await;
            Effect::Interrupted
        });
        self.pausing.insert(id, task);
    }

    /// Ends the pauses of a run that is held or goes back.
    pub(super) fn end_pauses(&mut self) {
        if self.hold.is_none() && self.state.direction == Direction::Forward {
            return;
        }
        for (id, task) in std::mem::take(&mut self.pausing) {
            task.abort();
            self.ended(&id);
        }
    }
}

/// Why a pair is let go.
fn too_long(step: &Step, freeze: Option<Freeze>) -> String {
    let pair = step.pair.as_ref().map(|pair| pair.source.clone()).unwrap_or_default();
    let within = freeze.map(|freeze| text::duration(freeze.within)).unwrap_or_default();
    format!("{pair} is frozen for longer than {within}")
}
