//! A balancer at SoftLayer: the double held to slcli, and what is not the same as for every director.

use std::sync::Arc;
use std::time::Duration;

use migrate::model::{Mode, Sharing};
use migrate::outside::Kind;
use migrate::secret::SecretRef;
use migrate::softlayer::Access;
use migrate::traffic::softlayer_lb::Settings;
use migrate::traffic::{Director, DirectorConfig};

use crate::lab::softlayer::world::World;
use crate::lab::softlayer::{Fault, KEY, SoftLayer, USER, cli};
use crate::traffic::conformance::Subject;
use crate::traffic::support::{change, context};

const OLD: &str = "10.1.0.11";
const OTHER: &str = "10.1.0.12";
const NEW: &str = "10.1.0.13";

struct Lab {
    api: SoftLayer,
    settings: Settings,
}

impl Lab {
    fn start(chooses: &str) -> Self {
        let mut world = World::default();
        world.add_balancer("web-2", "ROUNDROBIN", &[("10.1.0.99", 50)]);
        world.add_balancer("web", chooses, &[(OLD, 100), (OTHER, 100), (NEW, 0)]);
        world.balancers.busy_for = Duration::from_millis(60);
        let api = SoftLayer::start(world);
        // Two controllers at once, each as fast as it may be.
        api.manners().rate = 1000;
        let access = Access {
            username: Some(SecretRef::Env("USER".into())),
            api_key: Some(SecretRef::Env("KEY".into())),
            endpoint: Some(api.endpoint()),
            files: Vec::new(),
        };
        Self { api, settings: Settings { access, within: Duration::from_secs(60) } }
    }

    fn director(&self) -> Arc<dyn Director> {
        self.within(Duration::from_secs(60))
    }

    fn within(&self, within: Duration) -> Arc<dyn Director> {
        let settings = Settings { within, ..self.settings.clone() };
        let context = context(&[("USER", USER), ("KEY", KEY)]);
        DirectorConfig::SoftLayerLb(settings).kind().connect("lb", &context).unwrap()
    }

    fn weights(&self) -> Vec<u64> {
        self.api.world().weights("web").into_iter().map(|(_, weight)| weight).collect()
    }

    fn writes(&self) -> usize {
        self.api.called().iter().filter(|call| call.starts_with("Network_LBaaS_Member::")).count()
    }
}

pub fn with_weights() -> Subject {
    let lab = Lab::start("WEIGHTED_RR");
    Subject {
        config: DirectorConfig::SoftLayerLb(lab.settings.clone()),
        director: lab.director(),
        twin: lab.director(),
        pool: "web".into(),
        old: OLD.into(),
        other: OTHER.into(),
        new: NEW.into(),
        nobody: "192.0.2.7".into(),
        client: None,
        names_clients: false,
        _servers: Box::new(lab),
    }
}

#[test]
fn slcli_sees_and_changes_balancers_of_the_double_as_it_does_at_softlayer() {
    let lab = Lab::start("ROUNDROBIN");
    lab.api.world().balancers.busy_for = Duration::ZERO;
    let listed = cli::said(&lab.api, &["loadbal", "list"]);
    let names: Vec<&str> = listed.as_array().unwrap().iter().map(|row| row["Name"].as_str().unwrap()).collect();
    assert_eq!(names, ["web-2", "web"]);
    let does = |words: &[&str]| {
        let out = cli::run(&lab.api, &[&["loadbal"], words].concat());
        assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&[out.stdout, out.stderr].concat()));
    };
    does(&["member-add", "--private", "-m", "10.1.0.14", "web"]);
    assert_eq!(lab.weights(), [100, 100, 0, 50]);
    let uuid = lab.api.world().balancers.all[1]["members"][3]["uuid"].as_str().unwrap().to_owned();
    does(&["member-del", "-m", &uuid, "web"]);
    assert_eq!(lab.weights(), [100, 100, 0]);
    let refused = cli::run(&lab.api, &["loadbal", "member-add", "--private", "-m", "192.0.2.7", "web"]);
    assert!(!refused.status.success() || String::from_utf8_lossy(&refused.stdout).contains("ERROR"));
    let uuid = lab.api.world().balancers.all[1]["uuid"].as_str().unwrap().to_owned();
    let call =
        ["call-api", "Network_LBaaS_LoadBalancer", "getLoadBalancer", &uuid, "--mask", "mask[uuid,members[address]]"];
    let shown = cli::run(&lab.api, &call);
    let shown = String::from_utf8_lossy(&[shown.stdout, shown.stderr].concat()).into_owned();
    assert!(shown.contains(OLD), "{shown}");
}

