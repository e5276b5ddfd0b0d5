//! Clients that stay connected for hours, moved at a pace: real TCP connections through a real HAProxy, which come back by themselves.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use migrate::event::{Event, StepResult};
use migrate::store::file;

use super::support::*;
use crate::lab::command::{Migrate, Running};
use crate::lab::haproxy::{Backend, Haproxy};
use crate::lab::process::{PATIENCE, free_port};
use crate::lab::prometheus::{Exporter, Prometheus};
use crate::lab::sshd::Sshd;

/// What a server says to a client that is to leave.
const BYE: u8 = b'b';

/// A chat server: it greets, and holds whoever comes.
#[derive(Clone)]
struct Server {
    at: SocketAddr,
    held: Arc<Mutex<Vec<TcpStream>>>,
}

impl Server {
    /// One that takes so long for each login.
    fn start(at: SocketAddr, login: Duration) -> Self {
        let listener = TcpListener::bind(at).unwrap();
        let server = Self { at, held: Arc::default() };
        let held = Arc::clone(&server.held);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                std::thread::sleep(login);
                // A health check leaves without a word.
                if (&client).write_all(b"h").is_ok() {
                    held.lock().unwrap().push(client);
                }
            }
        });
        server
    }

    /// How many are connected now.
    fn holds(&self) -> usize {
        let mut held = self.held.lock().unwrap();
        held.retain(is_there);
        held.len()
    }

    /// Asks some to leave, as soon as commands of the plan have written down how many.
    fn let_go_by(&self, file: PathBuf) {
        let held = Arc::clone(&self.held);
        std::thread::spawn(move || {
            let mut done = 0;
            while Arc::strong_count(&held) > 1 {
                // Who has left is left, too: else the balancer keeps half a connection.
                held.lock().unwrap().retain(is_there);
                let text = fs::read_to_string(&file).unwrap_or_default();
                for line in text.lines().skip(done) {
                    let count: usize = line.split(' ').next().unwrap().parse().unwrap();
                    let mut held = held.lock().unwrap();
                    let some = count.min(held.len());
                    held.iter().take(some).for_each(|client| drop({ client }.write_all(&[BYE])));
                    held.rotate_left(some);
                }
                done = text.lines().count();
                std::thread::sleep(Duration::from_millis(20));
            }
        });
    }
}

/// Whether a client has not left.
fn is_there(client: &TcpStream) -> bool {
    client.set_nonblocking(true).unwrap();
    let peeked = client.peek(&mut [0]);
    client.set_nonblocking(false).unwrap();
    matches!(peeked, Err(e) if e.kind() == ErrorKind::WouldBlock)
}

/// What clients have seen.
#[derive(Default)]
struct Seen {
    connected: AtomicUsize,
    /// Connections that were ended under them.
    lost: AtomicUsize,
    /// Those that they left themselves, after they had a new one.
    left: AtomicUsize,
    /// Tries to connect that did not end in a greeting.
    refused: AtomicUsize,
    stop: AtomicBool,
}

/// Connects until it is greeted; `None` at the end of the test.
fn connect(to: SocketAddr, seen: &Seen) -> Option<TcpStream> {
    while !seen.stop.load(Ordering::Relaxed) {
        let greeted = TcpStream::connect(to).and_then(|mut stream| {
            stream.read_exact(&mut [0])?;
            Ok(stream)
        });
        match greeted {
            Ok(stream) => return Some(stream),
            Err(_) => seen.refused.fetch_add(1, Ordering::Relaxed),
        };
        std::thread::sleep(Duration::from_millis(20));
    }
    None
}

/// Clients that come back, each with a connection at all times.
fn clients(count: usize, to: SocketAddr) -> Arc<Seen> {
    let seen = Arc::new(Seen::default());
    for _ in 0..count {
        let seen = Arc::clone(&seen);
        let live = move || {
            let mut stream = connect(to, &seen);
            seen.connected.fetch_add(1, Ordering::Relaxed);
            while let Some(there) = &mut stream {
                let mut word = [0];
                let counter = match there.read(&mut word) {
                    Ok(1) if word[0] == BYE => &seen.left,
                    _ => &seen.lost,
                };
                // The old one is closed once there is a new one.
                stream = connect(to, &seen);
                counter.fetch_add(1, Ordering::Relaxed);
            }
        };
        std::thread::Builder::new().stack_size(128 << 10).spawn(live).unwrap();
    }
    until("all are connected", || seen.connected.load(Ordering::Relaxed) == count);
    seen
}

