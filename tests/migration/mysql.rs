//! A server of MariaDB moves to its replica while clients write, and comes back: real servers, made by the tests, each on its own address.

use std::fs;
use std::time::Duration;

use crate::lab::databases::client::assert_has_all;
use crate::lab::databases::mariadb::{Lab, PASSWORD};
use crate::lab::databases::runs::{moves_and_is_killed, outcome, run_with_kills};

#[test]
fn a_server_of_mariadb_moves_comes_back_and_moves_again_and_a_restart_in_the_freeze_leaves_a_reader() {
    let lab = Lab::start();
    let client = lab.client();
    client.wait_for_more(20);
    moves_and_is_killed(&lab.migrate(), 1);
    client.wait_for_more(20);
    assert_eq!(lab.read_only(), ["1", "0"]);
    let around = ["reverse", "hand-over", "fence", "seed"];
    let killed = run_with_kills(&lab.migrate(), &["rollback", "mysql-1"], |step| {
        around.iter().any(|word| step.ends_with(&format!("mysql-{word}")))
    });
    assert_eq!(killed.len(), around.len(), "{killed:?}");
    client.wait_for_more(20);
    assert_eq!(lab.sql(1, "show databases like 'app'").unwrap(), "", "the copy is gone");
    assert_eq!((lab.files(0), lab.files(1)), (0, 0));
    lab.edit_plan("    reverse: {until: commit}\n", "");
    let mut apply = lab.migrate().start(&["apply", "plan.yaml", "--yes", "--format", "json"]);
    apply.read_until(|line| outcome(line, "db/old/mysql-fence")).expect("the fence");
    // Its init system starts it again, in the middle of the freeze.
    lab.restart_server(0);
    apply.finish().expect(0);
    client.wait_for_more(20);
    let acked = client.stop();
    println!("{} words acknowledged", acked.len());
    assert_has_all(&acked, &lab.words(1));
    assert_eq!(acked.windows(2).filter(|two| two[0].1 != two[1].1).count(), 3, "old, new, old, new");
    for host in [0, 1] {
        lab.restart_server(host);
        assert_eq!(lab.sql(host, "show slave status").unwrap(), "", "nobody follows");
    }
    assert_eq!(lab.read_only(), ["1", "0"]);
    assert_eq!((lab.files(0), lab.files(1)), (1, 0), "what keeps the old one closed");
    lab.assert_no_secret(PASSWORD);
}

#[test]
fn a_source_that_is_just_starting_when_it_is_to_be_opened_again_is_waited_for() {
    let lab = Lab::start();
    let client = lab.client();
    client.wait_for_more(10);
    let mut apply = lab.migrate().start(&["apply", "plan.yaml", "--yes", "--format", "json"]);
    let fence = |line: &str| line.contains("\"intent\"") && line.contains("\"db/old/mysql-fence\"");
    apply.read_until(fence).expect("the fence");
    apply.kill();
    lab.stop_server(0);
    let mut rollback = lab.migrate().start(&["rollback", "mysql-1", "--yes", "--format", "json"]);
    assert!(rollback.read_until(fence).is_some(), "{:?}", rollback.finish().stdout);
    std::thread::sleep(Duration::from_secs(2));
    lab.start_server(0);
    rollback.finish().expect(0);
    client.wait_for_more(10);
    let acked = client.stop();
    assert_has_all(&acked, &lab.words(0));
    assert_eq!((lab.read_only(), lab.files(0)), (["0".to_owned(), "0".to_owned()], 0));
}

#[test]
fn what_speaks_against_a_server_of_mariadb_holds_it_before_anything_is_done() {
    let lab = Lab::start();
    let held = |words: &str| {
        let held = lab.migrate().run(&["apply", "plan.yaml", "--yes"]);
        assert!(held.code() != 0 && held.stdout.contains(words), "{words}: {}\n{}", held.stdout, held.stderr);
        assert!(!held.stdout.contains("mysql-seed: "), "{}", held.stdout);
    };
    lab.must(0, "create table app.old(n int) engine = MyISAM");
    held("1 tables are not of InnoDB");
    lab.must(0, "drop table app.old");
    // Events come with the copy, and would write to it.
    lab.must(1, "set global event_scheduler = on");
    held("event_scheduler is on");
    lab.must(1, "set global event_scheduler = off; create database mine");
    held("it has databases of its own: mine");
    fs::write(lab.root().join("link.password"), "another").unwrap();
    lab.must(1, "drop database mine");
    held("it does not get through to the source");
    assert_eq!(lab.read_only(), ["0", "0"]);
}
