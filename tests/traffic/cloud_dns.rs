//! The Cloud DNS director against a strict double of ours, which Google's own client drives, too.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use migrate::model::Mode;
use migrate::outside::{Certainty, Kind};
use migrate::secret::SecretRef;
use migrate::traffic::cloud_dns::{From, ManagedZone, RecordKind, Settings};
use migrate::traffic::{Director, DirectorConfig, DirectorKind};
use serde_json::{Value, json};

use crate::lab::authority::NameServer;
use crate::lab::cloud_dns::{CloudDns, PROJECT, TOKEN, ZONE, plain, weighted};
use crate::lab::python;
use crate::traffic::conformance::Subject;
use crate::traffic::moves::Move;
use crate::traffic::support::{Fixed, change, context, shown};

const OLD: &str = "192.0.2.1";
const OTHER: &str = "192.0.2.2";
const NEW: &str = "198.51.100.1";
const WWW: &str = "www.lab.test.";

/// What else is in the zone: beside and below the name.
fn around() -> Vec<Value> {
    vec![
        plain("api.lab.test.", "A", 300, &["203.0.113.9"]),
        plain(WWW, "TXT", 300, &["\"hello\""]),
        plain("x.www.lab.test.", "A", 300, &["203.0.113.8"]),
    ]
}

struct Lab {
    api: CloudDns,
    settings: Settings,
    dir: tempfile::TempDir,
    _servers: Vec<NameServer>,
}

impl Lab {
    fn start(records: RecordKind) -> Self {
        Self::with(records, 60, 0)
    }

    fn with(records: RecordKind, ttl: u32, servers: usize) -> Self {
        let ours = match records {
            RecordKind::Weighted => weighted(WWW, "A", ttl, &[(OLD, 100.0), (OTHER, 100.0)]),
            RecordKind::Multivalue | RecordKind::Plain => plain(WWW, "A", ttl, &[OLD, OTHER]),
        };
        let api = CloudDns::start([around(), vec![ours]].concat());
        let servers: Vec<NameServer> = (0..servers).map(|_| api.name_server()).collect();
        let settings = Settings {
            project: PROJECT.to_owned(),
            zone: ZONE.to_owned(),
            domain: "lab.test".to_owned(),
            records,
            servers: servers.iter().map(|server| server.addr).collect(),
            credentials: From::ServiceAccount(SecretRef::Env("KEY".to_owned())),
            endpoint: api.endpoint(),
        };
        Self { api, settings, dir: tempfile::tempdir().unwrap(), _servers: servers }
    }

    fn with_credentials(&self, credentials: From, secrets: &[(&str, &str)]) -> Arc<dyn Director> {
        let settings = Settings { credentials, ..self.settings.clone() };
        settings.connect("zone", &context(secrets)).unwrap()
    }

    fn director(&self) -> Arc<dyn Director> {
        self.with_credentials(self.settings.credentials.clone(), &[("KEY", &self.api.key)])
    }

    fn impatient(&self) -> ManagedZone {
        let secrets = Fixed([("KEY".to_owned(), self.api.key.clone())].into());
        ManagedZone::new("zone", &self.settings, Arc::new(secrets)).follow_within(Duration::from_millis(100))
    }

    /// The error of the change that every bad situation below is tried with.
    async fn refused(&self, director: &dyn Director) -> (Certainty, String) {
        let error = director.apply("www", &[change(NEW, 50, Mode::Ready)]).await.unwrap_err();
        let servers = self.settings.servers.iter().map(|server| (server.to_string(), "SERVER"));
        let replace: Vec<_> = servers.chain([(self.api.addr.to_string(), "API")]).collect();
        (error.certainty, shown(&error, &replace))
    }
}

fn items(items: &[(&str, f64)]) -> Value {
    let items: Vec<Value> =
        items.iter().map(|(value, weight)| json!({ "weight": weight, "rrdatas": [value] })).collect();
    json!({ "wrr": { "items": items } })
}

