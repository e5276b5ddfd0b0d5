//! Databases, TLS and name servers: real ones, asked over the wire.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use migrate::check::{
    About, Dns, Grpc, Health, HealthCheck, Mysql, Outcome, Postgres, Probe, Redis, ServiceRef, Subject, Tls, Verdict,
};
use migrate::model::Template;
use migrate::secret::SecretRef;
use tokio::net::{TcpListener, UnixStream};

use super::*;
use crate::lab::bind::{Bind, Key, Zone};
use crate::lab::certificates::Authority;
use crate::lab::packages::program;
use crate::lab::process::{Daemon, PATIENCE, free_port};
use crate::lab::sshd::next_address;

fn template(text: &str) -> Template {
    Template(text.to_owned())
}

fn redis(password: Option<&str>) -> Probe {
    let password = password.map(|password| SecretRef::Env(password.to_owned()));
    Probe::Redis(Redis { to: template("{{ at }}"), password })
}

/// An address for a server that binds it by itself.
fn free_addr() -> SocketAddr {
    let ip: IpAddr = next_address();
    SocketAddr::new(ip, free_port(ip))
}

#[track_caller]
fn assert_said(verdict: &Verdict, outcome: Outcome, words: &str) {
    assert!(verdict.outcome == outcome && verdict.evidence.contains(words), "not {outcome:?} {words:?}: {verdict:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_answers_who_has_its_password_and_is_unknown_to_others() {
    let dir = tempfile::tempdir().unwrap();
    let (at, place) = (free_addr(), dir.path().to_str().unwrap());
    let (ip, port) = (at.ip().to_string(), at.port().to_string());
    let args = ["--bind", &ip, "--port", &port, "--dir", place, "--save", "", "--requirepass", "secret$1"];
    let server = program("redis-server", "redis-server");
    let mut daemon = Daemon::start("redis", &server, &args, &dir.path().join("log"));
    daemon.wait_for_port(at);
    let ready = ask(redis(Some("secret$1")), at).await;
    assert_said(&ready, Outcome::Pass, "Redis at ADDR → PONG in ");
    assert_said(&ask(redis(None), at).await, Outcome::Unknown, "-NOAUTH Authentication required.: nobody can tell");
    let wrong = ask(redis(Some("other")), at).await;
    assert_said(&wrong, Outcome::Unknown, "-WRONGPASS");
    assert!(!wrong.evidence.contains("other"), "{wrong:?}");
    daemon.kill();
    assert_said(&ask(redis(None), at).await, Outcome::Fail, "Connection refused");
    assert_said(
        &ask(redis(None), answering(OK).await).await,
        Outcome::Fail,
        "what answers is something else: `HTTP/1.1 200",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mysql_greets_and_something_else_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let at = free_addr();
    std::fs::create_dir(dir.path().join("data")).unwrap();
    let data = format!("--datadir={}", dir.path().join("data").display());
    let socket = format!("--socket={}", dir.path().join("socket").display());
    let (bind, port) = (format!("--bind-address={}", at.ip()), format!("--port={}", at.port()));
    let args = ["--no-defaults", &data, &socket, &bind, &port, "--user=root", "--skip-grant-tables"];
    let server = program("mariadbd", "mariadb-server");
    let mut daemon = Daemon::start("mariadb", &server, &args, &dir.path().join("log"));
    daemon.wait_for_port(at);
    let mysql = || Probe::Mysql(Mysql(template("{{ at }}")));
    assert_said(&ask(mysql(), at).await, Outcome::Pass, "MySQL at ADDR → greets as 1");
    let other = greeting("SSH-2.0-OpenSSH_9.2\r\n").await;
    assert_said(&ask(mysql(), other).await, Outcome::Fail, "what answers is something else");
    daemon.kill();
    assert_said(&ask(mysql(), at).await, Outcome::Fail, "Connection refused");
}

/// A server that speaks first, as MySQL does.
async fn greeting(words: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let _ = client.write_all(words.as_bytes()).await;
            // Whoever reads until the end has to hang up first.
            tokio::spawn(async move { tokio::io::copy(&mut client, &mut tokio::io::sink()).await });
        }
    });
    at
}

