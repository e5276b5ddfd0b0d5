//! Who is left to serve while the way back takes a target out.
//!
//! Must never let the last one go that is well while all others of its pool fail: it holds, and the target keeps its traffic.

use futures_util::stream::{FuturesUnordered, StreamExt};

use super::{Context, Effect, failed, traffic, unknown, wait};
use crate::check::{Checks, SubjectName};
use crate::event::StepResult;
use crate::model::{Member, Mode, Pool};
use crate::mutant::{self, Mutant};
use crate::step::{Step, TrafficStep};

/// What is to be done while nobody else is well.
const NOBODY_ELSE: &str = "the target keeps its traffic, because nobody else would serve: mend one of the others, then `migrate rollback` again; with `--accept-gap` \
     it leaves all the same, and users are cut off until its source is back";

/// Looks at those who stay before a target leaves; an error where every one of them fails.
pub async fn look(
    context: &Context,
    step: &Step,
    back: &TrafficStep,
    before: &Pool,
    moved: &Checks,
) -> Result<Effect, Effect> {
    let leaves = |name: &str| before.member(name).is_none_or(|member| !serves(member));
    let leave: Vec<&str> = back.changes.iter().map(|c| &*c.member).filter(|name| leaves(name)).collect();
    if leave.is_empty() || mutant::is(Mutant::NoLookBack) {
        return Ok(Effect::LookedBack);
    }
    let director = context.director(&back.director)?;
    let now = traffic::ask(context, step, || director.observe(&back.pool)).await?;
    let stay = now.members.iter().filter(|m| serves(m) && m.up != Some(false) && !leave.contains(&&*m.name));
    // Others than those who are known serve, too.
    if stay.count() > moved.hosts().len() {
        return Ok(Effect::LookedBack);
    }
    Ok(any_is_well(context, step, moved).await)
}

fn serves(member: &Member) -> bool {
    member.mode == Mode::Ready && member.weight > 0
}

/// The first one that passes is enough.
async fn any_is_well(context: &Context, step: &Step, checks: &Checks) -> Effect {
    let hosts = checks.each_subject().filter(|(subject, _)| matches!(subject, SubjectName::Host(_)));
    let mut asked: FuturesUnordered<_> =
        hosts.map(|(_, own)| async move { wait::check(context, step, &own).await }).collect();
    let mut last = Effect::LookedBack;
    while let Some(effect) = asked.next().await {
        last = match effect {
            Effect::Ended(StepResult::Done { .. }) => return Effect::LookedBack,
            Effect::Ended(StepResult::Failed { why, .. }) => failed(why, Some(NOBODY_ELSE.to_owned())),
            Effect::Ended(StepResult::Unknown { why, .. }) => unknown(why, Some(NOBODY_ELSE.to_owned())),
            other => return other,
        };
    }
    last
}
