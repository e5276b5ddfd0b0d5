//! People who do not watch a run are told about it, by webhooks of a real HTTP server; whatever becomes of that, the run goes on.

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use migrate::event::{Event, Record};
use migrate::model::{Delivery, Notified, Occasion};

use super::support::*;
use crate::lab::fleet::Fleet;
use crate::lab::process::PATIENCE;
use crate::lab::receiver::{Receiver, Told};

const GATE: &str = "web/dal-1/gate-before_shift";
/// In every URL and header: it must come out nowhere.
const CANARY: &str = "T0K3N-c4n4ry";

/// The ramp that tells these receivers, each with its settings; in them, URL stands for a file with that of the receiver.
fn telling(receivers: &[(&str, std::net::SocketAddr)]) -> Fleet {
    let fleet = ramp(1);
    let mut notify = String::from("notify:\n");
    for (n, (settings, addr)) in receivers.iter().enumerate() {
        fs::write(fleet.place.root().join(format!("plans/url-{n}")), format!("http://{addr}/{CANARY}\n")).unwrap();
        let settings = settings.replace("URL", &format!("{{file: ./url-{n}}}"));
        notify += &format!("  - {{{}}}\n", settings.replace("ADDR", &addr.to_string()));
    }
    fs::write(fleet.place.root().join("plans/key"), format!("{CANARY}\n")).unwrap();
    fleet.place.edit(RAMP, "services:\n", &format!("{notify}services:\n"));
    fleet
}

fn notified(records: &[Record]) -> Vec<Notified> {
    let of = |record: &Record| match &record.event {
        Event::Notified(notified) => Some(notified.clone()),
        _ => None,
    };
    records.iter().filter_map(of).collect()
}

/// The URL and the key are in no file of the run, and were not printed.
#[track_caller]
fn assert_secret(fleet: &Fleet, said: &str) {
    assert!(!said.contains(CANARY), "{said}");
    let mut open = vec![migrate(fleet).state_dir()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if let Ok(bytes) = fs::read(&path) {
                let found = bytes.windows(CANARY.len()).any(|part| part == CANARY.as_bytes());
                assert!(!found, "{} holds a secret", path.display());
            }
        }
    }
}

/// What a receiver was told, once it was told so many things.
#[track_caller]
fn told(receiver: &Receiver, many: usize) -> Vec<Told> {
    let end = std::time::Instant::now() + PATIENCE;
    while receiver.told().len() < many {
        assert!(std::time::Instant::now() < end, "only {:?}", receiver.told());
        std::thread::sleep(Duration::from_millis(20));
    }
    receiver.told()
}

#[test]
fn each_receiver_is_told_of_gates_and_the_end_in_its_own_shape() {
    let [slack, teams, pager, own] = [(); 4].map(|()| Receiver::start());
    let body = r#"'{"alert": "{{ occasion }}", "of": ["{{ step }}"], "text": "{{ text }}"}'"#;
    let fleet = telling(&[
        ("slack: URL", slack.addr),
        ("teams: URL", teams.addr),
        ("pagerduty: {file: ./key}, url: \"http://ADDR/v2/enqueue\"", pager.addr),
        (&format!("webhook: URL, headers: {{Authorization: {{file: ./key}}}}, body: {body}"), own.addr),
    ]);
    fleet.place.edit(RAMP, "    hooks:", "    gates: {at: before_shift, approve: 1}\n    hooks:");
    let mut running = apply(&fleet, RAMP);
    wait_for_words(&mut running, GATE, "approval (0 of 1)");
    for receiver in [&slack, &teams, &pager, &own] {
        told(receiver, 1);
    }
    run_as(&fleet, "ada", &["approve", "web", GATE, "--why", "fine"]);
    let ended = running.finish().expect(0);
    let waits = format!("web-1: {GATE} waits for approval (0 of 1)");
    let [slack, teams, pager, own] = [&slack, &teams, &pager, &own].map(|receiver| told(receiver, 2));
    let text = slack[0].body["text"].as_str().unwrap();
    assert!(text.starts_with(&waits) && text.contains("\n> migrate explain web-1"), "{text}");
    assert_eq!(slack[1].body["text"], "web-1 is done");
    assert_eq!(slack[0].path, format!("/{CANARY}"));
    let card = &teams[0].body["attachments"][0];
    assert_eq!(card["contentType"], "application/vnd.microsoft.card.adaptive");
    assert!(card["content"]["body"][0]["text"].as_str().unwrap().contains("waits for approval"), "{card}");
    let (trigger, resolve) = (&pager[0].body, &pager[1].body);
    assert_eq!((&trigger["event_action"], &resolve["event_action"]), (&"trigger".into(), &"resolve".into()));
    assert_eq!((&trigger["dedup_key"], &resolve["dedup_key"]), (&"migrate/web-1".into(), &"migrate/web-1".into()));
    assert_eq!((&trigger["routing_key"], &trigger["payload"]["severity"]), (&CANARY.into(), &"warning".into()));
    assert_eq!((&own[0].body["alert"], &own[0].body["of"][0]), (&"gate".into(), &GATE.into()));
    assert_eq!(own[0].authorization.as_deref(), Some(CANARY));
    let notified = notified(&records(&fleet, "web-1"));
    let taken = |to: &str, occasion| {
        let is = |n: &&Notified| n.to == to && n.occasion == occasion && n.delivery == Delivery::Taken { tries: 1 };
        notified.iter().filter(is).count()
    };
    for to in ["slack", "teams", "pagerduty", "webhook"] {
        assert_eq!((taken(to, Occasion::Gate), taken(to, Occasion::End)), (1, 1), "{notified:?}");
    }
    assert_status(&fleet, "web-1", "finished");
    assert_secret(&fleet, &(ended.stdout + &ended.stderr));
}

