//! One session of the receiving agent: a pass, a comparison or a preview.
//!
//! The peer may be hostile: every path, length and request is checked, and what the controller allowed (root, job, deletion) cannot be
//! changed by it.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::channels::{ExtraInput, SessionSocket};
use super::files::write_batch;
use super::flush::Flusher;
use super::large::{Ended, PartialFile};
use super::marker::Marker;
use super::open_files::OpenFiles;
use super::owners::{to_local, to_source};
use super::peer::{Responses, next};
use super::pool::Pool;
use super::root::{Permit, lock_root, marker_failed, open_root, ready};
use super::target::Target;
use super::{channels, compare, large, list, nodes, target};
use crate::copy::failure::{Failure, Side};
use crate::copy::fs::filter::Filter;
use crate::copy::fs::metadata::Privileges;
use crate::copy::fs::path::TempNames;
use crate::copy::manifest::format::Generation;
use crate::copy::owners::IdMap;
use crate::copy::wire::frame::{Frame, VERSION};
use crate::copy::wire::request::{Begin, FileBatch, Request};
use crate::copy::wire::response::Response;

/// A job for a worker.
enum DiskJob {
    Batch(FileBatch, Frame),
    Part { file: u32, partial: Arc<PartialFile>, offset: u64, frame: Frame },
    Hole { file: u32, partial: Arc<PartialFile>, offset: u64, len: u64 },
    Hash { file: u32, dir: Vec<u8>, name: Vec<u8>, block: u64 },
}

/// Serves one sending agent until it closes the stream.
pub fn serve(permit: &Permit, input: &mut dyn Read, output: Box<dyn Write + Send>) -> Result<(), Failure> {
    let responses = Responses::new(output);
    let result = run(permit, input, &responses);
    if let Err(failure) = &result {
        // The peer may be gone already; the exit status tells the controller, too.
        let _ = responses.send(&Response::Failed(failure.clone()), Vec::new());
    }
    result
}

fn run(permit: &Permit, input: &mut dyn Read, responses: &Responses) -> Result<(), Failure> {
    let begin = match next(input)?.map(|(order, _)| order) {
        Some(Request::Begin(begin)) => begin,
        Some(Request::JoinSession { next }) => {
            return channels::join(permit, next, &|| responses.send(&Response::Joined, Vec::new()));
        }
        _ => return Err(Failure::protocol(Side::Source, "the first request does not open a session")),
    };
    let session = Session::begin(permit, begin, responses)?;
    let workers = std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 8));
    std::thread::scope(|scope| {
        for writer in 1..=workers {
            let session = &session;
            scope.spawn(move || session.pool.work(|job| session.perform(job, writer)));
        }
        let widen = || {
            let Ok(socket) = SessionSocket::open(permit, session.next) else { return };
            let session = &session;
            scope.spawn(move || {
                while let Some(channel) = socket.next(&session.over) {
                    scope.spawn(move || session.follow_content(channel));
                }
            });
        };
        scope.spawn(|| session.flush());
        let result = session.follow(input, &widen);
        session.over.store(true, Ordering::Release);
        session.flusher.end();
        session.files.end();
        session.pool.close();
        result
    })
}

/// One pass or comparison.
struct Session<'a> {
    permit: &'a Permit,
    target: Target,
    marker: Option<Marker>,
    next: Generation,
    responses: &'a Responses,
    pool: Pool<DiskJob>,
    flusher: Flusher,
    /// Files that arrive in parts.
    files: OpenFiles,
    /// Whether anything may have been written already.
    writing: Mutex<bool>,
    /// The stream of requests has ended.
    over: AtomicBool,
    /// What the source's owners are here, where they go by their names.
    owners: OnceLock<IdMap>,
    /// The first failure that ends everything, found by a worker.
    fatal: Mutex<Option<Failure>>,
}

impl<'a> Session<'a> {
    fn begin(permit: &'a Permit, begin: Begin, responses: &'a Responses) -> Result<Self, Failure> {
        if begin.version != VERSION {
            return Err(Failure::fatal(Side::Target, "the agents on the two hosts are of different versions"));
        }
        let filter = Filter::new(&begin.exclude).map_err(|e| Failure::protocol(Side::Source, e))?;
        let tree = open_root(permit, begin.read_only)?.bounded(begin.one_filesystem);
        let rights = Privileges::of_process();
        let marker = match begin.read_only {
            true => None,
            false => Some(lock_root(permit, &tree)?),
        };
        let known = marker.as_ref().and_then(Marker::generation);
        let trusted = known.is_some() && known == begin.generation;
        let ready = ready(&tree, rights, trusted)?;
        let target = Target::new(tree, TempNames::of_job(&permit.job), rights, filter, permit.delete)
            .trusted(trusted)
            .with_inexact_times(begin.inexact_times);
        responses.send(&Response::Ready(ready), Vec::new())?;
        Ok(Self {
            permit,
            target,
            marker,
            next: begin.next,
            responses,
            pool: Pool::new(),
            flusher: Flusher::default(),
            files: OpenFiles::default(),
            owners: OnceLock::new(),
            writing: Mutex::default(),
            over: AtomicBool::new(false),
            fatal: Mutex::default(),
        })
    }

