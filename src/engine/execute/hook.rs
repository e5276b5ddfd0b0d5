//! Commands of the plan on hosts.

use std::collections::BTreeMap;

use super::{Context, Effect, Found, done, failed, unknown};
use crate::planner::graph::{Class, HookStep, Step};
use crate::spec::model::Host;
use crate::ssh::receipt::{self, Key, KeyedOutcome};
use crate::ssh::{Command, Output, SshError, SshErrorKind};
use crate::text;

/// Runs a hook by the rule of its class.
pub async fn run(context: &Context, step: &Step, hook: &HookStep, found: &Found) -> Effect {
    let host = match context.host(&hook.host) {
        Ok(host) => host,
        Err(effect) => return effect,
    };
    let command = match command(context, step, hook, &hook.run, found) {
        Ok(command) => command,
        Err(effect) => return effect,
    };
    if let Some(probe) = &hook.done_when {
        match already_done(context, host, probe, hook).await {
            Ok(true) => return done("was done already, as `done_when` says"),
            Ok(false) => {}
            Err(e) => return unknown(e.to_string(), e.hint),
        }
    }
    match step.kind.class() {
        Class::Keyed => keyed(context, step, host, &command, &found.failures.to_string()).await,
        _ => plain(context, host, &command, hook).await,
    }
}

/// Takes a hook's work back, as the plan says.
pub async fn undo(context: &Context, step: &Step, hook: &HookStep, found: &Found) -> Effect {
    let Some(script) = &hook.undo else { return done("there is nothing to take back, as the plan says") };
    let host = match context.host(&hook.host) {
        Ok(host) => host,
        Err(effect) => return effect,
    };
    match command(context, step, hook, script, found) {
        Ok(command) if hook.idempotent => plain(context, host, &command, hook).await,
        Ok(command) => keyed(context, step, host, &command, &format!("undo.{}", found.failures)).await,
        Err(effect) => effect,
    }
}

/// The script with its environment: secrets, and what tells one run of it from another.
fn command(context: &Context, step: &Step, hook: &HookStep, script: &str, found: &Found) -> Result<Command, Effect> {
    let mut env = BTreeMap::from([
        ("MIGRATE_RUN".to_owned(), context.run.clone()),
        ("MIGRATE_STEP".to_owned(), step.id.clone()),
        ("MIGRATE_FAILURES".to_owned(), found.failures.to_string()),
    ]);
    for (name, reference) in &hook.secrets {
        let secret = context.world.secrets.resolve(reference).map_err(|e| failed(e.to_string(), None))?;
        env.insert(name.clone(), secret.reveal().to_owned());
    }
    Ok(Command { script: script.to_owned(), args: Vec::new(), env, timeout: Some(hook.timeout) })
}

async fn already_done(context: &Context, host: &Host, probe: &str, hook: &HookStep) -> Result<bool, SshError> {
    let probe = Command { script: probe.to_owned(), timeout: Some(hook.timeout), ..Command::default() };
    Ok(context.world.remote.run(host, &probe).await?.status == 0)
}

/// A command that may be repeated: when its end was not seen, that is unknown, and the next run just does it again.
async fn plain(context: &Context, host: &Host, command: &Command, hook: &HookStep) -> Effect {
    match context.world.remote.run(host, command).await {
        Ok(output) => ended(&hook.host, &output),
        Err(e) => not_run(e),
    }
}

/// A command that must run once: the host keeps a receipt for its key, and a new try after a failure is a new key.
async fn keyed(context: &Context, step: &Step, host: &Host, command: &Command, nth: &str) -> Effect {
    let digest = blake3::hash(step.id.as_bytes()).to_hex();
    let name = format!("{}.{}.{nth}", step.kind.phase(), digest.get(..16).unwrap_or_default());
    let key = match Key::new(context.run.as_str(), name) {
        Ok(key) => key,
        Err(why) => return failed(why, None),
    };
    let look = Some(format!(
        "look on {}, then say `migrate resolve {} {} --done` or `--not-done`",
        host.name, context.run, step.id
    ));
    let (remote, clock) = (context.world.remote.as_ref(), context.world.clock.as_ref());
    match receipt::run_keyed(remote, clock, host, &key, context.fence, command).await {
        Ok(KeyedOutcome::Finished(output)) => ended(&host.name, &output),
        Ok(KeyedOutcome::Running) => unknown(format!("{}: the command still runs", host.name), look),
        Ok(KeyedOutcome::NotClaimed) => {
            unknown(format!("{}: nobody can tell whether the command starts", host.name), look)
        }
        Ok(KeyedOutcome::NeverStarted) => {
            failed(format!("{}: the command never started, and never will", host.name), None)
        }
        Ok(KeyedOutcome::Unknown) => unknown(format!("{}: the command was killed before its end", host.name), look),
        Ok(KeyedOutcome::Fenced { .. }) => {
            failed(format!("{}: a newer controller has this run", host.name), Some("leave it to that one".into()))
        }
        Err(e) => not_run(e),
    }
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

fn not_run(error: SshError) -> Effect {
    match error.kind {
        SshErrorKind::Interrupted => unknown(error.to_string(), error.hint),
        _ => failed(error.to_string(), error.hint),
    }
}
