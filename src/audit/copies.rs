//! Copies of checkpoints in places that this machine does not rule: a file on another file system, the system log.
//!
//! They are written beside the run, in order, and must never hold it up: a place that cannot be written is told, and the next
//! checkpoint stands for the ones that it has missed.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::UdpSocket;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use jiff::{Timestamp, Zoned};

use crate::event::Operator;
use crate::model::CheckpointCopy;

/// Who is told when a place cannot be written. One sentence.
pub type Warn = Box<dyn Fn(String) + Send>;

/// Facility `authpriv`, severity `notice`.
const PRIORITY: u8 = 10 * 8 + 5;
const LOCAL_LOG: &str = "/dev/log";
/// How long a run's end waits for places that are slow.
const PATIENCE: Duration = Duration::from_secs(5);

/// Writes lines to all places of a plan, on a thread of its own.
pub struct Copies {
    lines: Option<Sender<String>>,
    ended: Receiver<()>,
}

impl Copies {
    /// Begins; the thread ends when this is dropped.
    pub fn start(places: &[CheckpointCopy], by: &Operator, warn: Warn) -> Self {
        let (lines, queue) = mpsc::channel::<String>();
        let (end, ended) = mpsc::channel();
        let mut places: Vec<Destination> = places.iter().map(|p| Destination::new(p, by)).collect();
        std::thread::spawn(move || {
            for line in queue {
                places.iter_mut().for_each(|place| place.write(&line, &warn));
            }
            // Nobody waits any more when the run has ended impatiently.
            let _ = end.send(());
        });
        Self { lines: Some(lines), ended }
    }

    pub(super) fn send(&self, line: &str) {
        if let Some(lines) = &self.lines {
            let _ = lines.send(line.to_owned());
        }
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        self.lines = None;
        let _ = self.ended.recv_timeout(PATIENCE);
    }
}

struct Destination {
    way: Way,
    shown: String,
    by: Operator,
    failing: bool,
}

enum Way {
    File(PathBuf),
    Socket(PathBuf),
    Udp(String),
}

impl Destination {
    fn new(copy: &CheckpointCopy, by: &Operator) -> Self {
        let way = match copy {
            CheckpointCopy::File(path) => Way::File(path.clone()),
            CheckpointCopy::Syslog => Way::Socket(LOCAL_LOG.into()),
            CheckpointCopy::SyslogUdp(address) => Way::Udp(address.clone()),
        };
        Self { way, shown: copy.to_string(), by: by.clone(), failing: false }
    }

    fn write(&mut self, line: &str, warn: &Warn) {
        let written = match &self.way {
            Way::File(path) => to_file(path, line),
            Way::Socket(path) => to_socket(path, line, &self.by),
            Way::Udp(address) => to_udp(address, line, &self.by),
        };
        match (&written, self.failing) {
            (Err(e), false) => warn(format!(
                "checkpoints cannot be copied to {}: {e}. The run goes on; the next one that gets there stands for those before it",
                self.shown
            )),
            (Ok(()), true) => warn(format!("checkpoints are copied to {} again", self.shown)),
            (Ok(()), false) | (Err(_), true) => {}
        }
        self.failing = written.is_err();
    }
}

/// Opened anew each time: the file may be rotated, and its file system come and go.
fn to_file(path: &Path, line: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    file.write_all(format!("{line}\n").as_bytes())?;
    match file.sync_data() {
        // What is no file on a disk has nothing to sync.
        Err(e) if e.kind() == io::ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    }
}

fn to_socket(path: &Path, line: &str, by: &Operator) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.connect(path)?;
    let at = Zoned::now().strftime("%b %e %H:%M:%S").to_string();
    sent(&format!("<{PRIORITY}>{at} migrate[{}]: {line}", by.pid), |bytes| socket.send(bytes))
}

