//! What every director promises, checked against the real server behind it.

use std::any::Any;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use migrate::model::{Change, Mode, Pool, Weights};
use migrate::outside::Kind;
use migrate::traffic::{Director, DirectorConfig};

use crate::support::{change, eventually};

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
    /// Keeps the servers running.
    pub _servers: Box<dyn Any + Send + Sync>,
}

impl Subject {
    async fn pool(&self) -> Pool {
        self.director.observe(&self.pool).await.unwrap()
    }

    /// The whole share that a member can have.
    fn full(&self) -> u16 {
        match self.director.capabilities().weights {
            Weights::Exact(_) => 100,
            Weights::Presence => 1,
        }
    }

    fn on(&self, member: &str) -> Change {
        change(member, self.full(), Mode::Ready)
    }

    fn off(&self, member: &str) -> Change {
        change(member, 0, Mode::Ready)
    }
}

/// The share of a member; one that is not listed has none.
fn share(pool: &Pool, member: &str) -> u16 {
    pool.member(member).map_or(0, |m| m.weight)
}

pub async fn observing_shows_who_has_a_share(s: Subject) {
    let pool = s.pool().await;
    assert_eq!(pool.name, s.pool);
    assert_eq!((share(&pool, &s.old), share(&pool, &s.other), share(&pool, &s.new)), (s.full(), s.full(), 0));
    assert_eq!(pool.ttl.is_some(), s.director.capabilities().ttl);
    let counted = s.director.capabilities().connections;
    assert!(pool.members.iter().all(|m| m.mode == Mode::Ready && m.connections.is_some() == counted));
}

pub async fn writes_are_absolute_and_repeating_them_changes_nothing(s: Subject) {
    let changes = [s.on(&s.new), s.off(&s.old)];
    let once = s.director.apply(&s.pool, &changes).await.unwrap();
    assert_eq!((share(&once, &s.new), share(&once, &s.old)), (s.full(), 0));
    let twice = s.director.apply(&s.pool, &changes).await.unwrap();
    assert_eq!(once, twice);
    assert_eq!(twice, s.pool().await);
}

pub async fn changing_one_member_leaves_the_others(s: Subject) {
    let before = s.pool().await;
    let after = s.director.apply(&s.pool, &[s.on(&s.new)]).await.unwrap();
    assert_eq!(before.member(&s.old), after.member(&s.old));
    assert_eq!(before.member(&s.other), after.member(&s.other));
    assert_eq!(share(&after, &s.new), s.full());
    assert_eq!(before.ttl, after.ttl);
}

pub async fn the_last_of_several_changes_to_a_member_counts(s: Subject) {
    let after = s.director.apply(&s.pool, &[s.on(&s.new), s.off(&s.new)]).await.unwrap();
    assert_eq!(share(&after, &s.new), 0);
    let after = s.director.apply(&s.pool, &[s.off(&s.new), s.on(&s.new)]).await.unwrap();
    assert_eq!(share(&after, &s.new), s.full());
}

pub async fn applying_nothing_is_observing(s: Subject) {
    assert_eq!(s.director.apply(&s.pool, &[]).await.unwrap(), s.pool().await);
}

pub async fn a_pool_that_is_not_there_changes_nothing(s: Subject) {
    let before = s.pool().await;
    for pool in ["nothere", "", "bad name", "bad;name", "bad/name", "bad\nname", "\u{1b}[2J"] {
        let error = s.director.apply(pool, &[s.on(&s.new)]).await.unwrap_err();
        assert_eq!(error.kind, Kind::Refused, "{pool:?}: {error}");
        assert!(!error.to_string().contains(['\n', '\u{1b}']), "{error:?}");
        s.director.observe(pool).await.unwrap_err();
        s.director.set_ttl(pool, Duration::from_secs(9)).await.unwrap_err();
    }
    assert_eq!(before, s.pool().await);
}

pub async fn a_member_that_cannot_be_changes_nothing_even_after_good_ones(s: Subject) {
    let before = s.pool().await;
    for member in [s.nobody.as_str(), "", "a b", "a;b", "a\nset weight web/new 7"] {
        let error = s.director.apply(&s.pool, &[s.on(&s.new), s.on(member)]).await.unwrap_err();
        assert_eq!(error.kind, Kind::Refused, "{member:?}: {error}");
        assert_eq!(before, s.pool().await, "{member:?}");
    }
}

