//! Going back over the steps of replicas: the source is opened again as it was, or, once its target may have been promoted, by the same switch
//! the other way round.
//!
//! Must never open a source that may lack a write, and never leave a command behind that would let it follow somebody once it is open.

use std::time::Duration;

use super::replica::{Asks, SETTLES, finished, lag};
use super::writer::Writer;
use super::{Effect, History, done, failed, hook, unknown};
use crate::event::{Event, ReversePace, StepResult};
use crate::model::Side;
use crate::mutant::{self, Mutant};
use crate::step::{CatchUp, Fence, StepKind, Switch};

/// Between two looks at a source that follows.
const REST: Duration = Duration::from_secs(5);
/// How often one controller lets a source follow that does not: an operator mends what stays broken.
const TRIES: u32 = 3;

/// Opens the source again, once it is certain that the target takes no writes and that no command comes late that would let it.
pub async fn open_again(asks: &Asks<'_>, fence: &Fence, history: &History) -> Result<String, Effect> {
    let (from, to) = (asks.host(Side::Source), asks.host(Side::Target));
    if !mutant::is(Mutant::UnfenceOnUnknown) && !mutant::is(Mutant::ReleasesAfterPromote) {
        end_promotes(asks, history).await?;
        match asks.settled(Side::Target, &fence.writer, &Writer::No, SETTLES).await? {
            Writer::No => {}
            Writer::Yes => return Err(stays_closed(asks, &format!("{to} takes writes"))),
            Writer::Unknown(why) => {
                return Err(stays_closed(asks, &format!("nobody can tell whether {to} takes writes: {why}")));
            }
        }
    }
    finished(hook::undo(asks.context, asks.step, &asks.replica.unfence(fence), history).await)?;
    match asks.settled(Side::Source, &fence.writer, &Writer::Yes, SETTLES).await? {
        Writer::Yes => Ok(format!("{from} says that it takes writes, and {to} that it takes none")),
        Writer::No => Err(failed(format!("{from} takes no writes after it was opened again"), None)),
        Writer::Unknown(why) => Err(unknown(format!("nobody can tell whether {from} takes writes: {why}"), None)),
    }
}

/// No promote of this run begins any more, or goes on.
async fn end_promotes(asks: &Asks<'_>, history: &History) -> Result<(), Effect> {
    let Some((step, settled)) = &history.related.promote else { return Ok(()) };
    let StepKind::Replica(promote) = &step.kind else { return Ok(()) };
    let Some(command) = promote.under_receipt() else { return Ok(()) };
    for nth in 0..=*settled {
        hook::end_nth(asks.context, step, &command, &nth.to_string()).await?;
    }
    Ok(())
}

fn stays_closed(asks: &Asks<'_>, why: &str) -> Effect {
    let (from, to, run, id) = (asks.host(Side::Source), asks.host(Side::Target), &asks.context.run, &asks.step.id);
    let hint = format!(
        "see to it that {to} surely takes no writes, then `migrate apply` or `migrate rollback` again; where only you can tell, open {from} \
         by hand and say `migrate resolve {run} {id} --done`"
    );
    unknown(format!("{from} stays closed: {why}"), Some(hint))
}

/// Lets the source follow until the way back ends. Only the pauses are cut short: a command that is under way would come late for what
/// follows. Never fails: what does not work is told, and does not hold up the way there.
pub async fn follow(asks: &Asks<'_>, switch: &Switch, history: &History) -> Effect {
    let Asks { context, step, .. } = asks;
    let (mut tries, mut is_linked, mut recorded) = (0, false, None);
    loop {
        let pace = match look(asks, switch, history, &mut tries, &mut is_linked).await {
            Ok(pace) => pace,
            Err(Effect::Ended(StepResult::Failed { why, .. } | StepResult::Unknown { why, .. })) => {
                ReversePace::Broken { why }
            }
            Err(other) => return other,
        };
        if recorded != Some(std::mem::discriminant(&pace)) {
            recorded = Some(std::mem::discriminant(&pace));
            context.report(Event::Reversed { step: step.id.clone(), pace: pace.clone() }).await;
        }
        context.waiting(step, format!("the end of the way back; {pace}"));
        tokio::select! {
            biased;
            () = context.committed(step) => break,
            () = context.let_go() => return Effect::Interrupted,
            () = context.world.clock.sleep(REST) => {}
        }
    }
    match end_links(asks, switch, &[nth(history.attempts, tries)]).await {
        Ok(()) => done("the way back has ended"),
        Err(effect) => effect,
    }
}

