//! A journal in a file, with one writer at a time, and the file of its checkpoints beside it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};

use super::ChunkDir;
use crate::event::{Event, Record, RunState};
use crate::journal::format::{self, Position};
use crate::journal::{self, Chunks, JournalError, Log};
use crate::store::RunWriter;

/// Name of the checkpoints' file beside a journal.
pub const CHECKPOINTS: &str = "checkpoints";

/// An open journal, locked for this process.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    head: String,
    seq: u64,
    poisoned: bool,
    run: String,
    checkpoints: Option<File>,
}

impl Journal {
    fn new(file: File, path: &Path, head: String, seq: u64) -> Self {
        // A run is named as its directory.
        let run = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
        Self { file, path: path.to_owned(), head, seq, poisoned: false, run, checkpoints: None }
    }

    /// Makes a new journal; the file must not be there yet.
    pub fn create(path: &Path) -> Result<Self, JournalError> {
        let io = |source| io_error(path, source);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
        lock(&file, path)?;
        let mut journal = Self::new(file, path, format::hash(b""), 0);
        journal.write(format::header().as_bytes())?;
        sync_directory(path).map_err(io)?;
        Ok(journal)
    }

    /// Opens a journal to go on with it, cutting a torn last frame; returns what it folds to.
    pub fn open(path: &Path) -> Result<(Self, RunState), JournalError> {
        let mut file = OpenOptions::new().read(true).write(true).open(path).map_err(|e| io_error(path, e))?;
        lock(&file, path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|e| io_error(path, e))?;
        let (state, end) = fold(path, &bytes)?;
        file.set_len(end.offset).and_then(|()| file.sync_all()).map_err(|e| io_error(path, e))?;
        file.seek(SeekFrom::Start(end.offset)).map_err(|e| io_error(path, e))?;
        Ok((Self::new(file, path, end.head(), end.records), state))
    }

