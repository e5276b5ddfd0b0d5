//! Reading nodes: one mapping at a time, with types, and with everything that is wrong reported.
//!
//! A [`Map`] knows which keys were asked for and reports the others at the end, so a reader is the
//! list of the keys there are. Nothing here stops at the first problem.

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::diagnostic::{Diagnostic, Sink};
use super::node::{Key, Kind, Node, Scalar};
use super::scalar::{Plain, Reading, classify};
use super::source::{At, Located, Source};
use super::{name, suggest, units};

/// One file being read.
pub struct Cx<'a> {
    /// The file.
    pub source: &'a Arc<Source>,
    /// Where problems go.
    pub sink: &'a Sink,
    /// What `~/` stands for.
    pub home: Option<&'a Path>,
}

impl Cx<'_> {
    /// The place of a span in this file.
    pub fn at(&self, span: std::ops::Range<usize>) -> At {
        At { source: Arc::clone(self.source), span }
    }

    fn error(&self, at: &At, message: impl Into<String>, hint: impl Into<String>) {
        self.sink.push(Diagnostic::error(at, message).hint(hint));
    }
}

/// A value, with the key it was found under.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    /// The file it is in.
    pub cx: &'a Cx<'a>,
    node: &'a Node,
    key: Option<&'a Key>,
    label: &'a str,
}