/// Lets it follow where it does not, and says how far it is.
async fn look(
    asks: &Asks<'_>,
    switch: &Switch,
    history: &History,
    tries: &mut u32,
    is_linked: &mut bool,
) -> Result<ReversePace, Effect> {
    if !*is_linked {
        match link(asks, switch, history, &nth(history.attempts, *tries)).await? {
            Linked::Yes => *is_linked = true,
            Linked::No(why) => {
                *tries = (*tries + 1).min(TRIES - 1);
                return Ok(ReversePace::Broken { why });
            }
            // The same command is asked for again.
            Linked::Unknown(why) => return Ok(ReversePace::Broken { why }),
        }
    }
    let CatchUp { side, lag: script, settle_below, .. } = &switch.catch_up;
    let told = asks.try_once(*side, "lag", script, "").await?.map_err(|e| e.to_string()).and_then(|said| lag(&said));
    Ok(match told {
        Ok(bytes) if bytes < *settle_below => ReversePace::Follows { bytes },
        Ok(bytes) => ReversePace::Lags { bytes },
        Err(why) => {
            (*is_linked, *tries) = (false, (*tries + 1).min(TRIES - 1));
            ReversePace::Broken { why }
        }
    })
}

/// Going back begins: the source must follow and lack little before the target loses traffic.
pub async fn ahead(asks: &Asks<'_>, switch: &Switch, history: &History) -> Effect {
    brought_in_step(asks, switch, history).await.map_or_else(|effect| settles_again(asks, effect), done)
}

async fn brought_in_step(asks: &Asks<'_>, switch: &Switch, history: &History) -> Result<String, Effect> {
    let attempts = [history.attempts, history.attempts.saturating_sub(1)];
    let open = attempts.into_iter().flat_map(|attempt| (0..TRIES).map(move |n| nth(attempt, n)));
    let open: Vec<String> = open.chain([going_back(attempts[1])]).collect();
    end_links(asks, switch, &open).await?;
    follows(asks, switch, history, switch.catch_up.within).await
}

/// It follows and lacks little.
async fn follows(asks: &Asks<'_>, switch: &Switch, history: &History, within: Duration) -> Result<String, Effect> {
    let (new, old) = (asks.host(Side::Source), asks.host(Side::Target));
    match link(asks, switch, history, &going_back(history.attempts)).await? {
        Linked::Yes => asks.catch_up(&CatchUp { within, ..switch.catch_up.clone() }).await,
        Linked::No(why) => Err(failed(format!("{old} does not follow {new}: {why}"), Some(again(asks)))),
        Linked::Unknown(why) => {
            Err(unknown(format!("nobody can tell whether {old} follows {new}: {why}"), Some(again(asks))))
        }
    }
}

/// The target may have been promoted: it is closed, and the source takes over once it has everything.
pub async fn back(asks: &Asks<'_>, switch: &Switch, history: &History) -> Effect {
    if !history.opened {
        return done("the target has taken nothing that the source lacks");
    }
    switched(asks, switch, history).await.map_or_else(|effect| settles_again(asks, effect), done)
}

/// Whatever is not known of a command: doing the step again asks for it.
fn settles_again(asks: &Asks<'_>, effect: Effect) -> Effect {
    match effect {
        Effect::Ended(StepResult::Unknown { why, .. }) => unknown(why, Some(again(asks))),
        other => other,
    }
}

async fn switched(asks: &Asks<'_>, switch: &Switch, history: &History) -> Result<String, Effect> {
    let (new, old) = (asks.host(Side::Source), asks.host(Side::Target));
    end_promotes(asks, history).await?;
    end_links(asks, switch, &[going_back(history.attempts.saturating_sub(1))]).await?;
    let writer = &switch.fence.writer;
    let told = tokio::join!(asks.told(Side::Source, writer), asks.told(Side::Target, writer));
    match (told.0?, told.1?) {
        (Writer::Unknown(why), _) => {
            return Err(asks.held(format!("nobody can tell whether {new} takes writes: {why}")));
        }
        (_, Writer::Unknown(why)) => {
            return Err(asks.held(format!("nobody can tell whether {old} takes writes: {why}")));
        }
        (Writer::Yes, Writer::Yes) => return Err(asks.held(format!("{new} takes writes, and so does {old}"))),
        // An earlier attempt has come so far.
        (Writer::No, Writer::Yes) => {}
        (now, Writer::No) => {
            // One that was never promoted has nothing that the other one lacks.
            if now == Writer::Yes {
                follows(asks, switch, history, switch.prove.within).await?;
            }
            if !mutant::is(Mutant::LeavesTargetOpen) {
                close(asks, switch, history).await?;
                prove(asks, switch).await?;
            }
            take_over(asks, switch, history).await?;
        }
    }
    for (n, run) in switch.back.iter().enumerate().rev() {
        let Some(undo) = &run.undo else { continue };
        let command = asks.replica.replica.command(run.verb.name(), run.side, undo);
        let nth = format!("unlink.{}.{n}", history.attempts);
        finished(hook::once(asks.context, asks.step, &command, history, &nth).await)?;
    }
    Ok(format!("{old} takes writes and has everything that {new} had, which takes none"))
}

