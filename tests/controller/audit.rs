//! Whatever is done to a sealed run is found and named.

use std::path::Path;
use std::sync::LazyLock;

use migrate::audit::{AuditKey, PublicKey, Question, Report, verify};
use migrate::event::{Event, Record};
use migrate::journal::{Log, format};
use migrate::store::file::CHECKPOINTS;
use migrate::store::file::Journal;
use proptest::prelude::*;

use super::support::{RUN, chunks, operator, outcome, seal, started, step, whole_run, write};

const STEPS: usize = 60;

struct Run {
    journal: Vec<u8>,
    checkpoints: Vec<u8>,
    key: PublicKey,
}

/// One honest run that all tests change copies of.
static HONEST: LazyLock<Run> = LazyLock::new(|| run_of(tempfile::tempdir().unwrap().path(), whole_run(STEPS)));

fn run_of(dir: &Path, events: Vec<Event>) -> Run {
    write(dir, dir, events);
    read(dir, dir)
}

fn read(dir: &Path, keys: &Path) -> Run {
    Run {
        journal: std::fs::read(dir.join("journal")).unwrap(),
        checkpoints: std::fs::read(dir.join(CHECKPOINTS)).unwrap(),
        key: AuditKey::load_or_make(keys).unwrap().public(),
    }
}

fn compare(journal: &[u8], checkpoints: &[u8], outside: Option<&[u8]>) -> Report {
    verify(&Question {
        run: RUN,
        journal,
        chunks: &chunks(),
        checkpoints,
        expected: &[HONEST.key],
        outside,
        live: false,
    })
}

/// The frames of a journal as they stand in the file, without its header.
fn frames(journal: &[u8]) -> Vec<Vec<u8>> {
    let ends: Vec<usize> = {
        let mut at = format::header().len();
        let mut ends = vec![at];
        while at < journal.len() {
            let length = u32::from_le_bytes(journal[at..at + 4].try_into().unwrap()) as usize;
            at += 12 + length;
            ends.push(at);
        }
        ends
    };
    ends.windows(2).map(|w| journal[w[0]..w[1]].to_vec()).collect()
}

fn journal_of(frames: &[Vec<u8>]) -> Vec<u8> {
    [format::header().into_bytes(), frames.concat()].concat()
}

fn records(journal: &[u8]) -> Vec<Record> {
    format::decode("journal", journal).unwrap().records
}

/// A journal of these records that is without fault in itself: what somebody makes who knows the format.
fn forged(records: &[Record]) -> Vec<u8> {
    let mut head = format::hash(b"");
    let frames: Vec<Vec<u8>> = records
        .iter()
        .map(|record| {
            let (frame, next) = format::encode(record, &head).unwrap();
            head = next;
            frame
        })
        .collect();
    journal_of(&frames)
}

/// The same record an hour later: still a record that can follow.
fn altered(record: &Record) -> Record {
    Record { at: record.at + std::time::Duration::from_secs(3600), ..record.clone() }
}

fn renumbered(records: Vec<Record>) -> Vec<Record> {
    (0..).zip(records).map(|(seq, record)| Record { seq, ..record }).collect()
}

#[track_caller]
fn assert_found(report: &Report, record: u64, case: &str) {
    assert!(!report.intact, "{case} was not found");
    let first = report.findings.iter().find_map(|f| f.record);
    assert_eq!(first, Some(record), "{case}: {:?}", report.findings);
}

#[test]
fn an_honest_run_is_intact_and_what_cannot_be_excluded_is_said() {
    let run = &*HONEST;
    let report = compare(&run.journal, &run.checkpoints, None);
    assert_eq!((report.intact, &report.findings[..], &report.notes[..]), (true, &[][..], &[][..]));
    assert_eq!((report.records, report.sealed_to), (STEPS as u64 * 2 + 4, Some(STEPS as u64 * 2 + 3)));
    assert!(report.not_excluded[0].contains("--since"), "{:?}", report.not_excluded);
    let compared = compare(&run.journal, &run.checkpoints, Some(&run.checkpoints));
    assert!(compared.intact && !compared.not_excluded[0].contains("--since"), "{compared:?}");
}

