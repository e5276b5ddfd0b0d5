//! A drained source that sends its last clients on to the new side, by real nftables between two network namespaces.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use super::support::*;
use crate::lab::command::{Migrate, Running};
use crate::lab::haproxy::{Backend, Haproxy};
use crate::lab::namespace::{self, Apart};
use crate::lab::sshd::{Sshd, next_address};

const OLD: &str = "10.77.1.2:7080";
const NEW: &str = "10.77.1.9:7081";
const CLIENT: &str = "10.77.1.8";

/// What is left on hosts has their names, and other tests may have one home with this one.
fn source() -> String {
    format!("dal{}", std::process::id())
}

fn table() -> String {
    format!("migrate_relay_web_1_{}", source())
}

/// The id of a step of the pair.
fn of_pair(step: &str) -> String {
    format!("web/{}/{step}", source())
}

/// Whether this is the process in the namespace, where the test of this name is run.
fn inside(test: &str) -> bool {
    namespace::inside(&format!("operations::relay::{test}"))
}

/// A server that says who it is.
fn serve(listener: TcpListener, says: &'static str) {
    std::thread::spawn(move || {
        listener.incoming().flatten().for_each(|mut client| drop(client.write_all(says.as_bytes())));
    });
}

/// A source with a network of its own, and a target beside the test.
struct Lab {
    dir: tempfile::TempDir,
    apart: Apart,
    source: Sshd,
    _target: Sshd,
    _haproxy: Haproxy,
}

impl Lab {
    fn start() -> Self {
        let apart = Apart::start("10.77.1.2", &["10.77.1.1", CLIENT, "10.77.1.9"]);
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let host = |name: &str| Sshd::start_at(&root.join(name), name, SocketAddr::new(next_address(), 7022), &[]);
        let name = self::source();
        let (mut source, target) = (host(&name), host("fra1"));
        source.before_every_command(&format!("exec {} sh -c \"$SSH_ORIGINAL_COMMAND\"", apart.enter()));
        serve(apart.listen(OLD), "old");
        serve(TcpListener::bind(NEW).unwrap(), "new");
        let (old, new) = (OLD.parse().unwrap(), NEW.parse().unwrap());
        let haproxy = Haproxy::start(&[Backend::tcp("web").server(&name, old, 100).server("fra1", new, 0)]);
        let mut text = String::from("hosts:\n");
        for (name, at, sshd) in [(name.as_str(), OLD, &source), ("fra1", NEW, &target)] {
            let (ip, port) = at.split_once(':').unwrap();
            let host = sshd.host();
            let (key, known) = (host.ssh.key.unwrap(), host.ssh.known_hosts.unwrap());
            let (at, user) = (sshd.addr().ip(), host.ssh.user.unwrap());
            let (key, known) = (key.display(), known.display());
            let ssh =
                format!("{{ address: \"{at}\", port: 7022, user: {user}, key: \"{key}\", known_hosts: \"{known}\" }}");
            text += &format!("  {name}: {{ address: \"{ip}\", ssh: {ssh}, vars: {{ serves: \"{port}\" }} }}\n");
        }
        text += &format!("directors:\n  edge: {{ haproxy: \"unix:{}\" }}\n", haproxy.admin.display());
        fs::write(root.join("inventory.yaml"), text).unwrap();
        fs::write(root.join("relayed.yaml"), include_str!("plans/relayed.yaml").replace("dal1", &self::source()))
            .unwrap();
        Self { dir, apart, source, _target: target, _haproxy: haproxy }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap()
    }

    fn migrate(&self) -> Migrate {
        Migrate::at(env!("CARGO_BIN_EXE_migrate"), &self.root())
    }

    fn apply(&self) -> Running {
        self.migrate().start(&["apply", "relayed.yaml", "--yes", "--format", "json"])
    }

    fn edit(&self, from: &str, to: &str) {
        let plan = fs::read_to_string(self.root().join("relayed.yaml")).unwrap();
        assert!(plan.contains(from), "{plan}");
        fs::write(self.root().join("relayed.yaml"), plan.replace(from, to)).unwrap();
    }

    /// Whether the source forwards, and whether it has the table.
    fn forwards(&self) -> (bool, bool) {
        let on = self.apart.run("cat /proc/sys/net/ipv4/ip_forward").stdout;
        (on == b"1\n", self.apart.run(&format!("nft list table ip {}", table())).status.success())
    }
}

const NOT_AT_ALL: (bool, bool) = (false, false);

/// Who answers a client that comes to the old address.
fn at_the_old_address() -> String {
    let from = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::bind(&from, &SocketAddr::new(CLIENT.parse().unwrap(), 0)).unwrap();
    rustix::net::connect(&from, &OLD.parse::<SocketAddr>().unwrap()).unwrap();
    let mut answer = String::new();
    TcpStream::from(from).read_to_string(&mut answer).unwrap();
    answer
}

/// Somebody who does not know of the new address.
struct Straggler {
    ends: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    comes: JoinHandle<()>,
}

