//! Stands between a client and a server of HTTP with one request a connection: something happens before a change, or its answer is lost.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::sshd::next_address;

/// What happens to the next change.
pub enum Meddle {
    /// This, before the server gets it.
    Before(Box<dyn FnOnce() + Send>),
    /// Its answer goes nowhere.
    LoseAnswer,
}

/// The way through.
pub struct Meddler {
    pub addr: SocketAddr,
    next: Arc<Mutex<Option<Meddle>>>,
}

impl Meddler {
    /// In front of a server; changes are requests that begin with this word.
    pub fn before(server: SocketAddr, change: &'static str) -> Self {
        let listener = TcpListener::bind((next_address(), 0)).expect("a loopback port");
        let addr = listener.local_addr().expect("an address");
        let next = Arc::new(Mutex::new(None));
        let meddles = Arc::clone(&next);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let meddles = Arc::clone(&meddles);
                std::thread::spawn(move || pass(client, server, change, &meddles));
            }
        });
        Self { addr, next }
    }

    /// Meddles with the next change.
    pub fn next(&self, meddle: Meddle) {
        *self.next.lock().expect("no panic while meddling") = Some(meddle);
    }
}

fn pass(mut client: TcpStream, server: SocketAddr, change: &str, meddles: &Mutex<Option<Meddle>>) -> Option<()> {
    let mut first = vec![0; 64 << 10];
    let read = client.read(&mut first).ok()?;
    first.truncate(read);
    let is_change = first.starts_with(change.as_bytes());
    let meddle = if is_change { meddles.lock().expect("no panic while meddling").take() } else { None };
    let lose = matches!(meddle, Some(Meddle::LoseAnswer));
    if let Some(Meddle::Before(act)) = meddle {
        act();
    }
    let mut upstream = TcpStream::connect(server).ok()?;
    upstream.write_all(&first).ok()?;
    let (mut rest, mut into) = (client.try_clone().ok()?, upstream.try_clone().ok()?);
    std::thread::spawn(move || std::io::copy(&mut rest, &mut into));
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer).ok()?;
    if !lose {
        client.write_all(&answer).ok()?;
    }
    client.shutdown(Shutdown::Both).ok()
}
