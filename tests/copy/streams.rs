//! Streams between two commands: whole or not at all, and never called whole when nobody knows.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use migrate::copy::{Copier, StreamJob, StreamReport};
use migrate::outside::Error;
use serde_json::Value;

use crate::copy::command::{Desk, ran, until};
use crate::copy::over_ssh::Hosts;
use crate::copy::tree::noise;
use crate::lab::postgres::Postgres;

fn job(hosts: &Hosts, from: &str, to: &str) -> StreamJob {
    StreamJob {
        id: "stream-1".to_owned(),
        source: hosts.source.host(),
        target: hosts.target.host(),
        from: from.to_owned(),
        to: to.to_owned(),
        timeout: None,
        bandwidth: None,
    }
}

async fn pour(hosts: &Hosts, relay: bool, job: &StreamJob) -> Result<StreamReport, Error> {
    let engine = if relay { hosts.engine().relaying() } else { hosts.engine() };
    let poured = engine.stream(job, &|_| {}).await;
    let keys = fs::read_to_string(hosts.target.home().join(".ssh/authorized_keys")).unwrap();
    assert!(!keys.contains("migrate-copy"), "{keys}");
    poured
}

#[tokio::test(flavor = "multi_thread")]
async fn every_byte_arrives_on_both_ways_and_both_ends_hash_the_same() {
    let hosts = Hosts::start();
    let file = |name: &str| hosts.dir.path().join(name).to_str().unwrap().to_owned();
    let data = noise(3, 5_000_001);
    fs::write(file("in"), &data).unwrap();
    fs::write(file("nothing"), b"").unwrap();
    for relay in [false, true] {
        let to = format!("cat > {}", file("out"));
        let report = pour(&hosts, relay, &job(&hosts, &format!("cat {}", file("in")), &to)).await.unwrap();
        assert_eq!((report.bytes, report.hash), (5_000_001, *blake3::hash(&data).as_bytes()));
        assert_eq!(fs::read(file("out")).unwrap(), data);
        let empty = pour(&hosts, relay, &job(&hosts, &format!("cat {}", file("nothing")), &to)).await.unwrap();
        assert_eq!((empty.bytes, fs::read(file("out")).unwrap().len()), (0, 0));
        // Quotes and line breaks survive the way to the command.
        let odd = "printf '%s\\n' \"a  b\" 'it'\"'\"'s'\nprintf \"\\t$((1 + 1))\"";
        pour(&hosts, relay, &job(&hosts, odd, &to)).await.unwrap();
        assert_eq!(fs::read_to_string(file("out")).unwrap(), "a  b\nit's\n\t2");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_fails_on_either_side_is_no_success_and_its_end_is_known() {
    let hosts = Hosts::start();
    let out = hosts.dir.path().join("out");
    let seen = hosts.dir.path().join("saw-the-end");
    // Only what sees the end of its input says so.
    let to = format!("cat > {} && touch {}", out.display(), seen.display());
    let takes_all = to.as_str();
    for relay in [false, true] {
        for (from, to, host, says) in [
            ("echo part; echo broken pipes >&2; exit 3", takes_all, "old", "ended with status 3: broken pipes"),
            ("echo part; kill -9 $$", takes_all, "old", "ended by signal 9"),
            ("no-such-command-here", takes_all, "old", "ended with status 127"),
            ("cat /dev/zero", "head -c 10 >/dev/null; echo full >&2; exit 4", "new", "ended with status 4: full"),
            ("cat /dev/zero", "head -c 10", "new", "before it had taken everything"),
            ("echo all", "cat >/dev/null; echo no commit; exit 5", "new", "ended with status 5: no commit"),
        ] {
            let failed = pour(&hosts, relay, &job(&hosts, from, to)).await.unwrap_err();
            assert!(!failed.is_unknown(), "{from}: {failed:?}");
            assert_eq!(failed.at, host, "{from}: {failed:?}");
            assert!(failed.what.contains(says), "{from}: {failed:?}");
        }
        assert!(!seen.exists(), "a part was taken for the whole");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_cut_never_looks_whole_to_its_command_and_its_end_is_unknown() {
    let hosts = Hosts::start();
    let out = hosts.dir.path().join("out");
    let seen = hosts.dir.path().join("saw-the-end");
    let to = format!("cat > {} && touch {}", out.display(), seen.display());
    for (relay, cut_source) in [(false, false), (false, true), (true, false), (true, true)] {
        let _ = fs::remove_file(&out);
        let mut job = job(&hosts, "cat /dev/zero", &to);
        job.bandwidth = Some(4 << 20);
        let cut = async {
            while fs::metadata(&out).map_or(0, |m| m.len()) < 1 << 20 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            if cut_source { hosts.source.cut_connections() } else { hosts.target.cut_connections() }
        };
        let (poured, ()) = tokio::join!(pour(&hosts, relay, &job), cut);
        let failed = poured.unwrap_err();
        assert!(failed.is_unknown(), "{relay} {cut_source}: {failed:?}");
        let running = || hosts.target.session_processes().len() + hosts.source.session_processes().len();
        while running() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(!seen.exists(), "{relay} {cut_source}: a part was taken for the whole");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_takes_too_long_is_ended_on_both_sides_and_its_end_is_known_until_it_was_whole() {
    let hosts = Hosts::start();
    let (out, seen) = (hosts.dir.path().join("out"), hosts.dir.path().join("saw-the-end"));
    let takes = format!("cat > {} && touch {}", out.display(), seen.display());
    let hangs = format!("cat > {}; sleep 300", out.display());
    // The source writes nothing, or more than the target takes, or all there is, for which there is time on a busy machine too.
    let cases = [("sleep 300", &*takes, 1, false), ("yes", "sleep 300", 1, false), ("echo x", &*hangs, 10, true)];
    for (relay, case) in [false, true].into_iter().flat_map(|relay| cases.map(|case| (relay, case))) {
        let (from, to, seconds, unknown) = case;
        let job = StreamJob { timeout: Some(Duration::from_secs(seconds)), ..job(&hosts, from, to) };
        let error = pour(&hosts, relay, &job).await.unwrap_err();
        let says = format!("took longer than its timeout of {seconds} s");
        assert!(error.what.contains(&says), "{from}: {error:?}");
        assert_eq!((error.is_unknown(), error.at.as_str()), (unknown, "new"), "{from}: {error:?}");
        assert!(!seen.exists(), "{from}");
        let running = || hosts.target.session_processes().len() + hosts.source.session_processes().len();
        until("both commands to end", || running() == 0);
    }
    let job = StreamJob { timeout: Some(Duration::from_secs(60)), ..job(&hosts, "echo x", &takes) };
    assert_eq!(pour(&hosts, false, &job).await.unwrap().bytes, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_counts_what_has_arrived() {
    let hosts = Hosts::start();
    let mut job = job(&hosts, "head -c 3000000 /dev/zero", "cat >/dev/null");
    job.bandwidth = Some(4 << 20);
    let most = Mutex::new(0);
    let engine = hosts.engine();
    engine
        .stream(&job, &|now| {
            let mut most = most.lock().unwrap();
            assert!(now.bytes_done >= *most && now.bytes_done <= 3_000_000);
            *most = now.bytes_done;
        })
        .await
        .unwrap();
    assert!(*most.lock().unwrap() > 0);
}

/// Two databases, one with rows, and a plan that moves them.
struct Databases {
    desk: Desk,
    old: Postgres,
    new: Postgres,
}

impl Databases {
    fn new() -> Self {
        let desk = Desk::new();
        let (old, new) = (Postgres::start(&desk.path("pg-old")), Postgres::start(&desk.path("pg-new")));
        old.run("app", "create table t(id int primary key, what text); insert into t select n, md5(n::text) from generate_series(1, 60000) n");
        Self { desk, old, new }
    }

    fn dump(&self) -> String {
        format!("pg_dump {} app", self.old.options())
    }

    fn load(&self) -> String {
        format!("psql {} -XqAt -v ON_ERROR_STOP=1 --single-transaction app", self.new.options())
    }

    /// Writes the plan. Freeze and thaw leave a line behind.
    fn plan(&self, stream: &str, more: &str) {
        let hooks = self.desk.text("hooks");
        let plan = format!(
            "migration: db\ninventory: inventory.yaml\nservices:\n  db:\n    move: {{ from: old, to: new }}\n    \
             state:\n      stream: {stream}\n{more}    hooks:\n      \
             - {{ at: freeze, run: \"echo freeze >> {hooks}\", undo: none }}\n      \
             - {{ at: thaw, run: \"echo thaw >> {hooks}\", undo: none }}\n"
        );
        fs::write(self.desk.path("plan.yaml"), plan).unwrap();
    }

    fn start(&self, args: &[&str]) -> Child {
        self.desk.any(args).spawn().unwrap()
    }

    fn hooks(&self) -> String {
        fs::read_to_string(self.desk.path("hooks")).unwrap_or_default()
    }

    fn assert_moved(&self) {
        assert_eq!(self.new.run("app", "select count(*) from t"), "60000");
        assert_eq!(self.old.digest(), self.new.digest());
        assert_eq!(self.hooks(), "freeze\nthaw\n");
    }

    /// Waits until rows are on their way, which nobody but their own transaction can see.
    fn until_rows_arrive(&self) {
        until("rows on their way", || {
            self.new.run("postgres", "select count(*) from pg_stat_activity where query like 'COPY%'") != "0"
        });
    }
}

const APPLY: [&str; 4] = ["apply", "plan.yaml", "--yes", "--format=json"];

fn yaml(from: &str, to: &str) -> String {
    format!("{{ from: \"{from}\", to: \"{to}\" }}")
}

#[test]
fn a_plan_pours_a_database_after_the_freeze_and_before_the_thaw() {
    let dbs = Databases::new();
    dbs.plan(&yaml(&dbs.dump(), &dbs.load()), "");
    let shown = ran(dbs.start(&["plan", "plan.yaml"]));
    assert!(shown.out.contains("pg_dump") && shown.out.contains("holds where its end is unknown"), "{}", shown.out);
    let applied = ran(dbs.start(&APPLY));
    assert_eq!(applied.code, 0, "{}{}", applied.out, applied.err);
    let done: Vec<String> = applied
        .out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["event"]["event"] == "outcome")
        .map(|line| line["event"]["step"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(done, ["all/probe", "db/old/freeze", "db/old/stream", "db/old/thaw", "db/old/clean-up"]);
    dbs.assert_moved();
    dbs.desk.assert_clean();
}

#[test]
fn a_plan_holds_where_a_command_of_its_stream_fails_and_pours_it_again_once_that_is_mended() {
    let dbs = Databases::new();
    dbs.new.run("app", "create table t(id int)");
    dbs.plan(&yaml(&dbs.dump(), &dbs.load()), "");
    let held = ran(dbs.start(&["apply", "plan.yaml", "--yes"]));
    assert_eq!(held.code, 3, "{}{}", held.out, held.err);
    assert!(held.out.contains("already exists"), "{}", held.out);
    assert_eq!(dbs.hooks(), "freeze\n");
    dbs.new.run("app", "drop table t");
    // The source fails, too: nothing may be committed.
    fs::rename(dbs.desk.path("pg-old/.s.PGSQL.5432"), dbs.desk.path("pg-old/away")).unwrap();
    let held = ran(dbs.start(&["apply", "plan.yaml", "--yes"]));
    assert_eq!(held.code, 3, "{}{}", held.out, held.err);
    assert!(held.out.contains("connection to server"), "{}", held.out);
    fs::rename(dbs.desk.path("pg-old/away"), dbs.desk.path("pg-old/.s.PGSQL.5432")).unwrap();
    let done = ran(dbs.start(&APPLY));
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    dbs.assert_moved();
}

#[test]
fn a_stream_that_was_cut_holds_until_somebody_has_looked() {
    let dbs = Databases::new();
    dbs.plan(&yaml(&dbs.dump(), &dbs.load()), "      bandwidth: 1MiB\n");
    let child = dbs.start(&["apply", "plan.yaml", "--yes"]);
    dbs.until_rows_arrive();
    dbs.desk.hosts.target.cut_connections();
    let held = ran(child);
    assert_eq!(held.code, 3, "{}{}", held.out, held.err);
    assert!(held.out.contains("unknown"), "{}", held.out);
    // Applying again does not pour it again.
    let still = ran(dbs.start(&["apply", "plan.yaml", "--yes"]));
    assert_eq!(still.code, 3, "{}{}", still.out, still.err);
    assert!(still.out.contains("must not be poured twice"), "{}", still.out);
    assert_eq!(
        dbs.new.run("app", "select count(*) from pg_tables where tablename = 't'"),
        "0",
        "nothing of it took hold"
    );
    let resolved = ran(dbs.start(&["resolve", "db", "db/old/stream", "--not-done", "--why", "no table is there"]));
    assert_eq!(resolved.code, 0, "{}{}", resolved.out, resolved.err);
    let done = ran(dbs.start(&APPLY));
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    dbs.assert_moved();
}

#[test]
fn a_controller_that_is_killed_amid_a_stream_leaves_an_unknown_end() {
    let dbs = Databases::new();
    dbs.plan(&yaml(&dbs.dump(), &dbs.load()), "      bandwidth: 1MiB\n");
    let mut child = dbs.start(&["apply", "plan.yaml", "--yes"]);
    dbs.until_rows_arrive();
    child.kill().unwrap();
    child.wait().unwrap();
    until("the agents to end", || {
        dbs.desk.hosts.target.session_processes().is_empty() && dbs.desk.hosts.source.session_processes().is_empty()
    });
    let held = ran(dbs.start(&["apply", "plan.yaml", "--yes"]));
    assert_eq!(held.code, 3, "{}{}", held.out, held.err);
    assert!(held.out.contains("must not be poured twice"), "{}", held.out);
    assert_eq!(dbs.hooks(), "freeze\n");
}

#[test]
fn a_stream_that_may_be_poured_twice_is_poured_again_by_itself() {
    let dbs = Databases::new();
    let dump = format!("{} --clean --if-exists", dbs.dump());
    dbs.plan(&yaml(&dump, &dbs.load()), "      bandwidth: 1MiB\n      idempotent: true\n");
    let child = dbs.start(&["apply", "plan.yaml", "--yes"]);
    dbs.until_rows_arrive();
    dbs.desk.hosts.target.cut_connections();
    let done = ran(child);
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    dbs.assert_moved();
}

/// A stream without a database between two places takes quotes as a plan has them.
#[test]
fn variables_of_both_hosts_are_filled_into_the_commands() {
    let desk = Desk::new();
    let out = desk.text("out");
    let plan = format!(
        "migration: s\ninventory: inventory.yaml\nservices:\n  s:\n    move: {{ from: old, to: new }}\n    \
         drain: {{ stops_writes: true }}\n    state:\n      stream:\n        from: echo {{{{ name }}}}\n        \
         to: |\n          read line\n          echo \"$line\" to {{{{ name }}}} > {out}\n"
    );
    fs::write(desk.path("plan.yaml"), plan).unwrap();
    let mut command: Command = desk.any(&APPLY);
    let done = ran(command.stdin(Stdio::null()).spawn().unwrap());
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    assert_eq!(fs::read_to_string(&out).unwrap(), "old to new\n");
}
