//! Reading mappings: a reader is the list of the keys there are.
//!
//! A [`Map`] knows which keys were asked for, and at the end reports the others, with what may have been meant.

use std::cell::RefCell;

use super::diagnostic::Diagnostic;
use super::node::{Key, Kind, Node};
use super::reader::{Cx, Value};
use super::source::{At, Located};
use super::trace::{Known, Seen, Taken};
use crate::text::suggest;

/// A mapping that is being read.
pub struct Map<'a> {
    cx: &'a Cx<'a>,
    what: &'static str,
    at: At,
    entries: &'a [(Key, Node)],
    fallback: &'a [(Key, Node)],
    asked: RefCell<Vec<&'static str>>,
    missing: RefCell<Vec<(&'static str, &'static str)>>,
    kinds: RefCell<Option<Vec<&'static str>>>,
}

impl<'a> Value<'a> {
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
        self.cx.sink.trace.take(self.place(), Taken::Map(what));
        let Kind::Map(entries) = &self.node.kind else {
            self.mismatch("a mapping", example);
            return None;
        };
        self.cx.sink.trace.note(|seen| {
            let concept = seen.concepts.entry(what).or_default();
            concept.times += 1;
            concept.falls_back |= fallback.is_some();
        });
        let fallback = match fallback.map(|v| &v.node.kind) {
            Some(Kind::Map(entries)) => entries.as_slice(),
            _ => &[],
        };
        let map = Map {
            cx: self.cx,
            what,
            at: self.key_at(),
            entries,
            fallback,
            asked: RefCell::default(),
            missing: RefCell::default(),
            kinds: RefCell::default(),
        };
        let out = f(&map);
        map.report_rest();
        Some(out)
    }
}

impl<'a> Map<'a> {
    /// The value of a key, if it is there.
    pub fn get(&self, key: &'static str) -> Option<Value<'a>> {
        self.cx.sink.know(self.what, key);
        self.asked.borrow_mut().push(key);
        let find = |entries: &'a [(Key, Node)]| entries.iter().find(|(k, _)| k.text() == key);
        let found = find(self.entries).or_else(|| find(self.fallback));
        let found = found.map(|(key, node)| Value { cx: self.cx, node, key: Some(key), label: key.text() });
        self.know(key, |known| known.values.extend(found.map(|value| value.place())));
        found
    }

    /// The value of a key that must be there.
    pub fn need(&self, key: &'static str, example: &'static str) -> Option<Value<'a>> {
        let found = self.get(key);
        self.know(key, |known| known.needed += 1);
        if found.is_none() {
            self.missing.borrow_mut().push((key, example));
        }
        found
    }

    fn know(&self, key: &'static str, note: impl FnOnce(&mut Known)) {
        let concept = |seen: &mut Seen| note(seen.concepts.entry(self.what).or_default().keys.entry(key).or_default());
        self.cx.sink.trace.note(concept);
    }

    /// Lets keys stand that belong to a kind which is not known.
    pub fn ask(&self, keys: &[&'static str]) {
        self.asked.borrow_mut().extend(keys);
    }

    /// The one kind that is given, of several; reports none, several and unknown ones.
    pub fn kind(&self, kinds: &[&'static str]) -> Option<Value<'a>> {
        self.cx.sink.trace.note(|seen| seen.concepts.entry(self.what).or_default().kinds.insert(kinds.to_vec()));
        let found: Vec<Value<'a>> = kinds.iter().filter_map(|kind| self.get(kind)).collect();
        match found.as_slice() {
            [one] => Some(*one),
            [] => {
                self.kinds.replace(Some(kinds.to_vec()));
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

    /// What was not asked for, and what was asked for and is not there: a misspelled key is one problem, not two.
    fn report_rest(&self) {
        let asked = self.asked.borrow();
        let unknown: Vec<&Key> =
            self.entries.iter().map(|(key, _)| key).filter(|key| !asked.contains(&key.text())).collect();
        let kinds = self.kinds.borrow();
        let (noun, known) = match kinds.as_ref() {
            Some(kinds) => ("kind", kinds),
            None => ("key", &*asked),
        };
        let mut meant = Vec::new();
        for key in &unknown {
            let shown = crate::text::escape(key.text().as_bytes(), 60);
            meant.extend(suggest::closest(key.text(), known.iter().copied()));
            let hint = suggest::hint(key.text(), &format!("{noun}s"), known.iter().copied());
            let message = format!("unknown {noun} `{shown}` in {}", self.what);
            self.cx.error(&self.cx.at(key.node.span.clone()), message, hint);
        }
        if unknown.is_empty()
            && let Some(kinds) = kinds.as_ref()
        {
            let hint = suggest::hint("", "kinds", kinds.iter().copied());
            self.cx.error(&self.at, format!("{} needs its kind", self.what), hint);
        }
        for (key, example) in self.missing.borrow().iter().filter(|(key, _)| !meant.contains(key)) {
            self.cx.error(&self.at, format!("{} needs `{key}`", self.what), format!("for example `{key}: {example}`"));
        }
    }
}

/// One of a fixed list of words.
pub fn one_of<T: Copy>(value: Value<'_>, kind: &str, kinds: &str, words: &[(&'static str, T)]) -> Option<Located<T>> {
    let first = words.first().map_or("", |(word, _)| *word);
    let all = || words.iter().map(|(word, _)| *word).collect();
    value.cx.sink.trace.note(|seen| seen.taken.entry(value.place()).or_default().insert(Taken::Words(all())));
    let text = value.one_line(kind, &format!("{}: {first}", value.name()))?;
    match words.iter().find(|(word, _)| *word == text.value) {
        Some((_, found)) => Some(Located { value: *found, at: text.at }),
        None => {
            let hint = suggest::hint(&text.value, kinds, words.iter().map(|(word, _)| *word));
            value.error(format!("`{}` is not {kind}", crate::text::escape(text.value.as_bytes(), 60)), hint);
            None
        }
    }
}