#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(std::time::Instant::now() < end, "not in {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Two hosts with a server each behind HAProxy, clients on the source, and a plan.
struct Lab {
    dir: tempfile::TempDir,
    source: Server,
    target: Server,
    seen: Arc<Seen>,
    count: usize,
    _hosts: [Sshd; 2],
    _haproxy: Haproxy,
}

impl Lab {
    fn start(count: usize, how: &str) -> Self {
        Self::with_login(Duration::ZERO, count, how)
    }

    /// Where a login takes so long on the target.
    fn with_login(login: Duration, count: usize, how: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let hosts = ["dal1", "fra1"].map(|name| Sshd::start(&root.join(name), name));
        let [source, target] = [(&hosts[0], Duration::ZERO), (&hosts[1], login)].map(|(host, login)| {
            let ip = host.addr().ip();
            Server::start(SocketAddr::new(ip, free_port(ip)), login)
        });
        let haproxy =
            Haproxy::start(&[Backend::tcp("chat").server("dal1", source.at, 100).server("fra1", target.at, 0)]);
        fs::write(root.join("inventory.yaml"), inventory(&hosts, [source.at, target.at], &haproxy.master)).unwrap();
        let plan = include_str!("plans/connections.yaml").replace("HOW", &how.replace("ROOT", root.to_str().unwrap()));
        fs::write(root.join("chat.yaml"), plan).unwrap();
        let seen = clients(count, haproxy.frontend("chat"));
        until("the source holds them", || source.holds() == count);
        Self { dir, source, target, seen, count, _hosts: hosts, _haproxy: haproxy }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap()
    }

    fn migrate(&self) -> Migrate {
        Migrate::at(env!("CARGO_BIN_EXE_migrate"), &self.root())
    }

    fn apply(&self) -> Running {
        self.migrate().start(&["apply", "chat.yaml", "--yes", "--format", "json"])
    }

    /// What clients have seen: lost, left, refused.
    fn seen(&self) -> (usize, usize, usize) {
        let Seen { lost, left, refused, .. } = &*self.seen;
        (lost.load(Ordering::Relaxed), left.load(Ordering::Relaxed), refused.load(Ordering::Relaxed))
    }

    /// Everybody is here, and nobody there.
    #[track_caller]
    fn all_are_at(&self, here: &Server, there: &Server) {
        until("everybody has come", || here.holds() == self.count);
        assert_eq!(there.holds(), 0);
    }

    /// How a step ended last.
    fn outcome(&self, step: &str) -> StepResult {
        let records = file::read(&self.migrate().journal("chat-1")).unwrap();
        let ended = records.into_iter().rev().find_map(|record| match record.event {
            Event::Outcome { step: id, result, .. } if id == step => Some(result),
            _ => None,
        });
        ended.unwrap()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.seen.stop.store(true, Ordering::Relaxed);
    }
}

fn inventory(hosts: &[Sshd; 2], at: [SocketAddr; 2], socket: &Path) -> String {
    let mut text = String::from("hosts:\n");
    for ((host, at), name) in hosts.iter().zip(at).zip(["dal1", "fra1"]) {
        let port = host.addr().port();
        let ssh = host.host().ssh;
        let (key, known, user) = (ssh.key.unwrap(), ssh.known_hosts.unwrap(), ssh.user.unwrap());
        let (key, known) = (key.display(), known.display());
        let ssh = format!("{{ port: {port}, user: {user}, key: \"{key}\", known_hosts: \"{known}\" }}");
        let (ip, serves) = (at.ip(), at.port());
        text += &format!("  {name}: {{ address: \"{ip}\", ssh: {ssh}, vars: {{ serves: \"{serves}\" }} }}\n");
    }
    text + &format!("directors:\n  edge: {{ haproxy: \"unix:{}\" }}\n", socket.display())
}

