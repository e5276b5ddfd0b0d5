//! Files as they were read: bounded, decoded, hashed, with the way from a byte to a line and a column.
//!
//! Must never read more than [`MAX_BYTES`], and never anything but a regular file.

use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::diagnostic::{Diagnostic, Sink};

/// The largest plan or inventory that is read.
pub const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// One file, decoded.
#[derive(Debug)]
pub struct Source {
    /// Path for people and for reading again.
    pub path: PathBuf,
    /// Position in reading order; diagnostics are sorted by it.
    pub order: usize,
    /// BLAKE3 of the bytes, hex.
    pub digest: String,
    /// The text.
    pub text: String,
    lines: Vec<usize>,
    hidden: OnceLock<Vec<Range<usize>>>,
}

/// A place in a file: the bytes that something was read from.
#[derive(Debug, Clone)]
pub struct At {
    /// The file.
    pub source: Arc<Source>,
    /// Byte range in its text.
    pub span: Range<usize>,
}

impl PartialEq for At {
    fn eq(&self, other: &Self) -> bool {
        self.span == other.span && Arc::ptr_eq(&self.source, &other.source)
    }
}

impl Eq for At {}

/// A value and where it was written.
#[derive(Debug, Clone)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it was written.
    pub at: At,
}

impl At {
    /// `file:line:column`, for notes that point elsewhere.
    pub fn short(&self) -> String {
        let (line, column) = self.source.line_column(self.span.start);
        format!("{}:{line}:{column}", self.source.path.display())
    }

    /// The part of this place that begins `offset` bytes after its start.
    pub fn part(&self, offset: usize, len: usize) -> Self {
        let start = self.span.start.saturating_add(offset).min(self.span.end);
        let end = start.saturating_add(len).min(self.span.end);
        Self { source: Arc::clone(&self.source), span: start..end }
    }

    /// What is written there, quotes and all.
    pub fn raw(&self) -> &str {
        self.source.text.get(self.span.clone()).unwrap_or_default()
    }
}

impl Source {
    /// Wraps text that is in memory already.
    pub fn from_text(path: impl Into<PathBuf>, order: usize, text: String) -> Arc<Self> {
        let digest = blake3::hash(text.as_bytes()).to_hex().to_string();
        let lines = line_starts(&text);
        Arc::new(Self { path: path.into(), order, digest, text, lines, hidden: OnceLock::new() })
    }

    /// Reads a file, or says into `sink` why not.
    pub fn read(path: &Path, order: usize, sink: &Sink) -> Option<Arc<Self>> {
        match read_file(path) {
            Ok(bytes) => Self::from_bytes(path, order, bytes, sink),
            Err(Refused { why, hint }) => {
                let message = format!("cannot read {}: {why}", path.display());
                sink.push(Diagnostic::without_place(path, order, message).maybe_hint(hint));
                None
            }
        }
    }

    /// Decodes what was read elsewhere, or says into `sink` why not.
    pub fn from_bytes(path: &Path, order: usize, bytes: Vec<u8>, sink: &Sink) -> Option<Arc<Self>> {
        if let Err(Refused { why, hint }) = check_size(bytes.len() as u64) {
            let message = format!("cannot read {}: {why}", path.display());
            sink.push(Diagnostic::without_place(path, order, message).maybe_hint(hint));
            return None;
        }
        let digest = blake3::hash(&bytes).to_hex().to_string();
        let (text, bad) = match String::from_utf8(bytes) {
            Ok(text) => (text, None),
            Err(e) => {
                let at = e.utf8_error().valid_up_to();
                (String::from_utf8_lossy(e.as_bytes()).into_owned(), Some((at, utf8_hint(e.as_bytes()))))
            }
        };
        let lines = line_starts(&text);
        let source = Arc::new(Self { path: path.to_owned(), order, digest, text, lines, hidden: OnceLock::new() });
        source.check_characters(bad, sink).then_some(source)
    }

    fn check_characters(self: &Arc<Self>, bad: Option<(usize, &'static str)>, sink: &Sink) -> bool {
        if let Some((start, hint)) = bad {
            let at = At { source: Arc::clone(self), span: start..start + char::REPLACEMENT_CHARACTER.len_utf8() };
            sink.push(Diagnostic::error(&at, "the file is not valid UTF-8 here").hint(hint));
            return false;
        }
        if let Some(start) = self.text.find('\0') {
            let at = At { source: Arc::clone(self), span: start..start + 1 };
            sink.push(Diagnostic::error(&at, "the file holds a NUL byte").hint("plans and inventories are plain text"));
            return false;
        }
        true
    }

    /// Line and column, both from 1; columns count characters.
    pub fn line_column(&self, offset: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|&start| start <= offset).max(1);
        let start = self.lines.get(line - 1).copied().unwrap_or(0);
        let before = self.text.get(start..offset).unwrap_or_default();
        (line, before.chars().count() + 1)
    }

