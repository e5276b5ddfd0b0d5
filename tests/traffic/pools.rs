//! What a plan says of real pools before anything is done, and what its steps give there.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;

use migrate::config::{LoadOptions, load};
use migrate::model::finding::Severity;
use migrate::model::{Change, Mode};
use migrate::planner::observed::{Observed, Seen};
use migrate::planner::proposal::Proposal;
use migrate::spec::Spec;
use migrate::step::StepKind;
use migrate::traffic::Director;

use crate::lab::bind::{Bind, Key, Zone};
use crate::lab::haproxy::{Backend, Haproxy};
use crate::lab::sshd::next_address;
use crate::traffic::dns::Lab as DnsLab;
use crate::traffic::support::{change, context, eventually, shown};

const HOSTS: [&str; 4] = ["dal1", "dal2", "fra1", "fra2"];

/// A host that answers every request with its name.
fn answering(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((next_address(), 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let _ = client.read(&mut [0; 1024]);
            let length = name.len();
            let _ = write!(client, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{name}");
        }
    });
    addr
}

/// Who answers a request with these headers.
fn ask(front: SocketAddr, headers: &str) -> String {
    let mut stream = TcpStream::connect(front).unwrap();
    write!(stream, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.rsplit("\r\n").next().unwrap_or_default().to_owned()
}

/// A plan and its inventory in a private directory.
struct Files(tempfile::TempDir);

impl Files {
    fn new(inventory: &str, service: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let plan = format!("migration: there\ninventory: inventory.yaml\nservices:\n  web:\n{service}");
        std::fs::write(dir.path().join("plan.yaml"), plan).unwrap();
        std::fs::write(dir.path().join("inventory.yaml"), inventory).unwrap();
        Self(dir)
    }

    fn spec(&self) -> Spec {
        let path: &Path = self.0.path();
        load(&path.join("plan.yaml"), None, &LoadOptions::default()).unwrap_or_else(|e| panic!("{e}")).0
    }
}

/// What the plan says when its one pool has been looked at.
async fn proposed(spec: &Spec, director: &dyn Director, name: &str) -> Proposal {
    let pool = spec.plan.services[0].traffic[0].pool.clone();
    let key = Observed::pool_key(name, &pool);
    let observed = Observed {
        facts: BTreeMap::from([(key.clone(), director.facts(&pool).await.unwrap())]),
        pools: BTreeMap::from([(key, Seen::Live(director.observe(&pool).await.unwrap()))]),
        ..Observed::default()
    };
    migrate::planner::propose(spec, Some(&observed))
}

/// What is said about pools.
fn said(proposal: &Proposal, severity: Severity, about: &str) -> Vec<String> {
    let findings = proposal.findings.iter().filter(|f| f.severity == severity && f.about == about);
    findings.map(|f| f.what.clone()).collect()
}

/// What is set, step by step.
fn set(proposal: &Proposal) -> Vec<(String, Vec<Change>)> {
    let steps = proposal.graph.steps.iter().filter_map(|step| match &step.kind {
        StepKind::Traffic(traffic) => Some((step.id.clone(), traffic.changes.clone())),
        _ => None,
    });
    steps.collect()
}

/// Two sources and two targets that are out, behind HAProxy without weights.
struct Edge {
    haproxy: Haproxy,
    addresses: Vec<IpAddr>,
}

impl Edge {
    /// With something else in haproxy.cfg.
    fn start(edit: impl Fn(String) -> String) -> Self {
        let at: Vec<SocketAddr> = HOSTS.into_iter().map(answering).collect();
        let mut web = HOSTS.iter().zip(&at).fold(Backend::http("web"), |web, (name, at)| web.server(name, *at, 1));
        web.servers.iter_mut().skip(2).for_each(|s| s.options = "disabled".to_owned());
        let mut haproxy = Haproxy::start(&[web]);
        let text = std::fs::read_to_string(haproxy.config()).unwrap().replace(" weight 1 ", " ");
        std::fs::write(haproxy.config(), edit(text)).unwrap();
        haproxy.reload();
        Self { haproxy, addresses: at.iter().map(SocketAddr::ip).collect() }
    }

    fn plain() -> Self {
        Self::start(|text| text)
    }

    fn files(&self, traffic: &str, strategy: &str) -> Files {
        let hosts: String =
            HOSTS.iter().zip(&self.addresses).map(|(name, ip)| format!("  {name}: {{ address: {ip} }}\n")).collect();
        let (socket, config) = (self.haproxy.admin.display(), self.haproxy.config().display());
        let inventory =
            format!("hosts:\n{hosts}directors:\n  edge: {{ haproxy: \"unix:{socket}\", config: \"{config}\" }}\n");
        let service = format!(
            "    strategy: {strategy}
    move: {{ from: [dal1, dal2], to: [fra1, fra2] }}
    traffic: {{ director: edge, pool: web{traffic} }}
    health: {{ tcp: \"{{{{ address }}}}:80\" }}
    shift: {{ steps: [1%, 10%, 100%], hold: 1s }}
"
        );
        Files::new(&inventory, &service)
    }

    async fn proposed(&self, traffic: &str, strategy: &str) -> (Proposal, Arc<dyn Director>) {
        let spec = self.files(traffic, strategy).spec();
        let director = spec.inventory.directors["edge"].kind().connect("edge", &context(&[])).unwrap();
        (proposed(&spec, director.as_ref(), "edge").await, director)
    }

    fn front(&self) -> SocketAddr {
        self.haproxy.frontend("web")
    }
}

#[tokio::test]
async fn servers_without_weights_give_one_percent_where_the_plan_says_one_percent() {
    let edge = Edge::plain();
    let (proposal, director) = edge.proposed("", "ramp").await;
    assert_eq!(said(&proposal, Severity::Refused, "edge web"), Vec::<String>::new());
    let steps = set(&proposal);
    let ids: Vec<&str> = steps.iter().map(|(id, _)| id.as_str()).take(4).collect();
    assert_eq!(ids, ["web/scale", "web/shift-1", "web/shift-10", "web/shift-100"]);
    for (id, wanted) in [("web/scale", 0..=0), ("web/shift-1", 1..=8), ("web/shift-10", 32..=48)] {
        let (_, changes) = steps.iter().find(|(step, _)| step == id).unwrap();
        director.apply("web", changes).await.unwrap();
        let answered = (0..400).filter(|_| ask(edge.front(), "").starts_with("fra")).count();
        assert!(wanted.contains(&answered), "{id}: targets answered {answered} of 400");
    }
}

#[tokio::test]
async fn a_server_that_stays_keeps_its_part_and_steps_that_are_none_are_told_with_their_numbers() {
    let edge = Edge::start(|text| format!("{text}  server others 127.0.0.1:9\n"));
    let (proposal, _) = edge.proposed("", "ramp").await;
    assert!(set(&proposal).iter().all(|(id, _)| id != "web/scale"), "it would lose its part by it");
    let risks = said(&proposal, Severity::Risk, "edge web");
    assert!(risks.iter().any(|r| r.contains("1 % would be 50.0 %, 10 % would be 50.0 %")), "{risks:?}");
}

#[tokio::test]
async fn what_does_not_follow_weights_or_holds_clients_is_found_in_the_plan() {
    use Severity::{Note, Refused, Risk};
    let balance = "balance roundrobin";
    for (from, to, strategy, severity, what) in [
        (balance, "balance first", "ramp", Refused, "fills one server after the other"),
        (balance, "balance first", "cutover", Risk, "fills one server after the other"),
        (balance, "balance static-rr", "ramp", Refused, "weights can only be 0 or the configured one"),
        (balance, "balance source", "ramp", Refused, "`hash-type map-based`"),
        (balance, "balance source\n  hash-type consistent", "ramp", Note, "clients are spread by a key"),
        (balance, "balance uri", "ramp", Refused, "`balance uri` and `hash-type map-based`"),
        (balance, "balance leastconn", "ramp", Risk, "a step is no share"),
        (balance, "balance roundrobin\n  cookie SRV insert", "ramp", Risk, "pins clients (cookie SRV)"),
        (balance, "balance roundrobin\n  cookie SRV insert", "cutover", Risk, "sources go to maintenance at once"),
        (balance, "balance roundrobin\n  stick-table type ip size 1m\n  stick on src", "ramp", Risk, "(stick on src)"),
        (
            balance,
            "balance roundrobin\n  cookie SRV insert\n  option persist",
            "cutover",
            Refused,
            "even in maintenance",
        ),
        (
            balance,
            "balance roundrobin\n  cookie SRV insert\n  force-persist if TRUE",
            "cutover",
            Refused,
            "`force-persist if TRUE`",
        ),
        (" disabled", " disabled weight \"${W-5}\"", "ramp", Note, "sets something for fra1 that could not be read"),
        (" disabled", " disabled backup", "ramp", Refused, "fra1 and fra2 are `backup`"),
        (" disabled", " disabled slowstart 30s", "ramp", Risk, "`slowstart 30 s`"),
        (" disabled", " disabled agent-check agent-port 9", "ramp", Risk, "fra1 and fra2 have an agent-check"),
        (" disabled", " disabled track dal1", "ramp", Risk, "fra1 follows web/dal1"),
    ] {
        let edge = Edge::start(|text| {
            let text = text.replace(from, to);
            // What is tracked must be checked.
            if to.contains("track") { check(&text, "dal1") } else { text }
        });
        let (proposal, _) = edge.proposed("", strategy).await;
        let found = said(&proposal, severity, "edge web");
        assert!(found.iter().any(|f| f.contains(what)), "{to:?} is not told: {:#?}", proposal.findings);
    }
}

fn check(text: &str, server: &str) -> String {
    let lines = text.lines().map(|line| match line.contains(&format!("server {server} ")) {
        true => format!("{line} check inter 1h\n"),
        false => format!("{line}\n"),
    });
    lines.collect()
}

#[tokio::test]
async fn queues_and_limits_are_told() {
    let edge = Edge::plain();
    // A client that a source is slow for holds its only place, and the next one waits.
    edge.haproxy.command("set maxconn server web/dal1 1;set server web/dal2 state maint");
    let held = TcpListener::bind((next_address(), 0)).unwrap();
    let port = held.local_addr().unwrap();
    edge.haproxy.command(&format!("set server web/dal1 addr {} port {}", port.ip(), port.port()));
    let mut clients: Vec<TcpStream> = (0..2).map(|_| TcpStream::connect(edge.front()).unwrap()).collect();
    clients.iter_mut().for_each(|c| c.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap());
    eventually("one waits", || async {
        let (proposal, _) = edge.proposed(", absent_sources: true, address: any", "ramp").await;
        said(&proposal, Severity::Risk, "edge web").iter().any(|r| r.starts_with("1 request in queues"))
    })
    .await;
}

#[tokio::test]
async fn without_its_configuration_a_plan_says_what_it_has_not_looked_at() {
    let edge = Edge::plain();
    let files = edge.files("", "ramp");
    let path = files.0.path().join("inventory.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace(&edge.haproxy.config().display().to_string(), "/nonexistent/haproxy.cfg"))
        .unwrap();
    let spec = files.spec();
    let director = spec.inventory.directors["edge"].kind().connect("edge", &context(&[])).unwrap();
    let notes = said(&proposed(&spec, director.as_ref(), "edge").await, Severity::Note, "edge web");
    assert_eq!(
        notes,
        ["not looked at: /nonexistent/haproxy.cfg was not read: no such file or directory; only there stand \
          `hash-type`, `slowstart`, `stick` and `persist`"]
    );
}

#[tokio::test]
async fn pinned_clients_stay_at_a_source_in_drain_and_a_cutover_takes_it_out_altogether() {
    let edge = Edge::start(|text| {
        let text = text.replace("balance roundrobin", "balance roundrobin\n  cookie SRV insert indirect nocache");
        let named = |line: &str| match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["server", name, ..] => format!("{line} cookie {name}\n"),
            _ => format!("{line}\n"),
        };
        text.lines().map(named).collect()
    });
    let pinned = || ask(edge.front(), "Cookie: SRV=dal1\r\n");
    edge.haproxy.command("set server web/dal1 state drain");
    assert!((0..20).all(|_| pinned() == "dal1"), "drain does not move them");
    edge.haproxy.command("set server web/dal1 state ready");
    let (proposal, director) = edge.proposed("", "cutover").await;
    let steps = set(&proposal);
    let (_, drain) = steps.iter().find(|(id, _)| id == "web/dal1/drain").unwrap();
    assert_eq!(drain.iter().map(|c| c.mode).collect::<Vec<_>>(), [Mode::Maint]);
    director.apply("web", drain).await.unwrap();
    assert!((0..20).all(|_| pinned() == "dal2"));
}

#[tokio::test]
async fn servers_with_each_others_addresses_are_refused_unless_it_is_meant() {
    let mut swapped = Edge::plain();
    swapped.addresses.swap(0, 1);
    let (proposal, _) = swapped.proposed("", "ramp").await;
    let refused = said(&proposal, Severity::Refused, "edge web");
    let (one, two) = (swapped.addresses[0], swapped.addresses[1]);
    let dal1 = format!("`dal1` is {two} there, which is dal2, and dal1 is {one} here");
    assert!(refused.len() == 2 && refused.contains(&dal1), "{refused:?}");
    let (proposal, _) = swapped.proposed(", address: any", "ramp").await;
    assert_eq!(said(&proposal, Severity::Refused, "edge web"), Vec::<String>::new());
}

#[tokio::test]
async fn a_source_that_is_out_of_service_is_refused_unless_the_plan_says_so() {
    let edge = Edge::plain();
    edge.haproxy.command("set server web/dal2 state drain");
    let (proposal, _) = edge.proposed("", "ramp").await;
    assert_eq!(said(&proposal, Severity::Refused, "edge web"), ["`dal2` is not in service there: drain"]);
    let (proposal, _) = edge.proposed(", absent_sources: true", "ramp").await;
    assert_eq!(said(&proposal, Severity::Refused, "edge web"), Vec::<String>::new());
    let mut shifts = set(&proposal).into_iter().filter(|(id, _)| id.contains("shift"));
    assert!(shifts.all(|(_, changes)| changes.iter().all(|c| c.member != "dal2")), "it stays out");
}

#[tokio::test]
async fn a_frontend_with_the_backends_name_hides_no_connection() {
    let mut edge = Edge::start(|text| text.replace("frontend in-web", "frontend web"));
    for socket in [edge.haproxy.admin.clone(), edge.haproxy.master.clone()] {
        let inventory = format!(
            "hosts: {{ a: {{ address: 10.0.0.1 }}, b: {{ address: 10.0.0.2 }} }}\ndirectors: {{ edge: {{ haproxy: \"unix:{}\" }} }}\n",
            socket.display()
        );
        let service = "    move: { from: [a], to: [b] }\n    traffic: { director: edge, pool: web }\n";
        let spec = Files::new(&inventory, service).spec();
        let director = spec.inventory.directors["edge"].kind().connect("edge", &context(&[])).unwrap();
        let pool = director.observe("web").await.unwrap();
        assert!(pool.members.iter().all(|m| m.connections == Some(0)), "{pool:?}");
        edge.haproxy.reload();
        director.observe("web").await.unwrap();
    }
}

fn zone_lab(records: &[&str]) -> DnsLab {
    DnsLab::start(&Zone::new("lab.test", records), 0)
}

async fn dns_findings(lab: &DnsLab, hosts: &str, traffic: &str) -> Proposal {
    let Key { name, algorithm, .. } = &lab.key;
    let inventory = format!(
        "hosts:\n{hosts}directors:\n  zone: {{ dns: {{ zone: lab.test, primary: \"{}\", \
         key: {{ name: {name}, algorithm: {algorithm}, secret: {{ env: KEY }} }} }} }}\n",
        lab.primary.addr
    );
    let service = format!(
        "    move: {{ from: [dal1], to: [fra1] }}\n    traffic: {{ director: zone, pool: www{traffic} }}\n    \
         strategy: ramp\n    health: {{ tcp: \"{{{{ address }}}}:80\" }}\n    shift: {{ steps: [50%, 100%], hold: 1s }}\n"
    );
    let spec = Files::new(&inventory, &service).spec();
    let director = spec.inventory.directors["zone"].kind().connect("zone", &context(&[("KEY", &lab.secret)])).unwrap();
    proposed(&spec, director.as_ref(), "zone").await
}

const PUBLIC: &str = "  dal1: { address: 192.0.2.1 }\n  fra1: { address: 198.51.100.1 }\n";

#[tokio::test]
async fn a_source_that_a_name_does_not_have_is_refused_with_what_is_there() {
    let lab = zone_lab(&["www 5 IN A 203.0.113.5"]);
    let proposal = dns_findings(&lab, "  dal1: { address: 10.1.0.11 }\n  fra1: { address: 10.2.0.21 }\n", "").await;
    let refused = said(&proposal, Severity::Refused, "zone www.lab.test");
    assert!(refused.contains(&"has no member `10.1.0.11` (dal1); there is 203.0.113.5".to_owned()), "{refused:?}");
    let private = "has public addresses alone, and would get 10.2.0.21: nobody outside can reach that";
    assert!(refused.contains(&private.to_owned()), "{refused:?}");
}

#[tokio::test]
async fn addresses_that_nobody_moves_are_told_and_those_of_a_whole_family_are_refused() {
    let lab = zone_lab(&["www 5 IN A 192.0.2.1", "www 5 IN A 192.0.2.9", "www 5 IN AAAA 2001:db8::1"]);
    let proposal = dns_findings(&lab, PUBLIC, "").await;
    let refused = said(&proposal, Severity::Refused, "zone www.lab.test");
    assert_eq!(refused, ["also has 2001:db8::1, which no host of the plan has: whoever comes by IPv6 stays there"]);
    let risks = said(&proposal, Severity::Risk, "zone www.lab.test");
    assert_eq!(risks, ["also has 192.0.2.9, which no host of the plan has: they keep their clients"]);
    let proposal = dns_findings(&lab, PUBLIC, ", others_stay: true").await;
    assert_eq!(said(&proposal, Severity::Refused, "zone www.lab.test"), Vec::<String>::new());
}

#[tokio::test]
async fn a_name_with_as_many_records_as_bind_takes_is_told_ahead_and_in_the_refusal() {
    let mut records = vec!["www 5 IN A 192.0.2.1".to_owned()];
    records.extend((1..100).map(|n| format!("www 5 IN A 203.0.113.{n}")));
    let lab = zone_lab(&records.iter().map(String::as_str).collect::<Vec<_>>());
    let proposal = dns_findings(&lab, PUBLIC, ", others_stay: true").await;
    let risks = said(&proposal, Severity::Risk, "zone www.lab.test");
    assert_eq!(risks, ["would have 101 A records for a while, and BIND takes 100 of a type"]);
    let error = lab.director().apply("www", &[change("198.51.100.1", 1, Mode::Ready)]).await.unwrap_err();
    insta::assert_snapshot!(shown(&error, &lab.replace()), @r"
    [unknown] dns (primary PRIMARY): it failed while updating www.lab.test (SERVFAIL); nothing was changed
    hint: www.lab.test would have 101 addresses of one family, and BIND takes 100: raise `max-records-per-type` there
    ");
}

#[tokio::test]
async fn questions_are_signed_so_that_they_reach_the_view_that_updates_reach() {
    let key = Key::generate("mover", "hmac-sha256");
    let inside = Zone::new("lab.test", &["www 5 IN A 10.9.9.9"]);
    let outside = Zone::new("lab.test", &["www 5 IN A 192.0.2.1"]);
    let lab = DnsLab::over(Bind::in_views(&inside, &outside, &key), key);
    let director = lab.director();
    let pool = director.observe("www").await.unwrap();
    assert_eq!(pool.members.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["192.0.2.1"]);
    let changes = [change("198.51.100.1", 1, Mode::Ready), change("192.0.2.1", 0, Mode::Ready)];
    director.apply("www", &changes).await.unwrap();
    let pool = director.observe("www").await.unwrap();
    assert_eq!(pool.members.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["198.51.100.1"]);
    assert_eq!(lab.primary.dig("www.lab.test", "A"), ["10.9.9.9"], "the other view is as it was");
}