/// The one that was promoted takes no writes any more.
async fn close(asks: &Asks<'_>, switch: &Switch, history: &History) -> Result<(), Effect> {
    let new = asks.host(Side::Source);
    let command = asks.replica.replica.command("fence", Side::Source, &switch.fence.fence);
    let nth = format!("fence.{}", history.attempts);
    finished(hook::once(asks.context, asks.step, &command, history, &nth).await)?;
    match asks.settled(Side::Source, &switch.fence.writer, &Writer::No, SETTLES).await? {
        Writer::No => Ok(()),
        Writer::Yes => Err(failed(format!("{new} still takes writes after its fence"), Some(again(asks)))),
        Writer::Unknown(why) => Err(asks.held(format!("nobody can tell whether {new} takes writes: {why}"))),
    }
}

/// The other one has everything.
async fn prove(asks: &Asks<'_>, switch: &Switch) -> Result<(), Effect> {
    if mutant::is(Mutant::NoProofBack) {
        return Ok(());
    }
    let position = asks.position(&switch.prove.position).await?;
    let began = asks.context.world.clock.now();
    let late = || asks.waited(began) > switch.prove.within;
    asks.proved(&switch.prove, &position, late).await.map(drop)
}

/// The other one takes writes, once.
async fn take_over(asks: &Asks<'_>, switch: &Switch, history: &History) -> Result<(), Effect> {
    let nth = going_back(history.attempts);
    if mutant::is(Mutant::LeavesTargetOpen) {
        let command = asks.replica.replica.command("promote", Side::Target, &switch.promote.promote);
        return finished(hook::once(asks.context, asks.step, &command, history, &nth).await);
    }
    asks.promote(&switch.promote, history, &nth, false).await.map(drop)
}

/// How far letting a source follow has come.
enum Linked {
    Yes,
    No(String),
    Unknown(String),
}

/// Lets changes flow back where they do not.
async fn link(asks: &Asks<'_>, switch: &Switch, history: &History, nth: &str) -> Result<Linked, Effect> {
    for (n, run) in switch.back.iter().enumerate() {
        let probe = async |script: &str| asks.try_once(run.side, run.verb.name(), script, "").await;
        if let Some(script) = &run.done_when {
            match probe(script).await? {
                Ok(said) if said.status == 0 => continue,
                Ok(_) => {}
                Err(e) => return Ok(Linked::Unknown(e.to_string())),
            }
        }
        let command = asks.replica.runs(run);
        match hook::once(asks.context, asks.step, &command, history, &format!("{nth}.{n}")).await {
            Effect::Ended(StepResult::Done { .. }) => {}
            Effect::Ended(StepResult::Failed { why, .. }) => return Ok(Linked::No(why)),
            Effect::Ended(StepResult::Unknown { why, .. }) => return Ok(Linked::Unknown(why)),
            other => return Err(other),
        }
        if let Some(script) = &run.done_when {
            match probe(script).await? {
                Ok(said) if said.status == 0 => {}
                Ok(_) => {
                    return Ok(Linked::No("the command ended well, and `done_when` says that it is not done".into()));
                }
                Err(e) => return Ok(Linked::Unknown(e.to_string())),
            }
        }
    }
    Ok(Linked::Yes)
}

/// None of these commands begins any more, or goes on.
async fn end_links(asks: &Asks<'_>, switch: &Switch, open: &[String]) -> Result<(), Effect> {
    if mutant::is(Mutant::NoSeal) {
        return Ok(());
    }
    for nth in open {
        for (n, run) in switch.back.iter().enumerate() {
            let command = asks.replica.runs(run);
            hook::end_nth(asks.context, asks.step, &command, &format!("{nth}.{n}")).await?;
        }
    }
    Ok(())
}

/// Tells one try of an attempt from the next.
fn nth(attempt: u32, n: u32) -> String {
    format!("back.{attempt}.{n}")
}

/// The same while the run goes back.
fn going_back(attempt: u32) -> String {
    format!("undo.{attempt}")
}

fn again(asks: &Asks<'_>) -> String {
    let (run, id) = (&asks.context.run, &asks.step.id);
    format!(
        "mend it, then `migrate rollback {run}` again; or give up what the target has taken that the source lacks, open the source by hand \
         and say so: `migrate resolve {run} {id} --done --why …`"
    )
}
