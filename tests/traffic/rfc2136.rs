//! The DNS director against real BIND servers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use migrate::spec::model::SecretRef;
use migrate::traffic::rfc2136::{self, TsigKey};
use migrate::traffic::{Director, DirectorConfig, Mode, Rfc2136Config, TrafficErrorKind, connect};

use crate::conformance::{Subject, conforms};
use crate::lab::bind::{Bind, Key, Zone};
use crate::meddling::{Update, name_server};
use crate::support::{Fixed, change, context, eventually, shown};

const OLD: &str = "192.0.2.1";
const OTHER: &str = "192.0.2.2";
const NEW: &str = "198.51.100.1";

/// A primary with its secondaries, and the settings of a director for it.
struct Lab {
    primary: Bind,
    secondaries: Vec<Bind>,
    config: Rfc2136Config,
    secret: String,
    key: Key,
}

impl Lab {
    fn start(zone: &Zone, secondaries: usize) -> Self {
        let key = Key::generate("mover", "hmac-sha256");
        let (primary, secondaries) = Bind::cluster(zone, &key, secondaries);
        let config = Rfc2136Config {
            zone: zone.name.clone(),
            primary: primary.addr,
            secondaries: secondaries.iter().map(|s| s.addr).collect(),
            resolvers: Vec::new(),
            key: Some(TsigKey {
                name: key.name.clone(),
                algorithm: key.algorithm.clone(),
                secret: SecretRef::Env("KEY".to_owned()),
            }),
        };
        Self { primary, secondaries, config, secret: key.secret.clone(), key }
    }

    fn director(&self) -> Arc<dyn Director> {
        connect("dns", &DirectorConfig::Rfc2136(self.config.clone()), &context(&[("KEY", &self.secret)])).unwrap()
    }

    /// The same, not waiting long for secondaries.
    fn impatient(&self) -> rfc2136::Zone {
        let secrets = Fixed([("KEY".to_owned(), self.secret.clone())].into());
        rfc2136::Zone::new("dns", &self.config, Arc::new(secrets)).unwrap().follow_within(Duration::from_millis(500))
    }

    fn records(&self) -> (Vec<String>, Vec<String>) {
        (self.primary.dig("www.lab.test", "A"), self.primary.dig("lab.test", "SOA"))
    }

    fn replace(&self) -> Vec<(String, &'static str)> {
        let mut all = vec![(self.primary.addr.to_string(), "PRIMARY")];
        all.extend(self.secondaries.iter().map(|s| (s.addr.to_string(), "SECONDARY")));
        all.extend(self.config.resolvers.iter().map(|r| (r.to_string(), "RESOLVER")));
        all
    }

    /// Tries to add an address, shows that neither records nor serial have changed, and what people read.
    async fn refusal(&self, director: &dyn Director, pool: &str) -> String {
        let before = self.records();
        let error = director.apply(pool, &[change(NEW, 1, Mode::Ready)]).await.unwrap_err();
        assert_eq!(before, self.records());
        shown(&error, &self.replace())
    }
}

fn zone() -> Zone {
    Zone::new("lab.test", &["www 5 IN A 192.0.2.1", "www 5 IN A 192.0.2.2", "alias IN CNAME www"])
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
        _servers: Box::new(lab),
    }
}

fn with_a_secondary() -> Subject {
    subject(Lab::start(&zone(), 1))
}

fn with_an_update_policy() -> Subject {
    let policy = "grant KEY name www.lab.test A AAAA;".to_owned();
    subject(Lab::start(&Zone { policy: Some(policy), ..zone() }, 0))
}

conforms!(allow_update_and_a_secondary, with_a_secondary());
conforms!(update_policy_alone, with_an_update_policy());

#[tokio::test]
async fn every_server_has_the_new_records_when_an_apply_returns() {
    let lab = Lab::start(&zone(), 2);
    let changes = [change(NEW, 1, Mode::Ready), change(OLD, 0, Mode::Ready)];
    lab.director().apply("www", &changes).await.unwrap();
    for server in lab.secondaries.iter().chain([&lab.primary]) {
        assert_eq!(server.dig("www.lab.test", "A"), [OTHER, NEW]);
    }
}

