//! The program itself, run as a user would run it, in surroundings of its own.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};

use super::place::Place;
use super::process::freeze;

/// How to run the program in a place.
pub struct Migrate {
    program: PathBuf,
    root: PathBuf,
    /// What it finds in its environment besides.
    besides: Vec<(&'static str, String)>,
    /// What starts it.
    through: Vec<String>,
}

/// What starts a program so that it sees a kernel of its own: another start of another machine.
pub fn own_kernel(root: &Path, name: &str) -> Vec<String> {
    let files = ["boot", "machine"].map(|what| {
        let file = root.join(format!("{name}.{what}"));
        std::fs::write(&file, format!("{what}-of-{name}\n")).expect("a file is written");
        file.display().to_string()
    });
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    let (mounting, back): (&[&str], _) = match uid.is_root() {
        true => (&["unshare", "--mount"], String::new()),
        false => (
            &["unshare", "--map-root-user", "--mount"],
            format!("unshare --user --map-user={} --map-group={} ", uid.as_raw(), gid.as_raw()),
        ),
    };
    let mount = format!(
        "mount --bind \"$1\" /proc/sys/kernel/random/boot_id && {{ [ ! -e /etc/machine-id ] || mount --bind \"$2\" /etc/machine-id; }} || exit 97; shift 2; exec {back}\"$@\""
    );
    let words = mounting.iter().map(|word| (*word).to_owned());
    words.chain(["sh".to_owned(), "-c".to_owned(), mount, "sh".to_owned()]).chain(files).collect()
}

/// What came of it.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Exit status; 128 + n for signal n.
    pub fn code(&self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or_default())
    }

    /// Panics with all that was said unless it ended with this status.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "it said:\n{}\n{}", self.stdout, self.stderr);
        self
    }
}

impl Migrate {
    /// In this place: its plans, its inventories, its state directory, its home.
    pub fn new(program: &str, place: &Place) -> Self {
        Self::at(program, place.root())
    }

    /// In this directory.
    pub fn at(program: &str, root: &Path) -> Self {
        Self { program: program.into(), root: root.to_owned(), besides: Vec::new(), through: Vec::new() }
    }

    /// On another machine, which has the same files but its own state directory `NAME`, and whose runs are kept at that address.
    pub fn on_machine(mut self, name: &str, store: &str) -> Self {
        self.besides.push(("MIGRATE_STATE_DIR", self.root.join(name).display().to_string()));
        self.besides.push(("MIGRATE_STORE", store.to_owned()));
        self
    }

    /// As somebody else who works as the same user of the machine.
    pub fn of_person(mut self, name: &str) -> Self {
        self.besides.push(("SUDO_USER", name.to_owned()));
        self
    }

    /// As a machine that was started by itself: nobody there can tell whether a process of this one lives.
    pub fn with_its_own_kernel(mut self, name: &str) -> Self {
        self.through = own_kernel(&self.root, name);
        self
    }

    /// Where runs are kept.
    pub fn state_dir(&self) -> PathBuf {
        self.root.join("state")
    }

    /// The command, not yet run. Nothing of the user who runs the tests reaches it.
    pub fn command(&self, args: &[&str]) -> Command {
        // It dies with its test, however that ends.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).args(&self.through).arg(&self.program);
        command.args(args).current_dir(&self.root).stdin(Stdio::null());
        command.env_clear();
        command.env("USER", super::sshd::user());
        for name in ["PATH", "RUST_BACKTRACE"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        command.env("HOME", self.root.join("home")).env("MIGRATE_STATE_DIR", self.state_dir());
        command.env("MIGRATE_AGENTS", super::agent::directory());
        command.envs(self.besides.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs it to its end.
    pub fn run(&self, args: &[&str]) -> Ended {
        let out = self.command(args).output().unwrap_or_else(|e| panic!("cannot run {}: {e}", self.program.display()));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ended { status: out.status, stdout: text(&out.stdout), stderr: text(&out.stderr) }
    }

    /// Starts it, to be watched line by line.
    pub fn start(&self, args: &[&str]) -> Running {
        let mut command = self.command(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("cannot run {}: {e}", self.program.display()));
        let lines = BufReader::new(child.stdout.take().expect("a pipe"));
        let errors = BufReader::new(child.stderr.take().expect("a pipe"));
        Running { child, lines, errors, said: String::new(), complained: String::new() }
    }

    /// The journal of a run.
    pub fn journal(&self, run: &str) -> PathBuf {
        self.state_dir().join("runs").join(run).join("journal")
    }
}

/// A program that runs. It is killed with its handle.
pub struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
    errors: BufReader<ChildStderr>,
    said: String,
    complained: String,
}

impl Running {
    /// Reads its output up to the line that is wanted; `None` when it ends before.
    pub fn read_until(&mut self, mut wanted: impl FnMut(&str) -> bool) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).expect("its output can be read") == 0 {
                return None;
            }
            self.said.push_str(&line);
            if wanted(&line) {
                return Some(line);
            }
        }
    }

    /// Reads its complaints up to a line that holds `text`.
    pub fn read_errors_until(&mut self, text: &str) {
        let from = self.complained.len();
        while !self.complained[from..].contains(text) {
            let read = self.errors.read_line(&mut self.complained).expect("its errors can be read");
            assert!(read > 0, "it ended without {text:?}: {}", self.complained);
        }
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, "--", &pid]).status();
        assert!(sent.is_ok_and(|s| s.success()), "cannot send {name}");
    }

    /// Stops it in its tracks, until it gets `CONT`.
    pub fn freeze(&self) {
        freeze(&[self.child.id()]);
    }

    /// `kill -9`.
    pub fn kill(mut self) -> String {
        let _ = self.child.kill();
        let _ = self.child.wait();
        std::mem::take(&mut self.said)
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Ended {
        let (mut stdout, mut stderr) = (std::mem::take(&mut self.said), std::mem::take(&mut self.complained));
        self.lines.read_to_string(&mut stdout).expect("its output can be read");
        self.errors.read_to_string(&mut stderr).expect("its errors can be read");
        Ended { status: self.child.wait().expect("a child has an end"), stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Files below a directory, for showing that nothing was left behind.
pub fn files_below(dir: &Path) -> Vec<String> {
    super::tree::read(dir).into_keys().collect()
}
