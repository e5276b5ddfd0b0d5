//! The HTTP of doubles of APIs: a thread for each connection, one answer for each request.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use super::sshd::next_address;

/// A request as far as it matters.
pub struct Request {
    pub method: String,
    pub path: String,
    pub query: BTreeMap<String, String>,
    /// By their names in small letters.
    headers: BTreeMap<String, String>,
    pub body: String,
}

impl Request {
    /// A header, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// Serves on a loopback address of its own until the test ends. No answer ends the connection.
pub fn serve(
    content: &'static str,
    answer: impl Fn(&Request) -> Option<(u16, String)> + Send + Sync + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind((next_address(), 0)).expect("a loopback port");
    let addr = listener.local_addr().expect("an address");
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || converse(&client, content, &*answer));
        }
    });
    addr
}

fn converse(stream: &TcpStream, content: &str, answer: impl Fn(&Request) -> Option<(u16, String)>) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader) {
        let Some((code, body)) = answer(&request) else { return };
        let length = body.len();
        let head = format!("HTTP/1.1 {code} X\r\nContent-Type: {content}\r\nContent-Length: {length}\r\n\r\n");
        if (&*stream).write_all((head + &body).as_bytes()).is_err() {
            return;
        }
    }
}

fn read(reader: &mut BufReader<&TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").map_or(Some(0), |length| length.parse().ok())?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    Some(Request { method, path: path.to_owned(), query: pairs(query), headers, body: String::from_utf8(body).ok()? })
}

/// `a=b&c=d`, as queries and forms have it.
pub fn pairs(text: &str) -> BTreeMap<String, String> {
    text.split('&').filter_map(|pair| pair.split_once('=')).map(|(k, v)| (k.to_owned(), plain(v))).collect()
}

/// What `%20` stands for.
fn plain(text: &str) -> String {
    let mut parts = text.split('%');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (code, rest) = part.split_at_checked(2).unwrap_or((part, ""));
        out.push(u8::from_str_radix(code, 16).map_or('?', char::from));
        out.push_str(rest);
    }
    out
}
