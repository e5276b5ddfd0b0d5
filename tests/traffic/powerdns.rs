//! The PowerDNS director against the real server, over its HTTP API.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use migrate::model::Mode;
use migrate::outside::{Certainty, Kind};
use migrate::secret::SecretRef;
use migrate::traffic::powerdns::{PowerDns, Settings};
use migrate::traffic::{Director, DirectorConfig, DirectorKind};
use serde_json::{Value, json};

use crate::lab::bind::{Key, Zone};
use crate::lab::meddler::{Meddle, Meddler};
use crate::lab::names::{API_KEY, NameServer};
use crate::lab::requests;
use crate::traffic::conformance::Subject;
use crate::traffic::moves::Move;
use crate::traffic::support::{Fixed, change, context, shown};

const OLD: &str = "192.0.2.1";
const OTHER: &str = "192.0.2.2";
const NEW: &str = "198.51.100.1";
const WWW: &str = "www.lab.test.";

struct Lab {
    server: NameServer,
    meddler: Meddler,
    settings: Settings,
    dir: tempfile::TempDir,
}

/// What the API says of the zone, or of what it was told.
fn ask(api: SocketAddr, method: &str, body: &Value) -> Value {
    let (line, host) = (format!("{method} /api/v1/servers/localhost/zones/lab.test."), api.to_string());
    let headers = [("Host", host.as_str()), ("X-API-Key", API_KEY), ("Content-Type", "application/json")];
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let reply = requests::request(api, &line, &headers, &body);
    assert!(reply.status < 300, "{reply:?}");
    serde_json::from_str(&reply.body).unwrap_or_default()
}

/// Writes a set of the name by hand.
fn by_hand(api: SocketAddr, name: &str, records: &[(&str, bool)]) {
    let records: Vec<Value> = records.iter().map(|(at, off)| json!({ "content": at, "disabled": off })).collect();
    let set = json!({ "name": name, "type": "A", "ttl": 5, "changetype": "REPLACE", "records": records });
    ask(api, "PATCH", &json!({ "rrsets": [set] }));
}

impl Lab {
    fn start() -> Self {
        let records = ["www 5 IN A 192.0.2.1", "www 5 IN A 192.0.2.2", "www 5 IN TXT hello", "alias IN CNAME www"];
        let server = NameServer::powerdns(&Zone::new("lab.test", &records), &Key::generate("mover", "hmac-sha256"));
        let meddler = Meddler::before(server.api.unwrap(), "PATCH");
        let settings = Settings {
            domain: "lab.test".to_owned(),
            servers: vec![server.addr],
            api_key: SecretRef::Env("KEY".to_owned()),
            endpoint: format!("http://{}", meddler.addr),
        };
        Self { server, meddler, settings, dir: tempfile::tempdir().unwrap() }
    }

    fn api(&self) -> SocketAddr {
        self.server.api.unwrap()
    }

    fn with_key(&self, key: &str) -> Arc<dyn Director> {
        self.settings.connect("zone", &context(&[("KEY", key)])).unwrap()
    }

    fn director(&self) -> Arc<dyn Director> {
        self.with_key(API_KEY)
    }

    fn impatient(&self) -> PowerDns {
        let secrets = Fixed([("KEY".to_owned(), API_KEY.to_owned())].into());
        PowerDns::new("zone", &self.settings, Arc::new(secrets)).follow_within(Duration::from_millis(100))
    }

    /// All record sets but SOA.
    fn sets(&self) -> Vec<Value> {
        let zone = ask(self.api(), "GET", &Value::Null);
        let mut all = zone["rrsets"].as_array().cloned().unwrap();
        all.retain(|set| set["type"] != "SOA");
        all.sort_by_key(Value::to_string);
        all
    }

    /// The addresses of the name, in order.
    fn addresses(&self) -> Vec<String> {
        let sets = self.sets();
        let set = sets.iter().find(|set| set["name"] == WWW && set["type"] == "A").unwrap();
        let records = set["records"].as_array().unwrap().iter();
        let mut all: Vec<String> = records.map(|record| record["content"].as_str().unwrap().to_owned()).collect();
        all.sort();
        all
    }

    /// The error of the change that every bad situation below is tried with; nothing has changed.
    async fn refused(&self, director: &dyn Director, pool: &str) -> String {
        let before = self.sets();
        let error = director.apply(pool, &[change(NEW, 1, Mode::Ready)]).await.unwrap_err();
        assert_eq!(before, self.sets());
        shown(&error, &[(self.meddler.addr.to_string(), "API")])
    }
}