    /// Carries out requests until the stream ends. `widen` lets extra channels in.
    fn follow(&self, input: &mut dyn Read, widen: &dyn Fn()) -> Result<(), Failure> {
        let mut wide = false;
        while let Some((order, frame)) = next(input)? {
            match order {
                Request::AddChannels if !wide => {
                    wide = true;
                    widen();
                }
                order => self.take(order, frame, false)?,
            }
        }
        self.pool.drain();
        match self.fatal() {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    /// Follows one of the further streams.
    fn follow_content(&self, mut channel: ExtraInput<'_>) {
        let mut follow = || {
            while let Some((order, frame)) = next(&mut channel)? {
                match order {
                    Request::Files(_) | Request::FilePart { .. } | Request::Hole { .. } => {
                        self.take(order, frame, true)?
                    }
                    _ => {
                        return Err(Failure::protocol(Side::Source, "a request on a channel that is for content only"));
                    }
                }
            }
            Ok(())
        };
        if let Err(failure) = follow()
            && !self.over.load(Ordering::Acquire)
        {
            self.give_up(failure);
        }
    }

    fn fatal(&self) -> Option<Failure> {
        self.fatal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn take(&self, mut order: Request, frame: Frame, ahead: bool) -> Result<(), Failure> {
        if let Some(owners) = self.owners.get() {
            to_local(owners, &mut order);
        }
        if let Some(failure) = self.fatal() {
            return Err(failure);
        }
        let writes = !matches!(
            order,
            Request::List
                | Request::Distrust
                | Request::Owners { .. }
                | Request::DigestTree { .. }
                | Request::HashBlocks { .. }
                | Request::Begin(_)
                | Request::FinishPass { .. }
        );
        if writes {
            let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            if !*writing {
                // From here on nobody knows the state of the target until the pass is closed.
                self.marker()?.set(None).map_err(marker_failed)?;
                *writing = true;
            }
        }
        self.handle(order, frame, ahead)
    }

    /// `ahead`: content may come before the request that it belongs to.
    fn handle(&self, order: Request, frame: Frame, ahead: bool) -> Result<(), Failure> {
        match order {
            Request::Begin(_) | Request::AddChannels | Request::JoinSession { .. } => {
                return Err(Failure::protocol(Side::Source, "a second request to open the session"));
            }
            Request::List => list::list(&self.target, self.marker.is_some(), &|report| self.tell(report))?,
            Request::Distrust => self.target.distrust(),
            Request::Owners { users, groups } => self.translate(&users, &groups)?,
            Request::Files(batch) => self.pool.push(DiskJob::Batch(batch, frame)),
            Request::SetAside { seq, moves } => self.done(seq, large::set_aside_all(&self.target, &moves), 0)?,
            Request::OpenFile(open) => self.files.open(
                open.file,
                match PartialFile::open(&self.target, &open) {
                    Err(failure) if failure.fatal => return Err(failure),
                    // Reported when the end of the file comes.
                    opened => opened.unwrap_or_else(PartialFile::refused),
                },
            )?,
            Request::FilePart { file, offset } => {
                let Some(partial) = self.files.find(file, ahead)? else { return Ok(()) };
                self.pool.push(DiskJob::Part { file, partial, offset, frame });
            }
            Request::Hole { file, offset, len } => {
                let Some(partial) = self.files.find(file, ahead)? else { return Ok(()) };
                self.pool.push(DiskJob::Hole { file, partial, offset, len });
            }
            Request::HashBlocks { file, dir, name, block } => self.pool.push(DiskJob::Hash { file, dir, name, block }),
            Request::CloseFile(close) => {
                let Some(partial) = self.files.find(close.file, false)? else { return Ok(()) };
                self.ended(close.file, partial.close(&self.target, close));
            }
            Request::CreateNodes { seq, items } => self.done(seq, nodes::make_all(&self.target, &items), 0)?,
            Request::Delete { seq, paths } => self.delete(seq, &paths)?,
            Request::SetMetadata { seq, dirs } => {
                self.pool.drain();
                self.target.remove_leftovers();
                self.target.close_again()?;
                self.done(seq, nodes::settle_all(&self.target, &dirs), 0)?;
            }
            Request::FinishPass { exact } => self.finish(exact)?,
            Request::DigestTree { privileged, fresh } => {
                compare::compare(self.permit, &self.target, self.owners.get(), (privileged, fresh), &|report| {
                    self.tell(report)
                })?;
            }
            Request::StartStream { .. }
            | Request::StreamChunk { .. }
            | Request::EndStream { .. }
            | Request::AbortStream => {
                return Err(Failure::protocol(Side::Source, "a stream request in a tree session"));
            }
        }
        Ok(())
    }

    fn perform(&self, job: DiskJob, writer: usize) {
        match job {
            DiskJob::Batch(batch, frame) => {
                let result = write_batch(&self.target, &batch, frame.data(), writer);
                self.flusher.wrote(frame.data().len());
                if let Err(failure) = self.done(batch.seq, result, 0) {
                    self.give_up(failure);
                }
            }
            DiskJob::Part { file, partial, offset, frame } => {
                let ended = partial.write(&self.target, frame.data(), offset);
                match partial.fatal() {
                    Some(failure) => self.give_up(failure),
                    None => self.ended(file, ended),
                }
                self.flusher.wrote(frame.data().len());
            }
            DiskJob::Hole { file, partial, offset, len } => self.ended(file, partial.zero(&self.target, offset, len)),
            DiskJob::Hash { file, dir, name, block } => {
                let hashes = match large::hashes(&self.target, &dir, &name, block) {
                    Ok(hashes) => Ok(hashes),
                    // What cannot be read cannot be patched: it is sent whole.
                    Err(failure) if !failure.fatal => Ok(Vec::new()),
                    Err(failure) => Err(failure),
                };
                let sent =
                    hashes.and_then(|hashes| self.responses.send(&Response::BlockHashes { file, hashes }, Vec::new()));
                if let Err(failure) = sent {
                    self.give_up(failure);
                }
            }
        }
    }

    fn ended(&self, file: u32, ended: Option<Ended>) {
        let Some((seq, failure)) = ended else { return };
        self.files.close(file);
        let result = match failure {
            Some(failure) if failure.fatal => Err(failure),
            other => Ok(other.map(|failure| (0, failure)).into_iter().collect()),
        };
        if let Err(failure) = self.done(seq, result, 0) {
            self.give_up(failure);
        }
    }

    /// Acknowledges a request. A fatal failure is returned at once, because the peer may be waiting for this acknowledgement.
    fn done(&self, seq: u32, result: Result<Vec<(u32, Failure)>, Failure>, deleted: u64) -> Result<(), Failure> {
        self.responses.send(&Response::Ack { seq, failures: result?, deleted }, Vec::new())
    }

    fn give_up(&self, failure: Failure) {
        let _ = self.responses.send(&Response::Failed(failure.clone()), Vec::new());
        self.fatal.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
    }

    fn delete(&self, seq: u32, paths: &[Vec<u8>]) -> Result<(), Failure> {
        self.pool.drain();
        let mut deleted = 0;
        let mut failures = Vec::new();
        for (nth, path) in (0..).zip(paths) {
            match self.target.delete(path) {
                Ok(n) => deleted += n,
                Err(failure) if failure.fatal => return Err(failure),
                Err(failure) => failures.push((nth, failure)),
            }
        }
        self.done(seq, Ok(failures), deleted)
    }

    fn flush(&self) {
        if let Err(e) = self.flusher.run(self.target.tree.root().as_fd()) {
            self.give_up(target::failed("sync", b"", e));
        }
    }

    /// Everything is on disk before the state has a name.
    fn finish(&self, exact: bool) -> Result<(), Failure> {
        self.pool.drain();
        self.target.remove_leftovers();
        self.target.close_again()?;
        let synced = self.target.written.sync(&self.target.tree, self.flusher.unsynced());
        synced.map_err(|e| target::failed("sync", b"", e))?;
        self.marker()?.set(exact.then_some(self.next)).map_err(marker_failed)?;
        self.responses.send(&Response::PassFinished, Vec::new())
    }

    /// From here on owners are known by name.
    fn translate(&self, users: &[(u32, String)], groups: &[(u32, String)]) -> Result<(), Failure> {
        let resolved = IdMap::resolve(users, groups);
        let (owners, unknown) = resolved.ok_or_else(|| Failure::protocol(Side::Source, "too many owners"))?;
        let twice = |_| Failure::protocol(Side::Source, "a second list of owners");
        self.owners.set(owners).map_err(twice)?;
        self.responses.send(&Response::Owners { unknown }, Vec::new())
    }

    /// Sends a response with the ids of the source.
    fn tell(&self, report: Response) -> Result<(), Failure> {
        let report = match self.owners.get() {
            Some(owners) => to_source(owners, report),
            None => report,
        };
        self.responses.send(&report, Vec::new())
    }

    fn marker(&self) -> Result<&Marker, Failure> {
        self.marker.as_ref().ok_or_else(|| Failure::protocol(Side::Source, "a write request in a read-only session"))
    }
}
