//! Steps of a state that its own replication carries: fence, proof, promote, and the waits before them.
//!
//! Must never let the target take writes before it is proved that it has everything, and never open the source again while the target may
//! take writes. What a side does not say is unknown, and unknown is neither yes nor no.

use std::time::Duration;

use super::{Context, Effect, History, done, failed, hook, unknown};
use crate::event::{Before, RunState, StepResult};
use crate::host::{Command, Output};
use crate::model::Side;
use crate::mutant::{self, Mutant};
use crate::outside::Error;
use crate::retry::Policy;
use crate::step::{BothSides, CatchUp, Compare, Fence, Promote, Prove, ReplicaAct, ReplicaStep, Step, StepKind};
use crate::text;

/// Between two questions while something is waited for that may take long.
const SLOWLY: Duration = Duration::from_secs(1);
/// The same while the source is closed.
const OFTEN: Duration = Duration::from_millis(100);
/// How long a side may take to say what its command has done.
const SETTLES: Duration = Duration::from_secs(10);
/// What is kept of a position.
const POSITION: usize = 4096;

/// What the journal says of other steps of the same replica.
#[derive(Debug, Default)]
pub struct Related {
    /// When the source began to be closed.
    closed: Option<jiff::Timestamp>,
    /// The step that lets the target take writes, and how many of its executions came to an end; `None` when it has never begun.
    promote: Option<(Step, u32)>,
}

