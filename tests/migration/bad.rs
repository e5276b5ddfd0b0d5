//! Bad situations: nothing is changed, and the message says what to do.

use std::fs;

use super::moves::weights;
use super::{assert_kept, migrate};
use crate::lab::fleet::{BACKEND, Director, Fleet, Size, Storage};
use crate::lab::place::Place;
use crate::lab::service::Mode;
use crate::lab::sshd;
use crate::lab::tree::Tree;

const SIZE: Size = Size { pairs: 2, common: 20, own: 10 };
const PLAN: &str = "plans/uploads.yaml";
const DNS: &str = "plans/uploads-dns.yaml";

fn haproxy() -> Fleet {
    Fleet::behind_haproxy(Place::private(), SIZE, Storage::Own)
}

/// Everything that a refused plan must leave as it is.
#[derive(PartialEq)]
struct World {
    traffic: String,
    trees: Vec<Tree>,
    modes: Vec<String>,
}

fn world(fleet: &Fleet) -> World {
    let hosts = || fleet.sources.iter().chain(&fleet.targets);
    World {
        traffic: weights(fleet),
        trees: hosts().map(|h| h.tree()).collect(),
        modes: hosts().map(|h| h.service.mode().name().to_owned()).collect(),
    }
}

/// Both `plan` and `apply` refuse, say these words, and change nothing.
#[track_caller]
fn refuses(fleet: &Fleet, plan: &str, words: &[&str]) {
    let before = world(fleet);
    for args in [["plan", plan].as_slice(), &["apply", plan, "--yes"]] {
        let ended = migrate(fleet).run(args);
        let said = format!("{}\n{}", ended.stdout, ended.stderr);
        assert_eq!(ended.code(), 1, "{args:?} ended otherwise and said:\n{said}");
        for word in words {
            assert!(said.contains(word), "{args:?} does not say {word:?}:\n{said}");
        }
    }
    assert!(before == world(fleet), "something has changed");
    assert!(!migrate(fleet).state_dir().join("runs").exists(), "a run was begun");
}

#[test]
fn an_unknown_host_key() {
    let fleet = haproxy();
    let file = fleet.place.root().join("known_hosts");
    let known = fs::read_to_string(&file).unwrap();
    let others: String = known.lines().filter(|l| !l.starts_with(&fleet.host("dal-1").sshd.known_name())).collect();
    fs::write(&file, others).unwrap();
    refuses(&fleet, PLAN, &["dal-1", "known_hosts"]);
}

#[test]
fn a_changed_host_key() {
    let fleet = haproxy();
    let file = fleet.place.root().join("known_hosts");
    let (one, two) = (&fleet.host("dal-1").sshd, &fleet.host("fra-1").sshd);
    let other_key = sshd::public(&two.host_key());
    let known = fs::read_to_string(&file).unwrap().replace(&sshd::public(&one.host_key()), &other_key);
    fs::write(&file, known).unwrap();
    refuses(&fleet, PLAN, &["dal-1", "offers another key than the known one"]);
}

#[test]
fn a_refused_login() {
    let fleet = haproxy();
    fs::write(fleet.host("fra-1").sshd.home().join(".ssh/authorized_keys"), "").unwrap();
    refuses(&fleet, PLAN, &["fra-1", "key"]);
}

#[test]
fn a_host_that_cannot_be_reached() {
    let mut fleet = haproxy();
    fleet.targets[0].sshd.stop();
    refuses(&fleet, PLAN, &["fra-1", "refused"]);
}

#[test]
fn no_haproxy_socket() {
    let fleet = haproxy();
    fs::remove_file(fleet.place.root().join("haproxy.sock")).unwrap();
    refuses(&fleet, PLAN, &["front", "haproxy.sock"]);
}

#[test]
fn a_haproxy_socket_without_admin_level() {
    let fleet = haproxy();
    let socket = fleet.place.root().join("haproxy.sock");
    fs::remove_file(&socket).unwrap();
    std::os::unix::fs::symlink(&fleet.haproxy().operator, &socket).unwrap();
    refuses(&fleet, PLAN, &["front", "level admin"]);
}

#[test]
fn an_unknown_backend() {
    let fleet = haproxy();
    fleet.place.edit(PLAN, "pool: uploads", "pool: downloads");
    refuses(&fleet, PLAN, &["downloads", "backend"]);
}

#[test]
fn a_member_that_the_backend_does_not_have() {
    let fleet = haproxy();
    fleet.place.edit(PLAN, "pool: uploads", "pool: uploads, member: \"srv-{{ name }}\"");
    refuses(&fleet, PLAN, &["srv-dal-1", "dal-1"]);
}

#[test]
fn a_source_directory_that_is_missing() {
    let fleet = haproxy();
    fs::rename(fleet.host("dal-2").root.join("data"), fleet.host("dal-2").root.join("elsewhere")).unwrap();
    refuses(&fleet, PLAN, &["dal-2", "uploads/data", "not there"]);
}

#[test]
fn a_state_directory_that_cannot_be_written() {
    let fleet = haproxy();
    fs::write(migrate(&fleet).state_dir(), "not a directory").unwrap();
    let before = world(&fleet);
    let ended = migrate(&fleet).run(&["apply", PLAN, "--yes"]).expect(1);
    assert!(ended.stderr.contains("state"), "{}", ended.stderr);
    assert!(ended.stderr.contains("--state-dir"), "{}", ended.stderr);
    assert!(before == world(&fleet), "something has changed");
}

