//! Compares a journal with its checkpoints, and those with copies from elsewhere. Pure: bytes in, findings out.

use std::sync::Arc;

use super::checkpoint::{self, Checkpoint, EVERY, LINK, Signed};
use super::key::PublicKey;
use super::report::{Finding, Kind, Outside, Report};
use super::sealed::seals;
use crate::event::{Event, Record, RunState};
use crate::journal::format::{self, Decoded};
use crate::journal::{self, BlobError, Chunks, JournalError, blob};

/// What is to be compared.
pub struct Question<'a> {
    /// Name of the run.
    pub run: &'a str,
    /// Bytes of its journal.
    pub journal: &'a [u8],
    /// What its records name.
    pub chunks: &'a dyn Chunks,
    /// Bytes of its file of checkpoints.
    pub checkpoints: &'a [u8],
    /// The keys of which one must have signed each: a run that several machines had is signed by several.
    pub expected: &'a [PublicKey],
    /// Checkpoints that were copied elsewhere: lines, with anything before them.
    pub outside: Option<&'a [u8]>,
    /// Whether a controller is at work, so that the last records need not be sealed yet.
    pub live: bool,
}

/// Compares.
pub fn verify(question: &Question<'_>) -> Report {
    let (journal, damage) = format::scan("the journal", question.journal);
    let mut check = Check { question, hashes: &journal.hashes, findings: Vec::new(), notes: Vec::new() };
    let lines = check.lines();
    let valid = check.chain(&lines);
    check.against_journal(&valid);
    check.damage(&journal, damage);
    check.tail(&journal, valid.last());
    check.late(&journal.records, &valid);
    let outside = question.outside.map(|outside| check.outside(outside, &lines));
    check.fold(&journal.records);
    let last = valid.last();
    Report {
        run: question.run.to_owned(),
        intact: check.findings.is_empty(),
        records: journal.records.len() as u64,
        checkpoints: lines.len() as u64,
        sealed_to: last.map(|c| c.seq),
        sealed_at: last.map(|c| c.at),
        key: question.expected.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        not_excluded: not_excluded(outside, last),
        outside,
        findings: check.findings,
        notes: check.notes,
    }
}

fn not_excluded(outside: Option<Outside>, last: Option<&Checkpoint>) -> Vec<String> {
    let by = "by someone who can read the audit key";
    match (outside.and_then(|o| o.sealed_to), last) {
        (None, _) => vec![format!(
            "that the run was cut off at its end, or written anew and sealed again, {by}: compare with copies from another place, `--since FILE`"
        )],
        (Some(to), Some(last)) if last.seq > to => vec![format!(
            "that records behind {to}, where the newest copy ends, were written anew and sealed again {by}"
        )],
        _ => vec![format!("that records behind the newest copy were cut off {by}")],
    }
}

struct Check<'a> {
    question: &'a Question<'a>,
    hashes: &'a [String],
    findings: Vec<Finding>,
    notes: Vec<String>,
}

impl<'a> Check<'a> {
    fn find(&mut self, kind: Kind, record: Option<u64>, checkpoint: Option<u64>, what: impl Into<String>) {
        self.findings.push(Finding { kind, record, checkpoint, what: what.into() });
    }

