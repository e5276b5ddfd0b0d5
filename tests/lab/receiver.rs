//! A real HTTP server that is told things by webhook: Slack, Teams, PagerDuty or anybody. It keeps what it is told, and answers as the
//! test wants.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// What it was told at once.
#[derive(Debug, Clone)]
pub struct Told {
    pub path: String,
    pub authorization: Option<String>,
    pub body: Value,
}

/// How it answers the nth request: with which status, and after how long.
type Answers = fn(usize) -> (u16, Duration);

/// A running receiver. It ends with its handle.
pub struct Receiver {
    pub addr: SocketAddr,
    told: Arc<Mutex<Vec<Told>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Receiver {
    /// One that takes everything at once.
    pub fn start() -> Self {
        Self::answering(|_| (200, Duration::ZERO))
    }

    /// One that answers so.
    pub fn answering(answers: Answers) -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port");
        listener.set_nonblocking(true).expect("a listener can be non-blocking");
        let addr = listener.local_addr().expect("its address");
        let told: Arc<Mutex<Vec<Told>>> = Arc::default();
        let (stop, stopped) = oneshot::channel();
        let kept = Arc::clone(&told);
        let serve = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                tokio::select! { () = accept(listener, kept, answers) => {}, _ = stopped => {} }
            });
        };
        let thread = std::thread::Builder::new().name("receiver".into()).spawn(serve).expect("a thread");
        Self { addr, told, stop: Some(stop), thread: Some(thread) }
    }

    /// Everything that it was told so far.
    pub fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(listener: std::net::TcpListener, told: Arc<Mutex<Vec<Told>>>, answers: Answers) {
    let listener = TcpListener::from_std(listener).expect("a listener of this runtime");
    loop {
        let Ok((socket, _)) = listener.accept().await else { continue };
        let told = Arc::clone(&told);
        tokio::spawn(async move {
            let handler = service_fn(|request| take(Arc::clone(&told), answers, request));
            let mut http = hyper::server::conn::http1::Builder::new();
            let _ = http.timer(TokioTimer::new()).serve_connection(TokioIo::new(socket), handler).await;
        });
    }
}

async fn take(
    told: Arc<Mutex<Vec<Told>>>,
    answers: Answers,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let authorization = request.headers().get("authorization").and_then(|v| Some(v.to_str().ok()?.to_owned()));
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let nth = {
        let mut told = told.lock().unwrap_or_else(|e| e.into_inner());
        told.push(Told { path: path.clone(), authorization, body });
        told.len() - 1
    };
    let (status, after) = answers(nth);
    tokio::time::sleep(after).await;
    // As some do, it repeats the path, which is a secret.
    let mut response = Response::new(Full::new(Bytes::from(format!("cannot POST {path}\n"))));
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    Ok(response)
}
