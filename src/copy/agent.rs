//! The agent: on a host, doing one side of a copy on its standard input and output.
//!
//! Owns its command line, which only the controller writes. What the peer says can never widen what it allows.
//!
//! ```text
//! agent hello   --work DIR
//! agent send    --work DIR --job ID
//! agent receive --work DIR --job ID --root DIR [--delete]
//! agent take    --work DIR --job ID --command HEX
//! agent look    --work DIR --root DIR
//! agent watch   --work DIR --job ID --root DIR
//! agent clean   --work DIR --home DIR [--as UID:GID] JOB...
//! agent allow   --work DIR --home DIR [--as UID:GID] --job ID --line LINE
//! agent forbid  --work DIR --home DIR [--as UID:GID] --job ID
//! ```

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Uid};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::copy::failure::{Failure, Side, show};
use crate::copy::job::is_job_id;
use crate::copy::receive::{self, Permit};
use crate::copy::wire::frame::PREAMBLE;
use crate::copy::{authorized_keys, look, running, send, watch};

/// What a command line asks for.
#[derive(Debug)]
enum Role {
    Hello,
    Send { work: PathBuf },
    Receive(Permit),
    Take { command: String },
    Look { root: PathBuf },
    Watch { work: PathBuf, job: String, root: PathBuf },
    Clean { work: PathBuf, keys: Keys, jobs: Vec<String> },
    Allow { keys: Keys, job: String, line: String },
    Forbid { keys: Keys, job: String },
}

/// What a pipe holds between sshd and the agent, in bytes: the most that Linux gives everyone.
const PIPE: usize = 1 << 20;

/// Runs the agent with the arguments behind the word `agent`; returns the exit status.
pub fn agent_main(args: impl Iterator<Item = OsString>) -> u8 {
    let result = parse(args).and_then(|role| {
        prepare();
        run(role)
    });
    match result {
        Ok(()) => 0,
        Err(failure) => {
            // The controller shows the end of this stream when the agent cannot say it otherwise.
            let _ = writeln!(std::io::stderr(), "{}", failure.what);
            1
        }
    }
}

fn run(role: Role) -> Result<(), Failure> {
    let side = match role {
        Role::Send { .. } | Role::Watch { .. } | Role::Look { .. } => Side::Source,
        _ => Side::Target,
    };
    let no_stream = |e: std::io::Error| Failure::fatal(side, format!("cannot use the standard streams: {e}"));
    // Not the locked, buffered handles of the standard library: frames are large and cross threads.
    let mut input = stdio(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)).map_err(no_stream)?;
    let mut output = stdio(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)).map_err(no_stream)?;
    // Each time it is full, sshd and the agent take turns. Where the system allows no more, it stays as it is.
    let _ = rustix::pipe::fcntl_setpipe_size(&input, PIPE);
    output.write_all(PREAMBLE).map_err(no_stream)?;
    match role {
        // That it got here is the answer.
        Role::Hello => Ok(()),
        Role::Look { root } => {
            let seen = look::look(&root).map_err(|e| cannot_look(&root, &e))?;
            output.write_all(look::line(&seen).as_bytes()).map_err(no_stream)
        }
        Role::Clean { work, keys, jobs } => clean(&work, &keys, &jobs),
        Role::Allow { keys, job, line } => keys.change(|home| authorized_keys::allow(home, &job, &line)),
        Role::Forbid { keys, job } => keys.change(|home| authorized_keys::forbid(home, &job)),
        Role::Watch { work, job, root } => watch::serve(&work.join("jobs").join(job), &root, input, output),
        Role::Send { work } => send::serve(&work, Box::new(input), Box::new(output)),
        Role::Take { command } => receive::serve_stream(&command, &mut input, Box::new(output)),
        Role::Receive(permit) => receive::serve(&permit, &mut input, Box::new(output)),
    }
}

