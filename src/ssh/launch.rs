//! How a program is started on a host: the one place that makes command lines for login shells and for keys that are bound to a
//! command, and that finds where a program's own output begins.
//!
//! Must never let a word of the program's arguments change where another one begins, and never take what a login shell prints, with
//! or without a line break, for output of the program.
//!
//! A starter prints a random word on both outputs and then becomes the program. What comes before the word is the login shell's; when
//! the word never comes, the program did not start, and what came instead says why.

use bytes::Bytes;

use super::stream::Exit;
use super::{privileges, quote};
use crate::model::{Become, Host};
use crate::outside::{Error, Kind};
use crate::text::escape;

/// `$1` the word, then the program. Must not hold newlines, single quotes, backslashes or `!`: see `quote`.
const STARTER: &str = r#"echo "$1";echo "$1">&2;shift;exec "$@""#;
/// For a program that says a first word of its own.
const BOUND: &str = r#"exec "$@""#;
/// What is kept of what a login shell prints before the program starts.
const NOISE_KEPT: usize = 4 << 10;

/// A program, ready to be started on a host.
pub(super) struct Launch {
    /// What the login shell gets.
    pub line: String,
    /// What sudo asks for a password with.
    pub prompt: String,
    host: Host,
    word: String,
}

impl Launch {
    /// Starts `argv` on a host.
    pub(super) fn new(host: &Host, argv: &[&str]) -> Result<Self, Error> {
        let random = || random_word().map_err(|what| Error::new(host.name.clone(), Kind::Config, what));
        let (word, prompt) = (random()?, random()?);
        let line = line(host, &prompt, STARTER, &[&[word.as_str()], argv].concat())?;
        Ok(Self { line, prompt, host: host.clone(), word })
    }

    /// As whom it is to run, when not as the login.
    pub(super) fn becomes(&self) -> Option<&Become> {
        self.host.ssh.becomes.as_ref()
    }

    /// Follows its output.
    pub(super) fn start(&self) -> Start {
        let word = format!("{}\n", self.word).into_bytes();
        Start {
            host: self.host.clone(),
            word,
            seen: Vec::new(),
            started: false,
            ahead: Bytes::new(),
            stderr: Vec::new(),
        }
    }
}

/// The command line that a key on a host is bound to. It starts `argv`, which has to say a first word of its own.
pub(crate) fn bound_command(host: &Host, argv: &[&str]) -> Result<String, Error> {
    match host.ssh.becomes {
        Some(_) => line(host, "", BOUND, argv),
        None => quoted(host, argv),
    }
}

/// Runs `script` with `argv` as its arguments: as another user where the host says so, and then by the same shell always, so that
/// rules of sudo can name it.
fn line(host: &Host, prompt: &str, script: &str, argv: &[&str]) -> Result<String, Error> {
    let settled;
    let (mut words, script) = match &host.ssh.becomes {
        Some(becomes) => {
            settled = format!("{}{script}", privileges::SETTLE);
            (privileges::words(becomes, prompt), settled.as_str())
        }
        None => (Vec::new(), script),
    };
    words.extend(["/bin/sh", "-c", script, "sh"]);
    words.extend(argv);
    quoted(host, &words)
}

fn quoted(host: &Host, argv: &[&str]) -> Result<String, Error> {
    // Else a shell that has something left to say (`trap … EXIT`) would say it behind the program's output.
    quote::command_line(argv)
        .map(|line| format!("exec {line}"))
        .ok_or_else(|| Error::new(host.name.clone(), Kind::Config, "a command argument holds a NUL byte"))
}

/// A word that nobody else can know.
pub(super) fn random_word() -> Result<String, String> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(|e| format!("the system gives no random numbers: {e}"))?;
    Ok(crate::text::hex(&bytes))
}

/// Where a program's own output begins.
pub(super) struct Start {
    host: Host,
    word: Vec<u8>,
    /// What was printed before it.
    seen: Vec<u8>,
    started: bool,
    /// Output of the program that was read already.
    pub ahead: Bytes,
    /// Standard error that was read already.
    pub stderr: Vec<u8>,
}

impl Start {
    /// What of a piece of standard output is the program's own.
    pub(super) fn own(&mut self, piece: Bytes) -> Bytes {
        if self.started {
            return piece;
        }
        let searched = self.seen.len().saturating_sub(self.word.len());
        self.seen.extend_from_slice(&piece);
        if let Some(at) = find(self.seen.get(searched..).unwrap_or_default(), &self.word) {
            self.started = true;
            return Bytes::from(self.seen.split_off(searched + at + self.word.len()));
        }
        let over = self.seen.len().saturating_sub(NOISE_KEPT);
        self.seen.drain(..over);
        Bytes::new()
    }

    /// Whether the program has begun with this piece of standard output; what is its own in it is kept.
    pub(super) fn begins(&mut self, piece: &Bytes) -> bool {
        self.ahead = self.own(piece.clone());
        self.started
    }

