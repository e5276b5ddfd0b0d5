//! The live view of runs in a cluster: on a machine that has none of them, and beside a controller.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::json as body;

use super::machines::on;
use crate::lab::etcd::Etcd;
use crate::lab::process::free_port;
use crate::operations::support::*;
use crate::serve::support::{Server, json as reply};

#[test]
fn a_run_is_seen_and_led_in_the_live_view_of_another_machine() {
    let (etcd, fleet) = (Etcd::cluster(), ramp(1));
    fleet.place.edit(RAMP, "hold: 200ms", "hold: 1h");
    // The state directory in which the token is looked for.
    let (desk, other) = (on("desk", &fleet, &etcd), on("state", &fleet, &etcd));
    let server = Server::start(&other, &[]);
    let mut running = desk.start(&["apply", RAMP, "--yes", "--format", "json"]);
    wait_for_intent(&mut running, "web/watch-10", false);
    let list = reply(&server.get("/api/runs"));
    assert_eq!((&list["runs"][0]["run"], &list["runs"][0]["status"]), (&body!("web-1"), &body!("running")));
    let mut events = server.events("/api/runs/web-1/events", None);
    assert_eq!(reply_of(&events.next("view").data)["head"]["run"], "web-1");
    assert!(events.next("lines").data.contains("web/watch-10"));
    // The order goes through the cluster, and comes back as a record.
    let act = |word: &str, why: &str| {
        let done = server.post(&format!("/api/runs/web-1/{word}"), &body!({ "confirm": "web-1", "why": why }));
        assert_eq!(done.status, 200, "{word}: {done:?}");
    };
    act("pause", "a look from afar");
    assert!(running.read_until(|line| json(line)["event"]["why"] == "a look from afar").is_some());
    while !events.next("lines").data.contains("a look from afar") {}
    assert_eq!(reply(&server.get("/api/runs/web-1"))["head"]["paused"]["why"], "a look from afar");
    act("resume", "");
    act("abort", "enough");
    running.finish().expect(3);
    while !events.next("lines").data.contains("enough") {}
    assert_eq!(reply(&server.get("/api/runs"))["runs"][0]["status"], "held");
    assert_eq!(server.get("/metrics").body, other.run(&["metrics"]).expect(0).stdout);
}

#[test]
fn a_controller_serves_all_runs_of_the_cluster_beside_its_own() {
    let (etcd, fleet) = (Etcd::single(), ramp(1));
    fleet.place.edit(RAMP, "hold: 200ms", "hold: 1h");
    let (desk, other) = (on("state", &fleet, &etcd), on("other", &fleet, &etcd));
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let addr = SocketAddr::new(here, free_port(here));
    let serve = format!("--serve={addr}");
    let mut running = desk.start(&["apply", RAMP, "--yes", "--format", "json", &serve]);
    running.read_errors_until("The live view is at ");
    let token = std::fs::read_to_string(desk.state_dir().join("serve-token")).unwrap().trim().to_owned();
    wait_for_words(&mut running, "web/watch-10", "of hold left");
    let server = Server { addr, token, running };
    let view = reply(&server.get("/api/runs/web-1"));
    assert_eq!((&view["head"]["run"], &view["head"]["status"]), (&body!("web-1"), &body!("running")));
    let mut events = server.events("/api/runs/web-1/events", None);
    events.next("view");
    other.run(&["pause", "web", "--why", "lunch elsewhere"]).expect(0);
    while !events.next("lines").data.contains("lunch elsewhere") {}
    let done = server.post("/api/runs/web-1/resume", &body!({ "confirm": "web-1" }));
    assert_eq!(done.status, 200, "{done:?}");
    other.run(&["abort", "web"]).expect(0);
    server.running.finish().expect(3);
    let status = json(&other.run(&["status", "web-1", "--format", "json"]).expect(0).stdout);
    assert_eq!(status["status"], "held", "{status}");
}

fn reply_of(data: &str) -> serde_json::Value {
    serde_json::from_str(data).unwrap_or_else(|e| panic!("{e}: {data}"))
}
