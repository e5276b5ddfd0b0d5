//! The loop that owns a run: begins steps, records how they end, stops where it is safe.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};

use super::World;
use super::execute::{self, Context, Effect};
use super::undo;
use crate::event::{Event, IllegalTransition, Notice, RunState, Status, StepResult, StepState};
use crate::journal::{JournalError, Log};
use crate::planner::graph::{CopyPhase, Step, StepKind};

/// Trees that are seeded at the same time: more only share the same links and disks.
const PARALLEL_SEEDS: usize = 4;

/// How a controller's work on a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Everything is done.
    Finished,
    /// An operator is needed.
    Held {
        /// The step, when it is about one.
        step: Option<String>,
        /// Why.
        why: String,
        /// What to do next.
        hint: Option<String>,
    },
    /// It was asked to stop and did.
    Stopped,
}

/// Why a run could not be worked on at all.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The journal failed: nothing more was begun.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The engine's own records do not fit together.
    #[error("internal error: {0}")]
    Illegal(#[from] IllegalTransition),
    /// A step broke down.
    #[error("internal error: step {step} broke down: {why}")]
    Broken {
        /// The step.
        step: String,
        /// What the runtime says.
        why: String,
    },
}

/// Asks a run to stop.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Stop {
    /// Not asked.
    #[default]
    No,
    /// At the next safe point.
    Soon {
        /// `interrupt`, `terminate`.
        by: String,
    },
}

/// One controller at work on one run.
pub struct Engine {
    journal: Box<dyn Log>,
    state: RunState,
    steps: Arc<BTreeMap<String, Arc<Step>>>,
    context: Arc<Context>,
    notices: mpsc::UnboundedSender<Notice>,
    stop: watch::Receiver<Stop>,
    tasks: JoinSet<(String, Effect)>,
    active: BTreeSet<String>,
    /// Steps that ended badly in this session: they are not begun again before an operator looks.
    given_up: BTreeSet<String>,
    hold: Option<Ending>,
    undo: Vec<String>,
}

impl Engine {
    /// Takes over an open journal and what it folds to.
    pub fn new(
        world: World,
        journal: Box<dyn Log>,
        state: RunState,
        notices: mpsc::UnboundedSender<Notice>,
        stop: watch::Receiver<Stop>,
    ) -> Self {
        let graph = &state.started.graph;
        let steps = graph.steps.iter().map(|s| (s.id.clone(), Arc::new(s.clone()))).collect();
        let run = state.started.run.clone();
        let context = Arc::new(Context::new(world, run, notices.clone(), stop.clone()));
        Self {
            journal,
            state,
            steps: Arc::new(steps),
            context,
            notices,
            stop,
            tasks: JoinSet::new(),
            active: BTreeSet::new(),
            given_up: BTreeSet::new(),
            hold: None,
            undo: Vec::new(),
        }
    }

    /// Works until everything is done, or a hold or a stop ends it.
    pub async fn run(mut self) -> Result<Ending, EngineError> {
        loop {
            self.begin_ready()?;
            if self.tasks.is_empty() {
                return self.end();
            }
            tokio::select! {
                ended = self.tasks.join_next() => self.conclude(ended)?,
                changed = self.stop.changed() => if changed.is_err() {
                    // Nobody can ask any more: wait for the work alone.
                    let ended = self.tasks.join_next().await;
                    self.conclude(ended)?;
                },
            }
        }
    }

    fn record(&mut self, event: Event) -> Result<(), EngineError> {
        let record = self.journal.append(event)?;
        self.state.apply(record.clone())?;
        // A watcher that has gone away does not stop a run.
        let _ = self.notices.send(Notice::Recorded(record));
        Ok(())
    }

    fn stopping(&self) -> bool {
        self.hold.is_some() || *self.stop.borrow() != Stop::No
    }

