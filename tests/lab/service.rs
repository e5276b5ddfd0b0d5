//! The service of a lab host: keeps files that are uploaded to it, and is as slow as a real one.
//!
//! - `GET /health` answers 200 `ok NAME`, or 503 with the mode;
//! - `GET /files/PATH` answers the file;
//! - `PUT /files/PATH` stores it on disk and answers 201 `NAME HASH`.
//!
//! It is steered the way an operator would, by a file in its directory: `mode` holds `serving`, `sick` (serves, but says that it
//! is not well), `frozen` (reads, but takes no writes) or `standby` (does neither). A write that is being taken has a file in
//! `incoming/` from before the mode is looked at until the data is in place: whoever sets `frozen` and then sees `incoming/`
//! empty knows that no further write can land.

use std::convert::Infallible;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// How long a request takes at least.
pub const LATENCY: Duration = Duration::from_millis(30);

/// What a service does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Serving,
    Sick,
    Frozen,
    Standby,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Sick => "sick",
            Self::Frozen => "frozen",
            Self::Standby => "standby",
        }
    }

    /// What the control file says; what cannot be understood is not taken for permission.
    fn read(root: &Path) -> Self {
        let text = fs::read_to_string(root.join("mode")).unwrap_or_default();
        let known = [Self::Serving, Self::Sick, Self::Frozen];
        known.into_iter().find(|mode| mode.name() == text.trim()).unwrap_or(Self::Standby)
    }
}

/// What a service has done so far.
#[derive(Debug, Default)]
pub struct Counters {
    /// Requests for files, of any kind and with any result.
    pub requests: AtomicU64,
    /// Writes refused because of the mode.
    pub refused: AtomicU64,
}

/// A running service. It ends with its handle, at once.
pub struct Service {
    root: PathBuf,
    counters: Arc<Counters>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    /// Starts it on `addr` with all its files below `root`: `data/`, `incoming/`, `mode`.
    pub fn start(name: &str, addr: SocketAddr, root: &Path, mode: Mode) -> Self {
        for dir in ["data", "incoming"] {
            fs::create_dir_all(root.join(dir)).unwrap_or_else(|e| panic!("cannot create {}: {e}", root.display()));
        }
        let listener =
            std::net::TcpListener::bind(addr).unwrap_or_else(|e| panic!("{name} cannot listen on {addr}: {e}"));
        listener.set_nonblocking(true).expect("a listener can be non-blocking");
        let counters = Arc::new(Counters::default());
        let app = Arc::new(App { name: name.to_owned(), root: root.to_owned(), counters: Arc::clone(&counters) });
        let (stop, stopped) = oneshot::channel();
        let serve = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                tokio::select! { () = accept(listener, app) => {}, _ = stopped => {} }
            });
        };
        let thread = std::thread::Builder::new().name(format!("service {name}")).spawn(serve).expect("a thread");
        let service = Self { root: root.to_owned(), counters, stop: Some(stop), thread: Some(thread) };
        service.set_mode(mode);
        service
    }

    /// Sets the mode, as an operator would.
    pub fn set_mode(&self, mode: Mode) {
        // At once: a request in between would find an empty file, which gives no permission for anything.
        let new = self.root.join("mode.new");
        fs::write(&new, format!("{}\n", mode.name())).expect("the mode file can be written");
        fs::rename(new, self.root.join("mode")).expect("the mode file can be replaced");
    }

    /// The mode it is in.
    pub fn mode(&self) -> Mode {
        Mode::read(&self.root)
    }

    /// What it has done so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Ends it: listening socket and connections are closed, what is in flight is lost.
    pub fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop();
    }
}

struct App {
    name: String,
    root: PathBuf,
    counters: Arc<Counters>,
}

async fn accept(listener: std::net::TcpListener, app: Arc<App>) {
    let listener = TcpListener::from_std(listener).expect("a listener of this runtime");
    loop {
        let Ok((socket, _)) = listener.accept().await else { continue };
        let _ = socket.set_nodelay(true);
        let app = Arc::clone(&app);
        tokio::spawn(async move {
            let handler = service_fn(|request| handle(Arc::clone(&app), request));
            let mut http = hyper::server::conn::http1::Builder::new();
            let _ = http.timer(TokioTimer::new()).serve_connection(TokioIo::new(socket), handler).await;
        });
    }
}

