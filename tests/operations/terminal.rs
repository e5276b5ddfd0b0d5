//! A real terminal, as an operator has one.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use super::support::*;
use crate::lab::fleet::Fleet;

/// The program on a terminal of its own, made by `script`.
pub struct Terminal {
    child: Child,
    keys: ChildStdin,
    screen: ChildStdout,
    seen: String,
}

impl Terminal {
    pub fn start(fleet: &Fleet, command: &str) -> Self {
        let program = env!("CARGO_BIN_EXE_migrate");
        let inside = migrate(fleet).command(&[]);
        let mut script = std::process::Command::new("script");
        // Ctrl-C goes to all in the foreground: there must be no shell that has an exit status of its own.
        let command = format!("exec {program} {command}");
        script.args(["--quiet", "--return", "--flush", "--command", &command, "/dev/null"]);
        script.current_dir(fleet.place.root()).env_clear();
        script.envs(inside.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("TERM", "xterm");
        let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (keys, screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, keys, screen, seen: String::new() }
    }

    /// Waits until something is on the screen that was not there before.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        let from = self.seen.len();
        let mut bytes = [0; 4096];
        while !self.seen[from..].contains(text) {
            let n = self.screen.read(&mut bytes).unwrap();
            assert!(n > 0, "it ended without {text:?}: {}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&bytes[..n]));
        }
    }

    /// Answers a question.
    pub fn say_yes(&mut self) {
        self.keys.write_all(b"yes\n").unwrap();
        self.keys.flush().unwrap();
    }

    pub fn press_ctrl_c(&mut self) {
        self.keys.write_all(b"\x03").unwrap();
        self.keys.flush().unwrap();
    }

    pub fn finish(mut self) -> (String, i32) {
        let mut rest = Vec::new();
        self.screen.read_to_end(&mut rest).unwrap();
        self.seen.push_str(&String::from_utf8_lossy(&rest));
        (self.seen.clone(), self.child.wait().unwrap().code().unwrap())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
