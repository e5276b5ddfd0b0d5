//! A zone at SoftLayer: what is not the same as for every director.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use migrate::model::Mode;
use migrate::outside::Kind;
use migrate::secret::SecretRef;
use migrate::softlayer::Access;
use migrate::traffic::softlayer_dns::{Settings, Zone};
use migrate::traffic::{Director, DirectorConfig};

use crate::lab::authority::NameServer;
use crate::lab::softlayer::world::World;
use crate::lab::softlayer::{Fault, KEY, SoftLayer, USER};
use crate::traffic::conformance::Subject;
use crate::traffic::support::{change, context};

const OLD: &str = "192.0.2.1";
const OTHER: &str = "192.0.2.2";
const NEW: &str = "192.0.2.3";

struct Lab {
    api: SoftLayer,
    servers: Vec<NameServer>,
    settings: Settings,
    zone: u64,
}

impl Lab {
    fn start(servers: usize) -> Self {
        let mut world = World::default();
        let zone = world.add_zone("lab.test");
        // Another zone with the same host, and a zone whose name holds that of ours.
        let other = world.add_zone("lab.test.example");
        world.add_record(other, "www", "a", "198.51.100.9", 60);
        for address in [OLD, OTHER] {
            world.add_record(zone, "www", "a", address, 5);
        }
        world.add_record(zone, "alias", "cname", "www.lab.test.", 60);
        world.add_record(zone, "wwwx", "a", "198.51.100.8", 60);
        let api = SoftLayer::start(world);
        // Two controllers at once, each as fast as it may be.
        api.manners().rate = 1000;
        let servers: Vec<NameServer> = (0..servers).map(|_| api.name_server()).collect();
        let access = Access {
            username: Some(SecretRef::Env("USER".into())),
            api_key: Some(SecretRef::Env("KEY".into())),
            endpoint: Some(api.endpoint()),
            files: Vec::new(),
        };
        let addresses = servers.iter().map(|server| server.addr).collect();
        let settings = Settings { zone: "lab.test".into(), servers: addresses, resolvers: Vec::new(), access };
        Self { api, servers, settings, zone }
    }

    fn director(&self) -> Arc<dyn Director> {
        self.with_key(KEY)
    }

    fn with_key(&self, key: &str) -> Arc<dyn Director> {
        let context = context(&[("USER", USER), ("KEY", key)]);
        DirectorConfig::SoftLayerDns(self.settings.clone()).kind().connect("zone", &context).unwrap()
    }

    /// Records of `www` as the API has them.
    fn rows(&self) -> Vec<(String, u64)> {
        let rows = self.api.world().records();
        let own = rows.iter().filter(|row| row["domainId"] == self.zone && row["host"] == "www");
        own.map(|row| (row["data"].as_str().unwrap().to_owned(), row["ttl"].as_u64().unwrap())).collect()
    }
}

pub fn with_two_servers() -> Subject {
    let lab = Lab::start(2);
    Subject {
        config: DirectorConfig::SoftLayerDns(lab.settings.clone()),
        director: lab.director(),
        twin: lab.director(),
        pool: "www".into(),
        old: OLD.into(),
        other: OTHER.into(),
        new: NEW.into(),
        nobody: "www".into(),
        client: None,
        names_clients: false,
        _servers: Box::new(lab),
    }
}

