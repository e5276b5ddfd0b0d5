//! A controller that was stopped past its lease and wakes up does nothing more.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use migrate::audit::{AuditKey, Copies, Question, Sealed, verify};
use migrate::event::Event;
use migrate::journal::{JournalError, Log};
use migrate::lock::{Fenced, Lease, Locks, Validity};
use migrate::model::CheckpointCopy;
use migrate::store::file::CHECKPOINTS;
use migrate::store::file::LockDir;
use migrate::store::file::{self, ChunkDir, Journal};
use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;

use super::support::{Helper, RUN, given, intent, keep_chunks, operator, outcome, started, step, until};

/// Long enough that a busy machine renews it in time.
const LEASE: Duration = Duration::from_secs(8);
const STEPS: usize = 100_000;

fn acquire(dir: &Path) -> Arc<Lease> {
    let locks = Locks::new(Arc::new(LockDir::new(dir)), &operator(), LEASE);
    Arc::new(locks.acquire([format!("plan:{RUN}")].into(), "migrate apply web.yaml").unwrap())
}

/// The log as the command line puts it together.
fn log(dir: &Path, journal: Journal, lease: &Arc<Lease>) -> Fenced<Sealed> {
    let copies = Copies::start(&[CheckpointCopy::File(dir.join("copies"))], &operator(), Box::new(|_| {}));
    let key = AuditKey::load_or_make(dir).unwrap();
    Fenced::new(Sealed::open(Box::new(journal), RUN, operator(), key, copies).unwrap(), Arc::clone(lease))
}

/// Does one effect after the other as the engine does: intent, check, effect, outcome.
fn work(
    dir: &Path,
    who: &str,
    log: &mut dyn Log,
    lease: &Lease,
    first: usize,
    last: usize,
) -> Result<(), JournalError> {
    let mut effects = OpenOptions::new().append(true).create(true).open(dir.join("effects")).unwrap();
    for n in first..last {
        let id = format!("step-{n}");
        log.append(intent(&id, 1))?;
        let fence = lease.check(Duration::ZERO).map_err(|lost| JournalError::Fenced { why: lost.to_string() })?;
        writeln!(effects, "{who} {fence} {id}").unwrap();
        log.append(outcome(&id, 1))?;
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

#[test]
#[ignore = "another process of the test below"]
fn first_controller() {
    let dir = given("DIR");
    let dir = Path::new(&dir);
    let lease = acquire(dir);
    let mut log = log(dir, Journal::create(&dir.join("journal")).unwrap(), &lease);
    let started = started((0..STEPS).map(|n| step(&format!("step-{n}"), &[])).collect());
    keep_chunks(dir);
    log.append(started).unwrap();
    let refused = work(dir, "first", &mut log, &lease, 0, STEPS).unwrap_err();
    std::fs::write(dir.join("refused"), refused.to_string()).unwrap();
    // What it must not do any more, it cannot do in any other way either.
    for _ in 0..3 {
        assert!(matches!(log.append(Event::Stopped { by: "terminate".into() }), Err(JournalError::Fenced { .. })));
    }
}

fn effects(dir: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(dir.join("effects")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn is_free(guard: &Path) -> bool {
    let guard = OpenOptions::new().append(true).open(guard).unwrap();
    flock(&guard, FlockOperation::NonBlockingLockExclusive).is_ok()
}

#[test]
fn a_controller_that_slept_past_its_lease_has_no_effect_and_the_journal_is_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut first = Helper::start("controller::stale::first_controller", &[("DIR", dir.to_str().unwrap())], &[]);
    until("some effects", || effects(dir).len() > 20);
    // Not while it renews its lease: who is stopped then keeps everybody else out.
    until("a stop outside of the table of locks", || {
        first.signal(Signal::STOP);
        let free = is_free(&dir.join("locks/guard"));
        if !free {
            first.signal(Signal::CONT);
        }
        free
    });
    let locks = Locks::new(Arc::new(LockDir::new(dir)), &operator(), LEASE);
    until("the end of its lease", || locks.show().unwrap()[0].validity(locks.here()) == Validity::Expired);

    let lease = acquire(dir);
    assert_eq!(lease.taken_over().len(), 1);
    let path = dir.join("journal");
    // It still has the journal open, and locked.
    assert!(matches!(Journal::open(&path), Err(JournalError::Locked { .. })));
    let (journal, mut state) = Journal::take_over(&path).unwrap();
    let mut second = log(dir, journal, &lease);
    state.apply(second.append(Event::Resumed { by: operator() }).unwrap()).unwrap();
    let open = (state.records as usize).div_ceil(2);
    let before = effects(dir);

    first.signal(Signal::CONT);
    work(dir, "second", &mut second, &lease, open, open + 50).unwrap();
    assert!(first.wait(), "the first controller did not come to a quiet end");
    work(dir, "second", &mut second, &lease, open + 50, open + 60).unwrap();
    second.append(Event::Stopped { by: "terminate".into() }).unwrap();
    drop(second);

    let refused = std::fs::read_to_string(dir.join("refused")).unwrap();
    assert!(refused.contains("does nothing more"), "{refused}");
    let after = effects(dir);
    assert_eq!(after.iter().filter(|e| e.starts_with("first")).count(), before.len(), "the stale one had an effect");
    let fences: Vec<u64> = after.iter().map(|e| e.split(' ').nth(1).unwrap().parse().unwrap()).collect();
    assert!(fences.is_sorted());

    // One journal, one chain of seals, and the copies elsewhere tell the same.
    file::load(&path).unwrap();
    let report = verify(&Question {
        run: RUN,
        journal: &std::fs::read(&path).unwrap(),
        chunks: &ChunkDir::beside(&path),
        checkpoints: &std::fs::read(dir.join(CHECKPOINTS)).unwrap(),
        expected: &[AuditKey::load_or_make(dir).unwrap().public()],
        outside: Some(&std::fs::read(dir.join("copies")).unwrap()),
        live: false,
    });
    assert!(report.intact, "{:?}", report.findings);
}
