//! Running a script on a host: whole or not at all, its values intact, its secrets unseen, its output bounded.
//!
//! Owns how a script travels. Must never let a truncated script run, and never put a value of the script into a command line or
//! a file on the host.
//!
//! The command line is fixed but for numbers: a loader reads the script from standard input, compares length and SHA-256, and
//! only then runs it. The script starts with a random line, so that its hash, which everyone on the host can see, says nothing
//! about the secrets in it.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::Remote;
use super::launch::random_word;
use super::pool::Pool;
use super::quote;
use super::stream::{Ending, Exit, Reader, Stream};
use crate::host::{Command, Output};
use crate::model::Host;
use crate::outside::{Error, Kind};
use crate::text::{duration, escape};

/// What is kept of standard output: its beginning.
const STDOUT_KEPT: usize = 64 << 10;
/// How long output may be silent after the command's end, when something it started still holds on to it.
const LINGER: Duration = Duration::from_secs(2);
/// How much longer than here a command may run on the host before it is stopped there.
const REMOTE_GRACE: Duration = Duration::from_secs(5);

// These two must not hold newlines, single quotes, backslashes or `!`: see `quote`.

/// Ends the loader, and what it runs, in time, where there is a `timeout` that knows how.
const GUARD: &str = r#"timeout -k 1 1 true 2>/dev/null&&exec timeout -k 5 "$1" /bin/sh -c "$2" sh "$3" "$4" "$5";exec /bin/sh -c "$2" sh "$3" "$4" "$5""#;

/// `$1` bytes, `$2` SHA-256, `$3` the word that says that the script is not run.
const LOADER: &str = r#"s=$(cat;echo x);s=${s%x};n=$(printf %s "$s"|wc -c);h=$(printf %s "$s"|{ sha256sum||shasum -a 256||openssl dgst -sha256 -r; } 2>/dev/null);h=${h%% *};if [ "$n" -eq "$1" ]&&{ [ -z "$h" ]||[ "$h" = "$2" ]; };then set -- "$s";unset s n h;eval "$1";else echo "$3">&2;exit 255;fi"#;

/// A script, ready to travel.
struct Parcel {
    argv: Vec<String>,
    payload: Bytes,
    /// What the loader says when it refuses the script.
    cut: String,
}

#[async_trait]
impl Remote for Pool {
    async fn run(&self, host: &Host, command: &Command) -> Result<Output, Error> {
        let parcel =
            Parcel::new(command).map_err(|what| Error::new(escape(host.name.as_bytes(), 80), Kind::Config, what))?;
        let argv: Vec<&str> = parcel.argv.iter().map(String::as_str).collect();
        let stream = self.start(host, &argv).await?;
        let label = self.endpoint(host).await?.to_string();
        deliver(stream, parcel, &label, command.limit()).await
    }
}