#[test]
fn each_record_altered_is_named() {
    let run = &*HONEST;
    let frames = frames(&run.journal);
    let honest = records(&run.journal);
    for n in 0..honest.len() {
        // A byte in place: the checksum tells.
        let mut bad = frames.clone();
        let middle = bad[n].len() / 2;
        bad[n][middle] ^= 1;
        assert_found(&compare(&journal_of(&bad), &run.checkpoints, None), n as u64, &format!("a bit of record {n}"));
        // With a checksum that fits: the chain breaks behind it, and the seal names it.
        let changed: Vec<Record> =
            honest.iter().enumerate().map(|(i, r)| if i == n { altered(r) } else { r.clone() }).collect();
        let own = forged(&changed);
        let mut bad = frames.clone();
        bad[n].clone_from(&self::frames(&own)[n]);
        assert_found(&compare(&journal_of(&bad), &run.checkpoints, None), n as u64, &format!("record {n} in place"));
        // With a whole new chain.
        assert_found(&compare(&own, &run.checkpoints, None), n as u64, &format!("record {n} chained anew"));
    }
}

#[test]
fn each_record_removed_swapped_or_put_in_is_named() {
    let run = &*HONEST;
    let (frames, honest) = (frames(&run.journal), records(&run.journal));
    for n in 0..honest.len() {
        let mut without = frames.clone();
        without.remove(n);
        let case = format!("record {n} taken out");
        assert_found(&compare(&journal_of(&without), &run.checkpoints, None), n as u64, &case);
        let mut without = honest.clone();
        without.remove(n);
        assert_found(
            &compare(&forged(&renumbered(without)), &run.checkpoints, None),
            n as u64,
            &format!("{case}, chained anew"),
        );
        let mut twice = honest.clone();
        twice.insert(n, altered(&honest[n]));
        assert_found(
            &compare(&forged(&renumbered(twice)), &run.checkpoints, None),
            n as u64,
            &format!("a record before {n}"),
        );
    }
    for n in 0..honest.len() - 1 {
        let mut swapped = frames.clone();
        swapped.swap(n, n + 1);
        assert_found(&compare(&journal_of(&swapped), &run.checkpoints, None), n as u64, &format!("{n} and the next"));
        let mut swapped = honest.clone();
        swapped.swap(n, n + 1);
        let bad = forged(&renumbered(swapped));
        assert_found(&compare(&bad, &run.checkpoints, None), n as u64, &format!("{n} and the next, chained anew"));
    }
}

#[test]
fn a_journal_cut_anywhere_misses_what_was_sealed() {
    let run = &*HONEST;
    let frames = frames(&run.journal);
    for n in 0..frames.len() {
        let report = compare(&journal_of(&frames[..n]), &run.checkpoints, None);
        assert_found(&report, n as u64, &format!("cut before {n}"));
        let mut torn = journal_of(&frames[..n]);
        torn.extend_from_slice(&frames[n][..frames[n].len() / 2]);
        assert_found(&compare(&torn, &run.checkpoints, None), n as u64, &format!("cut within {n}"));
    }
    assert!(!compare(b"", &run.checkpoints, None).intact);
    assert!(!compare(b"something else\n", &run.checkpoints, None).intact);
}

#[test]
fn records_behind_the_last_seal_are_no_part_of_an_intact_run() {
    let dir = tempfile::tempdir().unwrap();
    let mut events = whole_run(3);
    events.pop();
    write(dir.path(), dir.path(), events.clone());
    let run = read(dir.path(), dir.path());
    let ask = |live| {
        let question = Question {
            run: RUN,
            journal: &run.journal,
            chunks: &chunks(),
            checkpoints: &run.checkpoints,
            expected: &[run.key],
            outside: None,
            live,
        };
        verify(&question)
    };
    assert_found(&ask(false), 5, "a controller that died");
    assert!(ask(true).intact && ask(true).notes[0].contains("a controller is at work"), "{:?}", ask(true));
    // Taken up again, they are sealed, and that it was late is told.
    let (journal, _) = Journal::open(&dir.path().join("journal")).unwrap();
    seal(journal, dir.path()).append(Event::Resumed { by: operator() }).unwrap();
    let run = read(dir.path(), dir.path());
    let question = Question {
        run: RUN,
        journal: &run.journal,
        chunks: &chunks(),
        checkpoints: &run.checkpoints,
        expected: &[run.key],
        outside: None,
        live: false,
    };
    assert!(verify(&question).intact, "{:?}", verify(&question));
}

