//! Waves of many pairs: numbers and percentages, batches.

use crate::spec::support::Files;

const INVENTORY: &str = "\
hosts:
  \"dal-[001-040]\": { address: \"{{ name }}.example\" }
  \"fra-[001-040]\": { address: \"{{ name }}.example\" }
directors:
  edge: { haproxy: \"tcp:10.0.0.1:9999\" }
";

/// A plan of three services with ten, ten and twenty pairs; the last one ramps.
fn files(waves: &str) -> Files {
    let service = |name: &str, range: &str, more: &str| {
        format!("  {name}: {{ move: {{ from: \"dal-[{range}]\", to: \"fra-[{range}]\" }}, {more} }}\n")
    };
    let state = "state: { directory: /srv/up }";
    let services = service("a", "001-010", state)
        + &service("b", "011-020", state)
        + &service("r", "021-040", "traffic: { director: edge, pool: r }, health: { tcp: \"{{ address }}:80\" }");
    Files::new(&format!("migration: x\ninventory: inventory.yaml\nservices:\n{services}waves:\n{waves}"), INVENTORY)
}

#[test]
fn a_percentage_is_of_the_pairs_of_all_services_of_the_wave() {
    let waves = "  - { name: w, services: [a, b], max_unavailable: 33%, batches: [1, 25%, 100%] }\n  \
                 - { name: v, services: r, max_unavailable: 1% }\n";
    let (spec, _) = files(waves).load().unwrap_or_else(|e| panic!("{e}"));
    let [w, v] = spec.plan.waves.as_slice() else { panic!("{:?}", spec.plan.waves) };
    assert_eq!((w.pairs, w.max_unavailable, w.batches.as_slice()), (20, 6, &[1, 5, 14][..]));
    assert_eq!((v.pairs, v.max_unavailable, v.batches.as_slice()), (20, 1, &[][..]));
}

#[test]
fn one_size_of_batches_holds_until_no_pair_is_left() {
    let (spec, _) = files("  - { name: w, services: [a, b], batches: 8 }\n  - { name: v, services: r }\n")
        .load()
        .unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(spec.plan.waves[0].batches, [8, 8, 4]);
}

/// One problem, at this place.
#[track_caller]
fn assert_only(waves: &str, what: &str, at: &str) {
    let said = files(waves).problems();
    assert!(said.matches("error:").count() == 1 && said.contains(what) && said.contains(at), "{said}");
}

#[test]
fn what_is_wrong_with_batches_is_said_where_it_is() {
    let batches = |batches: &str| {
        format!("  - {{ name: w, services: [a, b], batches: {batches} }}\n  - {{ name: v, services: r }}\n")
    };
    let shrinks = "a batch is not smaller than the one before: of 20 pairs `25%` is 5, and `6` is 6";
    assert_only(&batches("[1, 6, 25%]"), shrinks, "plan.yaml:8:50");
    assert_only(&batches("[]"), "there are no batches", "plan.yaml:8:43");
    assert_only(&batches("[1, most]"), "`batches` takes a number from 1 to 100000 or a percentage", "plan.yaml:8:47");
    assert_only(&batches("[0]"), "a number from 1 to 100000 or a percentage; `0` is neither of them", "plan.yaml:8:44");
    assert_only(
        "  - { name: w, services: [a, b] }\n  - { name: v, services: r, batches: [1] }\n",
        "service `r` ramps: its pairs move together",
        "plan.yaml:9:39",
    );
}

#[test]
fn pairs_that_cannot_be_reached_are_left_out_only_where_some_may_fail_and_pairs_move_by_themselves() {
    let wave = |more: &str| format!("  - {{ name: w, services: [a, b], {more} }}\n  - {{ name: v, services: r }}\n");
    assert_only(
        &wave("unreachable: budget"),
        "count against the wave's `failure_budget`, and that is 0",
        "plan.yaml:8:47",
    );
    assert_only(
        &wave("unreachable: ignore, failure_budget: 1"),
        "`ignore` is not what becomes of pairs",
        "plan.yaml:8:47",
    );
    assert_only(
        "  - { name: w, services: [a, b] }\n  - { name: v, services: r, failure_budget: 1, unreachable: budget }\n",
        "service `r` ramps: its pairs move together, and none of them can be left out",
        "plan.yaml:9:61",
    );
    assert!(files(&wave("unreachable: budget, failure_budget: 1")).load().is_ok());
}
