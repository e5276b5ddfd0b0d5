//! Ctrl-C on a real terminal: once, twice, and in a rollback.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use super::lab::fleet::Fleet;
use super::support::*;

/// The program on a terminal of its own, made by `script`.
struct Terminal {
    child: Child,
    keys: ChildStdin,
    screen: ChildStdout,
    seen: String,
}

impl Terminal {
    fn start(fleet: &Fleet, command: &str) -> Self {
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
    fn wait_for(&mut self, text: &str) {
        let from = self.seen.len();
        let mut bytes = [0; 4096];
        while !self.seen[from..].contains(text) {
            let n = self.screen.read(&mut bytes).unwrap();
            assert!(n > 0, "it ended without {text:?}: {}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&bytes[..n]));
        }
    }

    fn press_ctrl_c(&mut self) {
        self.keys.write_all(b"\x03").unwrap();
        self.keys.flush().unwrap();
    }

    fn finish(mut self) -> (String, i32) {
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

#[test]
fn ctrl_c_on_a_terminal_stops_at_a_safe_point_and_twice_at_once() {
    let fleet = ramp(1);
    let before = pool(&fleet);
    fleet.place.edit(RAMP, "hold: 200ms", "hold: 1m");
    fleet.place.edit(RAMP, "at: before_shift", "at: before_shift\n        timeout: 2m");
    fleet.place.edit(RAMP, "run: sleep 0.3; echo", "run: test -e {{ lab }}/go || sleep 30; echo");
    let load = fleet.load(USERS);
    let mut terminal = Terminal::start(&fleet, &format!("apply {RAMP}"));
    terminal.wait_for("Apply this plan?");
    terminal.keys.write_all(b"yes\n").unwrap();
    while begun(&records_if_any(&fleet), false).last().map(String::as_str) != Some("web/dal-1/before_shift") {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    // The command is under way: the first waits for it, the second does not.
    terminal.press_ctrl_c();
    terminal.wait_for("safe point");
    terminal.press_ctrl_c();
    let (seen, code) = terminal.finish();
    assert_eq!(code, 130, "{seen}");
    std::fs::write(fleet.place.root().join("go"), "").unwrap();
    for pid in fleet.host("fra-1").sshd.session_processes() {
        // What the command sleeps for is over now.
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if name.trim() == "sleep" {
            let _ = std::process::Command::new("kill").arg(pid.to_string()).output();
        }
    }
    let mut terminal = Terminal::start(&fleet, &format!("apply {RAMP} --yes"));
    terminal.wait_for("watch");
    terminal.press_ctrl_c();
    let (seen, code) = terminal.finish();
    assert_eq!(code, 3, "{seen}");
    assert!(seen.contains("Stopped at a safe point"), "{seen}");
    migrate(&fleet).run(&["set", "web", "hold=100ms"]).expect(0);
    // The way back can be stopped as well, and gone on with.
    migrate(&fleet).run(&["rollback", "web", "--yes"]).expect(0);
    assert_eq!(pool(&fleet), before);
    assert_kept(&fleet, &load.stop());
}

fn records_if_any(fleet: &Fleet) -> Vec<migrate::event::Record> {
    migrate::journal::file::read(&journal(fleet, "web-1")).unwrap_or_default()
}
