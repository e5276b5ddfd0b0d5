//! TCP probes: passes when something accepts a connection.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;

use super::net::{blames_the_service, resolve};
use super::{Clients, ProbeKind, Subject, Verdict, quote};
use crate::fields::kinds::Settings;
use crate::fields::template::{self, Role, Sides, Unfit, Use};
use crate::model::Template;
use crate::text::{self, name};
use crate::yaml::map::Map;
use crate::yaml::reader::Value;

/// A TCP connect from the controller to `host:port`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tcp(pub Template);

impl Settings for Tcp {
    const KEY: &'static str = "tcp";

    fn read(value: Value<'_>, _: &Map<'_>, uses: &mut Vec<Use>) -> Option<Self> {
        let (wants, example) = ("a host and a port", "tcp: \"{{ address }}:8080\"");
        let used = template::read(value, Role::Own(host_port), Sides::Both, wants, example)?;
        let tcp = Self(used.template.value.clone());
        uses.push(used);
        Some(tcp)
    }
}

pub(super) fn host_port(text: &str) -> Result<(), Unfit> {
    let unfit = |why| Unfit::new(format!("is not a host and a port: {why}"), "for example \"{{ address }}:8080\"");
    name::check_host_port(text).map_err(unfit)
}

#[async_trait]
impl ProbeKind for Tcp {
    async fn probe(&self, subject: &Subject<'_>, timeout: Duration, _: &Clients) -> Verdict {
        let start = Instant::now();
        let to = match self.0.render_plain(&subject.vars()) {
            Ok(to) => to,
            Err(why) => {
                return Verdict::unknown(format!("connect {} → {}", quote(&self.0.0), quote(why.to_string())));
            }
        };
        let asked = format!("connect {}", quote(&to));
        let addresses = match resolve(&asked, &to, timeout).await {
            Ok(addresses) => addresses,
            Err(unknown) => return unknown,
        };
        let left = timeout.saturating_sub(start.elapsed());
        match tokio::time::timeout(left, connect_any(&asked, &addresses)).await {
            Ok(verdict) => verdict,
            Err(_) => Verdict::fail(format!("{asked} → no answer in {}", text::duration(timeout))),
        }
    }
}

/// Passes with the first address that accepts; without one, a failure that the service itself gave counts before what is only
/// trouble on the way.
async fn connect_any(asked: &str, addresses: &[SocketAddr]) -> Verdict {
    let mut worst = Verdict::unknown(format!("{asked} → no address"));
    let mut refused = false;
    for address in addresses {
        let start = Instant::now();
        match TcpStream::connect(address).await {
            Ok(_) => return Verdict::pass(format!("{asked} → accepted in {}", text::duration(start.elapsed()))),
            Err(error) => {
                let evidence = format!("{asked} → {}", quote(error.to_string()));
                if blames_the_service(error.kind()) {
                    refused = true;
                    worst = Verdict::fail(evidence);
                } else if !refused {
                    worst = Verdict::unknown(evidence);
                }
            }
        }
    }
    worst
}
