//! Commands on this machine, for whom it is one more host: no SSH is needed to get there.
//!
//! Must never leave a command running that was given up, and never put a script or its values into a command line.

use std::process::Stdio;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::ChildStdin;

use super::exec::payload;
use super::{Pool, Remote};
use crate::host::{Command, Output};
use crate::model::Host;
use crate::outside::{Error, Kind, reason};
use crate::text::{duration, escape};

/// Who an error is about.
const HERE: &str = "this machine";

/// What is kept of each kind of output.
const KEPT: usize = 64 << 10;

/// Reads the script from standard input and runs it if it is whole. `$1` is its length: whoever sends it may be killed in the middle.
const LOADER: &str = r#"s=$(cat; echo x); s=${s%x}; [ "$(printf %s "$s" | wc -c)" -eq "$1" ] || exit 255; set -- "$s"; unset s; eval "$1""#;

/// Hosts over SSH, but for one that is this machine.
pub struct OrHere {
    pool: Pool,
    here: String,
}

impl OrHere {
    /// `here` is the name of the host that is this machine.
    pub fn new(pool: Pool, here: &str) -> Self {
        Self { pool, here: here.to_owned() }
    }
}

#[async_trait]
impl Remote for OrHere {
    async fn run(&self, host: &Host, command: &Command) -> Result<Output, Error> {
        if host.name != self.here {
            return self.pool.run(host, command).await;
        }
        // As after a login.
        let script = format!("cd 2>/dev/null || cd /\n{}", command.script);
        run(&Command { script, ..command.clone() }).await.map_err(|e| Error { at: host.name.clone(), ..e })
    }
}

/// Runs a command to its end, in a process group of its own.
pub async fn run(command: &Command) -> Result<Output, Error> {
    let script = payload(command).map_err(|what| Error::new(HERE, Kind::Config, what))?;
    let mut shell = tokio::process::Command::new("/bin/sh");
    shell.arg("-c").arg(LOADER).arg("sh").arg(script.len().to_string());
    shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
    let begun = shell.spawn();
    let mut child =
        begun.map_err(|e| Error::new(HERE, Kind::Config, format!("no shell could be started: {}", reason(&e))))?;
    let group = child.id();
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let work = async { tokio::join!(kept(stdout), kept(stderr), child.wait(), send(stdin, script.as_bytes())) };
    let Ok((stdout, stderr, ended, ())) = tokio::time::timeout(command.limit(), work).await else {
        end(group);
        let what =
            format!("the command did not end within {}: whether it did its work is unknown", duration(command.limit()));
        return Err(Error::new(HERE, Kind::Lost, what).hint("it was stopped; see what it did before it is run again"));
    };
    let lost =
        |e: std::io::Error| Error::new(HERE, Kind::Lost, format!("how the command ended is unknown: {}", reason(&e)));
    let status = ended.map_err(lost)?;
    let ((stdout, cut), (stderr, _)) = (stdout.map_err(lost)?, stderr.map_err(lost)?);
    Ok(Output { status: number(status), stdout, stderr, truncated: cut })
}

/// A shell that ends before it has read all says so by its exit status.
async fn send(to: Option<ChildStdin>, script: &[u8]) {
    if let Some(mut to) = to {
        let _ = to.write_all(script).await;
    }
}

/// 128 + n for signal n, as shells say it.
fn number(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().or_else(|| status.signal().map(|n| 128 + n)).unwrap_or(255)
}

/// The beginning of what comes, and whether there was more.
async fn kept(from: Option<impl AsyncRead + Unpin>) -> std::io::Result<(Vec<u8>, bool)> {
    let (mut bytes, mut cut) = (Vec::new(), false);
    let Some(mut from) = from else { return Ok((bytes, cut)) };
    let mut chunk = vec![0; 16 << 10];
    loop {
        let n = from.read(&mut chunk).await?;
        if n == 0 {
            return Ok((bytes, cut));
        }
        let room = KEPT.saturating_sub(bytes.len());
        cut |= n > room;
        bytes.extend_from_slice(chunk.get(..n.min(room)).unwrap_or_default());
    }
}

fn end(group: Option<u32>) {
    let pid = group.and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        // One that has ended meanwhile needs no end.
        let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
    }
}

/// The last of what a command said, for people.
pub fn said(output: &Output) -> String {
    escape(output.stderr.trim_ascii(), 300)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn command(script: &str) -> Command {
        Command { script: script.to_owned(), args: vec!["it's".to_owned()], ..Command::default() }
    }

    #[tokio::test]
    async fn a_command_has_its_arguments_and_its_end_is_told_as_shells_tell_it() {
        let told = run(&command("printf %s \"$1\"; echo no >&2; exit 3")).await.unwrap();
        assert_eq!(
            (told.status, told.stdout.as_slice(), told.stderr.as_slice()),
            (3, b"it's".as_slice(), b"no\n".as_slice())
        );
        assert_eq!(run(&command("kill -9 $$")).await.unwrap().status, 137);
        let long = run(&command("head -c 200000 /dev/zero")).await.unwrap();
        assert!(long.truncated && long.stdout.len() == KEPT);
    }

    #[tokio::test]
    async fn what_takes_too_long_is_stopped_with_all_that_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", pid.display());
        // Long enough for a shell on a busy machine to begin; nothing below depends on how long.
        let slow = Command { timeout: Some(Duration::from_secs(5)), ..command(&script) };
        let error = run(&slow).await.unwrap_err();
        assert!(error.is_unknown(), "{error}");
        let pid = std::fs::read_to_string(pid).unwrap();
        let gone = || !std::path::Path::new("/proc").join(pid.trim()).join("fd/0").exists();
        for _ in 0..6000 {
            if gone() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it still runs");
    }
}