#[test]
fn each_checkpoint_edited_removed_or_swapped_is_found() {
    let run = &*HONEST;
    let lines: Vec<&[u8]> = run.checkpoints.split_inclusive(|b| *b == b'\n').collect();
    assert!(lines.len() >= 5);
    for n in 0..lines.len() {
        let without = [lines[..n].concat(), lines[n + 1..].concat()].concat();
        assert!(!compare(&run.journal, &without, None).intact, "checkpoint {n} removed");
        let text = String::from_utf8(lines[n].to_vec()).unwrap();
        for (from, to) in [
            ("\"seq\":", "\"seq\":1"),
            ("ada", "eve"),
            ("\"sig\":\"", "\"sig\": \""),
            ("web-1", "web-2"),
            ("}\n", " }\n"),
        ] {
            let edited = text.replacen(from, to, 1);
            assert_ne!(edited, text);
            let edited = [lines[..n].concat(), edited.into_bytes(), lines[n + 1..].concat()].concat();
            assert!(!compare(&run.journal, &edited, None).intact, "checkpoint {n}: {from} → {to}");
        }
    }
    for n in 0..lines.len() - 1 {
        let mut swapped = lines.clone();
        swapped.swap(n, n + 1);
        assert!(!compare(&run.journal, &swapped.concat(), None).intact, "checkpoints {n} and the next");
    }
    assert!(!compare(&run.journal, b"", None).intact, "all of them removed");
}

/// Somebody without the key writes the run anew, and seals it with a key of their own.
#[test]
fn a_run_sealed_again_with_another_key_is_found() {
    let run = &*HONEST;
    let (dir, keys) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let events: Vec<Event> = records(&run.journal).into_iter().map(|r| r.event).collect();
    write(dir.path(), keys.path(), events);
    let forged = read(dir.path(), keys.path());
    let report = compare(&forged.journal, &forged.checkpoints, None);
    assert!(!report.intact);
    assert!(report.findings.iter().any(|f| f.what.contains(&forged.key.to_string())), "{:?}", report.findings);
}

/// Somebody with the key does it: only a copy from elsewhere tells.
#[test]
fn what_the_owner_of_the_key_has_changed_is_found_by_a_copy_from_elsewhere() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), HONEST.checkpoints.clone());
    let honest = records(&HONEST.journal);
    let keys = tempfile::tempdir().unwrap();
    // The same key for both: this run is made with it from the beginning.
    write(dir.path(), keys.path(), honest.iter().map(|r| r.event.clone()).collect());
    let first = read(dir.path(), keys.path());
    let ask = |run: &Run, outside: &[u8]| {
        verify(&Question {
            run: RUN,
            journal: &run.journal,
            chunks: &chunks(),
            checkpoints: &run.checkpoints,
            expected: &[run.key],
            outside: Some(outside),
            live: false,
        })
    };
    assert!(ask(&first, &first.checkpoints).intact);
    // Copies with the other key prove nothing about this run.
    assert!(!ask(&first, &copy).intact);

    // Written anew from the beginning, all signatures good.
    let again = tempfile::tempdir().unwrap();
    let mut events: Vec<Event> = honest.iter().map(|r| r.event.clone()).collect();
    let last = events.len() - 2;
    events[last] = outcome(&format!("step-{}", STEPS - 1), 1);
    write(again.path(), keys.path(), events);
    let forged = read(again.path(), keys.path());
    let alone = Question {
        run: RUN,
        journal: &forged.journal,
        chunks: &chunks(),
        checkpoints: &forged.checkpoints,
        expected: &[forged.key],
        outside: None,
        live: false,
    };
    assert!(verify(&alone).intact, "without a copy nobody can tell, and that is said: {:?}", verify(&alone));
    let found = ask(&forged, &first.checkpoints);
    assert!(!found.intact && found.findings[0].what.contains("sealed again"), "{:?}", found.findings);

    // Cut off at an earlier checkpoint, journal and checkpoints alike.
    let lines: Vec<&[u8]> = first.checkpoints.split_inclusive(|b| *b == b'\n').collect();
    for n in 1..lines.len() {
        let checkpoints = lines[..n].concat();
        let seal: serde_json::Value = serde_json::from_slice(lines[n - 1]).unwrap();
        let sealed = seal["seq"].as_u64().unwrap() as usize + 1;
        let journal = journal_of(&frames(&first.journal)[..sealed]);
        let cut = Run { journal, checkpoints, key: first.key };
        let found = ask(&cut, &first.checkpoints);
        assert!(
            !found.intact && found.findings.iter().any(|f| f.what.contains("cut off")),
            "{n}: {:?}",
            found.findings
        );
        // One old copy is enough for what lies before it.
        assert_eq!(ask(&first, lines[n]).findings, []);
    }
}

