//! TCP probes: passes when something accepts a connection.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::net::{blames_the_service, resolve};
use super::{Verdict, quote};
use crate::model::{Host, Template};
use crate::text;

pub async fn probe(to: &Template, host: &Host, timeout: Duration) -> Verdict {
    let start = Instant::now();
    let to = match to.render_plain(&host.vars) {
        Ok(to) => to,
        Err(why) => return Verdict::unknown(format!("connect {} → {}", quote(&to.0), quote(why.to_string()))),
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
