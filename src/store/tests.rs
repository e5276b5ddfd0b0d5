//! What every kind of store must do: each test runs for all of them. It is part of two programs: of the library's own tests, with the kinds
//! that need nobody else, and of the tests against real servers, with those that do (`tests/teams`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use migrate::event::{Event, Operator, Started, StepResult, StepState};
use migrate::journal::{BlobError, blob, format};
use migrate::lock::{Lease, LockError, Locks};
use migrate::model::OnFailure;
use migrate::secret::{Secret, SecretError, SecretRef, Secrets};
use migrate::step::{Graph, Step, StepKind, WatchStep};
use migrate::store::{self, Follower, Here, RunStore, RunWriter, StoreError};

const LENGTH: Duration = Duration::from_secs(60);

/// Runs a check for a new store of each kind.
fn each(check: fn(&Arc<dyn RunStore>)) {
    let dir = tempfile::tempdir().unwrap();
    let here = Here { dir: dir.path().join("here"), secrets: Arc::new(NoSecrets) };
    let (_servers, addresses) = super::stores_under_test(dir.path());
    for address in addresses {
        println!("{address}");
        check(&store::open(&address, &here).unwrap());
    }
}

struct NoSecrets;

impl Secrets for NoSecrets {
    fn resolve(&self, _: &SecretRef) -> Result<Secret, SecretError> {
        Err(SecretError { from: "a test".into(), why: "there is none".into() })
    }
}

fn operator() -> Operator {
    Operator { user: "ada".into(), host: "desk".into(), pid: std::process::id() }
}

fn lease(store: &Arc<dyn RunStore>, name: &str) -> Result<Lease, LockError> {
    locks(store).acquire([name.to_owned()].into(), "a test")
}

fn locks(store: &Arc<dyn RunStore>) -> Locks {
    Locks::new(store.lock_table(), &operator(), LENGTH)
}

fn graph() -> Graph {
    let step = |id: &str| Step {
        id: id.into(),
        wave: "w".into(),
        service: "s".into(),
        pair: None,
        kind: StepKind::Watch(WatchStep {
            hold: Duration::ZERO,
            checks: Default::default(),
            measured: Vec::new(),
            pools: Vec::new(),
        }),
        after: Vec::new(),
        urgent: false,
        on_failure: OnFailure::Hold,
        no_return: None,
        opens: Vec::new(),
        freeze: None,
        beside: None,
    };
    Graph { steps: vec![step("a"), step("b")].into(), ..Graph::default() }
}

fn begin(writer: &mut dyn RunWriter) {
    let graph = graph();
    let started = Started {
        run: writer.run().to_owned(),
        plan: "web".into(),
        inputs: Vec::new(),
        texts: Vec::new(),
        graph: blob::keep(writer.chunks().as_mut(), &graph).unwrap(),
        steps: graph.steps.len(),
        by: operator(),
        version: "0".into(),
    };
    writer.append(Event::Started(Box::new(started))).unwrap();
}

fn intent(step: &str) -> Event {
    Event::Intent { step: step.into(), attempt: 1, undo: false, before: None }
}

fn done(step: &str) -> Event {
    let result = StepResult::Done { evidence: "seen".into(), millis: 0, figures: None };
    Event::Outcome { step: step.into(), attempt: 1, undo: false, result }
}

