//! Ways to a host: the addresses of a name, a `ProxyCommand`, and servers that drop connections.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command as Process;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use insta::assert_snapshot;
use migrate::clock::Clock;

use super::*;

/// Time that passes only in pauses, and something that happens in one of them.
#[derive(Default)]
pub struct Pauses {
    slept: Mutex<Vec<Duration>>,
    then: Mutex<Option<Event>>,
}

struct Event {
    at: usize,
    what: Box<dyn FnOnce() + Send>,
}

#[async_trait]
impl Clock for Pauses {
    fn now(&self) -> Instant {
        Instant::now()
    }

    async fn sleep(&self, duration: Duration) {
        let nth = {
            let mut slept = self.slept.lock().unwrap();
            slept.push(duration);
            slept.len()
        };
        let event = self.then.lock().unwrap().take_if(|event| event.at == nth);
        if let Some(event) = event {
            tokio::task::spawn_blocking(event.what).await.unwrap();
        }
    }
}

impl Pauses {
    fn millis(&self) -> Vec<u128> {
        self.slept.lock().unwrap().iter().map(Duration::as_millis).collect()
    }
}

pub fn options(clock: &Arc<Pauses>) -> Options {
    Options { clock: clock.clone(), ..Options::default() }
}

/// A connection that never logs in. It counts from the moment at which sshd has said its first word.
fn never_logs_in(sshd: &Sshd) -> TcpStream {
    loop {
        let mut stream = TcpStream::connect(sshd.addr()).unwrap();
        let mut first = [0; 4];
        // Whoever has looked whether the server listens may still be there.
        if stream.read_exact(&mut first).is_ok() && &first == b"SSH-" {
            return stream;
        }
    }
}

#[tokio::test]
async fn a_connection_that_sshd_drops_is_tried_again_until_there_is_room() {
    let clock = Arc::new(Pauses::default());
    let lab = lab_with(&["MaxStartups 1:100:1"], options(&clock));
    let guesser = never_logs_in(&lab.sshd);
    let idle = lab.sshd.idle();
    let what = Box::new(move || {
        drop(guesser);
        idle();
    });
    *clock.then.lock().unwrap() = Some(Event { at: 3, what });
    assert_eq!(text(&lab.run("echo in").await.stdout), "in\n");
    assert_eq!(clock.millis(), [500, 1000, 2000]);
    assert!(lab.sshd.log_text().contains("drop connection"), "{}", lab.sshd.log_text());
}

#[tokio::test]
async fn a_server_that_drops_connections_for_long_is_given_up() {
    let clock = Arc::new(Pauses::default());
    let lab = lab_with(&["MaxStartups 1:100:1"], options(&clock));
    let _guesser = never_logs_in(&lab.sshd);
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    Unreachable: dal-1 (USER@ADDRESS:PORT): the host closed the connection before it spoke SSH and said `Exceeded MaxStartups` (tried 6 times, with growing pauses)
    hint: sshd does so while too many have not logged in yet (MaxStartups, PerSourceMaxStartups: a host whose password is guessed at), and, since OpenSSH 9.8, to addresses from which logins have failed (PerSourcePenalties: up to 10 minutes): look for `drop connection` in its log, raise MaxStartups, or name this machine in PerSourcePenaltyExemptList. Without such a line: is it really an SSH server that listens there?
    "#);
    assert_eq!(clock.millis(), [500, 1000, 2000, 4000, 8000]);
}

#[tokio::test]
async fn a_jump_host_that_drops_connections_is_tried_again_and_named() {
    let clock = Arc::new(Pauses::default());
    let mut lab = lab();
    let ip = crate::lab::sshd::next_address();
    let addr = (ip, crate::lab::process::free_port(ip)).into();
    let bastion = Sshd::start_at(&lab.dir.path().join("bastion"), "bastion", addr, &["MaxStartups 1:100:1"]);
    let _guesser = never_logs_in(&bastion);
    let hosts = BTreeMap::from([("bastion".to_owned(), bastion.host())]);
    lab.pool = Pool::new(environment(lab.dir.path()), hosts, options(&clock));
    lab.host.ssh.jump = vec!["bastion".to_owned()];
    let error = lab.error(&lab.host).await;
    assert!(error.what.starts_with("its jump host bastion ("), "{error}");
    assert!(error.hint.unwrap().contains("MaxStartups"));
    assert_eq!(clock.millis().len(), 5);
}

