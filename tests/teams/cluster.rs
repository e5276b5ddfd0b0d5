//! Servers that die, hang, are full, compacted or refuse: nothing that was acknowledged is lost, and errors say what to do.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use migrate::audit::{self, AuditKey, Copies, Question, Sealed};
use migrate::event::{Event, Operator, Record, Started};
use migrate::journal::{Log, blob};
use migrate::lock::{Fenced, Lease, Locks};
use migrate::secret::{Secret, SecretError, SecretRef, Secrets};
use migrate::step::Graph;
use migrate::store::{self, Follower, Here, RunStore, RunWriter, StoreError};

use super::long;
use crate::lab::etcd::Etcd;
use crate::lab::process::PATIENCE;

const RUN: &str = "web-1";
const LENGTH: Duration = Duration::from_secs(60);

/// Passwords from files.
struct Files;

impl Secrets for Files {
    fn resolve(&self, reference: &SecretRef) -> Result<Secret, SecretError> {
        let SecretRef::File(path) = reference else { panic!("only files here: {reference:?}") };
        let text = std::fs::read_to_string(path);
        let why = |e: std::io::Error| SecretError { from: "a file".into(), why: e.to_string() };
        Ok(Secret::new(text.map_err(why)?.trim()))
    }
}

fn try_open(address: &str, dir: &Path) -> Result<Arc<dyn RunStore>, StoreError> {
    store::open(address, &Here { dir: dir.to_owned(), secrets: Arc::new(Files) })
}

/// Opens a store, with this directory of this machine.
pub fn open_at(address: &str, dir: &Path) -> Arc<dyn RunStore> {
    try_open(address, dir).unwrap()
}

fn open(etcd: &Etcd) -> Arc<dyn RunStore> {
    open_at(&etcd.address(), &etcd.dir().join("here"))
}

fn operator() -> Operator {
    Operator { user: "ada".into(), host: "desk".into(), pid: std::process::id() }
}

fn lease(store: &Arc<dyn RunStore>) -> Arc<Lease> {
    let locks = Locks::new(store.lock_table(), &operator(), LENGTH);
    Arc::new(locks.acquire(["plan:web".to_owned()].into(), "a test").unwrap())
}

fn begin(writer: &mut dyn RunWriter) -> Event {
    let graph = Graph::default();
    Event::Started(Box::new(Started {
        run: writer.run().to_owned(),
        plan: "web".into(),
        inputs: Vec::new(),
        texts: Vec::new(),
        graph: blob::keep(writer.chunks().as_mut(), &graph).unwrap(),
        steps: 0,
        by: operator(),
        version: "0".into(),
    }))
}

/// What can be written again and again.
fn nth(n: u64) -> Event {
    match n % 2 {
        0 => Event::Paused { by: operator(), why: format!("number {n}") },
        _ => Event::Unpaused { by: operator() },
    }
}

/// A run under seal and lease, as controllers have it open.
fn sealed(writer: Box<dyn RunWriter>, keys: &Path, lease: &Arc<Lease>) -> Fenced<Sealed> {
    let copies = Copies::start(&[], &operator(), Box::new(|_| {}));
    let sealed = Sealed::open(writer, RUN, operator(), AuditKey::load_or_make(keys).unwrap(), copies);
    Fenced::new(sealed.unwrap(), Arc::clone(lease))
}

/// What a controller did that wrote on and on while its cluster was in trouble.
#[derive(Default)]
struct Wrote {
    acknowledged: BTreeMap<u64, Event>,
    errors: Vec<String>,
    longest: Duration,
}