/// Reads on until a step tells that no more than so many are left.
#[track_caller]
fn wait_until_left(running: &mut Running, most: u64) -> serde_json::Value {
    let told = running.read_until(|line| {
        let notice = json(line);
        notice["notice"] == "letting_go" && notice["progress"]["left"].as_u64().unwrap() <= most
    });
    json(&told.expect("it ended before"))["progress"].clone()
}

#[test]
fn clients_that_stay_are_closed_at_a_pace_there_and_back_whoever_is_killed() {
    let lab = Lab::start(120, "by: close, pace: 30/s, after: 0s");
    let planned = lab.migrate().run(&["plan", "chat.yaml"]).expect(0).stdout;
    assert!(planned.contains("edge ends the connections of dal1, at most 30/s"), "{planned}");
    assert!(planned.contains("120 connections now, 4 s at this pace"), "{planned}");
    let mut running = lab.apply();
    let told = wait_until_left(&mut running, 100);
    assert_eq!((told["of"].as_u64(), told["pace"].as_u64()), (Some(120), Some(30)), "{told}");
    let explained = lab.migrate().run(&["explain", "chat"]).expect(0).stdout;
    assert!(explained.contains("of 120 left, at most 30/s"), "{explained}");
    let explained = json(&lab.migrate().run(&["explain", "chat", "--format", "json"]).expect(0).stdout);
    let connections = &explained["waits"][0]["connections"];
    assert!(connections["left"].as_u64().unwrap() <= 100, "{explained}");
    let client = &connections["clients"][0];
    assert_eq!(client["address"], "127.0.0.1");
    assert!((1..=100).contains(&client["sessions"].as_u64().unwrap()), "{explained}");
    // Nothing goes while it is paused, or set to nothing; then at another pace.
    lab.migrate().run(&["pause", "chat"]).expect(0);
    let held_by = |running: &mut Running, by: &str| {
        let told = running.read_until(|line| json(line)["progress"]["held_by"].as_str() == Some(by));
        json(&told.unwrap())["progress"]["left"].as_u64().unwrap()
    };
    let left = held_by(&mut running, "a pause");
    assert_eq!(held_by(&mut running, "a pause"), left);
    lab.migrate().run(&["set", "chat", "pace=0"]).expect(0);
    lab.migrate().run(&["resume", "chat"]).expect(0);
    held_by(&mut running, "a pace of 0");
    running.kill();
    let (lost, ..) = lab.seen();
    assert!((1..120).contains(&lost), "{lost}");
    lab.migrate().run(&["set", "chat", "pace=40/s"]).expect(0);
    lab.migrate().run(&["apply", "chat.yaml", "--yes"]).expect(0);
    lab.all_are_at(&lab.target, &lab.source);
    let StepResult::Done { evidence, .. } = lab.outcome("chat/dal1/connections") else { panic!() };
    assert!(evidence.contains("connections ended, at most 40/s"), "{evidence}");
    // Each was ended once, and came back at its first try.
    assert_eq!(lab.seen(), (120, 0, 0));
    lab.migrate().run(&["rollback", "chat", "--yes"]).expect(0);
    lab.all_are_at(&lab.source, &lab.target);
    assert_eq!(lab.seen(), (240, 0, 0));
}

#[test]
fn clients_that_are_asked_to_leave_lose_no_connection() {
    let run = r#"run: 'echo "$MIGRATE_COUNT $MIGRATE_WITHIN" >> ROOT/shed-{{ name }}'"#;
    let lab = Lab::start(80, &format!("by: hint, pace: 6/s, after: 0s, {run}"));
    let (here, there) = (lab.root().join("shed-dal1"), lab.root().join("shed-fra1"));
    lab.source.let_go_by(here.clone());
    lab.target.let_go_by(there.clone());
    let mut running = lab.apply();
    wait_until_left(&mut running, 20);
    running.kill();
    lab.migrate().run(&["set", "chat", "pace=100/s"]).expect(0);
    lab.migrate().run(&["apply", "chat.yaml", "--yes"]).expect(0);
    lab.all_are_at(&lab.target, &lab.source);
    // The first batch is what ten seconds give; its controller was killed, and it was not asked for again.
    assert_eq!(fs::read_to_string(&here).unwrap(), "60 10\n20 10\n");
    assert_eq!(lab.seen(), (0, 80, 0));
    lab.migrate().run(&["rollback", "chat", "--yes"]).expect(0);
    lab.all_are_at(&lab.source, &lab.target);
    // A check of the balancer may be among those that are counted.
    let asked = fs::read_to_string(&there).unwrap();
    assert!(["80 10\n", "81 10\n", "82 10\n"].contains(&asked.as_str()), "{asked}");
    assert_eq!(lab.seen(), (0, 160, 0));
}

