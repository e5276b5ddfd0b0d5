//! TLS probes: a handshake in which the other side is vouched for under a name, by certificates that last long enough.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use super::net::{blames_the_service, resolve};
use super::read::flat;
use super::tcp::host_port;
use super::{Clients, ProbeKind, Subject, Verdict, certificate, quote};
use crate::fields::kinds::Settings;
use crate::fields::template::{self, Role, Sides, Unfit, Use};
use crate::model::Template;
use crate::text;
use crate::yaml::map::Map;
use crate::yaml::reader::Value;

/// Certificates that are renewed by themselves mostly are so 30 days ahead; what is nearer to its end has been forgotten.
const DAYS_LEFT: u64 = 7;

/// A handshake from the controller with `host:port`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// Who is dialled.
    pub to: Template,
    /// The name that users ask for.
    pub name: Template,
    /// Days for which every certificate of its chain must last.
    pub days_left: u64,
    /// Certificates of those whom it must be vouched for by, instead of those whom this machine trusts.
    pub ca: Option<PathBuf>,
}

impl Settings for Tls {
    const KEY: &'static str = "tls";
    const BESIDE: &'static [&'static str] = &["name", "days_left", "ca"];

    fn read(value: Value<'_>, map: &Map<'_>, uses: &mut Vec<Use>) -> Option<Self> {
        let example = "tls: \"{{ address }}:443\"";
        let to = template::read(value, Role::Own(host_port), Sides::Both, "a host and a port", example);
        let name = map.need("name", "www.example.com").and_then(|v| {
            template::read(v, Role::Own(is_name), Sides::Both, "the name that users ask for", "name: www.example.com")
        });
        let days_left = map.get("days_left").map(|v| v.integer(0..=3650));
        let ca = map.get("ca").map(|v| v.path());
        let (to, name) = (to?, name?);
        let tls = Self {
            to: to.template.value.clone(),
            name: name.template.value.clone(),
            days_left: flat(days_left)?.unwrap_or(DAYS_LEFT),
            ca: flat(ca)?,
        };
        uses.extend([to, name]);
        Some(tls)
    }
}

pub(super) fn is_name(text: &str) -> Result<(), Unfit> {
    match ServerName::try_from(text) {
        Ok(_) => Ok(()),
        Err(_) => Err(Unfit::new("is not a name that a certificate can be for", "for example www.example.com")),
    }
}

#[async_trait]
impl ProbeKind for Tls {
    async fn probe(&self, subject: &Subject<'_>, timeout: Duration, _: &Clients) -> Verdict {
        let (start, vars) = (Instant::now(), subject.vars());
        let filled = self.to.render_plain(&vars).and_then(|to| Ok((to, self.name.render_plain(&vars)?)));
        let (to, name) = match filled {
            Ok(filled) => filled,
            Err(why) => {
                return Verdict::unknown(format!("TLS with {} → {}", quote(&self.to.0), quote(why.to_string())));
            }
        };
        let asked = format!("TLS with {} as {}", quote(&to), quote(&name));
        let config = match trusting(self.ca.as_ref()) {
            Ok(config) => Arc::new(config),
            Err(why) => return Verdict::unknown(format!("{asked} → {why}")),
        };
        let addresses = match resolve(&asked, &to, timeout).await {
            Ok(addresses) => addresses,
            Err(unknown) => return unknown,
        };
        let left = timeout.saturating_sub(start.elapsed());
        match tokio::time::timeout(left, shake(&asked, &addresses, name, config)).await {
            Ok(Ok(ends)) => self.judge(&asked, start.elapsed(), ends),
            Ok(Err(verdict)) => verdict,
            Err(_) => Verdict::fail(format!("{asked} → no handshake in {}", text::duration(timeout))),
        }
    }
}

impl Tls {
    fn judge(&self, asked: &str, took: Duration, ends: Option<Timestamp>) -> Verdict {
        let Some(ends) = ends else {
            return Verdict::unknown(format!("{asked} → the end of its certificates cannot be read"));
        };
        let days = Timestamp::now().duration_until(ends).as_secs().max(0) / 86_400;
        let days = u64::try_from(days).unwrap_or(0);
        let left = text::count(days, "day");
        let evidence = format!("{asked} → vouched for in {}, {left} left, until {ends:.0}", text::duration(took));
        match days >= self.days_left {
            true => Verdict::pass(evidence),
            false => Verdict::fail(format!("{evidence}, wanted {} or more", self.days_left)),
        }
    }
}

/// Settings of a client that lets itself be vouched for by the certificates of this file, or by those whom this machine trusts.
pub(super) fn trusting(ca: Option<&PathBuf>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => roots.add_parsable_certificates(certificates(path)?),
        None => roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs),
    };
    if roots.is_empty() {
        let none = |path: &PathBuf| text::escape(path.as_os_str().as_encoded_bytes(), 200);
        let place = ca.map_or_else(
            || "this machine trusts nobody".to_owned(),
            |path| format!("there is no certificate in {}", none(path)),
        );
        return Err(format!("{place}: give `ca`"));
    }
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|e| quote(e.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn certificates(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = text::escape(path.as_os_str().as_encoded_bytes(), 200);
    let pem = std::fs::read(path).map_err(|e| format!("cannot read {shown}: {e}"))?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    read.map_err(|e| format!("cannot use the certificates in {shown}: {}", quote(e.to_string())))
}

/// When the first certificate ends that the other side shows.
async fn shake(
    asked: &str,
    addresses: &[SocketAddr],
    name: String,
    config: Arc<ClientConfig>,
) -> Result<Option<Timestamp>, Verdict> {
    let name =
        ServerName::try_from(name).map_err(|e| Verdict::unknown(format!("{asked} → {}", quote(e.to_string()))))?;
    let stream = TcpStream::connect(addresses).await.map_err(|e| broken(asked, &e))?;
    let shaken = TlsConnector::from(config).connect(name, stream).await.map_err(|e| broken(asked, &e))?;
    let (_, session) = shaken.get_ref();
    let ends = session.peer_certificates().unwrap_or_default().iter().map(|c| certificate::not_after(c));
    // One that cannot be read may be the first to end.
    Ok(ends.collect::<Option<Vec<_>>>().and_then(|ends| ends.into_iter().min()))
}

fn broken(asked: &str, error: &std::io::Error) -> Verdict {
    let evidence = format!("{asked} → {}", quote(error.to_string()));
    if blames_the_service(error.kind()) { Verdict::fail(evidence) } else { Verdict::unknown(evidence) }
}
