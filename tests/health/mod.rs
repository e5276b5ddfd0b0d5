//! Health probes against real servers: what passes, what fails, and what nobody can tell.

mod prometheus;
mod servers;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::lab;
use async_trait::async_trait;
use migrate::check::{Checker, Exec, Health, HealthCheck, Http, Outcome, Probe, Subject, Tcp, Verdict};
use migrate::host::{Command, Hosts, Output};
use migrate::metrics::Reader;
use migrate::model::{Host, SshTarget, Template};
use migrate::outside::{Error, Kind};
use migrate::secret::{Secret, SecretError, SecretRef, Secrets};
use migrate::ssh::Remote;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// HTTP and TCP probes never need SSH.
struct NoSsh;

#[async_trait]
impl Remote for NoSsh {
    async fn run(&self, host: &Host, _: &Command) -> Result<Output, Error> {
        Err(Error::new(host.name.as_str(), Kind::Unreachable, "there is no SSH here"))
    }
}

/// Secrets in the test itself.
struct Told;

impl Secrets for Told {
    fn resolve(&self, reference: &SecretRef) -> Result<Secret, SecretError> {
        match reference {
            SecretRef::Env(value) => Ok(Secret::new(value)),
            other => Err(SecretError { from: format!("{other:?}"), why: "there is none".to_owned() }),
        }
    }
}

fn checker(hosts: Arc<dyn Hosts>) -> Checker {
    Checker::new(hosts, Arc::new(Reader::new(Arc::new(Told))), Arc::new(Told))
}

fn host(address: SocketAddr) -> Host {
    Host {
        name: "fra-1".into(),
        site: None,
        address: address.ip().to_string(),
        ssh: SshTarget::default(),
        tags: Default::default(),
        capacity: 100,
        cost_per_month: None,
        vars: BTreeMap::from([("at".to_owned(), address.to_string())]),
    }
}

async fn ask(probe: Probe, at: SocketAddr) -> Verdict {
    ask_within(Duration::from_secs(60), probe, at).await
}

/// Gives up after `timeout`.
async fn ask_within(timeout: Duration, probe: Probe, at: SocketAddr) -> Verdict {
    let check = check(probe, timeout);
    let mut verdict = checker(Arc::new(NoSsh)).probe(&check, &Subject::Host(&host(at))).await;
    verdict.evidence = steady_text(&verdict.evidence, at);
    verdict
}

/// One that is asked once.
fn check(probe: Probe, timeout: Duration) -> HealthCheck {
    let second = Duration::from_secs(1);
    HealthCheck { probe, of: None, rise: 1, fall: 1, interval: second, timeout, within: second }
}

/// Evidence without what differs from run to run.
fn steady_text(evidence: &str, at: SocketAddr) -> String {
    let evidence = evidence.replace(&at.to_string(), "ADDR");
    match evidence.find(" in ").and_then(|from| Some((from, from + evidence[from..].find(" ms")?))) {
        Some((from, to)) => format!("{} in N{}", &evidence[..from], &evidence[to..]),
        None => evidence,
    }
}

fn http() -> Http {
    Http {
        url: Template("http://{{ at }}/health".into()),
        status: vec![200],
        body: None,
        headers: BTreeMap::new(),
        latency: None,
    }
}

/// Answers every connection with the same bytes, `pause` before the last of them.
async fn server(answer: impl Into<Vec<u8>>, pause: Duration) -> SocketAddr {
    let answer = answer.into();
    let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.read(&mut [0; 4096]).await;
            let (last, first) = answer.split_last().unwrap();
            let _ = socket.write_all(first).await;
            tokio::time::sleep(pause).await;
            let _ = socket.write_all(&[*last]).await;
        }
    });
    at
}

async fn answering(answer: &str) -> SocketAddr {
    server(answer, Duration::ZERO).await
}

/// An address where nothing listens.
fn nobody() -> SocketAddr {
    SocketAddr::new(LOOPBACK, lab::process::free_port(LOOPBACK))
}

const OK: &str = "HTTP/1.1 200 OK\r\nX-Site: fra\r\nContent-Length: 8\r\n\r\nok fra-1";

#[tokio::test]
async fn an_answer_with_all_that_is_wanted_passes() {
    let wanted = Http {
        body: Some("ok fra".into()),
        headers: BTreeMap::from([("x-site".to_owned(), "fra".to_owned())]),
        latency: Some(Duration::from_secs(60)),
        ..http()
    };
    let verdict = ask(Probe::Http(wanted), answering(OK).await).await;
    assert_eq!(verdict.outcome, Outcome::Pass);
    insta::assert_snapshot!(verdict.evidence, @"GET http://ADDR/health → 200 in N ms");
}

