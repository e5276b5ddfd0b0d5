//! The target's half of a stream: writes what arrives to a command that the controller named.
//!
//! Must never let the command see the end of its input before the whole stream has arrived with the right hash: what commits at the
//! end of its input would commit a part.

use std::io::{self, Read, Write};
use std::process::ChildStdin;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::deadline::Deadline;
use super::peer::{Responses, next};
use crate::copy::command::{ChildCommand, Pipes};
use crate::copy::failure::{Failure, Side};
use crate::copy::wire::frame::{Frame, VERSION};
use crate::copy::wire::request::Request;
use crate::copy::wire::response::Response;

/// Frames that wait to be taken by the command.
const WAITING: usize = 4;

/// Serves one stream. Starts the command only when the source is ready for it.
pub fn serve(command: &str, input: &mut dyn Read, output: Box<dyn Write + Send>) -> Result<(), Failure> {
    let responses = Responses::new(output);
    let result = run(command, input, &responses);
    if let Err(failure) = &result {
        // The peer may be gone already; the exit status tells the controller, too.
        let _ = responses.send(&Response::Failed(failure.clone()), Vec::new());
    }
    result
}

fn run(command: &str, input: &mut dyn Read, responses: &Responses) -> Result<(), Failure> {
    let timeout = match next(input)?.map(|(order, _)| order) {
        Some(Request::StartStream { version: VERSION, timeout }) => timeout,
        Some(Request::StartStream { .. }) => {
            return Err(Failure::fatal(Side::Target, "the agents on the two hosts are of different versions"));
        }
        _ => return Err(Failure::protocol(Side::Source, "the first request does not open a session")),
    };
    let started = ChildCommand::target(command);
    let (running, Pipes { input: Some(stdin), .. }) = started.map_err(|e| cannot("start", &e))? else {
        return Err(Failure::fatal(Side::Target, "the command was started without its input"));
    };
    let (chunks, queue) = sync_channel::<Chunk>(WAITING);
    let deadline = Deadline::default();
    std::thread::scope(|scope| {
        if let Some(most) = timeout {
            let (deadline, running) = (&deadline, &running);
            scope.spawn(move || deadline.watch(most, running, responses));
        }
        let pump = scope.spawn(|| pump(stdin, queue, responses));
        let poured = responses.send(&Response::StreamStarted, Vec::new()).map_err(Cut::from);
        let poured = poured.and_then(|()| follow(input, &chunks, &deadline));
        if poured.is_err() {
            // First of all: it must not take the end of a cut stream for the end of the stream.
            running.kill();
        }
        drop(chunks);
        let taken = pump.join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked")));
        let ended = running.wait();
        if let Some(late) = deadline.over() {
            return Err(late);
        }
        let (bytes, hash) = match (poured, taken, ended) {
            (Ok(whole), Ok(()), Ok(())) => whole,
            (Err(Cut::Spilled), ..) => return responses.send(&Response::StreamAborted, Vec::new()),
            // It ended by itself, which is why nothing more could be written to it.
            (Ok(_) | Err(Cut::Full), _, Err(how)) => return Err(failed(&format!("ended {how}"))),
            (Ok(_) | Err(Cut::Full), Err(_), Ok(())) | (Err(Cut::Full), Ok(()), Ok(())) => {
                return Err(failed("ended before it had taken everything"));
            }
            (Err(Cut::Broken(failure)), ..) => return Err(failure),
        };
        responses.send(&Response::StreamDone { bytes, hash }, Vec::new())
    })
}

/// Why a stream did not become whole.
enum Cut {
    /// The source says so.
    Spilled,
    /// The command takes no more.
    Full,
    /// The stream ended or is damaged.
    Broken(Failure),
}

impl From<Failure> for Cut {
    fn from(failure: Failure) -> Self {
        Self::Broken(failure)
    }
}

/// The bytes of a chunk, to be confirmed when the command has taken them; nothing at the end of the stream.
type Chunk = Option<(u32, Frame)>;

/// Follows the stream to its end. Without the last `None` the command is not to see an end.
fn follow(input: &mut dyn Read, chunks: &SyncSender<Chunk>, deadline: &Deadline) -> Result<(u64, [u8; 32]), Cut> {
    let mut hasher = blake3::Hasher::new();
    let (mut bytes, mut expected) = (0, 0_u32);
    loop {
        let Some((order, frame)) = next(input)? else {
            return Err(Failure::lost(Side::Source, "the connection ended before the stream").into());
        };
        match order {
            Request::StreamChunk { seq } if seq == expected => {
                expected = expected.wrapping_add(1);
                bytes += frame.data().len() as u64;
                hasher.update(frame.data());
                chunks.send(Some((seq, frame))).map_err(|_| Cut::Full)?;
            }
            Request::EndStream { bytes: said, hash } if (said, hash) == (bytes, *hasher.finalize().as_bytes()) => {
                if !deadline.whole() {
                    return Err(Cut::Full);
                }
                chunks.send(None).map_err(|_| Cut::Full)?;
                return Ok((bytes, hash));
            }
            Request::EndStream { .. } => {
                return Err(Failure::protocol(Side::Source, "other bytes arrived than were sent").into());
            }
            Request::AbortStream => return Err(Cut::Spilled),
            _ => return Err(Failure::protocol(Side::Source, "a request that does not belong to a stream").into()),
        }
    }
}

/// Gives the command its input. Where the stream is cut it keeps the input open until the command is dead.
fn pump(mut stdin: ChildStdin, queue: Receiver<Chunk>, responses: &Responses) -> io::Result<()> {
    while let Ok(chunk) = queue.recv() {
        let Some((seq, frame)) = chunk else { return Ok(()) };
        stdin.write_all(frame.data())?;
        // Where nobody listens any more the stream itself will break.
        let _ = responses.send(&Response::Ack { seq, failures: Vec::new(), deleted: 0 }, Vec::new());
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

fn cannot(doing: &str, e: &io::Error) -> Failure {
    Failure::fatal(Side::Target, format!("cannot {doing} the command that takes the stream: {e}"))
}

fn failed(how: &str) -> Failure {
    Failure::fatal(Side::Target, format!("the command that takes the stream {how}"))
        .hint("mend what it complains about; what it had taken before may have taken hold")
}