#[test]
fn what_was_written_is_there_for_all_who_read_and_goes_on_where_it_ended() {
    each(|store| {
        let lease = lease(store, "plan:web").unwrap();
        assert_eq!(store.runs().unwrap(), Vec::<String>::new());
        let mut writer = store.create("web", &lease).unwrap();
        assert_eq!((writer.run(), writer.records()), ("web-1", 0));
        begin(writer.as_mut());
        writer.append(intent("a")).unwrap();
        let head = writer.head().to_owned();
        assert_eq!(store::state(store.as_ref(), "web-1").unwrap().state_of("a"), Some(StepState::Running));
        assert_eq!(*store::state(store.as_ref(), "web-1").unwrap().graph, graph());
        drop(writer);

        let (mut writer, state) = store.open("web-1", &lease).unwrap();
        assert_eq!((writer.head(), writer.records(), state.records), (head.as_str(), 2, 2));
        writer.append(done("a")).unwrap();
        assert_eq!(store::records(store.as_ref(), "web-1").unwrap().len(), 3);
        assert_eq!(writer.read().unwrap(), store.journal("web-1", 0).unwrap());
        assert_eq!(store.create("web", &lease).unwrap().run(), "web-2");
        let runs: BTreeSet<String> = store.runs().unwrap().into_iter().collect();
        assert_eq!(runs, ["web-1".to_owned(), "web-2".to_owned()].into());
    });
}

#[test]
fn what_is_appended_together_is_there_as_if_each_had_come_alone() {
    each(|store| {
        let lease = lease(store, "plan:web").unwrap();
        let mut writer = store.create("web", &lease).unwrap();
        begin(writer.as_mut());
        let appended = writer.append_together(vec![intent("a"), done("a"), intent("b")]).unwrap();
        writer.append(done("b")).unwrap();
        assert!(writer.append_together(Vec::new()).unwrap().is_empty());
        let decoded = format::decode("web-1", &store.journal("web-1", 0).unwrap()).unwrap();
        let (records, hashes): (Vec<_>, Vec<_>) = appended.into_iter().unzip();
        assert_eq!((&decoded.records[1..4], &decoded.hashes[1..4]), (&records[..], &hashes[..]));
        assert_eq!((decoded.records.len(), decoded.head()), (5, writer.head().to_owned()));
        assert!(store::state(store.as_ref(), "web-1").unwrap().all_done());
        // Of a reader who begins in the middle of it.
        let mut follower = Follower::new(Arc::clone(store), "web-1", 2);
        let read = follower.next(Duration::ZERO).unwrap();
        assert_eq!(read.iter().map(|record| record.seq).collect::<Vec<_>>(), [2, 3, 4]);
    });
}

#[test]
fn nothing_counts_that_an_earlier_writer_still_writes() {
    each(|store| {
        let lease = lease(store, "plan:web").unwrap();
        let mut stale = store.create("web", &lease).unwrap();
        begin(stale.as_mut());
        stale.open_checkpoints().unwrap();
        stale.checkpoint("one").unwrap();
        let (mut writer, _) = store.open("web-1", &lease).unwrap();
        assert_eq!(writer.open_checkpoints().unwrap(), b"one\n");
        // Whether it is told so is a matter of the store.
        let _ = stale.append_together(vec![intent("a"), done("a")]);
        let _ = stale.checkpoint("stale");
        writer.append(intent("b")).unwrap();
        writer.checkpoint("two").unwrap();
        let state = store::state(store.as_ref(), "web-1").unwrap();
        assert_eq!((state.state_of("a"), state.state_of("b")), (Some(StepState::Waiting), Some(StepState::Running)));
        assert_eq!(store.checkpoints("web-1").unwrap(), b"one\ntwo\n");
    });
}

#[test]
fn whether_a_run_is_open_can_be_seen() {
    each(|store| {
        let lease = lease(store, "plan:web").unwrap();
        let mut writer = store.create("web", &lease).unwrap();
        begin(writer.as_mut());
        assert!(store.is_live("web-1"));
        drop(writer);
        assert!(!store.is_live("web-1") && !store.is_live("web-2"));
    });
}

#[test]
fn what_records_name_is_kept_by_its_hash() {
    each(|store| {
        let lease = lease(store, "plan:web").unwrap();
        let writer = store.create("web", &lease).unwrap();
        let kept = blob::keep_bytes(writer.chunks().as_mut(), b"text").unwrap();
        assert_eq!(blob::keep_bytes(writer.chunks().as_mut(), b"text").unwrap(), kept);
        assert_eq!(blob::fetch_bytes(store.chunks("web-1").as_ref(), &kept).unwrap(), b"text");
        let other = "0".repeat(64);
        assert!(matches!(store.chunks("web-1").get(&other), Err(BlobError::Missing { .. })));
        assert!(matches!(store.chunks("web-2").get(&kept.chunks[0]), Err(BlobError::Missing { .. })));
    });
}

