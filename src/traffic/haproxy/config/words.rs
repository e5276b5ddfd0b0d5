//! A line of haproxy.cfg as words: quotes, escapes and comments as HAProxy 2.6 reads them.
//!
//! Must never pretend to know a word that holds a variable: its value is in HAProxy's environment, not in the file.

use std::ops::Range;

/// A word of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Without quotes and escapes; `None` where it holds a variable.
    pub text: Option<String>,
    /// Where it stands in the line, in bytes, quotes included.
    pub span: Range<usize>,
}

impl Word {
    /// Whether it is known and reads so.
    pub fn is(&self, text: &str) -> bool {
        self.text.as_deref() == Some(text)
    }
}

/// Why a line cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadLine {
    /// A quote is not closed.
    Quote,
    /// It ends in the middle of an escape, or the escape is none.
    Escape,
}

impl BadLine {
    /// For people.
    pub fn why(self) -> &'static str {
        match self {
            Self::Quote => "a quote is not closed",
            Self::Escape => "a backslash escapes nothing",
        }
    }
}

/// The words of a line. A `#` that is neither quoted nor escaped ends it, even in the middle of a word.
pub fn words(line: &str) -> Result<Vec<Word>, BadLine> {
    let mut reading = Reading { words: Vec::new(), open: None, quote: Quote::None };
    let mut chars = line.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match (reading.quote, c) {
            (Quote::None, '#') => {
                reading.close(at);
                return Ok(reading.words);
            }
            (Quote::None, ' ' | '\t' | '\r') => reading.close(at),
            (Quote::None, '\'') => reading.turn(at, Quote::Single),
            (Quote::None, '"') => reading.turn(at, Quote::Double),
            (Quote::Single, '\'') | (Quote::Double, '"') => reading.turn(at, Quote::None),
            (Quote::Double, '$') => reading.variable(at),
            (Quote::None | Quote::Double, '\\') => {
                let (_, next) = chars.next().ok_or(BadLine::Escape)?;
                let escaped = match (reading.quote, next) {
                    (Quote::None, 'x') => {
                        let mut digit = || chars.next().and_then(|(_, c)| c.to_digit(16)).ok_or(BadLine::Escape);
                        char::from_u32(digit()? * 16 + digit()?).ok_or(BadLine::Escape)?
                    }
                    (Quote::None, 'n') => '\n',
                    (Quote::None, 'r') => '\r',
                    (Quote::None, 't') => '\t',
                    (_, other) => other,
                };
                reading.push(at, escaped);
            }
            (_, c) => reading.push(at, c),
        }
    }
    if reading.quote != Quote::None {
        return Err(BadLine::Quote);
    }
    reading.close(line.len());
    Ok(reading.words)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quote {
    None,
    Single,
    Double,
}

struct Reading {
    words: Vec<Word>,
    /// The word that is being read: where it begins, and its text as far as it is known.
    open: Option<(usize, Option<String>)>,
    quote: Quote,
}

impl Reading {
    fn begin(&mut self, at: usize) -> &mut Option<String> {
        &mut self.open.get_or_insert_with(|| (at, Some(String::new()))).1
    }

    fn push(&mut self, at: usize, c: char) {
        if let Some(text) = self.begin(at) {
            text.push(c);
        }
    }

    fn variable(&mut self, at: usize) {
        *self.begin(at) = None;
    }

    /// An empty pair of quotes is a word, too.
    fn turn(&mut self, at: usize, quote: Quote) {
        self.begin(at);
        self.quote = quote;
    }

    fn close(&mut self, end: usize) {
        if let Some((begin, text)) = self.open.take() {
            self.words.push(Word { text, span: begin..end });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(line: &str) -> Vec<Option<String>> {
        words(line).unwrap().into_iter().map(|w| w.text).collect()
    }

    #[test]
    fn quotes_escapes_and_comments_are_read_as_haproxy_does() {
        let some = |words: &[&str]| words.iter().map(|w| Some((*w).to_owned())).collect::<Vec<_>>();
        assert_eq!(
            read("  server a 127.0.0.1:1 weight 9\"9\"'9'#c"),
            some(&["server", "a", "127.0.0.1:1", "weight", "999"])
        );
        assert_eq!(read("a\\ b a\\x41 a\\#b '' # c"), some(&["a b", "aA", "a#b", ""]));
        assert_eq!(read("weight $W '$W' \"\\$W\""), some(&["weight", "$W", "$W", "$W"]));
        assert_eq!(read("weight \"${W}\" x\"$W\""), [Some("weight".to_owned()), None, None]);
        assert_eq!(words("a 'b"), Err(BadLine::Quote));
        assert_eq!(words("a \\"), Err(BadLine::Escape));
    }

    proptest! {
        #[test]
        fn spans_cut_the_words_out_of_the_line(line in "[ a-z0-9\"'\\\\$#é{}]{0,40}") {
            for word in words(&line).unwrap_or_default() {
                let cut = line.get(word.span).unwrap();
                prop_assert_eq!(words(cut).ok().and_then(|w| w.into_iter().next()).map(|w| w.text), Some(word.text));
            }
        }
    }
}