    /// Byte range of a line (from 1), without its line break.
    pub fn line_range(&self, line: usize) -> Range<usize> {
        let start = self.lines.get(line.saturating_sub(1)).copied().unwrap_or(self.text.len());
        let end = self.lines.get(line).copied().unwrap_or(self.text.len());
        let text = self.text.get(start..end).unwrap_or_default();
        start..start + text.trim_end_matches(['\n', '\r']).len()
    }

    /// Byte offset of a line and a column, both from 1.
    pub fn offset(&self, line: usize, column: usize) -> usize {
        let range = self.line_range(line);
        let text = self.text.get(range.clone()).unwrap_or_default();
        let within = text.char_indices().nth(column.saturating_sub(1)).map_or(text.len(), |(i, _)| i);
        range.start + within
    }

    /// Names what must not be shown when its line is. Only the first call counts.
    pub fn hide(&self, mut ranges: Vec<Range<usize>>) {
        ranges.sort_by_key(|range| range.start);
        let _ = self.hidden.set(ranges);
    }

    /// Whether the character at this offset must not be shown.
    pub fn is_hidden(&self, offset: usize) -> bool {
        let Some(ranges) = self.hidden.get() else { return false };
        // Scalars do not overlap: only the last one that begins before can hold it.
        let after = ranges.partition_point(|range| range.start <= offset);
        after.checked_sub(1).and_then(|i| ranges.get(i)).is_some_and(|range| range.contains(&offset))
    }
}

/// Why a file is not read.
pub struct Refused {
    /// In a few words.
    pub why: String,
    /// What to do next.
    pub hint: Option<String>,
}

fn refuse(why: String, hint: &str) -> Refused {
    Refused { why, hint: Some(hint.to_owned()) }
}

/// The bytes of a plan or an inventory, of which none is too large, and nothing else is read.
pub fn read_file(path: &Path) -> Result<Vec<u8>, Refused> {
    let failed = |e: std::io::Error| {
        let hint = match e.kind() {
            std::io::ErrorKind::NotFound => "check the path; a path in a file is relative to that file",
            std::io::ErrorKind::PermissionDenied => "make it readable for the user who runs migrate",
            _ => "check the path",
        };
        refuse(crate::text::escape(e.to_string().as_bytes(), 200), hint)
    };
    // Asked before opening: opening a FIFO would wait for a writer.
    let meta = std::fs::metadata(path).map_err(failed)?;
    if !meta.is_file() {
        return Err(refuse("it is not a regular file".to_owned(), "name the YAML file itself"));
    }
    check_size(meta.len())?;
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    check_size(bytes.len() as u64)?;
    Ok(bytes)
}

fn check_size(size: u64) -> Result<(), Refused> {
    if size <= MAX_BYTES {
        return Ok(());
    }
    let (size, limit) = (crate::text::bytes(size), crate::text::bytes(MAX_BYTES));
    let hint = "name a plan or an inventory; split a large inventory into several files";
    Err(refuse(format!("it has {size}, more than the limit of {limit}"), hint))
}

fn utf8_hint(bytes: &[u8]) -> &'static str {
    match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "this looks like UTF-16; save the file as UTF-8",
        _ => "save the file as UTF-8",
    }
}

/// YAML ends a line at `\n`, `\r\n` and a lone `\r`.
fn line_starts(text: &str) -> Vec<usize> {
    let bytes = text.as_bytes();
    let mut starts = vec![0];
    for (i, &byte) in bytes.iter().enumerate() {
        if byte == b'\n' || (byte == b'\r' && bytes.get(i + 1) != Some(&b'\n')) {
            starts.push(i + 1);
        }
    }
    starts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_lines_and_columns_for_every_line_break() {
        let source = Source::from_text("x", 0, "aé\r\nb\rc\n".to_owned());
        assert_eq!(source.line_column(0), (1, 1));
        assert_eq!(source.line_column(3), (1, 3));
        assert_eq!(source.line_column(5), (2, 1));
        assert_eq!(source.line_column(7), (3, 1));
        assert_eq!(source.text.get(source.line_range(1)), Some("aé"));
        assert_eq!(source.text.get(source.line_range(2)), Some("b"));
        assert_eq!(source.offset(3, 1), 7);
        assert_eq!(source.line_column(999), (4, 1));
    }
}