#[tokio::test]
async fn a_pool_may_be_named_in_full_and_hold_both_families() {
    let lab = Lab::start(&zone(), 0);
    let director = lab.director();
    for pool in ["www.lab.test", "www.lab.test.", "WWW"] {
        assert_eq!(director.observe(pool).await.unwrap().members.len(), 2, "{pool}");
    }
    let pool = director.apply("www", &[change("2001:db8::1", 1, Mode::Ready)]).await.unwrap();
    let names: Vec<&str> = pool.members.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(names, [OLD, OTHER, "2001:db8::1"]);
    assert_eq!(lab.primary.ttl("www.lab.test", "AAAA"), Some(5), "a new family takes the pool's TTL");
    director.set_ttl("www", Duration::from_secs(9)).await.unwrap();
    assert_eq!(lab.primary.ttl("www.lab.test", "A"), Some(9));
    assert_eq!(lab.primary.ttl("www.lab.test", "AAAA"), Some(9));
    let pool = director.apply("www", &[change("2001:db8::1", 0, Mode::Ready)]).await.unwrap();
    assert_eq!(pool.members.len(), 2);
}

#[tokio::test]
async fn forty_addresses_do_not_fit_a_datagram_and_are_read_all_the_same() {
    let lab = Lab::start(&zone(), 1);
    let addresses: Vec<String> = (1..=40).map(|n| format!("203.0.113.{n}")).collect();
    let changes: Vec<_> = addresses.iter().map(|a| change(a, 1, Mode::Ready)).collect();
    let pool = lab.director().apply("www", &changes).await.unwrap();
    assert_eq!(pool.members.len(), 42);
}

#[tokio::test]
async fn asking_whether_updates_are_let_in_leaves_the_serial_alone() {
    let lab = Lab::start(&zone(), 0);
    let before = lab.records();
    lab.director().writable("www").await.unwrap();
    assert_eq!(before, lab.records());
}

