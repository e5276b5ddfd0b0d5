//! SoftLayer's API on this machine: REST as the real one answers, with its quirks, and days on which it does not work.
//!
//! Held to the truth by clients that nobody here wrote: `slcli` runs against it.

pub mod balancer;
mod calls;
mod cancel;
pub mod cli;
pub mod dns;
mod filter;
mod mask;
mod model;
mod refused;
pub mod world;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::authority::NameServer;
use calls::{Answer, Call};
use refused::Refused;
use world::World;

/// Who may log in, and with what.
pub const USER: &str = "SL278444";
pub const KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// What goes wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection is closed without an answer.
    Cut,
    /// `Internal Error` with the status of a success.
    ErrorWith200,
    /// A success with nothing in it.
    Empty,
    /// This status and no JSON, as gateways in front answer.
    Gateway(u16),
    /// Too many requests, as both statuses have been seen.
    TooMany(u16),
    /// What is called is done, and the answer is lost.
    Lost,
}

/// How it behaves.
#[derive(Debug, Clone)]
pub struct Manners {
    /// Most requests in a second.
    pub rate: usize,
    /// Most rows with relations in one answer.
    pub heavy: usize,
    /// Filters are taken for malformed, so that every row comes back.
    pub ignores_filters: bool,
    /// Whether lists say how many rows there are in all.
    pub totals: bool,
    /// What becomes of the next answers.
    pub faults: VecDeque<Fault>,
    /// The same, with answers in between that come as they should.
    pub planned: VecDeque<Option<Fault>>,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            rate: 50,
            heavy: 250,
            ignores_filters: false,
            totals: true,
            faults: VecDeque::new(),
            planned: VecDeque::new(),
        }
    }
}

#[derive(Default)]
struct State {
    world: Mutex<World>,
    manners: Mutex<Manners>,
    log: Mutex<Vec<(Instant, Call)>>,
}

/// The API. It ends with its handle.
pub struct SoftLayer {
    addr: SocketAddr,
    state: Arc<State>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl SoftLayer {
    /// Starts it on a port of its own.
    pub fn start(world: World) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), world)
    }

    /// Starts it there.
    pub fn start_at(addr: SocketAddr, world: World) -> Self {
        let listener = std::net::TcpListener::bind(addr).expect("a port is free");
        listener.set_nonblocking(true).expect("a listener can be non-blocking");
        let addr = listener.local_addr().expect("a listener has an address");
        let state = Arc::new(State { world: Mutex::new(world), ..State::default() });
        let served = Arc::clone(&state);
        let (stop, stopped) = oneshot::channel();
        let serve = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                tokio::select! { () = accept(listener, served) => {}, _ = stopped => {} }
            });
        };
        let thread = std::thread::Builder::new().name("softlayer".into()).spawn(serve).expect("a thread");
        Self { addr, state, stop: Some(stop), thread: Some(thread) }
    }

    /// Where its REST interface is.
    pub fn endpoint(&self) -> String {
        format!("http://{}/rest/v3.1/", self.addr)
    }

    /// A name server for the account's zones.
    pub fn name_server(&self) -> NameServer {
        self.name_server_at(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// The same, there.
    pub fn name_server_at(&self, addr: SocketAddr) -> NameServer {
        {
            let state = Arc::clone(&self.state);
            NameServer::start(addr, move || state.world.lock().expect("no panic in the double").zones())
        }
    }

    /// What the account has.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.state.world.lock().expect("no panic in the double")
    }

    /// How it behaves from now on.
    pub fn manners(&self) -> MutexGuard<'_, Manners> {
        self.state.manners.lock().expect("no panic in the double")
    }

    /// Names of the methods that were called, in order.
    pub fn called(&self) -> Vec<String> {
        let log = self.state.log.lock().expect("no panic in the double");
        log.iter().map(|(_, call)| format!("{}::{}", call.service, call.method)).collect()
    }

    /// The most requests that came within one second.
    pub fn busiest_second(&self) -> usize {
        let log = self.state.log.lock().expect("no panic in the double");
        let times: Vec<Instant> = log.iter().map(|(at, _)| *at).collect();
        let within =
            |from: &Instant| times.iter().filter(|t| *t >= from && **t < *from + Duration::from_secs(1)).count();
        times.iter().map(within).max().unwrap_or(0)
    }

    /// A file of settings as slcli reads it.
    pub fn settings(&self, dir: &Path) -> PathBuf {
        let path = dir.join("softlayer.conf");
        let text = format!(
            "[softlayer]\nusername = {USER}\napi_key = {KEY}\nendpoint_url = {}\ntimeout = 20\n",
            self.endpoint()
        );
        std::fs::write(&path, text).unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
        path
    }
}

impl Drop for SoftLayer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(listener: std::net::TcpListener, state: Arc<State>) {
    let listener = TcpListener::from_std(listener).expect("a listener of this runtime");
    loop {
        let Ok((socket, _)) = listener.accept().await else { continue };
        let _ = socket.set_nodelay(true);
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let handler = service_fn(|request| handle(Arc::clone(&state), request));
            let mut http = hyper::server::conn::http1::Builder::new();
            let _ = http.timer(TokioTimer::new()).serve_connection(TokioIo::new(socket), handler).await;
        });
    }
}

