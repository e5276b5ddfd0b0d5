//! Seen in a real Chromium: a run is watched and steered, the server is lost and comes back, and foreign pages get nowhere.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::PathBuf;

use migrate::event::Event;

use super::support::Server;
use crate::lab::browser::Browser;
use crate::lab::fleet::Fleet;
use crate::operations::support::*;

const GATE: &str = "web/dal-1/gate-before_shift";

/// The ramp that asks before its first shift.
fn with_gate() -> Fleet {
    let fleet = ramp(1);
    fleet.place.edit(RAMP, "    hooks:", "    gates: {at: before_shift, approve: 1}\n    hooks:");
    fleet
}

fn has(fleet: &Fleet, wanted: impl Fn(&Event) -> bool) -> bool {
    records(fleet, "web-1").iter().any(|record| wanted(&record.event))
}

/// Fills the dialog in and sends it.
fn confirm(browser: &Browser, why: Option<&str>) {
    if let Some(why) = why {
        browser.type_into("dialog input[name=why]", why);
    }
    browser.type_into("dialog input[name=confirm]", "web-");
    assert_eq!(browser.script("return document.querySelector('dialog button[type=submit]').disabled"), true);
    browser.type_into("dialog input[name=confirm]", "1");
    browser.click("dialog button[type=submit]");
    browser.wait_for("document.querySelector('dialog .box.good')");
    browser.click("dialog button[type=button]");
}

/// Where pictures are kept, when somebody wants to look at them.
fn picture(browser: &Browser, name: &str) {
    let Some(dir) = std::env::var_os("MIGRATE_PICTURES").map(PathBuf::from) else { return };
    for (kind, dark, size) in
        [("light", false, (1280, 1000)), ("dark", true, (1280, 1000)), ("phone", true, (390, 1600))]
    {
        browser.picture(&dir.join(format!("{name}-{kind}.png")), dark, size);
    }
}

#[test]
fn a_run_is_watched_approved_paused_and_followed_over_the_loss_of_the_server() {
    let fleet = with_gate();
    let server = Server::start(&migrate(&fleet), &[]);
    let mut running = apply(&fleet, RAMP);
    wait_for_words(&mut running, GATE, "approval (0 of 1)");
    let browser = Browser::start(fleet.place.root(), &[]);
    browser.go(&server.link());
    browser.click("a[data-run='web-1']");
    browser
        .wait_for(&format!("document.querySelector('[data-step=\"{GATE}\"]').innerText.includes('approval (0 of 1)')"));
    assert_eq!(browser.url(), format!("{}/runs/web-1", server.origin()));
    assert_eq!(browser.script("return document.cookie"), "", "no script reads it");
    picture(&browser, "gate");

    browser.click("[data-act=pause]");
    picture(&browser, "dialog");
    confirm(&browser, Some("the link is busy"));
    browser.wait_for_words("the link is busy");
    browser.wait_for("document.querySelector('#state .badge').innerText === 'paused'");
    let user = crate::lab::sshd::user();
    assert!(has(&fleet, |e| matches!(e, Event::Paused { by, why } if by.user == user && why == "the link is busy")));
    browser.click(&format!("[data-step='{GATE}'] [data-act=approve]"));
    confirm(&browser, Some("error rate is flat"));
    browser.wait_for(&format!("!document.querySelector('[data-step=\"{GATE}\"]')"));
    assert!(has(&fleet, |e| matches!(e, Event::Approved { step, by, .. } if step == GATE && by.user == user)));
    // It holds: nothing begins behind the gate.
    let begun_by_then = begun(&records(&fleet, "web-1"), false);
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(begun(&records(&fleet, "web-1"), false), begun_by_then);

    let (addr, link) = (server.addr, server.origin());
    server.running.kill();
    browser.wait_for("document.body.dataset.line === 'lost'");
    picture(&browser, "lost");
    // Meanwhile it goes on.
    migrate(&fleet).run(&["resume", "web"]).expect(0);
    wait_for_outcome(&mut running, "web/shift-10");
    let server = Server::start_at(&migrate(&fleet), addr, &[]);
    assert_eq!(server.origin(), link);
    browser.wait_for("document.body.dataset.line === 'live'");
    running.finish().expect(0);
    browser.wait_for("document.querySelector('#state .badge').innerText === 'finished'");
    browser.wait_for("document.querySelector('#log').innerText.includes('everything is done')");
    picture(&browser, "finished");
    // Not a line is missing or there twice.
    let shown = browser.script("return [...document.querySelectorAll('#log li')].map(li => Number(li.dataset.seq))");
    let all: Vec<(u64, String)> = serde_json::from_str(&server.get("/api/runs/web-1/log").body).unwrap();
    assert_eq!(shown, serde_json::json!(all.iter().map(|(seq, _)| seq).collect::<Vec<_>>()));
    // The whole way, by the page.
    browser.click("[data-act=rollback]");
    confirm(&browser, Some("only a test"));
    browser.wait_for("document.querySelector('#state .badge').innerText === 'rolled back'");
    browser.wait_for("document.querySelector('#errand').innerText.includes('done')");
    let is_it =
        |e: &Event| matches!(e, Event::RollbackBegan { by, why, .. } if by.user == user && why == "only a test");
    assert!(has(&fleet, is_it));
    assert_status(&fleet, "web-1", "rolled back");
    browser.go(&format!("{link}/"));
    browser.wait_for_words("rolled back");
    picture(&browser, "list");
}

