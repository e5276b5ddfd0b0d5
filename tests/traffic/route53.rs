//! The Route 53 director against a strict double of ours, and against moto, which also AWS's own client drives.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use migrate::model::Mode;
use migrate::outside::{Certainty, Kind};
use migrate::traffic::route53::{From, HostedZone, RecordKind, Settings};
use migrate::traffic::{Director, DirectorConfig, DirectorKind};

use crate::lab::authority::NameServer;
use crate::lab::process::{Daemon, free_port};
use crate::lab::python;
use crate::lab::route53::{KEY_ID, Route53, Set, ZONE, set};
use crate::lab::sshd::next_address;
use crate::traffic::conformance::Subject;
use crate::traffic::moves::Move;
use crate::traffic::support::{Fixed, change, context, shown};

const OLD: &str = "192.0.2.1";
const OTHER: &str = "192.0.2.2";
const NEW: &str = "198.51.100.1";
const SECRETS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", KEY_ID), ("AWS_SECRET_ACCESS_KEY", "secret")];

fn weighted(id: &str, value: &str, weight: u16, rest: &[(&str, &str)]) -> Set {
    let weight = weight.to_string();
    let parts = [&[("SetIdentifier", id), ("Weight", weight.as_str())][..], rest].concat();
    set("www.lab.test.", "A", 60, &[value], &parts)
}

/// What else is in the zone: before, beside and behind the name.
fn around() -> Vec<Set> {
    let simple = |name: &str, rtype: &str, value: &str| set(name, rtype, 300, &[value], &[]);
    vec![
        simple("lab.test.", "NS", "ns1.lab.test."),
        simple("api.lab.test.", "A", "203.0.113.9"),
        simple("www.lab.test.", "TXT", "\"hello\""),
        simple("x.www.lab.test.", "A", "203.0.113.8"),
    ]
}

fn of_kind(records: RecordKind) -> Vec<Set> {
    let multi = |value: &str| {
        set("www.lab.test.", "A", 60, &[value], &[("SetIdentifier", value), ("MultiValueAnswer", "true")])
    };
    let ours = match records {
        RecordKind::Weighted => {
            vec![weighted("dal one", OLD, 100, &[("HealthCheckId", "hc-1")]), weighted("dal two", OTHER, 100, &[])]
        }
        RecordKind::Multivalue => vec![multi(OLD), multi(OTHER)],
        RecordKind::Plain => vec![set("www.lab.test.", "A", 60, &[OLD, OTHER], &[])],
    };
    [around(), ours].concat()
}

fn settings(endpoint: String, zone: &str, records: RecordKind) -> Settings {
    let (zone, domain, credentials) = (zone.to_owned(), "lab.test".to_owned(), From::Environment);
    Settings { zone, domain, records, servers: Vec::new(), credentials, endpoint }
}

struct Lab {
    route53: Route53,
    settings: Settings,
    dir: tempfile::TempDir,
    servers: Vec<NameServer>,
}

impl Lab {
    fn start(records: RecordKind) -> Self {
        Self::with_ttl(records, 60)
    }

    fn with_ttl(records: RecordKind, ttl: u32) -> Self {
        let ours = |set: Set| match set["Name"] == "www.lab.test." && set["Type"] == "A" {
            true => set.into_iter().chain([("TTL".to_owned(), ttl.to_string())]).collect(),
            false => set,
        };
        let route53 = Route53::start(of_kind(records).into_iter().map(ours).collect());
        let settings = settings(route53.endpoint(), ZONE, records);
        Self { route53, settings, dir: tempfile::tempdir().unwrap(), servers: Vec::new() }
    }

    /// With name servers that are asked.
    fn asking(mut self, servers: usize) -> Self {
        self.servers = (0..servers).map(|_| self.route53.name_server("lab.test")).collect();
        self.settings.servers = self.servers.iter().map(|server| server.addr).collect();
        self
    }

    fn impatient(&self) -> HostedZone {
        let secrets = Fixed(SECRETS.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        HostedZone::new("zone", &self.settings, Arc::new(secrets)).follow_within(Duration::from_millis(100))
    }

    fn director(&self) -> Arc<dyn Director> {
        self.settings.connect("zone", &context(&SECRETS)).unwrap()
    }

    /// The error of the change that every bad situation below is tried with.
    async fn refused(&self, director: &dyn Director) -> (Certainty, String) {
        let error = director.apply("www", &[change(NEW, 50, Mode::Ready)]).await.unwrap_err();
        (error.certainty, shown(&error, &[(self.route53.endpoint(), "ENDPOINT")]))
    }

    fn weights(&self) -> Vec<(String, String)> {
        let ours = self.route53.sets().into_iter().filter(|s| s["Name"] == "www.lab.test." && s["Type"] == "A");
        ours.map(|s| (s["values"].clone(), s["Weight"].clone())).collect()
    }
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
        config: DirectorConfig::Route53(lab.settings.clone()),
        _servers: Box::new(lab),
    }
}