/// A mapping that is being read.
pub struct Map<'a> {
    cx: &'a Cx<'a>,
    what: &'static str,
    at: At,
    entries: &'a [(Key, Node)],
    fallback: &'a [(Key, Node)],
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Value<'a> {
    /// The top of a file.
    pub fn root(cx: &'a Cx<'a>, node: &'a Node) -> Self {
        Self { cx, node, key: None, label: "" }
    }

    /// Where the value is.
    pub fn at(&self) -> At {
        self.cx.at(self.node.span.clone())
    }

    /// Where its key is, or the value if it has none.
    pub fn key_at(&self) -> At {
        self.key.map_or_else(|| self.at(), |key| self.cx.at(key.node.span.clone()))
    }

    /// Reports a problem with this value.
    pub fn error(&self, message: impl Into<String>, hint: impl Into<String>) {
        self.cx.error(&self.best_at(), message, hint);
    }

    /// The value where it has a length, else its key.
    fn best_at(&self) -> At {
        if self.node.span.is_empty() { self.key_at() } else { self.at() }
    }

    /// Whether it is a list.
    pub fn is_list(&self) -> bool {
        matches!(self.node.kind, Kind::List(_))
    }

    /// Whether it is a mapping.
    pub fn is_map(&self) -> bool {
        matches!(self.node.kind, Kind::Map(_))
    }

    /// Whether nothing is given.
    pub fn is_null(&self) -> bool {
        matches!(&self.node.kind, Kind::Scalar(s) if s.plain && classify(&s.text) == Plain::Null)
    }

    /// `takes a duration, found a list`.
    fn mismatch(&self, wants: &str, example: &str) {
        if matches!(self.node.kind, Kind::Broken) {
            return;
        }
        let found = describe(self.node);
        let message = match self.is_null() {
            true => format!("{} has no value; it takes {wants}", self.label()),
            false => format!("{} takes {wants}, found {found}", self.label()),
        };
        self.error(message, format!("for example `{example}`"));
    }

    fn label(&self) -> String {
        match self.label {
            "" => "the file".to_owned(),
            label => format!("`{}`", crate::text::escape(label.as_bytes(), 60)),
        }
    }

    /// The key as it is written.
    pub fn name(&self) -> &'a str {
        self.label
    }

    fn scalar(&self) -> Option<&'a Scalar> {
        match &self.node.kind {
            Kind::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    fn located<T>(&self, value: T) -> Located<T> {
        Located { value, at: self.at() }
    }

    /// Text, possibly of several lines. Integers and decimal numbers are taken as they are written.
    pub fn text(&self, wants: &str, example: &str) -> Option<Located<String>> {
        let Some(scalar) = self.scalar() else {
            self.mismatch(wants, example);
            return None;
        };
        if scalar.plain && !self.is_plain_text(&scalar.text, wants, example) {
            return None;
        }
        if let Some(c) = scalar.text.chars().find(|&c| c.is_control() && !matches!(c, '\n' | '\t')) {
            self.error(
                format!("{} holds the control character U+{:04X}", self.label(), c as u32),
                "text may hold printable characters, spaces, tabs and line breaks",
            );
            return None;
        }
        Some(self.located(scalar.text.clone()))
    }

    fn is_plain_text(&self, text: &str, wants: &str, example: &str) -> bool {
        match classify(text) {
            Plain::Text | Plain::Integer(_) | Plain::Number => return true,
            Plain::Null => self.mismatch(wants, example),
            Plain::Bool(_) => self.error(
                format!("{} takes {wants}, found the boolean {text}", self.label()),
                format!("write \"{text}\" for the text"),
            ),
            Plain::Ambiguous(reading) => self.ambiguous(text, &reading),
        }
        false
    }

    fn ambiguous(&self, text: &str, reading: &Reading) {
        let (other, hint) = match reading {
            Reading::Bool(value) => ("a boolean", format!("{value} for the boolean")),
            Reading::Number(Some(value)) => ("a number", format!("{value} for the number")),
            Reading::Number(None) => ("a number", "decimal digits for the number".to_owned()),
            Reading::Sexagesimal => ("a number or a time", "a number with a unit for a time, such as 90s".to_owned()),
        };
        self.error(
            format!("`{text}` is ambiguous: text for some YAML readers, {other} for others"),
            format!("write \"{text}\" for the text, {hint}"),
        );
    }

    /// Text of one line that is not empty.
    pub fn line(&self, wants: &str, example: &str) -> Option<Located<String>> {
        let found = self.text(wants, example)?;
        if found.value.trim().is_empty() {
            self.error(format!("{} is empty; it takes {wants}", self.label()), format!("for example `{example}`"));
            return None;
        }
        if found.value.contains(['\n', '\t']) {
            self.error(format!("{} takes one line without tabs", self.label()), format!("for example `{example}`"));
            return None;
        }
        Some(found)
    }

    /// A name by the rule of [`name`].
    pub fn identifier(&self, kind: &str) -> Option<Located<String>> {
        let found = self.line(&format!("the name of {kind}"), self.label)?;
        match name::check(&found.value) {
            Ok(()) => Some(found),
            Err(why) => {
                self.error(format!("{:?} cannot be the name of {kind}: {why}", found.value), name::RULE);
                None
            }
        }
    }

    /// `true` or `false`.
    pub fn bool(&self) -> Option<bool> {
        let example = format!("{}: true", self.label);
        let Some(scalar) = self.scalar().filter(|s| s.plain) else {
            self.mismatch("true or false", &example);
            return None;
        };
        match classify(&scalar.text) {
            Plain::Bool(value) => return Some(value),
            Plain::Ambiguous(reading @ Reading::Bool(_)) => self.ambiguous(&scalar.text, &reading),
            _ => self.mismatch("true or false", &example),
        }
        None
    }

    /// A whole number within limits.
    pub fn integer(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let wants = format!("a number from {} to {}", range.start(), range.end());
        let example = format!("{}: {}", self.label, range.start().max(&1));
        let Some(scalar) = self.scalar() else {
            self.mismatch(&wants, &example);
            return None;
        };
        match (scalar.plain, classify(&scalar.text)) {
            (true, Plain::Integer(n)) if range.contains(&n) => return Some(n),
            (true, Plain::Ambiguous(reading)) => self.ambiguous(&scalar.text, &reading),
            (false, Plain::Integer(n)) => {
                self.error(
                    format!("{} takes {wants}, found text in quotes", self.label()),
                    format!("write {n} without quotes"),
                );
            }
            _ => self.mismatch(&wants, &example),
        }
        None
    }

    /// A duration with a unit, within limits.
    pub fn duration(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        let value = self.unit("a duration with a unit", "30s", units::duration)?;
        if range.contains(&value) {
            return Some(value);
        }
        let (low, high) = (units::show(*range.start()), units::show(*range.end()));
        self.error(format!("{} takes a duration from {low} to {high}", self.label()), "units are ms, s, m, h and d");
        None
    }

    /// An amount of data with a unit, in bytes.
    pub fn size(&self) -> Option<u64> {
        self.unit("a size with a unit", "64MiB", units::size)
    }

    /// Data per second, in bytes.
    pub fn rate(&self) -> Option<u64> {
        self.unit("a rate with a unit", "50MiB/s", units::rate)
    }

    /// A percentage from 1 to 100.
    pub fn percent(&self) -> Option<Located<u8>> {
        self.unit("a percentage from 1% to 100%", "25%", units::percent).map(|n| self.located(n))
    }

    /// Whatever `parse` makes of one line of text.
    pub fn unit<T>(&self, wants: &str, example: &str, parse: impl Fn(&str) -> Result<T, units::Bad>) -> Option<T> {
        let example = format!("{}: {example}", self.label);
        let found = self.line(wants, &example)?;
        match parse(&found.value) {
            Ok(value) => Some(value),
            Err(bad) => {
                let hint = bad.hint.unwrap_or_else(|| format!("for example `{example}`"));
                let shown = crate::text::escape(found.value.as_bytes(), 60);
                self.error(format!("{} takes {wants}; `{shown}` {}", self.label(), bad.why), hint);
                None
            }
        }
    }

    /// A path on this machine: relative to the file it is written in, `~/` expanded.
    pub fn path(&self) -> Option<PathBuf> {
        let example = format!("{}: ./file", self.label);
        let found = self.line("the path of a file", &example)?;
        self.resolve(&found.value)
    }

    /// Makes a path that was written in this file one that can be opened.
    pub fn resolve(&self, text: &str) -> Option<PathBuf> {
        match (text.strip_prefix("~/"), self.cx.home) {
            (Some(rest), Some(home)) => Some(home.join(rest)),
            (Some(_), None) => {
                self.error(
                    format!("{} begins with `~/`, and the home directory is not known", self.label()),
                    "set HOME, or write the whole path",
                );
                None
            }
            (None, _) if text.starts_with('~') => {
                self.error(
                    format!("{} begins with `~`; only `~/` is expanded", self.label()),
                    "write the whole path, or ./~name for a file of that name",
                );
                None
            }
            (None, _) => Some(self.cx.source.path.parent().unwrap_or(Path::new("")).join(text)),
        }
    }

    /// The items of a list.
    pub fn list(&self, wants: &str) -> Vec<Value<'a>> {
        match &self.node.kind {
            Kind::List(items) => items.iter().map(|node| self.item(node)).collect(),
            _ => {
                self.mismatch(wants, &format!("{}: [...]", self.label));
                Vec::new()
            }
        }
    }

    /// The items of a list, or the one value that stands there instead.
    pub fn one_or_many(&self) -> Vec<Value<'a>> {
        match &self.node.kind {
            Kind::List(items) => items.iter().map(|node| self.item(node)).collect(),
            _ => vec![*self],
        }
    }

    fn item(&self, node: &'a Node) -> Self {
        Value { node, key: None, ..*self }
    }

    /// Each name of a mapping whose keys the user chooses, with its value.
    pub fn entries(&self, wants: &str) -> Vec<(Value<'a>, Value<'a>)> {
        let Kind::Map(entries) = &self.node.kind else {
            self.mismatch(wants, &format!("{}: {{...}}", self.label));
            return Vec::new();
        };
        let value = |key: &'a Key, node| Value { cx: self.cx, node, key: Some(key), label: key.text() };
        entries.iter().map(|(key, node)| (value(key, &key.node), value(key, node))).collect()
    }

    /// Reads a mapping with known keys; what `f` does not ask for is reported.
    pub fn map<T>(&self, what: &'static str, example: &str, f: impl FnOnce(&Map<'a>) -> T) -> Option<T> {
        self.map_over(None, what, example, f)
    }

    /// Like [`Value::map`]; a key that is missing is looked for in `fallback`.
    pub fn map_over<T>(
        &self,
        fallback: Option<Value<'a>>,
        what: &'static str,
        example: &str,
        f: impl FnOnce(&Map<'a>) -> T,
    ) -> Option<T> {
        let Kind::Map(entries) = &self.node.kind else {
            self.mismatch(&format!("a mapping ({what})"), example);
            return None;
        };
        let fallback = match fallback.map(|v| &v.node.kind) {
            Some(Kind::Map(entries)) => entries.as_slice(),
            _ => &[],
        };
        let map = Map { cx: self.cx, what, at: self.key_at(), entries, fallback, asked: RefCell::default() };
        let out = f(&map);
        map.report_unknown();
        Some(out)
    }
}