/// A server of somebody else: every page of it does what a script says.
fn foreign(script: &str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let body = format!("<!doctype html><title>foreign</title><body>foreign<script>{script}</script>");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut lines = BufReader::new(&stream).lines();
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: {}",
                body.len()
            );
            let _ = write!(stream, "{head}\r\n\r\n{body}");
        }
    });
    port
}

#[test]
fn foreign_pages_neither_act_nor_read_and_other_names_lead_nowhere() {
    let fleet = with_gate();
    let mut server = Server::start(&migrate(&fleet), &[]);
    let mut running = apply(&fleet, RAMP);
    wait_for_words(&mut running, GATE, "approval (0 of 1)");
    let origin = server.origin();
    // A page on another port of the same machine: its requests bring the cookie along.
    let script = format!(
        "const body = JSON.stringify({{confirm: 'web-1', why: 'x'}});
         const url = '{origin}/api/runs/web-1/pause', all = {{method: 'POST', credentials: 'include', body}};
         const tried = f => f.then(r => r.type + ' ' + r.status, () => 'stopped');
         Promise.all([
           tried(fetch(url, {{...all, mode: 'no-cors'}})),
           tried(fetch(url, {{...all, headers: {{'Content-Type': 'application/json'}}}})),
           tried(fetch('{origin}/api/runs', {{credentials: 'include'}})),
         ]).then(all => {{
           const form = document.createElement('form'), frame = document.createElement('iframe');
           frame.name = 'frame'; form.target = 'frame'; form.method = 'POST'; form.action = url; form.enctype = 'text/plain';
           const field = document.createElement('input'); field.name = '{{\"confirm\":\"web-1\",\"why\":\"'; field.value = '\"}}'; form.append(field);
           frame.onload = () => {{ document.title = 'tried ' + all.join(', '); }};
           document.body.append(frame, form); form.submit();
         }});"
    );
    let port = foreign(&script);
    let rules = "--host-resolver-rules=MAP evil.example 127.0.0.1";
    let browser = Browser::start(fleet.place.root(), &[rules]);
    browser.go(&server.link());
    browser.wait_for_words("web-1");
    browser.go(&format!("http://127.0.0.1:{port}/"));
    browser.wait_for("document.title.startsWith('tried ')");
    assert_eq!(browser.script("return document.title"), "tried stopped, stopped, stopped");
    // The browser sends what a form could send, and the cookie with it: it has come, and was refused here.
    server.running.read_errors_until("POST /api/runs/web-1/pause refused: the request comes from a foreign page");
    // A name of somebody else that leads to this machine.
    for path in ["/", "/api/runs", "/metrics"] {
        browser.go("about:blank");
        browser.go(&format!("http://evil.example:{}{path}", server.addr.port()));
        browser.wait_for_words("not known by that name");
    }
    assert!(!has(&fleet, |e| matches!(e, Event::Paused { .. })));
    // Its own page still may, and says so when nothing can be done from here.
    browser.go(&format!("{origin}/runs/web-1"));
    browser.wait_for("document.querySelector('[data-act=pause]')");
    drop(server);
    let shut = Server::start(&migrate(&fleet), &["--read-only"]);
    browser.go(&shut.link());
    browser.wait_for_words("(read-only)");
    browser.click("a[data-run='web-1']");
    browser.wait_for(&format!("document.querySelector('[data-step=\"{GATE}\"]')"));
    assert_eq!(browser.script("return document.querySelectorAll('[data-act]').length"), 0);
    browser.go(&format!("{}/#token={}", shut.origin(), "0".repeat(64)));
    browser.wait_for_words("wrong or too old");
    assert!(!browser.url().contains("token"));
    running.signal("TERM");
    running.finish().expect(3);
}
