//! What is measured.

use std::time::{Duration, SystemTime};

use super::hand::Hand;
use super::lab::command::Migrate;
use super::lab::databases::cluster::Lab;
use super::lab::databases::pooler::Pooled;
use super::lab::databases::runs::moves_and_is_killed;
use super::lab::databases::{logical, mariadb as maria, pair::Pair, redis as redises};
use super::load::Direct;
use super::pgbench::{self, Pgbench};
use super::table::{Switch, Table, Took, load};

/// What the servers of the bench have besides those of tests: disks are written to.
const SETTINGS: &str = "fsync = on\nshared_buffers = 128MB\n";
const POOL: &str = "pool_mode = transaction\n";
const SWITCHES: [Switch; 4] = [Switch::There, Switch::Back, Switch::ThereByHand, Switch::BackByHand];

/// A cluster that moves as a whole, behind PgBouncer.
pub fn physical(mib: usize, rounds: usize) -> Table {
    let pooled = Pooled::before(Lab::with(SETTINGS), ("postgres", "postgres"), "", POOL);
    let back = "        back: {user: replicator, passfile: \"{{ passfile }}\", sslmode: prefer}\n";
    pooled.lab.edit_plan("        role: postgres\n", &format!("{back}        role: postgres\n"));
    pgbench::fill(&pooled, "postgres", mib);
    behind_a_pooler(&pooled, Behind { state: "PostgreSQL, physical", must_be: 500, hand: Hand::Physical }, rounds)
}

/// A database that moves row by row, behind PgBouncer.
pub fn logical(mib: usize, rounds: usize) -> Table {
    let pooled = Pooled::before(logical::start_with(SETTINGS), ("app", "app"), "", POOL);
    // As plans are unless they say otherwise: a look at every row in the freeze takes as long as there are rows, and nobody does that by hand.
    pooled.lab.edit_plan("        verify: both\n", "        verify: ahead\n");
    pgbench::fill(&pooled, "app", mib);
    behind_a_pooler(&pooled, Behind { state: "PostgreSQL, logical", must_be: 1200, hand: Hand::Logical }, rounds)
}

struct Behind {
    state: &'static str,
    must_be: u128,
    hand: Hand,
}

fn behind_a_pooler(pooled: &Pooled, Behind { state, must_be, hand }: Behind, rounds: usize) -> Table {
    let lab = &pooled.lab;
    let (role, database, plan) = match hand {
        Hand::Logical => ("app", "app", "rows"),
        _ => ("postgres", "postgres", "pg"),
    };
    let mut env = sides(lab, |host| {
        vec![
            ("PORT", lab.port(host).to_string()),
            ("SOCKET", lab.place(host).display().to_string()),
            ("DATA", lab.data(host).display().to_string()),
        ]
    });
    env.extend([("OWNER", lab.owner().to_owned()), ("DATABASE", database.to_owned())].map(named));
    env.extend([("BIN", lab.bin().display().to_string()), ("POOLER", pooled.port.to_string())].map(named));
    let clients = Pgbench::start(pooled, role);
    std::thread::sleep(Duration::from_secs(2));
    let mut spans = Vec::new();
    let mut closed = Vec::new();
    for (run, switch) in all(rounds) {
        let from = SystemTime::now();
        closed.push((switch, act(&lab.migrate(), (plan, run), switch, hand, &env), load()));
        spans.push((from, SystemTime::now()));
        // What is left of one has no part in the next.
        std::thread::sleep(Duration::from_secs(1));
    }
    let (waits, done, errors) = clients.stop(&spans);
    let rows = lab.login(0).query("postgres", database, "select count(*) from pgbench_history").unwrap();
    let lost = done.saturating_sub(rows.parse().unwrap());
    let mut table = Table { state, must_be, took: Default::default(), harm: format!("{errors}, {lost} of {done}") };
    for ((switch, closed, load), waited) in closed.into_iter().zip(waits) {
        table.took.entry(switch).or_default().push(Took { closed, waited, load });
    }
    table
}

