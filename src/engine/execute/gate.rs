//! Gates: asks every condition until all hold at the same time.
//!
//! Must never open a gate, nor let it fail, because of a condition of which nobody can tell whether it holds.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use jiff::Timestamp;

use super::drift::{self, Watcher};
use super::{Context, Effect, done, failed, unknown};
use crate::gate::{Answer, Condition, Gate, Holds, Surroundings};
use crate::step::{Step, StepKind};
use crate::text;

/// Longest time between two looks at the clock: suspended machines and changed clocks are noticed.
const LOOK: Duration = Duration::from_secs(1);

/// Waits until the gate is open.
pub async fn wait(context: &Context, step: &Step, gate: &Gate) -> Effect {
    let began = context.world.clock.now();
    let mut remembered = Remembered::new(gate);
    let (mut watcher, mut looked): (Watcher, Option<Instant>) = (Watcher::default(), None);
    loop {
        // A gate may wait for days: what the run has set must stay so meanwhile.
        let now = context.world.clock.now();
        let mut unclear = None;
        if looked.is_none_or(|last| now.saturating_duration_since(last) >= drift::EVERY) {
            looked = Some(now);
            for pool in context.standing_pools() {
                match watcher.glance(context, step, &pool).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(e)) => unclear = Some(e.to_string()),
                    Err(drifted) => return drifted,
                }
            }
        }
        let around = Around { context, step, asking: now.saturating_duration_since(began) };
        let answers = remembered.ask(&around).await;
        let took = context.world.clock.now().saturating_duration_since(began);
        if let Some(effect) = judge(&answers, gate.within.filter(|within| took >= *within)) {
            return effect;
        }
        context.waiting(step, [waits_for(&answers)].into_iter().chain(unclear).collect::<Vec<_>>().join("; "));
        if context.pass(step, LOOK).await {
            return Effect::Interrupted;
        }
    }
}

/// What the conditions of a gate have said, for as long as they need not be asked again.
struct Remembered<'a> {
    conditions: &'a [Condition],
    said: Vec<Option<(Instant, Answer)>>,
}

impl<'a> Remembered<'a> {
    fn new(gate: &'a Gate) -> Self {
        Self { conditions: &gate.conditions, said: vec![None; gate.conditions.len()] }
    }

    /// What they say now. Where that opens the gate, all have said so at the same time.
    async fn ask(&mut self, around: &Around<'_>) -> Vec<Answer> {
        let now = around.context.world.clock.now();
        let is_news = |c: &Condition, last: &Instant| now.saturating_duration_since(*last) < c.kind().every();
        let mut reused = false;
        for (condition, said) in self.conditions.iter().zip(&mut self.said) {
            *said = said.take().filter(|(last, _)| is_news(condition, last));
            reused |= said.is_some();
        }
        let answers = self.ask_rest(now, around).await;
        if !reused || answers.iter().any(|a| a.holds != Holds::Yes) {
            return answers;
        }
        self.said.fill(None);
        self.ask_rest(now, around).await
    }

    async fn ask_rest(&mut self, now: Instant, around: &Around<'_>) -> Vec<Answer> {
        let asked = self.conditions.iter().zip(&self.said).map(async |(condition, said)| match said {
            Some(said) => said.clone(),
            None => (now, around.context.world.conditions.ask(condition, around).await),
        });
        let said = join_all(asked).await;
        self.said = said.iter().cloned().map(Some).collect();
        said.into_iter().map(|(_, answer)| answer).collect()
    }
}

/// A gate of a run, for its conditions to look around.
struct Around<'a> {
    context: &'a Context,
    step: &'a Step,
    asking: Duration,
}

impl Surroundings for Around<'_> {
    fn now(&self) -> Timestamp {
        self.context.world.clock.wall()
    }

    fn asking(&self) -> Duration {
        self.asking
    }

    fn approvals(&self) -> Vec<String> {
        self.context.approvals_of(self.step)
    }

    fn approve_with(&self) -> String {
        match &self.step.kind {
            StepKind::Commit(commit) => commit.command(&self.context.run),
            StepKind::Decommission(back) => back.command(&self.context.run),
            _ => format!("migrate approve {} {} --why TEXT", self.context.run, self.step.id),
        }
    }
}

