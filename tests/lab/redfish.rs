//! The management controller of a machine on this machine: Redfish over TLS, as far as somebody who only looks needs it.
//!
//! Strict: no answer without the right user but at the root, none to anything but GET, and links that have to be followed, because no
//! path below the root is what vendors call it. Held to the truth by sushy, which runs against it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::certificates::Authority;

/// Who is let in.
pub const USER: &str = "migrate";
/// By which password.
pub const PASSWORD: &str = "a-calvin-of-our-own";
/// Where vendors keep their systems.
const SYSTEMS: &str = "/redfish/v1/Systems";

/// How it stands with a machine, and how its controller behaves.
#[derive(Debug, Default)]
pub struct Content {
    /// By id.
    pub systems: Vec<(String, Value)>,
    /// The next answers are `503`: it starts.
    pub starting: usize,
    /// Its user may log in and read nothing.
    pub forbids: bool,
    /// What it answers for every resource instead.
    pub answers: Option<String>,
    /// What was asked for: method and path.
    pub asked: Vec<String>,
}

/// A machine that is on and well.
pub fn system(serial: &str) -> Value {
    json!({
        "PowerState": "On", "SerialNumber": serial, "SKU": format!("TAG-{serial}"),
        "Status": { "State": "Enabled", "Health": "OK", "HealthRollup": "OK" },
    })
}

/// The controller. It ends with its handle.
pub struct Bmc {
    addr: SocketAddr,
    dir: tempfile::TempDir,
    content: Arc<Mutex<Content>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Bmc {
    /// One with these systems, on a port of its own, with a certificate of a CA of its own.
    pub fn start(systems: &[(&str, Value)]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let authority = Authority::start(dir.path());
        authority.issue("bmc", "IP:127.0.0.1", 30);
        std::fs::write(dir.path().join("password"), PASSWORD).expect("a file is written");
        let tls = acceptor(&authority.path("bmc.pem"), &authority.path("bmc.key"));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener.set_nonblocking(true).expect("a listener can be non-blocking");
        let addr = listener.local_addr().expect("a listener has an address");
        let systems = systems.iter().map(|(id, system)| ((*id).to_owned(), system.clone())).collect();
        let content = Arc::new(Mutex::new(Content { systems, ..Content::default() }));
        let served = Arc::clone(&content);
        let (stop, stopped) = oneshot::channel();
        let serve = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                tokio::select! { () = accept(listener, tls, served) => {}, _ = stopped => {} }
            });
        };
        let thread = std::thread::Builder::new().name("bmc".into()).spawn(serve).expect("a thread");
        Self { addr, dir, content, stop: Some(stop), thread: Some(thread) }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("https://{}", self.addr)
    }

    /// One of its files: `ca.pem`, `password`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What an inventory says of it.
    pub fn settings(&self) -> String {
        let (password, ca) = (self.file("password"), self.file("ca.pem"));
        format!(
            "{{url: \"{}\", user: {USER}, password: {{file: {}}}, ca: {}}}",
            self.url(),
            password.display(),
            ca.display()
        )
    }

    /// Changes what there is.
    pub fn change<T>(&self, change: impl FnOnce(&mut Content) -> T) -> T {
        change(&mut self.content.lock().expect("no panic in the double"))
    }
}

impl Drop for Bmc {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn acceptor(certificate: &Path, key: &Path) -> TlsAcceptor {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(certificate).expect("a certificate").collect();
    let key = PrivateKeyDer::from_pem_file(key).expect("a key");
    let config = ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(chain.expect("a certificate"), key).expect("they belong together");
    TlsAcceptor::from(Arc::new(config))
}

async fn accept(listener: std::net::TcpListener, tls: TlsAcceptor, content: Arc<Mutex<Content>>) {
    let listener = TcpListener::from_std(listener).expect("a listener of this runtime");
    loop {
        let Ok((socket, _)) = listener.accept().await else { continue };
        let (tls, content) = (tls.clone(), Arc::clone(&content));
        tokio::spawn(async move {
            let Ok(socket) = tls.accept(socket).await else { return };
            let handler = service_fn(|request| {
                let answered = answer(&mut content.lock().expect("no panic in the double"), &request);
                async move { Ok::<_, Infallible>(answered) }
            });
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), handler).await;
        });
    }
}