pub fn over_its_api() -> Subject {
    let lab = Lab::start();
    Subject {
        director: lab.director(),
        twin: lab.director(),
        pool: "www".to_owned(),
        old: OLD.to_owned(),
        other: OTHER.to_owned(),
        new: NEW.to_owned(),
        nobody: "web-1".to_owned(),
        client: None,
        names_clients: false,
        config: DirectorConfig::PowerDns(lab.settings.clone()),
        _servers: Box::new(lab),
    }
}

#[tokio::test]
async fn a_change_is_of_one_set_and_the_rest_of_the_zone_stays() {
    let lab = Lab::start();
    let before = lab.sets();
    lab.director().apply("www", &[change(NEW, 1, Mode::Ready), change("2001:db8::1", 1, Mode::Ready)]).await.unwrap();
    assert_eq!(lab.addresses(), [OLD, OTHER, NEW]);
    let kept = |set: &&Value| before.contains(set);
    assert_eq!(lab.sets().iter().filter(kept).count(), before.len() - 1);
    lab.director().apply("www", &[change(NEW, 0, Mode::Ready), change("2001:db8::1", 0, Mode::Ready)]).await.unwrap();
    let words =
        |sets: Vec<Value>| sets.iter().map(|set| format!("{} {}", set["name"], set["type"])).collect::<Vec<_>>();
    assert_eq!(words(lab.sets()), words(before), "the set of the other family is gone again");
}

#[tokio::test]
async fn somebody_elses_change_between_reading_and_writing_is_noticed() {
    let lab = Lab::start();
    let api = lab.api();
    lab.meddler.next(Meddle::Before(Box::new(move || by_hand(api, WWW, &[("203.0.113.7", false)]))));
    let error = lab.director().apply("www", &[change(NEW, 1, Mode::Ready)]).await.unwrap_err();
    assert_eq!((error.kind, error.certainty), (Kind::Disagrees, Certainty::Unknown));
    assert!(error.what.contains("somebody else changed the zone between reading and writing"), "{error}");
    // One of another name cannot be told apart.
    lab.meddler.next(Meddle::Before(Box::new(move || by_hand(api, "api.lab.test.", &[("203.0.113.7", false)]))));
    let error = lab.director().apply("www", &[change(NEW, 0, Mode::Ready)]).await.unwrap_err();
    assert_eq!((error.kind, error.certainty), (Kind::Disagrees, Certainty::Unknown));
    lab.director().apply("www", &[change(NEW, 0, Mode::Ready)]).await.unwrap();
}

#[tokio::test]
async fn a_change_that_is_taken_back_at_once_is_no_success() {
    let lab = Lab::start();
    let (api, director) = (lab.api(), lab.director());
    let taken_back = tokio::task::spawn_blocking(move || {
        let is_there = || ask(api, "GET", &Value::Null).to_string().contains(NEW);
        while !is_there() {
            std::thread::sleep(Duration::from_millis(20));
        }
        by_hand(api, WWW, &[(OLD, false), (OTHER, false)]);
    });
    let error = director.apply("www", &[change(NEW, 1, Mode::Ready)]).await.unwrap_err();
    taken_back.await.unwrap();
    assert_eq!((error.kind, error.certainty), (Kind::Disagrees, Certainty::Unknown), "{error}");
    assert!(error.what.contains("was written and reads back 192.0.2.1 and 192.0.2.2"), "{error}");
}

#[tokio::test]
async fn a_change_whose_answer_was_lost_is_found_out() {
    let lab = Lab::start();
    lab.meddler.next(Meddle::LoseAnswer);
    let now = lab.director().apply("www", &[change(NEW, 1, Mode::Ready)]).await.unwrap();
    assert!(now.member(NEW).is_some());
    assert_eq!(lab.addresses(), [OLD, OTHER, NEW]);
}

#[tokio::test]
async fn a_change_is_not_done_before_the_name_servers_answer_it() {
    let mut lab = Lab::start();
    // A secondary that has not followed.
    let behind = Lab::start();
    lab.settings.servers.push(behind.server.addr);
    let error = lab.impatient().apply("www", &[change(NEW, 1, Mode::Ready)]).await.unwrap_err();
    assert_eq!((error.kind, error.certainty), (Kind::Disagrees, Certainty::Unknown), "{error}");
    assert!(error.at.contains(&behind.server.addr.to_string()), "{error}");
    by_hand(behind.api(), WWW, &[(OLD, false), (OTHER, false), (NEW, false)]);
    lab.impatient().apply("www", &[change(NEW, 1, Mode::Ready)]).await.unwrap();
}

