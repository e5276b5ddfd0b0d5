//! NetBox's API for devices and virtual machines on this machine: pages, filters and tokens as the real one has them.
//!
//! Held to the truth by pynetbox, which runs against it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// What lets one in.
pub const TOKEN: &str = "0123456789abcdef0123456789abcdef01234567";

/// What there is, and how it behaves.
#[derive(Debug, Default)]
pub struct Content {
    pub devices: Vec<Value>,
    pub machines: Vec<Value>,
    /// Filters are not known, so that everything comes back.
    pub ignores_filters: bool,
    /// The next answers are errors of a gateway in front.
    pub down: usize,
}

/// A device as NetBox shows it.
pub fn device(id: u64, name: &str, address: &str, more: Value) -> Value {
    let mut device = json!({
        "id": id, "url": "", "display": name, "name": name, "status": { "value": "active", "label": "Active" },
        "device_type": { "id": 1, "model": "R650", "manufacturer": { "id": 1, "name": "Dell" } },
        "role": { "id": 1, "slug": "chat", "name": "Chat" }, "site": { "id": 1, "slug": "fra1", "name": "Frankfurt" },
        "serial": format!("S{id}"), "rack": { "id": 1, "name": "A7" }, "position": 12.0, "tenant": null, "platform": null,
        "primary_ip": { "id": id, "address": format!("{address}/24"), "family": { "value": 4, "label": "IPv4" } },
        "oob_ip": null, "tags": [], "custom_fields": { "cores": 64, "memory_gib": 256 },
    });
    let Value::Object(more) = more else { return device };
    device.as_object_mut().expect("a device is an object").extend(more);
    device
}

/// The API. It ends with its handle.
pub struct NetBox {
    addr: SocketAddr,
    content: Arc<Mutex<Content>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl NetBox {
    /// Starts it on a port of its own.
    pub fn start(content: Content) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener.set_nonblocking(true).expect("a listener can be non-blocking");
        let addr = listener.local_addr().expect("a listener has an address");
        let content = Arc::new(Mutex::new(content));
        let served = Arc::clone(&content);
        let (stop, stopped) = oneshot::channel();
        let serve = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                tokio::select! { () = accept(listener, addr, served) => {}, _ = stopped => {} }
            });
        };
        let thread = std::thread::Builder::new().name("netbox".into()).spawn(serve).expect("a thread");
        Self { addr, content, stop: Some(stop), thread: Some(thread) }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Changes what there is.
    pub fn change(&self, change: impl FnOnce(&mut Content)) {
        change(&mut self.content.lock().expect("no panic in the double"));
    }
}

impl Drop for NetBox {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(listener: std::net::TcpListener, addr: SocketAddr, content: Arc<Mutex<Content>>) {
    let listener = TcpListener::from_std(listener).expect("a listener of this runtime");
    loop {
        let Ok((socket, _)) = listener.accept().await else { continue };
        let content = Arc::clone(&content);
        tokio::spawn(async move {
            let handler = service_fn(|request| {
                let answered = answer(addr, &mut content.lock().expect("no panic in the double"), &request);
                async move { Ok::<_, Infallible>(answered) }
            });
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), handler).await;
        });
    }
}

fn reply(status: u16, value: &Value) -> Response<Full<Bytes>> {
    let builder = Response::builder().status(status).header("content-type", "application/json");
    builder.header("API-Version", "4.6").body(Full::new(value.to_string().into())).expect("a response")
}

fn answer(addr: SocketAddr, content: &mut Content, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if content.down > 0 {
        content.down -= 1;
        return reply(502, &json!("bad gateway"));
    }
    let given = request.headers().get("authorization").and_then(|v| v.to_str().ok());
    if given != Some(format!("Token {TOKEN}").as_str()) {
        return reply(403, &json!({ "detail": "Invalid token" }));
    }
    let rows = match request.uri().path() {
        "/api/" | "/api/status/" => return reply(200, &json!({ "netbox-version": "4.6.8" })),
        "/api/dcim/devices/" => &content.devices,
        "/api/virtualization/virtual-machines/" => &content.machines,
        _ => return reply(404, &json!({ "detail": "Not found." })),
    };
    let url = reqwest::Url::parse(&format!("http://{addr}{}", request.uri())).expect("a URL");
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let number =
        |name: &str| pairs.iter().find(|(key, _)| key == name).and_then(|(_, value)| value.parse::<usize>().ok());
    let fits = |row: &&Value| content.ignores_filters || pairs.iter().all(|(key, _)| filter(row, key, &pairs));
    let fitting: Vec<&Value> = rows.iter().filter(fits).collect();
    // No limit is fifty, and zero is as many as may be.
    let limit = number("limit").map_or(50, |limit| if limit == 0 { 1000 } else { limit.min(1000) });
    let offset = number("offset").unwrap_or(0);
    let page: Vec<&&Value> = fitting.iter().skip(offset).take(limit).collect();
    let next = (offset + page.len() < fitting.len()).then(|| {
        let mut next = url.clone();
        next.set_query(Some(&format!("limit={limit}&offset={}", offset + limit)));
        next.to_string()
    });
    reply(200, &json!({ "count": fitting.len(), "next": next, "previous": null, "results": page }))
}

/// Whether a row has one of the values that a filter names; of tags it must have each.
fn filter(row: &Value, key: &str, pairs: &[(String, String)]) -> bool {
    let wanted: Vec<&String> = pairs.iter().filter(|(k, _)| k == key).map(|(_, value)| value).collect();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let one_of = |have: &Value| wanted.iter().any(|w| **w == text(have));
    match key {
        "site" | "role" => one_of(&row[key]["slug"]),
        "status" => one_of(&row["status"]["value"]),
        "name" | "id" => one_of(&row[key]),
        "tag" => wanted.iter().all(|w| row["tags"].as_array().into_iter().flatten().any(|tag| tag["slug"] == **w)),
        _ => key.strip_prefix("cf_").is_none_or(|field| one_of(&row["custom_fields"][field])),
    }
}