/// RFC 5424 over UDP (RFC 5426): there is no answer, so this only knows that it left.
fn to_udp(address: &str, line: &str, by: &Operator) -> io::Result<()> {
    let targets: Vec<_> = std::net::ToSocketAddrs::to_socket_addrs(address)?.collect();
    let any = if targets.iter().all(|t| t.is_ipv6()) { "[::]:0" } else { "0.0.0.0:0" };
    let target = targets.iter().find(|t| t.is_ipv6() == (any == "[::]:0"));
    let target = target.ok_or_else(|| io::Error::other("the name has no address"))?;
    let socket = UdpSocket::bind(any)?;
    socket.connect(target)?;
    let host: String = by.host.chars().filter(char::is_ascii_graphic).take(255).collect();
    let host = if host.is_empty() { "-" } else { &host };
    let message = format!("<{PRIORITY}>1 {} {host} migrate {} checkpoint - {line}", Timestamp::now(), by.pid);
    sent(&message, |bytes| socket.send(bytes))
}

fn sent(message: &str, send: impl FnOnce(&[u8]) -> io::Result<usize>) -> io::Result<()> {
    match send(message.as_bytes())? {
        n if n == message.len() => Ok(()),
        n => Err(io::Error::other(format!("only {n} of {} bytes were taken", message.len()))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn by() -> Operator {
        Operator { user: "ada".into(), host: "desk".into(), pid: 7 }
    }

    /// Sends lines to one place; returns what was warned of.
    fn send(place: Destination, lines: &[&str]) -> Vec<String> {
        let told = Arc::new(Mutex::new(Vec::new()));
        let warn: Warn = Box::new({
            let told = Arc::clone(&told);
            move |what| told.lock().unwrap().push(what)
        });
        let mut place = place;
        lines.iter().for_each(|line| place.write(line, &warn));
        drop(warn);
        Arc::into_inner(told).unwrap().into_inner().unwrap()
    }

    #[test]
    fn a_file_gets_every_line_even_when_it_is_rotated_away_in_between() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("copies");
        for line in ["one", "two"] {
            assert!(send(Destination::new(&CheckpointCopy::File(path.clone()), &by()), &[line]).is_empty());
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        std::fs::rename(&path, dir.path().join("copies.1")).unwrap();
        send(Destination::new(&CheckpointCopy::File(path.clone()), &by()), &["three"]);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");
    }

    #[test]
    fn a_full_or_missing_place_is_told_once_and_so_is_its_return() {
        let full = Destination::new(&CheckpointCopy::File("/dev/full".into()), &by());
        let told = send(full, &["one", "two", "three"]);
        assert_eq!(told.len(), 1);
        assert!(told[0].contains("file:/dev/full") && told[0].contains("No space left"), "{told:?}");

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("later/copies");
        let mut place = Destination::new(&CheckpointCopy::File(path.clone()), &by());
        let told = Arc::new(Mutex::new(Vec::new()));
        let warn: Warn = Box::new({
            let told = Arc::clone(&told);
            move |what| told.lock().unwrap().push(what)
        });
        place.write("lost", &warn);
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        place.write("kept", &warn);
        place.write("kept too", &warn);
        let told = told.lock().unwrap();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[1].contains("again"), "{told:?}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "kept\nkept too\n");
    }

    #[test]
    fn the_local_system_log_gets_one_datagram_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = UnixDatagram::bind(&path).unwrap();
        let place = Destination { way: Way::Socket(path), shown: "syslog:".into(), by: by(), failing: false };
        assert!(send(place, &["{\"checkpoint\":0}"]).is_empty());
        let mut buffer = [0_u8; 4096];
        let n = log.recv(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..n]);
        assert!(text.starts_with("<85>") && text.ends_with(" migrate[7]: {\"checkpoint\":0}"), "{text}");
    }

    #[test]
    fn a_log_server_gets_rfc_5424() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap().to_string();
        assert!(send(Destination::new(&CheckpointCopy::SyslogUdp(address), &by()), &["{}"]).is_empty());
        let mut buffer = [0_u8; 4096];
        let n = server.recv(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..n]);
        assert!(text.starts_with("<85>1 2") && text.ends_with(" desk migrate 7 checkpoint - {}"), "{text}");
    }

    #[test]
    fn the_end_of_a_run_waits_for_its_copies() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("copies");
        let copies = Copies::start(&[CheckpointCopy::File(path.clone())], &by(), Box::new(|_| {}));
        (0..50).for_each(|n| copies.send(&n.to_string()));
        drop(copies);
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 50);
    }
}
