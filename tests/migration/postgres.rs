//! A cluster of PostgreSQL moves to its standby while clients write: real servers, made by the tests, each on its own address.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::lab::databases::client::assert_has_all;
use crate::lab::databases::cluster::{Lab, SECRET};
use crate::lab::databases::runs::{apply_with_kills, moves_and_is_killed, outcome, run_with_kills};

#[test]
fn a_cluster_moves_while_it_is_written_to_and_a_restart_in_the_freeze_leaves_a_reader() {
    let lab = Lab::start();
    let plan = lab.migrate().run(&["plan", "plan.yaml"]).expect(0);
    for words in [
        "gets PostgreSQL by physical replication: both sides have the same version",
        "old takes no writes any more",
        "is a point of no return",
        "max_slot_wal_keep_size is not set",
    ] {
        assert!(plan.stdout.contains(words), "{words}: {}", plan.stdout);
    }
    let client = lab.client();
    client.wait_for_more(20);
    let mut apply = lab.migrate().start(&["apply", "plan.yaml", "--yes", "--format", "json"]);
    apply.read_until(|line| outcome(line, "db/old/postgres-fence")).expect("the fence");
    // Its init system starts it again, in the middle of the freeze.
    lab.start_server(0);
    apply.finish().expect(0);
    client.wait_for_more(20);
    let acked = client.stop();
    println!("{} words acknowledged", acked.len());
    assert_eq!(lab.sql(0, "select pg_is_in_recovery()").unwrap(), "t", "it was left running, as a reader");
    lab.assert_moved(&acked);
}

#[test]
fn killed_around_its_freeze_a_cluster_still_moves_and_nothing_is_lost() {
    let lab = Lab::start();
    let client = lab.client();
    client.wait_for_more(10);
    let around = ["seed", "fence", "prove", "promote", "release"];
    let killed =
        apply_with_kills(&lab.migrate(), |step| around.iter().any(|word| step.ends_with(&format!("postgres-{word}"))));
    assert_eq!(killed.len(), around.len(), "{killed:?}");
    client.wait_for_more(10);
    lab.assert_moved(&client.stop());
}

#[test]
fn a_cluster_comes_back_killed_on_its_way_and_moves_again() {
    let lab = Lab::start();
    lab.edit_plan("    state:\n", "    reverse: {until: commit}\n    state:\n");
    let back = "        back: {user: replicator, passfile: \"{{ passfile }}\", sslmode: prefer}\n";
    lab.edit_plan("        role: postgres\n", &format!("{back}        role: postgres\n"));
    let client = lab.client();
    client.wait_for_more(10);
    moves_and_is_killed(&lab.migrate(), 1);
    client.wait_for_more(10);
    assert_eq!((lab.slots(0), lab.slots(1)), (0, 1), "the one that is followed keeps WAL, and no other");
    let around = ["reverse", "hand-over", "seed"];
    let killed = run_with_kills(&lab.migrate(), &["rollback", "pg-1"], |step| {
        around.iter().any(|word| step.ends_with(&format!("postgres-{word}")))
    });
    assert_eq!(killed.len(), around.len(), "{killed:?}");
    client.wait_for_more(10);
    assert!(!lab.data(1).exists() && lab.slots(0) == 0, "the copy is gone");
    assert_eq!(lab.sql(0, "show primary_conninfo").unwrap(), "");
    lab.edit_plan("    reverse: {until: commit}\n", "");
    lab.migrate().run(&["apply", "plan.yaml", "--yes"]).expect(0);
    client.wait_for_more(10);
    let acked = client.stop();
    assert_has_all(&acked, &lab.words(1));
    assert_eq!(acked.windows(2).filter(|two| two[0].1 != two[1].1).count(), 3, "old, new, old, new");
    assert!(lab.sql(0, "select 1").is_err(), "the old one is left stopped");
    lab.start_server(0);
    assert_eq!(lab.sql(0, "select pg_is_in_recovery()").unwrap(), "t");
    assert_eq!((lab.slots(0), lab.slots(1)), (0, 0), "slots are left");
    assert_eq!(lab.sql(0, "show primary_conninfo").unwrap(), "");
}

#[test]
fn a_target_that_dies_in_its_promote_holds_the_run_until_it_can_be_asked() {
    let lab = Lab::start();
    // It promotes, and is gone before it can say so: what it would be when it is started nobody has been told.
    lab.instead_of_psql("case $sql in *pg_sleep*) psql \"$@\" >/dev/null; kill_server; exit 2 ;; esac");
    let client = lab.client();
    client.wait_for_more(10);
    let held = lab.migrate().run(&["apply", "plan.yaml", "--yes"]);
    assert_ne!(held.code(), 0);
    assert!(held.stdout.contains("nobody can tell whether new takes writes"), "{}\n{}", held.stdout, held.stderr);
    assert!(lab.sql(0, "select 1").is_err(), "the source stays closed");
    let refused = lab.migrate().run(&["rollback", "pg-1", "--yes"]);
    assert_ne!(refused.code(), 0, "{}", refused.stdout);
    assert!([&refused.stdout, &refused.stderr].iter().any(|said| said.contains("no way back")), "{}", refused.stderr);
    lab.psql_again();
    lab.start_server(1);
    lab.migrate().run(&["apply", "plan.yaml", "--yes"]).expect(0);
    client.wait_for_more(10);
    lab.assert_moved(&client.stop());
}

#[test]
fn a_cluster_that_is_not_proved_in_time_opens_again_and_goes_back_without_a_slot() {
    let lab = Lab::start();
    lab.edit_plan("freeze_within: 60s", "freeze_within: 1s");
    lab.instead_of_psql("case $sql in *pg_last_wal_replay_lsn*) echo 'no answer' >&2; exit 2 ;; esac");
    let client = lab.client();
    client.wait_for_more(10);
    let held = lab.migrate().run(&["apply", "plan.yaml", "--yes"]);
    assert!(held.stdout.contains("is closed for longer than 1 s"), "{}\n{}", held.stdout, held.stderr);
    client.wait_for_more(10);
    assert_eq!(lab.sql(1, "select pg_is_in_recovery()").unwrap(), "t", "it follows on the same timeline");
    lab.migrate().run(&["rollback", "pg-1", "--yes"]).expect(0);
    client.wait_for_more(10);
    let acked = client.stop();
    let has = lab.words(0);
    assert!(acked.iter().all(|(word, host)| *host == 0 && has.contains(word)));
    assert_eq!(lab.slots(0), 0, "no slot is left");
    assert!(!lab.data(1).exists() && !lab.data(0).join("standby.signal").exists());
    lab.assert_no_secret(SECRET);
}

#[test]
fn what_speaks_against_a_cluster_is_told_before_anything_is_done() {
    let lab = Lab::start();
    lab.sql(0, "alter system set max_wal_senders = 1").unwrap();
    lab.stop_server(0);
    lab.start_server(0);
    fs::create_dir(lab.data(1)).unwrap();
    fs::write(lab.data(1).join("PG_VERSION"), "15\n").unwrap();
    fs::set_permissions(lab.place(1).join("passfile"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(lab.place(1).join("passfile"), "*:*:*:replicator:another\n").unwrap();
    let told = lab.migrate().run(&["plan", "plan.yaml"]).stdout;
    for words in [
        "1 of max_wal_senders are free, and 2 are needed",
        "there is a cluster in",
        "the source does not let it replicate",
        "password authentication failed",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
}
