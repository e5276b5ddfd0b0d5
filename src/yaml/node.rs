//! YAML text to a tree of nodes that know where they were written.
//!
//! Owns the limits of what a file may hold. Must never give a scalar a meaning: text stays as it was written,
//! and the readers decide (see [`super::scalar`]).

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::{DuplicateKeyPolicy, Error, MergeKeyPolicy, NonFiniteFloatPolicy, Spanned};

use super::diagnostic::{Diagnostic, Sink};
use super::source::{At, Source};

/// Deepest nesting of lists and mappings.
pub const MAX_DEPTH: usize = 32;
/// Most values in a file, aliases expanded.
pub const MAX_NODES: usize = 200_000;
/// Most values that aliases may stand for.
const MAX_ALIASED: usize = 50_000;

/// A value and the bytes it was written in.
#[derive(Debug)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Where: for lists and mappings only where they begin.
    pub span: Range<usize>,
}

/// What a value is.
#[derive(Debug)]
pub enum Kind {
    /// One value.
    Scalar(Scalar),
    /// A list.
    List(Vec<Node>),
    /// Keys and values in the order of the file; every key once.
    Map(Vec<(Key, Node)>),
    /// Something that has been reported already; readers pass over it in silence.
    Broken,
}

/// One value.
#[derive(Debug)]
pub struct Scalar {
    /// The text without quotes, escapes resolved.
    pub text: String,
    /// Whether it was written without quotes, so that it may mean something else than text.
    pub plain: bool,
}

/// A key of a mapping: always a scalar.
#[derive(Debug)]
pub struct Key {
    /// The scalar.
    pub node: Node,
}

impl Node {
    /// Whether both say the same, wherever it is written and whatever comments stand beside it.
    pub fn says_the_same(&self, other: &Self) -> bool {
        match (&self.kind, &other.kind) {
            (Kind::Scalar(a), Kind::Scalar(b)) => (&a.text, a.plain) == (&b.text, b.plain),
            (Kind::List(a), Kind::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.says_the_same(b)),
            (Kind::Map(a), Kind::Map(b)) => {
                let same = |((a, x), (b, y)): (&(Key, Node), &(Key, Node))| a.text() == b.text() && x.says_the_same(y);
                a.len() == b.len() && a.iter().zip(b).all(same)
            }
            _ => false,
        }
    }
}

impl Key {
    /// The text without quotes.
    pub fn text(&self) -> &str {
        match &self.node.kind {
            Kind::Scalar(scalar) => &scalar.text,
            _ => "",
        }
    }
}

/// Parses a file, or says why not. Repeated and non-text keys are reported and left out, so that reading can go on.
pub fn parse(source: &Arc<Source>, sink: &Sink) -> Option<Node> {
    let raw: Spanned<Raw> = match serde_yaml::from_str_with_options(&source.text, options()) {
        Ok(raw) => raw,
        Err(error) => {
            sink.push(explain(source, &error));
            return None;
        }
    };
    let node = Builder { source, sink }.node(raw);
    source.hide(secrets_in(&node));
    Some(node)
}

fn options() -> serde_yaml::Options {
    serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: 3 * MAX_NODES,
            max_documents: 1,
            max_aliases: 10_000,
            max_anchors: 1000,
            max_recorded_anchor_events: MAX_NODES,
            max_recorded_anchor_bytes: 8 * 1024 * 1024,
        },
        alias_limits: serde_yaml::alias_limits! {
            max_total_replayed_events: MAX_ALIASED,
            max_replay_stack_depth: 8,
            max_alias_expansions_per_anchor: 5000,
        },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        strict_booleans: true,
        reject_unsupported_tags: true,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        with_snippet: false,
    }
}

/// What the YAML crate hands over. Numbers and booleans are only marked as such; their text is taken from the file.
enum Raw {
    Text(String),
    Plain,
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<Raw>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Raw, E> {
        Ok(Raw::Text(text))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

struct Builder<'a> {
    source: &'a Arc<Source>,
    sink: &'a Sink,
}

impl Builder<'_> {
    fn node(&self, raw: Spanned<Raw>) -> Node {
        let span = self.span(&raw);
        let kind = match raw.value {
            Raw::Text(text) => Kind::Scalar(Scalar { plain: self.is_plain(&span), text }),
            Raw::Plain => Kind::Scalar(Scalar { text: self.written(&span), plain: true }),
            Raw::List(items) => Kind::List(items.into_iter().map(|item| self.node(item)).collect()),
            Raw::Map(entries) => self.map(entries).map_or(Kind::Broken, Kind::Map),
        };
        Node { kind, span }
    }

