//! Colour, where it may be used.

/// Colours text, or leaves it as it is.
#[derive(Debug, Clone, Copy)]
pub struct Paint(pub bool);

impl Paint {
    fn wrap(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Something to look at first.
    pub fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    /// Something to look at last.
    pub fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    /// It is well.
    pub fn green(self, text: &str) -> String {
        self.wrap("32", text)
    }

    /// Look twice.
    pub fn yellow(self, text: &str) -> String {
        self.wrap("33", text)
    }

    /// It is not well.
    pub fn red(self, text: &str) -> String {
        self.wrap("31", text)
    }
}
