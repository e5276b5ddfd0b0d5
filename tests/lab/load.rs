//! Users of the service: keep-alive connections that read and upload, and remember every answer.
//!
//! Failed is: an error of the connection, an answer that is not 2xx, none in thirty seconds, or other bytes than the right ones. Only what
//! every HTTP client does by itself is forgiven, and counted: a request of which not one byte was sent goes out on a new
//! connection, and a GET on a *reused* connection that was closed before the first byte of its answer is sent once more.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use blake3::Hash;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::content::Dice;
use super::resolver::Resolver;

/// No answer after this long is a failure.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where users go.
pub enum Front {
    /// Always to this address.
    Address(SocketAddr),
    /// To the addresses of a name, each as likely as the others.
    Name(Resolver),
}

/// How much they do.
pub struct Demand {
    /// Keep-alive connections, one request at a time on each.
    pub connections: usize,
    /// How long each rests after an answer.
    pub pause: Duration,
    /// How many of a hundred requests are uploads.
    pub uploads: u64,
    /// Decides names, sizes and content of uploads and the order of reads.
    pub seed: u64,
    /// Files that every host that serves has, with what is in them.
    pub files: Vec<(String, Hash)>,
}

/// An upload that the service has said it keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Path below `/files/`.
    pub name: String,
    /// What was sent.
    pub hash: Hash,
    /// The host that took it.
    pub host: String,
}

/// What users have seen.
#[derive(Debug, Default)]
pub struct Report {
    /// Requests with an end, good or bad.
    pub requests: u64,
    /// How many of them failed.
    pub failed: u64,
    /// The first failures, in words.
    pub failures: Vec<String>,
    /// GETs sent a second time (see the head of this file).
    pub retried: u64,
    /// Connections opened.
    pub connections: u64,
    /// Bytes read and uploaded.
    pub bytes: u64,
    /// Every acknowledged upload.
    pub uploads: Vec<Upload>,
    /// Time of each good request, sorted.
    pub latencies: Vec<Duration>,
    /// The longest time in which nobody got an answer.
    pub longest_gap: Duration,
    /// From the first request to the last.
    pub lasted: Duration,
}

impl Report {
    /// The time within which this share of requests was answered: 0.5, 0.99, 1.0.
    pub fn latency(&self, share: f64) -> Duration {
        let at = (self.latencies.len() as f64 * share).ceil() as usize;
        self.latencies.get(at.saturating_sub(1)).copied().unwrap_or_default()
    }
}

/// Running users.
pub struct Load {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    front: Front,
    demand: Demand,
    began: Instant,
    stop: AtomicBool,
    requests: AtomicU64,
    failed: AtomicU64,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    report: Report,
    /// When good answers came, with how long each took.
    good: Vec<(Duration, Duration)>,
}

impl Load {
    /// Starts them.
    pub fn start(front: Front, demand: Demand) -> Self {
        assert!(!demand.files.is_empty(), "users need something to read");
        let shared = Arc::new(Shared {
            front,
            demand,
            began: Instant::now(),
            stop: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            seen: Mutex::default(),
        });
        let users = Arc::clone(&shared);
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let all: Vec<_> =
                    (0..users.demand.connections).map(|n| tokio::spawn(user(n, Arc::clone(&users)))).collect();
                for user in all {
                    user.await.expect("a user does not panic");
                }
            });
        };
        let thread = std::thread::Builder::new().name("load".to_owned()).spawn(run).expect("a thread");
        Self { shared, thread: Some(thread) }
    }

    /// Requests that have come to an end so far.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// How many of them failed.
    pub fn failed(&self) -> u64 {
        self.shared.failed.load(Ordering::Relaxed)
    }

    /// Waits until there were this many.
    pub fn wait_for(&self, requests: u64) {
        while self.requests() < requests && self.thread.as_ref().is_some_and(|t| !t.is_finished()) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Lets every user finish the request at hand, and tells what they have seen.
    pub fn stop(mut self) -> Report {
        self.join();
        let mut seen = std::mem::take(&mut *self.shared.seen.lock().expect("no user has panicked"));
        seen.good.sort();
        let mut report = seen.report;
        report.requests = self.requests();
        report.failed = self.failed();
        report.lasted = self.shared.began.elapsed();
        report.longest_gap = longest_gap(&seen.good, report.lasted);
        report.latencies = seen.good.into_iter().map(|(_, took)| took).collect();
        report.latencies.sort();
        report
    }

    fn join(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the load has panicked");
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.join();
    }
}

fn longest_gap(good: &[(Duration, Duration)], lasted: Duration) -> Duration {
    let times = good.iter().map(|(at, _)| *at).chain([lasted]);
    let mut last = Duration::ZERO;
    times.map(|at| at.saturating_sub(std::mem::replace(&mut last, at))).max().unwrap_or_default()
}

/// One user with a connection to each address it has been sent to.
async fn user(number: usize, shared: Arc<Shared>) {
    let mut dice = Dice::new(shared.demand.seed, &format!("user {number}"));
    let mut connections = HashMap::new();
    for n in 0u64.. {
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        let request = Wish::next(&mut dice, &shared.demand, number, n);
        let start = Instant::now();
        let asked = tokio::time::timeout(PATIENCE, ask(&shared, &mut connections, &mut dice, &request));
        let result = asked.await.unwrap_or_else(|_| {
            connections.clear();
            Err("no answer in 30 s".to_owned())
        });
        shared.note(&request, result, start);
        tokio::time::sleep(shared.demand.pause).await;
    }
}

/// What a user wants.
struct Wish {
    name: String,
    /// What must come back, or what the upload holds.
    hash: Hash,
    upload: Option<Bytes>,
}

