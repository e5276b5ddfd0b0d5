//! A source is empty when it holds nothing and nothing comes to it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::support::*;
use crate::lab::fleet::{BACKEND, Fleet};

/// A fleet whose clients are kept at their server by address, and now at the first source.
fn sticky() -> Fleet {
    let mut fleet = cutover(2);
    let path = fleet.haproxy().config().to_owned();
    let text = std::fs::read_to_string(&path).unwrap();
    let sticky = "  balance roundrobin\n  stick-table type ip size 1k\n  stick on src\n";
    std::fs::write(&path, text.replace("  balance roundrobin\n", sticky)).unwrap();
    fleet.haproxy_mut().reload();
    fleet.haproxy().command(&format!("set server {BACKEND}/dal-2 state maint"));
    ask(&fleet);
    fleet.haproxy().command(&format!("set server {BACKEND}/dal-2 state ready"));
    assert_eq!(entries(&fleet), 1);
    fleet
}

/// Entries that lead to the first source.
fn entries(fleet: &Fleet) -> usize {
    let shown = fleet.haproxy().command(&format!("show table {BACKEND} data.server_id eq 1"));
    shown.lines().filter(|line| line.starts_with("0x")).count()
}

/// One short connection.
fn ask(fleet: &Fleet) {
    let mut stream = TcpStream::connect(fleet.haproxy().frontend(BACKEND)).unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let _ = stream.read_to_end(&mut Vec::new());
}

/// Runs something while short connections come, one after the other.
fn while_clients_come<T>(fleet: &Fleet, run: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                ask(fleet);
                std::thread::sleep(Duration::from_millis(30));
            }
        });
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        stop.store(true, Ordering::Relaxed);
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[test]
fn a_source_that_holds_nothing_and_still_gets_sessions_is_not_empty() {
    let fleet = sticky();
    // Nobody tells that clients are pinned: the rule stands only in haproxy.cfg.
    fleet.place.edit("inventories/lab.yaml", "    config: /tmp/migrate-lab/haproxy.cfg\n", "");
    fleet.place.edit(CUTOVER, "persist: write", "persist: ignore");
    while_clients_come(&fleet, || {
        let mut running = apply(&fleet, CUTOVER);
        wait_for_words(&mut running, "uploads/dal-1/empty", "came since the last look");
        let said = migrate(&fleet).run(&["explain", "uploads"]).expect(0).stdout;
        assert!(said.contains("none comes"), "{said}");
        running.kill();
    });
    let begun = begun(&records(&fleet, "uploads-1"), false);
    assert!(!begun.iter().any(|id| id.starts_with("uploads/dal-1/freeze")), "{begun:?}");
    // Once nobody comes any more, it is.
    migrate(&fleet).run(&["apply", CUTOVER, "--yes"]).expect(0);
}

#[test]
fn nobody_is_led_to_a_source_in_maintenance_by_a_stick_table() {
    let fleet = sticky();
    while_clients_come(&fleet, || {
        let mut running = apply(&fleet, CUTOVER);
        wait_for_outcome(&mut running, "uploads/dal-1/drain");
        assert_eq!(entries(&fleet), 0);
        running.finish().expect(0);
    });
}
