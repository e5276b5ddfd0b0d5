//! The proof that a target has everything, and the promote that goes by it.
//!
//! Must never let the target take writes before it is proved, or while anybody may still write on the source, and never guess which of them does.

use std::time::Duration;

use super::replica::{Asks, SETTLES, shown};
use super::writer::Writer;
use super::{Effect, History, failed, hook, unknown};
use crate::event::{Before, StepResult};
use crate::model::Side;
use crate::mutant::{self, Mutant};
use crate::step::{Promote, Prove, ReplicaAct};
use crate::text;

/// How old the proof may be for the promote to go by what it has heard of both sides.
const JUST_PROVED: Duration = Duration::from_secs(1);

impl Asks<'_> {
    pub async fn prove(&self, prove: &Prove, history: &History) -> Result<String, Effect> {
        let from = self.host(Side::Source);
        let Some(Before::Position(position)) = &history.before else {
            return Err(failed(format!("the position of {from} is not in the journal"), None));
        };
        let late = || {
            let now = self.context.world.clock.wall();
            let closed = history.related.closed.map(|since| now.duration_since(since).unsigned_abs());
            closed.is_some_and(|closed| closed > prove.within)
        };
        // Whatever it fails with by then: there was time enough.
        self.proved(prove, position, late).await.map_err(|effect| match effect {
            Effect::Ended(StepResult::Failed { why, .. }) if late() => Effect::Overdue(why),
            other => other,
        })
    }

    /// The target has everything up to a position of the source, which is closed and stays there.
    pub async fn proved(&self, prove: &Prove, position: &str, late: impl Fn() -> bool) -> Result<String, Effect> {
        let (from, to) = (self.host(Side::Source), self.host(Side::Target));
        let began = self.context.world.clock.now();
        let now = loop {
            // Everybody waits: all is asked at once. What the source says counts only if it is closed and the target has reached it; and what
            // both say of writes spares the promote its question.
            let reached = async {
                if mutant::is(Mutant::LagIsProof) {
                    return Ok(Ok(()));
                }
                self.reached(&prove.reached, position).await
            };
            let (source, target, reached, now) = tokio::join!(
                self.writer(Side::Source, &prove.writer),
                self.writer(Side::Target, &prove.writer),
                reached,
                self.position(&prove.position)
            );
            let open = match (source?, target?) {
                (Writer::Yes, _) => {
                    return Err(failed(format!("{from} takes writes again: its fence does not hold"), None));
                }
                (_, Writer::Yes) => {
                    return Err(failed(format!("{to} takes writes before it is proved that it has everything"), None));
                }
                (Writer::No, Writer::No) => match reached? {
                    Ok(()) => break now?,
                    Err(why) => format!("{to} has not reached {}: {why}", shown(position)),
                },
                (Writer::Unknown(why), _) => format!("nobody can tell whether {from} takes writes: {why}"),
                (_, Writer::Unknown(why)) => format!("nobody can tell whether {to} takes writes: {why}"),
            };
            if late() {
                let within = text::duration(prove.within);
                return Err(failed(format!("{open}, and {from} is closed for longer than {within}"), None));
            }
            self.context.waiting(self.step, open);
            self.soon(began).await;
        };
        match now == position {
            true => Ok(format!("{to} has everything up to {}", shown(position))),
            false => Err(failed(
                format!("{from} has gone on from {} to {} after its fence", shown(position), shown(&now)),
                Some(format!("something still writes on {from}, or `position` moves by itself: it must not")),
            )),
        }
    }

    /// Whether the proof has heard just now that neither side takes writes, and nothing has been tried since that could have opened the target.
    pub fn just_proved(&self, history: &History) -> bool {
        let age = |at| self.context.world.clock.wall().duration_since(at);
        let is_young = |age: jiff::SignedDuration| !age.is_negative() && age.unsigned_abs() <= JUST_PROVED;
        history.attempts <= 1 && history.related.proved.map(age).is_some_and(is_young)
    }

    /// What stands against letting the target take writes; or what has come of it, where it takes them already.
    async fn promotable(&self, promote: &Promote) -> Result<Option<String>, Effect> {
        let (from, to) = (self.host(Side::Source), self.host(Side::Target));
        let (before, source) = tokio::join!(
            self.told(Side::Target, &promote.writer),
            self.settled(Side::Source, &promote.writer, &Writer::No, SETTLES)
        );
        let before = before?;
        if let Writer::Unknown(why) = before {
            return Err(self.held(format!("nobody can tell whether {to} takes writes: {why}")));
        }
        match source? {
            Writer::No => {}
            Writer::Yes => return Err(self.held(format!("{from} takes writes: its fence does not hold"))),
            Writer::Unknown(why) => {
                return Err(self.held(format!("nobody can tell whether {from} takes writes: {why}")));
            }
        }
        Ok((before == Writer::Yes).then(|| format!("{to} takes writes already, and {from} takes none")))
    }

    /// Lets the target take writes, once for the `nth` key of the step. Both sides are asked before, unless that was done just now, and in any
    /// case afterwards.
    pub async fn promote(
        &self,
        promote: &Promote,
        history: &History,
        nth: &str,
        asked: bool,
    ) -> Result<String, Effect> {
        let (from, to) = (self.host(Side::Source), self.host(Side::Target));
        if !asked && let Some(already) = self.promotable(promote).await? {
            return Ok(already);
        }
        let command = self.replica.replica.command("promote", Side::Target, &promote.promote);
        let effect = hook::once(self.context, self.step, &command, history, nth).await;
        if matches!(effect, Effect::Barred(_) | Effect::Interrupted) {
            return Err(effect);
        }
        let limit = if matches!(effect, Effect::Ended(StepResult::Done { .. })) { command.timeout } else { SETTLES };
        let source = || self.settled(Side::Source, &promote.writer, &Writer::No, SETTLES);
        let (first, beside) = tokio::join!(self.told(Side::Target, &promote.writer), source());
        // What the source said counts only if the target took writes by then.
        let (target, beside) = match first? {
            Writer::Yes => (Writer::Yes, Some(beside)),
            _ => (self.settled(Side::Target, &promote.writer, &Writer::Yes, limit).await?, None),
        };
        match target {
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
        let source = match beside {
            Some(said) => said?,
            None => source().await?,
        };
        match source {
            Writer::No => Ok(format!("{to} takes writes, and {from} takes none")),
            Writer::Yes => Err(self.held(format!("{to} takes writes, and so does {from}"))),
            Writer::Unknown(why) => {
                Err(self.held(format!("{to} takes writes, and nobody can tell whether {from} does: {why}")))
            }
        }
    }

    /// Nobody knows, and it is not guessed.
    pub fn held(&self, why: String) -> Effect {
        let (from, to, run, id) = (self.host(Side::Source), self.host(Side::Target), &self.context.run, &self.step.id);
        let hint = match self.replica.act {
            ReplicaAct::HandOver(_) => format!("look on {from} and {to}, then `migrate rollback {run}` again"),
            _ => format!(
                "look on {to} and {from}; `migrate apply` asks again; where {to} surely takes no writes and is not to, say \
                 `migrate resolve {run} {id} --not-done`: then there is a way back"
            ),
        };
        unknown(why, Some(hint))
    }
}
