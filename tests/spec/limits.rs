//! Limits by place: which hosts they hold for, and what is said of those that hold for none.

use migrate::model::Limit;

use crate::spec::support::Files;

const INVENTORY: &str = "\
sites: { dal: { defaults: { ssh: { jump: gate } } }, fra: , empty: }
hosts:
  gate: { address: 10.0.0.1 }
  \"dal-[1-4]\": { site: dal, address: \"{{ name }}.example\", vars: { rack: r1 } }
  \"dal-[5-6]\": { site: dal, address: \"{{ name }}.example\", vars: { rack: r2 } }
  \"fra-[1-6]\": { site: fra, address: \"{{ name }}.example\" }
groups:
  old: [\"dal-[1-6]\"]
  new: [\"fra-[1-6]\"]
";

fn files(limits: &str) -> Files {
    let service = "services:\n  up: { move: { from: old, to: new }, state: { directory: /srv/up } }\n";
    Files::new(&format!("migration: x\ninventory: inventory.yaml\n{service}limits:\n{limits}"), INVENTORY)
}

/// Where each limit holds, and for how many hosts of the plan.
fn resolved(limits: &str) -> Vec<(String, usize)> {
    let (spec, _) = files(limits).load().unwrap_or_else(|e| panic!("{e}"));
    let told = |limit: &Limit| (limit.place.to_string(), limit.hosts.len());
    spec.plan.limits.iter().map(told).collect()
}

#[test]
fn a_limit_holds_for_the_hosts_of_the_plan_that_stand_there() {
    let one = |limit: &str| resolved(&format!("  - {{ {limit}, streams: 3 }}\n"));
    let held = |place: &str, hosts: usize| (place.to_owned(), hosts);
    assert_eq!(one("site: fra"), [held("site fra", 6)]);
    assert_eq!(one("jump: gate"), [held("behind gate", 6)]);
    assert_eq!(one("each: site"), [held("site dal", 6), held("site fra", 6)]);
    assert_eq!(one("each: jump"), [held("behind gate", 6)]);
    assert_eq!(resolved("  - { streams: 3 }\n"), [held("everywhere", 0)]);
}

#[test]
fn hosts_without_the_variable_of_a_limit_are_told() {
    let files = files("  - { each: rack, max_unavailable: 1 }\n");
    let (spec, warnings) = files.load().unwrap_or_else(|e| panic!("{e}"));
    let racks: Vec<usize> = spec.plan.limits.iter().map(|limit| limit.hosts.len()).collect();
    assert_eq!(racks, [4, 2]);
    let said = warnings.to_string();
    assert!(said.contains("warning: the limit does not hold for hosts without `rack`: `fra-1`, `fra-2`"), "{said}");
    assert!(said.contains("plan.yaml:6:5"), "{said}");
}

/// One problem, at this place.
#[track_caller]
fn assert_only(limit: &str, what: &str, at: &str) {
    let said = files(&format!("  - {limit}\n")).problems();
    assert!(said.matches("error:").count() == 1 && said.contains(what) && said.contains(at), "{said}");
}

#[test]
fn what_is_wrong_with_a_limit_is_said_where_it_is() {
    let limit = "plan.yaml:6:5";
    assert_only("{ site: far, streams: 1 }", "unknown site `far`", "plan.yaml:6:13");
    assert_only("{ jump: nobody, streams: 1 }", "unknown host `nobody`", "plan.yaml:6:13");
    assert_only("{ site: empty, streams: 1 }", "the limit holds for no host of the plan", limit);
    assert_only("{ each: rak, streams: 1 }", "the limit holds for no host of the plan", limit);
    assert_only("{ site: dal }", "the limit bounds nothing", limit);
    assert_only("{ site: dal, each: rack, streams: 1 }", "a limit holds in one place", limit);
    assert_only("{ bandwidth: 1MiB/s }", "`bandwidth` without a place is said by `total_bandwidth`", limit);
    assert_only("{ max_unavailable: 2 }", "`max_unavailable` without a place is said by", limit);
    assert_only("{ site: dal, streams: 0 }", "`streams` takes a number from 1 to 100000", "plan.yaml:6:27");
    assert_only("{ site: dal, bandwidth: fast }", "`bandwidth` takes a rate with a unit", "plan.yaml:6:29");
}
