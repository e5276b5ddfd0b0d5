//! The HAProxy director against the real HAProxy.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use migrate::model::Mode;
use migrate::outside::Kind;
use migrate::ssh::{Environment, Options, Pool};
use migrate::traffic::haproxy::{Endpoint, Settings};
use migrate::traffic::{Context, Director, DirectorConfig, DirectorKind, OverSsh};

use crate::lab::haproxy::{Backend, Haproxy};
use crate::lab::sshd::Sshd;
use crate::traffic::conformance::Subject;
use crate::traffic::meddling::{Meddler, Turn};
use crate::traffic::support::{change, context, holding_server, shown};

fn start() -> Haproxy {
    let server = holding_server();
    start_with(server)
}

fn start_with(server: SocketAddr) -> Haproxy {
    let web = Backend::tcp("web").server("old", server, 100).server("other", server, 100).server("new", server, 0);
    let fixed = Backend { balance: "static-rr", ..Backend::http("fixed").server("old", server, 100) };
    Haproxy::start(&[web, fixed])
}

fn director(endpoints: Vec<Endpoint>) -> Arc<dyn Director> {
    Settings { endpoints, config: Vec::new() }.connect("edge", &context(&[])).unwrap()
}

fn subject(servers: Vec<Haproxy>, endpoints: Vec<Endpoint>) -> Subject {
    Subject {
        director: director(endpoints.clone()),
        twin: director(endpoints.clone()),
        config: DirectorConfig::Haproxy(Settings { endpoints, config: Vec::new() }),
        pool: "web".to_owned(),
        old: "old".to_owned(),
        other: "other".to_owned(),
        new: "new".to_owned(),
        nobody: "nobody".to_owned(),
        client: Some(servers[0].frontend("web")),
        names_clients: true,
        _servers: Box::new(servers),
    }
}

pub fn over_tcp() -> Subject {
    let haproxy = start();
    let endpoint = Endpoint::Tcp(haproxy.tcp.to_string());
    subject(vec![haproxy], vec![endpoint])
}

pub fn over_a_unix_socket() -> Subject {
    let haproxy = start();
    let endpoint = Endpoint::Unix(haproxy.admin.clone());
    subject(vec![haproxy], vec![endpoint])
}

pub fn over_the_master_cli() -> Subject {
    let haproxy = start();
    let endpoint = Endpoint::Unix(haproxy.master.clone());
    subject(vec![haproxy], vec![endpoint])
}

pub fn over_two_instances() -> Subject {
    let (one, two) = (start(), start());
    let endpoints = vec![Endpoint::Unix(one.master.clone()), Endpoint::Tcp(two.tcp.to_string())];
    subject(vec![one, two], endpoints)
}

/// A host that HAProxy runs on, and what reaches it.
struct Balancer {
    haproxy: Haproxy,
    sshd: Sshd,
    dir: tempfile::TempDir,
}

impl Balancer {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { haproxy: start(), sshd: Sshd::start(&dir.path().join("lb-1"), "lb-1"), dir }
    }

    fn director(&self, host: &str, path: &Path) -> Arc<dyn Director> {
        let environment = Environment {
            home: Some(self.dir.path().to_owned()),
            user: Some(crate::lab::sshd::user()),
            ssh_program: None,
            ..Environment::default()
        };
        let pool = Pool::new(environment, BTreeMap::new(), Options::default());
        let hosts = BTreeMap::from([("lb-1".to_owned(), self.sshd.host())]);
        let context = Context { dial: Arc::new(OverSsh::new(pool, hosts)), ..context(&[]) };
        let endpoints = vec![Endpoint::Ssh { host: host.to_owned(), path: path.display().to_string() }];
        Settings { endpoints, config: Vec::new() }.connect("edge", &context).unwrap()
    }

    /// What people read when the director cannot be reached.
    async fn said(&self, host: &str, path: &Path) -> String {
        let error = self.director(host, path).observe("web").await.unwrap_err();
        let replace = [
            (self.haproxy.admin.display().to_string(), "SOCKET"),
            (self.sshd.addr().to_string(), "ADDRESS"),
            (crate::lab::sshd::user(), "USER"),
        ];
        shown(&error, &replace)
    }
}

