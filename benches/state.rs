//! How long a database is closed while it changes hands, and how long its clients wait, beside the same switch by hand: same servers, same
//! load, same run. Prints one table.
//!
//! `cargo bench --bench state [-- ROW...]` where a row is `physical`, `logical` (both PostgreSQL behind PgBouncer), `mariadb` or `redis`.
//! `STATE_BENCH_MIB` (256) is how much there is to move, `STATE_BENCH_ROUNDS` (3) how often each is measured; medians are compared.
//! `STATE_BENCH_ALONE` leaves out the switch by hand.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs
)]

#[path = "state/hand.rs"]
mod hand;
#[path = "state/load.rs"]
mod load;
#[path = "state/pgbench.rs"]
mod pgbench;
#[path = "state/rows.rs"]
mod rows;
#[path = "state/table.rs"]
mod table;

#[path = "../tests/lab/mod.rs"]
mod lab;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let all = ["physical", "logical", "mariadb", "redis"];
    let (mib, rounds) = (number("STATE_BENCH_MIB", 256), number("STATE_BENCH_ROUNDS", 3));
    println!("{}", table::HEAD);
    for row in all.into_iter().filter(|row| wanted.is_empty() || wanted.iter().any(|w| w == row)) {
        let table = match row {
            "physical" => rows::physical(mib, rounds),
            "logical" => rows::logical(mib, rounds),
            "mariadb" => rows::mariadb(mib, rounds),
            _ => rows::redis(mib, rounds),
        };
        table.print(mib);
    }
}

fn number(name: &str, usual: usize) -> usize {
    let said = std::env::var(name).ok();
    said.map_or(usual, |said| said.parse().unwrap_or_else(|_| panic!("{name} is a number, and not {said}")))
}
