//! Reading large files on the source and sending them in parts: whole, or only the blocks that changed.
//!
//! Must never leave out a block unless the target is known to hold just that.

use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::files::{Opened, Reader, ToRead};
use crate::copy::failure::Failure;
use crate::copy::fs::file::read_full;
use crate::copy::fs::listing::{BLOCKS, Entry, OwnedEntry};
use crate::copy::fs::path;
use crate::copy::manifest::blocks::{Blocks, hash};
use crate::copy::send::ledger::{Item, Sent};
use crate::copy::wire::frame::CHUNK;
use crate::copy::wire::request::{Base, CloseFile, OpenFile, Request};

/// How far a file was sent.
struct Progress {
    /// The length that was reached.
    size: u64,
    /// Bytes that travelled.
    bytes: u64,
    /// Orders that they travelled in.
    parts: u32,
    blocks: Blocks,
}

/// Why a file was not sent to its end.
enum Stop {
    /// The file cannot be read.
    Unreadable(Errno),
    /// The pass is over.
    Pass(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Pass(failure)
    }
}

impl Reader<'_> {
    /// Sends a file in parts.
    pub fn large(&self, file: &ToRead) -> Result<(), Failure> {
        let Some(scanned) = file.entry.get() else { return Ok(()) };
        let Some(opened) = self.open(file.dir, &scanned)? else { return Ok(()) };
        let now = Entry::of_stat(scanned.name, &opened.stat);
        let id = self.next_file.fetch_add(1, Ordering::Relaxed);
        let dir = self.dir_path(file.dir).to_vec();
        let is_large = now.size >= self.transfer.source.tree.large();
        let aside = self.transfer.moves.take(file.dir, now.name).filter(|blocks| is_large && blocks.suits(now.size));
        let base = if aside.is_some() { Base::SetAside } else { Base::Named };
        let there = if is_large && aside.is_none() { self.there(id, file, &now)? } else { aside };
        let base = if there.is_some() { base } else { Base::Nothing };
        let open = OpenFile { file: id, dir: dir.clone(), name: now.name.to_vec(), base };
        self.transfer.link.request(&Request::OpenFile(open), Vec::new())?;
        let blocks = there.as_ref().map_or_else(|| Blocks::new(now.size), Blocks::like);
        let mut sent = Progress { size: 0, bytes: 0, parts: 0, blocks };
        let result = match &there {
            Some(there) => self.changed_blocks(id, &now, &opened, there, &mut sent),
            None => self.whole(id, &now, &opened, is_large, &mut sent),
        };
        let items = vec![Item { dir: file.dir, name: now.name.to_vec() }];
        let reached = sent.size;
        let (size, bytes, meta) = match result {
            Ok(()) => {
                let settled = sent.size == now.size && self.is_same(&opened, &now);
                self.note(settled);
                let kept =
                    is_large && self.transfer.store.save(&path::join(&dir, now.name), &now, &sent.blocks).is_ok();
                let flags = if kept { now.flags | BLOCKS } else { now.flags };
                self.transfer.outcomes.sent(self.transfer.source, file.dir, &scanned, &Entry { flags, ..now }, settled);
                (sent.size, sent.bytes, Some(opened.meta))
            }
            Err(Stop::Unreadable(e)) => {
                self.unreadable(file.dir, now.name, "read", e);
                (0, 0, None)
            }
            Err(Stop::Pass(failure)) => return Err(failure),
        };
        let seq = self.transfer.ledger.register(Sent { items, files: u64::from(meta.is_some()), bytes, reached });
        self.transfer
            .link
            .request(&Request::CloseFile(CloseFile { seq, file: id, parts: sent.parts, size, meta }), Vec::new())
    }

    /// The blocks that the target has of the file: by the record while it is trusted, else by asking.
    fn there(&self, id: u32, file: &ToRead, now: &Entry<'_>) -> Result<Option<Blocks>, Failure> {
        let dir_path = self.dir_path(file.dir);
        let path = path::join(dir_path, now.name);
        let old = file.old.as_ref().and_then(OwnedEntry::get).filter(Entry::is_file);
        if let Some(blocks) =
            old.filter(|_| self.transfer.ready.trusted).and_then(|old| self.transfer.store.load(&path, &old))
        {
            return Ok(Some(blocks).filter(|blocks| blocks.suits(now.size)));
        }
        if old.is_none_or(|old| old.size < self.transfer.source.tree.large())
            && self.transfer.known.partial(dir_path, &self.transfer.source.temp.partial(now.name)).is_none()
        {
            return Ok(None);
        }
        let block = Blocks::new(now.size).block;
        self.transfer.link.request(
            &Request::HashBlocks { file: id, dir: dir_path.to_vec(), name: now.name.to_vec(), block },
            Vec::new(),
        )?;
        let hashes = self.transfer.ledger.hashes(id)?;
        Ok(Blocks::from_parts(block, hashes).filter(|blocks| blocks.get(0).is_some()))
    }

    /// Sends everything that is no hole.
    fn whole(
        &self,
        file: u32,
        now: &Entry<'_>,
        opened: &Opened,
        hashed: bool,
        sent: &mut Progress,
    ) -> Result<(), Stop> {
        let mut hasher = BlockHasher::new(hashed);
        let sparse = is_sparse(now, opened);
        while sent.size < now.size {
            let extent = extent(&opened.fd, sent.size, now.size, sparse).map_err(Stop::Unreadable)?;
            let (from, to) = extent.unwrap_or((now.size, now.size));
            hasher.zeros(from - sent.size, &mut sent.blocks);
            self.reach(sent, from - sent.size);
            while sent.size < to {
                let want = usize::try_from(to - sent.size).unwrap_or(CHUNK).min(CHUNK);
                let mut data = vec![0; want];
                self.transfer.source.tree.before_call();
                let read = read_full(&opened.fd, &mut data, sent.size).map_err(Stop::Unreadable)?;
                data.truncate(read);
                hasher.data(&data, &mut sent.blocks);
                if read > 0 {
                    self.transfer.link.request(&Request::FilePart { file, offset: sent.size }, data)?;
                    sent.parts += 1;
                }
                self.reach(sent, read as u64);
                sent.bytes += read as u64;
                if read < want {
                    // It was cut short meanwhile.
                    hasher.finish(&mut sent.blocks);
                    return Ok(());
                }
            }
        }
        hasher.finish(&mut sent.blocks);
        Ok(())
    }

    /// Sends the blocks that differ from those that are there.
    fn changed_blocks(
        &self,
        file: u32,
        now: &Entry<'_>,
        opened: &Opened,
        there: &Blocks,
        sent: &mut Progress,
    ) -> Result<(), Stop> {
        let block = usize::try_from(there.block).unwrap_or(CHUNK);
        let window = block.max(CHUNK);
        let mut buffer = vec![0; window];
        let mut nth = 0;
        while sent.size < now.size {
            let want = usize::try_from(now.size - sent.size).unwrap_or(window).min(window);
            self.transfer.source.tree.before_call();
            let read = read_full(&opened.fd, buffer.get_mut(..want).unwrap_or_default(), sent.size);
            let read = read.map_err(Stop::Unreadable)?;
            let mut run = Run { offset: sent.size, data: Vec::new() };
            for piece in buffer.get(..read).unwrap_or_default().chunks(block) {
                let hash = hash(piece);
                let same = there.get(nth) == Some(&hash);
                sent.blocks.push(&hash);
                nth += 1;
                if same {
                    self.flush(file, &mut run, sent)?;
                    run.offset += piece.len() as u64;
                } else {
                    run.data.extend_from_slice(piece);
                }
            }
            self.flush(file, &mut run, sent)?;
            self.reach(sent, read as u64);
            if read < want {
                break;
            }
        }
        Ok(())
    }

    /// So many more bytes of the file are sent, or need not be.
    fn reach(&self, sent: &mut Progress, bytes: u64) {
        sent.size += bytes;
        self.transfer.ledger.reach(bytes);
    }

    /// Sends a run of changed blocks.
    fn flush(&self, file: u32, run: &mut Run, sent: &mut Progress) -> Result<(), Failure> {
        let data = std::mem::take(&mut run.data);
        let len = data.len() as u64;
        if data.is_empty() {
            return Ok(());
        }
        sent.bytes += len;
        if data.iter().all(|b| *b == 0) {
            self.transfer.link.request(&Request::Hole { file, offset: run.offset, len }, Vec::new())?;
            run.offset += len;
            sent.parts += 1;
            return Ok(());
        }
        for piece in data.chunks(CHUNK) {
            self.transfer.link.request(&Request::FilePart { file, offset: run.offset }, piece.to_vec())?;
            run.offset += piece.len() as u64;
            sent.parts += 1;
        }
        Ok(())
    }
}

