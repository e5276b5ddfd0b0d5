//! The agents of a job that still run on this host: found by their command lines, and ended.
//!
//! What an agent of a dead controller writes at its end would stand in a directory that somebody has just removed. Must never end what belongs
//! to another job or directory, and never the command at the end of a stream: to that, the end of its input would look like all of it.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// The agents that write into the directory of their job or into the keys of the login.
const ROLES: [&[u8]; 5] = [b"send", b"receive", b"watch", b"allow", b"forbid"];
/// How long a process may take to be gone: one that waits for a disk ends when the disk has answered.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends those of `jobs` in the work directory `work`, and waits until they are gone. How many there were.
pub fn end(work: &Path, jobs: &[String]) -> io::Result<usize> {
    let found: Vec<Pid> = processes()?.filter(|pid| is_agent(&command_line(*pid), work, jobs)).collect();
    for pid in &found {
        match kill_process(*pid, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(e) => return Err(failed(*pid, &format!("cannot be ended: {}", io::Error::from(e)))),
        }
    }
    let deadline = Instant::now() + PATIENCE;
    for pid in &found {
        while !has_ended(*pid, work, jobs) {
            if Instant::now() > deadline {
                return Err(failed(*pid, "does not end"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    Ok(found.len())
}

fn failed(pid: Pid, what: &str) -> io::Error {
    io::Error::other(format!("an agent of this copy (process {}) {what}", pid.as_raw_nonzero()))
}

fn processes() -> io::Result<impl Iterator<Item = Pid>> {
    let entries = fs::read_dir("/proc")?.flatten();
    let own = rustix::process::getpid();
    Ok(entries
        .filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
        .filter(move |pid| *pid != own))
}

/// Its locks are free only when nothing is left of it but its status; its memory, and so its command line, goes before.
fn has_ended(pid: Pid, work: &Path, jobs: &[String]) -> bool {
    let Ok(stat) = fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())) else { return true };
    // `PID (NAME) STATE …`: the name may hold anything.
    let state = stat.rsplit(|byte| *byte == b')').next().and_then(|rest| rest.trim_ascii().first());
    let line = command_line(pid);
    matches!(state, Some(b'Z' | b'X')) || !line.is_empty() && !is_agent(&line, work, jobs)
}

/// Empty for what has ended.
fn command_line(pid: Pid) -> Vec<u8> {
    fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default()
}

/// Whether this is `PROGRAM agent ROLE … --work DIR --job ID`.
fn is_agent(line: &[u8], work: &Path, jobs: &[String]) -> bool {
    let mut words = line.split(|byte| *byte == 0).skip(1);
    if words.next() != Some(b"agent") || !words.next().is_some_and(|role| ROLES.contains(&role)) {
        return false;
    }
    let (mut is_there, mut is_of_job) = (false, false);
    while let Some(word) = words.next() {
        match word {
            b"--work" => is_there = words.next() == Some(work.as_os_str().as_encoded_bytes()),
            b"--job" => is_of_job = words.next().is_some_and(|id| jobs.iter().any(|job| job.as_bytes() == id)),
            _ => {}
        }
    }
    is_there && is_of_job
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_ours(line: &str) -> bool {
        is_agent(line.replace(' ', "\0").as_bytes(), Path::new("/w"), &["a".to_owned(), "b".to_owned()])
    }

    #[test]
    fn only_agents_of_these_jobs_in_this_directory_are_meant() {
        assert!(is_ours("/w/agent-12@old agent send --work /w --job a"));
        assert!(is_ours("/w/agent-12@old agent receive --work /w --job b --root /r --delete"));
        assert!(is_ours("/w/agent-12@old agent allow --work /w --home /h --job a --line x"));
        for other in [
            "",
            "/w/agent-12@old agent",
            "/w/agent-12@old agent send --work /w --job",
            "/w/agent-12@old agent send --work /w --job c",
            "/w/agent-12@old agent send --work /v --job a",
            "/w/agent-12@old agent take --work /w --job a --command 00",
            "/w/agent-12@old agent clean --work /w --home /h a",
            "sudo -n /w/agent-12@old agent send --work /w --job a",
        ] {
            assert!(!is_ours(other), "{other}");
        }
    }
}