pub fn with_weights() -> Subject {
    subject(Lab::start(RecordKind::Weighted))
}

pub fn with_several_values() -> Subject {
    subject(Lab::start(RecordKind::Multivalue))
}

pub fn with_plain_records() -> Subject {
    subject(Lab::start(RecordKind::Plain))
}

pub fn with_name_servers() -> Subject {
    subject(Lab::start(RecordKind::Weighted).asking(2))
}

#[tokio::test]
async fn a_weight_changes_one_set_with_all_that_it_has_besides_and_nothing_else_of_the_zone() {
    let lab = Lab::start(RecordKind::Weighted);
    let before = lab.route53.sets();
    lab.director().apply("www", &[change(OLD, 25, Mode::Ready)]).await.unwrap();
    let after: Vec<Set> = lab.route53.sets().into_iter().filter(|set| !before.contains(set)).collect();
    assert_eq!(after, [weighted("dal one", OLD, 25, &[("HealthCheckId", "hc-1")])]);
    lab.director().apply("www", &[change(OLD, 100, Mode::Ready)]).await.unwrap();
    assert_eq!(lab.route53.sets(), before);
}

#[tokio::test]
async fn somebody_elses_change_between_reading_and_writing_is_noticed_and_kept() {
    let lab = Lab::start(RecordKind::Weighted);
    let director = lab.director();
    lab.route53.before_the_next_change(|sets| {
        sets.retain(|set| set["values"] != OLD);
        sets.push(weighted("dal one", OLD, 7, &[("HealthCheckId", "hc-1")]));
    });
    let changes = [change(OLD, 0, Mode::Ready), change(NEW, 50, Mode::Ready)];
    let error = director.apply("www", &changes).await.unwrap_err();
    assert_eq!(error.certainty, Certainty::NotDone);
    insta::assert_snapshot!(shown(&error, &[]), @r"
    [conflict] zone (Route 53 zone Z0LABTEST): www.lab.test was changed by somebody else: it had 192.0.2.1 (weight 100) and 192.0.2.2 (weight 100), TTL 60 and now has 192.0.2.1 (weight 7) and 192.0.2.2 (weight 100), TTL 60; nothing of ours was written
    hint: find out who else updates this name, then run again
    ");
    let mut weights = lab.weights();
    weights.sort();
    assert_eq!(weights, [(OLD.to_owned(), "7".to_owned()), (OTHER.to_owned(), "100".to_owned())]);
}

#[tokio::test]
async fn a_lost_answer_is_found_out_and_waited_for() {
    let lab = Lab::start(RecordKind::Weighted);
    lab.route53.lose_the_next_answer();
    let now = lab.director().apply("www", &[change(NEW, 50, Mode::Ready)]).await.unwrap();
    assert_eq!(now.member(NEW).map(|m| m.weight), Some(50));
    let asked = lab.route53.asked();
    assert!(asked.iter().any(|a| a.contains("/change/")), "it was not asked whether name servers have it: {asked:?}");
}

#[tokio::test]
async fn a_change_that_stays_pending_is_no_success_and_a_second_controller_waits_for_it_too() {
    let lab = Lab::start(RecordKind::Weighted);
    lab.route53.pending(u32::MAX);
    let (certainty, said) = lab.refused(&lab.impatient()).await;
    assert_eq!(certainty, Certainty::Unknown);
    insta::assert_snapshot!(said, @r"
    [unknown] zone (Route 53 zone Z0LABTEST): change C0 was taken and is still PENDING after 100 ms
    hint: not all name servers have it: see Route 53's status; run again when it is INSYNC
    ");
    let again = lab.refused(&lab.impatient()).await;
    assert!(again.1.contains("still PENDING"), "what is written already counts as done: {}", again.1);
    lab.route53.pending(0);
    lab.director().apply("www", &[change(NEW, 50, Mode::Ready)]).await.unwrap();
}

#[tokio::test]
async fn a_change_is_not_done_before_the_name_servers_answer_it() {
    let lab = Lab::start(RecordKind::Weighted).asking(2);
    let away = [(OLD, 0), (OTHER, 0), (NEW, 50)].map(|(member, weight)| change(member, weight, Mode::Ready));
    let lags = &lab.servers[1].lags;
    // It has heard of what was there.
    lab.impatient().apply("www", &[change(OLD, 99, Mode::Ready)]).await.unwrap();
    lags.store(true, Ordering::Relaxed);
    let error = lab.impatient().apply("www", &away).await.unwrap_err();
    assert_eq!((error.kind, error.certainty), (Kind::Disagrees, Certainty::Unknown), "{error}");
    assert!(error.at.contains(&lab.servers[1].addr.to_string()), "{error}");
    assert!(error.what.starts_with("it answers 192.0.2.") && error.what.contains("the API says"), "{error}");
    lags.store(false, Ordering::Relaxed);
    lab.impatient().apply("www", &away).await.unwrap();
}

#[tokio::test]
async fn the_role_of_a_machine_is_asked_for_once_and_again_when_it_ends() {
    let lab = Lab::start(RecordKind::Weighted);
    let settings = Settings { credentials: From::Metadata(lab.route53.endpoint()), ..lab.settings.clone() };
    let asked = || lab.route53.asked().iter().filter(|a| *a == "PUT /latest/api/token").count();
    let director = settings.connect("zone", &context(&[])).unwrap();
    director.observe("www").await.unwrap();
    director.observe("www").await.unwrap();
    assert_eq!(asked(), 1, "what is good for hours is kept");
    lab.route53.end_credentials();
    let director = settings.connect("zone", &context(&[])).unwrap();
    director.observe("www").await.unwrap();
    director.observe("www").await.unwrap();
    assert!(asked() >= 3, "what is about to end is not kept");
    // AWS's own client is told the same.
    assert_eq!(boto(&lab.route53.endpoint(), "role").trim(), KEY_ID);
    let nobody = Settings { credentials: From::Metadata("http://127.0.0.1:9".to_owned()), ..lab.settings.clone() };
    let error = nobody.connect("zone", &context(&[])).unwrap().observe("www").await.unwrap_err();
    assert!(error.kind == Kind::Config && error.what.contains("the metadata server does not answer"), "{error}");
}

#[tokio::test]
async fn requests_that_are_refused_for_their_pace_are_made_again() {
    let lab = Lab::start(RecordKind::Weighted);
    lab.route53.throttle(3);
    lab.director().apply("www", &[change(NEW, 50, Mode::Ready)]).await.unwrap();
    lab.route53.throttle(u32::MAX);
    let error = lab.director().observe("www").await.unwrap_err();
    assert!(error.transient && error.what.contains("Throttling"), "{error}");
}

#[tokio::test]
async fn what_route53_refuses_is_said_with_what_to_do() {
    let lab = Lab::start(RecordKind::Weighted);
    let with = |settings: Settings, secrets: &[(&str, &str)]| settings.connect("zone", &context(secrets)).unwrap();
    let stranger = with(lab.settings.clone(), &[("AWS_ACCESS_KEY_ID", "AKIDOTHER"), ("AWS_SECRET_ACCESS_KEY", "s")]);
    insta::assert_snapshot!(lab.refused(&*stranger).await.1, @r"
    [refused] zone (Route 53 zone Z0LABTEST): the zone could not be read: The security token included in the request is invalid. (InvalidClientTokenId); nothing was changed
    hint: these credentials are not valid; is this machine's clock right?
    ");
    let elsewhere = with(Settings { zone: "ZNOTHERE".to_owned(), ..lab.settings.clone() }, &SECRETS);
    insta::assert_snapshot!(lab.refused(&*elsewhere).await.1, @r"
    [refused] zone (Route 53 zone ZNOTHERE): the zone could not be read: No hosted zone found with ID: ZNOTHERE (NoSuchHostedZone); nothing was changed
    hint: `aws route53 list-hosted-zones` tells the ids there are
    ");
    let other = with(Settings { records: RecordKind::Plain, ..lab.settings.clone() }, &SECRETS);
    insta::assert_snapshot!(lab.refused(&*other).await.1, @r"
    [refused] zone (Route 53 zone Z0LABTEST): www.lab.test has the record set A `dal one`, which is weighted; nothing was changed
    hint: say `records: weighted`, `multivalue` or `plain`, as they are
    ");
    let without = with(lab.settings.clone(), &[]);
    let error = without.observe("www").await.unwrap_err();
    assert_eq!(error.kind, Kind::Config, "{error}");
    let all = [change(OLD, 0, Mode::Ready), change(OTHER, 0, Mode::Ready)];
    let error = lab.director().apply("www", &all).await.unwrap_err();
    insta::assert_snapshot!(shown(&error, &[]), @r"
    [refused] zone (Route 53 zone Z0LABTEST): www.lab.test would have only A records of weight 0, which Route 53 answers all alike; nothing was changed
    hint: give another address its weight before
    ");
}

#[test]
fn killed_in_every_step_a_move_ends_well_and_goes_back_to_the_weights_that_were_there() {
    // Every step waits until it has run out.
    let lab = Lab::with_ttl(RecordKind::Weighted, 1);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let keys = lab.dir.path().join("credentials");
    std::fs::write(&keys, format!("[mover]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = s\n")).unwrap();
    let credentials = format!("{{ profile: mover, file: \"{}\" }}", keys.display());
    let director = format!(
        "{{ route53: {{ zone: {ZONE}, domain: lab.test, endpoint: \"{}\", credentials: {credentials} }} }}",
        lab.route53.endpoint()
    );
    let moving = Move::new(&director, "www", "{{ member }}", (at, at), [OLD, NEW]);
    let before = lab.route53.sets();
    let killed = moving.apply_with_kills();
    assert!(killed.len() >= 3, "{killed:?}");
    let weight = |of: &str| lab.weights().into_iter().find(|(value, _)| value == of).map(|(_, weight)| weight);
    assert_eq!((weight(OLD).as_deref(), weight(NEW).as_deref()), (Some("0"), Some("100")));
    moving.roll_back();
    // The new set stays, and gets nothing.
    assert_eq!(weight(NEW).as_deref(), Some("0"));
    let now: Vec<Set> = lab.route53.sets().into_iter().filter(|set| set["values"] != NEW).collect();
    assert_eq!(now, before);
}

/// AWS's own client against moto: prints what it sees.
const BOTO: &str = r#"
import sys, boto3
endpoint, verb = sys.argv[1], sys.argv[2]
r = boto3.client("route53", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="AKIDLAB", aws_secret_access_key="secret")
if verb == "role":
    print(boto3.Session().get_credentials().get_frozen_credentials().access_key)
elif verb == "make":
    zone = r.create_hosted_zone(Name="lab.test.", CallerReference="1")["HostedZone"]["Id"]
    one = lambda value, weight: {"Action": "CREATE", "ResourceRecordSet": {"Name": "www.lab.test.", "Type": "A", "SetIdentifier": "set " + value, "Weight": weight, "TTL": 60, "ResourceRecords": [{"Value": value}]}}
    r.change_resource_record_sets(HostedZoneId=zone, ChangeBatch={"Changes": [one("192.0.2.1", 100), one("192.0.2.2", 50)]})
    print(zone.rsplit("/", 1)[-1])
else:
    sets = r.list_resource_record_sets(HostedZoneId=verb)["ResourceRecordSets"]
    for s in sorted((s for s in sets if s["Name"] == "www.lab.test."), key=lambda s: s["SetIdentifier"]):
        print(s["SetIdentifier"], s["Weight"], s["TTL"], *[v["Value"] for v in s["ResourceRecords"]])
"#;

/// The double that AWS's users use, and AWS's own client.
const MOTO: [&str; 2] = ["moto[server]==5.2.5", "boto3==1.44.8"];

fn boto(endpoint: &str, word: &str) -> String {
    let python = python::programs(&MOTO).join("python");
    let out = Command::new(python)
        .args(["-c", BOTO, endpoint, word])
        .env("NO_PROXY", "127.0.0.1")
        .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

#[tokio::test]
async fn the_wire_is_understood_by_moto_and_what_it_has_by_awss_own_client() {
    let program = python::programs(&MOTO).join("moto_server");
    let ip = next_address();
    let (port, dir) = (free_port(ip), tempfile::tempdir().unwrap());
    let (host, number) = (ip.to_string(), port.to_string());
    let log = dir.path().join("log");
    let mut moto = Daemon::start("moto_server", &program, &["-H", &host, "-p", &number], &log);
    moto.wait_for_port((ip, port).into());
    let endpoint = format!("http://{host}:{number}");
    let zone = boto(&endpoint, "make");
    let settings = settings(endpoint.clone(), zone.trim(), RecordKind::Weighted);
    let director = settings.connect("zone", &context(&SECRETS)).unwrap();
    let pool = director.observe("www").await.unwrap();
    assert_eq!(pool.member("192.0.2.2").map(|m| m.weight), Some(50));
    director.apply("www", &[change(NEW, 25, Mode::Ready), change(OLD, 75, Mode::Ready)]).await.unwrap();
    director.set_ttl("www", Duration::from_secs(5)).await.unwrap();
    let seen = boto(&endpoint, zone.trim());
    assert_eq!(seen, "198.51.100.1 25 5 198.51.100.1\nset 192.0.2.1 75 5 192.0.2.1\nset 192.0.2.2 50 5 192.0.2.2\n");
}
