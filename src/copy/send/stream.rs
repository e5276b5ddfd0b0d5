//! The source's half of a stream: what a command writes, to the command on the target.
//!
//! Must never say that the stream is whole before its command has ended with status 0.

use std::io::Read;
use std::process::ChildStdout;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::ledger::{Ledger, Sent};
use super::link::Link;
use crate::copy::command::{ChildCommand, Pipes};
use crate::copy::failure::{Failure, Side};
use crate::copy::job::StreamReport;
use crate::copy::wire::frame::{CHUNK, VERSION};
use crate::copy::wire::request::Request;
use crate::copy::wire::response::Response;
use crate::copy::wire::task::StreamTask;

/// How often it is looked whether there is still anybody to send to.
const LOOK: Duration = Duration::from_millis(100);

/// Pours the stream. A failure worth another try means that nobody can tell what the target has made of it.
pub fn pour(pour: &StreamTask, link: &Link, ledger: &Ledger) -> Result<StreamReport, Failure> {
    let start = Instant::now();
    link.request(&Request::StartStream { version: VERSION, timeout: pour.timeout }, Vec::new())?;
    match link.response()? {
        Response::StreamStarted => {}
        _ => return Err(Failure::protocol(Side::Target, "an unexpected response")),
    }
    let cannot = |e| Failure::fatal(Side::Source, format!("cannot start the command of the stream: {e}"));
    let started = ChildCommand::source(&pour.command).map_err(cannot);
    let carried = started.and_then(|(running, ends)| carry(&running, ends, link, ledger));
    let (bytes, hash) = match carried {
        Ok(carried) => carried,
        Err(failure) if failure.retryable => return Err(failure),
        Err(failure) => return Err(spill(link, failure)),
    };
    link.request(&Request::EndStream { bytes, hash }, Vec::new())?;
    match link.response()? {
        Response::StreamDone { bytes: there, hash: arrived } if (there, arrived) == (bytes, hash) => {
            let millis = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
            Ok(StreamReport { bytes, hash, millis })
        }
        _ => Err(Failure::protocol(Side::Target, "an unexpected response")),
    }
}

/// Has the target kill its command; the failure stays certain only if the target says that it has.
fn spill(link: &Link, failure: Failure) -> Failure {
    // What the target itself has said ended its command, too.
    if failure.side == Side::Target {
        return failure;
    }
    let answer = link.request(&Request::AbortStream, Vec::new()).and_then(|()| link.response());
    match answer {
        Ok(Response::StreamAborted) => failure,
        _ => Failure { retryable: true, ..failure },
    }
}

/// Carries everything that the command writes; its length and hash once the command has ended well.
fn carry(running: &ChildCommand, ends: Pipes, link: &Link, ledger: &Ledger) -> Result<(u64, [u8; 32]), Failure> {
    let Some(output) = ends.output else {
        return Err(Failure::fatal(Side::Source, "the command of the stream was started without its output"));
    };
    let done = AtomicBool::new(false);
    let (sent, ended) = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            // A command that writes nothing must not outlive the stream.
            while !done.load(Ordering::Acquire) && ledger.broken().is_none() {
                std::thread::park_timeout(LOOK);
            }
            if ledger.broken().is_some() {
                running.kill();
            }
        });
        let sent = send_all(output, link, ledger);
        if sent.is_err() {
            running.kill();
        }
        let ended = running.wait();
        done.store(true, Ordering::Release);
        watcher.thread().unpark();
        (sent, ended)
    });
    match (sent, ended, ledger.broken()) {
        (_, _, Some(failure)) | (Err(failure), _, None) => Err(failure),
        (Ok(_), Err(how), None) => {
            let what = format!("the command that writes the stream ended {how}");
            Err(Failure::fatal(Side::Source, what)
                .hint("mend what it complains about; the command on the target was killed before the end of its input"))
        }
        (Ok(carried), Ok(()), None) => Ok(carried),
    }
}

fn send_all(mut output: ChildStdout, link: &Link, ledger: &Ledger) -> Result<(u64, [u8; 32]), Failure> {
    let mut hasher = blake3::Hasher::new();
    let mut bytes = 0;
    loop {
        let mut data = Vec::new();
        let read = (&mut output).take(CHUNK as u64).read_to_end(&mut data);
        read.map_err(|e| Failure::fatal(Side::Source, format!("cannot read what the command writes: {e}")))?;
        if data.is_empty() {
            return Ok((bytes, *hasher.finalize().as_bytes()));
        }
        hasher.update(&data);
        bytes += data.len() as u64;
        let seq = ledger.register(Sent { bytes: data.len() as u64, ..Sent::default() });
        link.request(&Request::StreamChunk { seq }, data)?;
    }
}
