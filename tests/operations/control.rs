//! Orders from another terminal: to a live run through its socket, to a dead one through its journal.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use migrate::event::{Event, Record};
use serde_json::Value;

use super::support::*;
use crate::lab::command::Running;
use crate::lab::content::Dice;
use crate::lab::fleet::Fleet;
use crate::lab::process::PATIENCE;
use crate::lab::prometheus::{Exporter, Prometheus};
use crate::lab::service::Mode;

fn order(fleet: &Fleet, args: &[&str]) {
    migrate(fleet).run(args).expect(0);
}

fn socket(fleet: &Fleet, run: &str) -> PathBuf {
    journal(fleet, run).with_file_name("control.sock")
}

/// Time in which a run that may go on would have gone on.
fn let_it_go_on() {
    std::thread::sleep(Duration::from_millis(1500));
}

/// The steps that began after the last pause.
fn begun_in_pause(records: &[Record]) -> Vec<String> {
    let paused = records.iter().rposition(|r| matches!(r.event, Event::Paused { .. })).unwrap();
    begun(&records[paused..], false)
}

#[test]
fn paused_in_the_freeze_it_hands_the_pair_over_and_begins_nothing_else_until_it_is_resumed() {
    let fleet = cutover(2);
    fleet.place.edit(
        CUTOVER,
        "echo frozen > mode",
        "echo frozen > mode; until test -e {{ lab }}/go; do sleep 0.02; done",
    );
    let load = fleet.load(USERS);
    let mut running = apply(&fleet, CUTOVER);
    wait_for_intent(&mut running, "uploads/dal-1/freeze", false);
    order(&fleet, &["pause", "uploads", "--why", "lunch"]);
    let again = migrate(&fleet).run(&["pause", "uploads"]).expect(1);
    assert!(again.stderr.contains("paused already"), "{}", again.stderr);
    fs::write(fleet.place.root().join("go"), "").unwrap();
    wait_for_outcome(&mut running, "uploads/dal-1/shift-50");
    let_it_go_on();
    assert_eq!(fleet.targets[0].service.mode(), Mode::Serving);
    assert!(weight(&fleet, "fra-1") > 0);
    let so_far = records(&fleet, "uploads-1");
    let begun = begun_in_pause(&so_far);
    println!("begun while paused: {begun:?}");
    assert!(begun.iter().all(|id| step(&fleet, "uploads-1", id).urgent), "{begun:?}");
    assert!(begun.contains(&"uploads/dal-1/shift-50".to_owned()));
    let explained = migrate(&fleet).run(&["explain"]).expect(0).stdout;
    assert!(explained.contains(": lunch") && explained.contains("next: migrate resume uploads-1"), "{explained}");
    order(&fleet, &["resume", "uploads"]);
    running.finish().expect(0);
    let again = migrate(&fleet).run(&["resume", "uploads"]).expect(1);
    assert!(again.stderr.contains("ended") || again.stderr.contains("not paused"), "{}", again.stderr);
    assert_kept(&fleet, &load.stop());
}

/// The numbers of the records in lines of JSON.
fn numbers(lines: &str) -> Vec<u64> {
    let recorded = lines.lines().map(json).filter(|notice| notice["notice"] == "recorded");
    recorded.map(|notice| notice["seq"].as_u64().unwrap()).collect()
}