/// Changed blocks next to each other.
struct Run {
    offset: u64,
    data: Vec<u8>,
}

/// Hashes a stream block by block, holes without reading them.
struct BlockHasher {
    wanted: bool,
    hasher: blake3::Hasher,
    have: u64,
    zero: Option<[u8; 16]>,
}

impl BlockHasher {
    fn new(wanted: bool) -> Self {
        Self { wanted, hasher: blake3::Hasher::new(), have: 0, zero: None }
    }

    fn data(&mut self, mut data: &[u8], out: &mut Blocks) {
        while self.wanted && !data.is_empty() {
            let room = usize::try_from(out.block - self.have).unwrap_or(usize::MAX).min(data.len());
            let (now, rest) = data.split_at(room);
            self.hasher.update(now);
            self.have += room as u64;
            data = rest;
            if self.have == out.block {
                self.close(out);
            }
        }
    }

    fn zeros(&mut self, mut len: u64, out: &mut Blocks) {
        const ZEROS: [u8; 4096] = [0; 4096];
        while self.wanted && len > 0 {
            if self.have == 0 && len >= out.block {
                let block = usize::try_from(out.block).unwrap_or(CHUNK);
                let zero = *self.zero.get_or_insert_with(|| hash(&vec![0; block]));
                out.push(&zero);
                len -= out.block;
                continue;
            }
            let now = len.min(out.block - self.have).min(ZEROS.len() as u64);
            self.data(ZEROS.get(..usize::try_from(now).unwrap_or(0)).unwrap_or_default(), out);
            len -= now;
        }
    }