    /// Opens a journal that a controller without a lease still has open: it was stopped, and may wake up.
    ///
    /// What is there goes on in a file of its own, which takes the name of the old one; whatever the other still writes goes
    /// into a file that has no name any more. Only for who holds the lease of the run.
    pub fn take_over(path: &Path) -> Result<(Self, RunState), JournalError> {
        let mut old = File::open(path).map_err(|e| io_error(path, e))?;
        let mut bytes = Vec::new();
        old.read_to_end(&mut bytes).map_err(|e| io_error(path, e))?;
        let whole = format::decode(&path.display().to_string(), &bytes)?.length;
        bytes.truncate(usize::try_from(whole).unwrap_or(usize::MAX));
        replace(path, &bytes).map_err(|e| io_error(path, e))?;
        Self::open(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn usable(&self, path: &Path) -> Result<(), JournalError> {
        match self.poisoned {
            true => Err(JournalError::Poisoned { path: path.display().to_string() }),
            false => Ok(()),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        self.usable(&self.path)?;
        // After a failed sync the kernel may have dropped the pages: trying again would report a success that is none.
        self.poisoned = true;
        self.file.write_all(bytes).and_then(|()| self.file.sync_data()).map_err(|e| io_error(&self.path, e))?;
        self.poisoned = false;
        Ok(())
    }
}

impl Log for Journal {
    fn append(&mut self, event: Event) -> Result<Record, JournalError> {
        let record = Record { seq: self.seq, at: Timestamp::now(), event };
        let (frame, head) = format::encode(&record, &self.head).map_err(|e| io_error(&self.path, e))?;
        self.write(&frame)?;
        self.head = head;
        self.seq += 1;
        Ok(record)
    }
}

impl RunWriter for Journal {
    fn run(&self) -> &str {
        &self.run
    }

    fn records(&self) -> u64 {
        self.seq
    }

    fn head(&self) -> &str {
        &self.head
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn read(&self) -> Result<Vec<u8>, JournalError> {
        std::fs::read(&self.path).map_err(|e| io_error(&self.path, e))
    }

    fn chunks(&self) -> Box<dyn Chunks> {
        Box::new(ChunkDir::beside(&self.path))
    }

    fn open_checkpoints(&mut self) -> Result<Vec<u8>, JournalError> {
        let path = self.path.with_file_name(CHECKPOINTS);
        let io = |e| io_error(&path, e);
        let mut lines = match std::fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            read => read.map_err(io)?,
        };
        lines.truncate(lines.iter().rposition(|b| *b == b'\n').map_or(0, |n| n + 1));
        // In a file of its own, so that a controller that was stopped and has lost the run writes into the old one.
        replace(&path, &lines).map_err(io)?;
        self.checkpoints = Some(OpenOptions::new().append(true).open(&path).map_err(io)?);
        Ok(lines)
    }

    fn checkpoint(&mut self, line: &str) -> Result<(), JournalError> {
        let path = self.path.with_file_name(CHECKPOINTS);
        self.usable(&path)?;
        let file = self.checkpoints.as_mut().ok_or_else(|| io_error(&path, std::io::Error::other("it is not open")))?;
        // As with the journal itself: what a failed sync left behind cannot be known.
        self.poisoned = true;
        file.write_all(format!("{line}\n").as_bytes())
            .and_then(|()| file.sync_data())
            .map_err(|e| io_error(&path, e))?;
        self.poisoned = false;
        Ok(())
    }
}

/// Reads a journal without locking or changing it; a torn last frame is left out.
pub fn read(path: &Path) -> Result<Vec<Record>, JournalError> {
    let bytes = std::fs::read(path).map_err(|e| io_error(path, e))?;
    format::records(&path.display().to_string(), &bytes)
}

/// What a journal folds to, read without locking or changing it.
pub fn load(path: &Path) -> Result<RunState, JournalError> {
    let bytes = std::fs::read(path).map_err(|e| io_error(path, e))?;
    Ok(fold(path, &bytes)?.0)
}

/// Whether a controller has the journal open.
pub fn in_use(path: &Path) -> bool {
    File::open(path).is_ok_and(|f| flock(&f, FlockOperation::NonBlockingLockShared).is_err())
}

fn fold(path: &Path, bytes: &[u8]) -> Result<(RunState, Position), JournalError> {
    journal::fold(&path.display().to_string(), bytes, &|| Box::new(ChunkDir::beside(path)))
}

/// A process that this one is just starting holds a copy of every lock until it has become another program: a lock is only
/// another controller's when it stays.
fn lock(file: &File, path: &Path) -> Result<(), JournalError> {
    for _ in 0..20 {
        if flock(file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(25));
    }
    Err(JournalError::Locked { path: path.display().to_string() })
}

/// Gives a file a new body under its old name, durably: who has the old one open does not reach the new one.
pub fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let next = path.with_extension("next");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&next, path)?;
    sync_directory(path)
}

/// Makes a new name in the directory of `path` durable.
pub fn sync_directory(path: &Path) -> std::io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

fn io_error(path: &Path, source: std::io::Error) -> JournalError {
    JournalError::Io { path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::event::{Blob, Operator, Started, Status, StepResult, StepState};
    use crate::journal::{BlobError, blob};
    use crate::step::{Graph, Step, StepKind, WatchStep};

    fn wait(id: &str, after: &[&str]) -> Step {
        Step {
            id: id.into(),
            wave: "w".into(),
            service: "s".into(),
            pair: None,
            kind: StepKind::Watch(WatchStep {
                hold: Default::default(),
                checks: Default::default(),
                measured: Vec::new(),
                pools: Vec::new(),
            }),
            after: after.iter().map(|a| (*a).to_owned()).collect(),
            urgent: false,
            on_failure: Default::default(),
            no_return: None,
            opens: Vec::new(),
            freeze: None,
            beside: None,
        }
    }

    fn operator() -> Operator {
        Operator { user: "ada".into(), host: "desk".into(), pid: 7 }
    }

    fn graph(steps: &[Step]) -> Graph {
        Graph { steps: steps.to_vec().into(), ..Graph::default() }
    }

    fn keep(journal: &Path, graph: &Graph) -> Result<Blob, BlobError> {
        blob::keep(&mut ChunkDir::beside(journal), graph)
    }

    fn started(steps: Vec<Step>) -> Event {
        let kept = blob::keep(&mut BTreeMap::new(), &graph(&steps)).unwrap();
        Event::Started(Box::new(Started {
            run: "r-1".into(),
            plan: "r".into(),
            inputs: Vec::new(),
            texts: Vec::new(),
            graph: kept,
            steps: steps.len(),
            by: operator(),
            version: "0".into(),
        }))
    }

    fn intent(step: &str, attempt: u32) -> Event {
        Event::Intent { step: step.into(), attempt, undo: false, before: None }
    }

    fn done(step: &str, attempt: u32) -> Event {
        let result = StepResult::Done { evidence: "seen".into(), millis: 1, figures: None };
        Event::Outcome { step: step.into(), attempt, undo: false, result }
    }

    fn two() -> Vec<Step> {
        vec![wait("a", &[]), wait("b", &["a"])]
    }

    /// A whole small run, as events.
    fn whole_run() -> Vec<Event> {
        vec![started(two()), intent("a", 1), done("a", 1), intent("b", 1), done("b", 1), Event::Finished]
    }

    fn written(events: Vec<Event>) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let mut journal = Journal::create(&path).unwrap();
        for steps in [two(), vec![wait("a", &[])], vec![wait("a", &[]), wait("a", &[])]] {
            keep(&path, &graph(&steps)).unwrap();
        }
        for event in events {
            journal.append(event).unwrap();
        }
        (dir, path)
    }

    #[test]
    fn what_was_appended_is_read_back_and_folds() {
        let (_dir, path) = written(whole_run());
        let state = load(&path).unwrap();
        assert_eq!((state.status.clone(), state.records), (Status::Finished, 6));
        assert_eq!(state.state_of("b"), Some(StepState::Done));
    }

    #[test]
    fn a_journal_cut_anywhere_opens_with_all_whole_records_and_goes_on() {
        let (_dir, path) = written(whole_run());
        let bytes = std::fs::read(&path).unwrap();
        let whole = format::decode("j", &bytes).unwrap().records;
        let first = format::header().len();
        for cut in first..bytes.len() {
            let kept = format::decode("j", &bytes[..cut]).unwrap();
            assert_eq!(kept.records[..], whole[..kept.records.len()], "cut at {cut}");
            if kept.records.is_empty() {
                continue;
            }
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let (mut journal, state) = Journal::open(&path).unwrap();
            if state.status != Status::Finished {
                journal.append(Event::Resumed { by: operator() }).unwrap();
                drop(journal);
                assert_eq!(read(&path).unwrap().len(), kept.records.len() + 1, "cut at {cut}");
            }
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_but_in_the_last_frame_is_refused_by_name() {
        let (_dir, path) = written(whole_run());
        let bytes = std::fs::read(&path).unwrap();
        let last = format::decode("j", &bytes[..bytes.len() - 1]).unwrap().length as usize;
        for at in (format::header().len()..last).step_by(7) {
            let mut bad = bytes.clone();
            bad[at] ^= 0x10;
            assert!(matches!(format::decode("j", &bad), Err(JournalError::Damaged { .. })), "byte {at} was accepted");
        }
    }

    #[test]
    fn a_removed_or_swapped_record_breaks_the_chain() {
        let (_dir, path) = written(whole_run());
        let bytes = std::fs::read(&path).unwrap();
        let ends: Vec<usize> = (0..bytes.len())
            .map(|cut| format::decode("j", &bytes[..cut]).map_or(0, |d| d.length as usize))
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect();
        let [.., a, b, c] = ends[..] else { panic!("too few frames") };
        let without = [&bytes[..a], &bytes[b..]].concat();
        let swapped = [&bytes[..a], &bytes[b..c], &bytes[a..b], &bytes[c..]].concat();
        for bad in [without, swapped] {
            let error = format::decode("j", &bad).err().expect("refused").to_string();
            assert!(error.contains("does not follow the record before it"), "{error}");
        }
    }

    #[test]
    fn a_second_controller_is_refused_while_the_first_holds_the_journal() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let mut journal = Journal::create(&path).unwrap();
        keep(&path, &graph(&[wait("a", &[])])).unwrap();
        journal.append(started(vec![wait("a", &[])])).unwrap();
        assert!(matches!(Journal::open(&path), Err(JournalError::Locked { .. })));
        assert!(in_use(&path));
        drop(journal);
        assert!(!in_use(&path));
        assert!(Journal::open(&path).is_ok());
    }

    /// A journal whose file is something that fails the way a disk can.
    fn on(device: &str) -> Journal {
        let file = OpenOptions::new().write(true).open(device).unwrap();
        Journal::new(file, Path::new(device), format::hash(b""), 0)
    }

    #[test]
    fn a_write_or_a_sync_that_fails_is_told_and_nothing_is_written_after_it() {
        for (device, says) in [
            // No room.
            ("/dev/full", "No space left on device"),
            // An input/output error: nothing is mapped at address 0.
            ("/proc/self/mem", "Input/output error"),
            // It takes every byte, and cannot be synced.
            ("/dev/null", "Invalid argument"),
        ] {
            let mut journal = on(device);
            let failed = journal.append(started(vec![wait("a", &[])])).unwrap_err();
            assert!(failed.to_string().contains(says), "{device}: {failed}");
            assert!(failed.hint().unwrap().contains("make room"), "{failed}");
            let again = journal.append(intent("a", 1)).unwrap_err();
            assert!(matches!(again, JournalError::Poisoned { .. }), "{device}: {again}");
            assert_eq!((journal.records(), journal.head()), (0, format::hash(b"").as_str()));
        }
    }

    #[test]
    fn a_journal_that_was_taken_over_is_out_of_reach_of_the_one_that_had_it_open() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let mut stale = Journal::create(&path).unwrap();
        keep(&path, &graph(&[wait("a", &[])])).unwrap();
        stale.append(started(vec![wait("a", &[])])).unwrap();
        let (mut journal, state) = Journal::take_over(&path).unwrap();
        assert_eq!(state.records, 1);
        stale.append(intent("a", 1)).unwrap();
        journal.append(Event::Resumed { by: operator() }).unwrap();
        let records = read(&path).unwrap();
        assert_eq!(records.len(), 2);
        assert!(matches!(records[1].event, Event::Resumed { .. }));
    }

    #[test]
    fn a_graph_that_is_missing_or_another_is_told_with_what_to_do() {
        let (dir, path) = written(whole_run());
        let Event::Started(started) = started(two()) else { unreachable!() };
        let chunk = dir.path().join("blobs").join(&started.graph.chunks[0]);
        for (damage, why) in [(Some(&b"else"[..]), "is not what was written"), (None, "is missing")] {
            match damage {
                Some(bytes) => std::fs::write(&chunk, bytes).unwrap(),
                None => std::fs::remove_file(&chunk).unwrap(),
            }
            let error = load(&path).unwrap_err();
            assert!(error.to_string().contains(why) && error.hint().unwrap().contains("from a copy"), "{error}");
            assert!(Journal::open(&path).is_err());
        }
    }

    #[test]
    fn another_format_and_a_foreign_file_are_refused_with_the_reason() {
        let newer = format::decode("j", b"migrate-journal 9\n").err().unwrap().to_string();
        assert!(newer.contains("format 9") && newer.contains("newer `migrate`"), "{newer}");
        let older = format::decode("j", b"migrate-journal 1\n").err().unwrap().to_string();
        assert!(older.contains("format 1") && older.contains("older `migrate`"), "{older}");
        let foreign = format::decode("j", b"#!/bin/sh\n").err().unwrap().to_string();
        assert_eq!(foreign, "j is not a journal of migrate");
    }

    #[test]
    fn a_record_that_cannot_follow_is_an_error() {
        let steps = two;
        for (events, why) in [
            (vec![intent("a", 1)], "begins with `started`"),
            (vec![started(steps()), started(steps())], "already started"),
            (vec![started(steps()), intent("b", 1)], "begins before a is done"),
            (vec![started(steps()), intent("x", 1)], "no step x"),
            (vec![started(steps()), intent("a", 2)], "attempt 2 after 0"),
            (vec![started(steps()), done("a", 1)], "without its intent"),
            (vec![started(steps()), intent("a", 1), done("a", 1), done("a", 1)], "without its intent"),
            (vec![started(steps()), Event::Finished], "a is not done"),
            (vec![started(steps()), Event::Stopped { by: "x".into() }, intent("a", 1)], "does not run"),
            (vec![started(vec![wait("a", &[]), wait("a", &[])])], "same id"),
        ] {
            let (_dir, path) = written(events);
            let error = load(&path).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_behind_a_header_end_in_records_or_an_error(noise in prop::collection::vec(any::<u8>(), 0..400)) {
            let bytes = [format::header().as_bytes(), &noise].concat();
            if let Ok(decoded) = format::decode("j", &bytes) {
                prop_assert!(decoded.length as usize <= bytes.len());
            }
        }

        #[test]
        fn the_fold_never_panics_whatever_the_order(order in prop::collection::vec(0_usize..6, 0..12)) {
            let events = whole_run();
            let records = order.iter().zip(0..).map(|(n, seq)| Record { seq, at: Timestamp::UNIX_EPOCH, event: events[*n].clone() });
            let _ = RunState::fold(records, Arc::new(graph(&two())));
        }
    }
}