impl<'a> Map<'a> {
    /// The value of a key, if it is there.
    pub fn get(&self, key: &'static str) -> Option<Value<'a>> {
        self.cx.sink.know(self.what, key);
        self.asked.borrow_mut().push(key);
        let find = |entries: &'a [(Key, Node)]| entries.iter().find(|(k, _)| k.text() == key);
        let (key, node) = find(self.entries).or_else(|| find(self.fallback))?;
        Some(Value { cx: self.cx, node, key: Some(key), label: key.text() })
    }

    /// The value of a key that must be there.
    pub fn need(&self, key: &'static str, example: &str) -> Option<Value<'a>> {
        let found = self.get(key);
        if found.is_none() {
            self.cx.error(&self.at, format!("{} needs `{key}`", self.what), format!("for example `{key}: {example}`"));
        }
        found
    }

    /// The one kind that is given, of several; reports none, several and unknown ones.
    pub fn kind(&self, kinds: &[&'static str]) -> Option<Value<'a>> {
        let found: Vec<Value<'a>> = kinds.iter().filter_map(|kind| self.get(kind)).collect();
        match found.as_slice() {
            [one] => Some(*one),
            [] => {
                let there: Vec<String> = kinds.iter().map(|kind| format!("`{kind}`")).collect();
                let message = format!("{} needs its kind", self.what);
                self.cx.error(&self.at, message, format!("the kinds there are: {}", crate::text::list(&there)));
                None
            }
            [first, second, ..] => {
                let message = format!("{} has two kinds, `{}` and `{}`", self.what, first.label, second.label);
                self.cx.error(&second.key_at(), message, "make two of it");
                None
            }
        }
    }

    /// Reports a problem.
    pub fn report(&self, found: Diagnostic) {
        self.cx.sink.push(found);
    }

    /// Where the mapping is: its key, or where it begins.
    pub fn at(&self) -> &At {
        &self.at
    }

    fn report_unknown(&self) {
        let asked = self.asked.borrow();
        for (key, _) in self.entries.iter().filter(|(key, _)| !asked.contains(&key.text())) {
            let shown = crate::text::escape(key.text().as_bytes(), 60);
            let hint = suggest::hint(key.text(), "keys", asked.iter().copied());
            self.cx.error(&self.cx.at(key.node.span.clone()), format!("unknown key `{shown}` in {}", self.what), hint);
        }
    }
}

fn describe(node: &Node) -> String {
    match &node.kind {
        Kind::List(_) => "a list".to_owned(),
        Kind::Map(_) | Kind::Broken => "a mapping".to_owned(),
        Kind::Scalar(Scalar { text, plain: true }) => match classify(text) {
            Plain::Null => "nothing".to_owned(),
            Plain::Bool(_) => format!("the boolean {text}"),
            Plain::Integer(_) | Plain::Number => format!("the number {text}"),
            Plain::Text | Plain::Ambiguous(_) => format!("`{}`", crate::text::escape(text.as_bytes(), 60)),
        },
        Kind::Scalar(Scalar { text, .. }) => format!("the text \"{}\"", crate::text::escape(text.as_bytes(), 60)),
    }
}