/// The lab's PostgreSQL listens at a socket only.
async fn forwarded(socket: &Path) -> SocketAddr {
    let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let (at, socket) = (listener.local_addr().unwrap(), socket.to_owned());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let Ok(mut server) = UnixStream::connect(&socket).await else { continue };
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut server).await });
        }
    });
    at
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_takes_connections_whoever_it_lets_in() {
    let dir = tempfile::Builder::new().prefix("lab-postgres-").tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let server = lab::postgres::Postgres::start(&dir.path().join("db"));
    let at = forwarded(&dir.path().join("db/.s.PGSQL.5432")).await;
    let postgres = || Probe::Postgres(Postgres(template("{{ at }}")));
    let ready = ask(postgres(), at).await;
    // There is no such user, which it says only when it takes connections.
    assert_said(&ready, Outcome::Pass, "PostgreSQL at ADDR → takes connections");
    drop(server);
    assert_said(&ask(postgres(), at).await, Outcome::Fail, "it ended the connection without a word");
    assert_said(&ask(postgres(), answering(OK).await).await, Outcome::Fail, "what answers is something else");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_judged_by_name_by_trust_and_by_the_days_that_are_left() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::start(dir.path());
    authority.issue("web", "DNS:www.example.com", 10);
    let (at, place) = (free_addr(), |name: &str| authority.path(name).to_str().unwrap().to_owned());
    let (accept, cert, key, chain) = (at.to_string(), place("web.pem"), place("web.key"), place("web.chain.pem"));
    let args = ["s_server", "-accept", &accept, "-cert", &cert, "-key", &key, "-cert_chain", &chain, "-quiet"];
    let mut daemon = Daemon::start("openssl", &program("openssl", "openssl"), &args, &dir.path().join("log"));
    daemon.wait_for_port(at);
    let tls = |name: &str, days_left, ca: Option<&str>| {
        let ca = ca.map(|ca| authority.path(ca));
        Probe::Tls(Tls { to: template("{{ at }}"), name: template(name), days_left, ca })
    };
    let good = ask(tls("www.example.com", 9, Some("ca.pem")), at).await;
    assert_said(&good, Outcome::Pass, "TLS with ADDR as www.example.com → vouched for in ");
    assert_said(&good, Outcome::Pass, ", 9 days left, until 20");
    let short = ask(tls("www.example.com", 14, Some("ca.pem")), at).await;
    assert_said(&short, Outcome::Fail, ", wanted 14 or more");
    let named = ask(tls("other.example.com", 9, Some("ca.pem")), at).await;
    assert_said(&named, Outcome::Fail, "invalid peer certificate: certificate not valid for name");
    // Nobody here trusts the lab's CA.
    let strange = ask(tls("www.example.com", 9, None), at).await;
    assert!(strange.outcome != Outcome::Pass, "{strange:?}");
    assert_said(&ask(tls("www.example.com", 9, Some("no.pem")), at).await, Outcome::Unknown, "cannot read ");
    assert_said(&ask(tls("www.example.com", 9, Some("ca.pem")), answering(OK).await).await, Outcome::Fail, " → ");
    daemon.kill();
    assert_said(&ask(tls("www.example.com", 9, Some("ca.pem")), at).await, Outcome::Fail, "Connection refused");
}

/// Four servers of gRPC's own making: with the health protocol, without it, one that lets nobody ask, and one with TLS.
const GRPC: &str = r#"
import sys
from concurrent import futures
import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

plain, bare, closed, tls, key, chain = sys.argv[1:]
servicer = health.HealthServicer()
servicer.set("", health_pb2.HealthCheckResponse.SERVING)
servicer.set("orders.v1.Orders", health_pb2.HealthCheckResponse.NOT_SERVING)

class Refuses(grpc.ServerInterceptor):
    def intercept_service(self, _next, _details):
        def abort(_request, context):
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you")
        return grpc.unary_unary_rpc_method_handler(abort)

def server(*interceptors):
    return grpc.server(futures.ThreadPoolExecutor(max_workers=4), interceptors=interceptors)

servers = []
for at, made, asks in [(plain, server(), True), (bare, server(), False), (closed, server(Refuses()), True)]:
    if asks:
        health_pb2_grpc.add_HealthServicer_to_server(servicer, made)
    assert made.add_insecure_port(at)
    servers.append(made)
made = server()
health_pb2_grpc.add_HealthServicer_to_server(servicer, made)
read = lambda name: open(name, "rb").read()
assert made.add_secure_port(tls, grpc.ssl_server_credentials([(read(key), read(chain))]))
servers.append(made)
for made in servers:
    made.start()
for made in servers:
    made.wait_for_termination()
"#;