type Reply = Response<Full<Bytes>>;

/// An error closes the connection.
#[derive(Debug, thiserror::Error)]
#[error("cut")]
struct Cut;

impl From<Infallible> for Cut {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

async fn handle(state: Arc<State>, request: Request<Incoming>) -> Result<Reply, Cut> {
    let call = match read(&state, request).await {
        Ok(call) => call,
        Err(refused) => return Ok(reply(refused.status, &refused.body(), None)),
    };
    let (fault, over) = note(&state, &call);
    match fault {
        Some(Fault::Cut) => return Err(Cut),
        Some(Fault::ErrorWith200) => return Ok(reply(200, &Refused::internal().body(), None)),
        Some(Fault::Empty) => return Ok(text(200, String::new(), None)),
        Some(Fault::Gateway(status)) => return Ok(text(status, "<html>Bad Gateway</html>".into(), None)),
        Some(Fault::TooMany(status)) => return Ok(too_many(&state, status)),
        None if over => return Ok(too_many(&state, 500)),
        Some(Fault::Lost) | None => {}
    }
    let manners = state.manners.lock().expect("no panic in the double").clone();
    let answered = calls::answer(&mut state.world.lock().expect("no panic in the double"), &call, manners.heavy);
    if fault == Some(Fault::Lost) {
        return Err(Cut);
    }
    Ok(match answered {
        Ok(Answer { value, total }) => reply(200, &value, total.filter(|_| manners.totals)),
        Err(refused) => reply(refused.status, &refused.body(), None),
    })
}

fn too_many(state: &State, status: u16) -> Reply {
    let limit = state.manners.lock().expect("no panic in the double").rate;
    let refused = Refused::rate_limit(status, limit);
    reply(status, &refused.body(), None)
}

/// Keeps count of a call; what becomes of its answer, and whether it is one too many.
fn note(state: &State, call: &Call) -> (Option<Fault>, bool) {
    let mut manners = state.manners.lock().expect("no panic in the double");
    let mut log = state.log.lock().expect("no panic in the double");
    let now = Instant::now();
    let recent = log.iter().rev().take_while(|(at, _)| now.duration_since(*at) < Duration::from_secs(1)).count();
    log.push((now, call.clone()));
    let fault = manners.planned.pop_front().flatten().or_else(|| manners.faults.pop_front());
    (fault, recent >= manners.rate)
}

async fn read(state: &State, request: Request<Incoming>) -> Result<Call, Refused> {
    let wanted = format!("Basic {}", base64(format!("{USER}:{KEY}").as_bytes()));
    let given = request.headers().get("authorization").and_then(|v| v.to_str().ok());
    if given != Some(wanted.as_str()) {
        return Err(Refused::access_denied());
    }
    let path = request.uri().path().to_owned();
    let path = path.strip_prefix("/rest/v3.1/").or_else(|| path.strip_prefix("/rest/v3/"));
    let mut call = Call::from_path(request.method().as_str(), path.ok_or_else(Refused::no_service)?)?;
    let url = reqwest::Url::parse(&format!("http://x{}", request.uri())).map_err(|_| Refused::no_service())?;
    for (name, value) in url.query_pairs() {
        match &*name {
            "objectMask" => call.mask = Some(value.into_owned()).filter(|m| !m.is_empty()),
            "objectFilter" => call.filter = Some(value.into_owned()),
            "resultLimit" => call.limit = limit(&value),
            _ => {}
        }
    }
    if state.manners.lock().expect("no panic in the double").ignores_filters {
        call.filter = None;
    }
    // What stands in the body of a GET is ignored.
    if call.verb != "GET" {
        let body = request.into_body().collect().await.map_err(|_| Refused::internal())?.to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        call.parameters = body["parameters"].as_array().cloned().unwrap_or_default();
    }
    Ok(call)
}

/// `offset,limit`, or a limit alone.
fn limit(text: &str) -> Option<(usize, usize)> {
    match text.split_once(',') {
        Some((offset, limit)) => Some((offset.trim().parse().ok()?, limit.trim().parse().ok()?)),
        None => Some((0, text.trim().parse().ok()?)),
    }
}

fn reply(status: u16, value: &Value, total: Option<usize>) -> Reply {
    text(status, value.to_string(), total)
}

fn text(status: u16, body: String, total: Option<usize>) -> Reply {
    let mut builder = Response::builder().status(status).header("content-type", "application/json");
    if let Some(total) = total {
        builder = builder.header("SoftLayer-Total-Items", total);
    }
    builder.body(Full::new(body.into())).expect("a response")
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let n = chunk.iter().fold(0_u32, |n, b| n << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let letter = LETTERS[(n >> (18 - 6 * i) & 63) as usize];
            out.push(if i <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    out
}
