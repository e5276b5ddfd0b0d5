//! Databases of PostgreSQL move row by row to a cluster of its own while clients write, and come back: real servers, made by the tests.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::lab::databases::client::{assert_handed_over, assert_has_all};
use crate::lab::databases::cluster::{Lab, SECRET, programs_of_17, server_programs};
use crate::lab::databases::logical::{self, HBA, app, client, start, words};
use crate::lab::databases::runs::{apply_with_kills, moves_and_is_killed, outcome, run_with_kills};

/// No publication, subscription, slot or schema of the move, and tables as they were.
#[track_caller]
fn assert_nothing_is_left(lab: &Lab, host: usize) {
    let left = "select (select count(*) from pg_publication) + (select count(*) from pg_subscription) + (select count(*) from \
                pg_replication_slots) + (select count(*) from pg_namespace where nspname like 'migrate%') + (select count(*) from pg_class \
                where relreplident = 'f')";
    assert_eq!(app(lab, host, left), "0");
    lab.assert_no_secret(SECRET);
}

/// The new one takes writes and goes on counting where the old one was, which takes nobody in, whatever starts it.
#[track_caller]
fn assert_moved(lab: &Lab) {
    assert_eq!(app(lab, 1, "select count(*) from bulk"), "5000");
    assert_eq!(app(lab, 1, "insert into \"Odd One\".\"a table\" default values returning id"), "42");
    assert_eq!(fs::read_to_string(lab.data(1).join("pg_hba.conf")).unwrap(), HBA);
    assert_eq!(app(lab, 1, "show default_transaction_read_only"), "off");
    for host in [0, 1] {
        assert_nothing_is_left(lab, host);
    }
    lab.stop_server(0);
    lab.start_server(0);
    let refused = lab.login(0).query("app", "app", "select 1").unwrap_err();
    assert!(refused.contains("pg_hba.conf rejects connection"), "{refused}");
}

#[test]
fn databases_move_to_another_version_while_they_are_written_to_and_a_restart_in_the_freeze_leaves_them_closed() {
    let lab = start();
    // There is one version of PostgreSQL here: the target says that it has another one, and so the way is chosen.
    let postgres = lab.programs(1).join("postgres");
    fs::remove_file(&postgres).unwrap();
    fs::write(&postgres, "#!/bin/sh\necho 'postgres (PostgreSQL) 17.2'\n").unwrap();
    fs::set_permissions(&postgres, fs::Permissions::from_mode(0o755)).unwrap();
    lab.edit_plan("        method: logical\n", "");
    let plan = lab.migrate().run(&["plan", "plan.yaml"]).expect(0);
    for words in [
        "gets PostgreSQL by logical replication: has PostgreSQL 17 and old has 15",
        "app has 1 unlogged tables, which arrive empty",
        "app has 1 materialized views, which arrive empty",
        "app has 1 tables without a replica identity",
        "changes to the tables of app are not carried",
    ] {
        assert!(plan.stdout.contains(words), "{words}: {}", plan.stdout);
    }
    let client = client(&lab);
    client.wait_for_more(20);
    let mut apply = lab.migrate().start(&["apply", "plan.yaml", "--yes", "--format", "json"]);
    apply.read_until(|line| outcome(line, "db/old/postgres-fence")).expect("the fence");
    // Its init system starts it again, in the middle of the freeze.
    lab.stop_server(0);
    lab.start_server(0);
    apply.finish().expect(0);
    client.wait_for_more(20);
    let acked = client.stop();
    println!("{} words acknowledged", acked.len());
    assert_handed_over(&acked, &words(&lab, 1));
    assert_moved(&lab);
}