#[tokio::test]
async fn what_powerdns_refuses_or_cannot_be_trusted_with_is_said_with_what_to_do() {
    let mut lab = Lab::start();
    insta::assert_snapshot!(lab.refused(&*lab.with_key("hunter2"), "www").await, @r"
    [refused] zone (PowerDNS at http://API): the zone could not be read: Unauthorized (401); nothing was changed
    hint: `api_key` must be what pdns.conf says as `api-key`
    ");
    let error = lab.with_key("two\nlines").observe("www").await.unwrap_err();
    assert_eq!((error.kind, error.what.as_str()), (Kind::Config, "the API key has characters that no header can have"));
    insta::assert_snapshot!(lab.refused(&*lab.director(), "alias").await, @r"
    [refused] zone (PowerDNS at http://API): alias.lab.test is a CNAME, not a name with addresses; nothing was changed
    hint: use the name that it stands for
    ");
    insta::assert_snapshot!(lab.refused(&*lab.director(), "nobody").await, @r"
    [refused] zone (PowerDNS at http://API): nobody.lab.test has no address records; nothing was changed
    hint: check the pool's name; the first record is made by hand
    ");
    let elsewhere = Settings { domain: "other.test".to_owned(), ..lab.settings.clone() };
    let elsewhere = elsewhere.connect("zone", &context(&[("KEY", API_KEY)])).unwrap();
    insta::assert_snapshot!(lab.refused(&*elsewhere, "www").await, @r"
    [refused] zone (PowerDNS at http://API): the zone could not be read: Not Found (404); nothing was changed
    hint: `pdnsutil list-all-zones` tells the zones there are; does pdns.conf say `api=yes`?
    ");
    by_hand(lab.api(), "half.lab.test.", &[(OLD, false), (OTHER, true)]);
    insta::assert_snapshot!(lab.refused(&*lab.director(), "half").await, @r"
    [refused] zone (PowerDNS at http://API): half.lab.test has the record set A with a disabled record; nothing was changed
    hint: use a name whose sets are plain or by weight, with nothing besides
    ");
    lab.server.set_meta("lab.test", &["SOA-EDIT-API", "EPOCH"]);
    insta::assert_snapshot!(lab.refused(&*lab.director(), "www").await, @r"
    [refused] zone (PowerDNS at http://API): its SOA-EDIT-API is EPOCH: its serials do not tell whether somebody else writes; nothing was changed
    hint: `pdnsutil set-meta lab.test SOA-EDIT-API DEFAULT`, or INCREASE
    ");
    lab.server.set_meta("lab.test", &["SOA-EDIT-API"]);
    insta::assert_snapshot!(lab.refused(&*lab.director(), "www").await, @r"
    [refused] zone (PowerDNS at http://API): its SOA-EDIT-API is not set: its serials do not tell whether somebody else writes; nothing was changed
    hint: `pdnsutil set-meta lab.test SOA-EDIT-API DEFAULT`, or INCREASE
    ");
    lab.settings.endpoint = "http://127.0.0.1:1".to_owned();
    let error = lab.director().apply("www", &[change(NEW, 1, Mode::Ready)]).await.unwrap_err();
    assert_eq!(error.certainty, Certainty::NotDone, "{error}");
}

#[tokio::test]
async fn asking_whether_changes_are_let_in_moves_no_serial() {
    let lab = Lab::start();
    let serial = || ask(lab.api(), "GET", &Value::Null)["serial"].clone();
    let before = serial();
    lab.director().writable("www").await.unwrap();
    assert_eq!(serial(), before);
    let error = lab.with_key("hunter2").writable("www").await.unwrap_err();
    assert_eq!(error.kind, Kind::Refused, "{error}");
}

#[test]
fn killed_in_every_step_a_move_ends_well_and_goes_back_to_the_addresses_that_were_there() {
    let lab = Lab::start();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let key = lab.dir.path().join("api.key");
    std::fs::write(&key, API_KEY).unwrap();
    let director = format!(
        "{{ powerdns: {{ domain: lab.test, endpoint: \"{}\", servers: [\"{}\"], api_key: {{ file: \"{}\" }} }} }}",
        lab.settings.endpoint,
        lab.server.addr,
        key.display()
    );
    let moving = Move::new(&director, "www", "{{ member }}", (at, at), [OLD, NEW]);
    let killed = moving.apply_with_kills();
    assert!(killed.len() >= 2, "{killed:?}");
    assert_eq!(lab.addresses(), [OTHER, NEW]);
    moving.roll_back();
    assert_eq!(lab.addresses(), [OLD, OTHER]);
}
