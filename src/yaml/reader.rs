//! Reading values: text, numbers, quantities, lists, each with what is wrong reported where it is.
//!
//! Nothing here stops at the first problem. Mappings are read by [`super::map`].

use std::cell::Cell;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::diagnostic::{Diagnostic, Sink};
use super::node::{Key, Kind, Node, Scalar};
use super::scalar::{Plain, Reading, classify};
use super::source::{At, Located, Source};
use super::trace::{Place, Taken};
use crate::text::{name, units};

/// One file being read.
pub struct Cx<'a> {
    /// The file.
    pub source: &'a Arc<Source>,
    /// Where problems go.
    pub sink: &'a Sink,
    /// What `~/` stands for.
    pub home: Option<&'a Path>,
    /// Where relative paths of this machine count from in the end; as they are where there is none.
    pub dir: Option<&'a Path>,
    /// How many more names ranges may stand for.
    pub names_left: Cell<usize>,
}

impl Cx<'_> {
    /// The place of a span in this file.
    pub fn at(&self, span: std::ops::Range<usize>) -> At {
        At { source: Arc::clone(self.source), span }
    }

    /// The names that a pattern stands for, as long as a file does not ask for too many.
    pub fn expand(&self, pattern: &str) -> Result<Vec<String>, &'static str> {
        let names = name::expand(pattern, self.names_left.get())?;
        self.names_left.set(self.names_left.get().saturating_sub(names.len()));
        Ok(names)
    }

    pub(super) fn error(&self, at: &At, message: impl Into<String>, hint: impl Into<String>) {
        self.sink.push(Diagnostic::error(at, message).hint(hint));
    }
}

