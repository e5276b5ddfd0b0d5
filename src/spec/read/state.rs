//! What must be carried over.

use std::time::Duration;

use crate::spec::map::Map;
use crate::spec::model::{DataPath, DirectoryState, State, Throttle};
use crate::spec::reader::Value;

use super::hook::one_of;
use super::template::{self, Role, Sides, Use};

/// The kinds there are.
pub const KINDS: [&str; 1] = ["directory"];
const SETTLE_BELOW: u64 = 16 << 20;
const MAX_PASSES: u32 = 5;
const EVERY: Duration = Duration::from_secs(5);
const HOUR: Duration = Duration::from_secs(3600);
const THROTTLE: &str = "throttle: {command: \"cut -d' ' -f1 /proc/loadavg\", above: 8}";

/// State and the templates in it: the root on the source, then the root on the target.
#[derive(Debug, Clone)]
pub struct StateDraft {
    pub state: State,
    pub from: Use,
    pub to: Use,
    /// Both of them, or the one that is both.
    pub templates: Vec<Use>,
}

/// Reads one entry of `state`.
pub fn read(value: Value<'_>) -> Option<StateDraft> {
    value.map("state", "directory: /srv/uploads", |m| {
        let roots = m.kind(&KINDS).and_then(roots);
        let exclude = m.get("exclude").map(patterns).unwrap_or_default();
        let mut directory = DirectoryState {
            from: crate::spec::model::Template(String::new()),
            to: crate::spec::model::Template(String::new()),
            exclude,
            delete: m.get("delete").and_then(|v| v.bool()).unwrap_or(true),
            verify: m.get("verify").and_then(|v| v.bool()).unwrap_or(true),
            bandwidth: m.get("bandwidth").and_then(|v| v.rate()),
            throttle: None,
            path: m.get("path").and_then(path).unwrap_or_default(),
            settle_below: m.get("settle_below").and_then(|v| v.size()).unwrap_or(SETTLE_BELOW),
            max_passes: passes(m).unwrap_or(MAX_PASSES),
        };
        let throttle = m.get("throttle").map(throttle);
        let (from, to, mut templates) = roots?;
        if let Some(throttle) = throttle {
            let (throttle, command) = throttle?;
            directory.throttle = Some(throttle);
            templates.push(command);
        }
        directory.from = from.template.value.clone();
        directory.to = to.template.value.clone();
        Some(StateDraft { state: State::Directory(directory), from, to, templates })
    })?
}

fn path(value: Value<'_>) -> Option<DataPath> {
    let ways = [("auto", DataPath::Auto), ("direct", DataPath::Direct), ("relay", DataPath::Relay)];
    one_of(value, "a way", "ways", &ways).map(|found| found.value)
}

fn throttle(value: Value<'_>) -> Option<(Throttle, Use)> {
    value.map("throttle", THROTTLE, |m| {
        let command = m.need("command", "cut -d' ' -f1 /proc/loadavg");
        let command = command.and_then(|v| template::read(v, Role::Command, Sides::Source, "a command", THROTTLE));
        let above = m.need("above", "8").and_then(|v| v.integer(0..=u64::MAX));
        let every = m.get("every").and_then(|v| v.duration(Duration::from_millis(100)..=HOUR)).unwrap_or(EVERY);
        let (command, above) = (command?, above?);
        Some((Throttle { command: command.template.value.clone(), above, every }, command))
    })?
}

fn passes(m: &Map<'_>) -> Option<u32> {
    m.get("max_passes").and_then(|v| v.integer(1..=1000)).and_then(|n| u32::try_from(n).ok())
}

fn roots(value: Value<'_>) -> Option<(Use, Use, Vec<Use>)> {
    let root =
        |v: Value<'_>, sides| template::read(v, Role::Directory, sides, "an absolute path", "directory: /srv/uploads");
    if !value.is_map() {
        let both = root(value, Sides::Both)?;
        return Some((both.on(Sides::Source), both.on(Sides::Target), vec![both]));
    }
    value.map("directory", "directory: {from: /srv/a, to: /srv/b}", |m| {
        let from = m.need("from", "/srv/uploads").and_then(|v| root(v, Sides::Source));
        let to = m.need("to", "/srv/uploads").and_then(|v| root(v, Sides::Target));
        let (from, to) = (from?, to?);
        let templates = vec![from.clone(), to.clone()];
        Some((from, to, templates))
    })?
}

fn patterns(value: Value<'_>) -> Vec<String> {
    let mut out = Vec::new();
    for item in value.one_or_many() {
        let Some(text) = item.line("a pattern", "exclude: \"*.tmp\"") else { continue };
        match globset::Glob::new(&text.value) {
            Ok(_) => out.push(text.value),
            Err(error) => {
                let why = crate::text::escape(error.kind().to_string().as_bytes(), 100);
                let shown = crate::text::escape(text.value.as_bytes(), 60);
                item.error(format!("`{shown}` is not a pattern: {why}"), "for example `exclude: \"*.tmp\"`");
            }
        }
    }
    out
}