#[test]
fn databases_move_from_version_15_to_17_and_back_and_there_again() {
    let lab = logical::fill(Lab::of_versions(|root| [server_programs(), programs_of_17(root)]), "");
    lab.edit_plan("        method: logical\n", "");
    lab.edit_plan("    state:\n", "    reverse: {until: commit}\n    state:\n");
    let plan = lab.migrate().run(&["plan", "plan.yaml"]).expect(0);
    let told = "gets PostgreSQL by logical replication: has PostgreSQL 17 and old has 15";
    assert!(plan.stdout.contains(told), "{}", plan.stdout);
    assert!(
        app(&lab, 0, "show server_version").starts_with("15.")
            && lab.sql(1, "show server_version").unwrap().starts_with("17.")
    );
    let client = client(&lab);
    client.wait_for_more(10);
    moves_and_is_killed(&lab.migrate(), 1);
    client.wait_for_more(10);
    app(&lab, 1, "update bulk set md5 = 'there' where n = 7");
    app(&lab, 1, "insert into \"Odd One\".\"a table\" default values");
    lab.migrate().run(&["rollback", "rows-1", "--yes"]).expect(0);
    client.wait_for_more(10);
    assert_eq!(app(&lab, 0, "select md5 from bulk where n = 7"), "there");
    assert_eq!(app(&lab, 0, "select last_value from \"Odd One\".\"a table_id_seq\""), "42");
    assert_nothing_is_left(&lab, 0);
    app(&lab, 0, "delete from \"Odd One\".\"a table\" where id = 42");
    app(&lab, 0, "select setval('\"Odd One\".\"a table_id_seq\"', 41)");
    lab.edit_plan("    reverse: {until: commit}\n", "");
    lab.migrate().run(&["apply", "plan.yaml", "--yes"]).expect(0);
    client.wait_for_more(10);
    let acked = client.stop();
    println!("{} words acknowledged", acked.len());
    assert_has_all(&acked, &words(&lab, 1));
    assert_moved(&lab);
}

#[test]
fn databases_come_back_killed_on_their_way_and_move_again_killed_around_the_freeze() {
    let lab = start();
    lab.edit_plan("    state:\n", "    reverse: {until: commit}\n    state:\n");
    let client = client(&lab);
    client.wait_for_more(10);
    moves_and_is_killed(&lab.migrate(), 1);
    client.wait_for_more(10);
    assert_eq!([lab.slots(0), lab.slots(1)], [0, 1], "the one that is followed keeps WAL, and no other");
    // The old one follows also where nobody can tell rows apart, and counts on from where the new one was.
    app(&lab, 1, "update bulk set md5 = 'there' where n = 7");
    app(&lab, 1, "insert into \"Odd One\".\"a table\" default values");
    let around = ["reverse", "hand-over", "seed", "prepare"];
    let killed = run_with_kills(&lab.migrate(), &["rollback", "rows-1"], |step| {
        around.iter().any(|word| step.ends_with(&format!("postgres-{word}")))
    });
    assert_eq!(killed.len(), around.len(), "{killed:?}");
    client.wait_for_more(10);
    assert_eq!(app(&lab, 0, "select md5 from bulk where n = 7"), "there");
    assert_eq!(app(&lab, 0, "select last_value from \"Odd One\".\"a table_id_seq\""), "42");
    assert_eq!(lab.sql(1, "select count(*) from pg_database where datname = 'app'").unwrap(), "0", "the copy is gone");
    for host in [0, 1] {
        assert_eq!(fs::read_to_string(lab.data(host).join("pg_hba.conf")).unwrap(), HBA);
    }
    assert_nothing_is_left(&lab, 0);
    app(&lab, 0, "select setval('\"Odd One\".\"a table_id_seq\"', 41)");
    lab.edit_plan("    reverse: {until: commit}\n", "");
    let around = ["seed", "fence", "prove", "promote", "release"];
    let killed =
        apply_with_kills(&lab.migrate(), |step| around.iter().any(|word| step.ends_with(&format!("postgres-{word}"))));
    assert_eq!(killed.len(), around.len(), "{killed:?}");
    client.wait_for_more(10);
    let acked = client.stop();
    println!("{} words acknowledged", acked.len());
    assert_has_all(&acked, &words(&lab, 1));
    assert_eq!(acked.windows(2).filter(|two| two[0].1 != two[1].1).count(), 3, "old, new, old, new");
    app(&lab, 1, "delete from \"Odd One\".\"a table\" where id = 42");
    assert_moved(&lab);
}