fn cannot_look(root: &Path, e: &std::io::Error) -> Failure {
    Failure::fatal(Side::Source, format!("cannot look at {}: {e}", show(root.as_os_str().as_bytes())))
}

/// Where the keys are that log in to this host, and whose they are, if not this process's user's.
#[derive(Debug)]
struct Keys {
    home: PathBuf,
    owner: Option<(Uid, Gid)>,
}

impl Keys {
    /// Changes them as their owner: root may be nobody there (NFS), and must not be led elsewhere by links in somebody's home.
    fn change(&self, change: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<(), Failure> {
        let failed = |e: std::io::Error| Failure::fatal(Side::Target, format!("cannot change authorized_keys: {e}"));
        let Some((uid, gid)) = self.owner else { return change(&self.home).map_err(failed) };
        if !rustix::process::geteuid().is_root() {
            // Nobody but root ever put one there.
            return Ok(());
        }
        let as_owner = || {
            set_thread_groups(&[gid])?;
            set_thread_res_gid(None, gid, None)?;
            set_thread_res_uid(None, uid, None)
        };
        as_owner().map_err(|e| failed(e.into()))?;
        let changed = change(&self.home).map_err(failed);
        let (root, root_group) = (rustix::process::getuid(), rustix::process::getgid());
        let back = set_thread_res_uid(None, root, None).and_then(|()| set_thread_res_gid(None, root_group, None));
        back.map_err(|e| failed(e.into()))?;
        changed
    }
}

fn stdio(fd: rustix::io::Result<std::os::fd::OwnedFd>) -> std::io::Result<File> {
    Ok(File::from(fd?))
}

/// Removes all traces of `jobs` below the work directory, and this program. What is not there is no error.
fn clean(work: &Path, keys: &Keys, jobs: &[String]) -> Result<(), Failure> {
    let end = || {
        running::end(work, jobs).map_err(|e| {
            Failure::fatal(Side::Target, e.to_string()).hint("end it there, and run the same command again")
        })
    };
    end()?;
    remove_traces(work, keys, jobs)?;
    remove_program(work);
    // Without the program none begins any more, but one may have begun since.
    match end()? {
        0 => Ok(()),
        _ => remove_traces(work, keys, jobs),
    }
}

fn remove_traces(work: &Path, keys: &Keys, jobs: &[String]) -> Result<(), Failure> {
    for job in jobs {
        // A run that was killed may have left the key of its copy.
        keys.change(|home| authorized_keys::forbid(home, job))?;
        let dir = work.join("jobs").join(job);
        match std::fs::remove_dir_all(&dir) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(Failure::fatal(Side::Source, format!("cannot remove {}: {e}", dir.display()))),
        }
    }
    receive::forget_roots(work, jobs).map_err(|e| {
        Failure::fatal(Side::Target, format!("cannot remove records of copies in {}: {e}", work.display()))
    })
}

/// Removes the program that runs here where it is one that a controller has put into the work directory.
fn remove_program(work: &Path) {
    let Ok(program) = std::env::current_exe() else { return };
    let is_agent = program.file_name().is_some_and(|name| name.as_bytes().starts_with(b"agent-"));
    if is_agent && program.parent() == Some(work) {
        // Whoever has called it removes it, too, and says so where that fails.
        let _ = std::fs::remove_file(program);
    }
}

