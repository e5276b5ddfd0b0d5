//! A cluster of PostgreSQL changes hands behind PgBouncer: whoever writes through it waits, and sees no error.

use std::fs;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::lab::databases::client::assert_has_all;
use crate::lab::databases::logical;
use crate::lab::databases::pooler::{PASSWORD, Pooled};
use crate::lab::databases::runs::{moves_and_is_killed, outcome};

#[test]
fn whoever_writes_through_a_pooler_sees_no_error_there_back_and_there_again() {
    let pooled = Pooled::start("");
    let lab = &pooled.lab;
    let config = fs::read_to_string(lab.place(1).join("pooler.ini")).unwrap();
    let plan = lab.migrate().run(&["plan", "plan.yaml"]).expect(0);
    for words in
        ["clients of app that come through PgBouncer there wait", "on new: set -- pause", "on new: set -- there"]
    {
        assert!(plan.stdout.contains(words), "{words}: {}", plan.stdout);
    }
    let client = pooled.client();
    client.wait_for_more(20);
    moves_and_is_killed(&lab.migrate(), 1);
    assert!(pooled.goes_to(1), "{}", pooled.says());
    client.wait_for_more(20);
    lab.migrate().run(&["rollback", "pg-1", "--yes"]).expect(0);
    assert!(pooled.goes_to(0), "{}", pooled.says());
    assert_eq!(fs::read_to_string(lab.place(1).join("pooler.ini")).unwrap(), config);
    assert_eq!(pooled.left_behind(), Vec::<String>::new());
    client.wait_for_more(20);
    lab.edit_plan("    reverse: {until: commit}\n", "");
    lab.migrate().run(&["apply", "plan.yaml", "--yes"]).expect(0);
    client.wait_for_more(20);
    let acked = client.stop();
    println!("{} words, the longest waited {} ms", acked.len(), pooled.longest.load(Ordering::Relaxed));
    assert_eq!(pooled.failed.load(Ordering::Relaxed), 0);
    assert_has_all(&acked, &lab.words(1));
    assert!(pooled.goes_to(1), "{}", pooled.says());
    assert_eq!(pooled.left_behind(), Vec::<String>::new());
    let now = fs::read_to_string(lab.place(1).join("pooler.ini")).unwrap();
    assert_eq!(now.matches(PASSWORD).count(), 2, "{now}");
    assert_eq!(now.lines().count(), config.lines().count(), "{now}");
    lab.assert_no_secret(PASSWORD);
}

#[test]
fn whoever_writes_through_a_pooler_sees_no_error_either_when_databases_move_row_by_row() {
    let pooled = Pooled::before(logical::start(), ("app", "app"), "", "pool_mode = transaction\n");
    let lab = &pooled.lab;
    let config = fs::read_to_string(lab.place(1).join("pooler.ini")).unwrap();
    let client = pooled.client();
    client.wait_for_more(20);
    moves_and_is_killed(&lab.migrate(), 1);
    assert!(pooled.goes_to(1), "{}", pooled.says());
    client.wait_for_more(20);
    lab.migrate().run(&["rollback", "rows-1", "--yes"]).expect(0);
    assert!(pooled.goes_to(0), "{}", pooled.says());
    assert_eq!(fs::read_to_string(lab.place(1).join("pooler.ini")).unwrap(), config);
    assert_eq!(pooled.left_behind(), Vec::<String>::new());
    client.wait_for_more(20);
    lab.edit_plan("    reverse: {until: commit}\n", "");
    lab.migrate().run(&["apply", "plan.yaml", "--yes"]).expect(0);
    client.wait_for_more(20);
    let acked = client.stop();
    println!("{} words, the longest waited {} ms", acked.len(), pooled.longest.load(Ordering::Relaxed));
    assert_eq!(pooled.failed.load(Ordering::Relaxed), 0);
    assert_has_all(&acked, &logical::words(lab, 1));
    assert!(pooled.goes_to(1), "{}", pooled.says());
    assert_eq!(pooled.left_behind(), Vec::<String>::new());
    lab.assert_no_secret(PASSWORD);
}

#[test]
fn a_pause_whose_controller_is_gone_ends_by_itself_and_the_next_one_goes_on() {
    let pooled = Pooled::start(", resumes_after: 3s");
    let lab = &pooled.lab;
    let client = pooled.client();
    client.wait_for_more(10);
    let mut apply = lab.migrate().start(&["apply", "plan.yaml", "--yes", "--format", "json"]);
    apply.read_until(|line| outcome(line, "db/old/postgres-pause")).expect("the pause");
    apply.kill();
    let began = Instant::now();
    while pooled.says().split('|').rev().nth(1) != Some("0") {
        assert!(began.elapsed() < Duration::from_secs(60), "{}", pooled.says());
        std::thread::sleep(Duration::from_millis(100));
    }
    moves_and_is_killed(&lab.migrate(), 1);
    client.wait_for_more(10);
    assert_has_all(&client.stop(), &lab.words(1));
    assert!(pooled.goes_to(1), "{}", pooled.says());
}

#[test]
fn a_transaction_that_stays_open_holds_the_run_and_nobody_waits_for_it() {
    let pooled = Pooled::start(", pause_within: 200ms");
    let lab = &pooled.lab;
    let mut idle = Command::new("psql")
        .args(["-XAtqw", "-U", "postgres", "-p", &pooled.port.to_string(), "-h"])
        .arg(lab.place(1))
        .args(["-c", "begin", "-c", "select 1", "-c", "select pg_sleep(600)", "app"])
        .current_dir("/")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let client = pooled.client();
    client.wait_for_more(10);
    let held = lab.migrate().run(&["apply", "plan.yaml", "--yes"]);
    assert!(held.stdout.contains("transactions of app are open for longer than"), "{}\n{}", held.stdout, held.stderr);
    client.wait_for_more(10);
    assert!(pooled.goes_to(0), "{}", pooled.says());
    lab.migrate().run(&["rollback", "pg-1", "--yes"]).expect(0);
    let _ = idle.kill();
    let _ = idle.wait();
    client.wait_for_more(10);
    assert_has_all(&client.stop(), &lab.words(0));
    assert_eq!(pooled.failed.load(Ordering::Relaxed), 0);
    assert_eq!(pooled.left_behind(), Vec::<String>::new());
}

#[test]
fn what_speaks_against_a_pooler_is_told_before_anything_is_done() {
    let pooled = Pooled::start_with("", "pool_mode = session\nquery_wait_timeout = 60\n");
    let told = pooled.lab.migrate().run(&["plan", "plan.yaml"]).stdout;
    for words in [
        "its pool_mode is session: PAUSE would wait until all clients have left",
        "its query_wait_timeout is 60 s: clients that wait for longer are ended, and a pause may last for 60 s",
        "wait in a pooler for no longer than PostgreSQL may be closed",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert_eq!(pooled.left_behind(), Vec::<String>::new());
}
