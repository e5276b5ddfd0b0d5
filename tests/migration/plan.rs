//! `plan` never lies and never writes: what it shows is what `apply` does, or `apply` says why not.

use std::fs;

use super::migrate;
use super::moves::weights;
use crate::lab::fleet::{Fleet, Size, Storage};
use crate::lab::place::Place;
use crate::lab::tree::{self, Tree};

const SIZE: Size = Size { pairs: 2, common: 20, own: 10 };
const RAMP: &str = "plans/web.yaml";
const CUTOVER: &str = "plans/uploads.yaml";

/// Everything below the lab's root, but for the logs of its servers.
fn everything(fleet: &Fleet) -> Tree {
    let mut all = tree::read(fleet.place.root());
    // Trying takes a lock, which is in the controller's own state directory.
    all.retain(|path, _| !path.ends_with(".log") && !path.starts_with("state"));
    all
}

#[test]
fn plan_writes_nothing_anywhere_and_its_exit_status_says_whether_there_is_something_to_do() {
    let fleet = Fleet::behind_haproxy(Place::private(), SIZE, Storage::Own);
    let migrate = migrate(&fleet);
    let (before, traffic) = (everything(&fleet), weights(&fleet));
    for format in ["text", "json", "markdown"] {
        migrate.run(&["plan", CUTOVER, "--format", format]).expect(0);
    }
    migrate.run(&["plan", CUTOVER, "--detailed-exitcode"]).expect(2);
    migrate.run(&["validate", CUTOVER]).expect(0);
    let difference = tree::compare(&before, &everything(&fleet));
    assert!(difference.is_none(), "{difference:#?}");
    assert_eq!(traffic, weights(&fleet));
}

#[test]
fn plan_says_of_every_tree_how_changes_will_be_found() {
    let fleet = Fleet::behind_haproxy(Place::private(), SIZE, Storage::Own);
    let plan = migrate(&fleet).run(&["plan", CUTOVER, "--verbose"]).expect(0);
    let told = |line: &&str| line.contains("[watched]") || line.contains("[swept: ");
    assert_eq!(
        plan.stdout.lines().filter(told).count(),
        3 * SIZE.pairs,
        "both catch-ups and the last pass:\n{}",
        plan.stdout
    );
    assert!(plan.stdout.contains("both find every change"), "{}", plan.stdout);
    let markdown = migrate(&fleet).run(&["plan", CUTOVER, "--format", "markdown"]).expect(0);
    let told = |line: &&str| line.contains("| watched |") || line.contains("| swept: ");
    assert_eq!(markdown.stdout.lines().filter(told).count(), 3 * SIZE.pairs, "{}", markdown.stdout);
}

#[test]
fn plan_says_in_what_the_hosts_of_a_pair_are_alike_and_what_of_the_rest_is_meant() {
    let fleet = Fleet::behind_haproxy(Place::private(), SIZE, Storage::Own);
    let parity = "    parity:\n      sysctls: kernel.ostype\n      packages: [openssh-server, no-such]\n      waive: {of: no-such, until: 2999-12-31, why: it comes later}\n    hooks:";
    fleet.place.edit(CUTOVER, "    hooks:", parity);
    let said = migrate(&fleet).run(&["plan", CUTOVER]).expect(0).stdout;
    let alike = "alike in cores, memory, os, kernel, timezone, files, processes, kernel.ostype and openssh-server";
    assert!(said.contains(alike), "{said}");
    assert!(said.contains("no-such is on neither: meant until 2999-12-31: it comes later"), "{said}");
    fleet.place.edit(CUTOVER, "2999-12-31", "2001-01-01");
    let said = migrate(&fleet).run(&["plan", CUTOVER]).expect(0).stdout;
    assert!(said.contains("no-such is on neither: it was meant until 2001-01-01, and that day is over"), "{said}");
    fleet.place.edit(CUTOVER, "of: no-such", "of: colour");
    let said = migrate(&fleet).run(&["validate", CUTOVER]).expect(1);
    assert!(format!("{}{}", said.stdout, said.stderr).contains("`colour` is not compared"));
}

#[test]
fn plan_offline_and_validate_contact_nothing() {
    let mut fleet = Fleet::behind_haproxy(Place::private(), SIZE, Storage::Own);
    for host in fleet.sources.iter_mut().chain(&mut fleet.targets) {
        host.sshd.stop();
        host.service.stop();
    }
    fs::remove_file(fleet.place.root().join("haproxy.sock")).unwrap();
    migrate(&fleet).run(&["validate", CUTOVER]).expect(0);
    let offline = migrate(&fleet).run(&["plan", CUTOVER, "--offline"]).expect(0);
    let verified = offline.stdout.lines().any(|line| line.starts_with("    ✓"));
    assert!(!verified, "says that it has seen what it cannot have seen:\n{}", offline.stdout);
    migrate(&fleet).run(&["plan", CUTOVER]).expect(1);
}

