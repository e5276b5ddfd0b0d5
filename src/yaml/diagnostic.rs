//! What is wrong, where, why, and what to do about it.
//!
//! Owns how a problem in a file reads. Must never show what a file marks as secret, nor pass a control
//! character on to a terminal.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::ser::SerializeStruct as _;

use super::source::{At, Source};
use super::trace::{Seen, Trace};

/// Problems shown in text; the others are counted.
pub const MAX_SHOWN: usize = 50;
/// Problems kept; the others are counted.
const MAX_KEPT: usize = 1000;
/// Columns of a source line that are shown.
const MAX_COLUMNS: usize = 160;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nothing can be done before this is changed.
    Error,
    /// It can be done, and is probably not what was meant.
    Warning,
}

impl Severity {
    fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The file.
    pub file: PathBuf,
    /// Where in the file; `None` when the file as a whole is the problem.
    #[serde(flatten)]
    pub place: Option<Place>,
    /// What is wrong and why, in one sentence without a full stop.
    pub message: String,
    /// Other places and facts that belong to it.
    pub notes: Vec<String>,
    /// What to do next.
    pub hint: Option<String>,
    /// Where `place` will be looked up: only for what is kept, since a line can be long.
    #[serde(skip)]
    at: Option<At>,
    #[serde(skip)]
    order: usize,
}

/// A place in a file, with what stands there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, in characters.
    pub column: usize,
    /// The line, made safe for a terminal and cut around the marker.
    pub line_text: String,
    /// First marked column of `line_text`, from 0, in terminal cells.
    pub marker_start: usize,
    /// How many cells are marked; at least 1.
    pub marker_len: usize,
}

impl Diagnostic {
    /// An error at a place.
    pub fn error(at: &At, message: impl Into<String>) -> Self {
        Self::at(Severity::Error, at, message.into())
    }

    /// A warning at a place.
    pub fn warning(at: &At, message: impl Into<String>) -> Self {
        Self::at(Severity::Warning, at, message.into())
    }

    /// An error about a whole file.
    pub fn without_place(file: &Path, order: usize, message: impl Into<String>) -> Self {
        let (message, file) = (message.into(), file.to_owned());
        Self { severity: Severity::Error, file, place: None, message, notes: Vec::new(), hint: None, at: None, order }
    }

    fn at(severity: Severity, at: &At, message: String) -> Self {
        let (file, order) = (at.source.path.clone(), at.source.order);
        Self { severity, file, place: None, message, notes: Vec::new(), hint: None, at: Some(at.clone()), order }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds what to do next, if there is something.
    #[must_use]
    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }

    /// Adds another place or fact.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    fn sort_key(&self) -> (usize, usize, usize, Severity) {
        let (line, column) = self.place.as_ref().map_or((0, 0), |p| (p.line, p.column));
        (self.order, line, column, self.severity)
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.severity.word(), self.message)?;
        let file = crate::text::escape(self.file.as_os_str().as_encoded_bytes(), 300);
        let width = match &self.place {
            Some(place) => {
                let number = place.line.to_string();
                let width = number.len();
                writeln!(f, "{:width$}--> {file}:{}:{}", "", place.line, place.column)?;
                writeln!(f, "{:width$} |", "")?;
                writeln!(f, "{number} | {}", place.line_text)?;
                let (before, marks) = (place.marker_start, "^".repeat(place.marker_len));
                writeln!(f, "{:width$} | {:before$}{marks}", "", "")?;
                width
            }
            None => {
                writeln!(f, " --> {file}")?;
                1
            }
        };
        for note in &self.notes {
            writeln!(f, "{:width$} = note: {note}", "")?;
        }
        if let Some(hint) = &self.hint {
            writeln!(f, "{:width$} = help: {hint}", "")?;
        }
        Ok(())
    }
}

/// The line around a span as it is shown, and where in it the span is.
pub(super) fn place(source: &Source, span: Range<usize>) -> Place {
    let (line, column) = source.line_column(span.start);
    let range = source.line_range(line);
    let text = source.text.get(range.clone()).unwrap_or_default();
    let end = if span.end > span.start { span.end.min(range.end) } else { word_end(source, span.start, range.end) };
    // Far from the marker nothing is shown: a one-line file of megabytes stays cheap.
    let mut skipped = source.text.get(range.start..span.start).map_or(0, |b| b.chars().count());
    skipped = skipped.saturating_sub(MAX_COLUMNS / 2);
    if text.chars().count() <= MAX_COLUMNS {
        skipped = 0;
    }
    let mut shown = Shown::default();
    if skipped > 0 {
        shown.push("…", false);
    }
    for (i, c) in text.char_indices().skip(skipped) {
        if shown.cells >= MAX_COLUMNS {
            shown.push("…", false);
            break;
        }
        let offset = range.start + i;
        let marked = offset >= span.start && offset < end;
        match source.is_hidden(offset) {
            true => shown.push("•", marked),
            false => shown.push(&visible(c), marked),
        }
    }
    let (marker_start, marker_len) = shown.marker.unwrap_or((shown.cells, 1));
    Place { line, column, line_text: shown.text.trim_end().to_owned(), marker_start, marker_len }
}

#[derive(Default)]
struct Shown {
    text: String,
    cells: usize,
    marker: Option<(usize, usize)>,
}

