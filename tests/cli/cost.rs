//! What a plan does to the bill, and pairs that are large enough for each other.

use crate::cli::run::migrate_in;

const INVENTORY: &str = "
hosts:
  dal-1: { address: 10.1.0.1, cost_per_month: 400.00 USD, vars: { cores: 12, memory_gib: 64, os: Ubuntu 16.04, next_bill: \"2026-12-03\" } }
  dal-2: { address: 10.1.0.2, cost_per_month: 1000.00 USD, vars: { cores: 32, memory_gib: 256, os: Ubuntu 16.04 } }
  dal-3: { address: 10.1.0.3, cost_per_month: 330.00 USD, vars: { billing: hourly, next_bill: \"2026-12-03\" } }
  dal-9: { address: 10.1.0.9, cost_per_month: 99.99 USD }
  fra-1: { address: 10.2.0.1, cost_per_month: 500.00 USD, vars: { cores: 64, memory_gib: 256, os: Debian 13 } }
  fra-2: { address: 10.2.0.2, vars: { cores: 16, memory_gib: 64, os: Debian 13 } }
  fra-3: { address: 10.2.0.3, cost_per_month: 100 EUR }
";

const PLAN: &str = "
migration: out
inventory: inventory.yaml
services:
  chat: { move: { from: [dal-1, dal-2], to: [fra-1, fra-2], pair: by_fit }, state: [{ directory: /srv }] }
  files: { move: { from: dal-3, to: fra-3 }, state: [{ directory: /srv }] }
waves:
  - { name: first, services: [files] }
  - { name: second, services: [chat], after: [first] }
";

struct Place(tempfile::TempDir);

impl Place {
    fn new(plan: &str, inventory: &str) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        std::fs::write(place.0.path().join("plan.yaml"), plan).unwrap();
        std::fs::write(place.0.path().join("inventory.yaml"), inventory).unwrap();
        place
    }

    #[track_caller]
    fn says(&self, args: &[&str]) -> String {
        let ran = migrate_in(self.0.path(), &self.0.path().join("state"), args);
        assert_eq!(ran.code, 0, "{}", ran.err);
        ran.out
    }

    #[track_caller]
    fn complains(&self) -> String {
        let ran = migrate_in(self.0.path(), &self.0.path().join("state"), &["validate", "plan.yaml"]);
        assert_eq!(ran.code, 1, "{}", ran.out);
        ran.err
    }
}

#[test]
fn the_bill_falls_wave_by_wave() {
    let place = Place::new(PLAN, INVENTORY);
    insta::assert_snapshot!("cost", place.says(&["cost", "plan.yaml"]));
    let shown: serde_json::Value =
        serde_json::from_str(&place.says(&["cost", "plan.yaml", "--format", "json"])).unwrap();
    let dollars = shown["costs"].as_array().unwrap().iter().find(|cost| cost["currency"] == "USD").unwrap();
    let number = |value: &serde_json::Value| value.as_u64().unwrap();
    assert_eq!(
        (number(&dollars["all"]), number(&dollars["sources"]), number(&dollars["targets"])),
        (232_999, 173_000, 50_000)
    );
    // All that is left at the end is what the plan does not move from.
    let waves = dollars["waves"].as_array().unwrap();
    let left: Vec<u64> = waves.iter().map(|wave| number(&wave["left"])).collect();
    assert_eq!(left, [232_999 - 33_000, 232_999 - 173_000]);
    assert_eq!(waves.iter().map(|wave| number(&wave["ends"])).sum::<u64>(), number(&dollars["sources"]));
    assert_eq!(number(&dollars["way_back_a_day"]), 173_000 * 24 / 730);
    assert_eq!(shown["unknown"], serde_json::json!(["fra-2"]));
    // Hosts that are billed by the hour are bound to nothing.
    let paid: Vec<&str> = shown["hosts"].as_array().unwrap().iter().filter_map(|h| h["paid_until"].as_str()).collect();
    assert_eq!(paid, ["2026-12-03"]);
    let csv = place.says(&["cost", "plan.yaml", "--format", "csv"]);
    assert_eq!(csv.lines().next(), Some("host,service,wave,side,a month,currency,paid until"));
    assert!(csv.contains("\ndal-2,chat,second,source,1000.00,USD,\n"), "{csv}");
    assert!(csv.contains("\nfra-2,chat,second,target,,,\n"), "{csv}");
    let plan = place.says(&["plan", "plan.yaml", "--offline"]);
    assert!(plan.contains("Bill: 2329.99 USD a month for all hosts, 1730.00 USD of it for sources"), "{plan}");
    assert!(plan.contains("Not counted: 1 host of the plan without `cost_per_month`: fra-2."), "{plan}");
    let none = Place::new(PLAN, &INVENTORY.replace("cost_per_month: 400.00 USD, ", ""));
    assert!(none.says(&["plan", "plan.yaml", "--offline"]).contains("dal-1, fra-2"));
}

#[test]
fn pairs_by_fit_are_large_enough_or_are_refused() {
    let place = Place::new(PLAN, INVENTORY);
    let plan = place.says(&["plan", "plan.yaml", "--offline"]);
    assert!(plan.contains("dal-1 → fra-2") && plan.contains("dal-2 → fra-1"), "{plan}");
    assert!(plan.contains("note: dal-1 → fra-2 and dal-2 → fra-1: differs: system Ubuntu 16.04 → Debian 13"), "{plan}");
    let smaller = INVENTORY.replace("cores: 64, memory_gib: 256", "cores: 64, memory_gib: 128");
    let place = Place::new(PLAN, &smaller);
    let told = place.complains();
    assert!(told.contains("targets are too small for their sources in 1 pair"), "{told}");
    assert!(told.contains("dal-2 → fra-1: 128 of 256 GiB of memory"), "{told}");
    assert!(told.contains("plan.yaml:5:") && told.contains("too_small: allow"), "{told}");
    let place = Place::new(&PLAN.replace("by_fit", "by_fit, too_small: allow"), &smaller);
    let plan = place.says(&["plan", "plan.yaml", "--offline"]);
    assert!(
        plan.contains("risk: dal-2 → fra-1: the target has less than its source: 128 of 256 GiB of memory"),
        "{plan}"
    );
    let place = Place::new(&PLAN.replace("by_fit", "by_name, too_small: allow"), INVENTORY);
    assert!(place.complains().contains("`too_small` says something only beside `pair: by_fit`"));
    let place = Place::new(PLAN, &INVENTORY.replace("cores: 16, memory_gib: 64", "x: y"));
    assert!(place.complains().contains("nobody knows how many"), "sizes that nobody knows fit nothing");
}