    /// How the program ended; an error when it did not start.
    pub(super) fn ended(&self, exit: Exit, label: &str) -> Result<Exit, Error> {
        if !self.started {
            return Err(not_started(&self.host, label, &self.seen, &exit));
        }
        let own = find(&exit.stderr, &self.word).and_then(|at| exit.stderr.get(at + self.word.len()..));
        Ok(Exit { stderr: own.unwrap_or(&exit.stderr).to_vec(), ..exit })
    }
}

/// Where something first is in something else.
pub(super) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// The starter did not say its word.
fn not_started(host: &Host, label: &str, stdout: &[u8], exit: &Exit) -> Error {
    let said = [stdout, &exit.stderr].concat();
    let status = exit.status.map_or_else(|| "no exit status".to_owned(), |status| format!("exit status {status}"));
    if let Some(becomes) = &host.ssh.becomes {
        let (what, hint) = privileges::refused(host, becomes, &status, &escape(said.trim_ascii(), 300));
        return Error::new(label, Kind::Refused, what).hint(hint);
    }
    let (said, hint) = match said.trim_ascii() {
        [] => ("it printed nothing".to_owned(), "does a file such as its .bashrc end the shell (`exit`) for commands?"),
        said => (
            format!("it printed: {}", escape(said, 300)),
            "the account needs a working login shell, /bin/sh, and a key without a forced command",
        ),
    };
    let what = format!("the login worked, but the account's shell did not start the command ({status}); {said}");
    Error::new(label, Kind::Refused, what).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(stderr: &[u8]) -> Exit {
        Exit { status: Some(1), stderr: stderr.to_vec(), truncated: false }
    }

    fn host(becomes: Option<Become>) -> Host {
        let ssh = crate::model::SshTarget { user: Some("deploy".to_owned()), becomes, ..Default::default() };
        let (name, address) = ("dal-1".to_owned(), "10.0.0.1".to_owned());
        let (site, tags, cost_per_month, vars) = Default::default();
        Host { name, site, address, ssh, tags, capacity: 100, cost_per_month, vars }
    }

    fn start() -> Start {
        let (seen, ahead, stderr) = Default::default();
        Start { host: host(None), word: b"word\n".to_vec(), seen, started: false, ahead, stderr }
    }

    #[test]
    fn everything_under_sudo_is_started_by_the_same_shell() {
        let sudo = Become::Sudo { user: "root".to_owned(), password: None };
        let launch = Launch::new(&host(Some(sudo.clone())), &["/w/agent", "agent", "send"]).unwrap();
        assert!(launch.line.starts_with("exec sudo -n -H -u root -- /bin/sh -c "), "{}", launch.line);
        let bound = bound_command(&host(Some(sudo)), &["/w/agent", "agent", "receive"]).unwrap();
        assert!(bound.starts_with("exec sudo -n -H -u root -- /bin/sh -c "), "{bound}");
        assert!(bound.ends_with(" sh /w/agent agent receive"), "{bound}");
        assert_eq!(bound_command(&host(None), &["/w/agent"]).unwrap(), "exec /w/agent");
    }

    #[test]
    fn a_password_is_in_no_command_line() {
        let password = Some(crate::secret::SecretRef::Env("SUDO".to_owned()));
        let sudo = Become::Sudo { user: "root".to_owned(), password };
        let launch = Launch::new(&host(Some(sudo)), &["true"]).unwrap();
        assert!(
            launch.line.starts_with(&format!("exec sudo -S -p {} -H -u root -- ", launch.prompt)),
            "{}",
            launch.line
        );
    }

    #[test]
    fn what_is_printed_before_the_word_is_dropped_however_it_is_cut_up() {
        // A greeting, a title without a line break, and the word once more in what is the program's own.
        let output = b"welcome word no\n\x1b]0;host\x07word\nmine\nword\n";
        for size in 1..40 {
            let mut start = start();
            let own: Vec<u8> = output.chunks(size).flat_map(|piece| start.own(Bytes::copy_from_slice(piece))).collect();
            assert_eq!(own, b"mine\nword\n", "{size}");
            assert_eq!(start.ended(exit(b"hello\x1b[0mword\nerr"), "dal-1").unwrap().stderr, b"err");
        }
    }

    #[test]
    fn the_word_is_found_behind_more_than_is_kept() {
        let mut start = start();
        for _ in 0..100 {
            assert!(start.own(Bytes::from_static(&[b'x'; 999])).is_empty());
        }
        assert!(start.own(Bytes::from_static(b"xwo")).is_empty());
        assert_eq!(start.own(Bytes::from_static(b"rd\nmine")), "mine");
    }

    #[test]
    fn a_program_that_does_not_start_is_an_error_with_what_was_said() {
        let mut start = start();
        assert!(start.own(Bytes::from_static(b"This account is not available.\n")).is_empty());
        let error = start.ended(exit(b""), "dal-1").unwrap_err();
        assert!(error.what.ends_with("it printed: This account is not available."), "{}", error.what);
        assert!(!error.transient);
    }
}
