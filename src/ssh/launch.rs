//! How a program is started on a host: the one place that makes command lines for login shells and for keys that are bound to a
//! command, and that finds where a program's own output begins.
//!
//! Must never let a word of the program's arguments change where another one begins, and never take what a login shell prints, with
//! or without a line break, for output of the program.
//!
//! A starter prints a random word on both outputs and then becomes the program. What comes before the word is the login shell's; when
//! the word never comes, the program did not start, and what came instead says why.

use bytes::Bytes;

use super::quote;
use super::stream::Exit;
use crate::model::Host;
use crate::outside::{Error, Kind};
use crate::text::escape;

/// `$1` the word, then the program. Must not hold newlines, single quotes, backslashes or `!`: see `quote`.
const STARTER: &str = r#"echo "$1";echo "$1">&2;shift;exec "$@""#;
/// What is kept of what a login shell prints before the program starts.
const NOISE_KEPT: usize = 4 << 10;

/// A program, ready to be started on a host.
pub(super) struct Launch {
    /// What the login shell gets.
    pub line: String,
    word: String,
}

impl Launch {
    /// Starts `argv` on a host.
    pub(super) fn new(host: &Host, argv: &[&str]) -> Result<Self, Error> {
        let word = random_word().map_err(|what| Error::new(host.name.clone(), Kind::Config, what))?;
        let starter = ["/bin/sh", "-c", STARTER, "sh", &word];
        Ok(Self { line: line(host, &[&starter, argv].concat())?, word })
    }

    /// Follows its output.
    pub(super) fn start(&self) -> Start {
        Start { word: format!("{}\n", self.word).into_bytes(), seen: Vec::new(), started: false }
    }
}

/// The command line that a key on a host is bound to. It starts `argv`, which has to say a first word of its own.
pub(crate) fn bound_command(host: &Host, argv: &[&str]) -> Result<String, Error> {
    line(host, argv)
}

fn line(host: &Host, argv: &[&str]) -> Result<String, Error> {
    quote::command_line(argv)
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
    word: Vec<u8>,
    /// What was printed before it.
    seen: Vec<u8>,
    started: bool,
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

    /// How the program ended; an error when it did not start.
    pub(super) fn ended(&self, exit: Exit, label: &str) -> Result<Exit, Error> {
        if !self.started {
            return Err(not_started(label, &self.seen, &exit));
        }
        let own = find(&exit.stderr, &self.word).and_then(|at| exit.stderr.get(at + self.word.len()..));
        Ok(Exit { stderr: own.unwrap_or(&exit.stderr).to_vec(), ..exit })
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// The starter did not say its word.
fn not_started(label: &str, stdout: &[u8], exit: &Exit) -> Error {
    let said = [stdout, &exit.stderr].concat();
    let status = exit.status.map_or_else(|| "no exit status".to_owned(), |status| format!("exit status {status}"));
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

    #[test]
    fn what_is_printed_before_the_word_is_dropped_however_it_is_cut_up() {
        // A greeting, a title without a line break, and the word once more in what is the program's own.
        let output = b"welcome word no\n\x1b]0;host\x07word\nmine\nword\n";
        for size in 1..40 {
            let mut start = Start { word: b"word\n".to_vec(), seen: Vec::new(), started: false };
            let own: Vec<u8> = output.chunks(size).flat_map(|piece| start.own(Bytes::copy_from_slice(piece))).collect();
            assert_eq!(own, b"mine\nword\n", "{size}");
            assert_eq!(start.ended(exit(b"hello\x1b[0mword\nerr"), "dal-1").unwrap().stderr, b"err");
        }
    }

    #[test]
    fn the_word_is_found_behind_more_than_is_kept() {
        let mut start = Start { word: b"word\n".to_vec(), seen: Vec::new(), started: false };
        for _ in 0..100 {
            assert!(start.own(Bytes::from_static(&[b'x'; 999])).is_empty());
        }
        assert!(start.own(Bytes::from_static(b"xwo")).is_empty());
        assert_eq!(start.own(Bytes::from_static(b"rd\nmine")), "mine");
    }

    #[test]
    fn a_program_that_does_not_start_is_an_error_with_what_was_said() {
        let mut start = Start { word: b"word\n".to_vec(), seen: Vec::new(), started: false };
        assert!(start.own(Bytes::from_static(b"This account is not available.\n")).is_empty());
        let error = start.ended(exit(b""), "dal-1").unwrap_err();
        assert!(error.what.ends_with("it printed: This account is not available."), "{}", error.what);
        assert!(!error.transient);
    }
}
