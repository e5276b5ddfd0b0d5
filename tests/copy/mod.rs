//! The copy engine with real agents: child processes on this machine, and hosts behind a real sshd.

mod any_bytes;
mod attacks;
mod command;
mod compared;
mod deltas;
mod far;
mod faults;
mod fidelity;
mod histories;
mod live;
mod mounted;
mod old_hosts;
mod over_ssh;
mod owners;
mod pair;
mod progress;
mod renames;
mod streams;
mod tree;
mod unmounted;
mod watched;
mod writers;