impl Related {
    /// Looks for them, where the step needs them.
    pub fn new(state: &RunState, step: &Step) -> Self {
        let StepKind::Replica(own) = &step.kind else { return Self::default() };
        let is = |wanted: fn(&ReplicaStep, &ReplicaStep) -> bool| move |other: &Step| matches!(&other.kind, StepKind::Replica(other) if wanted(other, own));
        match &own.act {
            ReplicaAct::Prove(_) => {
                let fence = near(state, step, false, is(ReplicaStep::fences));
                Self { closed: fence.and_then(|at| state.at(at)?.began), promote: None }
            }
            ReplicaAct::Fence(_) => {
                let promote = near(state, step, true, is(ReplicaStep::promotes));
                let begun = promote.and_then(|at| {
                    let (step, record) = state.graph.steps.get(at).zip(state.at(at))?;
                    (record.attempts > 0).then(|| (Step::clone(step), record.settled))
                });
                Self { closed: None, promote: begun }
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
        ReplicaAct::Promote(promote) => asks.promote(promote, history).await,
    };
    ended.map_or_else(|effect| effect, done)
}

/// Takes it back.
pub async fn undo(context: &Context, step: &Step, replica: &ReplicaStep, history: &History) -> Effect {
    let asks = Asks { context, step, replica };
    match &replica.act {
        ReplicaAct::Fence(fence) => asks.open_again(fence, history).await.map_or_else(|effect| effect, done),
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

/// What a side says of whether it would take a write.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Writer {
    Yes,
    No,
    Unknown(String),
}

/// Questions to both sides.
struct Asks<'a> {
    context: &'a Context,
    step: &'a Step,
    replica: &'a ReplicaStep,
}

impl Asks<'_> {
    fn host(&self, side: Side) -> &str {
        self.replica.replica.host(side)
    }

    /// Asks one side once.
    async fn try_once(
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
        let mut retry = self.context.retry(Policy::CALL);
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

    async fn position(&self, script: &str) -> Result<String, Effect> {
        let position = self.need(Side::Source, "position", script, "").await?;
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

    async fn command(&self, history: &History) -> Effect {
        match self.replica.under_receipt() {
            Some(command) => hook::run(self.context, self.step, &command, history).await,
            None => failed("there is no command to run", None),
        }
    }

    async fn catch_up(&self, catch_up: &CatchUp) -> Result<String, Effect> {
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
        let pause = if self.step.urgent { OFTEN } else { SLOWLY };
        while let Err(why) = self.reached(&compare.reached, &position).await? {
            let what = format!("{to} has not reached {}: {why}", shown(&position));
            if self.waited(began) > compare.within {
                return Err(failed(format!("{what}, after {}", text::duration(compare.within)), None));
            }
            self.context.waiting(self.step, what);
            if self.context.pass(self.step, pause).await {
                return Err(Effect::Interrupted);
            }
        }
        let here = self.need(Side::Source, "digest", &compare.digest.from, &position).await?;
        let there = self.need(Side::Target, "digest", &compare.digest.to, &position).await?;
        match here == there && !here.is_empty() {
            true => Ok(format!("both have {} up to {}", shown(&here), shown(&position))),
            false => Err(failed(
                format!("up to {} {from} has {} and {to} has {}", shown(&position), shown(&here), shown(&there)),
                Some("find out which side is right; seed the replica again where it is the source".to_owned()),
            )),
        }
    }

    /// Whether the target has all up to a position; why not, where it does not say so.
    async fn reached(&self, script: &str, position: &str) -> Result<Result<(), String>, Effect> {
        Ok(match self.try_once(Side::Target, "reached", script, position).await? {
            Ok(output) if output.status == 0 => Ok(()),
            Ok(output) => Err(says(&output)),
            Err(error) => Err(error.to_string()),
        })
    }

    async fn writer(&self, side: Side, writer: &BothSides) -> Result<Writer, Effect> {
        Ok(match self.try_once(side, "writer", writer.on(side), "").await? {
            Ok(output) if output.status == 0 => match output.stdout.trim_ascii() {
                b"yes" => Writer::Yes,
                b"no" => Writer::No,
                other => {
                    Writer::Unknown(format!("`writer` printed `{}`, neither yes nor no", text::escape(other, 100)))
                }
            },
            Ok(output) => Writer::Unknown(format!("`writer` {}", says(&output))),
            Err(error) => Writer::Unknown(error.what),
        })
    }

    /// Asks a side until it says what is wanted, for a while; the last that it said.
    async fn settled(
        &self,
        side: Side,
        writer: &BothSides,
        wanted: &Writer,
        limit: Duration,
    ) -> Result<Writer, Effect> {
        let began = self.context.world.clock.now();
        loop {
            let now = self.writer(side, writer).await?;
            if now == *wanted || self.waited(began) > limit {
                return Ok(now);
            }
            self.context.waiting(self.step, format!("{} to say that it {}", self.host(side), wanted.tell()));
            self.context.world.clock.sleep(OFTEN).await;
        }
    }

    fn waited(&self, began: std::time::Instant) -> Duration {
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

    async fn prove(&self, prove: &Prove, history: &History) -> Result<String, Effect> {
        let (from, to) = (self.host(Side::Source), self.host(Side::Target));
        let Some(Before::Position(position)) = &history.before else {
            return Err(failed(format!("the position of {from} is not in the journal"), None));
        };
        let late = || {
            let now = self.context.world.clock.wall();
            let closed = history.related.closed.map(|since| now.duration_since(since).unsigned_abs());
            closed.is_some_and(|closed| closed > prove.within)
        };
        loop {
            let open = match self.writer(Side::Source, &prove.writer).await? {
                Writer::Yes => return Err(failed(format!("{from} takes writes again: its fence does not hold"), None)),
                Writer::No if mutant::is(Mutant::LagIsProof) => break,
                Writer::No => match self.reached(&prove.reached, position).await? {
                    Ok(()) => break,
                    Err(why) => format!("{to} has not reached {}: {why}", shown(position)),
                },
                Writer::Unknown(why) => format!("nobody can tell whether {from} takes writes: {why}"),
            };
            if late() {
                let within = text::duration(prove.within);
                return Err(failed(format!("{open}, and {from} is closed for longer than {within}"), None));
            }
            self.context.waiting(self.step, open);
            self.context.world.clock.sleep(OFTEN).await;
        }
        let now = self.position(&prove.position).await?;
        match now == *position {
            true => Ok(format!("{to} has everything up to {}", shown(position))),
            false => Err(failed(
                format!("{from} has gone on from {} to {} after its fence", shown(position), shown(&now)),
                Some(format!("something still writes on {from}, or `position` moves by itself: it must not")),
            )),
        }
    }

    async fn promote(&self, promote: &Promote, history: &History) -> Result<String, Effect> {
        let (from, to) = (self.host(Side::Source), self.host(Side::Target));
        let before = self.settled(Side::Target, &promote.writer, &Writer::No, Duration::ZERO).await?;
        if let Writer::Unknown(why) = before {
            return Err(self.held(format!("nobody can tell whether {to} takes writes: {why}")));
        }
        match self.settled(Side::Source, &promote.writer, &Writer::No, SETTLES).await? {
            Writer::No => {}
            Writer::Yes => return Err(self.held(format!("{from} takes writes: its fence does not hold"))),
            Writer::Unknown(why) => {
                return Err(self.held(format!("nobody can tell whether {from} takes writes: {why}")));
            }
        }
        if before == Writer::Yes {
            return Ok(format!("{to} takes writes already, and {from} takes none"));
        }
        let Some(command) = self.replica.under_receipt() else { return Err(failed("there is no command", None)) };
        // One key until an end is known: what is late of an earlier attempt is this one.
        let effect = hook::once(self.context, self.step, &command, history, &history.settled.to_string()).await;
        if matches!(effect, Effect::Barred(_) | Effect::Interrupted) {
            return Err(effect);
        }
        let limit = if matches!(effect, Effect::Ended(StepResult::Done { .. })) { command.timeout } else { SETTLES };
        match self.settled(Side::Target, &promote.writer, &Writer::Yes, limit).await? {
            Writer::Yes => {}
            Writer::Unknown(why) => {
                return Err(self.held(format!("nobody can tell whether {to} takes writes after its promote: {why}")));
            }
            Writer::No => {
                return Err(match effect {
                    Effect::Ended(StepResult::Done { .. }) => {
                        failed(format!("{to}: the command ended well, and `writer` says that it takes no writes"), None)
                    }
                    other => other,
                });
            }
        }
        match self.settled(Side::Source, &promote.writer, &Writer::No, SETTLES).await? {
            Writer::No => Ok(format!("{to} takes writes, and {from} takes none")),
            Writer::Yes => Err(self.held(format!("{to} takes writes, and so does {from}"))),
            Writer::Unknown(why) => {
                Err(self.held(format!("{to} takes writes, and nobody can tell whether {from} does: {why}")))
            }
        }
    }

    /// Nobody knows, and it is not guessed.
    fn held(&self, why: String) -> Effect {
        let (from, to, run, id) = (self.host(Side::Source), self.host(Side::Target), &self.context.run, &self.step.id);
        let hint = format!(
            "look on {to} and {from}; `migrate apply` asks again; where {to} surely takes no writes and is not to, say \
             `migrate resolve {run} {id} --not-done`: then there is a way back"
        );
        unknown(why, Some(hint))
    }

    /// Opens the source again, once it is certain that the target takes no writes and that no command comes late that would let it.
    async fn open_again(&self, fence: &Fence, history: &History) -> Result<String, Effect> {
        let (from, to) = (self.host(Side::Source), self.host(Side::Target));
        if !mutant::is(Mutant::UnfenceOnUnknown) {
            self.end_promotes(history).await?;
            match self.settled(Side::Target, &fence.writer, &Writer::No, SETTLES).await? {
                Writer::No => {}
                Writer::Yes => return Err(self.stays_closed(&format!("{to} takes writes"))),
                Writer::Unknown(why) => {
                    return Err(self.stays_closed(&format!("nobody can tell whether {to} takes writes: {why}")));
                }
            }
        }
        finished(hook::undo(self.context, self.step, &self.replica.unfence(fence), history).await)?;
        match self.settled(Side::Source, &fence.writer, &Writer::Yes, SETTLES).await? {
            Writer::Yes => Ok(format!("{from} says that it takes writes, and {to} that it takes none")),
            Writer::No => Err(failed(format!("{from} takes no writes after it was opened again"), None)),
            Writer::Unknown(why) => Err(unknown(format!("nobody can tell whether {from} takes writes: {why}"), None)),
        }
    }

    /// No promote of this run begins any more, or goes on.
    async fn end_promotes(&self, history: &History) -> Result<(), Effect> {
        let Some((step, settled)) = &history.related.promote else { return Ok(()) };
        let StepKind::Replica(promote) = &step.kind else { return Ok(()) };
        let Some(command) = promote.under_receipt() else { return Ok(()) };
        for nth in 0..=*settled {
            hook::end_nth(self.context, step, &command, &nth.to_string()).await?;
        }
        Ok(())
    }

    fn stays_closed(&self, why: &str) -> Effect {
        let (from, to, run, id) = (self.host(Side::Source), self.host(Side::Target), &self.context.run, &self.step.id);
        let hint = format!(
            "see to it that {to} surely takes no writes, then `migrate apply` or `migrate rollback` again; where only you can tell, open {from} \
             by hand and say `migrate resolve {run} {id} --done`"
        );
        unknown(format!("{from} stays closed: {why}"), Some(hint))
    }
}

impl Writer {
    fn tell(&self) -> &'static str {
        match self {
            Self::Yes => "takes writes",
            Self::No => "takes no writes",
            Self::Unknown(_) => "does not say",
        }
    }
}

/// Goes on where a command has ended well.
fn finished(effect: Effect) -> Result<(), Effect> {
    match effect {
        Effect::Ended(StepResult::Done { .. }) => Ok(()),
        other => Err(other),
    }
}

fn lag(output: &Output) -> Result<u64, String> {
    if output.status != 0 {
        return Err(says(output));
    }
    let text = output.stdout.trim_ascii();
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| format!("`lag` printed `{}`, which is no number of bytes", text::escape(text, 100)))
}

fn says(output: &Output) -> String {
    let said = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
    match text::escape(said.trim_ascii(), 300) {
        said if said.is_empty() => format!("ended with status {}", output.status),
        said => format!("ended with status {}: {said}", output.status),
    }
}

fn shown(text: &str) -> String {
    text::escape(text.as_bytes(), 120)
}