#[test]
fn copies_are_found_in_logs_of_many_runs_and_a_log_without_this_run_is_no_comparison() {
    let run = &*HONEST;
    let text = String::from_utf8(run.checkpoints.clone()).unwrap();
    let log: String =
        text.lines().map(|l| format!("Nov 21 20:36:49 desk migrate[7]: {l}\nNov 21 desk cron[1]: hourly\n")).collect();
    let report = compare(&run.journal, &run.checkpoints, Some(log.as_bytes()));
    assert!(report.intact, "{:?}", report.findings);
    assert_eq!(report.outside.unwrap().checkpoints, report.checkpoints);
    let other = log.replace("\"run\":\"web-1\"", "\"run\":\"db-1\"");
    let report = compare(&run.journal, &run.checkpoints, Some(other.as_bytes()));
    assert!(!report.intact && report.findings[0].what.contains("no checkpoint of this run"), "{:?}", report.findings);
}

/// The controller itself does not go on with a journal that was changed under it.
#[test]
fn a_changed_run_is_not_taken_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut events = whole_run(4);
    events.truncate(6);
    write(dir.path(), dir.path(), events);
    let path = dir.path().join("journal");
    let honest = records(&std::fs::read(&path).unwrap());
    let mut changed = honest.clone();
    changed[1] = altered(&changed[1]);
    std::fs::write(&path, forged(&changed)).unwrap();
    let (journal, _) = Journal::open(&path).unwrap();
    let copies = migrate::audit::Copies::start(&[], &operator(), Box::new(|_| {}));
    let key = AuditKey::load_or_make(dir.path()).unwrap();
    let refused =
        migrate::audit::Sealed::open(Box::new(journal), RUN, operator(), key, copies).err().unwrap().to_string();
    assert!(refused.contains("record 1 is not the one that checkpoint"), "{refused}");
}

#[test]
fn a_torn_last_checkpoint_is_cut_when_the_run_is_taken_up() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), dir.path(), vec![started(vec![step("a", &[])])]);
    let path = dir.path().join(CHECKPOINTS);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, [&whole[..], &whole[..whole.len() / 2]].concat()).unwrap();
    let (journal, _) = Journal::open(&dir.path().join("journal")).unwrap();
    seal(journal, dir.path()).append(Event::Resumed { by: operator() }).unwrap();
    let run = read(dir.path(), dir.path());
    let question = Question {
        run: RUN,
        journal: &run.journal,
        chunks: &chunks(),
        checkpoints: &run.checkpoints,
        expected: &[run.key],
        outside: None,
        live: false,
    };
    let report = verify(&question);
    assert!(report.intact && report.checkpoints == 2, "{report:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever bytes are changed, put in or taken out, in either file: it is found, and nothing panics.
    #[test]
    fn any_edit_of_either_file_is_found(in_journal: bool, at: prop::sample::Index, take in 0_usize..40, put in prop::collection::vec(any::<u8>(), 0..40)) {
        let run = &*HONEST;
        let honest = if in_journal { &run.journal } else { &run.checkpoints };
        let start = at.index(honest.len());
        let end = (start + take).min(honest.len());
        let edited = [&honest[..start], &put, &honest[end..]].concat();
        prop_assume!(&edited != honest);
        let report = match in_journal {
            true => compare(&edited, &run.checkpoints, None),
            false => compare(&run.journal, &edited, None),
        };
        // Bytes behind the last record that a crash could have left are no record, and told.
        let only_more = edited.starts_with(honest);
        prop_assert!(!report.intact || (only_more && !report.notes.is_empty()), "{report:?}");
    }
}