pub fn over_ssh() -> Subject {
    let balancer = Balancer::start();
    let director = balancer.director("lb-1", &balancer.haproxy.admin);
    let twin = balancer.director("lb-1", &balancer.haproxy.master);
    let client = Some(balancer.haproxy.frontend("web"));
    Subject { director, twin, client, _servers: Box::new(balancer), ..over_a_unix_socket() }
}

/// The error of the change that every bad situation below is tried with.
async fn refused(director: &Arc<dyn Director>, pool: &str, member: &str, replace: &[(String, &str)]) -> String {
    let error =
        director.apply(pool, &[change("new", 50, Mode::Ready), change(member, 50, Mode::Ready)]).await.unwrap_err();
    shown(&error, replace)
}

fn settings(haproxy: &Haproxy) -> String {
    haproxy.command("get weight web/old;get weight web/other;get weight web/new")
}

#[tokio::test]
async fn a_missing_socket_is_said_to_be_missing() {
    let director = director(vec![Endpoint::Unix("/nonexistent/haproxy.sock".into())]);
    insta::assert_snapshot!(refused(&director, "web", "old", &[]).await, @r"
    [unknown] edge (unix /nonexistent/haproxy.sock): the runtime API cannot be reached: no such file or directory; nothing was changed
    hint: check that HAProxy runs and has `stats socket PATH level admin` with this path
    ");
}

#[tokio::test]
async fn a_socket_that_nobody_listens_on_is_told_from_a_missing_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("left.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let director = director(vec![Endpoint::Unix(path.clone())]);
    let replace = [(path.display().to_string(), "SOCKET")];
    insta::assert_snapshot!(refused(&director, "web", "old", &replace).await, @r"
    [unknown] edge (unix SOCKET): the runtime API cannot be reached: connection refused; nothing was changed
    hint: the socket is left over from a process that has ended: start HAProxy
    ");
}

#[tokio::test]
async fn a_socket_without_level_admin_is_found_out_before_anything_is_written() {
    let (haproxy, other) = (start(), start());
    let endpoints = vec![Endpoint::Unix(other.admin.clone()), Endpoint::Unix(haproxy.operator.clone())];
    let director = director(endpoints);
    director.observe("web").await.unwrap();
    let replace = [(haproxy.operator.display().to_string(), "SOCKET")];
    insta::assert_snapshot!(refused(&director, "web", "old", &replace).await, @r"
    [refused] edge (unix SOCKET): the runtime API has level operator, which may not change anything; nothing was changed
    hint: add `level admin` to this `stats socket` line in haproxy.cfg and reload
    ");
    insta::assert_snapshot!(shown(&director.writable("web").await.unwrap_err(), &replace), @r"
    [refused] edge (unix SOCKET): the runtime API has level operator, which may not change anything
    hint: add `level admin` to this `stats socket` line in haproxy.cfg and reload
    ");
    assert_eq!(settings(&other), settings(&start()), "the instance that would have let us is untouched, too");
}

#[tokio::test]
async fn unknown_names_are_answered_with_those_that_exist() {
    let haproxy = start();
    let director = director(vec![Endpoint::Unix(haproxy.admin.clone())]);
    let before = settings(&haproxy);
    let replace = [(haproxy.admin.display().to_string(), "SOCKET")];
    insta::assert_snapshot!(refused(&director, "wbe", "old", &replace).await, @r"
    [refused] edge (unix SOCKET): there is no backend `wbe`; nothing was changed
    hint: did you mean `web`?
    ");
    insta::assert_snapshot!(refused(&director, "shop", "old", &replace).await, @r"
    [refused] edge (unix SOCKET): there is no backend `shop`; nothing was changed
    hint: its backends are web, fixed
    ");
    insta::assert_snapshot!(refused(&director, "web", "odl", &replace).await, @r"
    [refused] edge (unix SOCKET): backend `web` has no server `odl`; nothing was changed
    hint: did you mean `old`?
    ");
    insta::assert_snapshot!(refused(&director, "web", "a;b", &replace).await, @r"
    [refused] edge: `a;b` cannot be the name of an HAProxy server; nothing was changed
    hint: server names are made of letters, digits, `.`, `:`, `_` and `-`
    ");
    assert_eq!(before, settings(&haproxy));
}

#[tokio::test]
async fn a_static_balance_algorithm_refuses_steps_and_says_what_it_takes() {
    let haproxy = start();
    let director = director(vec![Endpoint::Unix(haproxy.admin.clone())]);
    let replace = [(haproxy.admin.display().to_string(), "SOCKET")];
    let error = director.apply("fixed", &[change("old", 50, Mode::Ready)]).await.unwrap_err();
    insta::assert_snapshot!(shown(&error, &replace), @r"
    [refused] edge (unix SOCKET): `set weight fixed/old 50` was refused: Backend is using a static LB algorithm and only accepts weights '0%' and '100%'.
    hint: this backend's `balance` algorithm takes only weight 0 and the configured one: use `balance roundrobin`, or shift in one step of 100
    ");
    for weight in [0, 100] {
        director.apply("fixed", &[change("old", weight, Mode::Drain)]).await.unwrap();
    }
}

#[tokio::test]
async fn a_socket_on_a_host_is_missing_in_another_way_than_the_host() {
    let mut balancer = Balancer::start();
    let socket = balancer.haproxy.admin.clone();
    insta::assert_snapshot!(balancer.said("lb-1", Path::new("/nonexistent/haproxy.sock")).await, @r"
    [unknown] edge (unix /nonexistent/haproxy.sock on lb-1): the runtime API cannot be reached: lb-1 (USER@ADDRESS): cannot connect to the unix socket /nonexistent/haproxy.sock
    hint: does it exist there, and may `USER` use it?
    ");
    insta::assert_snapshot!(balancer.said("lb-2", &socket).await, @"[unknown] edge (unix SOCKET on lb-2): the runtime API cannot be reached: there is no host `lb-2` in the inventory");
    balancer.sshd.stop();
    insta::assert_snapshot!(balancer.said("lb-1", &socket).await, @r"
    [unknown] edge (unix SOCKET on lb-1): the runtime API cannot be reached: lb-1 (USER@ADDRESS): cannot connect: connection refused
    hint: is sshd running there, and is `port` under `ssh` in the inventory right?
    ");
}

#[tokio::test]
async fn something_that_is_not_a_runtime_api_is_not_taken_for_one() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten().take(1) {
            let _ = stream.read(&mut [0; 512]);
            let _ = stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n\x1b[2J\n");
        }
    });
    let director = director(vec![Endpoint::Tcp(addr.to_string())]);
    insta::assert_snapshot!(refused(&director, "web", "old", &[(addr.to_string(), "ADDRESS")]).await, @r"
    [unknown] edge (tcp ADDRESS): the answer cannot be read: HTTP/1.0 400 Bad Request\u{d}⏎\u{d}⏎\u{1b}[2J; nothing was changed
    hint: check that this is HAProxy's runtime API (2.0 or newer)
    ");
}

#[tokio::test]
async fn instances_that_disagree_are_named_and_an_apply_brings_them_together() {
    let (one, two) = (start(), start());
    let director = director(vec![Endpoint::Unix(one.admin.clone()), Endpoint::Unix(two.admin.clone())]);
    let replace = [(one.admin.display().to_string(), "ONE"), (two.admin.display().to_string(), "TWO")];
    two.command("set weight web/old 7;set server web/old state drain");
    let error = director.observe("web").await.unwrap_err();
    insta::assert_snapshot!(shown(&error, &replace), @r"
    [disagrees] edge: web/old has weight 100 (ready) at unix ONE and weight 7 (drain) at unix TWO
    hint: an instance was reloaded or changed by hand: set the server the same everywhere, or apply again
    ");
    let pool = director.apply("web", &[change("old", 50, Mode::Ready)]).await.unwrap();
    assert_eq!(pool.member("old").map(|m| (m.weight, m.mode)), Some((50, Mode::Ready)));
}

#[tokio::test]
async fn a_second_instance_that_is_down_keeps_the_first_one_as_it_is() {
    let one = start();
    let before = settings(&one);
    let two = Endpoint::Unix("/nonexistent/two.sock".into());
    let director = director(vec![Endpoint::Unix(one.admin.clone()), two]);
    let error = director.apply("web", &[change("new", 50, Mode::Ready)]).await.unwrap_err();
    assert_eq!(error.kind, Kind::Lost);
    assert_eq!(before, settings(&one));
}

fn meddled(endpoints: Vec<Endpoint>, turns: Vec<Turn>) -> Arc<dyn Director> {
    let context = Context { dial: Meddler::with(turns), ..context(&[]) };
    Settings { endpoints, config: Vec::new() }.connect("edge", &context).unwrap()
}

fn foreign(haproxy: &Arc<Haproxy>, command: &'static str) -> Turn {
    let haproxy = haproxy.clone();
    Turn::After(Box::new(move || assert_eq!(haproxy.command(command).trim(), "")))
}

#[tokio::test]
async fn a_foreign_change_before_our_write_is_overwritten_and_one_after_it_is_reported() {
    let haproxy = Arc::new(start());
    let endpoints = vec![Endpoint::Unix(haproxy.admin.clone())];
    let turns = vec![Turn::Pass, foreign(&haproxy, "set weight web/old 7")];
    let early = meddled(endpoints.clone(), turns);
    early.apply("web", &[change("old", 50, Mode::Ready)]).await.unwrap();
    assert_eq!(haproxy.command("get weight web/old").trim(), "50 (initial 100)");

    let turns = vec![Turn::Pass, Turn::Pass, foreign(&haproxy, "set weight web/old 7")];
    let error = meddled(endpoints, turns).apply("web", &[change("old", 51, Mode::Ready)]).await.unwrap_err();
    insta::assert_snapshot!(shown(&error, &[]), @r"
    [disagrees] edge: web/old was set to weight 51 (ready) and reads back weight 7 (ready)
    hint: either somebody else or an agent-check is changing it, or it follows another server (`track`) or a name that does not resolve
    ");
}

#[tokio::test]
async fn a_break_between_two_instances_tells_what_was_done_and_the_next_apply_finishes() {
    let (one, two) = (start(), start());
    let endpoints = vec![Endpoint::Unix(one.admin.clone()), Endpoint::Unix(two.admin.clone())];
    let replace = [(one.admin.display().to_string(), "ONE"), (two.admin.display().to_string(), "TWO")];
    let changes = [change("new", 50, Mode::Ready)];
    let broken = meddled(endpoints.clone(), vec![Turn::Pass, Turn::Pass, Turn::Pass, Turn::Fail]);
    let error = broken.apply("web", &changes).await.unwrap_err();
    insta::assert_snapshot!(shown(&error, &replace), @"[unknown] edge (unix TWO): the runtime API cannot be reached: connection refused; done before: `set weight web/new 50` at unix ONE");
    director(endpoints).apply("web", &changes).await.unwrap();
    assert_eq!(settings(&one), settings(&two));
}

#[tokio::test]
async fn a_reload_hides_no_connection_from_the_master_cli() {
    let mut haproxy = start();
    let director = director(vec![Endpoint::Unix(haproxy.master.clone())]);
    let alone = [change("old", 100, Mode::Ready), change("other", 0, Mode::Ready)];
    director.apply("web", &alone).await.unwrap();
    let client = TcpStream::connect(haproxy.frontend("web")).unwrap();
    let connections = async || director.observe("web").await.unwrap().member("old").unwrap().connections;
    crate::traffic::support::eventually("counted", || async { connections().await == Some(1) }).await;
    haproxy.reload();
    let after = director.observe("web").await.unwrap();
    assert_eq!(after.member("other").map(|m| m.weight), Some(100), "the reload has put the weights back");
    assert_eq!(connections().await, Some(1), "the old worker still serves the client");
    assert_eq!(director.blockers("web", "old").await.unwrap().len(), 1);
    drop(client);
    crate::traffic::support::eventually("gone", || async { connections().await == Some(0) }).await;
}

#[tokio::test]
async fn sessions_are_ended_those_first_that_have_been_there_longest_in_old_workers_too() {
    let mut haproxy = start();
    let director = director(vec![Endpoint::Unix(haproxy.master.clone())]);
    let alone = [change("old", 100, Mode::Ready), change("other", 0, Mode::Ready)];
    director.apply("web", &alone).await.unwrap();
    let connect = || TcpStream::connect(haproxy.frontend("web")).unwrap();
    let mut first = connect();
    crate::traffic::support::eventually("listed", || async {
        director
            .end_sessions("web", "old", 0)
            .await
            .unwrap()
            .clients
            .first()
            .is_some_and(|c| c.oldest > Some(Duration::ZERO))
    })
    .await;
    haproxy.reload();
    director.apply("web", &alone).await.unwrap();
    let others: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(haproxy.frontend("web")).unwrap()).collect();
    let held = async || director.observe("web").await.unwrap().member("old").unwrap().connections;
    crate::traffic::support::eventually("all are counted", || async { held().await == Some(4) }).await;
    let ended = director.end_sessions("web", "old", 1).await.unwrap();
    assert_eq!((ended.ended, ended.left, ended.clients.len()), (1, 3, 1));
    assert_eq!((&*ended.clients[0].address, ended.clients[0].sessions), ("127.0.0.1", 3));
    assert_eq!(first.read(&mut [0]).unwrap(), 0, "the old worker had the oldest");
    crate::traffic::support::eventually("it is gone", || async { held().await == Some(3) }).await;
    assert_eq!(director.end_sessions("web", "other", 9).await.unwrap().ended, 0, "others have their own");
    assert_eq!(director.end_sessions("web", "old", 9).await.unwrap().ended, 3);
    crate::traffic::support::eventually("all are gone", || async { held().await == Some(0) }).await;
    drop(others);
    let error = director.end_sessions("web", "a;b", 1).await.unwrap_err();
    assert_eq!(error.kind, Kind::Refused);
}

#[tokio::test]
async fn a_server_that_its_check_finds_down_says_so() {
    let mut web = Backend::http("web").server("old", "127.0.0.1:9".parse().unwrap(), 100);
    web.servers[0].options = "check inter 50ms fastinter 20ms fall 1".to_owned();
    let haproxy = Haproxy::start(&[web]);
    let director = director(vec![Endpoint::Unix(haproxy.admin.clone())]);
    crate::traffic::support::eventually("the check sees it", || async {
        director.observe("web").await.unwrap().member("old").unwrap().up == Some(false)
    })
    .await;
}

#[test]
fn a_director_without_endpoints_is_refused_at_once() {
    let settings = Settings::default();
    let Err(error) = settings.connect("edge", &context(&[])) else { panic!("accepted") };
    insta::assert_snapshot!(shown(&error, &[]), @r"
    [refused] edge: it has no endpoint
    hint: name at least one runtime API under `endpoints`
    ");
}