/// Writes until it is told to stop. After an error it opens the run again and goes on, as the next controller does.
fn write(store: &Arc<dyn RunStore>, keys: &Path, stop: &AtomicBool, count: &AtomicU64) -> Wrote {
    let lease = lease(store);
    let mut wrote = Wrote::default();
    let mut writer = store.create("web", &lease).unwrap();
    let first = begin(writer.as_mut());
    let mut log = Some(sealed(writer, keys, &lease));
    let mut next = vec![first];
    while !stop.load(Ordering::Relaxed) {
        let Some(open) = &mut log else {
            match store.open(RUN, &lease) {
                Ok((writer, state)) => {
                    next = vec![nth(state.records + 1)];
                    // A pause that is in force is ended first.
                    if state.paused.is_some() {
                        next = vec![Event::Unpaused { by: operator() }];
                    }
                    log = Some(sealed(writer, keys, &lease));
                }
                Err(e) => wrote.errors.push(e.to_string()),
            }
            continue;
        };
        let event = next.pop().unwrap();
        let began = Instant::now();
        match open.append(event) {
            Ok(Record { seq, event, .. }) => {
                next = match event {
                    Event::Paused { .. } => vec![Event::Unpaused { by: operator() }],
                    _ => vec![Event::Paused { by: operator(), why: format!("number {seq}") }],
                };
                wrote.acknowledged.insert(seq, event);
                count.fetch_add(1, Ordering::Relaxed);
            }
            Err(e) => {
                wrote.errors.push(e.to_string());
                log = None;
            }
        }
        wrote.longest = wrote.longest.max(began.elapsed());
    }
    wrote
}

