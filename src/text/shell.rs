//! Quoting for a POSIX shell, and where in a command a quoted word may stand.
//!
//! A value is put into a command as one word in single quotes. That is safe only outside of quotes, comments
//! and here-documents, so [`context`] says where a place is, and the validation refuses the others.

/// One word that any POSIX shell reads back as `value`. A NUL cannot be passed to a command at all.
pub fn quote(value: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ':' | '@' | '%' | '+' | ',');
    if !value.is_empty() && value.chars().all(safe) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', r"'\''"))
}

/// Where in a command a place is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context {
    /// Where a quoted word is read as one word.
    Word,
    /// Between single or double quotes.
    Quotes,
    /// After a backslash.
    Backslash,
    /// After `#`.
    Comment,
    /// After `<<`.
    HereDocument,
}

impl Context {
    /// `inside quotes`, …: goes after "stands".
    pub fn words(self) -> &'static str {
        match self {
            Self::Word => "in the open",
            Self::Quotes => "inside quotes",
            Self::Backslash => "after a backslash",
            Self::Comment => "in a comment",
            Self::HereDocument => "in a here-document",
        }
    }
}

/// Where the end of `before`, the part of a command up to a place, is. When in doubt, not in the open.
pub fn context(before: &str) -> Context {
    let mut scan = Scan { open: Vec::new(), here: false };
    let mut chars = before.chars().peekable();
    let mut word_start = true;
    while let Some(c) = chars.next() {
        let quoted = scan.open.last().copied();
        match (quoted, c) {
            (Some(Open::Single), '\'') => scan.close(),
            (Some(Open::Single), _) => {}
            (_, '\\') if chars.next().is_none() => return Context::Backslash,
            (_, '\\') => {}
            (Some(Open::Double), '"') => scan.close(),
            (_, '$') if chars.peek() == Some(&'(') => {
                chars.next();
                scan.open.push(Open::Substitution);
                word_start = true;
                continue;
            }
            (_, '`') => scan.backtick(),
            (Some(Open::Double), _) => {}
            (_, '"') => scan.open.push(Open::Double),
            (_, '\'') => scan.open.push(Open::Single),
            (_, '#') if word_start => {
                let ends = chars.by_ref().any(|c| c == '\n');
                if !ends {
                    return Context::Comment;
                }
            }
            (_, '(') => scan.open.push(Open::Substitution),
            (Some(Open::Substitution), ')') => scan.close(),
            (_, '<') if chars.peek() == Some(&'<') => {
                chars.next();
                // `<<<` takes one word.
                scan.here |= chars.next_if_eq(&'<').is_none();
            }
            _ => {}
        }
        word_start = c.is_whitespace() || matches!(c, ';' | '&' | '|' | '(' | '`' | '#');
    }
    scan.verdict()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Single,
    Double,
    Backtick,
    Substitution,
}

struct Scan {
    open: Vec<Open>,
    here: bool,
}

impl Scan {
    fn close(&mut self) {
        self.open.pop();
    }

    fn backtick(&mut self) {
        match self.open.last() {
            Some(Open::Backtick) => self.close(),
            _ => self.open.push(Open::Backtick),
        }
    }

    fn verdict(&self) -> Context {
        match self.open.last() {
            Some(Open::Single | Open::Double) => Context::Quotes,
            // Backslashes mean something else between backticks: what looks quoted may not be.
            _ if self.open.contains(&Open::Backtick) => Context::Quotes,
            _ if self.here => Context::HereDocument,
            _ => Context::Word,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_a_command_is_open_only_where_a_word_is_read_as_one() {
        for (before, expected) in [
            ("", Context::Word),
            ("systemctl stop ", Context::Word),
            ("a --x=", Context::Word),
            ("echo 'a' \"b\" ", Context::Word),
            ("echo it\\'s ", Context::Word),
            ("x=\"$(cat ", Context::Word),
            ("x=\"$(cat a)", Context::Quotes),
            ("sh -c '", Context::Quotes),
            ("sh -c \"", Context::Quotes),
            ("echo `cat ", Context::Quotes),
            ("echo \\", Context::Backslash),
            ("true # don't ", Context::Comment),
            ("true # don't\necho ", Context::Word),
            ("echo a#b ' ", Context::Quotes),
            ("cat <<EOF\n", Context::HereDocument),
            ("cat <<< ", Context::Word),
            ("(cd /; ls ", Context::Word),
        ] {
            assert_eq!(context(before), expected, "{before:?}");
        }
    }
}