    fn close(&mut self, out: &mut Blocks) {
        let mut hash = [0; 16];
        hash.iter_mut().zip(self.hasher.finalize().as_bytes()).for_each(|(to, from)| *to = *from);
        out.push(&hash);
        self.hasher.reset();
        self.have = 0;
    }

    /// The last block may be shorter.
    fn finish(&mut self, out: &mut Blocks) {
        if self.wanted && self.have > 0 {
            self.close(out);
        }
    }
}

fn is_sparse(now: &Entry<'_>, opened: &Opened) -> bool {
    u64::try_from(opened.stat.st_blocks).unwrap_or(0) * 512 < now.size
}

/// The next stretch of data at or after `at`; `None` when only a hole is left.
fn extent(fd: &OwnedFd, at: u64, size: u64, sparse: bool) -> rustix::io::Result<Option<(u64, u64)>> {
    if !sparse {
        return Ok(Some((at, size)));
    }
    let from = match rustix::fs::seek(fd, SeekFrom::Data(at)) {
        Ok(from) if from < size => from,
        Ok(_) | Err(Errno::NXIO) => return Ok(None),
        Err(Errno::INVAL) => return Ok(Some((at, size))),
        Err(e) => return Err(e),
    };
    let to = rustix::fs::seek(fd, SeekFrom::Hole(from)).unwrap_or(size).min(size);
    Ok(Some((from, to.max(from + 1).min(size))))
}