#[test]
fn receivers_that_are_away_slow_or_refuse_hold_nothing_up_and_are_in_the_journal() {
    // Nobody listens there.
    let gone = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let refuses = Receiver::answering(|_| (404, Duration::ZERO));
    let comes_back = Receiver::answering(|nth| (if nth < 2 { 503 } else { 200 }, Duration::ZERO));
    let slow = Receiver::answering(|_| (200, Duration::from_secs(3)));
    let fleet = telling(&[
        ("slack: URL, retry_for: 1s", gone),
        ("teams: URL", refuses.addr),
        ("webhook: URL", comes_back.addr),
        ("pagerduty: {file: ./key}, url: \"http://ADDR/\", on: [end]", slow.addr),
        ("webhook: {env: NOT_SET_HERE}", gone),
    ]);
    let ended = migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(0);
    let records = records(&fleet, "web-1");
    let finished = records.iter().position(|r| r.event == Event::Finished).expect("it is done");
    let after: Vec<Notified> = notified(&records[finished..]);
    // It was done first; what became of the messages follows.
    assert_eq!((notified(&records).len(), after.len()), (5, 5), "{after:?}");
    let of = |to: &str, words: &str| {
        let is = |n: &&Notified| n.to == to && n.to_string().contains(words);
        assert_eq!(after.iter().filter(is).count(), 1, "{to} {words}: {after:?}");
    };
    of("slack", "it cannot be reached: ");
    of("teams", "not told of the end, after 1 try: it answered 404");
    of("webhook", "told of the end, at try 3");
    of("pagerduty", "was told of the end");
    of("webhook", "not told of the end: secret from env NOT_SET_HERE");
    assert_eq!((refuses.told().len(), comes_back.told().len(), slow.told().len()), (1, 3, 1));
    assert!(ended.stderr.contains("teams was not told of the end"), "{}", ended.stderr);
    assert_secret(&fleet, &(ended.stdout + &ended.stderr));
    // A way back is told, too; and a run with such records is read as before.
    migrate(&fleet).run(&["rollback", "web", "--yes"]).expect(0);
    assert_status(&fleet, "web-1", "rolled back");
    let last = comes_back.told().last().unwrap().body.clone();
    assert_eq!(last["text"], "web-1 has gone back to the start");
}

#[test]
fn a_hold_and_what_failed_are_told_with_what_to_do() {
    let receiver = Receiver::start();
    let fleet = telling(&[("webhook: URL, on: [hold, failure]", receiver.addr)]);
    fleet.place.edit(
        RAMP,
        "      - at: before_shift",
        "      - {at: before_shift, run: \"false\", undo: none}\n      - at: before_shift",
    );
    migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(3);
    let told = told(&receiver, 2);
    let said: Vec<_> = told.iter().map(|t| t.body["occasion"].as_str().unwrap().to_owned()).collect();
    assert_eq!(said, ["failure", "hold"]);
    assert!(told[1].body["text"].as_str().unwrap().starts_with("web-1 is held at web/dal-1/"), "{told:?}");
    // The hold stands since it began, whatever was noted since.
    assert_status(&fleet, "web-1", "held");
    assert_eq!(notified(&records(&fleet, "web-1")).len(), 2);
}
