//! Connections that do not end by themselves.

use std::time::Duration;

use crate::check::{About, HealthCheck};
use crate::fields;
use crate::fields::template::{self, Role, Sides, Use};
use crate::model::{Connections, Govern, LetGo};
use crate::text::units::{self, YEAR};
use crate::yaml::map::{Map, one_of};
use crate::yaml::reader::Value;
use crate::yaml::source::{At, Located};

/// How many are let go in a second unless the plan says so: what a small service takes.
const PACE: u64 = 100;
const WITHIN: Duration = Duration::from_secs(2 * 3600);
/// Requests that are under way end by themselves in this time.
const AFTER: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(60);

/// What is done about them, with its place and its templates.
#[derive(Debug, Clone)]
pub struct ConnectionsDraft {
    pub connections: Connections,
    /// Where `by` is written.
    pub by: At,
    /// Where each of `govern` is written.
    pub govern: Vec<Located<Govern>>,
    /// What is asked of the service, besides.
    pub asks: Vec<HealthCheck>,
    pub templates: Vec<Use>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Hint,
    Close,
    Reset,
}

const WORDS: [(&str, By); 3] = [("hint", By::Hint), ("close", By::Close), ("reset", By::Reset)];

/// Reads `drain.connections`.
pub fn read(value: Value<'_>) -> Option<ConnectionsDraft> {
    value.map("connections", "connections: {by: close, pace: 100/s}", |m| {
        let by = m.need("by", "close").and_then(|v| one_of(v, "a way to let connections go", "ways", &WORDS));
        let pace = m.get("pace").map_or(Some(PACE), per_second);
        let govern = m.get("govern").map_or_else(|| Some(Signals::default()), govern);
        let max_pace = m.get("max_pace").map(|v| (v, per_second(v)));
        let within = duration(m, "within", WITHIN, Duration::from_secs(1));
        let after = duration(m, "after", AFTER, Duration::ZERO);
        let of_hint = ["run", "timeout", "secrets"].map(|key| m.get(key));
        let timeout = duration(m, "timeout", TIMEOUT, Duration::from_millis(1));
        let Located { value: way, at } = by?;
        let [run, _, secrets] = of_hint;
        let secrets = secrets.map(fields::secret::by_variable).unwrap_or_default();
        let (by, templates) = match (way, run) {
            (By::Close | By::Reset, _) => {
                for value in of_hint.into_iter().flatten() {
                    let name = value.name();
                    value.error(
                        format!("`{name}` is for `by: hint`"),
                        format!("write `by: hint`, or leave `{name}` out"),
                    );
                }
                (if way == By::Close { LetGo::Close } else { LetGo::Reset }, Vec::new())
            }
            (By::Hint, None) => {
                value.error(
                    "`by: hint` needs `run`: the command that asks the service to let clients go",
                    "for example `run: chatctl shed --count \"$MIGRATE_COUNT\" --within \"$MIGRATE_WITHIN\"`",
                );
                return None;
            }
            (By::Hint, Some(run)) => {
                let example = "run: chatctl shed \"$MIGRATE_COUNT\"";
                let run = template::read(run, Role::Command, Sides::Both, "a command", example)?;
                (LetGo::Hint { run: run.template.value.clone(), timeout: timeout?, secrets }, vec![run])
            }
        };
        let (pace, Signals { named, asks, uses }) = (pace?, govern?);
        let max_pace = most(pace, max_pace, !named.is_empty() || !asks.is_empty())?;
        let signals = named.iter().map(|located| located.value).collect();
        let connections = Connections { by, pace, max_pace, govern: signals, within: within?, after: after? };
        let templates = templates.into_iter().chain(uses).collect();
        Some(ConnectionsDraft { connections, by: at, govern: named, asks, templates })
    })?
}

/// What governs a pace.
#[derive(Default)]
struct Signals {
    named: Vec<Located<Govern>>,
    asks: Vec<HealthCheck>,
    uses: Vec<Use>,
}

/// What governs the pace, each once.
fn govern(value: Value<'_>) -> Option<Signals> {
    let items = value.one_or_many();
    if items.is_empty() {
        value.error("`govern` is an empty list", "leave it out for a pace that stays as it is");
        return None;
    }
    let mut read = Signals::default();
    for item in &items {
        if item.is_map() {
            read.asks.push(HealthCheck::query(*item, About::Service, &mut read.uses)?);
            continue;
        }
        let found = one_of(*item, "a signal", "signals", &Govern::WORDS)?;
        if read.named.iter().any(|before| before.value == found.value) {
            item.error(format!("`{}` is there twice", found.value.name()), "name each signal once");
            return None;
        }
        read.named.push(found);
    }
    Some(read)
}

/// The highest pace: as it is written, else ten times the first where it is governed.
fn most(pace: u64, written: Option<(Value<'_>, Option<u64>)>, governed: bool) -> Option<u64> {
    let Some((value, most)) = written else {
        return Some(if governed { pace.saturating_mul(10) } else { pace });
    };
    let most = most?;
    if !governed {
        let hint = "name what tells when it may go faster: `govern: [accept_queue, away]`, or leave `max_pace` out";
        value.error("`max_pace` is for a pace that is governed", hint);
        return None;
    }
    if most < pace {
        value.error(format!("`max_pace` is {most}/s, less than `pace`, which is {pace}/s"), "begin slower");
        return None;
    }
    Some(most)
}

fn per_second(value: Value<'_>) -> Option<u64> {
    value.unit("a number in a second", "100/s", units::per_second)
}

fn duration(m: &Map<'_>, key: &'static str, default: Duration, least: Duration) -> Option<Duration> {
    m.get(key).map_or(Some(default), |v| v.duration(least..=YEAR))
}
