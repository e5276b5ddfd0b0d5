//! What becomes of clients that stay connected for hours when their server leaves: all at once, at a governed pace, and asked by the service.
//! Same clients, same servers, same HAProxy, same run. Prints one table.
//!
//! `cargo bench --bench connections [-- ROW...]` where a row is `tcp` or `websocket`. `CONNECTIONS_BENCH_CLIENTS` (5000) is how many there are,
//! `CONNECTIONS_BENCH_LOGIN_US` (2000) what a login costs the new side, which has one core.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs
)]

#[path = "connections/clients.rs"]
mod clients;
#[path = "connections/server.rs"]
mod server;
#[path = "connections/stage.rs"]
mod stage;

#[path = "../tests/lab/mod.rs"]
mod lab;

use std::time::Duration;

use clients::Seen;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use stage::{Stage, Way};

/// What the service speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    Tcp,
    WebSocket,
}

impl Speaks {
    fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::WebSocket => "websocket",
        }
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    if words.first().is_some_and(|word| word == server::WORD) {
        return server::serve(&words[1..]);
    }
    let (count, login) = (number("CONNECTIONS_BENCH_CLIENTS", 5000), number("CONNECTIONS_BENCH_LOGIN_US", 2000));
    let count = count.min(room());
    println!("{count} clients; a login costs {} ms on one core\n", login as f64 / 1000.0);
    println!(
        "| clients | way | came back | tries that failed | connect p50 / p99 ms | longest without a connection | took |"
    );
    println!("|---|---|---|---|---|---|---|");
    for speaks in [Speaks::Tcp, Speaks::WebSocket] {
        if !words.is_empty() && !words.iter().any(|word| word == speaks.name()) {
            continue;
        }
        let mut slowest = Vec::new();
        for way in [Way::AllAtOnce, Way::Governed, Way::Hint] {
            let seen = Stage::start(speaks, count, Duration::from_micros(login as u64), way).run();
            print(speaks, way, count, &seen);
            slowest.push(seen.connect(99));
        }
        if let [all_at_once, governed, _] = slowest[..] {
            let ratio = all_at_once.as_secs_f64() / governed.as_secs_f64().max(0.001);
            println!("| {} | p99 all at once, against governed | | | {ratio:.1} × | | |", speaks.name());
        }
    }
}

fn print(speaks: Speaks, way: Way, count: usize, seen: &Seen) {
    let ms = |of: Duration| of.as_secs_f64() * 1000.0;
    let (p50, p99) = (ms(seen.connect(50)), ms(seen.connect(99)));
    let (gap, took) = (ms(seen.longest_gap()), seen.took.as_secs_f64());
    let (back, failed, name) = (seen.came_back(), seen.failed(), speaks.name());
    println!("| {name} | {way} | {back} of {count} | {failed} | {p50:.0} / {p99:.0} | {gap:.0} ms | {took:.1} s |");
}

/// As many as there may be: each client has two connections for a moment, and HAProxy two for each.
fn room() -> usize {
    let now = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum });
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let room = usize::try_from(most).unwrap_or(usize::MAX).saturating_sub(1000) / 3;
    if room < 5000 {
        println!("this machine lets a process have {most} files: no more than {room} clients\n");
    }
    room
}

fn number(name: &str, usual: usize) -> usize {
    let said = std::env::var(name).ok();
    said.map_or(usual, |said| said.parse().unwrap_or_else(|_| panic!("{name} is a number, and not {said}")))
}
