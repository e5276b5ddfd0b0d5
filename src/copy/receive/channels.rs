//! Extra channels into a session. sshd starts a process for each, and that process hands its input over to the one with the session.
//!
//! sshd starts a process for every channel. Owns how these find each other: a socket whose name follows from what the controller
//! allows and from the number that the session was begun with. Must never take a stream from another user, nor give one to him.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

use super::root::Permit;
use crate::copy::failure::{Failure, Side};
use crate::copy::manifest::format::Generation;

/// Streams besides the first, at most.
const MOST: usize = 64;
/// How often a stream without data looks whether the session is over.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// How long the session may take to open its door, and one side to answer the other.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the session takes further streams.
pub struct SessionSocket {
    listener: UnixListener,
    taken: std::cell::Cell<usize>,
}

/// One of them.
pub struct ExtraInput<'a> {
    input: File,
    over: &'a AtomicBool,
    /// Its process stays until this is dropped.
    _process: UnixStream,
}

impl SessionSocket {
    /// Opens it.
    pub fn open(permit: &Permit, next: Generation) -> io::Result<Self> {
        let listener = UnixListener::bind_addr(&address(permit, next)?)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, taken: Default::default() })
    }

    /// Waits for the next stream; `None` when the session is over.
    pub fn next<'a>(&self, over: &'a AtomicBool) -> Option<ExtraInput<'a>> {
        while !over.load(Ordering::Acquire) && self.taken.get() < MOST {
            if !readable(&self.listener) {
                continue;
            }
            let taken = self.listener.accept().and_then(|(process, _)| take(process, over));
            // Whoever is turned away sends over the other streams.
            if let Ok(channel) = taken {
                self.taken.set(self.taken.get() + 1);
                return Some(channel);
            }
        }
        None
    }
}

impl Read for ExtraInput<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while !readable(&self.input) {
            if self.over.load(Ordering::Acquire) {
                return Ok(0);
            }
        }
        self.input.read(buf)
    }
}

/// Hands this process's input over to the session, and stays until that is done with it.
pub fn join(permit: &Permit, next: Generation, joined: &dyn Fn() -> Result<(), Failure>) -> Result<(), Failure> {
    let failed = |e: io::Error| Failure::lost(Side::Target, format!("cannot join the session: {e}"));
    let mut session = address(permit, next).and_then(|address| knock(&address)).map_err(failed)?;
    give(&session).map_err(failed)?;
    session.read_exact(&mut [0]).map_err(failed)?;
    session.set_read_timeout(None).map_err(failed)?;
    joined()?;
    // The end of the session, or of its use for this stream.
    let _ = session.read(&mut [0]);
    Ok(())
}

fn address(permit: &Permit, next: Generation) -> io::Result<SocketAddr> {
    let mut name = blake3::Hasher::new();
    for part in [permit.job.as_bytes(), permit.root.as_os_str().as_encoded_bytes(), &next] {
        name.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    SocketAddr::from_abstract_name(format!("migrate-{}", name.finalize().to_hex()))
}

/// The session may not have opened its door yet.
fn knock(address: &SocketAddr) -> io::Result<UnixStream> {
    let mut waited = Duration::ZERO;
    let session = loop {
        match UnixStream::connect_addr(address) {
            Err(_) if waited < PATIENCE => {
                std::thread::sleep(Duration::from_millis(10));
                waited += Duration::from_millis(10);
            }
            other => break other?,
        }
    };
    check_user(&session)?;
    session.set_read_timeout(Some(PATIENCE))?;
    Ok(session)
}

fn check_user(other: &UnixStream) -> io::Result<()> {
    match socket_peercred(other)?.uid == rustix::process::geteuid() {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::PermissionDenied, "another user is at the other end")),
    }
}

fn give(session: &UnixStream) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [rustix::stdio::stdin()];
    if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::Error::other("no room for a descriptor"));
    }
    sendmsg(session, &[IoSlice::new(&[1])], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn take<'a>(mut process: UnixStream, over: &'a AtomicBool) -> io::Result<ExtraInput<'a>> {
    check_user(&process)?;
    process.set_nonblocking(false)?;
    process.set_read_timeout(Some(PATIENCE))?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(&process, &mut [IoSliceMut::new(&mut [0])], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let fd: Option<OwnedFd> = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    let input = File::from(fd.ok_or_else(|| io::Error::other("no stream was handed over"))?);
    process.write_all(&[1])?;
    Ok(ExtraInput { input, over, _process: process })
}

/// Waits a little for input, or its end.
fn readable(fd: impl AsFd) -> bool {
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&LOOK)).is_ok_and(|ready| ready > 0)
}
