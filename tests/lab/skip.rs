//! What a test cannot do on this machine: told, for what did not run proves nothing.

use std::io::Write;

/// Says it on standard error itself, which the harness does not keep back when the test passes. `.ci/run` tells it again at its end.
pub fn skip(why: &str) {
    let thread = std::thread::current();
    let line = format!("skipped: {}: {why}\n", thread.name().unwrap_or_default());
    let _ = std::io::stderr().write_all(line.as_bytes());
}