#[test]
fn whoever_follows_sees_every_record_from_any_one_on_also_when_the_controller_dies() {
    let fleet = ramp(1);
    fleet.place.edit(RAMP, "hold: 200ms", "hold: 1s");
    let mut running = apply(&fleet, RAMP);
    wait_for_intent(&mut running, "web/dal-1/check", false);
    let follow = |more: &[&str]| migrate(&fleet).start(&[&["status", "web", "--follow"], more].concat());
    let (all, later) = (follow(&["--format", "json"]), follow(&["--from", "5", "--format", "json"]));
    let people = follow(&[]);
    // Who follows and never reads holds nobody up.
    let socket = journal(&fleet, "web-1").with_file_name("control.sock");
    let mut deaf = UnixStream::connect(socket).unwrap();
    deaf.write_all(br#"{"follow":{"from":0}}"#).unwrap();
    deaf.shutdown(Shutdown::Write).unwrap();
    wait_for_intent(&mut running, "web/shift-10", false);
    let shown = running.kill();
    assert!(!numbers(&shown).is_empty());
    migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(0);
    let written = records(&fleet, "web-1").len() as u64;
    let all = all.finish().expect(0).stdout;
    assert_eq!(numbers(&all), (0..written).collect::<Vec<_>>());
    assert!(all.lines().map(json).any(|notice| notice["notice"] == "waiting"), "it saw records only");
    assert_eq!(numbers(&later.finish().expect(0).stdout), (5..written).collect::<Vec<_>>());
    let people = people.finish().expect(0).stdout;
    assert!(people.contains("✓ web/dal-1/check") && people.contains("resumed by"), "{people}");
    // What has ended is told and left.
    let again = migrate(&fleet).run(&["status", "web", "--follow", "--format", "json"]).expect(0).stdout;
    assert_eq!(numbers(&again), (0..written).collect::<Vec<_>>());
}

#[test]
fn the_stop_file_holds_a_run_and_its_removal_lets_it_go_on() {
    let fleet = ramp(1);
    fleet.place.edit(RAMP, "hold: 200ms", "hold: 3s");
    let load = fleet.load(USERS);
    let stop = migrate(&fleet).state_dir().join("STOP");
    let mut running = apply(&fleet, RAMP);
    wait_for_intent(&mut running, "web/shift-10", false);
    fs::write(&stop, "").unwrap();
    assert!(running.read_until(|line| json(line)["event"]["event"] == "paused").is_some());
    order(&fleet, &["set", "web", "hold=100ms"]);
    let_it_go_on();
    assert_eq!(begun_in_pause(&records(&fleet, "web-1")), Vec::<String>::new());
    let explained = migrate(&fleet).run(&["explain"]).expect(0).stdout;
    assert!(explained.contains("STOP is there"), "{explained}");
    // It is for all runs: nobody talks one of them out of it.
    let refused = migrate(&fleet).run(&["resume", "web"]).expect(1);
    assert!(refused.stderr.contains("STOP is there"), "{}", refused.stderr);
    fs::remove_file(&stop).unwrap();
    running.finish().expect(0);
    assert_kept(&fleet, &load.stop());
}

#[test]
fn the_stop_file_holds_a_run_that_is_only_begun_while_it_is_there() {
    let fleet = ramp(1);
    let before = pool(&fleet);
    let stop = migrate(&fleet).state_dir().join("STOP");
    fs::create_dir_all(stop.parent().unwrap()).unwrap();
    fs::write(&stop, "").unwrap();
    let mut running = apply(&fleet, RAMP);
    assert!(running.read_until(|line| json(line)["event"]["event"] == "paused").is_some());
    let_it_go_on();
    assert_eq!(pool(&fleet), before);
    assert_eq!(begun(&records(&fleet, "web-1"), false), Vec::<String>::new(), "it began before it looked");
    fs::remove_file(&stop).unwrap();
    running.finish().expect(0);
}

#[test]
fn the_hold_can_be_shortened_while_a_run_goes_on() {
    let fleet = ramp(1);
    fleet.place.edit(RAMP, "hold: 200ms", "hold: 1h");
    let mut running = apply(&fleet, RAMP);
    wait_for_intent(&mut running, "web/dal-1/check", false);
    order(&fleet, &["set", "web", "hold=100ms"]);
    running.finish().expect(0);
    let wrong = migrate(&fleet).run(&["set", "web", "hold=soon"]).expect(1);
    assert!(wrong.stderr.contains("hold=soon"), "{}", wrong.stderr);
}

#[test]
fn the_bandwidth_can_be_limited_while_a_run_goes_on() {
    let fleet = cutover(2);
    fleet.place.edit(CUTOVER, "    hooks:", "    gates: {at: before_seed, approve: 1}\n    hooks:");
    let running = apply(&fleet, CUTOVER);
    wait_for_socket(&fleet, "uploads-1");
    order(&fleet, &["set", "uploads", "bandwidth=2MiB"]);
    for source in ["dal-1", "dal-2"] {
        order(&fleet, &["approve", "uploads", &format!("uploads/{source}/gate-before_seed"), "--why", "go"]);
    }
    running.finish().expect(0);
    let bytes: u64 = fleet.sources[0].seeds.values().map(crate::lab::tree::Entry::bytes).sum();
    let records = records(&fleet, "uploads-1");
    let at = |wanted: fn(&Event, &str) -> bool| {
        records.iter().find(|r| wanted(&r.event, "uploads/dal-1/seed")).map(|r| r.at).unwrap()
    };
    let began = at(|e, id| matches!(e, Event::Intent { step, .. } if step == id));
    let ended = at(|e, id| matches!(e, Event::Outcome { step, .. } if step == id));
    let took = ended.duration_since(began).as_secs_f64();
    println!("{bytes} bytes in {took:.1} s");
    assert!(took >= bytes as f64 / f64::from(2 << 20) * 0.7, "{bytes} bytes took only {took} s");
}

#[test]
fn a_limit_is_lifted_for_a_copy_that_is_under_way() {
    let fleet = cutover(2);
    // At this rate the seed would take longer than any test.
    fleet.place.edit(CUTOVER, "settle_below: 2MiB", "settle_below: 2MiB, bandwidth: 100B");
    fleet.place.edit(CUTOVER, "migration: uploads", "migration: uploads\ntotal_bandwidth: 10B");
    let mut running = apply(&fleet, CUTOVER);
    wait_for_intent(&mut running, "uploads/dal-1/seed", false);
    let_it_go_on();
    order(&fleet, &["set", "uploads", "bandwidth=0"]);
    let_it_go_on();
    let seeded = |records: &[Record]| {
        let done = |e: &Event| matches!(e, Event::Outcome { step, .. } if step == "uploads/dal-1/seed");
        records.iter().any(|r| done(&r.event))
    };
    assert!(!seeded(&records(&fleet, "uploads-1")), "the limit for all still holds it");
    order(&fleet, &["set", "uploads", "total_bandwidth=1GiB"]);
    running.finish().expect(0);
}

#[test]
fn a_copy_stands_still_while_the_load_of_its_source_is_too_high_or_unknown() {
    let fleet = cutover(2);
    let throttle = "settle_below: 2MiB, throttle: {command: \"cat {{ lab }}/load\", above: 8, every: 100ms}";
    fleet.place.edit(CUTOVER, "settle_below: 2MiB", throttle);
    let load = fleet.place.root().join("load");
    fs::write(&load, "8.5\n").unwrap();
    let mut running = apply(&fleet, CUTOVER);
    wait_for_words(&mut running, "uploads/dal-1/seed", "the load of dal-1 to fall to 8: it is 8.5");
    fs::write(&load, "low\n").unwrap();
    wait_for_words(&mut running, "uploads/dal-1/seed", "a load of dal-1 that is known");
    fs::remove_file(&load).unwrap();
    wait_for_words(&mut running, "uploads/dal-1/seed", "ended with status 1");
    let_it_go_on();
    let seed = "uploads/dal-1/seed";
    let ended =
        records(&fleet, "uploads-1").iter().any(|r| matches!(&r.event, Event::Outcome { step, .. } if step == seed));
    assert!(!ended);
    fs::write(&load, "8\n").unwrap();
    running.finish().expect(0);
}

#[test]
fn the_limit_of_a_copy_falls_with_a_bad_number_stands_still_without_one_and_is_taken_up_again() {
    let latency = |n: &str| format!("latency{{host=\"dal-1\"}} {n}\n");
    let exporter = Exporter::start(&latency("9"));
    let prometheus = Prometheus::start(&[exporter.addr]);
    let fleet = cutover(2);
    let query = format!(
        "{{prometheus: {{server: 'http://{}', query: 'latency{{host=\"{{{{ name }}}}\"}}', below: 5}}}}",
        prometheus.addr
    );
    // Less than the seed needs in the time of the test.
    let governed = format!("settle_below: 2MiB, bandwidth: 40KiB, govern: [{query}]");
    fleet.place.edit(CUTOVER, "settle_below: 2MiB", &governed);
    let seed = "uploads/dal-1/seed";
    let mut running = apply(&fleet, CUTOVER);
    let told = |running: &mut Running, what: &dyn Fn(&Value) -> bool| {
        let line = running.read_until(|line| {
            let notice = json(line);
            notice["notice"] == "paced" && notice["step"] == seed && what(&notice["pace"])
        });
        json(&line.expect("it ended before"))["pace"].clone()
    };
    let held_by = |pace: &Value, by: &str| pace["held_by"].as_str().is_some_and(|held| held.contains(by));
    let low = told(&mut running, &|pace| (1..=10 << 10).contains(&pace["limit"].as_u64().unwrap()));
    assert!(held_by(&low, "wanted below 5"), "{low}");
    let explained = migrate(&fleet).run(&["explain", "uploads"]).expect(0);
    assert!(explained.stdout.contains("of 40.0 KiB/s, held by ask"), "{}", explained.stdout);
    exporter.say(&latency("NaN"));
    let still = told(&mut running, &|pace| pace["limit"] == 0 && held_by(pace, "NaN"));
    let aims = still["aims"].as_u64().unwrap();
    assert!(
        told(&mut running, &|pace| pace["limit"] == 0)["aims"] == aims,
        "what is not known is neither good nor bad"
    );
    running.kill();
    let of_seed = |r: Record| match r.event {
        Event::Paced { step, pace } if step == seed => Some(pace),
        _ => None,
    };
    let recorded =
        records(&fleet, "uploads-1").into_iter().filter_map(of_seed).next_back().expect("its fall is recorded");
    assert!(recorded.aims <= 10 << 10 && recorded.most == 40 << 10, "{recorded:?}");
    let status = migrate(&fleet).run(&["status", "uploads"]).expect(0);
    assert!(status.stdout.contains(&recorded.to_string()), "{}", status.stdout);
    // The next controller begins where it was, and climbs.
    exporter.say(&latency("1"));
    let mut running = apply(&fleet, CUTOVER);
    let first = told(&mut running, &|pace| pace["limit"] != 0);
    assert!(first["limit"].as_u64().unwrap() <= recorded.aims, "{first}");
    let next = told(&mut running, &|_| true);
    assert_eq!(next["limit"].as_u64().unwrap(), first["limit"].as_u64().unwrap() + (2 << 10), "{next}");
    order(&fleet, &["set", "uploads", "bandwidth=0"]);
    running.finish().expect(0);
}

fn wait_for_socket(fleet: &Fleet, run: &str) {
    let began = Instant::now();
    while UnixStream::connect(socket(fleet, run)).is_err() {
        assert!(began.elapsed() < PATIENCE, "no socket");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn fewer_pairs_can_be_let_out_of_service_while_a_run_goes_on() {
    let fleet = cutover(3);
    let gates = "    gates: [{at: before_drain, approve: 1}, {at: freeze, approve: 1}]\n    hooks:";
    fleet.place.edit(CUTOVER, "    hooks:", gates);
    fleet.place.edit(CUTOVER, "services:", "waves: [{name: all, services: uploads, max_unavailable: 2}]\nservices:");
    fleet.place.edit(CUTOVER, "    drain:", "    min_capacity: 30%\n    drain:");
    let load = fleet.load(USERS);
    let mut running = apply(&fleet, CUTOVER);
    wait_for_intent(&mut running, "uploads/dal-1/seed", false);
    order(&fleet, &["set", "uploads", "max_unavailable=1"]);
    let approve = |point: &str, source: &str| {
        order(&fleet, &["approve", "uploads", &format!("uploads/{source}/gate-{point}"), "--why", "go"]);
    };
    for source in ["dal-1", "dal-2", "dal-3"] {
        approve("before_drain", source);
    }
    let frozen = running.read_until(|line| {
        let line = json(line);
        line["event"]["event"] == "intent" && line["event"]["step"].as_str().unwrap().ends_with("gate-freeze")
    });
    assert!(frozen.is_some());
    let_it_go_on();
    let drained =
        |fleet: &Fleet| begun(&records(fleet, "uploads-1"), false).iter().filter(|id| id.ends_with("/drain")).count();
    assert_eq!(drained(&fleet), 1, "the plan would have let out two");
    for source in ["dal-1", "dal-2", "dal-3"] {
        approve("freeze", source);
    }
    running.finish().expect(0);
    assert_eq!(drained(&fleet), 3);
    assert_kept(&fleet, &load.stop());
}

#[test]
fn an_aborted_run_is_held_at_a_safe_point_and_apply_goes_on() {
    let fleet = ramp(1);
    fleet.place.edit(RAMP, "hold: 200ms", "hold: 1h");
    let load = fleet.load(USERS);
    let mut running = apply(&fleet, RAMP);
    wait_for_intent(&mut running, "web/watch-10", false);
    order(&fleet, &["abort", "web", "--why", "wrong day"]);
    running.finish().expect(3);
    assert_status(&fleet, "web-1", "held");
    let explained = migrate(&fleet).run(&["explain"]).expect(0).stdout;
    assert!(explained.contains("aborted it: wrong day"), "{explained}");
    assert!(!socket(&fleet, "web-1").exists());
    order(&fleet, &["set", "web", "hold=100ms"]);
    migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(0);
    assert_kept(&fleet, &load.stop());
}

#[test]
fn explain_says_what_a_live_run_waits_for_since_when_and_what_would_end_it() {
    let fleet = ramp(1);
    fleet.place.edit(RAMP, "hold: 200ms", "hold: 10m");
    let mut running = apply(&fleet, RAMP);
    wait_for_words(&mut running, "web/watch-10", "9m ");
    let explained = migrate(&fleet).run(&["explain"]).expect(0).stdout;
    insta::assert_snapshot!(redacted(&explained), @r"
    Run web-1: it goes forward
      web/watch-10: health of fra-1 for 10m 00s
        since: …
        seen:  … left; no session has come to uploads; fra-1: GET http://…/health → 200 …
        ends when the hold passes without a failure by …
    ");
    running.signal("INT");
    running.finish().expect(3);
    let explained = migrate(&fleet).run(&["explain", "web"]).expect(0).stdout;
    // The whole path: it is found from anywhere.
    let explained = explained.replace(&format!("{}/", fleet.place.root().display()), "…/");
    insta::assert_snapshot!(redacted(&explained), @r"
    Run web-1: stopped by interrupt …
      next: migrate apply …/plans/ramp.yaml
    ");
}

/// Without times and addresses.
fn redacted(text: &str) -> String {
    let times = regex::Regex::new(
        r"[0-9-]{10} [0-9:]{8} UTC|([0-9]+m )?[0-9.]+ ?m?s of hold|[0-9]+ m?s ago|in [0-9]+ ms|[0-9.]+:7080",
    )
    .unwrap();
    times.replace_all(text, "…").into_owned()
}

#[test]
fn only_its_owner_can_speak_to_a_live_run() {
    let fleet = ramp(1);
    fleet.place.edit(RAMP, "hold: 200ms", "hold: 1h");
    let mut running = apply(&fleet, RAMP);
    wait_for_intent(&mut running, "web/watch-10", false);
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(socket(&fleet, "web-1")), 0o600);
    assert_eq!(mode(journal(&fleet, "web-1")), 0o600);
    assert_eq!(mode(journal(&fleet, "web-1").parent().unwrap().to_owned()), 0o700);
    running.signal("INT");
    running.finish().expect(3);
}

#[test]
fn garbage_on_the_socket_does_no_harm() {
    let fleet = ramp(1);
    fleet.place.edit(RAMP, "hold: 200ms", "hold: 1h");
    let load = fleet.load(USERS);
    let mut running = apply(&fleet, RAMP);
    wait_for_intent(&mut running, "web/watch-10", false);
    let path = socket(&fleet, "web-1");
    let connect = || UnixStream::connect(&path).unwrap();
    // Connections that say nothing, or not all of it, stay open to the end.
    let silent: Vec<UnixStream> = (0..40).map(|_| connect()).collect();
    let mut half = connect();
    half.write_all(b"{\"order\":{\"order\":{\"order\":\"pa").unwrap();
    let mut dice = Dice::new(1, "garbage");
    let mut sent = 0;
    for length in [0, 1, 100, 10_000, 1 << 20, (1 << 20) + 1, 3 << 20] {
        for bytes in [dice.bytes(length), vec![b'['; length as usize], vec![b' '; length as usize]] {
            let mut stream = connect();
            // It need not take in all of it.
            let _ = stream.write_all(&bytes);
            let _ = stream.shutdown(Shutdown::Write);
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            let answer = String::from_utf8_lossy(&answer);
            assert!(answer.is_empty() || answer.contains("refused"), "{answer}");
            sent += 1;
        }
    }
    for wrong in [
        "{\"order\":{\"order\":{\"order\":\"explode\"},\"by\":{\"user\":\"a\",\"host\":\"b\",\"pid\":1}}}",
        "\"waiting\" x",
        "null",
    ] {
        let mut stream = connect();
        stream.write_all(wrong.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("refused"), "{answer}");
        sent += 1;
    }
    println!("{sent} messages of garbage, {} silent connections", silent.len() + 1);
    let so_far = records(&fleet, "web-1");
    assert!(matches!(&so_far.last().unwrap().event, Event::Intent { step, .. } if step == "web/watch-10"));
    // Somebody who means it is still heard.
    order(&fleet, &["abort", "web"]);
    running.finish().expect(3);
    drop((silent, half));
    order(&fleet, &["set", "web", "hold=100ms"]);
    migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(0);
    assert_kept(&fleet, &load.stop());
}

/// A run whose controller was killed in the first watch.
fn dead(fleet: &Fleet) {
    let mut running = apply(fleet, RAMP);
    wait_for_intent(&mut running, "web/watch-10", false);
    running.kill();
}

#[test]
fn orders_to_a_run_without_a_controller_hold_when_it_is_taken_up() {
    let fleet = ramp(1);
    fleet.place.edit(RAMP, "hold: 200ms", "hold: 1h");
    let load = fleet.load(USERS);
    dead(&fleet);
    order(&fleet, &["pause", "web", "--why", "not before noon"]);
    order(&fleet, &["set", "web", "hold=100ms"]);
    let explained = migrate(&fleet).run(&["explain"]).expect(0).stdout;
    assert!(explained.contains("not before noon"), "{explained}");
    let before = begun(&records(&fleet, "web-1"), false);
    let running = apply(&fleet, RAMP);
    wait_for_socket(&fleet, "web-1");
    let_it_go_on();
    assert_eq!(begun(&records(&fleet, "web-1"), false), before, "it went on while it was paused");
    order(&fleet, &["resume", "web"]);
    running.finish().expect(0);
    assert_kept(&fleet, &load.stop());
}

#[test]
fn a_run_without_a_controller_can_be_aborted() {
    let fleet = ramp(1);
    dead(&fleet);
    assert_status(&fleet, "web-1", "interrupted");
    order(&fleet, &["abort", "web", "--why", "enough"]);
    assert_status(&fleet, "web-1", "held");
    migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(0);
}