/// A value, with the key it was found under.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    /// The file it is in.
    pub cx: &'a Cx<'a>,
    pub(super) node: &'a Node,
    pub(super) key: Option<&'a Key>,
    pub(super) label: &'a str,
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

    /// Which value of the files it is.
    pub(super) fn place(&self) -> Place {
        place_of(self.cx, self.node)
    }

    fn takes(&self, what: Taken) {
        self.cx.sink.trace.take(self.place(), what);
    }

    /// Whether it is a list.
    pub fn is_list(&self) -> bool {
        matches!(self.node.kind, Kind::List(_))
    }

    /// Whether it is a mapping.
    pub fn is_map(&self) -> bool {
        self.takes(Taken::Form);
        matches!(self.node.kind, Kind::Map(_))
    }

    /// The keys of a mapping, unread; none where it is none.
    pub fn keys(&self) -> Vec<&str> {
        let Kind::Map(entries) = &self.node.kind else { return Vec::new() };
        entries.iter().map(|(key, _)| key.text()).collect()
    }

    /// Whether nothing is given.
    pub fn is_null(&self) -> bool {
        self.takes(Taken::Null);
        self.has_nothing()
    }

    fn has_nothing(&self) -> bool {
        matches!(&self.node.kind, Kind::Scalar(s) if s.plain && classify(&s.text) == Plain::Null)
    }

    /// Whether it says `off`: with or without quotes, or as the boolean that other readers make of it.
    pub fn is_off(&self) -> bool {
        self.takes(Taken::Off);
        self.scalar().is_some_and(|s| s.text == "off" || (s.plain && classify(&s.text) == Plain::Bool(false)))
    }

    /// `takes a duration, found a list`.
    pub(super) fn mismatch(&self, wants: &str, example: &str) {
        if matches!(self.node.kind, Kind::Broken) {
            return;
        }
        let found = describe(self.node);
        let message = match self.has_nothing() {
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
        self.takes(Taken::Text);
        self.some_text(wants, example)
    }

    fn some_text(&self, wants: &str, example: &str) -> Option<Located<String>> {
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
            Reading::Bool(value) => ("a boolean", format!(", {value} for the boolean")),
            Reading::Number(Some(value)) => ("a number", format!(", {value} for the number")),
            Reading::Number(None) => ("a number", String::new()),
            Reading::Sexagesimal => ("a number or a time", String::new()),
        };
        self.error(
            format!("`{text}` is ambiguous: text for some YAML readers, {other} for others"),
            format!("write \"{text}\" for the text{hint}"),
        );
    }

    /// Text of one line that is not empty.
    pub fn line(&self, wants: &str, example: &str) -> Option<Located<String>> {
        self.takes(Taken::Line);
        self.one_line(wants, example)
    }

    pub(super) fn one_line(&self, wants: &str, example: &str) -> Option<Located<String>> {
        let found = self.some_text(wants, example)?;
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
    pub fn identifier(&self, kind: &str, example: &str) -> Option<Located<String>> {
        self.takes(Taken::Identifier);
        let found = self.one_line(&format!("the name of {kind}"), example)?;
        match name::check(&found.value) {
            Ok(()) => Some(found),
            Err(why) => {
                let shown = crate::text::escape(found.value.as_bytes(), 60);
                self.error(format!("`{shown}` cannot be the name of {kind}: {why}"), name::RULE);
                None
            }
        }
    }

    /// `true` or `false`.
    pub fn bool(&self) -> Option<bool> {
        self.takes(Taken::Bool);
        let example = format!("{}: true", self.label);
        let Some(scalar) = self.scalar().filter(|s| s.plain) else {
            self.mismatch("true or false", &example);
            return None;
        };
        match classify(&scalar.text) {
            Plain::Bool(value) => return Some(value),
            Plain::Ambiguous(Reading::Bool(value)) => self.error(
                format!("`{}` is ambiguous: a boolean for some YAML readers, text for others", scalar.text),
                format!("write {value}"),
            ),
            _ => self.mismatch("true or false", &example),
        }
        None
    }

    /// A whole number within limits.
    pub fn integer(&self, range: RangeInclusive<u64>) -> Option<u64> {
        self.takes(Taken::Integer(*range.start(), *range.end()));
        let wants = format!("a number from {} to {}", range.start(), range.end());
        let example = format!("{}: {}", self.label, range.start().max(&1));
        let Some(scalar) = self.scalar() else {
            self.mismatch(&wants, &example);
            return None;
        };
        match (scalar.plain, classify(&scalar.text)) {
            (true, Plain::Integer(n)) if range.contains(&n) => return Some(n),
            (true, Plain::Ambiguous(Reading::Number(value))) => self.error(
                format!("`{}` is ambiguous: YAML readers disagree on this number", scalar.text),
                value.map_or_else(|| "write decimal digits".to_owned(), |n| format!("write {n}")),
            ),
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
        self.takes(Taken::Quantity(wants.to_owned()));
        let example = format!("{}: {example}", self.label);
        if let Some(Scalar { text, plain: true }) = self.scalar()
            && matches!(classify(text), Plain::Ambiguous(_))
        {
            self.mismatch(wants, &example);
            return None;
        }
        let found = self.one_line(wants, &example)?;
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
        let path = self.resolve(&found.value)?;
        Some(match self.cx.dir {
            Some(dir) => dir.join(path),
            None => path,
        })
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
            (None, _) => Some(
                self.cx.source.path.parent().unwrap_or(Path::new("")).join(text.strip_prefix("./").unwrap_or(text)),
            ),
        }
    }

    /// The items of a list.
    pub fn list(&self, wants: &str, example: &str) -> Vec<Value<'a>> {
        self.takes(Taken::List);
        self.look_within();
        match &self.node.kind {
            Kind::List(items) => items.iter().map(|node| self.item(node)).collect(),
            _ => {
                self.mismatch(wants, example);
                Vec::new()
            }
        }
    }

    /// The items of a list, or the one value that stands there instead.
    pub fn one_or_many(&self) -> Vec<Value<'a>> {
        self.takes(Taken::OneOrMany);
        self.look_within();
        match &self.node.kind {
            Kind::List(items) => items.iter().map(|node| self.item(node)).collect(),
            _ => vec![*self],
        }
    }

    /// Notes which values stand in it.
    fn look_within(&self) {
        self.cx.sink.trace.note(|seen| {
            let within = seen.within.entry(self.place()).or_default();
            match &self.node.kind {
                Kind::List(items) => within.extend(items.iter().map(|node| place_of(self.cx, node))),
                Kind::Map(entries) => within.extend(entries.iter().map(|(_, node)| place_of(self.cx, node))),
                Kind::Scalar(_) | Kind::Broken => {}
            }
        });
    }

    fn item(&self, node: &'a Node) -> Self {
        Value { node, key: None, ..*self }
    }

    /// Each name of a mapping whose keys the user chooses, with its value.
    pub fn entries(&self, wants: &str, example: &str) -> Vec<(Value<'a>, Value<'a>)> {
        self.takes(Taken::Names);
        self.look_within();
        let Kind::Map(entries) = &self.node.kind else {
            self.mismatch(wants, example);
            return Vec::new();
        };
        let value = |key: &'a Key, node| Value { cx: self.cx, node, key: Some(key), label: key.text() };
        entries.iter().map(|(key, node)| (value(key, &key.node), value(key, node))).collect()
    }
}

fn place_of(cx: &Cx<'_>, node: &Node) -> Place {
    let form = match &node.kind {
        Kind::List(_) => '[',
        Kind::Map(_) => '{',
        Kind::Scalar(_) | Kind::Broken => '.',
    };
    (cx.source.order, node.span.start, form)
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