impl Wish {
    fn next(dice: &mut Dice, demand: &Demand, user: usize, n: u64) -> Self {
        if dice.below(100) >= demand.uploads {
            let (name, hash) = dice.pick(&demand.files).clone();
            return Self { name, hash, upload: None };
        }
        let size = dice.size(1 << 10, 64 << 10);
        let content = Bytes::from(dice.bytes(size));
        // Others may be at work on the same service.
        let name = format!("uploads/{:02x}/{}-{user:03}-{n:06}.bin", dice.below(64), demand.seed);
        Self { name, hash: blake3::hash(&content), upload: Some(content) }
    }

    fn request(&self, to: SocketAddr) -> Request<Full<Bytes>> {
        let (method, body) = match &self.upload {
            None => (Method::GET, Bytes::new()),
            Some(content) => (Method::PUT, content.clone()),
        };
        Request::builder()
            .method(method)
            .uri(format!("/files/{}", self.name))
            .header("Host", to.to_string())
            .body(Full::new(body))
            .expect("a well-formed request")
    }
}

type Connections = HashMap<SocketAddr, SendRequest<Full<Bytes>>>;

/// The answer's body, complete, of a 2xx.
async fn ask(shared: &Shared, connections: &mut Connections, dice: &mut Dice, wish: &Wish) -> Result<Bytes, String> {
    let to = match &shared.front {
        Front::Address(address) => *address,
        Front::Name(resolver) => {
            let addresses = resolver.addresses().await?;
            // This user has nothing in flight now: what has left the answer is closed.
            connections.retain(|address, _| addresses.contains(address));
            *dice.pick(&addresses)
        }
    };
    let response = match send(shared, connections, to, wish).await {
        Err(Broken { again: true, .. }) if wish.upload.is_none() => {
            shared.seen(|seen| seen.report.retried += 1);
            send(shared, connections, to, wish).await
        }
        other => other,
    }
    .map_err(|broken| format!("{to}: {}", broken.why))?;
    let status = response.status();
    let body = response.into_body().collect().await;
    let body = body.map_err(|e| format!("{to}: {status}, then {}", innermost(&e)))?.to_bytes();
    match status.is_success() {
        true => Ok(body),
        false => Err(format!("{to}: {status}: {}", String::from_utf8_lossy(&body).trim())),
    }
}

struct Broken {
    why: String,
    /// Whether a reused connection was closed before any byte of an answer.
    again: bool,
}

/// Sends on the connection there is, or on a new one, and puts it back when the answer begins.
async fn send(
    shared: &Shared,
    connections: &mut Connections,
    to: SocketAddr,
    wish: &Wish,
) -> Result<Response<Incoming>, Broken> {
    let fatal = |why: String| Broken { why, again: false };
    let mut request = wish.request(to);
    if let Some(mut connection) = connections.remove(&to)
        && connection.ready().await.is_ok()
    {
        match connection.try_send_request(request).await {
            Ok(response) => {
                connections.insert(to, connection);
                return Ok(response);
            }
            Err(mut error) => match error.take_message() {
                Some(unsent) => request = unsent,
                None => {
                    let error = error.into_error();
                    return Err(Broken { again: error.is_incomplete_message(), why: innermost(&error) });
                }
            },
        }
    }
    let mut connection = connect(shared, to).await.map_err(fatal)?;
    let response = connection.send_request(request).await.map_err(|e| fatal(innermost(&e)))?;
    connections.insert(to, connection);
    Ok(response)
}

async fn connect(shared: &Shared, to: SocketAddr) -> Result<SendRequest<Full<Bytes>>, String> {
    let stream = TcpStream::connect(to).await.map_err(|e| e.to_string())?;
    stream.set_nodelay(true).map_err(|e| e.to_string())?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|e| innermost(&e))?;
    tokio::spawn(connection);
    sender.ready().await.map_err(|e| innermost(&e))?;
    shared.seen(|seen| seen.report.connections += 1);
    Ok(sender)
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}

impl Shared {
    fn seen<T>(&self, what: impl FnOnce(&mut Seen) -> T) -> T {
        what(&mut self.seen.lock().expect("no user has panicked"))
    }

    /// Judges an answer and remembers it.
    fn note(&self, wish: &Wish, result: Result<Bytes, String>, start: Instant) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let judged = result.and_then(|body| match &wish.upload {
            None if blake3::hash(&body) == wish.hash => Ok((None, body.len())),
            None => Err(format!("{}: other content than it should be", wish.name)),
            Some(content) => Ok((Some(acknowledged(wish, &body)?), content.len())),
        });
        self.seen(|seen| match judged {
            Ok((upload, bytes)) => {
                seen.report.uploads.extend(upload);
                seen.report.bytes += bytes as u64;
                seen.good.push((self.began.elapsed(), start.elapsed()));
            }
            Err(why) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                if seen.report.failures.len() < 20 {
                    let method = if wish.upload.is_some() { "PUT" } else { "GET" };
                    let at = self.began.elapsed().as_secs_f64();
                    seen.report.failures.push(format!("{at:.2} s: {method} {why}"));
                }
            }
        });
    }
}

/// `HOST HASH`, as the service answers an upload.
fn acknowledged(wish: &Wish, body: &[u8]) -> Result<Upload, String> {
    let text = String::from_utf8_lossy(body);
    match text.split_whitespace().collect::<Vec<_>>()[..] {
        [host, hash] if hash == wish.hash.to_hex().as_str() => {
            Ok(Upload { name: wish.name.clone(), hash: wish.hash, host: host.to_owned() })
        }
        _ => Err(format!("{}: acknowledged as {:?}", wish.name, text.trim())),
    }
}