#[tokio::test]
async fn a_foreign_change_between_read_and_write_is_kept_and_reported() {
    let mut lab = Lab::start(&zone(), 0);
    let (primary, key) = (Arc::new(lab.primary), lab.key.clone());
    let meddle = {
        let primary = primary.clone();
        move || primary.nsupdate(&key, &["update add www.lab.test 5 A 192.0.2.77"])
    };
    lab.config.primary = name_server(primary.addr, Update::After(Box::new(meddle)));
    let replace = [(lab.config.primary.to_string(), "PRIMARY")];
    let config = DirectorConfig::Rfc2136(lab.config);
    let director = connect("dns", &config, &context(&[("KEY", &lab.secret)])).unwrap();
    let error = director.apply("www", &[change(NEW, 1, Mode::Ready)]).await.unwrap_err();
    insta::assert_snapshot!(shown(&error, &replace), @r"
    [conflict] dns (primary PRIMARY): www.lab.test was changed by somebody else: it had 192.0.2.1 and 192.0.2.2 and now has 192.0.2.1, 192.0.2.2 and 192.0.2.77; nothing of ours was written
    hint: find out who else updates this name, then run again
    ");
    assert_eq!(primary.dig("www.lab.test", "A"), [OLD, OTHER, "192.0.2.77"]);
}

#[tokio::test]
async fn the_same_change_made_by_somebody_else_in_between_is_done() {
    let mut lab = Lab::start(&zone(), 0);
    let (primary, key) = (Arc::new(lab.primary), lab.key.clone());
    let meddle = {
        let primary = primary.clone();
        move || primary.nsupdate(&key, &[&format!("update add www.lab.test 5 A {NEW}")])
    };
    lab.config.primary = name_server(primary.addr, Update::After(Box::new(meddle)));
    let config = DirectorConfig::Rfc2136(lab.config);
    let director = connect("dns", &config, &context(&[("KEY", &lab.secret)])).unwrap();
    assert_eq!(director.apply("www", &[change(NEW, 1, Mode::Ready)]).await.unwrap().members.len(), 3);
}

#[tokio::test]
async fn an_update_whose_answer_is_lost_is_settled_by_reading() {
    let mut lab = Lab::start(&zone(), 0);
    lab.config.primary = name_server(lab.primary.addr, Update::LoseAnswer);
    let pool = lab.director().apply("www", &[change(NEW, 1, Mode::Ready)]).await.unwrap();
    assert_eq!(pool.members.len(), 3);
}

#[tokio::test]
async fn an_unsigned_success_is_not_believed() {
    let mut lab = Lab::start(&zone(), 0);
    lab.config.primary = name_server(lab.primary.addr, Update::Forge);
    let replace = [(lab.config.primary.to_string(), "PRIMARY")];
    let error = lab.director().apply("www", &[change(NEW, 1, Mode::Ready)]).await.unwrap_err();
    insta::assert_snapshot!(shown(&error, &replace), @r"
    [unknown] dns (primary PRIMARY): whether www.lab.test was updated is unknown: its answer is not signed as it should be: unsigned answer
    hint: run again: the update is made only if it has not been made
    ");
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up() {
    let lab = Lab::start(&zone(), 0);
    lab.primary.pause();
    let error = lab.director().observe("www").await.unwrap_err();
    lab.primary.resume();
    insta::assert_snapshot!(shown(&error, &lab.replace()), @r"
    [unknown] dns (primary PRIMARY): no answer about www.lab.test: no answer in 6 s
    hint: check that the server runs and that UDP and TCP reach this address and port
    ");
}

#[tokio::test]
async fn the_last_address_is_never_taken_away() {
    let lab = Lab::start(&zone(), 0);
    let director = lab.director();
    let before = lab.records();
    let changes = [change(OLD, 0, Mode::Ready), change(OTHER, 1, Mode::Maint)];
    let error = director.apply("www", &changes).await.unwrap_err();
    insta::assert_snapshot!(shown(&error, &lab.replace()), @r"
    [refused] dns (primary PRIMARY): this would take the last address away from www.lab.test; nothing was changed
    hint: add the new address before the old one goes
    ");
    assert_eq!(before, lab.records());
}

#[tokio::test]
async fn a_key_that_the_server_does_not_know_is_named() {
    let mut lab = Lab::start(&zone(), 0);
    lab.config.key.as_mut().unwrap().name = "movre".to_owned();
    let director = lab.director();
    insta::assert_snapshot!(lab.refusal(&*director, "www").await, @r"
    [refused] dns (primary PRIMARY): the server has no TSIG key `movre` with this algorithm (BADKEY); nothing was changed
    hint: compare name and algorithm with the `key` clause in named.conf
    ");
    insta::assert_snapshot!(shown(&director.writable("www").await.unwrap_err(), &lab.replace()), @r"
    [refused] dns (primary PRIMARY): the server has no TSIG key `movre` with this algorithm (BADKEY)
    hint: compare name and algorithm with the `key` clause in named.conf
    ");
}

#[tokio::test]
async fn a_wrong_algorithm_is_no_key_of_the_server() {
    let mut lab = Lab::start(&zone(), 0);
    lab.config.key.as_mut().unwrap().algorithm = "hmac-sha512".to_owned();
    insta::assert_snapshot!(lab.refusal(&*lab.director(), "www").await, @r"
    [refused] dns (primary PRIMARY): the server has no TSIG key `mover` with this algorithm (BADKEY); nothing was changed
    hint: compare name and algorithm with the `key` clause in named.conf
    ");
}

#[tokio::test]
async fn a_wrong_secret_is_told_from_a_wrong_name() {
    let mut lab = Lab::start(&zone(), 0);
    lab.secret = Key::generate("mover", "hmac-sha256").secret;
    insta::assert_snapshot!(lab.refusal(&*lab.director(), "www").await, @r"
    [refused] dns (primary PRIMARY): the secret of TSIG key `mover` is not the server's (BADSIG); nothing was changed
    hint: compare the secret with the `key` clause in named.conf
    ");
}

#[tokio::test]
async fn a_secret_that_is_no_base64_is_found_out_before_anything_is_sent() {
    let mut lab = Lab::start(&zone(), 0);
    lab.secret = "hunter2!".to_owned();
    let said = lab.refusal(&*lab.director(), "www").await;
    assert!(!said.contains("hunter2"));
    insta::assert_snapshot!(said, @r"
    [refused] dns (primary PRIMARY): the secret of TSIG key `mover` is not base64; nothing was changed
    hint: use the text after `secret` in named.conf, without quotes
    ");
}

#[tokio::test]
async fn a_secret_that_is_not_there_is_said_to_be_missing() {
    let mut lab = Lab::start(&zone(), 0);
    lab.config.key.as_mut().unwrap().secret = SecretRef::Env("ELSEWHERE".to_owned());
    insta::assert_snapshot!(lab.refusal(&*lab.director(), "www").await, @r"
    [refused] dns (primary PRIMARY): the secret of TSIG key `mover` cannot be had: secret from env ELSEWHERE: the variable is not set; nothing was changed
    hint: check where the inventory says that this secret is
    ");
}

#[tokio::test]
async fn an_unsigned_update_is_refused_with_the_remedy() {
    let mut lab = Lab::start(&zone(), 0);
    lab.config.key = None;
    insta::assert_snapshot!(lab.refusal(&*lab.director(), "www").await, @r"
    [refused] dns (primary PRIMARY): it refuses unsigned updates of www.lab.test (REFUSED); nothing was changed
    hint: give the director a TSIG `key` that the zone's `allow-update` or `update-policy` lets in
    ");
}

#[tokio::test]
async fn a_key_without_a_grant_for_the_name_is_refused_and_known_beforehand() {
    let policy = "grant KEY name ftp.lab.test A AAAA;".to_owned();
    let lab = Lab::start(&Zone { policy: Some(policy), ..zone() }, 0);
    let director = lab.director();
    insta::assert_snapshot!(lab.refusal(&*director, "www").await, @r"
    [refused] dns (primary PRIMARY): it refuses updates of www.lab.test with key `mover` (REFUSED); nothing was changed
    hint: either `update-policy` or `allow-update` does not grant the key A and AAAA at this name, or the zone is frozen: `rndc thaw lab.test`
    ");
    assert_eq!(director.writable("www").await.unwrap_err().kind, TrafficErrorKind::Refused);
}

#[tokio::test]
async fn a_frozen_zone_is_refused_and_works_again_when_thawed() {
    let lab = Lab::start(&zone(), 0);
    let director = lab.director();
    lab.primary.rndc(&["freeze", "lab.test"]);
    insta::assert_snapshot!(lab.refusal(&*director, "www").await, @r"
    [refused] dns (primary PRIMARY): it refuses updates of www.lab.test with key `mover` (REFUSED); nothing was changed
    hint: either `update-policy` or `allow-update` does not grant the key A and AAAA at this name, or the zone is frozen: `rndc thaw lab.test`
    ");
    assert_eq!(director.writable("www").await.unwrap_err().kind, TrafficErrorKind::Refused);
    lab.primary.rndc(&["thaw", "lab.test"]);
    director.apply("www", &[change(NEW, 1, Mode::Ready)]).await.unwrap();
}

#[tokio::test]
async fn a_zone_that_the_server_does_not_serve_is_named() {
    let mut lab = Lab::start(&zone(), 0);
    lab.config.zone = "lba.test".to_owned();
    insta::assert_snapshot!(lab.refusal(&*lab.director(), "www").await, @r"
    [refused] dns (primary PRIMARY): it does not serve www.lba.test in zone lba.test: it answers REFUSED; nothing was changed
    hint: check the zone's name, and that this server has the zone and has loaded it
    ");
}

#[tokio::test]
async fn names_outside_the_zone_and_names_without_addresses_are_refused() {
    let lab = Lab::start(&zone(), 0);
    let director = lab.director();
    insta::assert_snapshot!(lab.refusal(&*director, "www.example.com.").await, @r"
    [refused] dns: `www.example.com.` is not in the zone
    hint: name the pool relative to zone lab.test (`www`) or in full (`www.lab.test`)
    ");
    insta::assert_snapshot!(lab.refusal(&*director, "wwww").await, @r"
    [refused] dns (primary PRIMARY): wwww.lab.test has no address records; nothing was changed
    hint: check the pool's name; the first record is made by hand, with the TTL that you want
    ");
    insta::assert_snapshot!(lab.refusal(&*director, "b\u{1b}d").await, @r"
    [refused] dns: `b\u{1b}d` cannot be the name of a pool
    hint: name the pool relative to zone lab.test (`www`) or in full (`www.lab.test`)
    ");
}

#[tokio::test]
async fn an_alias_is_detected_since_the_server_would_ignore_addresses_beside_it() {
    let lab = Lab::start(&zone(), 0);
    insta::assert_snapshot!(lab.refusal(&*lab.director(), "alias").await, @r"
    [refused] dns (primary PRIMARY): alias.lab.test is an alias (CNAME) for www.lab.test and can have no addresses; nothing was changed
    hint: use the name that it stands for, or put address records in the place of the alias
    ");
}

#[tokio::test]
async fn addresses_from_a_wildcard_cannot_be_swapped_and_say_so() {
    let mut zone = zone();
    zone.records.push("* 5 IN A 192.0.2.9".to_owned());
    let lab = Lab::start(&zone, 0);
    insta::assert_snapshot!(lab.refusal(&*lab.director(), "any").await, @r"
    [refused] dns (primary PRIMARY): any.lab.test answers 192.0.2.9 and yet has other records of its own; nothing was changed
    hint: its addresses may come from a wildcard or another view: give any.lab.test address records of its own
    ");
}

#[tokio::test]
async fn a_secondary_as_primary_is_refused() {
    let mut lab = Lab::start(&zone(), 1);
    lab.config.primary = lab.config.secondaries.remove(0);
    insta::assert_snapshot!(lab.refusal(&*lab.director(), "www").await, @r"
    [refused] dns (primary SECONDARY): the server has no TSIG key `mover` with this algorithm (BADKEY); nothing was changed
    hint: compare name and algorithm with the `key` clause in named.conf
    ");
}

#[tokio::test]
async fn a_primary_that_is_down_says_so() {
    let mut lab = Lab::start(&zone(), 0);
    let director = lab.director();
    lab.primary.stop();
    let error = director.observe("www").await.unwrap_err();
    insta::assert_snapshot!(shown(&error, &lab.replace()), @r"
    [unknown] dns (primary PRIMARY): no answer about www.lab.test: connection refused
    hint: check that the server runs and that UDP and TCP reach this address and port
    ");
}

#[tokio::test]
async fn a_secondary_that_is_down_keeps_the_zone_as_it_is() {
    let mut lab = Lab::start(&zone(), 1);
    let director = lab.director();
    lab.secondaries[0].stop();
    insta::assert_snapshot!(lab.refusal(&*director, "www").await, @r"
    [unknown] dns (secondary SECONDARY): no answer about www.lab.test: connection refused; nothing was changed
    hint: check that the server runs and that UDP and TCP reach this address and port
    ");
}

#[tokio::test]
async fn a_secondary_that_lags_is_named_and_holds_up_the_next_write() {
    let lab = Lab::start(&Zone { notify: false, ..zone() }, 1);
    let director = lab.impatient();
    let serials = |text: String| text.replace("serial 1", "serial ONE").replace("serial 2", "serial TWO");
    let error = director.apply("www", &[change(NEW, 1, Mode::Ready)]).await.unwrap_err();
    insta::assert_snapshot!(serials(shown(&error, &lab.replace())), @r"
    [disagrees] dns (secondary SECONDARY): it answers 192.0.2.1 and 192.0.2.2 with TTL 5 (serial ONE), the primary 192.0.2.1, 192.0.2.2 and 198.51.100.1 with TTL 5 (serial TWO); the primary has taken the change
    hint: see why it does not follow: `rndc notify lab.test` on the primary, `rndc refresh lab.test` here
    ");
    insta::assert_snapshot!(serials(lab.refusal(&director, "www").await), @r"
    [disagrees] dns (secondary SECONDARY): it answers 192.0.2.1 and 192.0.2.2 with TTL 5 (serial ONE), the primary 192.0.2.1, 192.0.2.2 and 198.51.100.1 with TTL 5 (serial TWO); nothing was changed
    hint: see why it does not follow: `rndc notify lab.test` on the primary, `rndc refresh lab.test` here
    ");
    assert_eq!(director.observe("www").await.unwrap_err().kind, TrafficErrorKind::Disagrees);
    lab.secondaries[0].rndc(&["refresh", "lab.test"]);
    eventually("the secondary follows", || async { director.observe("www").await.is_ok() }).await;
    director.apply("www", &[change(NEW, 1, Mode::Ready)]).await.unwrap();
}

#[tokio::test]
async fn the_same_records_in_an_older_zone_are_not_the_same() {
    let lab = Lab::start(&Zone { notify: false, ..zone() }, 1);
    let director = lab.impatient();
    lab.primary.nsupdate(&lab.key, &["update add ftp.lab.test 5 A 192.0.2.9"]);
    let error = director.observe("www").await.unwrap_err();
    assert_eq!(error.kind, TrafficErrorKind::Disagrees, "{error}");
    lab.secondaries[0].rndc(&["refresh", "lab.test"]);
    eventually("the secondary follows", || async { director.observe("www").await.is_ok() }).await;
}

#[tokio::test]
async fn a_lagging_secondary_is_waited_for() {
    let lab = Lab::start(&Zone { notify: false, ..zone() }, 1);
    let director = lab.director();
    let apply = tokio::spawn(async move { director.apply("www", &[change(NEW, 1, Mode::Ready)]).await });
    eventually("the primary has it", || async { lab.primary.dig("www.lab.test", "A").len() == 3 }).await;
    lab.secondaries[0].rndc(&["refresh", "lab.test"]);
    apply.await.unwrap().unwrap();
    assert_eq!(lab.secondaries[0].dig("www.lab.test", "A").len(), 3);
}

#[tokio::test]
async fn resolvers_are_settled_when_their_caches_have_run_out() {
    let mut lab = Lab::start(&zone(), 0);
    let resolver = Bind::resolver("lab.test", lab.primary.addr);
    lab.config.resolvers.push(resolver.addr);
    let director = lab.director();
    assert_eq!(director.settled("www").await.unwrap(), None);
    director.apply("www", &[change(NEW, 1, Mode::Ready), change(OLD, 0, Mode::Ready)]).await.unwrap();
    let said = director.settled("www").await.unwrap().unwrap().replace(&resolver.addr.to_string(), "RESOLVER");
    let (start, left) = said.rsplit_once(' ').map(|(start, _)| start.rsplit_once(' ').unwrap()).unwrap();
    assert!(left.parse::<u32>().unwrap() <= 5, "{said}");
    assert_eq!(start, "resolver RESOLVER still answers 192.0.2.1 and 192.0.2.2 for up to");
    eventually("the cache has run out", || async { director.settled("www").await.unwrap().is_none() }).await;
}

#[tokio::test]
async fn a_resolver_that_is_silent_is_neither_settled_nor_not() {
    let mut lab = Lab::start(&zone(), 0);
    let mut resolver = Bind::resolver("lab.test", lab.primary.addr);
    lab.config.resolvers.push(resolver.addr);
    resolver.stop();
    let error = lab.director().settled("www").await.unwrap_err();
    insta::assert_snapshot!(shown(&error, &lab.replace()), @r"
    [unknown] dns (resolver RESOLVER): no answer about www.lab.test: connection refused
    hint: check that the server runs and that UDP and TCP reach this address and port
    ");
}

#[test]
fn settings_that_cannot_work_are_refused_at_once() {
    let primary: SocketAddr = "127.0.0.1:53".parse().unwrap();
    let key = |name: &str, algorithm: &str| {
        let secret = SecretRef::Env("KEY".to_owned());
        Some(TsigKey { name: name.to_owned(), algorithm: algorithm.to_owned(), secret })
    };
    let said = |zone: &str, key| {
        let (secondaries, resolvers) = (Vec::new(), Vec::new());
        let config = Rfc2136Config { zone: zone.to_owned(), primary, secondaries, resolvers, key };
        match connect("dns", &DirectorConfig::Rfc2136(config), &context(&[])) {
            Ok(_) => panic!("accepted"),
            Err(e) => shown(&e, &[]),
        }
    };
    insta::assert_snapshot!(said("lab test", None), @r"
    [refused] dns: `lab test` cannot be the name of a zone
    hint: write it like `example.com`
    ");
    insta::assert_snapshot!(said("lab.test", key("mover", "hmac-md5")), @r"
    [refused] dns: unknown TSIG algorithm `hmac-md5`
    hint: there are hmac-sha1, hmac-sha256, hmac-sha384 and hmac-sha512
    ");
    insta::assert_snapshot!(said("lab.test", key("a..b", "hmac-sha256")), @r"
    [refused] dns: `a..b` cannot be the name of a TSIG key
    hint: use the name after `key` in named.conf
    ");
}
