//! One run at a time over one thing, and numbers that only grow.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use migrate::lock::{Barred, Guard};
use migrate::lock::{LENGTH, Lease, LockError, LockLost, Locks, Validity};
use migrate::store::file::LockDir;
use proptest::prelude::*;
use rustix::process::Signal;

use super::support::{Helper, given, operator, until};

fn locks(dir: &Path) -> Locks {
    Locks::new(Arc::new(LockDir::new(dir)), &operator(), LENGTH)
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

#[test]
fn what_is_held_is_refused_with_who_where_why_since_when_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let lease = locks(dir.path()).acquire(names(&["plan:web", "pair:a:b"]), "migrate apply web.yaml").unwrap();
    lease.name_run("web-1").unwrap();
    let refused = locks(dir.path()).acquire(names(&["plan:api", "pair:a:b"]), "migrate apply api.yaml").unwrap_err();
    let (text, hint) = (refused.to_string(), refused.hint().unwrap());
    let pid = std::process::id();
    for part in
        ["pair:a:b is locked", &format!("ada@desk (pid {pid})"), "since 20", "`migrate apply web.yaml`", "(run web-1)"]
    {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
    assert!(hint.contains("migrate lock break pair:a:b --yes"), "{hint}");
    // All or none: the plan of the refused one is free.
    let other = locks(dir.path()).acquire(names(&["plan:api", "pair:c:d"]), "").unwrap();
    assert!(other.fence() > lease.fence() && lease.taken_over().is_empty());
    drop(lease);
    assert!(locks(dir.path()).acquire(names(&["pair:a:b"]), "").is_ok());
}

#[test]
fn a_broken_lock_is_void_at_once_and_its_number_is_never_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let first = locks(dir.path()).acquire(names(&["plan:web", "pool:edge:web"]), "").unwrap();
    assert_eq!(first.check(Duration::from_secs(1)), Ok(first.fence()));
    let broken = locks(dir.path()).break_lock("pool:edge:web").unwrap();
    assert_eq!(broken.fence, first.fence());
    assert_eq!(first.check(Duration::ZERO), Err(LockLost::Taken));
    assert_eq!(first.remaining(), Duration::ZERO);
    assert!(matches!(Guard::check(&first), Err(Barred::ForGood(why)) if why.contains("does nothing more")));
    let second = locks(dir.path()).acquire(names(&["plan:web"]), "").unwrap();
    assert!(second.fence() > first.fence() + 1, "the break has used a number of its own");
    // The end of the first takes nothing from the second.
    drop(first);
    assert!(second.check(Duration::ZERO).is_ok());
    assert!(matches!(locks(dir.path()).break_lock("plan:nope"), Err(LockError::NotHeld { .. })));
}

#[test]
fn a_lease_says_no_to_what_takes_longer_than_it_lasts() {
    let dir = tempfile::tempdir().unwrap();
    let lease = Locks::new(Arc::new(LockDir::new(dir.path())), &operator(), Duration::from_secs(30))
        .acquire(names(&["x"]), "")
        .unwrap();
    assert!(lease.check(Duration::from_secs(5)).is_ok());
    let short = lease.check(Duration::from_secs(31)).unwrap_err();
    assert!(matches!(short, LockLost::Short { .. }), "{short}");
    // That is no loss.
    assert!(lease.check(Duration::from_secs(5)).is_ok());
}

#[test]
fn a_lease_is_renewed_for_as_long_as_it_is_held() {
    let dir = tempfile::tempdir().unwrap();
    let locks = Locks::new(Arc::new(LockDir::new(dir.path())), &operator(), Duration::from_secs(2));
    let lease = locks.acquire(names(&["x"]), "").unwrap();
    let first = locks.show().unwrap()[0].expires;
    until("a renewal", || locks.show().unwrap()[0].expires > first);
    assert!(lease.check(Duration::ZERO).is_ok());
}

#[test]
fn numbers_go_on_above_all_earlier_ones_when_the_table_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let mut last = 0;
    for _ in 0..20 {
        last = locks(dir.path()).acquire(names(&["x"]), "").unwrap().fence();
    }
    std::fs::remove_file(dir.path().join("locks/table.json")).unwrap();
    let again = locks(dir.path()).acquire(names(&["x"]), "").unwrap().fence();
    assert!(again > last, "{again} after {last}");
}

#[test]
fn a_damaged_table_is_named_and_nothing_is_locked() {
    let dir = tempfile::tempdir().unwrap();
    drop(locks(dir.path()).acquire(names(&["x"]), "").unwrap());
    std::fs::write(dir.path().join("locks/table.json"), "{").unwrap();
    let error = locks(dir.path()).acquire(names(&["x"]), "").unwrap_err();
    assert!(matches!(&error, LockError::Damaged { path, .. } if path.ends_with("table.json")), "{error}");
}

