//! The DNS director against real BIND servers.

use std::sync::Arc;
use std::time::Duration;

use migrate::model::Mode;
use migrate::outside::Kind;
use migrate::secret::SecretRef;
use migrate::traffic::dns::{self, Settings, TsigKey};
use migrate::traffic::{Director, DirectorConfig, DirectorKind};

use crate::lab::bind::{Bind, Key, Zone};
use crate::lab::names::NameServer;
use crate::traffic::conformance::Subject;
use crate::traffic::meddling::{Update, name_server};
use crate::traffic::support::{Fixed, change, context, eventually, shown};

pub const OLD: &str = "192.0.2.1";
pub const OTHER: &str = "192.0.2.2";
pub const NEW: &str = "198.51.100.1";

/// A primary with its secondaries, and the settings of a director for it.
pub struct Lab {
    pub primary: Bind,
    pub secondaries: Vec<Bind>,
    pub settings: Settings,
    pub secret: String,
    pub key: Key,
}

impl Lab {
    pub fn start(zone: &Zone, secondaries: usize) -> Self {
        let key = Key::generate("mover", "hmac-sha256");
        let (primary, secondaries) = Bind::cluster(zone, &key, secondaries);
        let mut lab = Self::over(primary, key);
        lab.settings.zone.clone_from(&zone.name);
        lab.settings.secondaries = secondaries.iter().map(|s| s.addr).collect();
        lab.secondaries = secondaries;
        lab
    }

    /// One server alone, for `lab.test`.
    pub fn over(primary: Bind, key: Key) -> Self {
        let settings = Settings {
            zone: "lab.test".to_owned(),
            primary: primary.addr,
            secondaries: Vec::new(),
            resolvers: Vec::new(),
            key: Some(TsigKey {
                name: key.name.clone(),
                algorithm: key.algorithm.clone(),
                secret: SecretRef::Env("KEY".to_owned()),
            }),
        };
        Self { primary, secondaries: Vec::new(), settings, secret: key.secret.clone(), key }
    }

    pub fn director(&self) -> Arc<dyn Director> {
        self.settings.connect("dns", &context(&[("KEY", &self.secret)])).unwrap()
    }

    /// The same, not waiting long for secondaries.
    pub fn impatient(&self) -> dns::Zone {
        let secrets = Fixed([("KEY".to_owned(), self.secret.clone())].into());
        dns::Zone::new("dns", &self.settings, Arc::new(secrets)).unwrap().follow_within(Duration::from_millis(500))
    }

    pub fn records(&self) -> (Vec<String>, Vec<String>) {
        (self.primary.dig("www.lab.test", "A"), self.primary.dig("lab.test", "SOA"))
    }

    pub fn replace(&self) -> Vec<(String, &'static str)> {
        let mut all = vec![(self.primary.addr.to_string(), "PRIMARY")];
        all.extend(self.secondaries.iter().map(|s| (s.addr.to_string(), "SECONDARY")));
        all.extend(self.settings.resolvers.iter().map(|r| (r.to_string(), "RESOLVER")));
        all
    }

    /// Tries to add an address, shows that neither records nor serial have changed, and what people read.
    pub async fn refusal(&self, director: &dyn Director, pool: &str) -> String {
        let before = self.records();
        let error = director.apply(pool, &[change(NEW, 1, Mode::Ready)]).await.unwrap_err();
        assert_eq!(before, self.records());
        shown(&error, &self.replace())
    }
}

pub fn zone() -> Zone {
    Zone::new("lab.test", &["www 5 IN A 192.0.2.1", "www 5 IN A 192.0.2.2", "alias IN CNAME www"])
}

fn subject(lab: Lab) -> Subject {
    Subject {
        config: DirectorConfig::Dns(lab.settings.clone()),
        director: lab.director(),
        twin: lab.director(),
        pool: "www".to_owned(),
        old: OLD.to_owned(),
        other: OTHER.to_owned(),
        new: NEW.to_owned(),
        nobody: "web-1".to_owned(),
        client: None,
        names_clients: false,
        _servers: Box::new(lab),
    }
}

pub fn with_a_secondary() -> Subject {
    subject(Lab::start(&zone(), 1))
}

pub fn with_an_update_policy() -> Subject {
    let policy = "grant KEY name www.lab.test A AAAA;".to_owned();
    subject(Lab::start(&Zone { policy: Some(policy), ..zone() }, 0))
}

