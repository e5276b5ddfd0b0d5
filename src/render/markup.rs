//! Markup that nothing from outside can become: tags and names are written in this program, everything else is escaped.

use std::fmt::{Display, Write as _};

/// A piece of a page.
#[derive(Debug, Default)]
pub struct Markup(String);

/// An attribute: its name and what it says.
pub type Attribute<'a> = (&'static str, &'a dyn Display);

impl Markup {
    /// Markup of this program.
    pub fn raw(&mut self, markup: &'static str) {
        self.0.push_str(markup);
    }

    /// Anything.
    pub fn text(&mut self, text: impl Display) {
        let _ = write!(Escaped(&mut self.0), "{text}");
    }

    /// Begins an element.
    pub fn open(&mut self, tag: &'static str, attributes: &[Attribute<'_>]) {
        self.0.push('<');
        self.0.push_str(tag);
        for (name, value) in attributes {
            let _ = write!(self.0, " {name}=\"");
            let _ = write!(Escaped(&mut self.0), "{value}");
            self.0.push('"');
        }
        self.0.push('>');
    }

    /// Ends it.
    pub fn close(&mut self, tag: &'static str) {
        let _ = write!(self.0, "</{tag}>");
    }

    /// An element with nothing but text.
    pub fn element(&mut self, tag: &'static str, attributes: &[Attribute<'_>], text: impl Display) {
        self.open(tag, attributes);
        self.text(text);
        self.close(tag);
    }

    /// Ends a line.
    pub fn line(&mut self) {
        self.0.push('\n');
    }

    /// All of it.
    pub fn finish(self) -> String {
        self.0
    }
}

/// Writes text into a page.
struct Escaped<'a>(&'a mut String);

impl std::fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                '\n' | '\t' => self.0.push(c),
                // What cannot be seen, or turns around what can be, is shown as something that is not shown.
                c if c.is_control()
                    || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{fffe}'..='\u{ffff}') =>
                {
                    self.0.push('\u{fffd}');
                }
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_becomes_markup() {
        let mut page = Markup::default();
        let hostile = "\"><script>alert(1)</script>\u{202e}\u{1b}[31m'&";
        page.element("p", &[("title", &hostile)], hostile);
        let escaped = "&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;\u{fffd}\u{fffd}[31m&#39;&amp;";
        assert_eq!(page.finish(), format!("<p title=\"{escaped}\">{escaped}</p>"));
    }
}