#[test]
fn a_row_that_the_target_lacks_is_found_while_the_source_serves_and_everything_goes_back() {
    let lab = start();
    let delete = "PGOPTIONS='-c default_transaction_read_only=off' {{ bin }}/psql -h {{ dir }} -p {{ port }} -U postgres -d app -c 'delete from bulk where n = 7'";
    let hook = format!("      - {{at: after_seed, on: target, run: \"{delete}\", undo: none}}\n");
    lab.edit_plan("    hooks:\n", &format!("    hooks:\n{hook}"));
    let client = client(&lab);
    client.wait_for_more(10);
    let held = lab.migrate().run(&["apply", "plan.yaml", "--yes"]);
    assert_ne!(held.code(), 0);
    let told = "1 rows of public.bulk in app differ, and nobody is changing them";
    assert!(held.stdout.contains(told), "{}\n{}", held.stdout, held.stderr);
    assert!(!held.stdout.contains("postgres-fence: "), "{}", held.stdout);
    // A table that is new on one side is found before the freeze, too.
    app(&lab, 0, "create table later(n int primary key)");
    let held = lab.migrate().run(&["apply", "plan.yaml", "--yes"]);
    assert!(held.stdout.contains("the tables of app are not the same on both sides"), "{}", held.stdout);
    client.wait_for_more(10);
    lab.migrate().run(&["rollback", "rows-1", "--yes"]).expect(0);
    client.wait_for_more(10);
    let acked = client.stop();
    let has = words(&lab, 0);
    assert!(acked.iter().all(|(word, host)| *host == 0 && has.contains(word)));
    assert_nothing_is_left(&lab, 0);
    assert_eq!(lab.sql(1, "select count(*) from pg_database where datname = 'app'").unwrap(), "0", "the copy is gone");
    assert_eq!(fs::read_to_string(lab.data(1).join("pg_hba.conf")).unwrap(), HBA);
}

#[test]
fn what_speaks_against_databases_is_told_before_anything_is_done() {
    let lab = start();
    app(&lab, 0, "create table shapes(n int, shape json)");
    app(&lab, 0, "select lo_create(0)");
    lab.sql(0, "alter system set wal_level = replica").unwrap();
    lab.sql(0, "revoke pg_read_all_data from replicator").unwrap();
    lab.sql(0, "create database another").unwrap();
    lab.stop_server(0);
    lab.start_server(0);
    lab.sql(1, "create database app").unwrap();
    lab.sql(1, "drop role app").unwrap();
    let told = |words: &[&str]| {
        let told = lab.migrate().run(&["plan", "plan.yaml"]).stdout;
        for words in words {
            assert!(told.contains(words), "{words}: {told}");
        }
    };
    told(&[
        "wal_level is replica: set it to logical",
        "rows cannot be told apart, for the types of their columns: public.shapes",
        "app has 1 large objects, which do not move",
        "the database another is not named",
        "replicator may not read",
        "it has a database app already",
        "lacks roles that own what moves, or may use it: app",
    ]);
    fs::write(lab.place(1).join("passfile"), "*:*:*:replicator:another\n").unwrap();
    told(&["the source does not let it into app", "password authentication failed"]);
    assert_eq!(lab.slots(0), 0);
    let plan = |from, to| {
        lab.edit_plan(from, to);
        lab.migrate().run(&["plan", "plan.yaml"]).stderr
    };
    let refused = plan("        databases: [app]\n", "");
    assert!(refused.contains("plan.yaml:") && refused.contains("databases"), "{refused}");
    let refused = plan("        method: logical\n", "        method: physical\n");
    assert!(refused.contains("`verify` is for what moves by logical replication"), "{refused}");
}