/// New files get exactly the mode they are given, and there may be many open directories.
fn prepare() {
    umask(rustix::fs::Mode::empty());
    let limit = getrlimit(Resource::Nofile);
    // Without it only extremely deep trees fail, and say so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

fn parse(mut args: impl Iterator<Item = OsString>) -> Result<Role, Failure> {
    let usage = |what: &str| Failure::fatal(Side::Source, format!("agent: {what}"));
    let role = args.next().ok_or_else(|| usage("no role"))?;
    let (mut work, mut job, mut root, mut home, mut line, mut command) = (None, None, None, None, None, None);
    let (mut delete, mut owner, mut jobs) = (false, None, Vec::new());
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| usage("an option without its value"));
        match arg.as_bytes() {
            b"--work" => work = Some(PathBuf::from(value()?)),
            b"--job" => job = Some(value()?.into_string().map_err(|_| usage("a job id that is not UTF-8"))?),
            b"--home" => home = Some(PathBuf::from(value()?)),
            b"--as" => owner = Some(ids(&value()?).ok_or_else(|| usage("an owner that is not two numbers"))?),
            b"--line" => line = Some(value()?.into_string().map_err(|_| usage("a line that is not UTF-8"))?),
            b"--command" => command = Some(unhex(&value()?).ok_or_else(|| usage("a command that is not hex"))?),
            b"--root" => root = Some(PathBuf::from(value()?)),
            b"--delete" => delete = true,
            id if role == "clean" => {
                jobs.extend(std::str::from_utf8(id).ok().filter(|id| is_job_id(id)).map(str::to_owned))
            }
            _ => return Err(usage("an unknown option")),
        }
    }
    let work = work.filter(|w| w.is_absolute()).ok_or_else(|| usage("no absolute --work"))?;
    let job = job.filter(|j| is_job_id(j)).ok_or_else(|| usage("no valid --job"));
    let home = home.filter(|h| h.is_absolute()).ok_or_else(|| usage("no absolute --home"));
    let keys = home.map(|home| Keys { home, owner });
    let root = root.filter(|r| r.is_absolute()).ok_or_else(|| usage("no absolute --root"));
    match role.as_bytes() {
        b"hello" => Ok(Role::Hello),
        b"send" => {
            job?;
            Ok(Role::Send { work })
        }
        b"clean" => Ok(Role::Clean { work, keys: keys?, jobs }),
        b"allow" => Ok(Role::Allow { keys: keys?, job: job?, line: line.ok_or_else(|| usage("no --line"))? }),
        b"forbid" => Ok(Role::Forbid { keys: keys?, job: job? }),
        b"take" => {
            job?;
            Ok(Role::Take { command: command.ok_or_else(|| usage("no --command"))? })
        }
        b"look" => Ok(Role::Look { root: root? }),
        b"watch" => Ok(Role::Watch { work, job: job?, root: root? }),
        b"receive" => Ok(Role::Receive(Permit { job: job?, root: root?, work, delete })),
        _ => Err(usage("an unknown role")),
    }
}

/// `UID:GID`.
fn ids(word: &OsString) -> Option<(Uid, Gid)> {
    let (uid, gid) = word.to_str()?.split_once(':')?;
    Some((Uid::from_raw(uid.parse().ok()?), Gid::from_raw(gid.parse().ok()?)))
}

/// Commands hold line breaks and quotes, which no line of `authorized_keys` may.
fn unhex(word: &OsString) -> Option<String> {
    String::from_utf8(crate::text::unhex(word.to_str()?)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &str) -> Result<Role, Failure> {
        parse(words.split_whitespace().map(OsString::from))
    }

    #[test]
    fn a_command_line_that_says_too_little_or_too_much_is_refused() {
        assert!(parse_words("send --work /w --job a").is_ok());
        assert!(parse_words("receive --work /w --job a.b-1_c --root /r --delete").is_ok());
        for bad in [
            "",
            "send",
            "send --work /w",
            "send --work w --job a",
            "other --work /w",
            "receive --work /w --root /r",
            "receive --work /w --job ../x --root /r",
            "receive --work /w --job .. --root /r",
            "receive --work /w --job a --root r",
            "receive --work /w --job a --root /r --force",
            "receive --work /w --job a --root",
            "forbid --work /w --home /h --job a --as root",
            "take --work /w --job a",
            "take --work /w --job a --command 0g",
            "take --work /w --command 6c73",
        ] {
            assert!(parse_words(bad).is_err(), "{bad}");
        }
    }
}