#[test]
fn a_follower_gets_every_record_from_any_one_on_as_it_comes() {
    each(|store| {
        let lease = lease(store, "plan:web").unwrap();
        let mut writer = store.create("web", &lease).unwrap();
        let mut follower = Follower::new(Arc::clone(store), "web-1", 1);
        assert!(follower.next(Duration::ZERO).unwrap().is_empty());
        begin(writer.as_mut());
        writer.append(intent("a")).unwrap();
        let numbers =
            |f: &mut Follower| f.next(Duration::from_secs(5)).unwrap().iter().map(|r| r.seq).collect::<Vec<_>>();
        assert_eq!(numbers(&mut follower), [1]);
        let writing = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(150));
            writer.append(done("a")).unwrap();
            writer
        });
        assert_eq!(numbers(&mut follower), [2]);
        writing.join().unwrap();
        // Also when somebody else goes on with the run.
        store.open("web-1", &lease).unwrap().0.append(intent("b")).unwrap();
        assert_eq!(numbers(&mut follower), [3]);
        let mut late = Follower::new(Arc::clone(store), "web-1", 0);
        assert_eq!(numbers(&mut late), [0, 1, 2, 3]);
    });
}

#[test]
fn locks_are_had_by_one_at_a_time_and_numbers_only_grow() {
    each(|store| {
        let first = lease(store, "plan:web").unwrap();
        let other = lease(store, "plan:mail").unwrap();
        assert!(other.fence() > first.fence());
        assert!(matches!(lease(store, "plan:web"), Err(LockError::Held { .. })));
        assert_eq!(locks(store).show().unwrap().len(), 2);
        locks(store).break_lock("plan:web").unwrap();
        assert!(first.check(Duration::ZERO).is_err() && other.check(Duration::ZERO).is_ok());
        let again = lease(store, "plan:web").unwrap();
        assert!(again.fence() > other.fence() + 1, "breaking takes a number, too");
        drop((first, other, again));
        assert_eq!(locks(store).show().unwrap(), Vec::new());
    });
}

#[test]
fn a_run_that_is_not_there_is_told_by_its_name_whatever_that_is() {
    each(|store| {
        let lease = lease(store, "plan:web").unwrap();
        for name in ["web-1", "", ".", "..", "../locks", "a/b", "/etc"] {
            assert!(matches!(store.journal(name, 0), Err(StoreError::NoRun { .. })), "{name}");
            assert!(matches!(store.checkpoints(name), Err(StoreError::NoRun { .. })), "{name}");
            assert!(matches!(store.open(name, &lease), Err(StoreError::NoRun { .. })), "{name}");
        }
    });
}

#[test]
fn what_a_lease_does_not_cover_any_more_is_not_written() {
    each(|store| {
        let lease = lease(store, "plan:web").unwrap();
        let mut writer = store.create("web", &lease).unwrap();
        begin(writer.as_mut());
        assert!(store.receipts_are_here("web-1", 0).unwrap());
        assert!(store.receipts("web-1").is_absolute());
        drop(writer);
        locks(store).break_lock("plan:web").unwrap();
        // Whether it is told so at once is a matter of the store; a record of a lease that is lost is refused above it.
        let again = self::lease(store, "plan:web").unwrap();
        let (mut writer, state) = store.open("web-1", &again).unwrap();
        assert_eq!(state.records, 1);
        writer.append(intent("a")).unwrap();
    });
}

