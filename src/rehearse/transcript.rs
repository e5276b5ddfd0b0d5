//! A history to read: one line a point, in the words of the plan.

use std::fmt::{Debug, Write};
use std::hash::Hasher;

use super::fault::Fault;
use super::invariants::Violation;

/// Lines told so far.
#[derive(Debug, Default)]
pub(super) struct Transcript {
    lines: Vec<String>,
    /// How often the last line was told again.
    again: usize,
}

impl Transcript {
    /// Everything told.
    pub fn into_lines(mut self) -> Vec<String> {
        self.count();
        self.lines
    }

    fn tell(&mut self, line: String) {
        if self.lines.last() == Some(&line) {
            self.again += 1;
            return;
        }
        self.count();
        self.lines.push(line);
    }

    fn count(&mut self) {
        let again = std::mem::take(&mut self.again);
        if again > 0 {
            self.lines.push(format!("  … and the same {again} more times"));
        }
    }

    pub fn point(&mut self, step: &str, what: &str, fault: Option<Fault>) {
        let mut line = if step.is_empty() { what.to_owned() } else { format!("{step}: {what}") };
        if let Some(fault) = fault {
            let _ = write!(line, "  ✗ {}", fault.describe());
        }
        self.tell(line);
    }

    pub fn say(&mut self, what: &str) {
        self.tell(format!("— {what}"));
    }

    pub fn broken(&mut self, broken: &Violation) {
        self.tell(format!("✗ {broken}"));
    }
}

/// Hashes what has no hash of its own by what it shows.
pub(super) fn hash_debug(value: &impl Debug, to: &mut impl Hasher) {
    struct Sink<'a, H>(&'a mut H);
    impl<H: Hasher> Write for Sink<'_, H> {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0.write(text.as_bytes());
            Ok(())
        }
    }
    let _ = write!(Sink(to), "{value:?}");
}
