//! Clients that stay connected, and come back by themselves when they lose their connection.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::Speaks;
use super::server::{BYE, HELLO};

/// How long a client waits for its greeting until it tries again.
const PATIENCE: Duration = Duration::from_secs(3);
/// The longest pause before a try: they do not all come in the same moment.
const JITTER: u64 = 200;

/// What all clients have seen since they were all connected.
#[derive(Default)]
pub struct Watched {
    connected: AtomicUsize,
    /// Those who had to come back and are there again.
    back: AtomicUsize,
    failed: AtomicUsize,
    /// From the first try to the greeting.
    connects: Mutex<Vec<Duration>>,
    /// Time in which a client had no connection.
    gaps: Mutex<Vec<Duration>>,
    stop: AtomicBool,
}

/// The same at the end of a run.
pub struct Seen {
    back: usize,
    failed: usize,
    /// In order.
    connects: Vec<Duration>,
    longest_gap: Duration,
    pub took: Duration,
}

impl Seen {
    pub fn came_back(&self) -> usize {
        self.back
    }

    pub fn failed(&self) -> usize {
        self.failed
    }

    /// How long so many of a hundred have needed at most.
    pub fn connect(&self, percent: usize) -> Duration {
        let at = self.connects.len().saturating_sub(1) * percent / 100;
        self.connects.get(at).copied().unwrap_or_default()
    }

    pub fn longest_gap(&self) -> Duration {
        self.longest_gap
    }
}

/// The clients, on a runtime of their own.
pub struct Clients {
    pub watched: Arc<Watched>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Clients {
    /// Connects so many, a few at a time, and waits until all are there.
    pub fn start(speaks: Speaks, count: usize, to: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let watched = Arc::new(Watched::default());
        for n in 0..count {
            let watched = Arc::clone(&watched);
            runtime.spawn(async move {
                sleep(Duration::from_micros(n as u64 * 500)).await;
                live(n as u64, speaks, to, &watched).await;
            });
        }
        let end = Instant::now() + Duration::from_secs(120);
        while watched.connected.load(Ordering::Relaxed) < count {
            assert!(Instant::now() < end, "{} of {count} have come", watched.connected.load(Ordering::Relaxed));
            std::thread::sleep(Duration::from_millis(50));
        }
        watched.failed.store(0, Ordering::Relaxed);
        Self { watched, runtime: Some(runtime) }
    }

    /// How many are there again.
    pub fn back(&self) -> usize {
        self.watched.back.load(Ordering::Relaxed)
    }

    /// What they have seen in the time since `began`.
    pub fn seen(&self, began: Instant) -> Seen {
        let Watched { back, failed, connects, gaps, .. } = &*self.watched;
        let mut connects = connects.lock().unwrap().clone();
        connects.sort();
        let longest_gap = gaps.lock().unwrap().iter().max().copied().unwrap_or_default();
        let (back, failed) = (back.load(Ordering::Relaxed), failed.load(Ordering::Relaxed));
        Seen { back, failed, connects, longest_gap, took: began.elapsed() }
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.watched.stop.store(true, Ordering::Relaxed);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// One client: it comes, stays, and comes back once.
async fn live(number: u64, speaks: Speaks, to: SocketAddr, watched: &Watched) {
    let mut stream = connect(number, speaks, to, watched).await;
    watched.connected.fetch_add(1, Ordering::Relaxed);
    loop {
        let Some(there) = &mut stream else { return };
        let mut word = [0; 16];
        let asked = matches!(there.read(&mut word).await, Ok(n) if n > 0 && word[n - 1] == BYE);
        let began = Instant::now();
        if !asked {
            drop(stream.take());
            sleep(Duration::from_millis(spread(number))).await;
        }
        let tried = Instant::now();
        // Who was asked has its new connection before it closes the old one.
        let new = connect(number, speaks, to, watched).await;
        if new.is_none() {
            return;
        }
        watched.connects.lock().unwrap().push(tried.elapsed());
        watched.gaps.lock().unwrap().push(if asked { Duration::ZERO } else { began.elapsed() });
        watched.back.fetch_add(1, Ordering::Relaxed);
        stream = new;
    }
}

/// Tries until it is greeted; nothing at the end of the run.
async fn connect(number: u64, speaks: Speaks, to: SocketAddr, watched: &Watched) -> Option<TcpStream> {
    while !watched.stop.load(Ordering::Relaxed) {
        if let Ok(Some(stream)) = timeout(PATIENCE, greeted(speaks, to)).await {
            return Some(stream);
        }
        watched.failed.fetch_add(1, Ordering::Relaxed);
        sleep(Duration::from_millis(spread(number + 7))).await;
    }
    None
}

async fn greeted(speaks: Speaks, to: SocketAddr) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(to).await.ok()?;
    if speaks == Speaks::WebSocket {
        let request = "GET / HTTP/1.1\r\nHost: chat\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(request.as_bytes()).await.ok()?;
    }
    let (mut said, mut some) = (Vec::new(), [0; 512]);
    // The greeting is the last byte of what comes first.
    while said.last() != Some(&HELLO) || (speaks == Speaks::WebSocket && !said.ends_with(&[0x81, 1, HELLO])) {
        let n = stream.read(&mut some).await.ok().filter(|n| *n > 0)?;
        said.extend_from_slice(&some[..n]);
        if said.starts_with(b"HTTP/1.1 5") || said.starts_with(b"HTTP/1.0 5") {
            return None;
        }
    }
    Some(stream)
}

/// The same for each client in each run, and far from that of its neighbour.
fn spread(number: u64) -> u64 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % JITTER
}