#[test]
fn a_record_of_any_size_comes_back_and_a_follower_gets_it_whole() {
    each(|store| {
        let lease = lease(store, "plan:web").unwrap();
        let mut writer = store.create("web", &lease).unwrap();
        begin(writer.as_mut());
        writer.append(intent("a")).unwrap();
        let evidence = "0123456789".repeat(300_000);
        let result = StepResult::Done { evidence: evidence.clone(), millis: 0, figures: None };
        let long = Event::Outcome { step: "a".into(), attempt: 1, undo: false, result };
        let mut follower = Follower::new(Arc::clone(store), "web-1", 2);
        let written = writer.append(long).unwrap();
        writer.append(intent("b")).unwrap();
        let mut got = Vec::new();
        while got.len() < 2 {
            got.extend(follower.next(Duration::from_secs(5)).unwrap());
        }
        assert_eq!((got[0].event == written.event, got[1].event == intent("b")), (true, true));
        // From the middle of it on, too.
        let all = store.journal("web-1", 0).unwrap();
        let from = all.len() / 2;
        assert!(store.journal("web-1", from as u64).unwrap() == all[from..]);
        assert!(store.journal("web-1", all.len() as u64).unwrap().is_empty());
        drop(writer);
        assert_eq!(store.open("web-1", &lease).unwrap().1.records, 4);
    });
}

#[test]
fn a_run_is_carried_to_another_store_and_back_whole_and_goes_on_there() {
    each(|store| {
        let elsewhere = tempfile::tempdir().unwrap();
        let other = store::in_directory(elsewhere.path());
        let (here, there) = (lease(store, "plan:web").unwrap(), lease(&other, "plan:web").unwrap());
        let mut writer = store.create("web", &here).unwrap();
        begin(writer.as_mut());
        writer.open_checkpoints().unwrap();
        (0..70).for_each(|n| writer.checkpoint(&format!("line {n}")).unwrap());
        writer.append(intent("a")).unwrap();
        drop(writer);
        let carried = store::carry(store.as_ref(), other.as_ref(), "web-1", &there).unwrap();
        assert_eq!((carried.records, carried.was_there), (2, false));
        assert_eq!(other.journal("web-1", 0).unwrap(), store.journal("web-1", 0).unwrap());
        assert_eq!(other.checkpoints("web-1").unwrap(), store.checkpoints("web-1").unwrap());
        assert!(store::carry(store.as_ref(), other.as_ref(), "web-1", &there).unwrap().was_there);
        // It goes on there, and what has gone on is not written over.
        other.open("web-1", &there).unwrap().0.append(done("a")).unwrap();
        assert!(store::carry(store.as_ref(), other.as_ref(), "web-1", &there).unwrap().was_there);
        assert_eq!(store::records(other.as_ref(), "web-1").unwrap().len(), 3);
        // One that has gone another way is another run.
        store.open("web-1", &here).unwrap().0.append(intent("b")).unwrap();
        let refused = store::carry(store.as_ref(), other.as_ref(), "web-1", &there).unwrap_err().to_string();
        assert!(refused.contains("another run of that name"), "{refused}");
        assert!(matches!(store::carry(store.as_ref(), other.as_ref(), "web-9", &there), Err(StoreError::NoRun { .. })));
        // And the other way.
        let mut writer = other.create("mail", &there).unwrap();
        begin(writer.as_mut());
        drop(writer);
        store::carry(other.as_ref(), store.as_ref(), "mail-1", &here).unwrap();
        let (mut writer, state) = store.open("mail-1", &here).unwrap();
        assert_eq!((state.records, *state.graph == graph()), (1, true));
        writer.append(intent("a")).unwrap();
    });
}

#[test]
fn an_address_of_no_kind_is_refused_with_the_kinds_that_there_are() {
    let here = Here { dir: "here".into(), secrets: Arc::new(NoSecrets) };
    let refused = store::open("paper:desk", &here).unwrap_err();
    assert!(refused.hint().unwrap().contains("file"), "{refused}");
    let refused = store::open("etcd://desk/x?user=me&password=hunter2", &here).unwrap_err().to_string();
    assert!(refused.contains("a reference") && !refused.contains("hunter2"), "{refused}");
}
