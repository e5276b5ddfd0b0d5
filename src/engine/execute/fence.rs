//! Steps that let the firewall of a source refuse new connections, and that take it away again.
//!
//! Must never call a source fenced whose firewall has not been read back, and never let established connections break.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Context, Effect, History, done, failed, hook, unknown};
use crate::check::PoolRef;
use crate::event::{Event, StepResult};
use crate::host::Command;
use crate::model::{HookPoint, OnDrift};
use crate::step::{FenceStep, Fenced, HookStep, Step, UnfenceStep};

/// Rules are set at once.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Where `nft` is on hosts whose logins do not look there.
const PATH: &str = "PATH=$PATH:/usr/sbin:/sbin; export PATH\n";

/// `$1` the table, `$2` the port: status 0 where it refuses what begins a connection to it, 1 where it is not there.
const IS_SET: &str = r#"there=$(nft -j list table inet "$1" 2>/dev/null) || exit 1
case $there in
  *'"field": "dport"'*'"right": '"$2"'}'*'"right": "syn"'*'"reject": {"type": "tcp reset"}'*) exit 0 ;;
esac
exit 2
"#;

/// `$1` the table: status 0 where it is not there, and nftables can tell.
const IS_GONE: &str = r#"nft -j list tables >/dev/null || exit 3
! nft -j list table inet "$1" >/dev/null 2>&1
"#;

/// Sets it, and reads it back.
pub async fn set(context: &Context, step: &Step, fence: &FenceStep, history: &History) -> Effect {
    let effect = hook::run(context, step, &commands(context, fence), history).await;
    if !matches!(effect, Effect::Ended(StepResult::Done { .. })) {
        return effect;
    }
    match ask(context, step, fence, IS_SET).await {
        Ok(0) => done(format!("new connections to port {} of {} are refused", fence.port, fence.host)),
        Ok(_) => failed(format!("{}: nftables does not list what was set", fence.host), None),
        Err(effect) => effect,
    }
}

/// Takes it away: the source may be reached again.
pub async fn undo(context: &Context, step: &Step, fence: &FenceStep, history: &History) -> Effect {
    let effect = hook::undo(context, step, &commands(context, fence), history).await;
    if !matches!(effect, Effect::Ended(StepResult::Done { .. })) {
        return effect;
    }
    match ask(context, step, fence, IS_SET).await {
        Ok(1) => done(format!("connections to port {} of {} are taken again", fence.port, fence.host)),
        Ok(_) => still_there(context, fence),
        Err(effect) => effect,
    }
}

/// Takes it away at the end.
pub async fn lift(context: &Context, step: &Step, unfence: &UnfenceStep, history: &History) -> Effect {
    let fence = &unfence.fence;
    let both = commands(context, fence);
    let lift = HookStep { run: both.undo.clone().unwrap_or_default(), undo: None, ..both };
    let effect = hook::run(context, step, &lift, history).await;
    if !matches!(effect, Effect::Ended(StepResult::Done { .. })) {
        return effect;
    }
    match ask(context, step, fence, IS_GONE).await {
        Ok(0) => done("nothing is left behind"),
        Ok(_) => still_there(context, fence),
        Err(effect) => effect,
    }
}

fn still_there(context: &Context, fence: &FenceStep) -> Effect {
    failed(format!("{}: the table {} is still there", fence.host, fence.table(&context.run)), None)
}

/// Looks whether it is still there; sets it again where the plan says so. Whether it had to.
pub async fn look(
    context: &Context,
    step: &Step,
    fenced: &Fenced,
    pool: &PoolRef,
    member: &str,
    history: &History,
) -> Result<bool, Effect> {
    let Fenced { by, fence } = fenced;
    if ask(&context.for_step(by), step, fence, IS_SET).await? == 0 {
        return Ok(false);
    }
    let restores = context.on_drift().unwrap_or(fence.on_drift) == OnDrift::Restore;
    let (FenceStep { host, port, .. }, table, run) = (fence, fence.table(&context.run), &context.run);
    let clue = format!(
        "{host} does not refuse new connections to port {port} any more: it was started again, or somebody has taken away the table {table}"
    );
    context
        .report(Event::Drifted {
            step: step.id.clone(),
            director: pool.director.clone(),
            pool: pool.pool.clone(),
            members: Vec::new(),
            clues: vec![clue.clone()],
            restores,
        })
        .await;
    if restores {
        return match set(context, step, fence, history).await {
            Effect::Ended(StepResult::Done { .. }) => Ok(true),
            other => Err(other),
        };
    }
    let hint = format!(
        "find out why, then let the run set it again: `migrate set {run} on_drift=restore` and `migrate apply`; \
         `migrate rollback {run}` goes back"
    );
    Err(Effect::Drifted { why: clue, hint, members: vec![member.to_owned()] })
}

async fn ask(context: &Context, step: &Step, fence: &FenceStep, script: &str) -> Result<i32, Effect> {
    let host = context.host(&fence.host)?;
    let args = vec![fence.table(&context.run), fence.port.to_string()];
    let question = Command { script: format!("{PATH}{script}"), args, timeout: Some(TIMEOUT), ..Command::default() };
    match context.query(step, host, &question).await {
        Ok(output) => Ok(output.status),
        Err(e) => Err(unknown(e.to_string(), e.hint)),
    }
}

/// As commands that run under a receipt: a start that is late must not outlive this controller.
fn commands(context: &Context, fence: &FenceStep) -> HookStep {
    let table = fence.table(&context.run);
    // In one transaction: nothing is between the old table and the new one.
    let none = format!("table inet {table}\ndelete table inet {table}\n");
    let nft = |rules: String| format!("{PATH}nft -f - <<'END'\n{rules}END\n");
    HookStep {
        host: fence.host.clone(),
        at: HookPoint::AfterDrain,
        run: nft(format!("{none}{}", fence.rules(&table))),
        timeout: TIMEOUT,
        idempotent: true,
        done_when: None,
        undo: Some(nft(none)),
        env: BTreeMap::new(),
        secrets: BTreeMap::new(),
    }
}