#[tokio::test]
async fn every_way_to_miss_what_is_wanted_fails_and_says_which() {
    let header = |name: &str| BTreeMap::from([(name.to_owned(), "ams".to_owned())]);
    let probes = [
        Http { status: vec![204, 301], ..http() },
        Http { body: Some("ok ams".into()), ..http() },
        Http { headers: header("X-Site"), ..http() },
        Http { headers: header("X-Rack"), ..http() },
    ];
    let mut said = String::new();
    for probe in probes {
        let verdict = ask(Probe::Http(probe), answering(OK).await).await;
        assert_eq!(verdict.outcome, Outcome::Fail, "{}", verdict.evidence);
        said.push_str(&format!("{}\n", verdict.evidence));
    }
    insta::assert_snapshot!(said, @r"
    GET http://ADDR/health → 200 in N ms, wanted 204 or 301
    GET http://ADDR/health → 200 in N ms, but the body does not hold `ok ams`; it starts with `ok fra-1`
    GET http://ADDR/health → 200 in N ms, but the header X-Site is `fra`, wanted `ams`
    GET http://ADDR/health → 200 in N ms, but the header X-Rack is missing, wanted `ams`
    ");
}

#[tokio::test]
async fn latency_counts_to_the_end_of_the_answer() {
    let at = server(OK, Duration::from_millis(200)).await;
    let limited = Http { latency: Some(Duration::from_millis(150)), ..http() };
    let verdict = ask(Probe::Http(limited), at).await;
    assert_eq!(verdict.outcome, Outcome::Fail);
    insta::assert_snapshot!(verdict.evidence, @"GET http://ADDR/health → 200 in N ms, slower than 150 ms");
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_never_followed() {
    let beyond = answering(OK).await;
    let moved = format!("HTTP/1.1 302 Found\r\nLocation: http://{beyond}/\r\nContent-Length: 0\r\n\r\n");
    let at = answering(&moved).await;
    assert_eq!(ask(Probe::Http(http()), at).await.outcome, Outcome::Fail);
    let asked_for = Http { status: vec![302], ..http() };
    assert_eq!(ask(Probe::Http(asked_for), at).await.outcome, Outcome::Pass);
}

#[tokio::test]
async fn only_the_first_64_kib_of_a_body_are_looked_at() {
    let body = |at: usize| {
        let mut body = vec![b'.'; 200_000];
        body[at..at + 4].copy_from_slice(b"here");
        [b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n".as_slice(), &body].concat()
    };
    let probe = Probe::Http(Http { body: Some("here".into()), ..http() });
    let inside = server(body(65_532), Duration::ZERO).await;
    assert_eq!(ask(probe.clone(), inside).await.outcome, Outcome::Pass);
    let beyond = server(body(65_533), Duration::ZERO).await;
    assert_eq!(ask(probe, beyond).await.outcome, Outcome::Fail);
}

#[tokio::test]
async fn a_service_that_does_not_answer_properly_fails() {
    let mut said = String::new();
    let cut = answering("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nok").await;
    let mute = server(OK, Duration::from_secs(60)).await;
    let long = Duration::from_secs(60);
    for (at, timeout) in [
        (nobody(), long),
        (answering("SSH-2.0-OpenSSH_9.2\r\n").await, long),
        (cut, long),
        (mute, Duration::from_millis(600)),
    ] {
        let verdict = ask_within(timeout, Probe::Http(http()), at).await;
        assert_eq!(verdict.outcome, Outcome::Fail, "{}", verdict.evidence);
        said.push_str(&format!("{}\n", verdict.evidence));
    }
    insta::assert_snapshot!(said, @r"
    GET http://ADDR/health → Connection refused (os error 111)
    GET http://ADDR/health → invalid HTTP version parsed
    GET http://ADDR/health → 200, then → end of file before message length reached
    GET http://ADDR/health → no full answer in N ms
    ");
}

#[tokio::test]
async fn what_cannot_be_asked_is_unknown() {
    let mut said = String::new();
    for url in ["http://no..such.host/", "ftp://{{ at }}/", "http://{{ port }}/", "http://[/"] {
        let probe = Http { url: Template(url.into()), ..http() };
        let verdict = ask(Probe::Http(probe), nobody()).await;
        assert_eq!(verdict.outcome, Outcome::Unknown, "{}", verdict.evidence);
        // The resolver's own words differ between machines.
        let evidence = verdict.evidence.split("failed to lookup").next().unwrap().to_owned();
        said.push_str(&format!("{}\n", evidence.trim_end()));
    }
    insta::assert_snapshot!(said, @r"
    GET http://no..such.host/ → cannot look up no..such.host:80:
    GET ftp://{{ at }}/ → cannot ask `ftp:`, only http: and https:
    GET http://{{ port }}/ → there is no variable `port`
    GET http://[/ → not a URL: invalid IPv6 address
    ");
}

#[tokio::test]
async fn a_password_in_a_url_is_not_shown() {
    let probe = Http { url: Template("http://probe:hunter2@{{ at }}/health".into()), ..http() };
    let verdict = ask(Probe::Http(probe), answering(OK).await).await;
    assert_eq!(verdict.outcome, Outcome::Pass);
    assert!(!verdict.evidence.contains("hunter2"), "{}", verdict.evidence);
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_fails_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let at = nobody();
    let _server = tls_server(dir.path(), at);
    let probe = Http { url: Template("https://{{ at }}/".into()), ..http() };
    let verdict = ask(Probe::Http(probe), at).await;
    assert_eq!(verdict.outcome, Outcome::Fail, "{}", verdict.evidence);
    insta::assert_snapshot!(verdict.evidence, @"GET https://ADDR/ → invalid peer certificate: UnknownIssuer");
}

/// OpenSSL's own test server with a certificate that it has signed itself.
fn tls_server(dir: &std::path::Path, at: SocketAddr) -> lab::process::Daemon {
    let openssl = lab::packages::program("openssl", "openssl");
    let (key, cert) = (dir.join("key.pem"), dir.join("cert.pem"));
    let (key, cert) = (key.to_str().unwrap(), cert.to_str().unwrap());
    let made = std::process::Command::new(&openssl)
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"])
        .args(["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", key, "-out", cert])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let args = ["s_server", "-accept", &at.to_string(), "-key", key, "-cert", cert, "-www", "-quiet"];
    let mut server = lab::process::Daemon::start("openssl s_server", &openssl, &args, &dir.join("log"));
    server.wait_for_port(at);
    server
}

#[tokio::test]
async fn a_tcp_probe_tells_an_open_port_from_a_closed_one_and_from_a_name_it_cannot_look_up() {
    let tcp = |to: &str| Probe::Tcp(Tcp(Template(to.into())));
    let open = ask(tcp("{{ at }}"), answering(OK).await).await;
    assert_eq!(open.outcome, Outcome::Pass);
    insta::assert_snapshot!(open.evidence, @"connect ADDR → accepted in N ms");
    let closed = ask(tcp("{{ at }}"), nobody()).await;
    assert_eq!(closed.outcome, Outcome::Fail);
    insta::assert_snapshot!(closed.evidence, @"connect ADDR → Connection refused (os error 111)");
    for to in ["no..such.host:80", "127.0.0.1", "{{ nothing }}:80"] {
        let verdict = ask(tcp(to), nobody()).await;
        assert_eq!(verdict.outcome, Outcome::Unknown, "{}", verdict.evidence);
    }
}

#[tokio::test]
async fn a_command_on_a_host_that_cannot_be_reached_is_unknown() {
    let verdict = ask(Probe::Exec(Exec(Template("true".into()))), nobody()).await;
    assert_eq!(verdict.outcome, Outcome::Unknown);
    insta::assert_snapshot!(verdict.evidence, @"run `true` → fra-1: there is no SSH here");
}

#[tokio::test]
async fn a_command_runs_on_the_host_itself_and_a_host_that_is_down_is_unknown() {
    let dir = tempfile::tempdir().unwrap();
    let mut sshd = lab::sshd::Sshd::start(dir.path(), "fra-1");
    let environment = migrate::ssh::Environment {
        home: Some(dir.path().to_owned()),
        user: Some(lab::sshd::user()),
        config_file: Some("none".into()),
        ..Default::default()
    };
    let pool = migrate::ssh::Pool::new(environment, BTreeMap::new(), Default::default());
    let checker = checker(Arc::new(pool));
    let host = sshd.host();
    let ask = async |script: &str| checker.probe(&exec(script, 60), &Subject::Host(&host)).await;
    std::fs::write(sshd.home().join("ready"), "").unwrap();
    assert_eq!(ask("test -e \"$HOME/ready\" && test {{ name }} = fra-1").await.outcome, Outcome::Pass);
    let verdict = ask("cat \"$HOME/{{ name }}\"").await;
    assert_eq!(verdict.outcome, Outcome::Fail);
    assert!(verdict.evidence.contains("exit 1: cat: "), "{}", verdict.evidence);
    assert_eq!(checker.probe(&exec("sleep 30", 1), &Subject::Host(&host)).await.outcome, Outcome::Unknown);
    sshd.stop();
    let verdict = ask("true").await;
    assert_eq!(verdict.outcome, Outcome::Unknown, "{}", verdict.evidence);
}

fn exec(script: &str, timeout: u32) -> HealthCheck {
    check(Probe::Exec(Exec(Template(script.into()))), timeout * Duration::from_secs(1))
}
