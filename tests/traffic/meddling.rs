//! Faults on the way to a server, each at the moment where it hurts most.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use migrate::traffic::dial::Local;
use migrate::traffic::{Dial, DialError, Stream};

/// What happens to the next connection.
pub enum Turn {
    /// Nothing.
    Pass,
    /// This comes first.
    After(Box<dyn FnOnce() + Send>),
    /// It is not made.
    Fail,
}

/// Dials unix sockets, with one turn of the list for each connection; after the list all pass.
pub struct Meddler(pub Arc<Mutex<VecDeque<Turn>>>);

impl Meddler {
    pub fn with(turns: Vec<Turn>) -> Arc<Self> {
        Arc::new(Self(Arc::new(Mutex::new(turns.into()))))
    }
}

#[async_trait]
impl Dial for Meddler {
    async fn unix(&self, path: &Path) -> Result<Box<dyn Stream>, DialError> {
        let turn = self.0.lock().unwrap().pop_front();
        match turn {
            Some(Turn::Fail) => return Err(DialError { what: "connection refused".to_owned(), hint: None }),
            Some(Turn::After(act)) => act(),
            Some(Turn::Pass) | None => {}
        }
        Local.unix(path).await
    }

    async fn remote_unix(&self, host: &str, path: &str) -> Result<Box<dyn Stream>, DialError> {
        Local.remote_unix(host, path).await
    }
}

/// What becomes of an update that goes through [`name_server`].
pub enum Update {
    /// This is done before it goes on.
    After(Box<dyn Fn() + Send>),
    /// It goes on, and its answer is lost.
    LoseAnswer,
    /// It does not go on, and an unsigned answer says that it was done.
    Forge,
}

/// A name server in front of another one: questions pass, updates (by TCP) suffer.
pub fn name_server(upstream: SocketAddr, update: Update) -> SocketAddr {
    // A port that is free for TCP is nearly always free for UDP.
    let (tcp, udp) = (0..20)
        .find_map(|_| {
            let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
            let udp = UdpSocket::bind(tcp.local_addr().unwrap()).ok()?;
            Some((tcp, udp))
        })
        .expect("a port for both");
    let addr = tcp.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 65_535];
        while let Ok((n, client)) = udp.recv_from(&mut buffer) {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.send_to(&buffer[..n], upstream).unwrap();
            let n = socket.recv(&mut buffer).unwrap();
            udp.send_to(&buffer[..n], client).unwrap();
        }
    });
    std::thread::spawn(move || {
        for client in tcp.incoming().flatten() {
            let _ = relay(client, upstream, &update);
        }
    });
    addr
}

fn relay(mut client: TcpStream, upstream: SocketAddr, update: &Update) -> std::io::Result<()> {
    let request = message(&mut client)?;
    if let Update::Forge = update {
        // Header only: the request's id, a response to an update, NOERROR.
        return client.write_all(&[0, 12, request[0], request[1], 0xa8, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
    if let Update::After(act) = update {
        act();
    }
    let mut server = TcpStream::connect(upstream)?;
    send(&mut server, &request)?;
    let answer = message(&mut server)?;
    match update {
        Update::LoseAnswer => Ok(()),
        _ => send(&mut client, &answer),
    }
}

fn message(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut bytes = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn send(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(&u16::try_from(bytes.len()).unwrap().to_be_bytes())?;
    stream.write_all(bytes)
}