#[test]
fn connections_are_reset_by_the_kernel_of_their_host_there_and_back_whoever_is_killed() {
    let lab = Lab::start(80, "by: reset, pace: 3/s, after: 0s");
    let planned = lab.migrate().run(&["plan", "chat.yaml"]).expect(0).stdout;
    assert!(planned.contains("dal1 resets its connections, at most 3/s"), "{planned}");
    let mut running = lab.apply();
    wait_until_left(&mut running, 75);
    running.kill();
    assert!((1..80).contains(&lab.seen().0), "{:?}", lab.seen());
    lab.migrate().run(&["set", "chat", "pace=100/s"]).expect(0);
    lab.migrate().run(&["apply", "chat.yaml", "--yes"]).expect(0);
    lab.all_are_at(&lab.target, &lab.source);
    // Each was ended once, and came back at its first try.
    assert_eq!(lab.seen(), (80, 0, 0));
    lab.migrate().run(&["rollback", "chat", "--yes"]).expect(0);
    lab.all_are_at(&lab.source, &lab.target);
    assert_eq!(lab.seen(), (160, 0, 0));
}

/// Lets the commands on the source run behind this one.
fn on_the_source(lab: &mut Lab, before: &str) {
    let before = before.replace("ROOT", lab.root().to_str().unwrap());
    lab._hosts[0].before_every_command(&format!("exec {before} sh -c \"$SSH_ORIGINAL_COMMAND\""));
}

#[test]
fn a_host_that_cannot_reset_connections_is_told_before_anything_moves() {
    let mut lab = Lab::start(1, "by: reset, after: 0s");
    fs::write(
        lab.root().join("without"),
        "mount --bind \"$1/config.gz\" /proc/config.gz || exit 99; shift; exec \"$@\"\n",
    )
    .unwrap();
    let refused = |lab: &Lab, why: &str| {
        let said = lab.migrate().run(&["plan", "chat.yaml"]).expect(1).stdout;
        assert!(said.contains(&format!("dal1: cannot reset connections: {why}")), "{said}");
        assert!(!said.contains("fra1: cannot"), "{said}");
    };
    on_the_source(&mut lab, "setpriv --bounding-set=-net_admin");
    refused(&lab, "this login may not");
    let apart = "unshare -m sh ROOT/without ROOT";
    let compressed = |lab: &Lab, text: &str| {
        fs::write(lab.root().join("config"), text).unwrap();
        assert!(Command::new("gzip").args(["-kf"]).arg(lab.root().join("config")).status().unwrap().success());
    };
    compressed(&lab, "CONFIG_INET_DIAG=y\n# CONFIG_INET_DIAG_DESTROY is not set\n");
    on_the_source(&mut lab, apart);
    refused(&lab, "its kernel is built without INET_DIAG_DESTROY");
    // Where that is not to be read, it is tried.
    compressed(&lab, "");
    lab.migrate().run(&["plan", "chat.yaml"]).expect(0);
    assert_eq!(lab.seen(), (0, 0, 0));
}

#[test]
fn a_hint_that_lets_nobody_go_and_one_that_fails_hold_the_run() {
    let lab = Lab::start(3, "by: hint, pace: 100/s, after: 0s, run: 'test ! -e ROOT/broken'");
    fs::write(lab.root().join("broken"), "").unwrap();
    lab.migrate().run(&["apply", "chat.yaml", "--yes"]).expect(3);
    let said = lab.migrate().run(&["status", "chat"]).expect(0).stdout;
    assert!(said.contains("the command ended with status 1"), "{said}");
    fs::remove_file(lab.root().join("broken")).unwrap();
    lab.migrate().run(&["apply", "chat.yaml", "--yes"]).expect(3);
    let said = lab.migrate().run(&["status", "chat"]).expect(0).stdout;
    assert!(said.contains("clients were asked to leave, and 3 are there as before"), "{said}");
    assert_eq!(lab.seen(), (0, 0, 0));
}