#[test]
fn a_saved_plan_does_what_it_says_and_is_refused_when_the_world_has_changed() {
    let fleet = Fleet::behind_haproxy(Place::private(), SIZE, Storage::Shared);
    fleet.place.edit(RAMP, "hold: 2s", "hold: 100ms");
    let migrate = migrate(&fleet);
    migrate.run(&["plan", RAMP, "--out", "web.plan"]).expect(0);

    fleet.haproxy().command("set weight uploads/dal-2 60");
    let (before, traffic) = (everything(&fleet), weights(&fleet));
    let refused = migrate.run(&["apply", "web.plan", "--yes"]).expect(1);
    assert!(refused.stderr.contains("changed since"), "{}", refused.stderr);
    assert!(refused.stderr.contains("dal-2") && refused.stderr.contains("60"), "{}", refused.stderr);
    assert_eq!(traffic, weights(&fleet));
    let mut after = everything(&fleet);
    // Two controllers must not find that they may at the same moment.
    after.retain(|path, _| !path.starts_with("state/locks/"));
    let difference = tree::compare(&before, &after);
    assert!(difference.is_none(), "{difference:#?}");

    fleet.haproxy().command("set weight uploads/dal-2 100");
    migrate.run(&["apply", "web.plan", "--yes"]).expect(0);
    for target in &fleet.targets {
        let weight = fleet.haproxy().command(&format!("get weight uploads/{}", target.name));
        assert!(weight.starts_with("100 "), "{weight}");
    }
    migrate.run(&["plan", RAMP, "--detailed-exitcode"]).expect(0);
}

#[test]
fn a_saved_plan_is_refused_when_its_files_have_been_edited() {
    let fleet = Fleet::behind_haproxy(Place::private(), SIZE, Storage::Shared);
    let migrate = migrate(&fleet);
    migrate.run(&["plan", RAMP, "--out", "web.plan"]).expect(0);
    fleet.place.edit(RAMP, "hold: 2s", "hold: 3s");
    let traffic = weights(&fleet);
    let refused = migrate.run(&["apply", "web.plan", "--yes"]).expect(1);
    assert!(refused.stderr.contains("plans/web.yaml has been edited"), "{}", refused.stderr);
    assert_eq!(traffic, weights(&fleet));
}

#[test]
fn without_a_terminal_nothing_is_applied_unasked() {
    let fleet = Fleet::behind_haproxy(Place::private(), SIZE, Storage::Shared);
    let traffic = weights(&fleet);
    let ended = migrate(&fleet).run(&["apply", RAMP]).expect(1);
    assert!(ended.stderr.contains("--yes"), "{}", ended.stderr);
    assert_eq!(traffic, weights(&fleet));
}

#[test]
fn plan_that_probes_tries_the_agent_on_every_host_and_leaves_nothing_behind() {
    let fleet = Fleet::behind_haproxy(Place::private(), SIZE, Storage::Own);
    let before = everything(&fleet);
    let read = migrate(&fleet).run(&["plan", CUTOVER]).expect(0);
    assert!(read.stdout.contains("~ probe") && !read.stdout.contains("✓ probe"), "{}", read.stdout);
    let tried = migrate(&fleet).run(&["plan", CUTOVER, "--probe"]).expect(0);
    assert!(tried.stdout.contains("✓ probe") && tried.stdout.contains("it has started there"), "{}", tried.stdout);
    let difference = tree::compare(&before, &everything(&fleet));
    assert!(difference.is_none(), "{difference:#?}");
}

#[test]
fn a_work_directory_from_which_nothing_may_run_is_found_by_reading() {
    let mut fleet = Fleet::behind_haproxy(Place::private(), SIZE, Storage::Own);
    let work = fleet.targets[0].sshd.home().join(".migrate");
    fs::create_dir(&work).unwrap();
    assert!(fleet.targets[0].sshd.mount_small(&work, "size=1m,noexec"), "this test needs mounts");
    let refused = migrate(&fleet).run(&["plan", CUTOVER]).expect(1);
    let said = ["cannot have the copy agent", "noexec", "set `work_dir` of the host"];
    assert!(said.iter().all(|word| refused.stdout.contains(word)), "{}", refused.stdout);
}

/// What is named like a program of the host, and does not do what it should.
fn break_program(fleet: &mut Fleet, name: &str) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let bin = fleet.targets[1].sshd.home().join("bin");
    fs::create_dir(&bin).unwrap();
    fs::write(bin.join(name), "#!/bin/sh\nexit 1\n").unwrap();
    fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    fleet.targets[1].sshd.before_every_command(&format!("PATH={}:$PATH", bin.display()));
    bin.join(name)
}

#[test]
fn an_agent_that_does_not_start_holds_the_wave_before_its_first_effect() {
    let mut fleet = Fleet::behind_haproxy(Place::private(), SIZE, Storage::Own);
    let broken = break_program(&mut fleet, "chmod");
    let name = fleet.targets[1].name.clone();
    let (traffic, data) = (weights(&fleet), everything(&fleet));
    let probed = migrate(&fleet).run(&["plan", CUTOVER, "--probe"]).expect(1);
    let why = format!("{name}: cannot have the copy agent: cannot prepare the host");
    assert!(probed.stdout.contains(&why), "{}", probed.stdout);
    let held = migrate(&fleet).run(&["apply", CUTOVER, "--yes"]).expect(3);
    assert!(held.stdout.contains("/probe") && held.stdout.contains("cannot prepare the host"), "{}", held.stdout);
    assert_eq!(traffic, weights(&fleet));
    // Of what serves nothing has changed, on any host.
    let mut now = everything(&fleet);
    now.retain(|path, _| !path.contains("/.migrate"));
    let difference = tree::compare(&data, &now);
    assert!(difference.is_none(), "{difference:#?}");

    let back = migrate(&fleet).run(&["rollback", "uploads", "--yes"]);
    assert_eq!(back.code(), 0, "{}{}", back.stdout, back.stderr);
    let difference = tree::compare(&data, &everything(&fleet));
    assert!(difference.is_none(), "an agent has stayed: {difference:#?}");
    fs::remove_file(broken).unwrap();
    migrate(&fleet).run(&["plan", CUTOVER, "--probe"]).expect(0);
}
