//! Requests by hand: every header is what the test says, and none is added but what ends the exchange.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::process::PATIENCE;

/// What was answered.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    /// Headers, with names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Reply {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A stream of events, read line by line.
pub struct Events {
    pub head: Reply,
    lines: BufReader<TcpStream>,
}

/// An event: its name, its id, its data.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Event {
    pub name: String,
    pub id: String,
    pub data: String,
}

fn send(addr: SocketAddr, line: &str, headers: &[(&str, &str)], body: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&addr, PATIENCE).unwrap_or_else(|e| panic!("{addr}: {e}"));
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    let mut request = format!("{line} HTTP/1.1\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() {
        request += &format!("Content-Length: {}\r\n", body.len());
    }
    stream.write_all(format!("{request}Connection: close\r\n\r\n{body}").as_bytes()).expect("the request is sent");
    BufReader::new(stream)
}

fn head(lines: &mut BufReader<TcpStream>) -> Reply {
    let mut line = || {
        let mut line = String::new();
        lines.read_line(&mut line).expect("the answer can be read");
        line.trim_end().to_owned()
    };
    let first = line();
    let status = first.split(' ').nth(1).and_then(|word| word.parse().ok());
    let mut reply = Reply {
        status: status.unwrap_or_else(|| panic!("no answer: {first:?}")),
        headers: vec![],
        body: String::new(),
    };
    loop {
        let header = line();
        let Some((name, value)) = header.split_once(':') else { return reply };
        reply.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

/// Asks once.
pub fn request(addr: SocketAddr, line: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let mut lines = send(addr, line, headers, body);
    let mut reply = head(&mut lines);
    match reply.header("content-length").and_then(|length| length.parse().ok()) {
        Some(length) => lines.take(length).read_to_string(&mut reply.body).expect("the body can be read"),
        None => lines.read_to_string(&mut reply.body).expect("the body can be read"),
    };
    reply
}

/// Begins to listen.
pub fn events(addr: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Events {
    let mut lines = send(addr, &format!("GET {path}"), headers, "");
    Events { head: head(&mut lines), lines }
}

impl Events {
    /// The next event of that name.
    pub fn next(&mut self, name: &str) -> Event {
        let mut event = Event::default();
        loop {
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).expect("events can be read") > 0, "they end before {name}");
            // Sizes of chunks stand between the lines, and are none of these.
            match line.trim_end().split_once(": ") {
                Some(("event", value)) => event.name = value.to_owned(),
                Some(("id", value)) => event.id = value.to_owned(),
                Some(("data", value)) => {
                    event.data = value.to_owned();
                    if event.name == name {
                        return event;
                    }
                    event = Event::default();
                }
                _ => {}
            }
        }
    }
}