/// Another maker's server, alone.
fn over(start: fn(&Zone, &Key) -> NameServer) -> Subject {
    let key = Key::generate("mover", "hmac-sha256");
    let server = start(&zone(), &key);
    let secret = SecretRef::Env("KEY".to_owned());
    let settings = Settings {
        zone: "lab.test".to_owned(),
        primary: server.addr,
        secondaries: Vec::new(),
        resolvers: Vec::new(),
        key: Some(TsigKey { name: key.name.clone(), algorithm: key.algorithm.clone(), secret }),
    };
    let director = || settings.connect("dns", &context(&[("KEY", &key.secret)])).unwrap();
    Subject {
        director: director(),
        twin: director(),
        pool: "www".to_owned(),
        old: OLD.to_owned(),
        other: OTHER.to_owned(),
        new: NEW.to_owned(),
        nobody: "web-1".to_owned(),
        client: None,
        names_clients: false,
        config: DirectorConfig::Dns(settings),
        _servers: Box::new(server),
    }
}

pub fn over_knot() -> Subject {
    over(NameServer::knot)
}

pub fn over_powerdns() -> Subject {
    over(NameServer::powerdns)
}

#[tokio::test]
async fn the_director_works_with_the_names_that_plans_may_use_and_with_no_others() {
    let mut zone = zone();
    zone.records.extend(["@ 5 IN A 192.0.2.1".to_owned(), "* 5 IN A 192.0.2.1".to_owned()]);
    let lab = Lab::start(&zone, 0);
    let director = lab.director();
    for written in ["www", "www.lab.test", "WWW.lab.test.", "@", "lab.test"] {
        let name = lab.settings.pool_name(written).unwrap();
        for pool in [written, &name] {
            let there = director.apply(pool, &[change(NEW, 1, Mode::Ready)]).await.unwrap();
            assert!(there.member(NEW).is_some(), "{pool}");
            director.writable(pool).await.unwrap();
            director.apply(pool, &[change(NEW, 0, Mode::Ready)]).await.unwrap();
        }
    }
    for written in ["*", "*.lab.test", "www.example.com", "www.example.com.", "a b", ""] {
        let unfit = lab.settings.pool_name(written).unwrap_err();
        assert_eq!(director.observe(written).await.unwrap_err().what, unfit.sentence(written));
    }
}

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
        // The thread behind it outlives the test and must not keep the server.
        let primary = Arc::downgrade(&primary);
        move || primary.upgrade().unwrap().nsupdate(&key, &["update add www.lab.test 5 A 192.0.2.77"])
    };
    lab.settings.primary = name_server(primary.addr, Update::After(Box::new(meddle)));
    let replace = [(lab.settings.primary.to_string(), "PRIMARY")];
    let director = lab.settings.connect("dns", &context(&[("KEY", &lab.secret)])).unwrap();
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
        // The thread behind it outlives the test and must not keep the server.
        let primary = Arc::downgrade(&primary);
        move || primary.upgrade().unwrap().nsupdate(&key, &[&format!("update add www.lab.test 5 A {NEW}")])
    };
    lab.settings.primary = name_server(primary.addr, Update::After(Box::new(meddle)));
    let director = lab.settings.connect("dns", &context(&[("KEY", &lab.secret)])).unwrap();
    assert_eq!(director.apply("www", &[change(NEW, 1, Mode::Ready)]).await.unwrap().members.len(), 3);
}

#[tokio::test]
async fn an_update_whose_answer_is_lost_is_settled_by_reading() {
    let mut lab = Lab::start(&zone(), 0);
    lab.settings.primary = name_server(lab.primary.addr, Update::LoseAnswer);
    let pool = lab.director().apply("www", &[change(NEW, 1, Mode::Ready)]).await.unwrap();
    assert_eq!(pool.members.len(), 3);
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
    assert_eq!(director.observe("www").await.unwrap_err().kind, Kind::Disagrees);
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
    assert_eq!(error.kind, Kind::Disagrees, "{error}");
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
    lab.settings.resolvers.push(resolver.addr);
    let director = lab.director();
    assert_eq!(director.settled("www").await.unwrap(), None);
    director.apply("www", &[change(NEW, 1, Mode::Ready), change(OLD, 0, Mode::Ready)]).await.unwrap();
    let said = director.settled("www").await.unwrap().unwrap().replace(&resolver.addr.to_string(), "RESOLVER");
    let (start, left) = said.rsplit_once(' ').map(|(start, _)| start.rsplit_once(' ').unwrap()).unwrap();
    assert!(left.parse::<u32>().unwrap() <= 5, "{said}");
    assert_eq!(start, "resolver RESOLVER still answers 192.0.2.1 and 192.0.2.2 for up to");
    eventually("the cache has run out", || async { director.settled("www").await.unwrap().is_none() }).await;
}
