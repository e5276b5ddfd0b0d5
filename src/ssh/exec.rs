//! Running a script on a host: whole or not at all, its values intact, its secrets unseen, its output bounded.
//!
//! Owns how a script travels. Must never let a truncated script run, and never put a value of the script into a command line or
//! a file on the host.
//!
//! The command line is fixed but for numbers: a loader reads the script from standard input, compares length and SHA-256, and
//! only then runs it. The script starts with a random line, so that its hash, which everyone on the host can see, says nothing
//! about the secrets in it. A second random word on both outputs tells where the script's own output begins, and proves that it
//! was started.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::Remote;
use super::launch::command_line;
use super::pool::Pool;
use super::quote;
use super::stream::{Ending, Exit, Reader, Stream};
use crate::host::{Command, Output};
use crate::model::Host;
use crate::outside::{Error, Kind};
use crate::text::{duration, escape};

/// What is kept of standard output: its beginning.
const STDOUT_KEPT: usize = 64 << 10;
/// What a login shell may print before the script starts.
const MAX_NOISE: usize = 1 << 20;
/// How long output may be silent after the command's end, when something it started still holds on to it.
const LINGER: Duration = Duration::from_secs(2);
/// How much longer than here a command may run on the host before it is stopped there.
const REMOTE_GRACE: Duration = Duration::from_secs(5);

// These two must not hold newlines, single quotes, backslashes or `!`: see `quote`.

/// Ends the loader, and what it runs, in time, where there is a `timeout` that knows how.
const GUARD: &str = r#"timeout -k 1 1 true 2>/dev/null&&exec timeout -k 5 "$1" /bin/sh -c "$2" sh "$3" "$4" "$5";exec /bin/sh -c "$2" sh "$3" "$4" "$5""#;

/// `$1` bytes, `$2` SHA-256, `$3` the word that marks the start.
const LOADER: &str = r#"s=$(cat;echo x);s=${s%x};n=$(printf %s "$s"|wc -c);h=$(printf %s "$s"|{ sha256sum||shasum -a 256||openssl dgst -sha256 -r; } 2>/dev/null);h=${h%% *};if [ "$n" -eq "$1" ]&&{ [ -z "$h" ]||[ "$h" = "$2" ]; };then echo "$3";echo "$3">&2;set -- "$s";unset s n h;eval "$1";else echo "$3-cut">&2;exit 255;fi"#;

/// A script, ready to travel.
struct Parcel {
    argv: Vec<String>,
    payload: Bytes,
    marker: String,
}

#[async_trait]
impl Remote for Pool {
    async fn run(&self, host: &Host, command: &Command) -> Result<Output, Error> {
        let parcel =
            Parcel::new(command).map_err(|what| Error::new(escape(host.name.as_bytes(), 80), Kind::Config, what))?;
        let argv: Vec<&str> = parcel.argv.iter().map(String::as_str).collect();
        let stream = self.start(host, &command_line(host, &argv)?).await?;
        let label = self.endpoint(host).await?.to_string();
        deliver(stream, parcel, &label, command.limit()).await
    }
}

