//! Clusters of PostgreSQL on both hosts, and a database that moves row by row from one to the other.

use std::collections::BTreeSet;

use super::client::Client;
use super::cluster::Lab;

const PLAN: &str = r#"
migration: rows
inventory: inventory.yaml
services:
  db:
    move: {from: old, to: new}
    hooks:
      - {at: thaw, run: "true", undo: none}
    state:
      postgres:
        from: {data: "{{ data }}", bin: "{{ bin }}", port: "{{ port }}", socket: "{{ dir }}", user: "{{ owner }}"}
        to: {data: "{{ data }}", bin: "{{ bin }}", port: "{{ port }}", socket: "{{ dir }}", user: "{{ owner }}"}
        link: {user: replicator, passfile: "{{ passfile }}", sslmode: prefer}
        back: {user: replicator, passfile: "{{ passfile }}", sslmode: prefer}
        method: logical
        databases: [app]
        role: postgres
        verify: both
        freeze_within: 60s
"#;
/// Who may log in.
pub const HBA: &str =
    "local all all trust\nhost app app 127.0.0.0/8 trust\nhost app replicator 127.0.0.0/8 scram-sha-256\n";
const SETTINGS: &str = "wal_level = logical\nwal_retrieve_retry_interval = 200ms\n";
/// What the application has: words with a key, rows that nobody can tell apart, a name that must be quoted, a sequence that has moved on, and
/// what is not carried.
const APPLICATION: [&str; 8] = [
    "create table words(word text primary key)",
    "grant insert on words to app",
    "create table bulk as select n, md5(n::text) from generate_series(1, 5000) n",
    "create schema \"Odd One\"",
    "create table \"Odd One\".\"a table\"(id serial primary key, \"a column\" jsonb)",
    "insert into \"Odd One\".\"a table\"(\"a column\") select '{}' from generate_series(1, 41)",
    "create unlogged table scratch(n int)",
    "create materialized view total as select count(*) from bulk",
];

/// A cluster on each host, the databases of one of them.
pub fn start() -> Lab {
    start_with("")
}

/// The same with settings of their own.
pub fn start_with(settings: &str) -> Lab {
    fill(Lab::without_clusters(), settings)
}

/// The same on hosts that have programs of their own.
pub fn fill(lab: Lab, settings: &str) -> Lab {
    for host in [0, 1] {
        lab.make_cluster(host, HBA, &format!("{SETTINGS}{settings}"));
        lab.sql(host, "create role app login").unwrap();
    }
    lab.sql(0, "grant pg_read_all_data to replicator").unwrap();
    lab.sql(1, "grant pg_read_all_data to replicator").unwrap();
    lab.sql(0, "create database app").unwrap();
    for statement in APPLICATION {
        app(&lab, 0, statement);
    }
    lab.write_files(PLAN);
    lab
}

/// What the database says to its superuser, who is let in also when it is closed.
#[track_caller]
pub fn app(lab: &Lab, host: usize, sql: &str) -> String {
    lab.login(host).query("postgres", "app", sql).unwrap_or_else(|e| panic!("{sql}: {e}"))
}

pub fn client(lab: &Lab) -> Client {
    let logins = [lab.login(0), lab.login(1)];
    Client::start(move |host, word| {
        logins[host].query("app", "app", &format!("insert into words values ('{word}')")).is_ok()
    })
}

pub fn words(lab: &Lab, host: usize) -> BTreeSet<String> {
    app(lab, host, "select word from words").lines().map(str::to_owned).collect()
}