pub async fn a_weight_out_of_range_changes_nothing(s: Subject) {
    let Weights::Exact(most) = s.director.capabilities().weights else { return };
    let before = s.pool().await;
    let changes = [s.on(&s.new), change(&s.old, most + 1, Mode::Ready)];
    let error = s.director.apply(&s.pool, &changes).await.unwrap_err();
    assert_eq!((error.kind, before), (Kind::Refused, s.pool().await));
    let after = s.director.apply(&s.pool, &[change(&s.old, most, Mode::Ready)]).await.unwrap();
    assert_eq!(share(&after, &s.old), most);
}

pub async fn modes_go_round_in_every_order(s: Subject) {
    use Mode::{Drain, Maint, Ready};
    for mode in [Drain, Maint, Ready, Maint, Drain, Ready] {
        let after = s.director.apply(&s.pool, &[change(&s.old, s.full(), mode)]).await.unwrap();
        let seen = after.member(&s.old).map(|m| m.mode);
        match s.director.capabilities().drain {
            true => assert_eq!(seen, Some(mode)),
            // Without a drain mode whoever is not ready is not there.
            false => assert_eq!(seen, (mode == Ready).then_some(Ready)),
        }
        assert_eq!(share(&after, &s.other), s.full());
    }
}

pub async fn a_held_connection_is_counted_and_named_until_it_ends(s: Subject) {
    if !s.director.capabilities().connections {
        assert!(s.director.blockers(&s.pool, &s.old).await.unwrap().is_empty());
        return;
    }
    s.director.apply(&s.pool, &[s.off(&s.other)]).await.unwrap();
    let count = || async { s.pool().await.member(&s.old).unwrap().connections };
    assert_eq!(count().await, Some(0));
    let client = TcpStream::connect(s.client.unwrap()).unwrap();
    eventually("the connection is counted", || async { count().await == Some(1) }).await;
    s.director.apply(&s.pool, &[s.on(&s.other), change(&s.old, 0, Mode::Drain)]).await.unwrap();
    assert_eq!(count().await, Some(1), "draining does not end a connection");
    let blockers = s.director.blockers(&s.pool, &s.old).await.unwrap();
    assert_eq!(blockers.len(), 1, "{blockers:?}");
    assert!(blockers[0].starts_with(&client.local_addr().unwrap().to_string()), "{blockers:?}");
    assert!(s.director.blockers(&s.pool, &s.other).await.unwrap().is_empty());
    drop(client);
    eventually("the connection is gone", || async { count().await == Some(0) }).await;
}

pub async fn a_ttl_is_set_for_the_whole_pool_or_refused(s: Subject) {
    let before = s.pool().await;
    let wanted = Duration::from_secs(7);
    if !s.director.capabilities().ttl {
        let error = s.director.set_ttl(&s.pool, wanted).await.unwrap_err();
        assert_eq!(error.kind, Kind::Refused);
        return;
    }
    for _ in 0..2 {
        let after = s.director.set_ttl(&s.pool, wanted).await.unwrap();
        assert_eq!((after.ttl, &after.members), (Some(wanted), &before.members));
    }
    let after = s.director.apply(&s.pool, &[s.on(&s.new)]).await.unwrap();
    assert_eq!(after.ttl, Some(wanted), "a new member takes the pool's TTL");
    for unfit in [Duration::from_millis(1500), Duration::from_secs(1 << 31)] {
        let error = s.director.set_ttl(&s.pool, unfit).await.unwrap_err();
        assert_eq!(error.kind, Kind::Refused);
    }
    assert_eq!(s.pool().await.ttl, Some(wanted));
}

pub async fn asking_whether_writes_are_let_in_changes_nothing(s: Subject) {
    let before = s.pool().await;
    s.director.writable(&s.pool).await.unwrap();
    s.director.writable("nothere").await.unwrap_err();
    assert_eq!(before, s.pool().await);
}

