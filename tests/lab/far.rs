//! A link to a host that is far away: a TCP proxy that delays every byte by half a round trip, and lets through so many a second.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use migrate::model::Host;

use super::sshd::{Sshd, next_address, public};

/// Bytes that are read at once.
const PIECE: usize = 64 << 10;

/// What a link is like.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    pub round_trip: Duration,
    /// Bytes a second in each direction.
    pub rate: Option<u64>,
}

/// A proxy under way; dropping it cuts all that goes through it.
pub struct Far {
    addr: SocketAddr,
    stop: Arc<AtomicBool>,
    carried: Arc<AtomicU64>,
    accepting: Option<JoinHandle<()>>,
}

impl Far {
    /// A link to what listens at `to`.
    pub fn start(to: SocketAddr, link: Link) -> Self {
        let listener = TcpListener::bind((next_address(), 0)).expect("a loopback port can be bound");
        let addr = listener.local_addr().expect("a listener has an address");
        let (stop, carried) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let accepting = std::thread::spawn({
            let (stop, carried) = (stop.clone(), carried.clone());
            move || {
                let mut open: Vec<TcpStream> = Vec::new();
                for near in listener.incoming() {
                    if stop.load(Ordering::Acquire) {
                        break;
                    }
                    let (Ok(near), Ok(far)) = (near, TcpStream::connect(to)) else { continue };
                    open.extend([near.try_clone().unwrap(), far.try_clone().unwrap()]);
                    let (near2, far2) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                    one_way(near, far, link, carried.clone());
                    one_way(far2, near2, link, Arc::default());
                }
                for stream in open {
                    let _ = stream.shutdown(Shutdown::Both);
                }
            }
        });
        Self { addr, stop, carried, accepting: Some(accepting) }
    }

    /// Bytes that went to the far host so far.
    pub fn carried(&self) -> u64 {
        self.carried.load(Ordering::Relaxed)
    }

    /// The host behind the link, as seen from this side of it.
    pub fn host(&self, sshd: &Sshd) -> Host {
        let mut host = sshd.host();
        let line = format!("[{}]:{} {}", self.addr.ip(), self.addr.port(), public(&sshd.host_key()));
        let known = sshd.known_hosts();
        let text = std::fs::read_to_string(&known).unwrap();
        std::fs::write(&known, format!("{}\n{line}\n", text.trim_end())).unwrap();
        host.address = self.addr.ip().to_string();
        host.ssh.port = Some(self.addr.port());
        host
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Wakes the one who accepts.
        let _ = TcpStream::connect(self.addr);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

fn one_way(from: TcpStream, to: TcpStream, link: Link, carried: Arc<AtomicU64>) {
    let _ = (from.set_nodelay(true), to.set_nodelay(true));
    // What is under way, and a little that waits to be.
    let under_way =
        link.rate.map_or(64 << 20, |rate| (rate as f64 * link.round_trip.as_secs_f64()) as usize + (512 << 10));
    let (out, queue) = sync_channel(under_way / PIECE + 1);
    std::thread::spawn(move || take(from, &out, link, &carried));
    std::thread::spawn(move || give(to, &queue));
}

fn take(mut from: TcpStream, out: &SyncSender<(Instant, Vec<u8>)>, link: Link, carried: &AtomicU64) {
    let mut free = Instant::now();
    loop {
        let mut piece = vec![0; PIECE];
        let Ok(n @ 1..) = from.read(&mut piece) else { return };
        piece.truncate(n);
        carried.fetch_add(n as u64, Ordering::Relaxed);
        let takes = link.rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(n as f64 / rate as f64));
        free = free.max(Instant::now()) + takes;
        if out.send((free + link.round_trip / 2, piece)).is_err() {
            let _ = from.shutdown(Shutdown::Both);
            return;
        }
    }
}

fn give(mut to: TcpStream, queue: &Receiver<(Instant, Vec<u8>)>) {
    while let Ok((when, piece)) = queue.recv() {
        std::thread::sleep(when.saturating_duration_since(Instant::now()));
        if to.write_all(&piece).is_err() {
            let _ = to.shutdown(Shutdown::Both);
            return;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
