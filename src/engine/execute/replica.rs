//! Steps of a state that its own replication carries: fence, proof, promote, and the waits before them.
//!
//! Must never let the target take writes before it is proved that it has everything, and never open the source again while the target may
//! take writes. What a side does not say is unknown, and unknown is neither yes nor no.

use std::time::{Duration, Instant};

use super::writer::{Writer, says};
use super::{Context, Effect, History, done, failed, hook, switch, unknown};
use crate::event::{Before, RunState, StepResult};
use crate::host::{Command, Output};
use crate::model::Side;
use crate::outside::Error;
use crate::retry::Policy;
use crate::step::{BothSides, CatchUp, Compare, Fence, ReplicaAct, ReplicaStep, Step, StepKind};
use crate::text;

/// Between two questions while something is waited for that may take long.
const SLOWLY: Duration = Duration::from_secs(1);
/// How long a side may take to say what its command has done.
pub(super) const SETTLES: Duration = Duration::from_secs(10);
/// What is kept of a position.
const POSITION: usize = 4096;

/// What the journal says of other steps of the same replica.
#[derive(Debug, Default)]
pub struct Related {
    /// When the source began to be closed.
    pub closed: Option<jiff::Timestamp>,
    /// When it was proved that the target has everything.
    pub proved: Option<jiff::Timestamp>,
    /// The step that lets the target take writes, and how many of its executions came to an end; `None` when it has never begun.
    pub promote: Option<(Step, u32)>,
}

impl Related {
    /// Looks for them, where the step needs them.
    pub fn new(state: &RunState, step: &Step) -> Self {
        let StepKind::Replica(own) = &step.kind else { return Self::default() };
        let is = |wanted: fn(&ReplicaStep, &ReplicaStep) -> bool| move |other: &Step| matches!(&other.kind, StepKind::Replica(other) if wanted(other, own));
        match &own.act {
            ReplicaAct::Prove(_) => {
                let fence = near(state, step, false, is(ReplicaStep::fences));
                Self { closed: fence.and_then(|at| state.at(at)?.began), ..Self::default() }
            }
            ReplicaAct::Promote(_) => {
                let prove = near(state, step, false, is(ReplicaStep::proves));
                Self { proved: prove.and_then(|at| state.at(at)?.ended), ..Self::default() }
            }
            ReplicaAct::Fence(_) | ReplicaAct::HandOver(_) => {
                let promote = near(state, step, true, is(ReplicaStep::promotes));
                let begun = promote.and_then(|at| {
                    let (step, record) = state.graph.steps.get(at).zip(state.at(at))?;
                    (record.attempts > 0).then(|| (Step::clone(step), record.settled))
                });
                Self { promote: begun, ..Self::default() }
            }
            _ => Self::default(),
        }
    }
}

/// The nearest step of the same pair, behind or before one, that is what is wanted.
fn near(state: &RunState, step: &Step, behind: bool, wanted: impl Fn(&Step) -> bool) -> Option<usize> {
    let steps = &state.graph.steps;
    let mut seen = std::collections::BTreeSet::new();
    let mut open = std::collections::VecDeque::from([steps.position(&step.id)?]);
    while let Some(at) = open.pop_front() {
        let next: Vec<usize> = if behind { steps.followers(at).to_vec() } else { steps.waits_for(at).collect() };
        for at in next {
            let Some(other) = steps.get(at).filter(|s| (&s.service, &s.pair) == (&step.service, &step.pair)) else {
                continue;
            };
            if wanted(other) {
                return Some(at);
            }
            if seen.insert(at) {
                open.push_back(at);
            }
        }
    }
    None
}

/// Does what the step says.
pub async fn run(context: &Context, step: &Step, replica: &ReplicaStep, history: &History) -> Effect {
    let asks = Asks { context, step, replica };
    let ended = match &replica.act {
        ReplicaAct::Check(check) => asks.check(check).await,
        ReplicaAct::Run(_) => return asks.command(history).await,
        ReplicaAct::CatchUp(catch_up) => asks.catch_up(catch_up).await,
        ReplicaAct::Compare(compare) => asks.compare(compare).await,
        ReplicaAct::Fence(fence) => asks.fence(fence, history).await,
        ReplicaAct::Prove(prove) => asks.prove(prove, history).await,
        ReplicaAct::HandOver(_) => Ok("what is taken from here on goes back with a rollback".to_owned()),
        ReplicaAct::Promote(promote) => {
            // One key until an end is known: what is late of an earlier attempt is this one.
            let nth = history.settled.to_string();
            let asked = asks.just_proved(history);
            asks.promote(promote, history, &nth, asked).await
        }
        ReplicaAct::Follow(switch) => return switch::follow(&asks, switch, history).await,
    };
    ended.map_or_else(|effect| effect, done)
}

/// Takes it back.
pub async fn undo(context: &Context, step: &Step, replica: &ReplicaStep, history: &History) -> Effect {
    let asks = Asks { context, step, replica };
    match &replica.act {
        ReplicaAct::Fence(fence) => switch::open_again(&asks, fence, history).await.map_or_else(|effect| effect, done),
        ReplicaAct::HandOver(switch) => switch::back(&asks, switch, history).await,
        ReplicaAct::Follow(switch) => switch::ahead(&asks, switch, history).await,
        _ => match replica.under_receipt() {
            Some(command) => hook::undo(context, step, &command, history).await,
            None => done("there is nothing to take back"),
        },
    }
}