/// A server of MariaDB, with a client that connects again.
pub fn mariadb(mib: usize, rounds: usize) -> Table {
    let lab = maria::Lab::start();
    lab.must(0, "drop event app.tick; create table app.bulk(n int primary key, text varchar(1100)) engine = InnoDB");
    for n in 0..mib {
        let (from, to) = (n * 1024, n * 1024 + 1023);
        lab.must(0, &format!("use app; insert into bulk select seq, repeat(md5(seq), 32) from seq_{from}_to_{to}"));
    }
    let mut env = sides(&lab, |host| {
        vec![("PORT", lab.servers[host].port().to_string()), ("SOCKET", lab.socket(host).display().to_string())]
    });
    env.push(named(("LINK_PASSWORD", maria::PASSWORD.replace('\'', "\\'"))));
    let client = Direct::start(lab.writer());
    let took = directly(&lab, "mysql", Hand::Mariadb, &client, &env, rounds);
    let harm = client.lost(|| lab.words(0));
    Table { state: "MariaDB", must_be: 2000, took, harm }
}

/// A server of Redis, with a client that connects again.
pub fn redis(mib: usize, rounds: usize) -> Table {
    let lab = redises::Lab::open();
    lab.edit_plan("    state:\n", "    reverse: {until: commit}\n    state:\n");
    let fill = "for n = 1, 1024 do redis.call('set', KEYS[1] .. n, string.rep(KEYS[1], 64)) end return 'OK'";
    for n in 0..mib {
        lab.must(0, &["EVAL", fill, "1", &format!("filler:{n:07}:")]);
    }
    let env = sides(&lab, |host| vec![("PORT", lab.servers[host].port().to_string())]);
    let client = Direct::start(lab.writer());
    let took = directly(&lab, "redis", Hand::Redis, &client, &env, rounds);
    let harm = client.lost(|| lab.words(0));
    Table { state: "Redis", must_be: 1000, took, harm }
}

fn directly(
    lab: &Pair,
    plan: &str,
    hand: Hand,
    client: &Direct,
    env: &[(String, String)],
    rounds: usize,
) -> std::collections::BTreeMap<Switch, Vec<Took>> {
    let mut took = std::collections::BTreeMap::<Switch, Vec<Took>>::new();
    for (run, switch) in all(rounds) {
        client.gaps.longest();
        let closed = act(&lab.migrate(), (plan, run), switch, hand, env);
        client.wait();
        took.entry(switch).or_default().push(Took { closed, waited: client.gaps.longest(), load: load() });
    }
    took
}

/// All switches of all rounds, those by hand unless they are left out; and which run of the plan each belongs to.
fn all(rounds: usize) -> impl Iterator<Item = (usize, Switch)> {
    let switches = if std::env::var_os("STATE_BENCH_ALONE").is_some() { &SWITCHES[..2] } else { &SWITCHES[..] };
    (1..=rounds).flat_map(move |run| switches.iter().map(move |switch| (run, *switch)))
}

/// Switches; how long nobody could write, where whoever does it says so.
fn act(
    migrate: &Migrate,
    (plan, run): (&str, usize),
    switch: Switch,
    hand: Hand,
    env: &[(String, String)],
) -> Option<Duration> {
    let id = format!("{plan}-{run}");
    let env: Vec<(&str, String)> = env.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    match switch {
        Switch::There => {
            moves_and_is_killed(migrate, u32::try_from(run).unwrap());
            let status = migrate.run(&["status", &id, "--format", "json"]).stdout;
            let report: serde_json::Value = serde_json::from_str(&status).unwrap();
            report["pairs"][0]["freeze_ms"].as_u64().map(Duration::from_millis)
        }
        Switch::Back => {
            migrate.run(&["rollback", &id, "--yes"]).expect(0);
            None
        }
        Switch::ThereByHand => Some(hand.run("there", &env)),
        Switch::BackByHand => Some(hand.run("back", &env)),
    }
}

fn named((name, value): (&str, String)) -> (String, String) {
    (name.to_owned(), value)
}

/// What commands by hand know of both sides.
fn sides(pair: &Pair, of: impl Fn(usize) -> Vec<(&'static str, String)>) -> Vec<(String, String)> {
    let side = |host: usize| {
        let name = ["OLD", "NEW"][host];
        let ip = ("IP", pair.ip(host).to_string());
        of(host).into_iter().chain([ip]).map(move |(key, value)| (format!("{name}_{key}"), value))
    };
    (0..2).flat_map(side).collect()
}
