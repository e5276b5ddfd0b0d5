//! What must be carried over.

use std::time::Duration;

use crate::copy::fs::filter::Filter;
use crate::model::{DataPath, DirectoryState, OnRollback, Owners, State, StreamState, Throttle, TreeRules};
use crate::text::units::YEAR;
use crate::yaml::map::Map;
use crate::yaml::reader::Value;
use crate::yaml::source::At;

use crate::fields::template::{self, Role, Sides, Use};
use crate::yaml::map::one_of;

/// The kinds there are.
pub const KINDS: [&str; 2] = ["directory", "stream"];
const ON_ROLLBACK: [(&str, OnRollback); 2] = [("leave", OnRollback::Leave), ("restore", OnRollback::Restore)];
const SETTLE_BELOW: u64 = 16 << 20;
const MAX_PASSES: u32 = 5;
const EVERY: Duration = Duration::from_secs(5);
const HOUR: Duration = Duration::from_secs(3600);
const THROTTLE: &str = "throttle: {command: \"cut -d' ' -f1 /proc/loadavg\", above: 8}";
const OWNERS: [(&str, Owners); 2] = [("numbers", Owners::Numbers), ("names", Owners::Names)];

/// State and the templates in it.
#[derive(Debug, Clone)]
pub struct StateDraft {
    pub state: State,
    /// Of a tree: the root on the source, and the root on the target.
    pub roots: Option<(Use, Use)>,
    /// All of them; one that is for both sides once.
    pub templates: Vec<Use>,
    /// Where it is.
    pub at: At,
}

/// Reads one entry of `state`.
pub fn read(value: Value<'_>) -> Option<StateDraft> {
    value.map("state", "directory: /srv/uploads", |m| {
        let kind = m.kind(&KINDS);
        match kind {
            Some(stream) if stream.name() == "stream" => read_stream(stream, m),
            // Without a kind every key may be meant.
            _ => read_directory(kind, m),
        }
    })?
}

fn read_directory(kind: Option<Value<'_>>, m: &Map<'_>) -> Option<StateDraft> {
    let roots = kind.and_then(roots);
    // The first pattern that matches decides.
    let mut exclude = m.get("include").map(included).unwrap_or_default();
    exclude.extend(m.get("exclude").map(patterns).unwrap_or_default());
    let delete = m.get("delete").and_then(|v| v.bool()).unwrap_or(true);
    let mut directory = DirectoryState {
        from: crate::model::Template(String::new()),
        to: crate::model::Template(String::new()),
        rules: TreeRules {
            exclude,
            delete,
            allow_empty: allow_empty(m, delete),
            allow_moved: m.get("allow_moved").and_then(|v| v.bool()).unwrap_or(false),
            owners: m
                .get("owners")
                .and_then(|v| one_of(v, "a kind of owners", "kinds of owners", &OWNERS))
                .map_or(Owners::Numbers, |l| l.value),
        },
        verify: m.get("verify").and_then(|v| v.bool()).unwrap_or(true),
        bandwidth: m.get("bandwidth").and_then(|v| v.rate()),
        throttle: None,
        path: m.get("path").and_then(path).unwrap_or_default(),
        settle_below: m.get("settle_below").and_then(|v| v.size()).unwrap_or(SETTLE_BELOW),
        max_passes: passes(m).unwrap_or(MAX_PASSES),
        on_rollback: m
            .get("on_rollback")
            .and_then(|v| one_of(v, "a choice", "choices", &ON_ROLLBACK))
            .map_or(OnRollback::Leave, |l| l.value),
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
    Some(StateDraft { state: State::Directory(directory), roots: Some((from, to)), templates, at: m.at().clone() })
}

fn allow_empty(m: &Map<'_>, delete: bool) -> bool {
    let Some(value) = m.get("allow_empty") else { return false };
    let allowed = value.bool().unwrap_or(false);
    if allowed && !delete {
        value.error("`allow_empty` is about deletions, and there are none", "remove `allow_empty`, or `delete: false`");
    }
    allowed
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

fn read_stream(value: Value<'_>, m: &Map<'_>) -> Option<StateDraft> {
    const EXAMPLE: &str = "stream: {from: pg_dump app, to: psql app}";
    let bandwidth = m.get("bandwidth").and_then(|v| v.rate());
    let timeout = m.get("timeout").and_then(|v| v.duration(Duration::from_millis(1)..=YEAR));
    let idempotent = m.get("idempotent").and_then(|v| v.bool()).unwrap_or(false);
    let command = |v: Value<'_>, sides| template::read(v, Role::Command, sides, "a command", EXAMPLE);
    let (from, to) = value.map("stream", EXAMPLE, |m| {
        let from = m.need("from", "pg_dump app").and_then(|v| command(v, Sides::Source));
        let to = m.need("to", "psql app").and_then(|v| command(v, Sides::Target));
        Some((from?, to?))
    })??;
    let (source, target) = (from.template.value.clone(), to.template.value.clone());
    let stream = StreamState { from: source, to: target, timeout, bandwidth, idempotent };
    Some(StateDraft { state: State::Stream(stream), roots: None, templates: vec![from, to], at: m.at().clone() })
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

/// Patterns with the meaning they have in rsync, checked where they stand.
fn patterns(value: Value<'_>) -> Vec<String> {
    let mut out = Vec::new();
    for item in value.one_or_many() {
        let Some(text) = item.line("a pattern", "exclude: \"*.tmp\"") else { continue };
        if is_pattern(&item, &text.value) {
            out.push(text.value);
        }
    }
    out
}

/// What is kept though a pattern of `exclude` matches it, in the form in which one list can say both.
fn included(value: Value<'_>) -> Vec<String> {
    let mut out = Vec::new();
    for item in value.one_or_many() {
        let Some(text) = item.line("a pattern", "include: \"keep.log\"") else { continue };
        if text.value.starts_with("+ ") || text.value.starts_with("- ") {
            let shown = crate::text::escape(text.value.as_bytes(), 60);
            item.error(
                format!("`{shown}` begins with a sign"),
                "write the pattern alone: `include` keeps what it matches",
            );
        } else if is_pattern(&item, &text.value) {
            out.push(format!("+ {}", text.value));
        }
    }
    out
}

fn is_pattern(item: &Value<'_>, pattern: &str) -> bool {
    match Filter::new(&[pattern.to_owned()]) {
        Ok(_) => true,
        Err(bad) => {
            let shown = crate::text::escape(pattern.as_bytes(), 60);
            item.error(format!("`{shown}` is not a pattern: it {}", bad.why), "for example `exclude: \"*.tmp\"`");
            false
        }
    }
}
