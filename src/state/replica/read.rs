//! Reading a replica from YAML.

use std::time::Duration;

use super::{Limits, ReplicaState, Run};
use crate::fields;
use crate::fields::kinds::Settings;
use crate::fields::template::{self, Role, Sides, Use};
use crate::model::{Side, Template};
use crate::state::server::{self, given};
use crate::step::Verb;
use crate::text::units::YEAR;
use crate::yaml::map::{Map, one_of};
use crate::yaml::reader::Value;

const EXAMPLE: &str = "{lag: …, position: …, reached: …, fence: …, unfence: …, writer: …, promote: …}";
const RUN: &str = "{run: ./seed, undo: rm -rf /srv/log}";
const SIDES: [(&str, Side); 2] = [("from", Side::Source), ("to", Side::Target)];
const MILLISECOND: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

impl Settings for ReplicaState {
    const KEY: &'static str = "replica";

    fn read(value: Value<'_>, _: &Map<'_>, uses: &mut Vec<Use>) -> Option<Self> {
        value.map("replica", EXAMPLE, |m| read(m, uses))?
    }
}

fn read(m: &Map<'_>, uses: &mut Vec<Use>) -> Option<ReplicaState> {
    let mut runs = Vec::new();
    for (key, verb, on) in [
        ("prepare", Verb::Prepare, Side::Source),
        ("seed", Verb::Seed, Side::Target),
        ("link", Verb::Link, Side::Target),
        ("release", Verb::Release, Side::Source),
    ] {
        let given = m.get(key).into_iter().flat_map(|value| value.one_or_many());
        runs.extend(given.map(|value| run(value, verb, on, uses)));
    }
    let back = m.get("back").into_iter().flat_map(|value| value.one_or_many());
    let back: Vec<Option<Run>> = back.map(|value| run(value, Verb::Back, Side::Target, uses)).collect();
    let lag = m.need("lag", "./lag").and_then(|value| lag(value, uses));
    let mut needed = |key, example| m.need(key, example).and_then(|value| command(value, uses));
    let position = needed("position", "./position");
    let reached = needed("reached", "./reached");
    let fence = needed("fence", "./fence");
    let unfence = needed("unfence", "./unfence");
    let writer = needed("writer", "./writer");
    let promote = needed("promote", "./promote");
    let check = m.get("check").map(|value| command(value, uses));
    let digest = m.get("digest").map(|value| command(value, uses));
    let secrets = m.get("secrets").map(fields::secret::by_variable).unwrap_or_default();
    let limits = limits(m, digest.is_some());
    let (lag_on, lag) = lag?;
    Some(ReplicaState {
        check: given(check)?,
        runs: runs.into_iter().collect::<Option<_>>()?,
        back: back.into_iter().collect::<Option<_>>()?,
        lag_on,
        lag,
        digest: given(digest)?,
        position: position?,
        reached: reached?,
        fence: fence?,
        unfence: unfence?,
        writer: writer?,
        promote: promote?,
        limits,
        secrets,
    })
}

fn limits(m: &Map<'_>, compares: bool) -> Limits {
    let verify = m.get("verify");
    if let Some(value) = verify.filter(|_| !compares) {
        value.error(
            "`verify` says when digests are compared, and there are none",
            "give a `digest`, or remove `verify`",
        );
    }
    server::limits(m, MINUTE, verify.and_then(server::verify).unwrap_or_default())
}

/// A command that is the same on both sides.
fn command(value: Value<'_>, uses: &mut Vec<Use>) -> Option<Template> {
    let read = template::read(value, Role::Command, Sides::Both, "a command", "fence: ./fence")?;
    let template = read.template.value.clone();
    uses.push(read);
    Some(template)
}

fn side(m: &Map<'_>, default: Side) -> Option<Side> {
    match m.get("on") {
        Some(value) => one_of(value, "a side", "sides", &SIDES).map(|side| side.value),
        None => Some(default),
    }
}

/// A command, or where it runs with it.
fn lag(value: Value<'_>, uses: &mut Vec<Use>) -> Option<(Side, Template)> {
    if !value.is_map() {
        return Some((Side::Target, command(value, uses)?));
    }
    value.map("replica lag", "{on: from, run: ./lag}", |m| {
        let on = side(m, Side::Target);
        let run = m.need("run", "./lag").and_then(|value| command(value, uses));
        Some((on?, run?))
    })?
}

/// A command that changes something: that it can be repeated, or asked for, or runs once, and how it is taken back.
fn run(value: Value<'_>, verb: Verb, default: Side, uses: &mut Vec<Use>) -> Option<Run> {
    value.map("replica command", RUN, |m| {
        let on = side(m, default);
        let run = m.need("run", "./seed").and_then(|value| command(value, uses));
        let timeout = m.get("timeout").and_then(|value| value.duration(MILLISECOND..=YEAR));
        let idempotent = m.get("idempotent").and_then(|value| value.bool());
        let done_when = m.get("done_when").map(|value| command(value, uses));
        if verb != Verb::Seed && done_when.is_none() && idempotent != Some(true) {
            value.error(
                format!("nobody can tell whether `{}` is done when its end is not known", verb.name()),
                "say `done_when`, or `idempotent: true` where running it twice is the same as once",
            );
        }
        let undo = match verb {
            // Nothing goes back behind it.
            Verb::Release => None,
            _ => Some(m.need("undo", "none")),
        };
        let undo = match undo {
            None => Some(None),
            Some(undo) => undo.and_then(|value| taken_back(value, uses)),
        };
        let timeout = timeout.or_else(|| (verb == Verb::Seed).then_some(24 * HOUR));
        let (on, run, done_when, undo) = (on?, run?, given(done_when)?, undo?);
        Some(Run { verb, on, run, timeout, idempotent: idempotent.unwrap_or(false), done_when, undo })
    })?
}

/// `none`, or a command.
fn taken_back(value: Value<'_>, uses: &mut Vec<Use>) -> Option<Option<Template>> {
    let before = uses.len();
    let undo = command(value, uses)?;
    if undo.0.trim() == "none" {
        uses.truncate(before);
        return Some(None);
    }
    Some(Some(undo))
}
