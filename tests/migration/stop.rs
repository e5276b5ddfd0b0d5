//! Ctrl-C: once stops where nothing is half done, twice at once; either way `apply` goes on.

use super::{assert_kept, migrate};
use crate::lab::command::Running;
use crate::lab::fleet::{Fleet, Size, Storage};
use crate::lab::place::Place;
use crate::lab::service::Mode;

const SIZE: Size = Size { pairs: 2, common: 100, own: 50 };
const USERS: usize = 16;

/// Reads on until a step has begun.
fn wait_for(apply: &mut Running, step: &str) {
    let begun = apply.read_until(|line| line.contains("\"intent\"") && line.contains(&format!("\"{step}\"")));
    assert!(begun.is_some(), "it ended before {step}");
}

#[test]
fn once_stops_a_ramp_between_two_steps_and_apply_goes_on() {
    let fleet = Fleet::behind_haproxy(Place::private(), SIZE, Storage::Shared);
    fleet.place.edit("plans/web.yaml", "[5%, 25%, 50%, 100%], hold: 2s", "[25%, 50%, 100%], hold: 1h");
    let load = fleet.load(USERS);
    let mut apply = migrate(&fleet).start(&["apply", "plans/web.yaml", "--yes", "--format", "json"]);
    wait_for(&mut apply, "web/watch-25");
    apply.signal("INT");
    let ended = apply.finish().expect(3);
    assert!(ended.stderr.contains("safe point"), "{}", ended.stderr);
    let status = migrate(&fleet).run(&["status", "web"]).expect(0);
    assert!(status.stdout.contains("stopped"), "{}", status.stdout);
    assert!(fleet.haproxy().command("get weight uploads/fra-1").starts_with("25 "));
    migrate(&fleet).run(&["set", "web", "hold=200ms"]).expect(0);
    migrate(&fleet).run(&["apply", "plans/web.yaml", "--yes"]).expect(0);
    assert_kept(&fleet, &load.stop());
}

#[test]
fn once_in_the_freeze_stops_only_when_the_target_serves() {
    let fleet = Fleet::behind_haproxy(Place::private(), SIZE, Storage::Own);
    // It cannot come to the next pair, however late the signal is.
    fleet.place.edit("plans/uploads.yaml", "hold: 2s", "hold: 1h");
    let load = fleet.load(USERS);
    let mut apply = migrate(&fleet).start(&["apply", "plans/uploads.yaml", "--yes", "--format", "json"]);
    wait_for(&mut apply, "uploads/dal-1/last-pass");
    apply.signal("INT");
    apply.finish().expect(3);
    assert_eq!(fleet.targets[0].service.mode(), Mode::Serving, "the pair was left frozen");
    assert!(!fleet.haproxy().command("get weight uploads/fra-1").starts_with("0 "), "the target has no traffic");
    assert_eq!(fleet.sources[1].service.mode(), Mode::Serving, "the next pair was begun");
    migrate(&fleet).run(&["set", "uploads", "hold=200ms"]).expect(0);
    migrate(&fleet).run(&["apply", "plans/uploads.yaml", "--yes"]).expect(0);
    assert_kept(&fleet, &load.stop());
}

#[test]
fn twice_ends_at_once_and_apply_goes_on() {
    let fleet = Fleet::behind_haproxy(Place::private(), SIZE, Storage::Shared);
    // A command that is under way is waited for, unless there is no time for that.
    let hook = "hooks: {at: before_pair, run: \"test -e {{ lab }}/go || sleep 50\", idempotent: true}\n    drain:";
    fleet.place.edit("plans/web.yaml", "drain:", hook);
    fleet.place.edit("plans/web.yaml", "hold: 2s", "hold: 200ms");
    let load = fleet.load(USERS);
    let mut apply = migrate(&fleet).start(&["apply", "plans/web.yaml", "--yes", "--format", "json"]);
    wait_for(&mut apply, "web/dal-1/before_pair");
    apply.signal("INT");
    apply.read_errors_until("safe point");
    apply.signal("INT");
    apply.finish().expect(130);
    std::fs::write(fleet.place.root().join("go"), "").unwrap();
    migrate(&fleet).run(&["apply", "plans/web.yaml", "--yes"]).expect(0);
    assert_kept(&fleet, &load.stop());
}