impl Shown {
    fn push(&mut self, piece: &str, marked: bool) {
        let width = unicode_width::UnicodeWidthStr::width(piece);
        if marked {
            let (_, len) = self.marker.get_or_insert((self.cells, 0));
            *len += width.max(1);
        }
        self.text.push_str(piece);
        self.cells += width;
    }
}

/// The end of the word that begins at `start`: what a place without length marks.
fn word_end(source: &Source, start: usize, line_end: usize) -> usize {
    let rest = source.text.get(start..line_end).unwrap_or_default();
    start
        + rest.find(|c: char| c.is_whitespace() || matches!(c, ':' | ',' | '[' | ']' | '{' | '}')).unwrap_or(rest.len())
}

fn visible(c: char) -> String {
    match c {
        ' ' | '\t' | '\u{feff}' => " ".to_owned(),
        c => crate::text::escape(c.encode_utf8(&mut [0; 4]).as_bytes(), 10),
    }
}

/// Where problems go while files are read.
#[derive(Debug, Default)]
pub struct Sink {
    kept: RefCell<Vec<Diagnostic>>,
    dropped: RefCell<[usize; 2]>,
    keys: RefCell<BTreeSet<(&'static str, &'static str)>>,
    /// What readers take for what.
    pub(super) trace: Trace,
}

impl Sink {
    /// One that also watches what readers do.
    pub fn watching() -> Self {
        Self { trace: Trace::watching(), ..Self::default() }
    }

    /// What readers did.
    pub fn seen(self) -> Seen {
        self.trace.seen()
    }

    /// Takes a problem; the same one twice counts once.
    pub fn push(&self, found: Diagnostic) {
        let mut kept = self.kept.borrow_mut();
        if kept.len() >= MAX_KEPT {
            let mut dropped = self.dropped.borrow_mut();
            let [errors, warnings] = &mut *dropped;
            *(if found.severity == Severity::Error { errors } else { warnings }) += 1;
        } else if !kept.contains(&found) {
            kept.push(found);
        }
    }

    /// Whether nobody will see more than the number of further problems: what is costly to say can be left out.
    pub fn is_full(&self) -> bool {
        self.kept.borrow().len() >= MAX_KEPT
    }

    /// Whether further problems are not shown as text.
    pub fn is_long(&self) -> bool {
        self.kept.borrow().len() > 2 * MAX_SHOWN
    }

    /// Whether an error came in so far.
    pub fn has_errors(&self) -> bool {
        let [dropped, _] = *self.dropped.borrow();
        dropped > 0 || self.kept.borrow().iter().any(|d| d.severity == Severity::Error)
    }

    /// Notes that a reader knows this key, so that a test can hold the documents against it.
    pub(super) fn know(&self, what: &'static str, key: &'static str) {
        self.keys.borrow_mut().insert((what, key));
    }

    /// Every key that was asked for so far, as concept and key.
    pub fn known_keys(&self) -> BTreeSet<(&'static str, &'static str)> {
        self.keys.borrow().clone()
    }

    /// All problems, sorted by place.
    pub fn into_diagnostics(self) -> Diagnostics {
        let mut all = self.kept.into_inner();
        for found in &mut all {
            found.place = found.at.take().map(|at| place(&at.source, at.span));
        }
        all.sort_by_key(Diagnostic::sort_key);
        let [errors, warnings] = self.dropped.into_inner();
        Diagnostics { all, dropped_errors: errors, dropped_warnings: warnings }
    }
}

/// All problems of all files, sorted by file and place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostics {
    all: Vec<Diagnostic>,
    dropped_errors: usize,
    dropped_warnings: usize,
}

impl Diagnostics {
    /// The problems that were kept, at most a thousand.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.all.iter()
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// How many errors there are, shown or not.
    pub fn errors(&self) -> usize {
        self.count(Severity::Error) + self.dropped_errors
    }

    /// How many warnings there are, shown or not.
    pub fn warnings(&self) -> usize {
        self.count(Severity::Warning) + self.dropped_warnings
    }

    fn count(&self, severity: Severity) -> usize {
        self.all.iter().filter(|d| d.severity == severity).count()
    }

    /// `3 errors and 1 warning`; empty when there is nothing.
    pub fn summary(&self) -> String {
        let counts = [(self.errors(), "error"), (self.warnings(), "warning")];
        let parts: Vec<String> =
            counts.iter().filter(|(n, _)| *n > 0).map(|(n, noun)| crate::text::count(*n as u64, noun)).collect();
        crate::text::list(&parts)
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for found in self.all.iter().take(MAX_SHOWN) {
            writeln!(f, "{found}")?;
        }
        let total = self.errors() + self.warnings();
        if total > MAX_SHOWN {
            writeln!(f, "… and {} more\n", crate::text::grouped((total - MAX_SHOWN) as u64))?;
        }
        f.write_str(&self.summary())
    }
}

impl std::error::Error for Diagnostics {}

impl Serialize for Diagnostics {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Diagnostics", 3)?;
        out.serialize_field("errors", &self.errors())?;
        out.serialize_field("warnings", &self.warnings())?;
        out.serialize_field("problems", &self.all)?;
        out.end()
    }
}
