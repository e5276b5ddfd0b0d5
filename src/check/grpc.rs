//! gRPC probes: one call of the health protocol (`grpc.health.v1.Health/Check`) on a connection of its own.
//!
//! The two messages have one field each and are written and read here. Must never take a server that cannot be asked for one that is ill.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use h2::RecvStream;
use http::{HeaderMap, Request};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::net::{blames_the_service, resolve};
use super::read::flat;
use super::tcp::host_port;
use super::tls::{is_name, trusting};
use super::{Clients, ProbeKind, Subject, Verdict, quote};
use crate::fields::kinds::Settings;
use crate::fields::template::{self, Role, Sides, Use};
use crate::model::Template;
use crate::text;
use crate::yaml::map::Map;
use crate::yaml::reader::Value;

/// How much of an answer is looked at: its message has two bytes.
const LIMIT: usize = 4096;

/// A call from the controller to `host:port`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grpc {
    /// Who is dialled.
    pub to: Template,
    /// The service that is asked about, as the server calls it; empty: the server as a whole.
    pub service: String,
    /// The name that its certificate must be for; `None`: without TLS.
    pub name: Option<Template>,
    /// Certificates of those whom it must be vouched for by, instead of those whom this machine trusts.
    pub ca: Option<PathBuf>,
}

impl Settings for Grpc {
    const KEY: &'static str = "grpc";
    const BESIDE: &'static [&'static str] = &["service", "name", "ca"];

    fn read(value: Value<'_>, map: &Map<'_>, uses: &mut Vec<Use>) -> Option<Self> {
        let example = "grpc: \"{{ address }}:50051\"";
        let to = template::read(value, Role::Own(host_port), Sides::Both, "a host and a port", example);
        let service = map.get("service").map(|v| v.line("the name of a service", "service: orders.v1.Orders"));
        let name = map.get("name").map(|v| {
            template::read(v, Role::Own(is_name), Sides::Both, "the name that users ask for", "name: www.example.com")
        });
        let ca = map.get("ca").map(|v| v.path());
        let (to, name) = (to?, flat(name)?);
        let grpc = Self {
            to: to.template.value.clone(),
            service: flat(service)?.map(|service| service.value).unwrap_or_default(),
            name: name.as_ref().map(|name| name.template.value.clone()),
            ca: flat(ca)?,
        };
        uses.push(to);
        uses.extend(name);
        Some(grpc)
    }
}

#[async_trait]
impl ProbeKind for Grpc {
    async fn probe(&self, subject: &Subject<'_>, timeout: Duration, _: &Clients) -> Verdict {
        let (start, vars) = (Instant::now(), subject.vars());
        let name = || self.name.as_ref().map(|name| name.render_plain(&vars)).transpose();
        let (to, name) = match self.to.render_plain(&vars).and_then(|to| Ok((to, name()?))) {
            Ok(filled) => filled,
            Err(why) => {
                return Verdict::unknown(format!("gRPC at {} → {}", quote(&self.to.0), quote(why.to_string())));
            }
        };
        let about = if self.service.is_empty() { String::new() } else { format!(" of {}", quote(&self.service)) };
        let asked = format!("gRPC health{about} at {}", quote(&to));
        let addresses = match resolve(&asked, &to, timeout).await {
            Ok(addresses) => addresses,
            Err(unknown) => return unknown,
        };
        let left = timeout.saturating_sub(start.elapsed());
        let call = Call { asked: &asked, to: &to, service: &self.service, within: left };
        match tokio::time::timeout(left, call.dial(&addresses, name, self.ca.as_ref())).await {
            Ok(Ok(answer)) => answer.judge(&asked, start.elapsed()),
            Ok(Err(verdict)) => verdict,
            Err(_) => Verdict::fail(format!("{asked} → no answer in {}", text::duration(timeout))),
        }
    }
}

/// One call.
struct Call<'a> {
    asked: &'a str,
    to: &'a str,
    service: &'a str,
    within: Duration,
}