/// Nothing but a write shows these, so the run begins, is held, and traffic has not moved.
#[track_caller]
fn holds_before_any_traffic_moves(fleet: &Fleet, plan: &str, words: &[&str]) {
    let before = world(fleet);
    let load = fleet.load(8);
    load.wait_for(50);
    let ended = migrate(fleet).run(&["apply", plan, "--yes"]).expect(3);
    let said = format!("{}\n{}", ended.stdout, ended.stderr);
    for word in words.iter().chain(&["migrate apply"]) {
        assert!(said.contains(word), "does not say {word:?}:\n{said}");
    }
    load.wait_for(load.requests() + 50);
    let report = load.stop();
    assert_eq!(report.failed, 0, "{:?}", report.failures);
    let after = world(fleet);
    assert_eq!(before.traffic, after.traffic);
    assert_eq!(before.modes, after.modes);
    for host in &fleet.targets {
        assert!(report.uploads.iter().all(|u| u.host != host.name), "{} got traffic", host.name);
    }
    let status = migrate(fleet).run(&["status"]).expect(0);
    assert!(status.stdout.contains("held"), "{}", status.stdout);
}

fn dns() -> Fleet {
    Fleet::behind_dns(Place::private(), SIZE, Storage::Own, 2)
}

#[test]
fn a_bad_tsig_key() {
    let fleet = dns();
    fs::write(fleet.place.root().join("tsig.key"), "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n").unwrap();
    refuses(&fleet, DNS, &["zone", "BADSIG", "compare the secret"]);
}

#[test]
fn a_frozen_zone() {
    let fleet = dns();
    let Director::Dns { primary, .. } = &fleet.director else { panic!("no DNS") };
    primary.rndc(&["freeze", crate::lab::fleet::ZONE]);
    refuses(&fleet, DNS, &["zone", "REFUSED", "rndc thaw"]);
}

/// Lets everything that comes to the first target by SSH find a small file system at `dir`; `None` where that cannot be had.
fn with_little_room(fleet: &mut Fleet, dir: &str, limit: &str) -> Option<()> {
    let host = &mut fleet.targets[0];
    let mounted = host.sshd.mount_small(&host.root.join(dir), limit);
    if !mounted {
        eprintln!("not tried: this user may not mount anything, not even for itself");
    }
    mounted.then_some(())
}

#[test]
fn a_target_that_is_too_small() {
    let mut fleet = haproxy();
    fs::remove_dir(fleet.targets[0].root.join("data")).unwrap();
    fs::create_dir(fleet.targets[0].root.join("volume")).unwrap();
    let to = "{from: \"{{ lab }}/{{ name }}/uploads/data\", to: \"{{ lab }}/{{ name }}/uploads/volume/data\"}";
    fleet.place.edit(PLAN, "\"{{ lab }}/{{ name }}/uploads/data\"", to);
    for target in &fleet.targets {
        fs::create_dir_all(target.root.join("volume")).unwrap();
    }
    if with_little_room(&mut fleet, "volume", "size=256k").is_some() {
        refuses(&fleet, PLAN, &["fra-1", "free", "make room"]);
    }
}

#[test]
fn a_target_whose_disk_is_full() {
    let mut fleet = haproxy();
    if with_little_room(&mut fleet, "data", "size=256k").is_some() {
        holds_before_any_traffic_moves(&fleet, PLAN, &["fra-1", "has room for 256.0 KiB", "free space there"]);
    }
}

#[test]
fn a_target_with_room_for_the_bytes_but_not_for_so_many_files() {
    let mut fleet = haproxy();
    if with_little_room(&mut fleet, "data", "size=64m,nr_inodes=20").is_some() {
        holds_before_any_traffic_moves(&fleet, PLAN, &["fra-1", "inodes", "free space there"]);
    }
}

#[test]
fn a_target_that_fails_its_check_before_a_ramp() {
    let fleet = Fleet::behind_haproxy(Place::private(), SIZE, Storage::Shared);
    fleet.place.edit("plans/web.yaml", "body: ok, interval: 200ms", "body: ok, interval: 50ms, within: 1s");
    fleet.targets[1].service.set_mode(Mode::Sick);
    holds_before_any_traffic_moves(&fleet, "plans/web.yaml", &["fra-2", "503"]);
    // Mended, it goes on where it stopped.
    fleet.targets[1].service.set_mode(Mode::Serving);
    migrate(&fleet).run(&["apply", "plans/web.yaml", "--yes"]).expect(0);
}

#[test]
fn a_target_that_fails_its_check_at_a_cutover_gets_no_traffic_until_it_is_mended() {
    let fleet = haproxy();
    let check = "{http: \"http://{{ address }}:7080/health\", body: ok, interval: 200ms}";
    fleet.place.edit(PLAN, check, "{exec: \"test -e {{ lab }}/approved\", interval: 50ms, within: 1s}");
    let load = fleet.load(8);
    let ended = migrate(&fleet).run(&["apply", PLAN, "--yes"]).expect(3);
    assert!(ended.stdout.contains("approved"), "{}", ended.stdout);
    for target in &fleet.targets {
        let weight = fleet.haproxy().command(&format!("get weight {BACKEND}/{}", target.name));
        assert!(weight.starts_with("0 "), "{} has weight {weight}", target.name);
    }
    // Only the first pair is out of service, and users have not noticed.
    assert_eq!(fleet.sources[0].service.mode(), Mode::Frozen);
    assert_eq!(fleet.sources[1].service.mode(), Mode::Serving);
    fs::write(fleet.place.root().join("approved"), "").unwrap();
    migrate(&fleet).run(&["apply", PLAN, "--yes"]).expect(0);
    assert_kept(&fleet, &load.stop());
}
