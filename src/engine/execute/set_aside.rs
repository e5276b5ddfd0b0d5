//! Steps that put aside what is at a path, and put it back.
//!
//! Must never remove anything: what came to the path meanwhile is moved away, too.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Context, Effect, History, done, failed, hook, unknown};
use crate::event::StepResult;
use crate::host::Command;
use crate::model::HookPoint;
use crate::step::{HookStep, SetAsideStep, Step};
use crate::text::shell::quote;

/// A rename takes no time, whatever is below.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Where nothing was, an empty directory is put aside: that one is there says that the way back has not been gone.
const PUT_ASIDE: &str = r#"[ ! -e "$aside" ] || exit 0
[ -e "$to" ] || mkdir -p -- "$to"
mv -T -- "$to" "$aside"
"#;

const PUT_BACK: &str = r#"[ -e "$aside" ] || exit 0
[ ! -e "$to" ] || mv -T -- "$to" "$to.copied-$MIGRATE_RUN-$(date +%s)"
mv -T -- "$aside" "$to"
"#;

/// Puts it aside, unless it is already.
pub async fn run(context: &Context, step: &Step, set_aside: &SetAsideStep, history: &History) -> Effect {
    let (host, aside) = (&set_aside.host, set_aside.aside(&context.run));
    match is_aside(context, step, set_aside).await {
        Ok(true) => return done(format!("{host}:{aside} is there already")),
        Ok(false) => {}
        Err(effect) => return effect,
    }
    let effect = hook::run(context, step, &commands(context, set_aside), history).await;
    if !matches!(effect, Effect::Ended(StepResult::Done { .. })) {
        return effect;
    }
    match is_aside(context, step, set_aside).await {
        Ok(true) => done(format!("what was there is {host}:{aside} now")),
        Ok(false) => failed(format!("{host}: {aside} is not there after {} was renamed", set_aside.path), None),
        Err(effect) => effect,
    }
}

/// Puts it back, unless it is already.
pub async fn undo(context: &Context, step: &Step, set_aside: &SetAsideStep, history: &History) -> Effect {
    let effect = hook::undo(context, step, &commands(context, set_aside), history).await;
    if !matches!(effect, Effect::Ended(StepResult::Done { .. })) {
        return effect;
    }
    let (host, path) = (&set_aside.host, &set_aside.path);
    match is_aside(context, step, set_aside).await {
        Ok(false) => done(format!("{host}:{path} is what it was before")),
        Ok(true) => failed(format!("{host}: {} is still there", set_aside.aside(&context.run)), None),
        Err(effect) => effect,
    }
}

async fn is_aside(context: &Context, step: &Step, set_aside: &SetAsideStep) -> Result<bool, Effect> {
    let host = context.host(&set_aside.host)?;
    let (script, args) = (r#"[ -e "$1" ]"#.to_owned(), vec![set_aside.aside(&context.run)]);
    let question = Command { script, args, timeout: Some(TIMEOUT), ..Command::default() };
    match context.query(step, host, &question).await {
        Ok(output) => Ok(output.status == 0),
        Err(e) => Err(unknown(e.to_string(), e.hint)),
    }
}

/// As commands that run under a receipt: a start that is late must not outlive this controller.
fn commands(context: &Context, set_aside: &SetAsideStep) -> HookStep {
    let aside = set_aside.aside(&context.run);
    let names = format!("set -e; to={}; aside={}", quote(set_aside.place()), quote(&aside));
    HookStep {
        host: set_aside.host.clone(),
        at: HookPoint::BeforeSeed,
        run: format!("{names}\n{PUT_ASIDE}"),
        timeout: TIMEOUT,
        idempotent: true,
        done_when: None,
        undo: Some(format!("{names}\n{PUT_BACK}")),
        secrets: BTreeMap::new(),
        env: BTreeMap::new(),
    }
}