impl Call<'_> {
    async fn dial(
        &self,
        addresses: &[SocketAddr],
        name: Option<String>,
        ca: Option<&PathBuf>,
    ) -> Result<Answer, Verdict> {
        let unknown = |why: String| Verdict::unknown(format!("{} → {}", self.asked, quote(why)));
        let stream = TcpStream::connect(addresses).await.map_err(|e| self.broken(&e))?;
        let Some(name) = name else { return self.call(stream, "http", self.to).await };
        let mut config = trusting(ca).map_err(unknown)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        let server = ServerName::try_from(name.clone()).map_err(|e| unknown(e.to_string()))?;
        let shaken = TlsConnector::from(Arc::new(config)).connect(server, stream).await;
        self.call(shaken.map_err(|e| self.broken(&e))?, "https", &name).await
    }

    async fn call(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        scheme: &str,
        authority: &str,
    ) -> Result<Answer, Verdict> {
        let (sender, connection) = h2::client::handshake(stream).await.map_err(|e| self.failed(&e))?;
        tokio::select! {
            answer = self.ask(sender, scheme, authority) => answer,
            // It drives the stream until one of the two sides ends it.
            ended = connection => Err(match ended {
                Ok(()) => Verdict::fail(format!("{} → it ended the connection without an answer", self.asked)),
                Err(e) => self.failed(&e),
            }),
        }
    }

    async fn ask(
        &self,
        sender: h2::client::SendRequest<Bytes>,
        scheme: &str,
        authority: &str,
    ) -> Result<Answer, Verdict> {
        let mut sender = sender.ready().await.map_err(|e| self.failed(&e))?;
        let request = Request::post(format!("{scheme}://{authority}/grpc.health.v1.Health/Check"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("grpc-timeout", format!("{}m", self.within.as_millis().clamp(1, 99_999_999)))
            .header("user-agent", concat!("migrate/", env!("CARGO_PKG_VERSION")))
            .body(())
            .map_err(|e| Verdict::unknown(format!("{} → {}", self.asked, quote(e.to_string()))))?;
        let (response, mut body) = sender.send_request(request, false).map_err(|e| self.failed(&e))?;
        body.send_data(message(self.service), true).map_err(|e| self.failed(&e))?;
        let (head, body) = response.await.map_err(|e| self.failed(&e))?.into_parts();
        if head.status != http::StatusCode::OK {
            let why = format!("{} → it answers HTTP status {}", self.asked, head.status.as_u16());
            return Err(Verdict::fail(why));
        }
        let (bytes, trailers) = self.read(body).await?;
        // A call that fails at once has its status in its head.
        let ended = trailers.as_ref().filter(|t| t.contains_key("grpc-status")).unwrap_or(&head.headers);
        Ok(Answer { status: number(ended), said: said(ended), serving: serving(&bytes) })
    }

    async fn read(&self, mut body: RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), Verdict> {
        let mut bytes = Vec::new();
        while let Some(chunk) = body.data().await {
            let chunk = chunk.map_err(|e| self.failed(&e))?;
            let _ = body.flow_control().release_capacity(chunk.len());
            bytes.extend(chunk.iter().take(LIMIT.saturating_sub(bytes.len())));
        }
        Ok((bytes, body.trailers().await.map_err(|e| self.failed(&e))?))
    }

    fn failed(&self, error: &h2::Error) -> Verdict {
        match error.get_io() {
            Some(error) => self.broken(error),
            None => Verdict::fail(format!("{} → it does not speak HTTP/2: {}", self.asked, quote(error.to_string()))),
        }
    }

    fn broken(&self, error: &std::io::Error) -> Verdict {
        let evidence = format!("{} → {}", self.asked, quote(error.to_string()));
        if blames_the_service(error.kind()) { Verdict::fail(evidence) } else { Verdict::unknown(evidence) }
    }
}

/// What came back.
struct Answer {
    /// How the call ended; `None` when that was not said.
    status: Option<u32>,
    said: String,
    /// What the message says; `None` when there is none that can be read.
    serving: Option<u64>,
}

impl Answer {
    fn judge(&self, asked: &str, took: Duration) -> Verdict {
        let took = text::duration(took);
        let said = if self.said.is_empty() { String::new() } else { format!(": {}", quote(&self.said)) };
        match (self.status, self.serving) {
            (Some(0), Some(1)) => Verdict::pass(format!("{asked} → SERVING in {took}")),
            (Some(0), Some(0)) => Verdict::fail(format!("{asked} → UNKNOWN in {took}")),
            (Some(0), Some(2)) => Verdict::fail(format!("{asked} → NOT_SERVING in {took}")),
            (Some(0), Some(3)) => Verdict::fail(format!("{asked} → SERVICE_UNKNOWN in {took}")),
            (Some(0), other) => {
                let other = other.map_or_else(|| "no message".to_owned(), |n| format!("the status {n}"));
                Verdict::fail(format!("{asked} → {other}, which the health protocol does not have"))
            }
            (Some(5), _) => Verdict::fail(format!("{asked} → it knows no such service{said}")),
            (Some(12), _) => Verdict::unknown(format!("{asked} → it has no health protocol{said}: nobody can tell")),
            (Some(7 | 16), _) => Verdict::unknown(format!("{asked} → it lets nobody ask{said}: nobody can tell")),
            (Some(status), _) => Verdict::fail(format!("{asked} → it ends the call with status {status}{said}")),
            (None, _) => Verdict::fail(format!("{asked} → what answers is no gRPC")),
        }
    }
}

/// `HealthCheckRequest {service}`, uncompressed, with its length before it.
fn message(service: &str) -> Bytes {
    let mut request = Vec::new();
    if !service.is_empty() {
        request.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            request.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        request.push(length as u8);
        request.extend(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend(u32::try_from(request.len()).unwrap_or(u32::MAX).to_be_bytes());
    framed.extend(request);
    framed.into()
}

/// The field `status` of a `HealthCheckResponse`; one that is not there is 0.
fn serving(framed: &[u8]) -> Option<u64> {
    let (head, rest) = framed.split_at_checked(5)?;
    let (compressed, length) = head.split_first()?;
    let length = u32::from_be_bytes(length.try_into().ok()?) as usize;
    let message = rest.get(..length).filter(|_| *compressed == 0)?;
    match message.split_first() {
        None => Some(0),
        Some((0x08, value)) => {
            let mut number = 0_u64;
            for (n, byte) in value.iter().take(9).enumerate() {
                number |= u64::from(byte & 0x7f) << (7 * n);
                if byte & 0x80 == 0 {
                    return Some(number);
                }
            }
            None
        }
        Some(_) => None,
    }
}

fn number(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// What a server says of its status, as it is written.
fn said(headers: &HeaderMap) -> String {
    let said = headers.get("grpc-message").map(|said| String::from_utf8_lossy(said.as_bytes()).into_owned());
    said.unwrap_or_default().replace("%20", " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_as_the_protocol_has_them() {
        assert_eq!(message("").as_ref(), [0, 0, 0, 0, 0]);
        assert_eq!(message("ab").as_ref(), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = message(&"x".repeat(300));
        assert_eq!((&long[..8], long.len()), (&[0, 0, 0, 1, 47, 0x0a, 0xac, 2][..], 308));
        assert_eq!(serving(&[0, 0, 0, 0, 2, 8, 1]), Some(1));
        assert_eq!(serving(&[0, 0, 0, 0, 0]), Some(0));
        for torn in
            [&[][..], &[0, 0, 0, 0, 2, 8], &[1, 0, 0, 0, 2, 8, 1], &[0, 0, 0, 0, 2, 9, 1], &[0, 0, 0, 0, 2, 8, 255]]
        {
            assert_eq!(serving(torn), None, "{torn:?}");
        }
    }
}