    fn map(&self, entries: Vec<(Spanned<Raw>, Spanned<Raw>)>) -> Option<Vec<(Key, Node)>> {
        let mut first: HashMap<String, Range<usize>> = HashMap::new();
        let mut out = Vec::with_capacity(entries.len());
        let mut complete = true;
        for (key, value) in entries {
            let Some(key) = self.key(key) else {
                complete = false;
                continue;
            };
            match first.get(key.text()) {
                Some(before) => self.repeated(&key, before),
                None => {
                    first.insert(key.text().to_owned(), key.node.span.clone());
                    out.push((key, self.node(value)));
                }
            }
        }
        complete.then_some(out)
    }

    fn key(&self, raw: Spanned<Raw>) -> Option<Key> {
        let node = self.node(raw);
        let (message, hint) = match &node.kind {
            Kind::Scalar(Scalar { text, plain: true }) if text == "<<" => {
                ("merge keys (`<<`) are not part of the language", "`defaults:` gives settings to many at once")
            }
            Kind::Scalar(_) => return Some(Key { node }),
            Kind::List(_) => ("a list cannot be a key", "quote text that begins with `[`"),
            Kind::Map(_) | Kind::Broken => {
                ("`{` begins a mapping, which cannot be a key", "quote text that begins with `{`: \"{{ name }}\"")
            }
        };
        self.sink.push(Diagnostic::error(&self.at(node.span), message).hint(hint));
        None
    }

    fn repeated(&self, key: &Key, before: &Range<usize>) {
        let shown = crate::text::escape(key.text().as_bytes(), 60);
        let found = Diagnostic::error(&self.at(key.node.span.clone()), format!("key `{shown}` is given twice"));
        if self.sink.is_full() {
            return self.sink.push(found);
        }
        let first = format!("first at {}", self.at(before.clone()).short());
        self.sink.push(found.note(first).hint("remove one of the two"));
    }

    /// The place of definition: for an alias that of its anchor, where the text is.
    fn span(&self, raw: &Spanned<Raw>) -> Range<usize> {
        let span = raw.defined.span();
        match (span.byte_offset(), span.byte_len()) {
            (Some(start), Some(len)) => start as usize..(start + len) as usize,
            _ => {
                let start = self.source.offset(raw.defined.line() as usize, raw.defined.column() as usize);
                start..start
            }
        }
    }

    fn written(&self, span: &Range<usize>) -> String {
        self.source.text.get(span.clone()).unwrap_or_default().to_owned()
    }

    /// Text that stands neither in quotes nor under a block header (`|`, `>`).
    fn is_plain(&self, span: &Range<usize>) -> bool {
        if self.source.text.get(span.clone()).is_some_and(|t| t.starts_with(['"', '\''])) {
            return false;
        }
        let before = self.source.text.get(..span.start).unwrap_or_default();
        let head = before.trim_end();
        // Block text begins on a line of its own. Asked first: looking for the line before may be long.
        if !before.get(head.len()..).is_some_and(|gap| gap.contains(['\n', '\r'])) {
            return true;
        }
        let line = head.rsplit(['\n', '\r']).next().unwrap_or_default();
        let line = line.split_once(" #").map_or(line, |(code, _)| code.trim_end());
        let last = line.rsplit([' ', '\t']).next().unwrap_or_default();
        !last.starts_with(['|', '>'])
    }

    fn at(&self, span: Range<usize>) -> At {
        At { source: Arc::clone(self.source), span }
    }
}

/// What nobody should see in a log: literal values where only references to secrets belong.
fn secrets_in(node: &Node) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    collect_secrets(node, false, &mut found);
    found
}