pub async fn what_two_controllers_write_at_once_is_never_lost(s: Subject) {
    let turns = |director: Arc<dyn Director>, pool: String, on: Change, off: Change| async move {
        for turn in 0..6 {
            let change = if turn % 2 == 0 { &on } else { &off };
            insist(&*director, &pool, change).await;
        }
        insist(&*director, &pool, &on).await;
    };
    let first = turns(s.director.clone(), s.pool.clone(), s.on(&s.new), s.off(&s.new));
    let second = turns(s.twin.clone(), s.pool.clone(), s.on(&s.other), s.off(&s.other));
    tokio::join!(first, second);
    let pool = s.pool().await;
    assert_eq!((share(&pool, &s.new), share(&pool, &s.other), share(&pool, &s.old)), (s.full(), s.full(), s.full()));
}

/// Applies until no other controller is in the way; what was applied is there.
async fn insist(director: &dyn Director, pool: &str, change: &Change) {
    for _ in 0..50 {
        match director.apply(pool, std::slice::from_ref(change)).await {
            Ok(after) => return assert_eq!(share(&after, &change.member), change.weight),
            Err(e) => assert!(matches!(e.kind, Kind::Conflict | Kind::Disagrees), "{e}"),
        }
    }
    panic!("50 conflicts in a row");
}

pub async fn its_kind_says_of_it_what_it_says_of_itself(s: Subject) {
    let kind = s.config.kind();
    assert_eq!(kind.capabilities(), s.director.capabilities());
    let pool = kind.pool_name(&s.pool).unwrap();
    assert_eq!(kind.pool_name(&pool), Ok(pool.clone()), "the one name of a pool stays as it is");
    assert_eq!(s.director.observe(&pool).await.unwrap().members, s.pool().await.members);
    for member in [&s.old, &s.other, &s.new] {
        assert_eq!(kind.check_member(member), Ok(()));
    }
    for name in ["", "a b", "a;b", "a/b", "a\nb", "\u{1b}[2J"] {
        let (pool, member) = (kind.pool_name(name).unwrap_err(), kind.check_member(name).unwrap_err());
        let said = s.director.observe(name).await.unwrap_err();
        assert_eq!((said.what, said.hint), (pool.sentence(name), Some(pool.hint)));
        let said = s.director.apply(&s.pool, &[s.on(name)]).await.unwrap_err();
        assert!(said.what.starts_with(&member.sentence(name)), "{said}");
    }
}

/// Every kind with the ways to reach it: one test for each way and each promise, on fresh servers.
macro_rules! subjects {
    ($($kind:ident { $($way:ident: $start:expr,)+ })+) => {
        const KINDS: &[&str] = &[$(stringify!($kind)),+];
        $(mod $kind { $(mod $way { crate::conformance::promises!($start); })+ })+
    };
}

macro_rules! promises {
    ($start:expr) => {
        crate::conformance::promises!($start,
            observing_shows_who_has_a_share
            writes_are_absolute_and_repeating_them_changes_nothing
            changing_one_member_leaves_the_others
            the_last_of_several_changes_to_a_member_counts
            applying_nothing_is_observing
            a_pool_that_is_not_there_changes_nothing
            a_member_that_cannot_be_changes_nothing_even_after_good_ones
            a_weight_out_of_range_changes_nothing
            modes_go_round_in_every_order
            a_held_connection_is_counted_and_named_until_it_ends
            a_ttl_is_set_for_the_whole_pool_or_refused
            asking_whether_writes_are_let_in_changes_nothing
            what_two_controllers_write_at_once_is_never_lost
            its_kind_says_of_it_what_it_says_of_itself
        );
    };
    ($start:expr, $($promise:ident)*) => {
        $(
            #[tokio::test]
            async fn $promise() {
                crate::conformance::$promise($start).await;
            }
        )*
    };
}
use promises;

subjects! {
    haproxy {
        tcp: crate::haproxy::over_tcp(),
        ssh: crate::haproxy::over_ssh(),
        unix_socket: crate::haproxy::over_a_unix_socket(),
        master_cli: crate::haproxy::over_the_master_cli(),
        two_instances: crate::haproxy::over_two_instances(),
    }
    dns {
        allow_update_and_a_secondary: crate::dns::with_a_secondary(),
        update_policy_alone: crate::dns::with_an_update_policy(),
    }
}

#[test]
fn every_kind_is_put_to_the_test() {
    assert_eq!(KINDS, DirectorConfig::KINDS);
}