fn reply(status: u16, body: String) -> Response<Full<Bytes>> {
    let mut builder = Response::builder().status(status).header("content-type", "application/json");
    builder = builder.header("OData-Version", "4.0").header("Cache-Control", "no-cache");
    if status == 401 {
        builder = builder.header("WWW-Authenticate", "Basic realm=\"Redfish\"");
    }
    builder.body(Full::new(body.into())).expect("a response")
}

/// An error as Redfish has them.
fn error(status: u16, id: &str, message: &str) -> Response<Full<Bytes>> {
    let info = json!([{ "MessageId": id, "Message": message, "Severity": "Critical" }]);
    let error = json!({ "error": { "code": id, "message": message, "@Message.ExtendedInfo": info } });
    reply(status, error.to_string())
}

fn answer(content: &mut Content, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path().trim_end_matches('/').to_owned();
    content.asked.push(format!("{} {path}", request.method()));
    if content.starting > 0 {
        content.starting -= 1;
        return error(503, "Base.1.8.ServiceTemporarilyUnavailable", "The service is starting.");
    }
    if request.method() != Method::GET {
        return error(405, "Base.1.8.OperationNotAllowed", "Only GET is allowed.");
    }
    if let Some(text) = &content.answers {
        return reply(200, text.clone());
    }
    let public = matches!(path.as_str(), "/redfish" | "/redfish/v1");
    let given = request.headers().get("authorization").and_then(|v| v.to_str().ok());
    if !public && !given.is_some_and(is_right) {
        return error(401, "Base.1.8.NoValidSession", "There is no valid session established.");
    }
    if !public && content.forbids {
        return error(403, "Base.1.8.InsufficientPrivilege", "There are insufficient privileges.");
    }
    match resource(content, &path) {
        Some(resource) => reply(200, resource.to_string()),
        None => error(404, "Base.1.8.ResourceMissingAtURI", "The resource is missing."),
    }
}

fn is_right(given: &str) -> bool {
    // `migrate:a-calvin-of-our-own`
    given == "Basic bWlncmF0ZTphLWNhbHZpbi1vZi1vdXItb3du"
}

fn resource(content: &Content, path: &str) -> Option<Value> {
    let at = |path: &str| json!({ "@odata.id": path });
    match path {
        "/redfish" => Some(json!({ "v1": "/redfish/v1/" })),
        "/redfish/v1" => Some(json!({
            "@odata.id": "/redfish/v1/", "@odata.type": "#ServiceRoot.v1_5_0.ServiceRoot", "Id": "RootService",
            "Name": "Root Service", "RedfishVersion": "1.8.0", "UUID": "92384634-2938-2342-8820-489239905423",
            "Systems": at(SYSTEMS), "Links": { "Sessions": at("/redfish/v1/SessionService/Sessions") },
        })),
        SYSTEMS => {
            let members: Vec<Value> = content.systems.iter().map(|(id, _)| at(&format!("{SYSTEMS}/{id}"))).collect();
            Some(json!({
                "@odata.id": SYSTEMS, "@odata.type": "#ComputerSystemCollection.ComputerSystemCollection",
                "Name": "Computer System Collection", "Members@odata.count": members.len(), "Members": members,
            }))
        }
        _ => {
            let wanted = path.strip_prefix(SYSTEMS)?.strip_prefix('/')?;
            let (id, system) = content.systems.iter().find(|(id, _)| id == wanted)?;
            let mut whole = json!({
                "@odata.id": path, "@odata.type": "#ComputerSystem.v1_10_0.ComputerSystem", "Id": id, "Name": "System",
                "SystemType": "Physical", "Manufacturer": "Lab", "Model": "R1",
            });
            let fields = whole.as_object_mut().expect("a system is an object");
            fields.extend(system.as_object().expect("a system is an object").clone());
            Some(whole)
        }
    }
}