impl Parcel {
    fn new(command: &Command) -> Result<Self, String> {
        let payload = payload(command)?;
        let marker = random_word()?;
        let hash: String = Sha256::digest(payload.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
        let limit = command.limit() + REMOTE_GRACE;
        let (seconds, length) = (limit.as_secs().to_string(), payload.len().to_string());
        let argv = ["/bin/sh", "-c", GUARD, "sh", &seconds, LOADER, &length, &hash, &marker];
        Ok(Self { argv: argv.map(str::to_owned).into(), payload: payload.into(), marker })
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

fn random_word() -> Result<String, String> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(|e| format!("the system gives no random numbers: {e}"))?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

/// Sends the script and waits for its end.
async fn deliver(stream: Stream, parcel: Parcel, label: &str, limit: Duration) -> Result<Output, Error> {
    let (mut reader, mut writer, mut ending) = stream.into_parts();
    let mut stdout = Collector::new(&parcel.marker);
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
        let what = format!("the connection broke while a command ran: {}; whether it did its work is unknown", e.what);
        Error { what, ..e }.hint("see on the host what it did before it is run again")
    })?;
    stdout.into_output(exit, &parcel.marker, label)
}

/// How reading the output came to an end.
enum Read {
    ToItsEnd,
    /// The command has ended, but something it started keeps its output open.
    HeldOpen,
}

/// Standard output from the marker on, up to its bound.
struct Collector {
    marker: Vec<u8>,
    started: bool,
    bytes: Vec<u8>,
    truncated: bool,
}

impl Collector {
    fn new(marker: &str) -> Self {
        Self { marker: format!("{marker}\n").into_bytes(), started: false, bytes: Vec::new(), truncated: false }
    }

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
        if self.started {
            let room = STDOUT_KEPT.saturating_sub(self.bytes.len());
            self.truncated |= chunk.len() > room;
            self.bytes.extend_from_slice(chunk.get(..room.min(chunk.len())).unwrap_or_default());
            return;
        }
        self.bytes.extend_from_slice(chunk);
        if let Some(end) = find(&self.bytes, &self.marker) {
            let rest = self.bytes.split_off(end + self.marker.len());
            self.bytes.clear();
            self.started = true;
            self.push(&rest);
        } else if self.bytes.len() > MAX_NOISE {
            self.bytes.drain(..self.bytes.len() - self.marker.len());
        }
    }

    fn into_output(self, exit: Exit, marker: &str, label: &str) -> Result<Output, Error> {
        if !self.started {
            return Err(not_started(label, marker, &self.bytes, &exit));
        }
        let Some(status) = exit.status else {
            let what = "the host did not say how the command ended: whether it did its work is unknown";
            return Err(Error::new(label, Kind::Lost, what));
        };
        let stderr = match find(&exit.stderr, &self.marker) {
            Some(at) => exit.stderr.get(at + self.marker.len()..).unwrap_or_default().to_vec(),
            None => exit.stderr,
        };
        Ok(Output { status, stdout: self.bytes, stderr, truncated: self.truncated || exit.truncated })
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// The loader did not say that it starts the script.
fn not_started(label: &str, marker: &str, stdout: &[u8], exit: &Exit) -> Error {
    if find(&exit.stderr, format!("{marker}-cut").as_bytes()).is_some() {
        return Error::new(
            label,
            Kind::Refused,
            "the script arrived cut or changed, so the host refused it: nothing was run",
        );
    }
    let mut said = stdout.to_vec();
    said.extend_from_slice(&exit.stderr);
    let status = exit.status.map_or_else(|| "no exit status".to_owned(), |status| format!("exit status {status}"));
    let said = match said.is_empty() {
        true => "it printed nothing".to_owned(),
        false => format!("it printed: {}", escape(&said, 300)),
    };
    let what = format!("the login worked, but the account's shell did not start the command ({status}); {said}");
    Error::new(label, Kind::Refused, what)
        .hint("the account needs a working login shell, /bin/sh, and a key without a forced command")
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
            let refused = format!("{}-cut\n", parcel.marker);
            assert_eq!((status, stdout, stderr), (Some(255), Vec::new(), refused.into_bytes()), "{sent} bytes");
        }
        let (status, stdout, _) = receive(&parcel, parcel.payload.len());
        assert_eq!((status, stdout), (Some(0), format!("{}\none\ntwo\n", parcel.marker).into_bytes()));
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

    #[test]
    fn noise_before_the_start_is_dropped_however_it_is_cut_up() {
        for size in 1..20 {
            let mut collector = Collector::new("marker");
            b"welcome marker no\nmarker\nmine\nmarker\n".chunks(size).for_each(|chunk| collector.push(chunk));
            assert_eq!(collector.bytes, b"mine\nmarker\n", "{size}");
        }
    }
}