/// Sees how far the source is, now that it takes no writes.
pub async fn look(context: &Context, step: &Step, replica: &ReplicaStep) -> Effect {
    let ReplicaAct::Prove(prove) = &replica.act else { return failed("there is no position to look at", None) };
    match (Asks { context, step, replica }).position(&prove.position).await {
        Ok(position) => Effect::Looked(Before::Position(position)),
        Err(effect) => effect,
    }
}

/// Questions to both sides.
pub(super) struct Asks<'a> {
    pub context: &'a Context,
    pub step: &'a Step,
    pub replica: &'a ReplicaStep,
}

impl Asks<'_> {
    pub fn host(&self, side: Side) -> &str {
        self.replica.replica.host(side)
    }

    /// Asks one side once.
    pub async fn try_once(
        &self,
        side: Side,
        verb: &str,
        script: &str,
        up_to: &str,
    ) -> Result<Result<Output, Error>, Effect> {
        let replica = &self.replica.replica;
        let own = replica.environment(verb, side);
        let mut env = hook::environment(self.context, self.step, &own, &replica.secrets)?;
        if !up_to.is_empty() {
            env.insert("MIGRATE_POSITION".to_owned(), up_to.to_owned());
        }
        let command = Command { script: script.to_owned(), env, timeout: Some(replica.timeout), ..Command::default() };
        let host = self.context.host(self.host(side))?;
        Ok(self.context.world.remote.query(host, &command).await)
    }

    /// Asks one side until it answers, for a while.
    async fn ask(&self, side: Side, verb: &str, script: &str, up_to: &str) -> Result<Output, Effect> {
        let mut retry = self.context.retry(Policy::PATIENT);
        loop {
            let error = match self.try_once(side, verb, script, up_to).await? {
                Ok(output) => return Ok(output),
                Err(error) => error,
            };
            let tell = |what| self.context.waiting(self.step, what);
            retry.after(error, tell).await.map_err(|e| unknown(e.to_string(), e.hint))?;
        }
    }

    /// The same where it must end with status 0.
    async fn need(&self, side: Side, verb: &str, script: &str, up_to: &str) -> Result<String, Effect> {
        let output = self.ask(side, verb, script, up_to).await?;
        match output.status {
            0 => Ok(String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned()),
            _ => Err(failed(format!("{}: `{verb}` {}", self.host(side), says(&output)), None)),
        }
    }

    /// The same, for as long as a server may take to start again: its init system does that at any moment, in the freeze too.
    async fn need_in_time(&self, side: Side, verb: &str, script: &str, up_to: &str) -> Result<String, Effect> {
        let began = self.context.world.clock.now();
        loop {
            let answer = self.need(side, verb, script, up_to).await;
            let Err(Effect::Ended(StepResult::Failed { why, .. })) = &answer else { return answer };
            if self.waited(began) > SETTLES {
                return answer;
            }
            self.context.waiting(self.step, why.clone());
            self.soon(began).await;
        }
    }

    /// Lets time pass between two questions while the source is closed: little at first, because everybody waits.
    pub async fn soon(&self, began: Instant) {
        let pause = if self.waited(began) < Duration::from_secs(1) { 20 } else { 100 };
        self.context.world.clock.sleep(Duration::from_millis(pause)).await;
    }

    pub async fn position(&self, script: &str) -> Result<String, Effect> {
        let position = self.need_in_time(Side::Source, "position", script, "").await?;
        let from = self.host(Side::Source);
        match position.trim() {
            "" => Err(failed(format!("{from}: `position` printed nothing"), None)),
            text if text.len() > POSITION || text.contains(char::is_control) => {
                Err(failed(format!("{from}: `position` printed more than one line, or too long a one"), None))
            }
            text => Ok(text.to_owned()),
        }
    }

    async fn check(&self, check: &BothSides) -> Result<String, Effect> {
        for side in [Side::Source, Side::Target] {
            self.need(side, "check", check.on(side), "").await?;
        }
        Ok("both sides say that it can be done".to_owned())
    }

    pub async fn command(&self, history: &History) -> Effect {
        match self.replica.under_receipt() {
            Some(command) => hook::run(self.context, self.step, &command, history).await,
            None => failed("there is no command to run", None),
        }
    }

    pub async fn catch_up(&self, catch_up: &CatchUp) -> Result<String, Effect> {
        let (to, from) = (self.host(Side::Target), self.host(Side::Source));
        let small = text::bytes(catch_up.settle_below);
        let began = self.context.world.clock.now();
        loop {
            let told = match self.try_once(catch_up.side, "lag", &catch_up.lag, "").await? {
                Ok(output) => lag(&output),
                Err(error) => Err(error.to_string()),
            };
            let (known, what) = match told {
                Ok(lag) if lag < catch_up.settle_below => {
                    return Ok(format!("{to} lacks {} of {from}", text::bytes(lag)));
                }
                Ok(lag) => (true, format!("{to} lacks {} of {from}", text::bytes(lag))),
                Err(why) => (false, format!("nobody can tell what {to} lacks: {why}")),
            };
            if self.waited(began) > catch_up.within {
                let what = format!("{what}, and less than {small} is wanted after {}", text::duration(catch_up.within));
                return Err(if known { failed(what, None) } else { unknown(what, None) });
            }
            self.context.waiting(self.step, format!("{what}; until that is less than {small}"));
            if self.context.pass(self.step, SLOWLY).await {
                return Err(Effect::Interrupted);
            }
        }
    }

    async fn compare(&self, compare: &Compare) -> Result<String, Effect> {
        let (from, to) = (self.host(Side::Source), self.host(Side::Target));
        let position = self.position(&compare.position).await?;
        let began = self.context.world.clock.now();
        while let Err(why) = self.reached(&compare.reached, &position).await? {
            let what = format!("{to} has not reached {}: {why}", shown(&position));
            if self.waited(began) > compare.within {
                return Err(failed(format!("{what}, after {}", text::duration(compare.within)), None));
            }
            self.context.waiting(self.step, what);
            if self.step.urgent {
                self.soon(began).await;
            } else if self.context.pass(self.step, SLOWLY).await {
                return Err(Effect::Interrupted);
            }
        }
        let (here, there) = tokio::join!(
            self.need_in_time(Side::Source, "digest", &compare.digest.from, &position),
            self.need_in_time(Side::Target, "digest", &compare.digest.to, &position)
        );
        let (here, there) = (here?, there?);
        match here == there && !here.is_empty() {
            true => Ok(format!("both have {} up to {}", shown(&here), shown(&position))),
            false => Err(failed(
                format!("up to {} {from} has {} and {to} has {}", shown(&position), shown(&here), shown(&there)),
                Some("find out which side is right; seed the replica again where it is the source".to_owned()),
            )),
        }
    }

    /// Whether the target has all up to a position; why not, where it does not say so.
    pub async fn reached(&self, script: &str, position: &str) -> Result<Result<(), String>, Effect> {
        Ok(match self.try_once(Side::Target, "reached", script, position).await? {
            Ok(output) if output.status == 0 => Ok(()),
            Ok(output) => Err(says(&output)),
            Err(error) => Err(error.to_string()),
        })
    }

    /// What a side says, as far as it can be asked.
    pub async fn writer(&self, side: Side, writer: &BothSides) -> Result<Writer, Effect> {
        let said = self.try_once(side, "writer", writer.on(side), "").await?;
        Ok(said.map_or_else(|error| Writer::Unknown(error.what), |output| Writer::read(&output)))
    }

    /// The same, asked again while the side does not answer at all.
    pub async fn told(&self, side: Side, writer: &BothSides) -> Result<Writer, Effect> {
        let mut retry = self.context.retry(Policy::PATIENT);
        loop {
            let error = match self.try_once(side, "writer", writer.on(side), "").await? {
                Ok(output) => return Ok(Writer::read(&output)),
                Err(error) => error,
            };
            if let Err(error) = retry.after(error, |what| self.context.waiting(self.step, what)).await {
                return Ok(Writer::Unknown(error.what));
            }
        }
    }

    /// Asks a side until it says what is wanted, for a while; the last that it said.
    pub async fn settled(
        &self,
        side: Side,
        writer: &BothSides,
        wanted: &Writer,
        limit: Duration,
    ) -> Result<Writer, Effect> {
        let began = self.context.world.clock.now();
        loop {
            let now = self.told(side, writer).await?;
            if now == *wanted || self.waited(began) > limit {
                return Ok(now);
            }
            self.context.waiting(self.step, format!("{} to say that it {}", self.host(side), wanted.tell()));
            self.soon(began).await;
        }
    }

    pub fn waited(&self, began: Instant) -> Duration {
        self.context.world.clock.now().saturating_duration_since(began)
    }

    async fn fence(&self, fence: &Fence, history: &History) -> Result<String, Effect> {
        let from = self.host(Side::Source);
        finished(self.command(history).await)?;
        match self.settled(Side::Source, &fence.writer, &Writer::No, SETTLES).await? {
            Writer::No => Ok(format!("{from} says that it takes no writes")),
            Writer::Yes => Err(failed(format!("{from} still takes writes after its fence"), None)),
            Writer::Unknown(why) => Err(unknown(format!("nobody can tell whether {from} takes writes: {why}"), None)),
        }
    }
}

/// Goes on where a command has ended well.
pub(super) fn finished(effect: Effect) -> Result<(), Effect> {
    match effect {
        Effect::Ended(StepResult::Done { .. }) => Ok(()),
        other => Err(other),
    }
}

pub(super) fn lag(output: &Output) -> Result<u64, String> {
    if output.status != 0 {
        return Err(says(output));
    }
    let text = output.stdout.trim_ascii();
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| format!("`lag` printed `{}`, which is no number of bytes", text::escape(text, 100)))
}

pub(super) fn shown(text: &str) -> String {
    text::escape(text.as_bytes(), 120)
}