    /// All whole lines of the file; a last one without an end was torn by a crash.
    fn lines(&mut self) -> Vec<&'a str> {
        let bytes = self.question.checkpoints;
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |n| n + 1);
        if whole < bytes.len() {
            self.notes.push("the last line of the checkpoints was torn by a crash and does not count".into());
        }
        let lines = bytes.get(..whole).unwrap_or_default().split_inclusive(|b| *b == b'\n');
        lines.map(|l| std::str::from_utf8(l.strip_suffix(b"\n").unwrap_or(l)).unwrap_or("\u{fffd}")).collect()
    }

    /// The checkpoints that are good, in order. What is wrong with the others is among the findings.
    fn chain(&mut self, lines: &[&str]) -> Vec<Checkpoint> {
        let mut good: Vec<Checkpoint> = Vec::new();
        let mut prev = checkpoint::link("");
        let (mut number, mut broken) = (0, false);
        for line in lines {
            let parsed = checkpoint::parse(line);
            let trouble = match &parsed {
                Err(why) => Some((Kind::Checkpoint, why.clone())),
                Ok(signed) => self.judge(number, signed, &prev, broken, good.last()),
            };
            broken = trouble.is_some();
            if let Some((kind, why)) = trouble {
                self.find(kind, None, Some(number), format!("checkpoint {number}: {why}"));
            }
            prev = checkpoint::link(line);
            // What is missing is told once, not at every line behind it.
            number = parsed.as_ref().map_or(number, |s| s.checkpoint.checkpoint).saturating_add(1);
            good.extend(parsed.ok().filter(|_| !broken).map(|s| s.checkpoint));
        }
        good
    }

    fn judge(
        &self,
        number: u64,
        signed: &Signed,
        prev: &str,
        after_broken: bool,
        before: Option<&Checkpoint>,
    ) -> Option<(Kind, String)> {
        let checkpoint = &signed.checkpoint;
        let bad = |why: String| Some((Kind::Checkpoint, why));
        match &signed.signed_by {
            Err(why) => return bad(why.clone()),
            Ok(key) if !self.question.expected.contains(key) => {
                return Some((
                    Kind::Key,
                    format!("it is signed by another key, {key}: the run was sealed again, or the key was replaced"),
                ));
            }
            Ok(_) => {}
        }
        if checkpoint.run != self.question.run {
            return bad(format!("it belongs to run {}", crate::text::escape(checkpoint.run.as_bytes(), 80)));
        }
        if checkpoint.checkpoint != number {
            return bad(format!(
                "it is checkpoint {}: others were removed, or their order was changed",
                checkpoint.checkpoint
            ));
        }
        if checkpoint.prev != prev && !after_broken {
            return bad("it does not follow the one before it".into());
        }
        match before {
            Some(before) if checkpoint.seq <= before.seq => bad(format!("it seals record {} again", checkpoint.seq)),
            _ => None,
        }
    }

    /// The first record that is not the one that was sealed.
    fn against_journal(&mut self, valid: &[Checkpoint]) {
        for checkpoint in valid {
            if let Some(seq) = self.differs(checkpoint) {
                let number = checkpoint.checkpoint;
                let what = format!(
                    "record {seq} is not the one that checkpoint {number} sealed: it was altered, or records before it were removed or moved"
                );
                return self.find(Kind::Changed, Some(seq), Some(number), what);
            }
        }
    }

    /// The first record that is there and is another than this checkpoint sealed.
    fn differs(&self, checkpoint: &Checkpoint) -> Option<u64> {
        let hash = |seq: u64| usize::try_from(seq).ok().and_then(|n| self.hashes.get(n));
        let links = checkpoint.links.as_bytes().chunks(LINK);
        let named = (checkpoint.first()..)
            .zip(links)
            .find(|(seq, link)| hash(*seq).is_some_and(|h| !h.as_bytes().starts_with(link)));
        let head = hash(checkpoint.seq).is_some_and(|h| *h != checkpoint.head);
        named.map(|(seq, _)| seq).or_else(|| head.then_some(checkpoint.seq))
    }

    fn damage(&mut self, journal: &Decoded, damage: Option<JournalError>) {
        match damage {
            None => {}
            Some(JournalError::Damaged { frame, offset, why, .. }) => {
                // Named already: a changed record breaks the chain at the one behind it.
                let named = self.findings.iter().any(|f| f.record.is_some_and(|r| r <= frame));
                if !named {
                    self.find(
                        Kind::Changed,
                        Some(frame),
                        None,
                        format!("record {frame}, at byte {offset}, is damaged: {why}"),
                    );
                }
            }
            Some(other) => self.find(Kind::Changed, None, None, other.to_string()),
        }
        let torn = self.question.journal.len() as u64 - journal.length.min(self.question.journal.len() as u64);
        if torn > 0 && self.findings.is_empty() {
            self.notes.push(format!("{torn} bytes behind the last record were torn by a crash, or are being written"));
        }
    }

    /// What is sealed and not there, or there and not sealed.
    fn tail(&mut self, journal: &Decoded, last: Option<&Checkpoint>) {
        let there = journal.records.len() as u64;
        let sealed = last.map_or(0, |c| c.seq + 1);
        if sealed > there && !self.findings.iter().any(|f| f.kind == Kind::Changed) {
            let number = last.map(|c| c.checkpoint);
            let what = format!(
                "{} missing: checkpoint {} has sealed {} records",
                records(there, sealed - 1),
                number.unwrap_or_default(),
                sealed
            );
            self.find(Kind::Missing, Some(there), number, what);
        }
        if there > sealed {
            let what = format!("{} not sealed", records(sealed, there - 1));
            if self.question.live {
                self.notes.push(format!("{what} yet: a controller is at work"));
            } else {
                let what = format!(
                    "{what}: the controller died before it could, or the checkpoints were cut off, or somebody else wrote this"
                );
                self.find(Kind::Unsealed, Some(sealed), None, what);
            }
        }
    }

    /// Records that waited longer for their seal than they should.
    fn late(&mut self, records: &[Record], valid: &[Checkpoint]) {
        let index = |seq: u64| usize::try_from(seq).unwrap_or(usize::MAX);
        for checkpoint in valid {
            let (first, seq) = (checkpoint.first(), checkpoint.seq);
            let before = records.get(index(first)..index(seq)).unwrap_or_default();
            if before.len() >= EVERY || before.iter().any(|r| seals(&r.event)) {
                self.notes.push(format!(
                    "{} sealed only together with record {seq}, later than they should: the controller died in between, or checkpoints were removed before",
                    self::records(first, seq - 1)
                ));
            }
        }
    }

    /// What the records name must be what was written, and they must fold.
    fn fold(&mut self, records: &[Record]) {
        let graph = match journal::graph_of(records, self.question.chunks) {
            Ok(graph) => graph,
            Err(e @ (BlobError::Missing { .. } | BlobError::Store { .. })) => {
                return self.find(Kind::Missing, Some(0), None, format!("the graph of record 0: {e}"));
            }
            Err(e) => return self.find(Kind::Changed, Some(0), None, format!("the graph of record 0: {e}")),
        };
        self.texts(records);
        if self.findings.iter().any(|f| f.kind == Kind::Changed) {
            return;
        }
        if let Err(illegal) = RunState::fold(records.iter().cloned(), Arc::new(graph)) {
            let what = format!("record {} cannot follow: {}", illegal.seq, illegal.why);
            self.find(Kind::Changed, Some(illegal.seq), None, what);
        }
    }

    /// What the run was made from must be what was kept.
    fn texts(&mut self, records: &[Record]) {
        let Some(Event::Started(started)) = records.first().map(|r| &r.event) else { return };
        for (input, text) in started.inputs.iter().zip(&started.texts) {
            let kind = match blob::fetch_bytes(self.question.chunks, text) {
                Ok(_) => continue,
                Err(BlobError::Missing { .. } | BlobError::Store { .. }) => Kind::Missing,
                Err(BlobError::Changed { .. } | BlobError::Io { .. } | BlobError::Unreadable(_)) => Kind::Changed,
            };
            let path = crate::text::escape(input.path.to_string_lossy().as_bytes(), 200);
            let what = format!("what {path} said when the run began is not kept any more as it was");
            self.find(kind, Some(0), None, what);
        }
    }

    /// Copies must be the same lines as the run's own.
    fn outside(&mut self, outside: &[u8], own: &[&str]) -> Outside {
        let text = String::from_utf8_lossy(outside);
        let mut summary = Outside { checkpoints: 0, sealed_to: None };
        let mut unreadable = 0_u64;
        for line in text.lines().filter_map(checkpoint::in_log_line) {
            match checkpoint::parse(line) {
                Ok(signed) if signed.checkpoint.run != self.question.run => {}
                Ok(signed) => {
                    summary.checkpoints += 1;
                    if self.copy(line, &signed, own) {
                        summary.sealed_to = summary.sealed_to.max(Some(signed.checkpoint.seq));
                    }
                }
                Err(_) => unreadable += 1,
            }
        }
        if unreadable > 0 {
            self.notes.push(format!("{} of the copies cannot be read", crate::text::count(unreadable, "line")));
        }
        if summary.checkpoints == 0 {
            self.find(Kind::Missing, None, None, "the copies hold no checkpoint of this run");
        }
        summary
    }

    /// Whether a copy is good; what speaks against the run is among the findings.
    fn copy(&mut self, line: &str, signed: &Signed, own: &[&str]) -> bool {
        let (number, seq) = (signed.checkpoint.checkpoint, signed.checkpoint.seq);
        match &signed.signed_by {
            Err(why) => {
                self.find(Kind::Checkpoint, None, Some(number), format!("the copy of checkpoint {number}: {why}"));
                return false;
            }
            Ok(key) if !self.question.expected.contains(key) => {
                self.find(
                    Kind::Key,
                    None,
                    Some(number),
                    format!("the copy of checkpoint {number} is signed by another key, {key}"),
                );
                return false;
            }
            Ok(_) => {}
        }
        let differs = self.differs(&signed.checkpoint);
        match usize::try_from(number).ok().and_then(|n| own.get(n)) {
            Some(own) if *own == line => {}
            Some(_) => {
                let what = format!("checkpoint {number} is not the one that was copied: the run was sealed again");
                self.find(Kind::Remade, differs.or(Some(seq)), Some(number), what);
            }
            None => {
                let what = format!(
                    "checkpoint {number}, which seals record {seq}, was copied and is not there any more: the run was cut off"
                );
                self.find(Kind::Missing, Some(seq), Some(number), what);
            }
        }
        true
    }
}

/// `record 7 is`, `records 7 to 9 are`.
fn records(first: u64, last: u64) -> String {
    if first == last { format!("record {first} is") } else { format!("records {first} to {last} are") }
}
