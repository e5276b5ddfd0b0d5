//! What every director promises, checked against the real server behind it.

use std::any::Any;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use migrate::model::{Change, Mode, Pool};
use migrate::traffic::trial::{PROMISES, Trial};
use migrate::traffic::{Director, DirectorConfig};

use crate::traffic::support::{change, eventually};

/// A director over a live server with three members: `old` and `other` have a share, `new` has none.
pub struct Subject {
    pub config: DirectorConfig,
    pub director: Arc<dyn Director>,
    /// The same server, as a second controller sees it.
    pub twin: Arc<dyn Director>,
    pub pool: String,
    pub old: String,
    pub other: String,
    pub new: String,
    /// A name that cannot be a member.
    pub nobody: String,
    /// Where clients connect to, when the director counts connections.
    pub client: Option<SocketAddr>,
    /// Whether it tells which client holds on to a member, and not only that one does.
    pub names_clients: bool,
    /// Keeps the servers running.
    pub _servers: Box<dyn Any + Send + Sync>,
}

impl Subject {
    async fn pool(&self) -> Pool {
        self.director.observe(&self.pool).await.unwrap()
    }

    fn trial(&self) -> Trial {
        Trial {
            config: self.config.clone(),
            director: Arc::clone(&self.director),
            twin: Arc::clone(&self.twin),
            pool: self.pool.clone(),
            old: self.old.clone(),
            other: self.other.clone(),
            new: self.new.clone(),
            nobody: Some(self.nobody.clone()),
        }
    }

    fn on(&self, member: &str) -> Change {
        change(member, self.trial().full(), Mode::Ready)
    }

    fn off(&self, member: &str) -> Change {
        change(member, 0, Mode::Ready)
    }
}

/// Looks at one promise, by its name; afterwards everything can be put back.
pub async fn keeps(subject: Subject, promise: &str) {
    let trial = subject.trial();
    let before = subject.pool().await;
    let promise = PROMISES.iter().find(|p| p.name == promise).unwrap();
    promise.look(&trial).await.unwrap_or_else(|why| panic!("{}: {why}", promise.words()));
    trial.put_back(&before).await.unwrap_or_else(|why| panic!("put back: {why}"));
}

pub async fn a_held_connection_is_counted_and_named_until_it_ends(s: Subject) {
    if !s.director.capabilities().connections {
        assert!(s.director.blockers(&s.pool, &s.old).await.unwrap().is_empty());
        return;
    }
    s.director.apply(&s.pool, &[s.off(&s.other)]).await.unwrap();
    let count = || async { s.pool().await.member(&s.old).unwrap().connections };
    assert_eq!(count().await, Some(0));
    let mut client = TcpStream::connect(s.client.unwrap()).unwrap();
    // Balancers of HTTP go on to a member when they have a request; the others pass it on.
    client.write_all(b"GET /held HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n").unwrap();
    eventually("the connection is counted", || async { count().await == Some(1) }).await;
    s.director.apply(&s.pool, &[s.on(&s.other), change(&s.old, 0, Mode::Drain)]).await.unwrap();
    assert_eq!(count().await, Some(1), "draining does not end a connection");
    let blockers = s.director.blockers(&s.pool, &s.old).await.unwrap();
    assert_eq!(blockers.len(), 1, "{blockers:?}");
    if s.names_clients {
        assert!(blockers[0].starts_with(&client.local_addr().unwrap().to_string()), "{blockers:?}");
    }
    assert!(s.director.blockers(&s.pool, &s.other).await.unwrap().is_empty());
    drop(client);
    eventually("the connection is gone", || async { count().await == Some(0) }).await;
}

/// Every kind with the ways to reach it: one test for each way and each promise, on fresh servers.
macro_rules! subjects {
    ($($kind:ident { $($way:ident: $start:expr,)+ })+) => {
        const KINDS: &[&str] = &[$(stringify!($kind)),+];
        $(mod $kind { $(mod $way { crate::traffic::conformance::promises!($start); })+ })+
    };
}

macro_rules! promises {
    ($start:expr) => {
        crate::traffic::conformance::promises!($start,
            observing_shows_who_has_a_share
            writes_are_absolute_and_repeating_them_changes_nothing
            changing_one_member_leaves_the_others
            the_last_of_several_changes_to_a_member_counts
            applying_nothing_is_observing
            a_pool_that_is_not_there_changes_nothing
            a_member_that_cannot_be_changes_nothing_even_after_good_ones
            a_weight_out_of_range_changes_nothing
            modes_go_round_in_every_order
            a_ttl_is_set_for_the_whole_pool_or_refused
            asking_whether_writes_are_let_in_changes_nothing
            what_two_controllers_write_at_once_is_never_lost
            its_kind_says_of_it_what_it_says_of_itself
        );

        #[tokio::test]
        async fn a_held_connection_is_counted_and_named_until_it_ends() {
            crate::traffic::conformance::a_held_connection_is_counted_and_named_until_it_ends($start).await;
        }
    };
    ($start:expr, $($promise:ident)*) => {
        #[test]
        fn every_promise_has_its_test() {
            let tested: Vec<&str> = vec![$(stringify!($promise)),*];
            assert_eq!(tested, migrate::traffic::trial::PROMISES.iter().map(|p| p.name).collect::<Vec<_>>());
        }

        $(
            #[tokio::test]
            async fn $promise() {
                crate::traffic::conformance::keeps($start, stringify!($promise)).await;
            }
        )*
    };
}
use promises;

subjects! {
    haproxy {
        tcp: crate::traffic::haproxy::over_tcp(),
        ssh: crate::traffic::haproxy::over_ssh(),
        unix_socket: crate::traffic::haproxy::over_a_unix_socket(),
        master_cli: crate::traffic::haproxy::over_the_master_cli(),
        two_instances: crate::traffic::haproxy::over_two_instances(),
    }
    dns {
        allow_update_and_a_secondary: crate::traffic::dns::with_a_secondary(),
        update_policy_alone: crate::traffic::dns::with_an_update_policy(),
        knot: crate::traffic::dns::over_knot(),
        powerdns: crate::traffic::dns::over_powerdns(),
    }
    command {
        a_file_that_another_program_reads: crate::traffic::command::over_a_file(),
        routes_of_bird_over_ssh: crate::traffic::command::over_bird(),
    }
    nginx {
        here: crate::traffic::nginx::here(),
        ssh: crate::traffic::nginx::over_ssh(),
        two_hosts: crate::traffic::nginx::on_two_hosts(),
    }
    softlayer_dns {
        two_servers: crate::traffic::softlayer_dns::with_two_servers(),
    }
    softlayer_lb {
        weighted: crate::traffic::softlayer_lb::with_weights(),
    }
    route53 {
        weighted: crate::traffic::route53::with_weights(),
        weighted_and_asked_at_name_servers: crate::traffic::route53::with_name_servers(),
        multivalue: crate::traffic::route53::with_several_values(),
        plain: crate::traffic::route53::with_plain_records(),
    }
    cloud_dns {
        weighted: crate::traffic::cloud_dns::with_weights(),
        weighted_and_asked_at_name_servers: crate::traffic::cloud_dns::with_name_servers(),
        plain: crate::traffic::cloud_dns::with_plain_records(),
    }
    powerdns {
        its_api: crate::traffic::powerdns::over_its_api(),
    }
}

#[test]
fn every_kind_is_put_to_the_test() {
    assert_eq!(KINDS, DirectorConfig::KINDS);
}
