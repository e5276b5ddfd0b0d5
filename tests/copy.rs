//! The copy engine with real agents: child processes on this machine, and hosts behind a real sshd.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs
)]

mod lab;

#[path = "copy/any_bytes.rs"]
mod any_bytes;
#[path = "copy/attacks.rs"]
mod attacks;
#[path = "copy/command.rs"]
mod command;
#[path = "copy/compared.rs"]
mod compared;
#[path = "copy/deltas.rs"]
mod deltas;
#[path = "copy/far.rs"]
mod far;
#[path = "copy/faults.rs"]
mod faults;
#[path = "copy/fidelity.rs"]
mod fidelity;
#[path = "copy/histories.rs"]
mod histories;
#[path = "copy/live.rs"]
mod live;
#[path = "copy/mounted.rs"]
mod mounted;
#[path = "copy/old_hosts.rs"]
mod old_hosts;
#[path = "copy/over_ssh.rs"]
mod over_ssh;
#[path = "copy/owners.rs"]
mod owners;
#[path = "copy/pair.rs"]
mod pair;
#[path = "copy/progress.rs"]
mod progress;
#[path = "copy/renames.rs"]
mod renames;
#[path = "copy/streams.rs"]
mod streams;
#[path = "copy/tree.rs"]
mod tree;
#[path = "copy/unmounted.rs"]
mod unmounted;
#[path = "copy/watched.rs"]
mod watched;
#[path = "copy/writers.rs"]
mod writers;