impl Straggler {
    /// Comes from the moment at which the relay stands: a source that somebody is on is not empty.
    fn start(source: &Apart) -> Self {
        let enter = source.enter();
        let (ends, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (over, count) = (Arc::clone(&ends), Arc::clone(&served));
        let comes = std::thread::spawn(move || {
            let stands =
                format!("PATH=$PATH:/usr/sbin:/sbin; exec {enter} nft list table ip {} >/dev/null 2>&1", table());
            while !Command::new("sh").args(["-c", &stands]).status().unwrap().success() {
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            while !over.load(Ordering::SeqCst) {
                // What lets the host forward is set right behind the table.
                match at_the_old_address().as_str() {
                    "new" => drop(count.fetch_add(1, Ordering::SeqCst)),
                    other => assert_eq!((other, count.load(Ordering::SeqCst)), ("old", 0)),
                }
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
        });
        Self { ends, served, comes }
    }

    /// Waits until it was served once more.
    fn is_served(&self) {
        let before = self.served.load(Ordering::SeqCst);
        while self.served.load(Ordering::SeqCst) == before {
            assert!(!self.comes.is_finished());
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    /// How often it was served in all.
    fn end(self) -> usize {
        self.ends.store(true, Ordering::SeqCst);
        self.comes.join().unwrap();
        self.served.load(Ordering::SeqCst)
    }
}

#[test]
fn clients_of_the_old_address_are_served_and_counted_until_nobody_comes() {
    if !inside("clients_of_the_old_address_are_served_and_counted_until_nobody_comes") {
        return;
    }
    let lab = Lab::start();
    let planned = lab.migrate().run(&["plan", "relayed.yaml"]).expect(0).stdout;
    assert!(planned.contains(&format!("sends on who still comes: {OLD} → {NEW}")), "{planned}");
    assert!(planned.contains("it takes the rules, and reaches the new side"), "{planned}");
    assert_eq!((lab.forwards(), &*at_the_old_address()), (NOT_AT_ALL, "old"), "plan sets nothing");
    let straggler = Straggler::start(&lab.apart);
    let mut running = lab.apply();
    wait_for_words(&mut running, &of_pair("stragglers"), CLIENT);
    assert_eq!(lab.forwards(), (true, true));
    let strangers = lab.apart.run(&format!("nft list chain ip {} shut", table()));
    assert!(String::from_utf8_lossy(&strangers.stdout).contains("drop"), "it forwards nothing else");
    running.kill();
    straggler.is_served();
    let mut running = lab.apply();
    wait_for_intent(&mut running, &of_pair("stragglers"), false);
    straggler.is_served();
    let served = straggler.end();
    let told = running.finish().expect(0).stdout;
    assert!(told.contains(&format!("{CLIENT} ({served})")), "{served}: {told}");
    assert_eq!((lab.forwards(), &*at_the_old_address()), (NOT_AT_ALL, "old"));
    let status = lab.migrate().run(&["status", "web"]).expect(0).stdout;
    assert!(status.contains(&format!("{CLIENT} ({served})")), "{status}");
    let report = json(&lab.migrate().run(&["status", "web", "--format", "json"]).expect(0).stdout);
    let days = report["relayed"][of_pair("stragglers")]["days"].as_object().unwrap().clone();
    let counted: u64 = days.values().map(|clients| clients[CLIENT].as_u64().unwrap()).sum();
    assert_eq!(counted, served as u64, "{report}");
}

#[test]
fn a_relay_that_is_gone_is_found_set_again_and_taken_away_by_going_back() {
    if !inside("a_relay_that_is_gone_is_found_set_again_and_taken_away_by_going_back") {
        return;
    }
    let lab = Lab::start();
    lab.edit("quiet_for: 5s", "quiet_for: 1d");
    let mut running = lab.apply();
    wait_for_words(&mut running, &of_pair("stragglers"), "nobody has come");
    assert_eq!(at_the_old_address(), "new");
    assert!(lab.apart.run(&format!("nft delete table ip {}", table())).status.success());
    running.finish().expect(3);
    let said = lab.migrate().run(&["status", "web"]).expect(0).stdout;
    assert!(said.contains("does not send on who comes any more"), "{said}");
    lab.migrate().run(&["set", "web", "on_drift=restore"]).expect(0);
    let mut running = lab.apply();
    wait_for_words(&mut running, &of_pair("stragglers"), "more without anybody");
    assert_eq!(at_the_old_address(), "new");
    running.kill();
    lab.migrate().run(&["rollback", "web", "--yes"]).expect(0);
    assert_eq!(lab.forwards(), NOT_AT_ALL);
    assert_eq!(at_the_old_address(), "old");
}

#[test]
fn nobody_is_sent_where_nobody_answers_and_a_login_that_may_not_is_refused() {
    if !inside("nobody_is_sent_where_nobody_answers_and_a_login_that_may_not_is_refused") {
        return;
    }
    let mut lab = Lab::start();
    lab.edit("{{ address }}:{{ serves }}\", quiet_for", "{{ address }}:7099\", quiet_for");
    let ended = lab.apply().finish().expect(3);
    assert!(
        ended.stdout.contains(&format!("{} does not reach 10.77.1.9:7099: nobody is sent there", source())),
        "{}",
        ended.stdout
    );
    assert_eq!(lab.forwards(), NOT_AT_ALL);
    lab.migrate().run(&["rollback", "web", "--yes"]).expect(0);
    let weak = format!(
        "exec {} setpriv --bounding-set=-net_admin --inh-caps=-net_admin sh -c \"$SSH_ORIGINAL_COMMAND\"",
        lab.apart.enter()
    );
    lab.source.before_every_command(&weak);
    let planned = lab.migrate().run(&["plan", "relayed.yaml"]).stdout;
    assert!(planned.contains("cannot send clients on"), "{planned}");
    lab.migrate().run(&["apply", "relayed.yaml", "--yes"]).expect(1);
}
