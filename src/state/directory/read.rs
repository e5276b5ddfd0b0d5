//! Reading a directory from YAML.

use std::sync::Arc;
use std::time::Duration;

use super::{DirectoryState, OnRollback};
use crate::check::{About, HealthCheck};
use crate::copy::fs::filter::Filter;
use crate::fields::kinds::Settings;
use crate::fields::template::{self, Role, Sides, Use};
use crate::model::{DataPath, Owners, Template, Throttle, TreeRules};
use crate::yaml::map::{Map, one_of};
use crate::yaml::reader::Value;

const ON_ROLLBACK: [(&str, OnRollback); 2] = [("leave", OnRollback::Leave), ("restore", OnRollback::Restore)];
const WAYS: [(&str, DataPath); 3] =
    [("auto", DataPath::Auto), ("direct", DataPath::Direct), ("relay", DataPath::Relay)];
const OWNERS: [(&str, Owners); 3] = [("numbers", Owners::Numbers), ("names", Owners::Names), ("drop", Owners::Drop)];
const SETTLE_BELOW: u64 = 16 << 20;
const MAX_PASSES: u32 = 5;
const EVERY: Duration = Duration::from_secs(5);
const HOUR: Duration = Duration::from_secs(3600);
const THROTTLE: &str = "throttle: {command: \"cut -d' ' -f1 /proc/loadavg\", above: 8}";

impl Settings for DirectoryState {
    const KEY: &'static str = "directory";
    const BESIDE: &'static [&'static str] = &[
        "include",
        "exclude",
        "delete",
        "allow_empty",
        "allow_moved",
        "allow_inexact_times",
        "one_filesystem",
        "owners",
        "verify",
        "bandwidth",
        "govern",
        "path",
        "settle_below",
        "max_passes",
        "on_rollback",
        "throttle",
    ];

    fn read(value: Value<'_>, m: &Map<'_>, uses: &mut Vec<Use>) -> Option<Self> {
        let roots = roots(value, uses);
        let rules = rules(m);
        let verify = m.get("verify").and_then(|v| v.bool()).unwrap_or(true);
        let bandwidth = m.get("bandwidth").and_then(|v| v.rate());
        let govern = m.get("govern").map_or_else(|| Some(Vec::new()), |v| govern(v, m, uses));
        let path = m.get("path").and_then(|v| one_of(v, "a way", "ways", &WAYS)).map(|l| l.value).unwrap_or_default();
        let settle_below = m.get("settle_below").and_then(|v| v.size()).unwrap_or(SETTLE_BELOW);
        let max_passes = passes(m).unwrap_or(MAX_PASSES);
        let on_rollback = m.get("on_rollback").and_then(|v| one_of(v, "a choice", "choices", &ON_ROLLBACK));
        let throttle = m.get("throttle").map(|v| throttle(v, uses));
        let ((from, to), govern) = (roots?, govern?);
        let throttle = match throttle {
            Some(read) => Some(read?),
            None => None,
        };
        let on_rollback = on_rollback.map(|l| l.value).unwrap_or_default();
        Some(Self { from, to, rules, verify, bandwidth, govern, path, throttle, settle_below, max_passes, on_rollback })
    }
}

fn rules(m: &Map<'_>) -> TreeRules {
    // The first pattern that matches decides.
    let mut exclude = m.get("include").map(included).unwrap_or_default();
    exclude.extend(m.get("exclude").map(patterns).unwrap_or_default());
    let delete = m.get("delete").and_then(|v| v.bool()).unwrap_or(true);
    let owners = m.get("owners").and_then(|v| one_of(v, "a kind of owners", "kinds of owners", &OWNERS));
    TreeRules {
        exclude,
        delete,
        allow_empty: allow_empty(m, delete),
        allow_moved: m.get("allow_moved").and_then(|v| v.bool()).unwrap_or(false),
        one_filesystem: m.get("one_filesystem").and_then(|v| v.bool()).unwrap_or(false),
        allow_inexact_times: m.get("allow_inexact_times").and_then(|v| v.bool()).unwrap_or(false),
        owners: owners.map_or(Owners::Numbers, |l| l.value),
    }
}

fn allow_empty(m: &Map<'_>, delete: bool) -> bool {
    let Some(value) = m.get("allow_empty") else { return false };
    let allowed = value.bool().unwrap_or(false);
    if allowed && !delete {
        value.error("`allow_empty` is about deletions, and there are none", "remove `allow_empty`, or `delete: false`");
    }
    allowed
}

fn throttle(value: Value<'_>, uses: &mut Vec<Use>) -> Option<Throttle> {
    value.map("throttle", THROTTLE, |m| {
        let command = m.need("command", "cut -d' ' -f1 /proc/loadavg");
        let command = command.and_then(|v| template::read(v, Role::Command, Sides::Both, "a command", THROTTLE));
        let above = m.need("above", "8").and_then(|v| v.integer(0..=u64::MAX));
        let every = m.get("every").and_then(|v| v.duration(Duration::from_millis(100)..=HOUR)).unwrap_or(EVERY);
        let (command, above) = (command?, above?);
        let throttle = Throttle { command: command.template.value.clone(), above, every };
        uses.push(command);
        Some(throttle)
    })?
}

/// Queries that let the limit fall and rise: without one there is nothing that could.
fn govern(value: Value<'_>, m: &Map<'_>, uses: &mut Vec<Use>) -> Option<Vec<Arc<HealthCheck>>> {
    let items = value.one_or_many();
    if items.is_empty() {
        value.error("`govern` is an empty list", "leave it out for a limit that stays as it is");
        return None;
    }
    if m.get("bandwidth").is_none() {
        value.error("`govern` needs `bandwidth`: the most that it may be", "for example `bandwidth: 50MiB/s`");
        return None;
    }
    items.into_iter().map(|item| HealthCheck::query(item, About::Host, uses).map(Arc::new)).collect()
}

fn passes(m: &Map<'_>) -> Option<u32> {
    m.get("max_passes").and_then(|v| v.integer(1..=1000)).and_then(|n| u32::try_from(n).ok())
}

/// The roots on the source and on the target.
fn roots(value: Value<'_>, uses: &mut Vec<Use>) -> Option<(Template, Template)> {
    let root =
        |v: Value<'_>, sides| template::read(v, Role::Directory, sides, "an absolute path", "directory: /srv/uploads");
    if !value.is_map() {
        let both = root(value, Sides::Both)?;
        let path = both.template.value.clone();
        uses.push(both);
        return Some((path.clone(), path));
    }
    value.map("directory", "directory: {from: /srv/a, to: /srv/b}", |m| {
        let from = m.need("from", "/srv/uploads").and_then(|v| root(v, Sides::Source));
        let to = m.need("to", "/srv/uploads").and_then(|v| root(v, Sides::Target));
        let (from, to) = (from?, to?);
        let paths = (from.template.value.clone(), to.template.value.clone());
        uses.extend([from, to]);
        Some(paths)
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