fn collect_secrets(node: &Node, direct: bool, found: &mut Vec<Range<usize>>) {
    match &node.kind {
        Kind::Scalar(_) if direct => found.push(node.span.clone()),
        Kind::Scalar(_) | Kind::Broken => {}
        Kind::List(items) => items.iter().for_each(|item| collect_secrets(item, direct, found)),
        Kind::Map(entries) => {
            for (key, value) in entries {
                match (key.text(), &value.kind) {
                    ("secret" | "password" | "passphrase" | "token", _) => collect_secrets(value, true, found),
                    ("secrets", Kind::Map(named)) => named.iter().for_each(|(_, v)| collect_secrets(v, true, found)),
                    ("env" | "file" | "exec", _) => collect_secrets(value, false, found),
                    _ => collect_secrets(value, direct, found),
                }
            }
        }
    }
}

fn explain(source: &Arc<Source>, error: &Error) -> Diagnostic {
    let line = error.location().map_or(0..0, |location| source.line_range(location.line() as usize));
    let (message, hint) = words(error, source.text.get(line).unwrap_or_default());
    let Some(location) = error.location() else {
        return Diagnostic::without_place(&source.path, source.order, message).maybe_hint(hint);
    };
    let start = source.offset(location.line() as usize, location.column() as usize);
    let at = At { source: Arc::clone(source), span: start..start };
    Diagnostic::error(&at, message).maybe_hint(hint)
}

fn words(error: &Error, line: &str) -> (String, Option<String>) {
    let hint = |text: &str| Some(text.to_owned());
    match error {
        Error::AliasError { error, .. } => words(error, line),
        Error::MultipleDocuments { .. } => (
            "a second YAML document begins here".to_owned(),
            hint("one file holds one document; remove the `---` or `...` line"),
        ),
        Error::RecursiveReferencesRequireWeakTypes { .. } => (
            "this alias stands inside the value it refers to".to_owned(),
            hint("an alias cannot hold itself; write the value out"),
        ),
        Error::UnknownAnchor { .. } => (
            "this alias refers to an anchor that is not defined above it".to_owned(),
            hint("quote text that begins with `*`"),
        ),
        Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => aliases_too_much(),
        Error::Budget { breach, .. } => over_budget(breach),
        other => syntax(&other.to_string(), line),
    }
}

fn over_budget(breach: &impl fmt::Debug) -> (String, Option<String>) {
    let name = format!("{breach:?}");
    let named = |prefix: &str| name.starts_with(prefix);
    if named("Depth") {
        return (format!("lists and mappings are nested deeper than {MAX_DEPTH} levels"), None);
    }
    if named("Documents") {
        return (
            "the file holds more than one YAML document".to_owned(),
            Some("one file holds one document".to_owned()),
        );
    }
    if named("Alias") || named("Anchors") || named("Recorded") {
        return aliases_too_much();
    }
    let limit = crate::text::grouped(MAX_NODES as u64);
    let hint = "split a large inventory into several files, or use ranges such as `web-[1-100]`";
    (format!("the file holds more than {limit} values"), Some(hint.to_owned()))
}

fn aliases_too_much() -> (String, Option<String>) {
    let message = "the aliases of this file stand for too much text";
    (message.to_owned(), Some("write values out, or give them once under `defaults:`".to_owned()))
}

/// The parser's own words, without the position, which is shown anyway.
fn syntax(text: &str, line: &str) -> (String, Option<String>) {
    let text = text.rsplit_once(" at line ").map_or(text, |(message, _)| message);
    let text = crate::text::escape(text.as_bytes(), 200);
    if text.contains("recursion limit") {
        return (format!("lists and mappings are nested deeper than {MAX_DEPTH} levels"), None);
    }
    let hint = if text.contains("unsupported tag") {
        Some("quote text that begins with `!`")
    } else if line.contains("{{") && !line.contains("\"{{") {
        Some("quote text that holds `{{ name }}`: `run: \"stop {{ name }}\"`")
    } else if text.contains("tab") {
        Some("indent with spaces")
    } else if text.contains("mapping values are not allowed") {
        Some("quote text that holds `: `")
    } else {
        None
    };
    (format!("this is not valid YAML: {text}"), hint.map(str::to_owned))
}
