//! Commands of the plan on hosts.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Context, Effect, History, done, failed, unknown};
use crate::event::StepResult;
use crate::host::{self, Command, Output, ReceiptKey, ReceiptStatus};
use crate::model::Host;
use crate::mutant::{self, Mutant};
use crate::outside::{Error, Kind};
use crate::retry::Policy;
use crate::secret::SecretRef;
use crate::step::{Class, HookStep, Step};
use crate::text;

/// How much longer than it may take the end of a command is waited for, when it is to be undone.
const GRACE: Duration = Duration::from_secs(15);
/// How long one question waits for that end.
const FETCH: Duration = Duration::from_secs(5);

/// Runs a hook by the rule of its class, always under a receipt: a start that is late must not outlive this controller.
pub async fn run(context: &Context, step: &Step, hook: &HookStep, history: &History) -> Effect {
    let host = match context.host(&hook.host) {
        Ok(host) => host,
        Err(effect) => return effect,
    };
    let command = match command(context, step, hook, &hook.run, history) {
        Ok(command) => command,
        Err(effect) => return effect,
    };
    let Some(script) = &hook.done_when else { return keyed(context, step, host, &command, &nth(step, history)).await };
    // What asks has the environment of what acts.
    let probe = Command { script: script.clone(), ..command.clone() };
    match already_done(context, step, host, &probe).await {
        Ok(true) => return done("was done already, as `done_when` says"),
        Ok(false) => {}
        Err(e) => return unknown(e.to_string(), e.hint),
    }
    let effect = keyed(context, step, host, &command, &nth(step, history)).await;
    if !matches!(effect, Effect::Ended(StepResult::Done { .. })) {
        return effect;
    }
    match already_done(context, step, host, &probe).await {
        Ok(true) => effect,
        Ok(false) => failed(
            format!("{}: the command ended well, and `done_when` says that its work is not done", host.name),
            Some("mend the command or its `done_when`, then `migrate apply` again".into()),
        ),
        Err(e) => unknown(e.to_string(), e.hint),
    }
}

/// What tells one run of a command from the next: a new try after a known end, or, where a repeat does no harm, every attempt.
fn nth(step: &Step, history: &History) -> String {
    match step.kind.class() {
        Class::Keyed => history.settled.to_string(),
        _ => format!("{}.{}", history.settled, history.attempts),
    }
}

/// Takes a hook's work back, as the plan says, once it is certain that the hook itself has ended or never begins.
pub async fn undo(context: &Context, step: &Step, hook: &HookStep, history: &History) -> Effect {
    let host = match context.host(&hook.host) {
        Ok(host) => host,
        Err(effect) => return effect,
    };
    if history.in_flight && !mutant::is(Mutant::NoSeal) {
        match bring_to_an_end(context, step, hook, host, history).await {
            Ok(true) => {}
            Ok(false) if history.failures == 0 && step.kind.class() == Class::Keyed => {
                return done("the command never began, and never will");
            }
            Ok(false) => {}
            Err(effect) => return effect,
        }
    }
    let Some(script) = &hook.undo else { return done("there is nothing to take back, as the plan says") };
    match command(context, step, hook, script, history) {
        Ok(command) => keyed(context, step, host, &command, &format!("undo.{}", nth(step, history))).await,
        Err(effect) => effect,
    }
}

/// Sees to it that a command whose end is not known either never begins (`false`) or has ended (`true`).
async fn bring_to_an_end(
    context: &Context,
    step: &Step,
    hook: &HookStep,
    host: &Host,
    history: &History,
) -> Result<bool, Effect> {
    let key = key(context, step, &nth(step, history))?;
    end(context, step, host, &key, hook.timeout).await
}

/// The same for the `nth` key of any step.
pub(super) async fn end_nth(context: &Context, step: &Step, hook: &HookStep, nth: &str) -> Result<bool, Effect> {
    let host = context.host(&hook.host)?;
    end(context, step, host, &key(context, step, nth)?, hook.timeout).await
}

async fn end(context: &Context, step: &Step, host: &Host, key: &ReceiptKey, limit: Duration) -> Result<bool, Effect> {
    let remote = context.world.remote.as_ref();
    let began = context.world.clock.now();
    let (mut sealed, mut retry) = (false, context.retry(Policy::PATIENT));
    let outcome = loop {
        context.leave_to_act().await?;
        let outcome = match sealed {
            true => remote.fetch(host, key, context.fence, FETCH).await,
            false => remote.seal(host, key, context.fence).await,
        };
        match outcome {
            Ok(ReceiptStatus::Running) => (sealed, retry) = (true, context.retry(Policy::PATIENT)),
            // A seal may be set twice, and a question asked twice.
            Err(e) => match retry.after(e, |what| context.waiting(step, what)).await {
                Ok(()) => continue,
                Err(e) => break Err(e),
            },
            known => break known,
        }
        context.waiting(step, format!("the command on {} to end, which is to be undone", host.name));
        if context.world.clock.now().saturating_duration_since(began) > limit + GRACE {
            return Err(unknown(format!("{}: the command still runs", host.name), Some(look(context, step, host))));
        }
    };
    match outcome {
        Ok(ReceiptStatus::NeverStarted) => Ok(false),
        // Killed before its end, it may have done a part of its work.
        Ok(ReceiptStatus::Finished(_) | ReceiptStatus::Unknown) => Ok(true),
        Ok(ReceiptStatus::Fenced { .. }) => Err(fenced(host)),
        Ok(ReceiptStatus::Running | ReceiptStatus::NotClaimed) => {
            Err(unknown(format!("{}: nobody can tell whether the command runs", host.name), None))
        }
        Err(e) => Err(unknown(e.to_string(), e.hint)),
    }
}