/// How the gate ends; `None` while it goes on asking. `late`: the time that it had, once that has passed.
fn judge(answers: &[Answer], late: Option<Duration>) -> Option<Effect> {
    let is = |holds| answers.iter().any(|a| a.holds == holds);
    if answers.iter().all(|a| a.holds == Holds::Yes) {
        return Some(done(opened(answers)));
    }
    if is(Holds::No) {
        let why = format!("it does not open: {}", missing(answers, |a| a.holds == Holds::No));
        return Some(failed(why, Some("`migrate apply` asks again".to_owned())));
    }
    let waits = missing(answers, |a| a.holds != Holds::Yes);
    let why = format!("it did not open within {}: it waits for {waits}", text::duration(late?));
    let again = "`migrate apply` asks again, for as long";
    if is(Holds::NotYet) {
        return Some(failed(why, Some(again.to_owned())));
    }
    let helps = answers.iter().filter(|a| a.holds == Holds::Unknown).filter_map(|a| a.help.as_deref());
    Some(unknown(why, Some(helps.chain([again]).collect::<Vec<_>>().join("; then "))))
}

fn opened(answers: &[Answer]) -> String {
    let seen: Vec<&str> = answers.iter().map(|a| a.saw.as_str()).filter(|saw| !saw.is_empty()).collect();
    if seen.is_empty() { "open".to_owned() } else { seen.join("; ") }
}

fn missing(answers: &[Answer], which: impl Fn(&Answer) -> bool) -> String {
    let missing: Vec<String> = answers.iter().filter(|a| which(a)).map(Answer::missing).collect();
    text::list(&missing)
}

/// What is missing, of each condition, and what somebody can do about it.
fn waits_for(answers: &[Answer]) -> String {
    let missing = answers.iter().filter(|a| a.holds != Holds::Yes).map(|answer| match &answer.help {
        Some(help) => format!("{}: {help}", answer.missing()),
        None => answer.missing(),
    });
    missing.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::StepResult;

    fn answer(holds: Holds) -> Answer {
        Answer::new(holds, "calm", format!("{holds:?}"))
    }

    fn end(holds: &[Holds], late: bool) -> Option<StepResult> {
        let answers: Vec<Answer> = holds.iter().map(|h| answer(*h)).collect();
        match judge(&answers, late.then_some(Duration::from_secs(2)))? {
            Effect::Ended(result) => Some(result),
            _ => None,
        }
    }

    #[test]
    fn it_opens_when_everything_holds_at_the_same_time() {
        let open = end(&[Holds::Yes, Holds::Yes], true);
        assert_eq!(open, Some(StepResult::Done { evidence: "Yes; Yes".into(), millis: 0, figures: None }));
        assert_eq!(end(&[Holds::Yes, Holds::NotYet], false), None);
        assert_eq!(end(&[Holds::Yes, Holds::Unknown], false), None);
    }

    #[test]
    fn a_no_ends_it_at_once() {
        let Some(StepResult::Failed { why, .. }) = end(&[Holds::Unknown, Holds::No], false) else {
            panic!("it goes on")
        };
        assert_eq!(why, "it does not open: calm (No)");
    }

    #[test]
    fn what_nobody_can_tell_is_no_failure_when_the_time_is_up() {
        let Some(StepResult::Unknown { why, .. }) = end(&[Holds::Yes, Holds::Unknown], true) else {
            panic!("not unknown")
        };
        assert_eq!(why, "it did not open within 2 s: it waits for calm, which nobody can tell: Unknown");
        assert!(matches!(end(&[Holds::NotYet, Holds::Unknown], true), Some(StepResult::Failed { .. })));
    }

    #[test]
    fn it_says_of_every_condition_what_is_missing() {
        let people =
            Answer { help: Some("migrate approve".into()), ..Answer::new(Holds::NotYet, "approval", "0 of 1") };
        let answers = [people, Answer::new(Holds::NotYet, "its window, next at noon", ""), answer(Holds::Yes)];
        assert_eq!(waits_for(&answers), "approval (0 of 1): migrate approve; its window, next at noon");
    }
}