fn subject(lab: Lab) -> Subject {
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
        config: DirectorConfig::CloudDns(lab.settings.clone()),
        _servers: Box::new(lab),
    }
}

pub fn with_weights() -> Subject {
    subject(Lab::start(RecordKind::Weighted))
}

pub fn with_plain_records() -> Subject {
    subject(Lab::start(RecordKind::Plain))
}

pub fn with_name_servers() -> Subject {
    subject(Lab::with(RecordKind::Weighted, 60, 2))
}

#[tokio::test]
async fn a_weight_changes_one_item_and_nothing_else_of_the_zone() {
    let lab = Lab::start(RecordKind::Weighted);
    let before = lab.api.all();
    lab.director().apply("www", &[change(OLD, 25, Mode::Ready)]).await.unwrap();
    let after: Vec<Value> = lab.api.all().into_iter().filter(|set| !before.contains(set)).collect();
    assert_eq!(after.len(), 1);
    assert_eq!(after[0]["routingPolicy"], items(&[(OLD, 25.0), (OTHER, 100.0)]));
    lab.director().apply("www", &[change(OLD, 100, Mode::Ready)]).await.unwrap();
    let is_there = |set: &Value| before.contains(set);
    assert!(lab.api.all().iter().all(is_there) && lab.api.all().len() == before.len());
}