/// Many at once, over few names: never two holders of one name, never a number twice, and numbers in the order of acquisition.
#[test]
fn races_never_give_one_name_to_two_or_one_number_twice() {
    const NAMES: usize = 4;
    let dir = tempfile::tempdir().unwrap();
    let holders: [AtomicU32; NAMES] = Default::default();
    let issued = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for seed in 0..6_usize {
            let (holders, issued, dir) = (&holders, &issued, dir.path());
            scope.spawn(move || {
                for n in 0..40 {
                    let picked = [(seed + n) % NAMES, (seed * 3 + n * 7) % NAMES];
                    let wanted = picked.iter().map(|n| format!("name:{n}")).collect();
                    let Ok(lease) = locks(dir).acquire(wanted, "race") else { continue };
                    let picked: BTreeSet<usize> = picked.into();
                    for name in &picked {
                        assert_eq!(holders[*name].fetch_add(1, Ordering::SeqCst), 0, "name {name} has two holders");
                    }
                    issued.lock().unwrap().push(lease.check(Duration::ZERO).unwrap());
                    for name in &picked {
                        holders[*name].fetch_sub(1, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    let issued = issued.into_inner().unwrap();
    assert!(issued.len() > 40, "too few got anything: {}", issued.len());
    assert_eq!(issued.iter().collect::<BTreeSet<_>>().len(), issued.len());
    let history = std::fs::read_to_string(dir.path().join("locks/history")).unwrap();
    let acquired: Vec<u64> = history
        .lines()
        .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap())
        .filter(|l| l["what"] == "acquired")
        .map(|l| l["fence"].as_u64().unwrap())
        .collect();
    assert!(acquired.is_sorted_by(|a, b| a < b), "{acquired:?}");
    assert!(locks(dir.path()).show().unwrap().is_empty());
}

#[derive(Debug, Clone)]
enum Act {
    Acquire(BTreeSet<u8>),
    Release(prop::sample::Index),
    Break(u8),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => prop::collection::btree_set(0_u8..5, 1..3).prop_map(Act::Acquire),
        2 => any::<prop::sample::Index>().prop_map(Act::Release),
        1 => (0_u8..5).prop_map(Act::Break),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever is acquired, released and broken in whatever order: what is held is held by one, and numbers grow.
    #[test]
    fn locks_behave_like_a_set_with_a_counter(acts in prop::collection::vec(act(), 1..25)) {
        let dir = tempfile::tempdir().unwrap();
        let locks = locks(dir.path());
        let name = |n: u8| format!("name:{n}");
        let mut held: BTreeMap<u64, (BTreeSet<u8>, Lease)> = BTreeMap::new();
        let mut void: Vec<Lease> = Vec::new();
        let mut last = 0;
        for act in acts {
            match act {
                Act::Acquire(wanted) => {
                    let free = held.values().all(|(names, _)| names.is_disjoint(&wanted));
                    let got = locks.acquire(wanted.iter().copied().map(name).collect(), "");
                    prop_assert_eq!(got.is_ok(), free);
                    if let Ok(lease) = got {
                        prop_assert!(lease.fence() > last);
                        last = lease.fence();
                        held.insert(lease.fence(), (wanted, lease));
                    }
                }
                Act::Release(which) if !held.is_empty() => {
                    let fence = *which.get(&held.keys().copied().collect::<Vec<_>>());
                    held.remove(&fence);
                }
                Act::Release(_) => {}
                Act::Break(n) => {
                    let holder = held.iter().find(|(_, (names, _))| names.contains(&n)).map(|(fence, _)| *fence);
                    let broken = locks.break_lock(&name(n)).ok().map(|e| e.fence);
                    prop_assert_eq!(broken, holder);
                    void.extend(holder.and_then(|fence| held.remove(&fence)).map(|(_, lease)| lease));
                }
            }
            for (fence, (_, lease)) in &held {
                prop_assert_eq!(lease.check(Duration::ZERO), Ok(*fence));
            }
            for lease in &void {
                prop_assert_eq!(lease.check(Duration::ZERO), Err(LockLost::Taken));
            }
        }
    }
}

/// Holds a lock until it is killed.
#[test]
#[ignore = "another process of the tests below"]
fn holder() {
    let lease = locks(Path::new(&given("DIR"))).acquire(names(&["plan:web"]), "migrate apply web.yaml").unwrap();
    until("a signal", || lease.check(Duration::ZERO).is_err());
}

#[test]
fn a_holder_that_was_killed_is_taken_over_at_once_and_a_living_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let mut helper = Helper::start("controller::lock::holder", &[("DIR", dir.path().to_str().unwrap())], &[]);
    let locks = locks(dir.path());
    until("the other's lock", || !locks.show().unwrap().is_empty());
    assert!(matches!(locks.acquire(names(&["plan:web"]), ""), Err(LockError::Held { .. })));
    let first = locks.show().unwrap()[0].clone();
    assert_eq!(first.validity(locks.here()), Validity::Held);
    // Stopped is not dead: its lease runs on.
    helper.signal(Signal::STOP);
    assert!(matches!(locks.acquire(names(&["plan:web"]), ""), Err(LockError::Held { .. })));
    helper.signal(Signal::KILL);
    // Not waited for yet, it is a zombie: dead all the same.
    until("its death", || locks.show().unwrap()[0].validity(locks.here()) == Validity::Dead);
    helper.wait();
    let lease = locks.acquire(names(&["plan:web"]), "").unwrap();
    assert_eq!(lease.taken_over(), std::slice::from_ref(&first));
    assert!(lease.fence() > first.fence);
}