/// The script with its environment: secrets, and what tells one run of it from another.
fn command(
    context: &Context,
    step: &Step,
    hook: &HookStep,
    script: &str,
    history: &History,
) -> Result<Command, Effect> {
    let mut env = environment(context, step, &hook.env, &hook.secrets)?;
    env.insert("MIGRATE_FAILURES".to_owned(), history.failures.to_string());
    Ok(Command { script: script.to_owned(), args: Vec::new(), env, timeout: Some(hook.timeout) })
}

/// What every command of the plan finds in its environment.
pub(super) fn environment(
    context: &Context,
    step: &Step,
    own: &BTreeMap<String, String>,
    secrets: &BTreeMap<String, SecretRef>,
) -> Result<BTreeMap<String, String>, Effect> {
    let mut env = own.clone();
    env.insert("MIGRATE_RUN".to_owned(), context.run.clone());
    env.insert("MIGRATE_STEP".to_owned(), step.id.clone());
    for (name, reference) in secrets {
        let secret = context.world.secrets.resolve(reference).map_err(|e| failed(e.to_string(), None))?;
        env.insert(name.clone(), secret.reveal().to_owned());
    }
    Ok(env)
}

async fn already_done(context: &Context, step: &Step, host: &Host, probe: &Command) -> Result<bool, Error> {
    Ok(context.query(step, host, probe).await?.status == 0)
}

/// What the proof of a hook prints, where it says that its work is done.
pub(super) async fn proof(context: &Context, step: &Step, hook: &HookStep) -> Result<String, Effect> {
    let host = context.host(&hook.host)?;
    let script = hook.done_when.clone().unwrap_or_else(|| "exit 1".to_owned());
    let env = environment(context, step, &hook.env, &hook.secrets)?;
    let probe = Command { script, args: Vec::new(), env, timeout: Some(hook.timeout) };
    match context.query(step, host, &probe).await {
        Ok(output) if output.status == 0 => Ok(text::escape(&output.stdout, 300)),
        Ok(_) => Err(failed(format!("{}: the proof does not hold any more", host.name), None)),
        Err(e) => Err(unknown(e.to_string(), e.hint)),
    }
}

/// Runs a command once for the `nth` key of a step, whatever is known of what it does.
pub(super) async fn once(context: &Context, step: &Step, hook: &HookStep, history: &History, nth: &str) -> Effect {
    let host = match context.host(&hook.host) {
        Ok(host) => host,
        Err(effect) => return effect,
    };
    match command(context, step, hook, &hook.run, history) {
        Ok(command) => keyed(context, step, host, &command, nth).await,
        Err(effect) => effect,
    }
}

/// Runs a command once for its key, of which the host keeps a receipt.
async fn keyed(context: &Context, step: &Step, host: &Host, command: &Command, nth: &str) -> Effect {
    let key = match key(context, step, nth) {
        Ok(key) => key,
        Err(effect) => return effect,
    };
    let look = Some(look(context, step, host));
    let (remote, clock) = (context.world.remote.as_ref(), context.world.clock.as_ref());
    let mut retry = context.retry(Policy::PATIENT);
    let outcome = loop {
        if let Err(barred) = context.leave_to_act().await {
            return barred;
        }
        let places = context.world.places.as_ref();
        match host::run_once_at(remote, clock, host, &key, context.fence, command, places).await {
            // Somebody has taken the place away since it was seen. Whether this controller may still act is asked again first.
            Err(e) if e.kind == Kind::Refused && places.lost(host) => {}
            // An sshd that starts again, a network that is away for a moment: the key makes asking again safe.
            Err(e) if e.kind == Kind::Unreachable => {
                if let Err(e) = retry.after(e, |what| context.waiting(step, what)).await {
                    break Err(e);
                }
            }
            outcome => break outcome,
        }
    };
    match outcome {
        Ok(ReceiptStatus::Finished(output)) => ended(&host.name, &output),
        Ok(ReceiptStatus::Running) => unknown(format!("{}: the command still runs", host.name), look),
        Ok(ReceiptStatus::NotClaimed) => {
            unknown(format!("{}: nobody can tell whether the command starts", host.name), look)
        }
        Ok(ReceiptStatus::NeverStarted) => {
            failed(format!("{}: the command never started, and never will", host.name), None)
        }
        Ok(ReceiptStatus::Unknown) => unknown(format!("{}: the command was killed before its end", host.name), look),
        Ok(ReceiptStatus::Fenced { .. }) => fenced(host),
        // An earlier question may have started it, in this session or in one before: the next one asks for the same key.
        Err(e) => unknown(e.to_string(), e.hint),
    }
}

fn key(context: &Context, step: &Step, nth: &str) -> Result<ReceiptKey, Effect> {
    let digest = blake3::hash(step.id.as_bytes()).to_hex();
    let name = format!("{}.{}.{nth}", step.kind.phase().replace(' ', "-"), digest.get(..16).unwrap_or_default());
    ReceiptKey::new(context.run.as_str(), name).map_err(|why| failed(why, None))
}

fn look(context: &Context, step: &Step, host: &Host) -> String {
    let (run, step) = (&context.run, &step.id);
    format!("look on {}, then say `migrate resolve {run} {step} --done` or `--not-done`", host.name)
}

fn fenced(host: &Host) -> Effect {
    unknown(format!("{}: a newer controller has this run", host.name), Some("leave it to that one".into()))
}

fn ended(host: &str, output: &Output) -> Effect {
    let says = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
    let says = text::escape(says, 300);
    match output.status {
        0 => done(if says.is_empty() { "exit 0".to_owned() } else { format!("exit 0: {says}") }),
        n => failed(
            format!("{host}: the command ended with status {n}: {says}"),
            Some("mend what it complains about, then `migrate apply` again".into()),
        ),
    }
}