/// Something that listens, says `words` to everybody and hangs up.
fn says(ip: IpAddr, words: &'static [u8]) -> TcpListener {
    let listener = TcpListener::bind((ip, 0)).unwrap();
    let all = listener.try_clone().unwrap();
    std::thread::spawn(move || {
        for stream in all.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.write_all(words);
            // What was sent to us is read, so that hanging up is no reset.
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    listener
}

#[tokio::test]
async fn what_is_said_instead_of_ssh_is_told() {
    let clock = Arc::new(Pauses::default());
    let mut lab = lab_with(&[], options(&clock));
    // sshd since 9.8, to an address from which logins have failed.
    let penalty = says(lab.sshd.addr().ip(), b"Not allowed at this time\r\n");
    lab.host = lab.at_port_of(&penalty);
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    Unreachable: dal-1 (USER@ADDRESS:PORT): the host closed the connection before it spoke SSH and said `Not allowed at this time` (tried 6 times, with growing pauses)
    hint: sshd does so while too many have not logged in yet (MaxStartups, PerSourceMaxStartups: a host whose password is guessed at), and, since OpenSSH 9.8, to addresses from which logins have failed (PerSourcePenalties: up to 10 minutes): look for `drop connection` in its log, raise MaxStartups, or name this machine in PerSourcePenaltyExemptList. Without such a line: is it really an SSH server that listens there?
    "#);
    assert_eq!(clock.millis().len(), 5);
    let web = says(lab.sshd.addr().ip(), b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n");
    lab.host = lab.at_port_of(&web);
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    Unreachable: dal-1 (USER@ADDRESS:PORT): the host answers `HTTP/1.1 400 Bad Request`, which is not SSH
    hint: is it really an SSH server that listens there, and is `port` under `ssh` in the inventory right?
    "#);
    assert_eq!(clock.millis().len(), 5, "a web server is not asked twice");
}

#[tokio::test]
async fn a_proxy_command_is_the_way() {
    let mut lab = lab();
    let bastion = Sshd::start(&lab.dir.path().join("bastion"), "bastion");
    let words = format!(
        "ssh -F none -o BatchMode=yes -o UserKnownHostsFile={} -i {} -p {} -W %h:%p {}@{}",
        bastion.known_hosts().display(),
        bastion.client_key().display(),
        bastion.addr().port(),
        crate::lab::sshd::user(),
        bastion.addr().ip()
    );
    lab.use_config(&format!("Host *\n ProxyCommand {words}\n"));
    assert_eq!(text(&lab.run("echo in").await.stdout), "in\n");
    assert!(bastion.log_text().contains("Accepted publickey"), "it was used");
    let before = bastion.connections().len();
    lab.pool.close().await;
    drop(lab);
    assert!(before > 0);
    while !bastion.connections().is_empty() {
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test]
async fn a_proxy_command_carries_much_and_gets_every_token() {
    let mut lab = lab();
    let told = lab.dir.path().join("told");
    lab.use_config(&format!(
        "Host web1\n HostName {}\n ProxyCommand sh -c 'echo \"%%h=%h %%p=%p %%r=%r %%n=%n\" > {}; exec {} %h %p'\n",
        lab.sshd.addr().ip(),
        told.display(),
        carrier(&lab)
    ));
    lab.host.address = "web1".to_owned();
    let out = lab.run("head -c 60000 /dev/zero; wc -c >/dev/null").await;
    assert_eq!(out.stdout.len(), 60000);
    let (addr, user) = (lab.sshd.addr(), crate::lab::sshd::user());
    let expected = format!("%h={} %p={} %r={user} %n=web1\n", addr.ip(), addr.port());
    assert_eq!(std::fs::read_to_string(told).unwrap(), expected);
}

/// A program that carries bytes to an address and a port: `nc`, which is not everywhere.
fn carrier(lab: &Lab) -> String {
    let script = lab.dir.path().join("carry.py");
    let text = "import os, socket, sys, threading\n\
                s = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n\
                def up():\n    while (b := os.read(0, 65536)): s.sendall(b)\n    s.shutdown(socket.SHUT_WR)\n\
                threading.Thread(target=up, daemon=True).start()\n\
                while (b := s.recv(65536)):\n    while b: b = b[os.write(1, b):]\n";
    std::fs::write(&script, text).unwrap();
    format!("python3 {}", script.display())
}

#[tokio::test]
async fn a_proxy_command_that_does_not_get_there_says_what_it_said() {
    let clock = Arc::new(Pauses::default());
    let mut lab = lab_with(&[], options(&clock));
    let with = |lab: &mut Lab, command: &str| {
        let file = lab.dir.path().join("config");
        std::fs::write(&file, format!("Host *\n {command}\n")).unwrap();
        let env = Environment { config_file: Some(file), ..environment(lab.dir.path()) };
        lab.pool = Pool::new(env, BTreeMap::new(), options(&clock));
    };
    with(&mut lab, "ProxyCommand no-such-program %h");
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    Unreachable: dal-1 (USER@ADDRESS:PORT): its ProxyCommand ended (exit status: 127): /bin/sh: 1: exec: no-such-program: not found
    hint: run it by hand: no-such-program ADDRESS
    "#);
    with(&mut lab, "ProxyCommand sh -c 'echo bastion: connection refused >&2; exit 1'");
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    Unreachable: dal-1 (USER@ADDRESS:PORT): its ProxyCommand ended (exit status: 1): bastion: connection refused
    hint: run it by hand: sh -c 'echo bastion: connection refused >&2; exit 1'
    "#);
    with(&mut lab, "ProxyCommand sh -c 'echo %u'");
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    Config: dal-1: ssh_config has the ProxyCommand `sh -c 'echo %u'`: the token %u is not supported
    hint: -
    "#);
    with(&mut lab, "ProxyCommand /bin/true\n ProxyUseFdpass yes");
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    Config: dal-1: ssh_config sets ProxyUseFdpass, which is not supported
    hint: use a ProxyCommand that carries the bytes itself, or ProxyJump
    "#);
    assert_eq!(clock.millis().len(), 0, "nothing of this is better in a second");
    with(
        &mut lab,
        "ProxyCommand sh -c 'echo kex_exchange_identification: Connection closed by remote host >&2; exit 255'",
    );
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    Unreachable: dal-1 (USER@ADDRESS:PORT): its ProxyCommand ended (exit status: 255): kex_exchange_identification: Connection closed by remote host (tried 6 times, with growing pauses)
    hint: run it by hand: sh -c 'echo kex_exchange_identification: Connection closed by remote host >&2; exit 255'
    "#);
    assert_eq!(clock.millis().len(), 5, "a bastion that drops connections is tried again");
}

#[tokio::test]
async fn a_name_that_a_shell_would_run_is_not_put_into_a_proxy_command() {
    let mut lab = lab();
    lab.use_config("Host *\n ProxyCommand nc %n 22\n");
    lab.host.address = "a;touch${IFS}x".to_owned();
    assert_eq!(lab.error(&lab.host).await.kind, migrate::outside::Kind::Config);
}

#[tokio::test]
async fn a_host_that_takes_the_connection_and_says_nothing_is_told() {
    let mut lab = lab_with(&[], Options { connect_timeout: Duration::from_millis(300), ..Options::default() });
    let config = lab.dir.path().join("config");
    std::fs::write(&config, "Host *\n ProxyCommand sleep 100\n").unwrap();
    let env = Environment { config_file: Some(config), ..environment(lab.dir.path()) };
    let options = Options { connect_timeout: Duration::from_millis(300), ..Options::default() };
    lab.pool = Pool::new(env, BTreeMap::new(), options);
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    Unreachable: dal-1 (USER@ADDRESS:PORT): no SSH answer within 300 ms; its ProxyCommand was still running
    hint: run it by hand: sleep 100
    "#);
}

/// Addresses of one name, as the copying program sees them: in a mount namespace with an /etc/hosts of its own.
struct Named {
    lab: Lab,
    hosts: PathBuf,
}

impl Named {
    /// `None` where this user may not mount anything.
    fn new(addresses: &[IpAddr], lab: Lab) -> Option<Self> {
        let may = Process::new("unshare").args(["--mount", "true"]).status().is_ok_and(|status| status.success());
        let hosts = lab.dir.path().join("hosts");
        let lines: String = addresses.iter().map(|address| format!("{address} multi.lan\n")).collect();
        std::fs::write(&hosts, format!("127.0.0.1 localhost\n{lines}")).unwrap();
        let inventory = format!(
            "hosts:\n  multi: {{address: multi.lan, ssh: {{port: {}, key: {}, known_hosts: {}, user: {}}}}}\n",
            lab.sshd.addr().port(),
            lab.sshd.client_key().display(),
            lab.sshd.known_hosts().display(),
            crate::lab::sshd::user()
        );
        std::fs::write(lab.dir.path().join("inventory.yaml"), inventory).unwrap();
        let key = crate::lab::sshd::public(&lab.sshd.host_key());
        std::fs::write(lab.sshd.known_hosts(), format!("[multi.lan]:{} {key}", lab.sshd.addr().port())).unwrap();
        std::fs::create_dir(lab.dir.path().join("data")).unwrap();
        std::fs::write(lab.dir.path().join("data/a"), "a").unwrap();
        may.then_some(Self { lab, hosts })
    }

    fn copy(&self) -> std::process::Output {
        let dir = self.lab.dir.path();
        Process::new("unshare")
            .args(["--mount", "sh", "-c", "mount --bind \"$0\" /etc/hosts && exec \"$@\""])
            .arg(&self.hosts)
            .arg(env!("CARGO_BIN_EXE_migrate"))
            .args(["copy", "-i"])
            .arg(dir.join("inventory.yaml"))
            .arg(format!("multi:{}/", dir.join("data").display()))
            .arg(dir.join("copied"))
            .env("HOME", dir)
            .env_remove("SSH_AUTH_SOCK")
            .output()
            .unwrap()
    }
}

/// A listener that takes no more connections: what is sent to it stays without an answer.
fn silent(addr: SocketAddr) -> (rustix::fd::OwnedFd, Vec<std::os::fd::OwnedFd>) {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, listen, socket_with};
    let open = || socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap();
    let listener = open();
    rustix::net::sockopt::set_socket_reuseaddr(&listener, true).unwrap();
    bind(&listener, &addr).unwrap();
    listen(&listener, 0).unwrap();
    let full = (0..8)
        .map(|_| {
            let socket = open();
            let _ = connect(&socket, &addr);
            socket
        })
        .collect();
    (listener, full)
}

#[test]
fn a_dead_first_address_does_not_keep_from_the_second() {
    let lab = lab();
    let dead = crate::lab::sshd::next_address();
    let _silent = silent((dead, lab.sshd.addr().port()).into());
    let Some(named) = Named::new(&[dead, lab.sshd.addr().ip()], lab) else { return };
    let out = named.copy();
    assert!(out.status.success(), "{}{}", text(&out.stdout), text(&out.stderr));
    assert_eq!(std::fs::read_to_string(named.lab.dir.path().join("copied/a")).unwrap(), "a");
}

#[test]
fn addresses_of_a_name_that_do_not_answer_are_all_named() {
    let mut lab = lab();
    let port = lab.sshd.addr().port();
    lab.sshd.stop();
    let dead = crate::lab::sshd::next_address();
    let _silent = silent((dead, port).into());
    let refusing = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));
    let Some(named) = Named::new(&[dead, refusing, "fd77::98".parse().unwrap()], lab) else { return };
    let out = named.copy();
    let said = text(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("{dead} (no answer within 10 s)")), "{said}");
    assert!(said.contains("127.0.0.9 (connection refused)"), "{said}");
    assert!(said.contains("fd77::98 ("), "{said}");
    assert!(said.contains("check the address, and that a route"), "{said}");
    assert!(!said.contains("look at SRC"), "{said}");
}

#[tokio::test]
async fn a_name_without_an_address_is_named() {
    let mut lab = lab();
    lab.host.address = "no-such-host.invalid".to_owned();
    let error = lab.error(&lab.host).await;
    assert!(error.what.starts_with("no address of no-such-host.invalid is known: "), "{error}");
    lab.use_config("Host *\n AddressFamily inet6\n");
    lab.host.address = "127.0.0.1".to_owned();
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    Unreachable: dal-1 (USER@127.0.0.1:PORT): 127.0.0.1 has no address of the family that AddressFamily asks for
    hint: look at `address` in the inventory (or HostName in ssh_config), /etc/hosts and the name servers
    "#);
}