#[tokio::test]
async fn somebody_elses_change_between_reading_and_writing_is_noticed_and_kept() {
    let lab = Lab::start(RecordKind::Weighted);
    lab.api.before_the_next_change(|sets| {
        sets.retain(|set| set["name"] != WWW || set["type"] != "A");
        sets.push(weighted(WWW, "A", 60, &[(OLD, 7.0), (OTHER, 100.0)]));
    });
    let changes = [change(OLD, 0, Mode::Ready), change(NEW, 50, Mode::Ready)];
    let error = lab.director().apply("www", &changes).await.unwrap_err();
    assert_eq!(error.certainty, Certainty::NotDone);
    insta::assert_snapshot!(shown(&error, &[]), @r"
    [conflict] zone (Cloud DNS zone lab-test): www.lab.test was changed by somebody else: it had 192.0.2.1 (weight 100) and 192.0.2.2 (weight 100), TTL 60 and now has 192.0.2.1 (weight 7) and 192.0.2.2 (weight 100), TTL 60; nothing of ours was written
    hint: find out who else updates this name, then run again
    ");
    assert_eq!(lab.api.of(WWW)[0]["routingPolicy"], items(&[(OLD, 7.0), (OTHER, 100.0)]));
}

#[tokio::test]
async fn a_change_whose_answer_was_lost_or_that_a_failing_server_made_is_found_out_and_waited_for() {
    for lose in [true, false] {
        let lab = Lab::start(RecordKind::Weighted);
        lab.api.pending(2);
        if lose {
            lab.api.lose_the_next_answer()
        } else {
            lab.api.fail_the_next_change()
        }
        let now = lab.director().apply("www", &[change(NEW, 50, Mode::Ready)]).await.unwrap();
        assert_eq!(now.member(NEW).map(|m| m.weight), Some(50));
        let asked = lab.api.asked();
        let posts = asked.iter().filter(|a| a.starts_with("POST") && a.ends_with("/changes")).count();
        assert_eq!(posts, 1, "a change was sent a second time: {asked:?}");
        assert!(asked.iter().any(|a| a.contains("/changes/0")), "it was not waited for: {asked:?}");
    }
}

#[tokio::test]
async fn a_change_that_stays_pending_is_no_success_and_a_second_controller_waits_for_it_too() {
    let lab = Lab::start(RecordKind::Weighted);
    lab.api.pending(u32::MAX);
    let (certainty, said) = lab.refused(&lab.impatient()).await;
    assert_eq!(certainty, Certainty::Unknown);
    insta::assert_snapshot!(said, @r"
    [unknown] zone (Cloud DNS zone lab-test): change 0 was taken and is still pending after 100 ms
    hint: not all name servers have it: see Cloud DNS's status; run again when it is done
    ");
    let again = lab.refused(&lab.impatient()).await;
    assert!(again.1.contains("still pending"), "what is written already counts as done: {}", again.1);
    lab.api.pending(0);
    lab.director().apply("www", &[change(NEW, 50, Mode::Ready)]).await.unwrap();
}

#[tokio::test]
async fn a_change_is_not_done_before_the_name_servers_answer_it() {
    let lab = Lab::with(RecordKind::Weighted, 60, 2);
    let away = [(OLD, 0), (OTHER, 0), (NEW, 50)].map(|(member, weight)| change(member, weight, Mode::Ready));
    let lags = &lab._servers[1].lags;
    // It has heard of what was there.
    lab.impatient().apply("www", &[change(OLD, 99, Mode::Ready)]).await.unwrap();
    lags.store(true, Ordering::Relaxed);
    let error = lab.impatient().apply("www", &away).await.unwrap_err();
    assert_eq!((error.kind, error.certainty), (Kind::Disagrees, Certainty::Unknown), "{error}");
    assert!(error.at.contains(&lab._servers[1].addr.to_string()), "{error}");
    let says =
        "with TTL 60, the API says 192.0.2.1 (weight 0), 192.0.2.2 (weight 0) and 198.51.100.1 (weight 50), TTL 60";
    assert!(error.what.starts_with("it answers 192.0.2.") && error.what.contains(says), "{error}");
    lags.store(false, Ordering::Relaxed);
    lab.impatient().apply("www", &away).await.unwrap();
}

#[tokio::test]
async fn requests_that_are_refused_for_their_pace_are_made_again() {
    let lab = Lab::start(RecordKind::Weighted);
    lab.api.throttle(3);
    lab.director().apply("www", &[change(NEW, 50, Mode::Ready)]).await.unwrap();
    lab.api.throttle(u32::MAX);
    let error = lab.director().observe("www").await.unwrap_err();
    assert!(error.transient && error.what.contains("rateLimitExceeded"), "{error}");
}

#[tokio::test]
async fn tokens_come_from_an_account_a_machine_or_somebody_else_and_are_got_anew_when_they_end() {
    let lab = Lab::start(RecordKind::Weighted);
    let metadata = From::Metadata(lab.api.endpoint());
    let token = From::Token(SecretRef::Env("TOKEN".to_owned()));
    let tokens = |lab: &Lab| lab.api.asked().iter().filter(|a| a.contains("token")).count();
    for (credentials, secrets) in [
        (lab.settings.credentials.clone(), vec![("KEY", lab.api.key.as_str())]),
        (metadata, Vec::new()),
        (token, vec![("TOKEN", TOKEN)]),
    ] {
        let before = tokens(&lab);
        let ours = matches!(credentials, From::Token(_));
        let director = lab.with_credentials(credentials, &secrets);
        director.observe("www").await.unwrap();
        director.observe("www").await.unwrap();
        assert_eq!(tokens(&lab) - before, usize::from(!ours), "one is kept");
        if !ours {
            lab.api.end_tokens();
            director.observe("www").await.unwrap();
            assert_eq!(tokens(&lab) - before, 2, "one that has ended is got anew");
        }
    }
}

#[tokio::test]
async fn what_cloud_dns_refuses_is_said_with_what_to_do() {
    let lab = Lab::start(RecordKind::Weighted);
    let token = |value: &'static str| {
        let from = From::Token(SecretRef::Env("TOKEN".to_owned()));
        lab.with_credentials(from, &[("TOKEN", value)])
    };
    insta::assert_snapshot!(lab.refused(&*token("hunter2")).await.1, @r"
    [refused] zone (Cloud DNS zone lab-test): the zone could not be read: Invalid Credentials (authError); nothing was changed
    hint: these credentials are not valid; is this machine's clock right?
    ");
    // Another's key: the token server says no.
    let other = CloudDns::start(Vec::new());
    let key = other.key.replace(&other.addr.to_string(), &lab.api.addr.to_string());
    let stranger = lab.with_credentials(lab.settings.credentials.clone(), &[("KEY", &key)]);
    let error = stranger.apply("www", &[change(NEW, 50, Mode::Ready)]).await.unwrap_err();
    assert_eq!((error.kind, error.certainty), (Kind::Config, Certainty::NotDone), "{error}");
    assert!(
        error.what.contains("the token server says no with status 400: invalid_grant Invalid JWT Signature."),
        "{error}"
    );
    let none = lab.with_credentials(lab.settings.credentials.clone(), &[]);
    assert_eq!(none.observe("www").await.unwrap_err().kind, Kind::Config);
    let elsewhere = Settings { zone: "not-there".to_owned(), ..lab.settings.clone() };
    let elsewhere = elsewhere.connect("zone", &context(&[("KEY", &lab.api.key)])).unwrap();
    insta::assert_snapshot!(lab.refused(&*elsewhere).await.1, @r"
    [refused] zone (Cloud DNS zone not-there): the zone could not be read: The 'parameters.managedZone' resource named 'not-there' does not exist. (notFound); nothing was changed
    hint: `gcloud dns managed-zones list` tells the names there are
    ");
    let project = Settings { project: "not-ours".to_owned(), ..lab.settings.clone() };
    let project = project.connect("zone", &context(&[("KEY", &lab.api.key)])).unwrap();
    insta::assert_snapshot!(lab.refused(&*project).await.1, @r"
    [refused] zone (Cloud DNS zone lab-test): the zone could not be read: Forbidden (forbidden); nothing was changed
    hint: give the account the role `roles/dns.admin` on the zone or its project, and its token the scope `ndev.clouddns.readwrite`
    ");
    let plain = Settings { records: RecordKind::Plain, ..lab.settings.clone() };
    let plain = plain.connect("zone", &context(&[("KEY", &lab.api.key)])).unwrap();
    insta::assert_snapshot!(lab.refused(&*plain).await.1, @r"
    [refused] zone (Cloud DNS zone lab-test): www.lab.test has the record set A `192.0.2.1`, which is weighted; nothing was changed
    hint: say `records: weighted` or `plain`, as they are
    ");
    let all = [change(OLD, 0, Mode::Ready), change(OTHER, 0, Mode::Ready)];
    let error = lab.director().apply("www", &all).await.unwrap_err();
    insta::assert_snapshot!(shown(&error, &[]), @r"
    [refused] zone (Cloud DNS zone lab-test): www.lab.test would have only A records of weight 0, of which nobody knows whom they are answered to; nothing was changed
    hint: give another address its weight before
    ");
}

#[test]
fn killed_in_every_step_a_move_ends_well_and_goes_back_to_the_weights_that_were_there() {
    // Every step waits until it has run out.
    let lab = Lab::with(RecordKind::Weighted, 1, 1);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let key = lab.dir.path().join("key.json");
    std::fs::write(&key, &lab.api.key).unwrap();
    let director = format!(
        "{{ cloud_dns: {{ project: {PROJECT}, zone: {ZONE}, domain: lab.test, endpoint: \"{}\", servers: [\"{}\"], credentials: {{ service_account: {{ file: \"{}\" }} }} }} }}",
        lab.api.endpoint(),
        lab.settings.servers[0],
        key.display()
    );
    let moving = Move::new(&director, "www", "{{ member }}", (at, at), [OLD, NEW]);
    let killed = moving.apply_with_kills();
    assert!(killed.len() >= 3, "{killed:?}");
    let weight = |of: &str| {
        let items = lab.api.of(WWW)[0]["routingPolicy"]["wrr"]["items"].as_array().cloned().unwrap();
        items.iter().find(|item| item["rrdatas"][0] == of).and_then(|item| item["weight"].as_f64())
    };
    assert_eq!((weight(OLD), weight(NEW)), (Some(0.0), Some(100.0)));
    moving.roll_back();
    // The new item stays, and gets nothing.
    assert_eq!((weight(OLD), weight(OTHER), weight(NEW)), (Some(100.0), Some(100.0), Some(0.0)));
    assert_eq!(lab.api.of(WWW)[0]["ttl"], 1);
}

/// Google's own client: what it is told to do with a zone, and what it sees then.
const GOOGLE: &str = r#"
import json, sys
from google.auth.transport.requests import AuthorizedSession
from google.cloud import dns
from google.cloud.exceptions import GoogleCloudError
from google.oauth2 import service_account
endpoint, key, verb = sys.argv[1:4]
credentials = service_account.Credentials.from_service_account_info(json.loads(key))
client = dns.Client(project="lab-project", credentials=credentials, client_options={"api_endpoint": endpoint})
zone = client.zone("lab-test", "lab.test.")
def all(name):
    return sorted((s.record_type, s.ttl, tuple(s.rrdatas)) for s in zone.list_resource_record_sets() if s.name == name)
def done(change):
    while change.status != "done":
        change.reload()
if verb == "make":
    assert zone.exists()
    change = zone.changes()
    change.add_record_set(zone.resource_record_set("plain.lab.test.", "A", 60, ["192.0.2.1", "192.0.2.2"]))
    change.create()
    done(change)
    # A second time it is there already, a deletion with another TTL is none, and what is not there cannot go.
    for ttl, name, wanted in [(None, "plain", 409), (61, "plain", 412), (60, "none", 404)]:
        change = zone.changes()
        one = zone.resource_record_set(name + ".lab.test.", "A", ttl or 60, ["192.0.2.1", "192.0.2.2"])
        change.delete_record_set(one) if ttl else change.add_record_set(one)
        try:
            change.create()
            sys.exit("it was taken: %s" % wanted)
        except GoogleCloudError as e:
            assert e.code == wanted, (e.code, wanted)
elif verb == "plain":
    print(all("plain.lab.test."))
else:
    # The client knows nothing of routing policies: with its credentials alone.
    session = AuthorizedSession(credentials.with_scopes(client.SCOPE))
    answer = session.get(endpoint + "/dns/v1/projects/lab-project/managedZones/lab-test/rrsets", params={"name": "www.lab.test.", "type": "A"})
    answer.raise_for_status()
    print([(i["rrdatas"], i["weight"]) for i in answer.json()["rrsets"][0]["routingPolicy"]["wrr"]["items"]])
"#;

fn google(lab: &Lab, verb: &str) -> String {
    let python = python::programs(&["google-cloud-dns==0.37.2", "requests==2.34.2"]).join("python");
    let mut command = Command::new(python);
    command.args(["-c", GOOGLE, &lab.api.endpoint(), &lab.api.key, verb]).env("NO_PROXY", "127.0.0.0/8");
    let out = command.output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

#[tokio::test]
async fn what_googles_own_client_has_made_is_moved_and_it_sees_what_was_made_of_it() {
    let lab = Lab::start(RecordKind::Plain);
    google(&lab, "make");
    let director = lab.director();
    let pool = director.observe("plain").await.unwrap();
    assert_eq!(pool.members.len(), 2);
    director.apply("plain", &[change(NEW, 1, Mode::Ready), change(OLD, 0, Mode::Ready)]).await.unwrap();
    director.set_ttl("plain", Duration::from_secs(5)).await.unwrap();
    assert_eq!(google(&lab, "plain"), "[('A', 5, ('192.0.2.2', '198.51.100.1'))]\n");
    let lab = Lab { settings: Settings { records: RecordKind::Weighted, ..lab.settings.clone() }, ..lab };
    lab.api.before_the_next_change(|sets| {
        sets.retain(|set| set["name"] != WWW || set["type"] != "A");
        sets.push(weighted(WWW, "A", 60, &[(OLD, 1.0)]));
    });
    // Whoever asks whether it may write lets the other's change through.
    director.writable("plain").await.unwrap();
    lab.director().apply("www", &[change(NEW, 25, Mode::Ready), change(OLD, 75, Mode::Ready)]).await.unwrap();
    assert_eq!(google(&lab, "weighted"), "[(['192.0.2.1'], 75), (['198.51.100.1'], 25)]\n");
}
