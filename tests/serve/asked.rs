//! Asked by hand: who is let in, what is answered, and what is done.

use std::path::Path;

use migrate::event::{Event, Record};
use migrate::store::file;
use serde_json::{Value, json};

use super::support::{Server, at, json};
use crate::cli::played;
use crate::lab::certificates::Authority;
use crate::lab::command::Migrate;

const PEOPLE: &str = "grace 00112233445566778899aabbccddeeff\nwall ffeeddccbbaa99887766554433221100 read-only\n";

/// A place with all but the end of a run, on which nobody works.
fn open_run() -> (tempfile::TempDir, Migrate) {
    let place = tempfile::tempdir().unwrap();
    let migrate = at(place.path());
    let (_, graph) = played::compiled();
    played::keep(&migrate.state_dir(), played::run(&graph).0.len() - 1);
    (place, migrate)
}

fn records(migrate: &Migrate) -> Vec<Record> {
    file::read(&migrate.journal("chat-1")).unwrap()
}

/// The records that were written since.
fn since(migrate: &Migrate, before: usize) -> Vec<Event> {
    records(migrate).into_iter().skip(before).map(|record| record.event).collect()
}

fn people(dir: &Path) -> String {
    use std::os::unix::fs::PermissionsExt;
    let path = dir.join("people");
    std::fs::write(&path, PEOPLE).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path.display().to_string()
}