impl Parcel {
    fn new(command: &Command) -> Result<Self, String> {
        let payload = payload(command)?;
        let cut = random_word()?;
        let hash: String = Sha256::digest(payload.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
        let limit = command.limit() + REMOTE_GRACE;
        let (seconds, length) = (limit.as_secs().to_string(), payload.len().to_string());
        let argv = ["/bin/sh", "-c", GUARD, "sh", &seconds, LOADER, &length, &hash, &cut];
        Ok(Self { argv: argv.map(str::to_owned).into(), payload: payload.into(), cut })
    }
}

/// The text that the remote shell runs.
pub(super) fn payload(command: &Command) -> Result<String, String> {
    let mut text = format!(": {}\n", random_word()?);
    for (name, value) in &command.env {
        if !is_variable_name(name) {
            return Err(format!("`{}` cannot be the name of an environment variable", escape(name.as_bytes(), 80)));
        }
        if value.contains('\0') {
            return Err(format!("the value of the environment variable {name} holds a NUL byte"));
        }
        text.push_str(&format!("export {name}={}\n", quote::posix(value)));
    }
    text.push_str("set --");
    for arg in &command.args {
        text.push(' ');
        text.push_str(&quote::posix(arg));
    }
    text.push('\n');
    text.push_str(&command.script);
    text.push('\n');
    match text.contains('\0') {
        true => Err("the script or one of its arguments holds a NUL byte".to_owned()),
        false => Ok(text),
    }
}

fn is_variable_name(name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && name.chars().all(word) && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// Sends the script and waits for its end.
async fn deliver(stream: Stream, parcel: Parcel, label: &str, limit: Duration) -> Result<Output, Error> {
    let (mut reader, mut writer, mut ending) = stream.into_parts();
    let mut stdout = Collector::default();
    let send = async {
        // A command that ends without reading its input is no error; what matters is whether it started.
        let _ = writer.send(parcel.payload.clone()).await;
        writer.end().await;
    };
    let work = async { tokio::join!(send, stdout.read(&mut reader, &mut ending)).1 };
    let Ok(read) = tokio::time::timeout(limit, work).await else {
        ending.terminate().await;
        let what = format!("the command did not end within {}: whether it did its work is unknown", duration(limit));
        return Err(
            Error::new(label, Kind::Lost, what).hint("it was told to stop; see on the host whether it still runs")
        );
    };
    drop(reader);
    let exit = match read {
        Read::ToItsEnd => ending.wait().await,
        Read::HeldOpen => ending.hang_up().await,
    };
    let exit = exit.map_err(|e| {
        if e.kind != Kind::Lost {
            return e;
        }
        let what = format!("the connection broke while a command ran: {}; whether it did its work is unknown", e.what);
        Error { what, ..e }.hint("see on the host what it did before it is run again")
    })?;
    stdout.into_output(exit, &parcel.cut, label)
}

/// How reading the output came to an end.
enum Read {
    ToItsEnd,
    /// The command has ended, but something it started keeps its output open.
    HeldOpen,
}

/// Standard output up to its bound.
#[derive(Default)]
struct Collector {
    bytes: Vec<u8>,
    truncated: bool,
}

impl Collector {
    async fn read(&mut self, reader: &mut Reader, ending: &mut Ending) -> Read {
        let mut exited = false;
        loop {
            let next = match exited {
                true => tokio::time::timeout(LINGER, reader.chunk()).await,
                false => tokio::select! {
                    biased;
                    chunk = reader.chunk() => Ok(chunk),
                    () = ending.exited() => {
                        exited = true;
                        continue;
                    }
                },
            };
            match next {
                Ok(Ok(Some(chunk))) => self.push(&chunk),
                Ok(_) => return Read::ToItsEnd,
                Err(_) => return Read::HeldOpen,
            }
        }
    }

    fn push(&mut self, chunk: &[u8]) {
        let room = STDOUT_KEPT.saturating_sub(self.bytes.len());
        self.truncated |= chunk.len() > room;
        self.bytes.extend_from_slice(chunk.get(..room.min(chunk.len())).unwrap_or_default());
    }

    fn into_output(self, exit: Exit, cut: &str, label: &str) -> Result<Output, Error> {
        if exit.stderr.trim_ascii_end() == cut.as_bytes() {
            let what = "the script arrived cut or changed, so the host refused it: nothing was run";
            return Err(Error::new(label, Kind::Refused, what));
        }
        let Some(status) = exit.status else {
            let what = "the host did not say how the command ended: whether it did its work is unknown";
            return Err(Error::new(label, Kind::Lost, what));
        };
        let truncated = self.truncated || exit.truncated;
        Ok(Output { status, stdout: self.bytes, stderr: exit.stderr, truncated })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command as Process, Stdio};

    use super::*;

    /// What a shell does with a parcel of which only the first `sent` bytes arrive.
    fn receive(parcel: &Parcel, sent: usize) -> (Option<i32>, Vec<u8>, Vec<u8>) {
        let mut child = Process::new(&parcel.argv[0])
            .args(&parcel.argv[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&parcel.payload[..sent]).unwrap();
        let out = child.wait_with_output().unwrap();
        (out.status.code(), out.stdout, out.stderr)
    }

    #[test]
    fn a_script_cut_at_any_byte_does_nothing() {
        let command = Command { script: "echo one; echo two".to_owned(), ..Command::default() };
        let parcel = Parcel::new(&command).unwrap();
        for sent in (0..parcel.payload.len()).step_by(3) {
            let (status, stdout, stderr) = receive(&parcel, sent);
            let refused = format!("{}\n", parcel.cut);
            assert_eq!((status, stdout, stderr), (Some(255), Vec::new(), refused.into_bytes()), "{sent} bytes");
        }
        let (status, stdout, _) = receive(&parcel, parcel.payload.len());
        assert_eq!((status, stdout), (Some(0), b"one\ntwo\n".to_vec()));
    }

    #[test]
    fn a_changed_script_of_the_same_length_does_nothing() {
        let mut parcel = Parcel::new(&Command { script: "echo one".to_owned(), ..Command::default() }).unwrap();
        parcel.payload = String::from_utf8(parcel.payload.to_vec()).unwrap().replace("one", "two").into();
        assert_eq!(receive(&parcel, parcel.payload.len()).0, Some(255));
    }

    #[test]
    fn neither_values_nor_their_plain_hash_are_in_the_command_line() {
        let command = Command {
            script: "true".to_owned(),
            args: vec!["argument-canary".to_owned()],
            env: [("TOKEN".to_owned(), "secret-canary".to_owned())].into(),
            ..Command::default()
        };
        let (one, two) = (Parcel::new(&command).unwrap(), Parcel::new(&command).unwrap());
        assert!(one.argv.iter().all(|word| !word.contains("canary")), "{:?}", one.argv);
        assert_ne!(Sha256::digest(&one.payload), Sha256::digest(&two.payload), "the hash is salted");
    }
}
