//! The service: a process of its own that greets whoever comes after a login, and holds them. It has one core.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::Speaks;
use crate::lab::packages::program;

/// The word by which this program is started as the service.
pub const WORD: &str = "serve";
/// What it says to a client that has come, and to one that is to leave.
pub const HELLO: u8 = b'h';
pub const BYE: u8 = b'b';

/// A running service. It ends with its handle.
pub struct Service {
    pub at: SocketAddr,
    process: Child,
}

impl Service {
    /// One on the given core. It lets clients go as lines of the file `shed` say.
    pub fn start(speaks: Speaks, at: SocketAddr, login: Duration, core: usize, shed: &Path) -> Self {
        let this = std::env::current_exe().unwrap();
        let mut command = Command::new(program("taskset", "util-linux"));
        command.args(["-c", &core.to_string()]).arg(this).args([WORD, speaks.name(), &at.to_string()]);
        command.arg(login.as_micros().to_string()).arg(shed).stdout(Stdio::null());
        let process = command.spawn().unwrap();
        let service = Self { at, process };
        let end = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(at).is_err() {
            assert!(Instant::now() < end, "the service does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        service
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Is the service.
pub fn serve(words: &[String]) {
    let [speaks, at, login, shed] = words else { panic!("serve SPEAKS ADDRESS MICROSECONDS FILE") };
    let web = speaks == Speaks::WebSocket.name();
    let login = Duration::from_micros(login.parse().unwrap());
    let held: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
    let (leaving, file) = (Arc::clone(&held), PathBuf::from(shed));
    std::thread::spawn(move || let_go(&leaving, &file, web));
    for client in listen(at.parse().unwrap()).incoming().flatten() {
        if web && !read_request(&client) {
            continue;
        }
        let began = Instant::now();
        while began.elapsed() < login {
            std::hint::spin_loop();
        }
        if greet(&client, web).is_ok() {
            held.lock().unwrap().push(client);
        }
    }
}

/// With room for everybody to wait in: else the kernel sends some away.
fn listen(at: SocketAddr) -> TcpListener {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let _inside = runtime.enter();
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(at).unwrap();
    let listener = socket.listen(4096).unwrap().into_std().unwrap();
    listener.set_nonblocking(false).unwrap();
    listener
}

fn read_request(mut client: &TcpStream) -> bool {
    let _ = client.set_read_timeout(Some(Duration::from_secs(1)));
    let (mut request, mut some) = (Vec::new(), [0; 1024]);
    while !request.ends_with(b"\r\n\r\n") {
        match client.read(&mut some) {
            Ok(n) if n > 0 => request.extend_from_slice(&some[..n]),
            _ => return false,
        }
    }
    true
}

fn greet(mut client: &TcpStream, web: bool) -> std::io::Result<()> {
    if web {
        // The answer to the key that all clients send: HAProxy looks at it.
        client.write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
              Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        )?;
    }
    say(client, HELLO, web)
}

/// One letter, for WebSockets in a frame.
fn say(mut client: &TcpStream, letter: u8, web: bool) -> std::io::Result<()> {
    if web { client.write_all(&[0x81, 1, letter]) } else { client.write_all(&[letter]) }
}

/// Spreads those who are to leave over the time that the lines say, and forgets those who have left.
fn let_go(held: &Mutex<Vec<TcpStream>>, file: &Path, web: bool) {
    let (mut lines, mut due) = (0, Vec::<Instant>::new());
    loop {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        for line in text.lines().skip(lines) {
            lines += 1;
            let mut numbers = line.split(' ').map(|n| n.parse::<u32>().unwrap());
            let (count, within) = (numbers.next().unwrap(), Duration::from_secs(numbers.next().unwrap().into()));
            let now = Instant::now();
            due.extend((0..count).map(|n| now + within * n / count));
        }
        let now = Instant::now();
        let some = due.iter().filter(|at| **at <= now).count();
        due.retain(|at| *at > now);
        let mut held = held.lock().unwrap();
        held.retain(is_there);
        let some = some.min(held.len());
        held.iter().take(some).for_each(|client| drop(say(client, BYE, web)));
        held.rotate_left(some);
        drop(held);
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn is_there(client: &TcpStream) -> bool {
    let _ = client.set_nonblocking(true);
    let peeked = client.peek(&mut [0]);
    let _ = client.set_nonblocking(false);
    matches!(peeked, Err(e) if e.kind() == std::io::ErrorKind::WouldBlock)
}