#[tokio::test]
async fn all_members_change_in_one_call_and_what_is_so_is_not_written() {
    let lab = Lab::start("WEIGHTED_RR");
    let director = lab.director();
    let changes = [change(OLD, 60, Mode::Ready), change(OTHER, 100, Mode::Drain), change(NEW, 40, Mode::Ready)];
    director.apply("web", &changes).await.unwrap();
    assert_eq!((lab.weights(), lab.writes()), (vec![60, 0, 40], 1));
    director.apply("web", &changes).await.unwrap();
    assert_eq!(lab.writes(), 1);
    lab.api.world().balancers.all[1]["members"][0]["health"] = "DOWN".into();
    let up = |pool: migrate::model::Pool| pool.members.iter().map(|m| m.up).collect::<Vec<_>>();
    assert_eq!(up(director.observe("web").await.unwrap()), [Some(false), Some(true), Some(true)]);
}

#[tokio::test]
async fn an_answer_that_is_lost_is_looked_for_and_a_balancer_that_stays_busy_is_told() {
    let lab = Lab::start("WEIGHTED_RR");
    // Before it writes, it looks once.
    lab.api.manners().planned = [None, Some(Fault::Lost)].into_iter().collect();
    lab.director().apply("web", &[change(NEW, 40, Mode::Ready)]).await.unwrap();
    assert_eq!((lab.weights(), lab.writes()), (vec![100, 100, 40], 1));
    lab.api.manners().planned = [None, Some(Fault::Cut)].into_iter().collect();
    let cut = lab.director().apply("web", &[change(NEW, 0, Mode::Ready)]).await.unwrap_err();
    assert!(cut.is_unknown(), "{cut:?}");
    // Somebody else's change is waited for.
    lab.api.world().keep_busy("web", Duration::from_millis(300));
    lab.director().apply("web", &[change(NEW, 0, Mode::Ready)]).await.unwrap();
    assert_eq!(lab.weights(), [100, 100, 0]);
    // One that has no end is not.
    lab.api.world().keep_busy("web", Duration::from_secs(3600));
    let stuck = lab.within(Duration::from_millis(200)).apply("web", &[change(NEW, 40, Mode::Ready)]).await.unwrap_err();
    assert!(stuck.what.contains("web is still UPDATE_PENDING") && !stuck.is_unknown(), "{stuck:?}");
    assert_eq!(lab.weights(), [100, 100, 0]);
}

#[tokio::test]
async fn what_weights_do_not_direct_and_who_cannot_be_a_member_is_refused() {
    let lab = Lab::start("ROUNDROBIN");
    let director = lab.director();
    for refused in [
        director.writable("web").await.unwrap_err(),
        director.apply("web", &[change(NEW, 40, Mode::Ready)]).await.unwrap_err(),
    ] {
        assert!(refused.what.contains("its port 80 chooses by ROUNDROBIN"), "{refused}");
        assert!(refused.hint.unwrap().contains("--method WEIGHTED_RR"));
    }
    let facts = director.facts("web").await.unwrap();
    assert_eq!((facts.algorithm.as_deref(), facts.sharing), (Some("ROUNDROBIN"), Sharing::Unknown));
    let lab = Lab::start("WEIGHTED_RR");
    let stranger = lab.director().apply("web", &[change("203.0.113.5", 40, Mode::Ready)]).await.unwrap_err();
    assert!(stranger.kind == Kind::Refused && stranger.what.contains("web has no member 203.0.113.5"), "{stranger}");
    assert!(stranger.hint.unwrap().contains("put a balancer of your own"));
    assert_eq!((lab.weights(), lab.writes()), (vec![100, 100, 0], 0));
    // A list of everything is no reason to change another one.
    lab.api.manners().ignores_filters = true;
    lab.director().apply("web", &[change(NEW, 40, Mode::Ready)]).await.unwrap();
    assert_eq!(lab.api.world().weights("web-2"), [("10.1.0.99".to_owned(), 50)]);
}
