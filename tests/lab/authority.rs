//! A server that answers over UDP for zones that somebody else keeps: the name server behind a double of an API.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use domain::base::iana::Rcode;
use domain::base::{Message, MessageBuilder, Name, Rtype, Serial, Ttl};
use domain::rdata::{A, Aaaa, Cname, Soa};

/// A zone as it is served.
#[derive(Clone)]
pub struct Zone {
    /// Without a dot at the end.
    pub name: String,
    pub serial: u32,
    pub records: Vec<Record>,
}

/// A record of a zone.
#[derive(Clone)]
pub struct Record {
    /// Relative to the zone, `@` for its own name.
    pub host: String,
    /// `A`, `AAAA`, `CNAME` or `SOA`; others are not answered.
    pub rtype: String,
    pub ttl: u32,
    pub data: String,
}

/// One of several with weights; over many turns each as often as its weight says. Nothing where none has any.
pub fn drawn<T>(items: impl Iterator<Item = (usize, T)> + Clone, turn: usize) -> Option<T> {
    // A step that shares no factor with any sum of weights there is, so that neighbours in time are not neighbours here.
    const STRIDE: usize = 104_729;
    let sum: usize = items.clone().map(|(weight, _)| weight).sum();
    let mut left = turn.wrapping_mul(STRIDE).checked_rem(sum)?;
    for (weight, item) in items {
        if left < weight {
            return Some(item);
        }
        left -= weight;
    }
    None
}

/// A server that answers for all zones that it is told. It ends with its handle.
pub struct NameServer {
    pub addr: SocketAddr,
    /// While it is set, it answers what it answered before.
    pub lags: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    /// Starts it; `told` is asked at each question.
    pub fn start(addr: SocketAddr, mut told: impl FnMut() -> Vec<Zone> + Send + 'static) -> Self {
        let socket = UdpSocket::bind(addr).expect("a port is free");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout can be set");
        let (addr, stop, lags) = (
            socket.local_addr().expect("an address"),
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicBool::new(false)),
        );
        let (stopped, old) = (Arc::clone(&stop), Arc::clone(&lags));
        let serve = move || {
            let mut buffer = [0; 512];
            let mut zones = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let Ok((n, from)) = socket.recv_from(&mut buffer) else { continue };
                if !old.load(Ordering::Relaxed) {
                    zones = told();
                }
                if let Some(answer) = answer(&zones, &buffer[..n]) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        };
        let thread = std::thread::Builder::new().name("name server".into()).spawn(serve).expect("a thread");
        Self { addr, lags, stop, thread: Some(thread) }
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The answer of an authoritative server to one question.
fn answer(zones: &[Zone], request: &[u8]) -> Option<Vec<u8>> {
    let request = Message::from_octets(request).ok()?;
    let question = request.sole_question().ok()?;
    let asked = question.qname().to_string().trim_end_matches('.').to_lowercase();
    let zone = zones.iter().find(|zone| asked == zone.name || asked.ends_with(&format!(".{}", zone.name)));
    let builder = MessageBuilder::new_vec();
    let Some(zone) = zone else {
        return Some(builder.start_answer(&request, Rcode::REFUSED).ok()?.finish());
    };
    let host = asked.strip_suffix(&zone.name).unwrap_or_default().trim_end_matches('.');
    let host = if host.is_empty() { "@" } else { host };
    let records: Vec<&Record> = zone.records.iter().filter(|record| record.host == host).collect();
    let rcode = if records.is_empty() { Rcode::NXDOMAIN } else { Rcode::NOERROR };
    let mut builder = builder.start_answer(&request, rcode).ok()?;
    builder.header_mut().set_aa(true);
    let owner: Name<Vec<u8>> = asked.parse().ok()?;
    let mut found = 0;
    for record in records {
        let (ttl, data) = (Ttl::from_secs(record.ttl), record.data.as_str());
        found += 1;
        match (record.rtype.as_str(), question.qtype()) {
            ("A", Rtype::A) => builder.push((&owner, ttl, A::new(data.parse().ok()?))).ok()?,
            ("AAAA", Rtype::AAAA) => builder.push((&owner, ttl, Aaaa::new(data.parse().ok()?))).ok()?,
            ("CNAME", _) => builder.push((&owner, ttl, Cname::new(data.parse::<Name<Vec<u8>>>().ok()?))).ok()?,
            ("SOA", Rtype::SOA) => builder.push((&owner, ttl, soa(zone)?)).ok()?,
            _ => found -= 1,
        }
    }
    if found > 0 {
        return Some(builder.finish());
    }
    // That there is nothing is said with how long it stays so.
    let mut builder = builder.authority();
    let owner: Name<Vec<u8>> = zone.name.parse().ok()?;
    builder.push((&owner, Ttl::from_secs(1), soa(zone)?)).ok()?;
    Some(builder.finish())
}

fn soa(zone: &Zone) -> Option<Soa<Name<Vec<u8>>>> {
    let server: Name<Vec<u8>> = format!("ns1.{}", zone.name).parse().ok()?;
    let (hour, retry) = (Ttl::from_secs(3600), Ttl::from_secs(300));
    Some(Soa::new(server.clone(), server, Serial(zone.serial), hour, retry, hour, Ttl::from_secs(1)))
}
