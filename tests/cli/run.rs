//! Runs the real binary in a directory of its own.

use std::path::Path;
use std::process::Command;

/// How a command ended.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// Runs `migrate` in the project's directory with a state directory of its own.
pub fn migrate(args: &[&str]) -> Ran {
    let state = tempfile::tempdir().unwrap();
    migrate_in(Path::new(env!("CARGO_MANIFEST_DIR")), state.path(), args)
}

/// Runs `migrate` in `dir`.
pub fn migrate_in(dir: &Path, state: &Path, args: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_migrate"));
    command.current_dir(dir).env("MIGRATE_STATE_DIR", state).env("COLUMNS", "100").args(args);
    let output = command.output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}
