//! Ctrl-C: once asks the run to stop at the next safe point, twice ends the process at once. SIGTERM is the same.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::exit::Exit;
use crate::engine::Stop;

/// What people are told.
pub struct Words {
    /// At the first.
    pub soon: &'static str,
    /// At the second.
    pub at_once: &'static str,
}

/// For runs with a journal.
pub const RUN: Words = Words {
    soon: "stopping at the next safe point; once more ends it at once",
    at_once: "ended at once; what was under way is in the journal: `migrate apply` goes on from there",
};

/// For one that stands by.
pub const STANDBY: Words = Words {
    soon: "standing by no more; runs that were taken over stop at the next safe point; once more ends this at once",
    at_once: "ended at once; runs that were taken over stop by themselves",
};

/// Listens for signals until the process ends. The receiver is what an engine watches.
pub fn listen(words: Words) -> std::io::Result<watch::Receiver<Stop>> {
    let (ask, asked) = watch::channel(Stop::No);
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        for nth in 1.. {
            let by = tokio::select! {
                _ = interrupt.recv() => "interrupt",
                _ = terminate.recv() => "terminate",
            };
            if nth > 1 {
                eprintln!("\n{}", words.at_once);
                std::process::exit(Exit::Interrupted.code().into());
            }
            eprintln!("\n{}", words.soon);
            // Nobody listening any more: the run is over anyway.
            let _ = ask.send(Stop::Soon { by: by.to_owned() });
        }
    });
    Ok(asked)
}
