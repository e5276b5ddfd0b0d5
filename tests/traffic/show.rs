//! `migrate director show` against real servers: what people and programs read, and that nothing is written.

use std::net::TcpStream;
use std::path::Path;

use serde_json::Value;

use crate::cli::run::{Ran, migrate_in};
use crate::lab::haproxy::{Backend, Haproxy};
use crate::lab::process::PATIENCE;
use crate::traffic::dns::{Lab, zone};
use crate::traffic::support::holding_server;

fn show(inventory: &str, words: &[&str]) -> Ran {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("inventory.yaml"), inventory).unwrap();
    migrate_in(dir.path(), dir.path(), &[&["director", "show"], words].concat())
}

fn edge(socket: &Path) -> String {
    format!("directors: {{ edge: {{ haproxy: \"unix:{}\" }} }}\n", socket.display())
}

#[test]
fn a_backend_of_haproxy_is_shown_as_it_is_and_left_as_it_is() {
    let server = holding_server();
    let web = Backend::tcp("web").server("dal-1", server, 150).server("dal-2", server, 100).server("fra-1", server, 50);
    let haproxy = Haproxy::start(&[web]);
    haproxy.command("set server web/dal-2 state drain;set weight web/fra-1 0");
    let clients: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(haproxy.frontend("web")).unwrap()).collect();
    let start = std::time::Instant::now();
    while json(&haproxy.admin)["measured_sessions"] != 3 {
        assert!(start.elapsed() < PATIENCE, "{}", haproxy.command("show stat"));
    }
    let settings = || haproxy.command("get weight web/dal-1;get weight web/dal-2;get weight web/fra-1");
    let before = settings();
    // The operator's socket may not write, and need not.
    let ran = show(&edge(&haproxy.operator), &["edge", "web"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let shown = ran.out.replace(&server.ip().to_string(), "ADDRESS");
    insta::assert_snapshot!(shown);
    let shown = json(&haproxy.operator);
    let member = |n: usize| &shown["members"][n];
    assert_eq!((&member(0)["name"], &member(0)["connections"]), (&"dal-1".into(), &3.into()));
    assert_eq!((&member(0)["share_by_weight"], &member(0)["share_measured"]), (&100.0.into(), &100.0.into()));
    assert_eq!((&member(1)["mode"], &member(1)["share_by_weight"]), (&"drain".into(), &0.0.into()));
    assert_eq!(settings(), before);
    drop(clients);
}

fn json(socket: &Path) -> Value {
    let ran = show(&edge(socket), &["edge", "web", "--format", "json"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    serde_json::from_str(&ran.out).unwrap()
}

#[test]
fn a_name_in_a_zone_is_shown_with_its_ttl_and_no_share() {
    let lab = Lab::start(&zone(), 0);
    let inventory =
        format!("directors: {{ zone: {{ dns: {{ zone: lab.test, primary: \"{}\" }} }} }}\n", lab.primary.addr);
    let before = lab.records();
    let ran = show(&inventory, &["zone", "www"]);
    insta::assert_snapshot!(ran.out + &ran.err, @r"
    zone www.lab.test (DNS, TTL 5s): 2 members
      member
      192.0.2.1
      192.0.2.2
    ");
    let over = show(&inventory, &["zone", "www", "--over", "10ms"]);
    assert!(over.out.contains("Nothing could be measured"), "{}", over.out);
    assert_eq!(before, lab.records());
}

#[test]
fn what_cannot_be_shown_is_told_with_what_there_is() {
    let inventory = "directors: { edge: { haproxy: \"unix:/nonexistent/admin.sock\" } }\n";
    let said = |words: &[&str]| {
        let ran = show(inventory, words);
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{words:?}");
        ran.err
    };
    insta::assert_snapshot!(said(&["egde", "web"]), @r"
    error: the inventory has no director `egde`
      help: did you mean `edge`?
    ");
    insta::assert_snapshot!(said(&["edge", "a b"]), @r"
    error: `a b` cannot be the name of an HAProxy backend
      help: backend names are made of letters, digits, `.`, `:`, `_` and `-`
    ");
    insta::assert_snapshot!(said(&["edge", "web"]), @r"
    error: edge (unix /nonexistent/admin.sock): the runtime API cannot be reached: no such file or directory
      help: check that HAProxy runs and has `stats socket PATH level admin` with this path
    ");
    let missing = said(&["edge", "web", "-i", "nowhere.yaml"]);
    assert!(missing.contains("nowhere.yaml"), "{missing}");
}
