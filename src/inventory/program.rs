//! Programs that know more of an inventory than a reader of its files: run without a shell, bounded in time, never given input.

use std::io::ErrorKind;
use std::process::Stdio;
use std::time::Duration;

use super::SourceError;
use crate::text;

/// A program that has not ended by then does not end.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a program writes to its standard output; `None` when there is no such program.
pub async fn output(program: &str, args: &[&str]) -> Result<Option<String>, SourceError> {
    let bad = |what: String| SourceError { what, hint: Some(format!("run `{program} {}` by hand", args.join(" "))) };
    let mut command = tokio::process::Command::new(program);
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    let out = match tokio::time::timeout(PATIENCE, command.output()).await {
        Ok(Ok(out)) => out,
        Ok(Err(e)) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Ok(Err(e)) => return Err(bad(format!("{program} cannot be run: {e}"))),
        Err(_) => return Err(bad(format!("{program} did not end within {}", text::duration(PATIENCE)))),
    };
    if !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr).trim().to_owned();
        let said = said.lines().last().unwrap_or_default();
        return Err(bad(format!("{program} ended with {}: {}", out.status, text::escape(said.as_bytes(), 300))));
    }
    String::from_utf8(out.stdout).map(Some).map_err(|_| bad(format!("what {program} says is not UTF-8")))
}