    fn begin_ready(&mut self) -> Result<(), EngineError> {
        if let Some(id) = self.undo.pop_if(|_| self.tasks.is_empty()) {
            return self.begin(&id, true);
        }
        if !self.undo.is_empty() {
            return Ok(());
        }
        let ready: Vec<String> = self.steps.keys().filter(|id| self.is_ready(id)).cloned().collect();
        for id in ready {
            if self.has_room(&id) {
                self.begin(&id, false)?;
            }
        }
        Ok(())
    }

    fn is_ready(&self, id: &str) -> bool {
        let Some(step) = self.steps.get(id) else { return false };
        let open = self.state.step(id).state != StepState::Done;
        open && !self.active.contains(id)
            && !self.given_up.contains(id)
            && (step.urgent || !self.stopping())
            && step.after.iter().all(|a| self.state.step(a).state == StepState::Done)
    }

    fn has_room(&self, id: &str) -> bool {
        let seeds = |id: &str| {
            self.steps.get(id).is_some_and(|s| matches!(&s.kind, StepKind::Copy(c) if c.phase == CopyPhase::Seed))
        };
        !seeds(id) || self.active.iter().filter(|a| seeds(a)).count() < PARALLEL_SEEDS
    }

    fn begin(&mut self, id: &str, undo: bool) -> Result<(), EngineError> {
        let Some(step) = self.steps.get(id).cloned() else { return Ok(()) };
        let found = execute::Found::new(&self.state, &step);
        let attempt = self.state.step(id).attempts + 1;
        self.record(Event::Intent { step: id.to_owned(), attempt, undo })?;
        self.active.insert(id.to_owned());
        let context = Arc::clone(&self.context);
        self.tasks.spawn(async move {
            let effect = match undo {
                true => undo::undo(&context, &step, &found).await,
                false => execute::execute(&context, &step, &found).await,
            };
            (step.id.clone(), effect)
        });
        Ok(())
    }

    fn conclude(&mut self, ended: Option<Result<(String, Effect), JoinError>>) -> Result<(), EngineError> {
        let (id, effect) = match ended {
            None => return Ok(()),
            Some(Ok(ended)) => ended,
            Some(Err(e)) => {
                let step = self.active.iter().next().cloned().unwrap_or_default();
                return Err(EngineError::Broken { step, why: e.to_string() });
            }
        };
        self.active.remove(&id);
        let Effect::Ended(result) = effect else {
            // Interrupted while it only waited: the intent stays open and is taken up again.
            self.given_up.insert(id);
            return Ok(());
        };
        let record = self.state.step(&id);
        let (attempt, undo) = (record.attempts, record.state == StepState::Undoing);
        let trouble = hold_for(&id, &result);
        self.record(Event::Outcome { step: id.clone(), attempt, undo, result })?;
        if let Some(hold) = trouble {
            self.given_up.insert(id.clone());
            self.hold.get_or_insert(hold);
            if undo {
                self.undo.clear();
            } else {
                self.undo = undo::on_failure(&self.steps, &self.state, &id);
            }
        }
        Ok(())
    }

    fn end(mut self) -> Result<Ending, EngineError> {
        let stop = self.stop.borrow().clone();
        let (event, ending) = if self.state.all_done() {
            (Event::Finished, Ending::Finished)
        } else if let Some(Ending::Held { step, why, hint }) = self.hold.take() {
            let event = Event::Held { step: step.clone(), why: why.clone(), hint: hint.clone() };
            (event, Ending::Held { step, why, hint })
        } else if let Stop::Soon { by } = stop {
            (Event::Stopped { by }, Ending::Stopped)
        } else {
            let why = "no step can begin, and not all are done".to_owned();
            (Event::Held { step: None, why: why.clone(), hint: None }, Ending::Held { step: None, why, hint: None })
        };
        if self.state.status != Status::Finished {
            self.record(event)?;
        }
        Ok(ending)
    }
}

fn hold_for(id: &str, result: &StepResult) -> Option<Ending> {
    match result {
        StepResult::Done { .. } => None,
        StepResult::Failed { why, hint, .. } | StepResult::Unknown { why, hint, .. } => {
            Some(Ending::Held { step: Some(id.to_owned()), why: why.clone(), hint: hint.clone() })
        }
    }
}