type Answer = Response<Full<Bytes>>;

async fn handle(app: Arc<App>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let path = request.uri().path().to_owned();
    if path == "/health" {
        return Ok(health(&app));
    }
    app.counters.requests.fetch_add(1, Ordering::Relaxed);
    let answer = match (request.method(), path.strip_prefix("/files/").and_then(safe)) {
        (&Method::GET, Some(name)) => read(&app, &name).await,
        (&Method::PUT, Some(name)) => write(&app, &name, request.into_body()).await,
        (_, Some(_)) => answer(StatusCode::METHOD_NOT_ALLOWED, "GET or PUT\n"),
        (_, None) => answer(StatusCode::NOT_FOUND, "there is /health and /files/PATH\n"),
    };
    Ok(answer)
}

/// A path that stays below the data directory.
fn safe(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(name);
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    (plain && !name.is_empty()).then_some(path)
}

fn answer(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}

fn health(app: &App) -> Answer {
    match Mode::read(&app.root) {
        Mode::Serving => answer(StatusCode::OK, format!("ok {}\n", app.name)),
        mode => answer(StatusCode::SERVICE_UNAVAILABLE, format!("{} {}\n", mode.name(), app.name)),
    }
}

async fn read(app: &App, name: &Path) -> Answer {
    tokio::time::sleep(LATENCY).await;
    if Mode::read(&app.root) == Mode::Standby {
        return answer(StatusCode::SERVICE_UNAVAILABLE, "standby\n");
    }
    match fs::read(app.root.join("data").join(name)) {
        Ok(bytes) => answer(StatusCode::OK, bytes),
        Err(error) => answer(StatusCode::NOT_FOUND, format!("{}: {error}\n", name.display())),
    }
}

async fn write(app: &Arc<App>, name: &Path, body: Incoming) -> Answer {
    let taken = match Taken::begin(&app.root) {
        Ok(taken) => taken,
        Err(error) => return answer(StatusCode::INSUFFICIENT_STORAGE, format!("{error}\n")),
    };
    if !matches!(Mode::read(&app.root), Mode::Serving | Mode::Sick) {
        app.counters.refused.fetch_add(1, Ordering::Relaxed);
        return answer(StatusCode::SERVICE_UNAVAILABLE, "takes no writes\n");
    }
    tokio::time::sleep(LATENCY).await;
    let Ok(body) = Limited::new(body, 16 << 20).collect().await else {
        return answer(StatusCode::BAD_REQUEST, "the upload did not arrive whole\n");
    };
    let bytes = body.to_bytes();
    let hash = blake3::hash(&bytes);
    let to = app.root.join("data").join(name);
    match tokio::task::spawn_blocking(move || taken.finish(&bytes, &to)).await {
        Ok(Ok(())) => answer(StatusCode::CREATED, format!("{} {hash}\n", app.name)),
        other => answer(StatusCode::INSUFFICIENT_STORAGE, format!("cannot store it: {other:?}\n")),
    }
}

/// A write that is being taken: visible in `incoming/` as long as it is not in place or given up.
struct Taken {
    path: PathBuf,
    file: fs::File,
}

impl Taken {
    fn begin(root: &Path) -> std::io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let path = root.join("incoming").join(NEXT.fetch_add(1, Ordering::Relaxed).to_string());
        Ok(Self { file: fs::File::create_new(&path)?, path })
    }

    fn finish(mut self, bytes: &[u8], to: &Path) -> std::io::Result<()> {
        self.file.write_all(bytes)?;
        self.file.sync_data()?;
        if let Some(dir) = to.parent() {
            fs::create_dir_all(dir)?;
        }
        fs::rename(&self.path, to)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        // Gone already when it was finished: it has become the file itself.
        let _ = fs::remove_file(&self.path);
    }
}
