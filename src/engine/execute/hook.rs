//! Commands of the plan on hosts.

use std::collections::BTreeMap;

use super::{Context, Effect, Found, done, failed, unknown};
use crate::planner::graph::{HookStep, Step};
use crate::spec::model::Host;
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
    plain(context, host, &command, hook).await
}

/// Takes a hook's work back, as the plan says.
pub async fn undo(context: &Context, step: &Step, hook: &HookStep, found: &Found) -> Effect {
    let Some(script) = &hook.undo else { return done("there is nothing to take back, as the plan says") };
    let host = match context.host(&hook.host) {
        Ok(host) => host,
        Err(effect) => return effect,
    };
    match command(context, step, hook, script, found) {
        Ok(command) => plain(context, host, &command, hook).await,
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
