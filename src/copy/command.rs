//! A shell command at one end of a stream, in a process group of its own.
//!
//! Owns how it ends. Must never let the command see the end of its input by accident: it is killed first.

use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::copy::failure::show;

/// What is kept of what it says.
const KEPT: usize = 2000;

/// A command under way.
pub struct ChildCommand {
    child: Mutex<Child>,
    group: Option<Pid>,
    said: Arc<Mutex<Vec<u8>>>,
    listeners: Mutex<Vec<JoinHandle<()>>>,
}

/// What a command writes into the stream, or takes from it.
pub struct Pipes {
    /// Its input, where that is the stream.
    pub input: Option<ChildStdin>,
    /// Its output, where that is the stream.
    pub output: Option<ChildStdout>,
}

impl ChildCommand {
    /// Starts a command whose output is the stream.
    pub fn source(command: &str) -> io::Result<(Self, Pipes)> {
        Self::start(command, Stdio::null(), true)
    }

    /// Starts a command whose input is the stream.
    pub fn target(command: &str) -> io::Result<(Self, Pipes)> {
        Self::start(command, Stdio::piped(), false)
    }

    fn start(command: &str, input: Stdio, carries_output: bool) -> io::Result<(Self, Pipes)> {
        let mut child = Command::new("/bin/sh")
            .args(["-c", command])
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let said = Arc::default();
        let mut listeners: Vec<JoinHandle<()>> = child.stderr.take().map(|e| listen(e, &said)).into_iter().collect();
        let mut ends = Pipes { input: child.stdin.take(), output: child.stdout.take() };
        if !carries_output && let Some(output) = ends.output.take() {
            listeners.push(listen(output, &said));
        }
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        Ok((Self { child: Mutex::new(child), group, said, listeners: Mutex::new(listeners) }, ends))
    }

    /// Kills it with everything that it has started.
    pub fn kill(&self) {
        if let Some(group) = self.group {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// Waits for its end; what it ended with where that is not status 0.
    pub fn wait(&self) -> Result<(), String> {
        let status = self.child.lock().unwrap_or_else(PoisonError::into_inner).wait();
        let listeners = std::mem::take(&mut *self.listeners.lock().unwrap_or_else(PoisonError::into_inner));
        for listener in listeners {
            // A panic there only loses words.
            let _ = listener.join();
        }
        let how = match status {
            Ok(status) if status.success() => return Ok(()),
            Ok(status) => match (status.code(), status.signal()) {
                (Some(code), _) => format!("with status {code}"),
                (None, Some(signal)) => format!("by signal {signal}"),
                (None, None) => "without a status".to_owned(),
            },
            Err(e) => format!("and nobody can tell how: {e}"),
        };
        let said = self.said();
        Err(if said.is_empty() { how } else { format!("{how}: {said}") })
    }

    /// The end of what it has said.
    fn said(&self) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        show(said.trim_ascii())
    }
}

fn listen(mut from: impl Read + Send + 'static, said: &Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
    let said = Arc::clone(said);
    std::thread::spawn(move || {
        let mut buf = [0; 4096];
        while let Ok(n @ 1..) = from.read(&mut buf) {
            let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
            said.extend_from_slice(buf.get(..n).unwrap_or_default());
            let over = said.len().saturating_sub(KEPT);
            said.drain(..over);
        }
    })
}