#[test]
fn nobody_without_a_token_sees_anything_but_an_empty_page() {
    let (_place, migrate) = open_run();
    let server = Server::start(&migrate, &[]);
    for path in ["/api/runs", "/api/me", "/api/events", "/api/runs/chat-1", "/api/runs/chat-1/events", "/metrics", "/x"]
    {
        assert_eq!(server.ask(&format!("GET {path}"), &[], "").status, 401, "{path}");
        let wrong = format!("Bearer {}", "0".repeat(64));
        assert_eq!(server.ask(&format!("GET {path}"), &[("Authorization", &wrong)], "").status, 401, "{path}");
    }
    for path in ["/", "/runs/chat-1", "/runs/none"] {
        let page = server.ask(&format!("GET {path}"), &[], "");
        assert_eq!(page.status, 200);
        assert!(!page.body.contains("chat-1") && !page.body.contains(&server.token));
        let policy = page.header("content-security-policy").unwrap();
        for word in ["default-src 'none'", "script-src 'sha256-", "style-src 'sha256-", "frame-ancestors 'none'"] {
            assert!(policy.contains(word), "{policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
        assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(page.header("cache-control"), Some("no-store"));
    }
    let list = json(&server.get("/api/runs"));
    assert_eq!((&list["runs"][0]["run"], &list["runs"][0]["status"]), (&json!("chat-1"), &json!("interrupted")));
    assert_eq!(server.get("/api/runs/chat-2").status, 404);
    assert_eq!(server.get("/api/runs/..%2f..").status, 404);
    assert_eq!(server.ask("DELETE /api/runs/chat-1/pause", &[("Authorization", &server.bearer())], "").status, 415);
}

#[test]
fn a_run_is_shown_as_status_and_explain_have_it() {
    let (_place, migrate) = open_run();
    let server = Server::start(&migrate, &[]);
    let view = json(&server.get("/api/runs/chat-1"));
    let said = |args: &[&str]| -> Value { serde_json::from_str(&migrate.run(args).expect(0).stdout).unwrap() };
    let status = said(&["status", "chat-1", "--format", "json"]);
    for (shown, told) in view["pairs"].as_array().unwrap().iter().zip(status["pairs"].as_array().unwrap()) {
        for (key, value) in told.as_object().unwrap() {
            assert_eq!(&shown[key], value, "{key}");
        }
    }
    assert_eq!(view["pairs"].as_array().unwrap().len(), 3);
    let explained = said(&["explain", "chat-1", "--format", "json"]);
    assert_eq!(view["head"]["next"], explained["next"]);
    let report = said(&["report", "chat-1", "--format", "json"]);
    assert_eq!(view["shares"], report["shares"]);
    assert_eq!(server.get("/metrics").body, migrate.run(&["metrics"]).expect(0).stdout);
}

#[test]
fn events_go_on_from_where_a_browser_was_also_after_a_restart() {
    let (_place, migrate) = open_run();
    let server = Server::start(&migrate, &[]);
    let mut first = server.events("/api/runs/chat-1/events", None);
    assert_eq!(first.head.status, 200);
    let view: Value = serde_json::from_str(&first.next("view").data).unwrap();
    assert_eq!(view["head"]["run"], "chat-1");
    let lines = first.next("lines");
    assert_eq!(lines.id, records(&migrate).len().to_string());
    let all: Vec<(u64, String)> = serde_json::from_str(&lines.data).unwrap();
    assert!(all.len() > 50);
    // An order by hand is a record, and is told at once.
    migrate.run(&["pause", "chat-1", "--why", "lunch"]).expect(0);
    let told = first.next("lines");
    assert!(told.data.contains("lunch"), "{told:?}");
    let change: Value = serde_json::from_str(&first.next("change").data).unwrap();
    assert_eq!(change["head"]["paused"]["why"], "lunch");
    drop((first, server));
    let server = Server::start(&migrate, &[]);
    let again: Vec<(u64, String)> =
        serde_json::from_str(&server.events("/api/runs/chat-1/events", Some("70")).next("lines").data).unwrap();
    let kept: Vec<&(u64, String)> = all.iter().filter(|(seq, _)| *seq >= 70).collect();
    assert_eq!(again.iter().take(kept.len()).collect::<Vec<_>>(), kept);
    assert!(again.last().unwrap().1.contains("lunch"));
}

#[test]
fn what_is_asked_for_is_in_the_journal_with_who_did() {
    let (place, migrate) = open_run();
    let people = people(place.path());
    let server = Server::start(&migrate, &["--people", &people]);
    let before = records(&migrate).len();
    let grace = Server { token: "00112233445566778899aabbccddeeff".into(), ..server };
    let act = |word: &str, body: Value| grace.post(&format!("/api/runs/chat-1/{word}"), &body);
    let refused = act("pause", json!({ "confirm": "chat", "why": "lunch" }));
    assert_eq!((refused.status, json(&refused)["hint"].as_str()), (409, Some("type chat-1 to confirm it")));
    assert_eq!(act("set", json!({ "confirm": "chat-1", "setting": "colour=red" })).status, 409);
    assert_eq!(act("finish", json!({ "confirm": "chat-1" })).status, 404);
    assert!(since(&migrate, before).is_empty());
    assert_eq!(act("pause", json!({ "confirm": "chat-1", "why": "lunch" })).status, 200);
    assert_eq!(act("set", json!({ "confirm": "chat-1", "setting": "hold=30s" })).status, 200);
    assert_eq!(act("resume", json!({ "confirm": "chat-1" })).status, 200);
    assert_eq!(act("abort", json!({ "confirm": "chat-1", "why": "the wrong evening" })).status, 200);
    let done = since(&migrate, before);
    let [
        Event::Paused { by, why },
        Event::Tuned { by: set, .. },
        Event::Unpaused { by: let_go },
        Event::Held { why: held, .. },
    ] = done.as_slice()
    else {
        panic!("{done:?}")
    };
    assert_eq!((by.user.as_str(), why.as_str()), ("grace", "lunch"));
    assert!([set, let_go].iter().all(|by| by.user == "grace") && held.contains("grace@") && held.contains("evening"));
    // Who may only look does nothing, and neither does anybody where nothing can be done.
    let wall = Server { token: "ffeeddccbbaa99887766554433221100".into(), ..grace };
    assert_eq!(wall.get("/api/runs").status, 200);
    assert_eq!(json(&wall.get("/api/me")), json!({ "who": "wall", "read_only": true }));
    assert_eq!(wall.post("/api/runs/chat-1/resume", &json!({ "confirm": "chat-1" })).status, 403);
    drop(wall);
    let shut = Server::start(&migrate, &["--read-only"]);
    assert_eq!(shut.post("/api/stop", &json!({ "confirm": "all runs", "why": "x" })).status, 403);
    assert_eq!(shut.get("/api/runs").status, 200);
    assert_eq!(since(&migrate, before).len(), 4);
}

#[test]
fn a_foreign_page_and_a_name_that_leads_here_are_refused() {
    let (_place, migrate) = open_run();
    let server = Server::start(&migrate, &[]);
    let (before, origin) = (records(&migrate).len(), server.origin());
    let json_type = ("Content-Type", "application/json");
    let bearer = server.bearer();
    let enter = server.ask("POST /api/enter", &[("Authorization", &bearer), ("Origin", &origin), json_type], "{}");
    assert_eq!(enter.status, 200, "{enter:?}");
    let set = enter.header("set-cookie").unwrap();
    assert!(set.contains("; HttpOnly; SameSite=Strict") && !set.contains(&server.token), "{set}");
    let cookie = set.split(';').next().unwrap();
    let body = json!({ "confirm": "chat-1", "why": "x" }).to_string();
    let pause = |headers: &[(&str, &str)]| {
        server.ask("POST /api/runs/chat-1/pause", &[&[("Cookie", cookie)], headers].concat(), &body).status
    };
    assert_eq!(pause(&[("Origin", "http://evil.example"), json_type]), 403);
    assert_eq!(pause(&[json_type]), 403);
    assert_eq!(pause(&[("Origin", &origin), ("Sec-Fetch-Site", "same-site"), json_type]), 403);
    assert_eq!(pause(&[("Origin", &origin), ("Content-Type", "text/plain")]), 415);
    let host = format!("evil.example:{}", server.addr.port());
    let rebound = [("Host", host.as_str()), ("Cookie", cookie)];
    for line in ["GET /", "GET /api/runs", "GET /metrics", "POST /api/runs/chat-1/pause"] {
        assert_eq!(crate::lab::requests::request(server.addr, line, &rebound, "").status, 421, "{line}");
    }
    assert!(since(&migrate, before).is_empty());
    assert_eq!(pause(&[("Origin", &origin), ("Sec-Fetch-Site", "same-origin"), json_type]), 200);
}

#[test]
fn everything_is_stopped_by_the_switch_that_says_who_and_why() {
    let (_place, migrate) = open_run();
    let server = Server::start(&migrate, &[]);
    let switch = migrate.state_dir().join("STOP");
    assert_eq!(server.post("/api/stop", &json!({ "confirm": "STOP", "why": "a storm" })).status, 409);
    assert_eq!(server.post("/api/stop", &json!({ "confirm": "all runs" })).status, 409, "it wants a reason");
    assert!(!switch.exists());
    assert_eq!(server.post("/api/stop", &json!({ "confirm": "all runs", "why": "a storm" })).status, 200);
    let said = std::fs::read_to_string(&switch).unwrap();
    assert!(said.ends_with(": a storm\n") && said.contains('@'), "{said}");
    assert_eq!(server.post("/api/stop", &json!({ "confirm": "all runs", "why": "again" })).status, 409);
    assert!(json(&server.get("/api/runs"))["stopped"].as_str().unwrap().contains("a storm"));
    let resume = server.post("/api/runs/chat-1/resume", &json!({ "confirm": "chat-1" }));
    assert!(resume.status == 409 && resume.body.contains("holds every run"), "{resume:?}");
    assert_eq!(server.post("/api/go-on", &json!({ "confirm": "all runs" })).status, 200);
    assert!(!switch.exists());
}

#[test]
fn a_rollback_that_cannot_begin_says_why() {
    let (_place, migrate) = open_run();
    let server = Server::start(&migrate, &[]);
    // This run keeps no texts, so no other program can go on with it.
    let back = server.post("/api/runs/chat-1/rollback", &json!({ "confirm": "chat-1", "why": "the wrong evening" }));
    assert_eq!(back.status, 409, "{back:?}");
    assert!(!json(&back)["said"].as_str().unwrap().is_empty());
    let view = json(&server.get("/api/runs/chat-1"));
    assert_eq!(view["head"]["errand"]["command"], "migrate rollback chat-1");
}

#[test]
fn elsewhere_it_listens_over_tls_only() {
    let (place, migrate) = open_run();
    let refused = migrate.run(&["serve", "--listen", "0.0.0.0:0"]).expect(1);
    assert!(refused.stderr.contains("TLS") && refused.stderr.contains("--tls-cert"), "{}", refused.stderr);
    let authority = Authority::start(place.path());
    authority.issue("ops", "DNS:ops.example,IP:127.0.0.1", 2);
    let path = |name: &str| authority.path(name).display().to_string();
    let (pem, key) = (path("ops.chain.pem"), path("ops.key"));
    let nameless = migrate.run(&["serve", "--listen", "0.0.0.0:0", "--tls-cert", &pem, "--tls-key", &key]).expect(1);
    assert!(nameless.stderr.contains("--name"), "{}", nameless.stderr);
    let swapped = migrate.run(&["serve", "--tls-cert", &key, "--tls-key", &pem]).expect(1);
    assert!(swapped.stderr.contains("ops.key: there is no certificate in it"), "{}", swapped.stderr);
    let server = Server::start(&migrate, &["--tls-cert", &pem, "--tls-key", &key]);
    let ca = authority.path("ca.pem");
    let client = migrate::web::client(migrate::web::Trust::File(&ca)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (status, set) = runtime.block_on(async {
        let url = format!("https://{}", server.addr);
        let entered = client.post(format!("{url}/api/enter")).bearer_auth(&server.token);
        let entered = entered.header("Content-Type", "application/json").body("{}").send().await.unwrap();
        (entered.status().as_u16(), entered.headers()["set-cookie"].to_str().unwrap().to_owned())
    });
    assert_eq!(status, 200);
    assert!(set.starts_with("__Host-") && set.contains("; Secure"), "{set}");
}