#[tokio::test(flavor = "multi_thread")]
async fn grpc_is_asked_for_the_health_of_a_server_and_of_one_service() {
    let python = lab::python::programs(&["grpcio==1.85.1", "grpcio-health-checking==1.85.1"]).join("python");
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::start(dir.path());
    authority.issue("web", "DNS:www.example.com", 10);
    std::fs::write(dir.path().join("server.py"), GRPC).unwrap();
    let at: Vec<SocketAddr> = (0..4).map(|_| free_addr()).collect();
    let ports: Vec<String> = at.iter().map(SocketAddr::to_string).collect();
    let place = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (script, key, chain) = (place("server.py"), place("web.key"), place("web.chain.pem"));
    let args: Vec<&str> = [&script].into_iter().chain(&ports).chain([&key, &chain]).map(String::as_str).collect();
    let mut daemon = Daemon::start("grpc", &python, &args, &dir.path().join("log"));
    at.iter().for_each(|at| daemon.wait_for_port(*at));
    let grpc = |service: &str, name: Option<&str>, ca: Option<&str>| {
        let (name, ca) = (name.map(template), ca.map(|ca| authority.path(ca)));
        Probe::Grpc(Grpc { to: template("{{ at }}"), service: service.to_owned(), name, ca })
    };
    let plain = |service| grpc(service, None, None);
    assert_said(&ask(plain(""), at[0]).await, Outcome::Pass, "gRPC health at ADDR → SERVING in ");
    let one = ask(plain("orders.v1.Orders"), at[0]).await;
    assert_said(&one, Outcome::Fail, "gRPC health of orders.v1.Orders at ADDR → NOT_SERVING");
    assert_said(&ask(plain("other"), at[0]).await, Outcome::Fail, "it knows no such service");
    assert_said(&ask(plain(""), at[1]).await, Outcome::Unknown, "it has no health protocol");
    assert_said(&ask(plain(""), at[2]).await, Outcome::Unknown, "it lets nobody ask: who are you: nobody can tell");
    let vouched = ask(grpc("", Some("www.example.com"), Some("ca.pem")), at[3]).await;
    assert_said(&vouched, Outcome::Pass, "SERVING in ");
    let named = ask(grpc("", Some("other.example.com"), Some("ca.pem")), at[3]).await;
    assert_said(&named, Outcome::Fail, "invalid peer certificate");
    let without = ask(plain(""), at[3]).await;
    assert!(without.outcome != Outcome::Pass, "{without:?}");
    let other = ask(plain(""), answering(OK).await).await;
    assert_said(&other, Outcome::Fail, " → ");
    let silent = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let late = ask_within(std::time::Duration::from_millis(300), plain(""), silent.local_addr().unwrap()).await;
    assert_said(&late, Outcome::Fail, "no answer in N ms");
    daemon.kill();
    assert_said(&ask(plain(""), at[0]).await, Outcome::Fail, "Connection refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_asked_of_servers_and_of_resolvers() {
    let key = Key::generate("lab", "hmac-sha256");
    let records = ["www 5 IN A 192.0.2.1", "www 5 IN A 192.0.2.2", "web 5 IN CNAME www", "web2 5 IN TXT \"a b\""];
    let (primary, _) = Bind::cluster(&Zone::new("lab.example", &records), &key, 0);
    let resolver = Bind::resolver("lab.example", primary.addr);
    let dns = |name: &str, rtype: &str, answers: &[&str], at: &[SocketAddr]| Dns {
        name: template(name),
        rtype: rtype.to_owned(),
        at: at.iter().map(|at| template(&at.to_string())).collect(),
        answers: answers.iter().map(|answer| template(answer)).collect(),
    };
    let both = [primary.addr, resolver.addr];
    let ask = async |dns: Dns| {
        let service = ServiceRef { name: "www".into(), through: None };
        let check = check(Probe::Dns(dns), PATIENCE);
        assert_eq!(check.about(), About::Service);
        checker(Arc::new(NoSsh)).probe(&check, &Subject::Service(&service)).await
    };
    let good = ask(dns("{{ name }}.lab.example", "A", &["192.0.2.2", "192.0.2.1"], &both)).await;
    assert_said(&good, Outcome::Pass, "ask www.lab.example A → 192.0.2.1 and 192.0.2.2 in ");
    let alias = ask(dns("web.lab.example", "A", &["192.0.2.1", "192.0.2.2"], &both[1..])).await;
    assert_said(&alias, Outcome::Pass, "192.0.2.1 and 192.0.2.2");
    assert_said(
        &ask(dns("web.lab.example", "CNAME", &["www.lab.example"], &both)).await,
        Outcome::Pass,
        "www.lab.example",
    );
    assert_said(&ask(dns("web2.lab.example", "TXT", &["a b"], &both)).await, Outcome::Pass, "a b");
    let other = ask(dns("www.lab.example", "A", &["192.0.2.1"], &both)).await;
    assert_said(&other, Outcome::Fail, "192.0.2.1 and 192.0.2.2, wanted 192.0.2.1");
    assert_said(&ask(dns("no.lab.example", "A", &[], &both)).await, Outcome::Fail, "it answers NXDOMAIN");
    assert_said(&ask(dns("www.lab.example", "AAAA", &[], &both)).await, Outcome::Fail, "there are no such records");
    // Nobody answers at this port: as a resolver of a service it is unknown, as a host it has failed.
    let gone = free_addr();
    assert_said(
        &ask(dns("www.lab.example", "A", &[], &[primary.addr, gone])).await,
        Outcome::Unknown,
        &gone.to_string(),
    );
    let of_host =
        HealthCheck { of: Some(About::Host), ..check(Probe::Dns(dns("www.lab.example", "A", &[], &[gone])), PATIENCE) };
    let verdict = checker(Arc::new(NoSsh)).probe(&of_host, &Subject::Host(&host(gone))).await;
    assert_said(&verdict, Outcome::Fail, "connection refused");
}
