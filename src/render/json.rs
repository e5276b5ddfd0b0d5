//! One notice a line, as JSON.

use std::io::Write;

use crate::event::{Notice, Watch};

/// Writes notices as JSON lines.
pub struct Json<W>(pub W);

impl<W: Write + Send> Watch for Json<W> {
    fn see(&mut self, notice: &Notice) {
        if let Ok(line) = serde_json::to_string(notice) {
            // A reader that has gone away must not stop a run.
            let _ = writeln!(self.0, "{line}").and_then(|()| self.0.flush());
        }
    }
}