#[tokio::test]
async fn only_the_records_that_are_meant_are_touched_and_new_ones_come_first() {
    let lab = Lab::start(1);
    let before = lab.api.world().records();
    let changes = [change(OLD, 0, Mode::Ready), change(OTHER, 0, Mode::Ready), change(NEW, 1, Mode::Ready)];
    lab.director().apply("www.lab.test", &changes).await.unwrap();
    assert_eq!(lab.rows(), [(NEW.to_owned(), 5)]);
    let called = lab.api.called();
    let writes: Vec<&str> = called.iter().filter_map(|call| call.strip_prefix("Dns_Domain_ResourceRecord::")).collect();
    assert_eq!(writes, ["createObject", "deleteObject", "deleteObject"]);
    let rest = |records: Vec<serde_json::Value>| -> Vec<String> {
        let others = records.into_iter().filter(|r| r["host"] != "www" || r["domainId"] != lab.zone);
        others.map(|r| r.to_string()).collect()
    };
    assert_eq!(rest(before), rest(lab.api.world().records()));
    // A list of everything is no reason to touch more.
    lab.api.manners().ignores_filters = true;
    assert_eq!(lab.director().observe("www").await.unwrap().members.len(), 1);
    let last = lab.director().apply("www", &[change(NEW, 0, Mode::Ready)]).await.unwrap_err();
    assert!(last.what.contains("the last address"), "{last}");
}

#[tokio::test]
async fn an_answer_that_is_lost_is_looked_for_and_never_written_twice() {
    let lab = Lab::start(1);
    let director = lab.director();
    // Before it writes, it asks for the zone and its records.
    let reads = {
        director.observe("www").await.unwrap();
        lab.api.called().len()
    };
    let none = |n: usize| std::iter::repeat_n(None, n);
    lab.api.manners().planned = none(reads).chain([Some(Fault::Lost)]).collect();
    director.apply("www", &[change(NEW, 1, Mode::Ready)]).await.unwrap();
    assert_eq!(lab.rows().len(), 3);
    // Cut off before anything was done: nobody knows, and nothing is claimed.
    lab.api.manners().planned = none(reads).chain([Some(Fault::Cut)]).collect();
    let lost = director.apply("www", &[change(OLD, 0, Mode::Ready)]).await.unwrap_err();
    assert!(lost.is_unknown() && lost.transient, "{lost:?}");
    assert_eq!(lab.rows().len(), 3);
    director.apply("www", &[change(OLD, 0, Mode::Ready)]).await.unwrap();
    assert_eq!(lab.rows().len(), 2);
}

#[tokio::test]
async fn servers_that_do_not_follow_the_api_are_named() {
    let lab = Lab::start(2);
    let context = context(&[("USER", USER), ("KEY", KEY)]);
    let director = Zone::new("zone", &lab.settings, context.secrets).unwrap().follow_within(Duration::ZERO);
    director.observe("www").await.unwrap();
    lab.servers[1].lags.store(true, Ordering::Relaxed);
    let lag = director.apply("www", &[change(NEW, 1, Mode::Ready)]).await.unwrap_err();
    assert_eq!(lag.kind, Kind::Disagrees);
    assert!(lag.at.contains(&lab.servers[1].addr.to_string()), "{lag}");
    assert!(lag.what.ends_with("; the API has taken the change"), "{lag}");
    lab.servers[1].lags.store(false, Ordering::Relaxed);
    assert!(lab.director().observe("www").await.unwrap().member(NEW).is_some());
}

#[tokio::test]
async fn what_cannot_be_used_says_why() {
    let lab = Lab::start(1);
    let denied = lab.with_key("wrong").observe("www").await.unwrap_err();
    assert!(denied.what.contains("not accepted (401)"), "{denied}");
    let alias = lab.director().observe("alias").await.unwrap_err();
    assert!(alias.what.contains("is an alias (CNAME) for www.lab.test."), "{alias}");
    let settings = Settings { zone: "other.test".into(), ..lab.settings.clone() };
    let context = context(&[("USER", USER), ("KEY", KEY)]);
    let nowhere = Zone::new("zone", &settings, context.secrets).unwrap().observe("www").await.unwrap_err();
    assert!(nowhere.what.contains("the account has no zone other.test"), "{nowhere}");
    lab.api.manners().planned = [Some(Fault::Gateway(503)); 9].into_iter().collect();
    let down = lab.director().apply("www", &[change(NEW, 1, Mode::Ready)]).await.unwrap_err();
    assert!(down.what.contains("nothing was changed") && !down.is_unknown(), "{down}");
}