#[test]
fn connections_that_are_left_when_their_time_is_up_hold_the_run() {
    let lab = Lab::start(40, "by: close, pace: 1/s, after: 0s, within: 2s");
    lab.migrate().run(&["apply", "chat.yaml", "--yes"]).expect(3);
    let said = lab.migrate().run(&["status", "chat"]).expect(0).stdout;
    assert!(said.contains("dal1 is not empty after 2 s"), "{said}");
    assert!(matches!(lab.outcome("chat/dal1/connections"), StepResult::Failed { .. }));
    assert!(lab.source.holds() > 20);
    // Their time begins anew, and is short for a busy machine.
    lab.migrate().run(&["set", "chat", "pace=1000/s"]).expect(0);
    until("it is done", || lab.migrate().run(&["apply", "chat.yaml", "--yes"]).code() == 0);
    lab.all_are_at(&lab.target, &lab.source);
}

#[test]
fn a_pace_that_nobody_knows_is_found_by_what_the_other_side_says() {
    // It takes sixteen logins in a second, fewer than it is sent from the start, whatever else the machine does.
    let govern = "govern: [accept_queue, away]";
    let lab = Lab::with_login(
        Duration::from_millis(60),
        250,
        &format!("by: close, pace: 20/s, max_pace: 1000/s, after: 0s, {govern}"),
    );
    let mut running = lab.apply();
    let held = running.read_until(|line| {
        let by = json(line)["progress"]["held_by"].as_str().unwrap_or_default().to_owned();
        by.contains("wait to be accepted by fra1") || by.contains("not back yet")
    });
    let held = json(&held.expect("nothing holds it"))["progress"].clone();
    assert!(held["pace"].as_u64().unwrap() < 1000, "{held}");
    running.finish().expect(0);
    lab.all_are_at(&lab.target, &lab.source);
    assert_eq!(lab.seen(), (250, 0, 0));
    // What it had come to is in the journal.
    let records = file::read(&lab.migrate().journal("chat-1")).unwrap();
    let recorded = records.iter().find_map(|record| match &record.event {
        Event::LetGo { step, progress } if step == "chat/dal1/connections" => Some(progress),
        _ => None,
    });
    assert!(recorded.is_some_and(|progress| progress.of == 250 && (1..=1000).contains(&progress.pace)), "{recorded:?}");
}

#[test]
fn a_pace_stands_still_while_prometheus_is_silent_and_falls_when_its_number_is_bad() {
    let errors = |n: u32| format!("login_errors {n}\n");
    let exporter = Exporter::start(&errors(9));
    let prometheus = Prometheus::start(&[exporter.addr]);
    let server = format!("http://{}", prometheus.addr);
    let query = format!("{{prometheus: {{server: '{server}', query: login_errors, below: 5}}}}");
    let lab = Lab::start(120, &format!("by: close, pace: 40/s, max_pace: 100/s, after: 0s, govern: [{query}]"));
    let mut running = lab.apply();
    let mut told = |by: &str| {
        let line =
            running.read_until(|line| json(line)["progress"]["held_by"].as_str().is_some_and(|is| is.contains(by)));
        json(&line.expect("it ended before"))["progress"].clone()
    };
    let busy = told("wanted below 5");
    assert!(busy["pace"].as_u64().unwrap() <= 20, "{busy}");
    drop(prometheus);
    let silent = told("ask `login_errors`");
    let silent = if silent["pace"] == 0 { silent } else { told("cannot be reached") };
    assert_eq!(silent["pace"], 0, "{silent}");
    let left = told("cannot be reached")["left"].clone();
    assert_eq!(told("cannot be reached")["left"], left, "some were let go meanwhile");
    running.kill();
    assert!(lab.source.holds() > 0);
}
