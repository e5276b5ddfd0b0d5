//! The watching process: collects events, answers passes, and ends with its input.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::WATCHING;
use super::events::Event;
use super::index::{Index, Names};
use super::marks::Marks;
use super::socket::{ChangedDir, WatchAnswer, WatchRequest, listen, receive, send};
use crate::copy::failure::{Failure, Side};
use crate::copy::manifest::format::Generation;

/// Names and inodes that are kept; with more, looking everywhere is not much dearer.
const MOST: usize = 400_000;
/// Events are gathered this long, so that many changes of one file cost little.
const GATHER: Duration = Duration::from_millis(5);

/// Watches `root` for the passes of a job until the input ends. Says at once whether it can.
pub fn serve(job: &Path, root: &Path, mut input: File, mut output: File) -> Result<(), Failure> {
    let started = Marks::set(root).and_then(|marks| {
        // Whoever asks takes what was seen away from the passes.
        rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
        let listening = listen(job).map_err(|e| format!("its socket cannot be made: {e}"))?;
        Ok((marks, listening))
    });
    let said = match &started {
        Ok(_) => WATCHING,
        Err(why) => why.as_str(),
    };
    writeln!(output, "{said}").map_err(|e| Failure::lost(Side::Source, e))?;
    let Ok((marks, (listener, _socket))) = started else { return Ok(()) };
    let watcher = Arc::new(Watcher { marks, job: job.to_owned(), state: Mutex::default() });
    let (collector, answerer) = (Arc::clone(&watcher), watcher);
    // All end with the process, which ends with the first of them.
    let (end, ended) = std::sync::mpsc::channel();
    let (no_events, no_root) = (end.clone(), end.clone());
    std::thread::spawn(move || {
        collector.collect();
        no_events.send(())
    });
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A pass that goes away is no reason to stop: it has not said that it was done.
            if let Err(RootReplaced) = answerer.answer(stream) {
                break;
            }
        }
        no_root.send(())
    });
    std::thread::spawn(move || {
        let mut rest = [0; 64];
        while matches!(input.read(&mut rest), Ok(1..)) {}
        end.send(())
    });
    let _ = ended.recv();
    Ok(())
}

/// The tree is another now, which takes another watch.
struct RootReplaced;

struct Watcher {
    marks: Marks,
    job: PathBuf,
    state: Mutex<Changes>,
}

#[derive(Default)]
struct Changes {
    names: Names,
    inodes: HashSet<u64>,
    count: usize,
    lost: Option<&'static str>,
    index: Index,
}

impl Watcher {
    fn collect(&self) {
        loop {
            std::thread::sleep(GATHER);
            if self.marks.wait().is_err() || self.drain(&mut self.lock()).is_err() {
                self.lock().lose("events cannot be read");
                return;
            }
        }
    }

    fn drain(&self, state: &mut Changes) -> Result<(), String> {
        self.marks.drain(&mut |event| state.note(event))
    }

    fn answer(&self, mut stream: UnixStream) -> Result<(), RootReplaced> {
        let _ = stream.set_write_timeout(Some(Duration::from_secs(60)));
        while let Ok(ask) = receive(&mut stream) {
            match ask {
                WatchRequest::Take { generation, root, open } => {
                    if self.take(&mut stream, generation, root, &open).is_err() {
                        return Ok(());
                    }
                    if root != self.marks.root {
                        return Err(RootReplaced);
                    }
                }
                WatchRequest::Done { rules, generation } => self.follow(&rules, generation),
            }
        }
        Ok(())
    }

    /// Makes ready for the next pass. Where that fails it sweeps.
    fn follow(&self, rules: &[u8; 32], generation: Generation) {
        let mut index = std::mem::take(&mut self.lock().index);
        if let Ok(true) = index.follow(&self.job.join("manifest"), rules, generation, self.marks.root.1) {
            self.lock().index = index;
        }
    }

    fn take(
        &self,
        stream: &mut UnixStream,
        generation: Option<Generation>,
        root: (u64, u64),
        open: &[u64],
    ) -> io::Result<()> {
        let (names, mut inodes, lost, index) = {
            let mut state = self.lock();
            if self.drain(&mut state).is_err() {
                state.lose("events cannot be read");
            }
            state.count = 0;
            let lost = state.lost.take();
            (
                std::mem::take(&mut state.names),
                std::mem::take(&mut state.inodes),
                lost,
                std::mem::take(&mut state.index),
            )
        };
        let usable = generation.is_some_and(|generation| index.is_of(generation));
        let sweep = match (lost, usable) {
            (Some(why), _) => Some(why),
            _ if root != self.marks.root => Some("its root was replaced"),
            (None, false) => Some("no pass was watched before"),
            (None, true) => None,
        };
        if let Some(why) = sweep {
            return self.keep(index).and_then(|()| send(stream, &WatchAnswer::Sweep(why.to_owned())));
        }
        inodes.extend(open);
        for (path, candidate) in index.candidates(&names, &inodes) {
            let (names, inodes) = (candidate.names.into_iter().collect(), candidate.inodes.into_iter().collect());
            send(stream, &WatchAnswer::Look(ChangedDir { path, at: candidate.at, names, inodes }))?;
        }
        self.keep(index)?;
        send(stream, &WatchAnswer::End)
    }

    /// The index stays for the next state, but speaks of none until a pass is done.
    fn keep(&self, mut index: Index) -> io::Result<()> {
        index.forget_state();
        self.lock().index = index;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Changes> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Changes {
    fn note(&mut self, event: Event<'_>) {
        if self.lost.is_some() {
            return;
        }
        let new = match event {
            Event::Inode(inode) => self.inodes.insert(inode),
            Event::Name(dir, name) => {
                let names = self.names.entry(dir).or_default();
                !names.contains(name) && names.insert(name.into())
            }
            Event::Lost => return self.lose("events were dropped"),
        };
        self.count += usize::from(new);
        if self.count > MOST {
            self.lose("too much changed");
        }
    }

    fn lose(&mut self, why: &'static str) {
        self.lost = Some(why);
        self.names = Names::new();
        self.inodes = HashSet::new();
    }
}
