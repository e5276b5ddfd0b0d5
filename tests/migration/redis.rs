//! A server of Redis moves to its replica while clients write: real servers, made by the tests, each on its own address.

use crate::lab::databases::client::assert_has_all;
use crate::lab::databases::redis::Lab;
use crate::lab::databases::runs::{apply_with_kills, moves_and_is_killed, outcome, run_with_kills};

#[test]
fn a_server_moves_while_it_is_written_to_and_a_restart_in_the_freeze_leaves_a_reader() {
    let lab = Lab::start();
    let plan = lab.migrate().run(&["plan", "plan.yaml"]).expect(0);
    for words in ["old takes no writes any more", "goes back to old with a rollback", "clients that see errors"] {
        assert!(plan.stdout.contains(words), "{words}: {}", plan.stdout);
    }
    let client = lab.client();
    client.wait_for_more(50);
    let mut apply = lab.migrate().start(&["apply", "plan.yaml", "--yes", "--format", "json"]);
    apply.read_until(|line| outcome(line, "cache/old/redis-fence")).expect("the fence");
    // Its init system starts it again, in the middle of the freeze.
    lab.restart_server(0);
    apply.finish().expect(0);
    client.wait_for_more(50);
    let acked = client.stop();
    println!("{} words acknowledged", acked.len());
    lab.assert_moved(&acked);
}

#[test]
fn killed_around_its_freeze_a_server_still_moves_and_nothing_is_lost() {
    let lab = Lab::start();
    let client = lab.client();
    client.wait_for_more(50);
    let around = ["prepare", "seed", "fence", "prove", "promote", "release"];
    let killed =
        apply_with_kills(&lab.migrate(), |step| around.iter().any(|word| step.ends_with(&format!("redis-{word}"))));
    assert_eq!(killed.len(), around.len(), "{killed:?}");
    client.wait_for_more(50);
    lab.assert_moved(&client.stop());
}

#[test]
fn a_server_comes_back_killed_on_its_way_and_moves_again() {
    let lab = Lab::start();
    lab.edit_plan("    state:\n", "    reverse: {until: commit}\n    state:\n");
    let client = lab.client();
    client.wait_for_more(50);
    moves_and_is_killed(&lab.migrate(), 1);
    client.wait_for_more(50);
    // Both are started again while the old one follows.
    lab.restart_server(0);
    lab.restart_server(1);
    client.wait_for_more(50);
    let around = ["reverse", "hand-over", "fence", "seed", "prepare"];
    let killed = run_with_kills(&lab.migrate(), &["rollback", "redis-1"], |step| {
        around.iter().any(|word| step.ends_with(&format!("redis-{word}")))
    });
    assert_eq!(killed.len(), around.len(), "{killed:?}");
    client.wait_for_more(50);
    assert_eq!([lab.role(0), lab.role(1)], ["master", "master"]);
    assert_eq!(lab.ask(1, &["DBSIZE"]), "0", "the copy is gone");
    lab.assert_nothing_is_left();
    lab.edit_plan("    reverse: {until: commit}\n", "");
    lab.migrate().run(&["apply", "plan.yaml", "--yes"]).expect(0);
    client.wait_for_more(50);
    let acked = client.stop();
    assert_has_all(&acked, &lab.words(1));
    assert_eq!(acked.windows(2).filter(|two| two[0].1 != two[1].1).count(), 3, "old, new, old, new");
    assert_eq!([lab.role(0), lab.role(1)], ["slave", "master"]);
    assert!(lab.ask(0, &["ROLE"]).contains("127.0.0.1\n1\n"), "it follows nobody any more");
    lab.assert_nothing_is_left();
}

#[test]
fn a_server_that_is_not_proved_in_time_opens_again_and_goes_back_without_a_trace() {
    let lab = Lab::start();
    lab.edit_plan("freeze_within: 60s", "freeze_within: 1s");
    lab.instead_of_client(1, "[ \"${MIGRATE_VERB-}\" != reached ] || exit 1");
    let client = lab.client();
    client.wait_for_more(10);
    let held = lab.migrate().run(&["apply", "plan.yaml", "--yes"]);
    assert_ne!(held.code(), 0);
    assert!(held.stdout.contains("is closed for longer than 1 s"), "{}\n{}", held.stdout, held.stderr);
    // In service again, held, and still with its replica.
    client.wait_for_more(10);
    assert_eq!([lab.role(0), lab.role(1)], ["master", "slave"]);
    lab.migrate().run(&["rollback", "redis-1", "--yes"]).expect(0);
    client.wait_for_more(10);
    let acked = client.stop();
    let has = lab.words(0);
    assert!(acked.iter().all(|(word, host)| *host == 0 && has.contains(word)));
    assert_eq!([lab.role(0), lab.role(1)], ["master", "master"]);
    assert_eq!(lab.ask(1, &["DBSIZE"]), "0", "the copy is gone");
    lab.assert_nothing_is_left();
    lab.restart_server(0);
    assert_eq!(lab.role(0), "master", "a restart finds it open");
}

#[test]
fn what_speaks_against_a_server_is_told_before_anything_is_done() {
    let lab = Lab::open();
    lab.must(0, &["SELECT", "0"]);
    lab.must(0, &["ACL", "SETUSER", "app", "on", "nopass", "+@all"]);
    lab.must(1, &["SET", "mine", "1"]);
    lab.must(1, &["CONFIG", "SET", "maxmemory", "1000000"]);
    lab.must(1, &["CONFIG", "SET", "save", ""]);
    let plan = || lab.migrate().run(&["plan", "plan.yaml"]).stdout;
    let told = plan();
    for words in [
        "it is not empty",
        "its maxmemory is 1000000 bytes",
        "it keeps nothing on its disk",
        "it lacks the user app of the source",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert!(!told.contains("cannot be looked at"), "{told}");
    // A server that follows another, and one whose link leads elsewhere.
    let at = lab.servers[0];
    lab.must(1, &["FLUSHALL"]);
    lab.must(1, &["REPLICAOF", &at.ip().to_string(), &at.port().to_string()]);
    assert!(plan().contains("it follows another server already"));
    lab.must(1, &["REPLICAOF", "NO", "ONE"]);
    lab.edit_plan("from: {", &format!("from: {{address: {}, ", lab.servers[1].ip()));
    assert!(plan().contains("it does not get through to the source at"), "{}", plan());
}
