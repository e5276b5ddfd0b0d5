//! Both sides are compared while the source lives: what is wrong is mended then, and the freeze reads only what changed since.

use serde_json::Value;

use super::{assert_kept, migrate};
use crate::lab::fleet::{Fleet, Size, Storage};
use crate::lab::place::Place;

const SIZE: Size = Size { pairs: 2, common: 200, own: 100 };
const PLAN: &str = "plans/uploads.yaml";

/// Other content, with the size and the time that it had.
const DAMAGE: &str = "    hooks:
      - at: after_seed
        on: target
        idempotent: true
        undo: none
        run: |
          cd {{ lab }}/{{ name }}/uploads/data/common
          file=$(ls */*.bin | head -n 1)
          time=$(stat -c %y \"$file\")
          printf damaged | dd of=\"$file\" conv=notrunc status=none
          touch -d \"$time\" \"$file\"
";

/// What a step said when it was done.
fn said(events: &str, step: &str) -> String {
    let events = events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut results = events.filter(|line| line["event"]["step"] == step).map(|line| line["event"]["result"].clone());
    let done = results.find(|result| result["evidence"].is_string());
    done.unwrap_or_else(|| panic!("{step} is not done"))["evidence"].as_str().unwrap().to_owned()
}

#[test]
fn a_file_that_went_wrong_on_the_target_is_found_and_mended_before_the_freeze() {
    let fleet = Fleet::behind_haproxy(Place::private(), SIZE, Storage::Own);
    fleet.place.edit(PLAN, "    hooks:\n", DAMAGE);
    fleet.place.edit(PLAN, "hold: 2s", "hold: 200ms");
    let load = fleet.load(16);
    load.wait_for(500);
    let ended = migrate(&fleet).run(&["apply", PLAN, "--yes", "--format", "json"]).expect(0);
    let ahead = said(&ended.stdout, "uploads/dal-1/verify-ahead");
    assert!(ahead.ends_with("; 1 entry differed and went again"), "{ahead}");
    let frozen = said(&ended.stdout, "uploads/dal-1/verify");
    assert!(frozen.contains(" were compared before and have not changed since"), "{frozen}");
    assert!(!frozen.contains("again"), "{frozen}");
    let files: u64 = frozen.split(' ').next().unwrap().replace(',', "").parse().unwrap();
    let known: u64 = frozen.split("; ").nth(1).unwrap().split(' ').next().unwrap().replace(',', "").parse().unwrap();
    let seeds = fleet.sources[0].seeds.len() as u64;
    assert!(known < files && known + 20 > seeds, "{known} of {files}, and {seeds} were there at the start: {frozen}");
    load.wait_for(load.requests() + 200);
    assert_kept(&fleet, &load.stop());
}