/// Does something to a cluster while a controller writes; returns what that did.
fn while_writing(etcd: &mut Etcd, disturb: impl FnOnce(&mut Etcd, &dyn Fn(u64))) -> Wrote {
    let (store, keys) = (open(etcd), etcd.dir().join("keys"));
    std::fs::create_dir_all(&keys).unwrap();
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writing = std::thread::spawn({
        let (store, keys, stop, count) = (Arc::clone(&store), keys.clone(), Arc::clone(&stop), Arc::clone(&count));
        move || write(&store, &keys, &stop, &count)
    });
    let more = |records: u64| {
        let (from, began) = (count.load(Ordering::Relaxed), Instant::now());
        while count.load(Ordering::Relaxed) < from + records {
            assert!(began.elapsed() < PATIENCE, "nothing is written any more");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    more(20);
    disturb(etcd, &more);
    more(20);
    stop.store(true, Ordering::Relaxed);
    let wrote = writing.join().unwrap();
    assert_all_there(&store, &keys, &wrote);
    wrote
}

/// Every acknowledged record is there as it was, the records fold, and the seal holds.
fn assert_all_there(store: &Arc<dyn RunStore>, keys: &Path, wrote: &Wrote) {
    let records = store::records(store.as_ref(), RUN).unwrap();
    for (seq, event) in &wrote.acknowledged {
        assert_eq!(&records[*seq as usize].event, event, "record {seq}");
    }
    store::state(store.as_ref(), RUN).unwrap();
    let report = audit::verify(&Question {
        run: RUN,
        journal: &store.journal(RUN, 0).unwrap(),
        chunks: store.chunks(RUN).as_ref(),
        checkpoints: &store.checkpoints(RUN).unwrap(),
        expected: &[AuditKey::load(keys).unwrap().unwrap().public()],
        outside: None,
        live: false,
    });
    assert!(report.intact, "{:?}", report.findings);
    println!(
        "{} records, {} acknowledged, errors: {:?}, longest wait {:?}",
        records.len(),
        wrote.acknowledged.len(),
        wrote.errors,
        wrote.longest
    );
}

#[test]
fn no_acknowledged_record_is_lost_however_often_leaders_are_killed() {
    let mut etcd = Etcd::cluster();
    while_writing(&mut etcd, |etcd, more| {
        for _ in 0..if long() { 100 } else { 10 } {
            let leader = etcd.leader();
            etcd.kill(leader);
            more(10);
            etcd.start_again(leader);
            more(10);
        }
    });
}

#[test]
fn a_server_that_hangs_and_a_cluster_without_a_majority_hold_a_controller_up_and_lose_nothing() {
    let mut etcd = Etcd::cluster();
    let wrote = while_writing(&mut etcd, |etcd, more| {
        for n in 0..3 {
            etcd.freeze(n);
            more(10);
            etcd.thaw(n);
        }
        let leader = etcd.leader();
        let others: Vec<usize> = (0..3).filter(|n| *n != leader).collect();
        others.iter().for_each(|n| etcd.freeze(*n));
        std::thread::sleep(Duration::from_secs(6));
        others.iter().for_each(|n| etcd.thaw(*n));
        more(10);
    });
    assert!(wrote.longest > Duration::from_secs(1), "it went on without a majority");
}

#[test]
fn a_follower_goes_on_through_a_compaction_and_gets_every_record() {
    let mut etcd = Etcd::single();
    let store = open(&etcd);
    let following = std::thread::spawn({
        let store = Arc::clone(&store);
        move || {
            let began = Instant::now();
            while store.runs().unwrap().is_empty() {
                assert!(began.elapsed() < PATIENCE);
            }
            let (mut follower, mut numbers) = (Follower::new(store, RUN, 0), Vec::new());
            while numbers.len() < 120 {
                assert!(began.elapsed() < PATIENCE, "only {} came", numbers.len());
                numbers.extend(follower.next(Duration::from_secs(1)).unwrap().iter().map(|r| r.seq));
            }
            numbers
        }
    });
    while_writing(&mut etcd, |etcd, more| {
        for _ in 0..10 {
            more(10);
            let status = etcd.etcdctl(&["endpoint", "status", "--write-out=json"]);
            let status: serde_json::Value = serde_json::from_str(&status).unwrap();
            etcd.etcdctl(&["compaction", &status[0]["Status"]["header"]["revision"].to_string()]);
        }
    });
    let numbers = following.join().unwrap();
    assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>());
}

#[test]
fn a_cluster_that_is_full_takes_no_run_says_why_and_goes_on_when_there_is_room() {
    let etcd = Etcd::with_quota(20 << 20);
    let store = open(&etcd);
    let first = lease(&store);
    let mut writer = store.create("web", &first).unwrap();
    let started = begin(writer.as_mut());
    writer.append(started).unwrap();
    let big = etcd.dir().join("big");
    std::fs::write(&big, vec![b'x'; 1 << 20]).unwrap();
    let fill = || {
        let put = format!("ETCDCTL_API=3 etcdctl --endpoints=http://{} put big < {}", etcd.servers()[0], big.display());
        std::process::Command::new("sh").args(["-c", &put]).output().unwrap().status.success()
    };
    let filled = (0..100).take_while(|_| fill()).count();
    assert!(filled < 100, "it is never full");
    let refused = writer.append(nth(0)).unwrap_err();
    for words in ["NOSPACE", "etcdctl alarm disarm"] {
        let said = format!("{refused}: {}", refused.hint().unwrap());
        assert!(said.contains(words), "{said}");
    }
    let poisoned = writer.append(nth(0)).unwrap_err();
    assert!(poisoned.to_string().contains("nothing more is written"), "{poisoned}");
    let second = Locks::new(store.lock_table(), &operator(), LENGTH).acquire(["plan:mail".to_owned()].into(), "a test");
    assert!(second.unwrap_err().hint().unwrap().contains("etcdctl alarm disarm"));
    // What is there can still be read, and nothing has begun.
    assert_eq!(store::records(store.as_ref(), RUN).unwrap().len(), 1);
    assert_eq!(store.runs().unwrap(), [RUN]);
    let status: serde_json::Value =
        serde_json::from_str(&etcd.etcdctl(&["endpoint", "status", "--write-out=json"])).unwrap();
    etcd.etcdctl(&["compaction", &status[0]["Status"]["header"]["revision"].to_string()]);
    etcd.etcdctl(&["defrag"]);
    etcd.etcdctl(&["alarm", "disarm"]);
    drop(writer);
    let (mut writer, state) = store.open(RUN, &first).unwrap();
    assert_eq!(state.records, 1);
    writer.append(nth(0)).unwrap();
}

#[test]
fn a_login_is_asked_for_refused_with_what_to_mend_and_made_again_when_it_was_forgotten() {
    let mut etcd = Etcd::single();
    for line in [
        "user add root:of-the-lab",
        "role add root",
        "user grant-role root root",
        "role add moves",
        "role grant-permission moves readwrite --prefix=true /migrate/",
        "user add mover:S3cr3t-of-etcd",
        "user grant-role mover moves",
        "auth enable",
    ] {
        etcd.etcdctl(&line.split(' ').collect::<Vec<_>>());
    }
    etcd.log_in("root:of-the-lab");
    let file = etcd.dir().join("password");
    let address = format!("{}?user=mover&password=file:{}", etcd.address(), file.display());
    let here = etcd.dir().join("here");
    let refused = |address: &str, words: &[&str]| {
        let refused = try_open(address, &here).unwrap().runs().unwrap_err();
        let said = format!("{refused}: {}", refused.hint().unwrap());
        words.iter().for_each(|words| assert!(said.contains(words), "{said}"));
        assert!(!said.contains("hunter2") && !said.contains("S3cr3t"), "{said}");
    };
    refused(&address, &["a file", "mend what `password` refers to"]);
    std::fs::write(&file, "hunter2\n").unwrap();
    refused(&address, &["the login was refused", "mend `user` and what `password` refers to"]);
    refused(&etcd.address(), &["the login was refused"]);
    std::fs::write(&file, "S3cr3t-of-etcd\n").unwrap();
    refused(&address.replace("/migrate?", "/others?"), &["may not read or write", "grant-permission"]);
    let store = try_open(&address, &here).unwrap();
    let lease = lease(&store);
    let mut writer = store.create("web", &lease).unwrap();
    let started = begin(writer.as_mut());
    writer.append(started).unwrap();
    // Its tokens are in its memory.
    etcd.kill(0);
    let writing = std::thread::spawn(move || {
        writer.append(nth(0)).unwrap();
        writer
    });
    etcd.start_again(0);
    drop(writing.join().unwrap());
    assert_eq!(store::records(store.as_ref(), RUN).unwrap().len(), 2);
}

#[test]
fn a_cluster_with_certificates_on_both_sides_is_spoken_to_and_a_stranger_is_not() {
    let etcd = Etcd::with_tls();
    let here = etcd.dir().join("here");
    let file = |name: &str| etcd.certificate(name).display().to_string();
    let ca = format!("{}?ca={}", etcd.address(), file("ca.pem"));
    let store = try_open(&format!("{ca}&cert={}&key={}", file("me.pem"), file("me.key")), &here).unwrap();
    assert!(store.runs().unwrap().is_empty());
    let lease = lease(&store);
    store.create("web", &lease).unwrap();
    assert_eq!(store.runs().unwrap(), [RUN]);
    let stranger = try_open(&ca, &here).unwrap().runs().unwrap_err();
    assert!(stranger.to_string().contains("Certificate"), "{stranger}");
    let none = try_open(&format!("{}?ca=/nowhere.pem", etcd.address()), &here).unwrap_err();
    assert!(none.to_string().contains("cannot read /nowhere.pem"), "{none}");
}

#[test]
fn a_cluster_that_nobody_can_reach_is_told_with_where_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let closed = crate::lab::process::free_port("127.0.0.1".parse().unwrap());
    let store = try_open(&format!("etcd://127.0.0.1:{closed}"), dir.path()).unwrap();
    let told = store.runs().unwrap_err();
    for words in ["no server of the cluster answers", &closed.to_string(), "etcdctl endpoint health", "--store"] {
        let said = format!("{told}: {}", told.hint().unwrap());
        assert!(said.contains(words), "{said}");
    }
}
