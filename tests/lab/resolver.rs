//! A client's own view of a name: asks a DNS server, and believes the answer for as long as its TTL says.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use domain::base::iana::Rcode;
use domain::base::{Message, MessageBuilder, Name, Rtype};
use domain::rdata::A;
use tokio::net::UdpSocket;
use tokio::sync::Mutex;

/// The addresses behind one name.
pub struct Resolver {
    server: SocketAddr,
    name: Name<Vec<u8>>,
    port: u16,
    answer: Mutex<Answer>,
}

#[derive(Clone)]
struct Answer {
    addresses: Vec<SocketAddr>,
    until: Instant,
}

impl Resolver {
    /// Asks `server` for the A records of `name`; `port` is added to each address.
    pub fn new(server: SocketAddr, name: &str, port: u16) -> Self {
        let name = name.parse().unwrap_or_else(|e| panic!("{name} is no domain name: {e}"));
        let answer = Mutex::new(Answer { addresses: Vec::new(), until: Instant::now() });
        Self { server, name, port, answer }
    }

    /// The addresses as known now; asks again when the TTL of the last answer is over.
    pub async fn addresses(&self) -> Result<Vec<SocketAddr>, String> {
        let mut answer = self.answer.lock().await;
        if answer.until <= Instant::now() {
            *answer = self.ask().await?;
        }
        Ok(answer.addresses.clone())
    }

    async fn ask(&self) -> Result<Answer, String> {
        let mut last = String::new();
        for _ in 0..3 {
            match tokio::time::timeout(Duration::from_secs(2), self.ask_once()).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => last = error,
                Err(_) => last = "no answer in 2 s".to_owned(),
            }
        }
        Err(format!("cannot resolve {}: {last}", self.name))
    }

    async fn ask_once(&self) -> Result<Answer, String> {
        let asked = Instant::now();
        let socket = UdpSocket::bind((self.server.ip(), 0)).await.map_err(|e| e.to_string())?;
        socket.connect(self.server).await.map_err(|e| e.to_string())?;
        let mut question = MessageBuilder::new_vec().question();
        question.header_mut().set_random_id();
        question.header_mut().set_rd(true);
        question.push((&self.name, Rtype::A)).map_err(|e| e.to_string())?;
        let question = question.into_message();
        socket.send(question.as_slice()).await.map_err(|e| e.to_string())?;
        let mut bytes = vec![0; 4096];
        loop {
            let len = socket.recv(&mut bytes).await.map_err(|e| e.to_string())?;
            let Ok(message) = Message::from_octets(&bytes[..len]) else { continue };
            if message.is_answer(&question) {
                return self.read(&message, asked);
            }
        }
    }

    fn read(&self, message: &Message<&[u8]>, asked: Instant) -> Result<Answer, String> {
        if message.header().rcode() != Rcode::NOERROR {
            return Err(format!("the server says {}", message.header().rcode()));
        }
        let records = message.answer().map_err(|e| e.to_string())?.limit_to::<A>();
        let records: Vec<_> = records.collect::<Result<_, _>>().map_err(|e| e.to_string())?;
        let ttl = records.iter().map(|r| r.ttl().into_duration()).min().ok_or("the name has no address")?;
        let addresses = records.iter().map(|r| SocketAddr::new(IpAddr::V4(r.data().addr()), self.port)).collect();
        Ok(Answer { addresses, until: asked + ttl })
    }
}
