//! The copy engine beside its peers: same files, same loopback sshd, same run. Prints one table.
//!
//! `cargo bench --bench copy [-- ROW...]` where a row is `small`, `large`, `mixed`, `million`, `verify`, `far`,
//! `command` (`migrate copy` as a whole) or `busy` (beside a program that writes to the same disk).
//! `COPY_BENCH_ROUNDS` (3) is how often each is measured; medians are compared. Installs nothing: peers that are not there are
//! left out.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs
)]

#[path = "copy/measure.rs"]
mod measure;
#[path = "copy/rows.rs"]
mod rows;
#[path = "copy/setup.rs"]
mod setup;
#[path = "copy/trees.rs"]
mod trees;

#[path = "../tests/lab/mod.rs"]
mod lab;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let all = ["small", "large", "mixed", "million", "verify", "far", "command", "busy"];
    let rows = all.into_iter().filter(|row| wanted.is_empty() || wanted.iter().any(|w| w == row));
    println!("{}", measure::HEAD);
    for row in rows {
        let setup = setup::Setup::start();
        match row {
            "small" => rows::small(&setup),
            "large" => rows::large(&setup),
            "mixed" => rows::mixed(&setup),
            "million" => rows::million(&setup),
            "verify" => rows::verify(&setup),
            "far" => rows::far(&setup),
            "command" => rows::command(&setup),
            _ => rows::busy(&setup),
        }
    }
}
