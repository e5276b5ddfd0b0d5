//! The rehearsal itself: a mistake in the engine must be found.

use super::*;
use crate::mutant::{self, Mutant};

#[path = "../../tests/rehearse/plans.rs"]
mod plans;

fn rehearsed(plan: &str, faults: usize) -> Report {
    let (spec, graph) = plans::compile(plan);
    rehearse(&spec, &graph, &Options { faults, limit: 400_000, seed: 1 }, &mut |_| {}).unwrap()
}

/// What a mistake breaks in a plan with one pair.
fn found(mutant: Mutant, plan: &str, faults: usize) -> Vec<Violation> {
    let report = mutant::with(mutant, || rehearsed(plan, faults));
    println!("{}", report.text());
    report.broken.into_iter().map(|f| f.broken).collect()
}

#[test]
fn without_a_mistake_nothing_is_found() {
    let report = rehearsed(&plans::one("", ""), 1);
    assert!(report.holds(), "{}", report.text());
}

#[test]
fn an_intent_that_is_written_after_the_effect_is_found() {
    assert!(found(Mutant::IntentAfterEffect, &plans::one("", ""), 0).contains(&Violation::NoIntent));
}

#[test]
fn an_unknown_outcome_that_is_taken_for_done_is_found() {
    assert!(!found(Mutant::UnknownIsDone, &plans::one("", ""), 1).is_empty());
}

#[test]
fn a_stream_that_is_poured_again_while_nobody_knows_what_became_of_it_is_found() {
    let broken = found(Mutant::PourAgain, plans::STREAM, 1);
    assert!(broken.iter().any(|b| matches!(b, Violation::RanTwice)), "{broken:?}");
}

#[test]
fn a_start_that_is_not_prevented_is_found() {
    let broken = found(Mutant::NoSeal, &plans::one("on_failure: rollback\n    reverse: off", ""), 2);
    assert!(broken.iter().any(|b| matches!(b, Violation::TwoWriters { .. })), "{broken:?}");
}

#[test]
fn a_controller_without_a_fence_is_found() {
    assert!(!found(Mutant::NoFence, &plans::one("reverse: off", ", idempotent: true"), 2).is_empty());
}

#[test]
fn going_back_over_what_is_surely_done_alone_is_found() {
    assert!(!found(Mutant::UndoOnlyDone, &plans::one("", ""), 1).is_empty());
}

#[test]
fn not_seeing_what_others_have_changed_is_found() {
    let broken = found(Mutant::BlindToDrift, &plans::one("", ""), 1);
    assert!(broken.iter().any(|b| matches!(b, Violation::EndsOtherwise { .. })), "{broken:?}");
}

#[test]
fn a_ramp_that_goes_on_and_ends_without_a_look_at_its_targets_is_found() {
    let broken = found(Mutant::NoLook, plans::RAMP, 1);
    assert!(broken.iter().any(|b| matches!(b, Violation::NobodyServes { .. })), "{broken:?}");
    assert!(broken.iter().any(|b| matches!(b, Violation::DoneWhileSick { .. })), "{broken:?}");
}

/// Two pairs that are moved one after the other, and have nothing to copy.
fn stateless() -> String {
    plans::RAMP.replace("strategy: ramp", "strategy: cutover").replace("rise: 2", "rise: 1")
}

#[test]
fn a_cutover_without_state_keeps_every_promise_there_and_back() {
    let report = rehearsed(&stateless(), 1);
    println!("{}", report.text());
    assert!(report.holds());
}

#[test]
fn a_target_that_is_taken_out_while_all_others_fail_is_found() {
    let broken = found(Mutant::NoLookBack, &stateless(), 1);
    assert!(broken.iter().any(|b| matches!(b, Violation::NobodyServes { .. })), "{broken:?}");
}

#[test]
fn a_plan_that_sets_again_what_others_have_changed_keeps_every_promise() {
    let plan = plans::one("", "").replace("pool: uploads }", "pool: uploads, on_drift: restore }");
    let report = rehearsed(&plan, 1);
    println!("{}", report.text());
    assert!(report.holds());
}

#[test]
fn a_plan_that_goes_back_by_itself_keeps_every_promise() {
    let report = rehearsed(&plans::one("on_failure: rollback", ""), 2);
    println!("{}", report.text());
    assert!(report.holds());
}

#[test]
fn commands_that_may_be_repeated_keep_every_promise() {
    let report = rehearsed(&plans::one("reverse: off", ", idempotent: true"), 2);
    println!("{}", report.text());
    assert!(report.holds());
}

#[test]
fn commands_whose_work_can_be_asked_for_keep_every_promise() {
    let report = rehearsed(&plans::one("", ", done_when: look"), 1);
    println!("{}", report.text());
    assert!(report.holds());
}

#[test]
fn a_command_right_before_the_clean_up_runs_once_however_late_it_starts() {
    let plan = plans::one("", "").replace("    hooks:", "    hooks:\n      - {at: after_pair, run: tell, undo: none}");
    let report = rehearsed(&plan, 1);
    println!("{}", report.text());
    assert!(report.holds());
}

/// A plan whose users stay until they are let go.
fn with_connections(plan: &str, how: &str) -> String {
    let drain = "drain: { deadline: 5s, interval: 1s }";
    assert!(plan.contains(drain));
    let connections = format!("connections: {{ {how}, pace: 10/s, within: 20s, after: 1s }}");
    plan.replacen(drain, &format!("drain: {{ deadline: 5s, interval: 1s, {connections} }}"), 1)
}

#[test]
fn users_who_stay_until_they_are_let_go_are_there_and_back_with_every_promise_kept() {
    let governed = "by: close, max_pace: 20/s, govern: [accept_queue, away, checks, load]";
    for how in ["by: close", "by: hint, run: shed", governed] {
        for plan in [plans::RAMP.to_owned(), plans::one("", ""), plans::one("reverse: off", "")] {
            let plan = plan.replacen("traffic: { director: edge, ", "traffic: { director: edge, port: 80, ", 1);
            let report = rehearsed(&with_connections(&plan, how), 1);
            println!("{how}: {}", report.text());
            assert!(report.holds());
            assert!(report.done + report.held > 5 && report.rolled_back > 5);
        }
    }
}

#[test]
fn users_who_come_by_several_directors_are_there_and_back_with_every_promise_kept() {
    for plan in [plans::RAMP.to_owned(), plans::one("", ""), plans::one("on_failure: rollback", "")] {
        let report = rehearsed(&with_connections(&plans::behind(&plan, plans::FAR), "by: close"), 1);
        println!("{}", report.text());
        assert!(report.holds());
        assert!(report.done + report.held > 5 && report.rolled_back > 5);
    }
}

#[test]
fn one_of_several_directors_that_is_forgotten_is_found_on_the_way_there_and_back() {
    let frozen = |host: &str| Violation::UsersCutOff { host: host.to_owned() };
    let plan = with_connections(&plans::behind(&plans::one("", ""), plans::FAR), "by: close");
    let broken = found(Mutant::ForgetsADirector, &plan, 0);
    assert!(broken.contains(&frozen("dal-1")), "{broken:?}");
    // Where users of the source leave by themselves it is those of the target that are left.
    let broken = found(Mutant::ForgetsADirectorBack, &plan, 0);
    assert!(broken.contains(&frozen("fra-1")), "{broken:?}");
}

#[test]
fn without_letting_them_go_the_same_users_hold_the_run() {
    let plan = with_connections(plans::RAMP, "by: close").replace("within: 20s, after: 1s", "within: 2s, after: 9s");
    let report = rehearsed(&plan, 0);
    assert!(!report.holds(), "{}", report.text());
}

/// A pair whose state its own replication carries, beside one that keeps their pool alive.
const REPLICA: &str = "
migration: replica
inventory: inventory.yaml
services:
  db:
    strategy: cutover
    move: { from: [dal-1], to: [fra-1] }
    traffic: { director: edge, pool: db }
    state:
      replica:
        prepare: { run: slot, idempotent: true, undo: unslot }
        seed: { run: seed, undo: unseed }
        link: { run: link, done_when: linked, undo: unlink }
        lag: lag
        digest: digest
        position: position
        reached: reached
        fence: fence
        unfence: unfence
        writer: writer
        promote: promote
        release: { run: release, idempotent: true }
    health: { tcp: \"{{ address }}:80\", rise: 1, interval: 1s, within: 3s }
    drain: { deadline: 5s, interval: 1s }
    shift: { steps: [100%], hold: 1s }
  other:
    strategy: ramp
    move: { from: [dal-2], to: [fra-2] }
    traffic: { director: edge, pool: db }
    shift: { steps: [100%], hold: 1s }
waves:
  - { name: first, services: db }
  - { name: last, services: other, after: first }
";

#[test]
fn a_replica_keeps_every_promise() {
    let report = rehearsed(REPLICA, 1);
    println!("{}", report.text());
    assert!(report.holds());
    assert!(report.done > 10 && report.rolled_back > 10 && report.held > 10);
}

/// The same without traffic, so that few histories show a mistake.
fn replica_alone(setting: &str) -> String {
    let (head, _) = REPLICA.split_once("    health:").unwrap();
    let head = head.replace("traffic: { director: edge, pool: db }", setting);
    format!("{head}    hooks:\n      - {{ at: thaw, run: thaw, undo: unthaw }}\n")
}

#[test]
fn a_replica_that_goes_back_by_itself_keeps_every_promise() {
    let report = rehearsed(&replica_alone("on_failure: rollback"), 1);
    println!("{}", report.text());
    assert!(report.holds());
}

#[test]
fn a_lag_that_is_taken_for_a_proof_is_found() {
    let broken = found(Mutant::LagIsProof, &replica_alone("on_failure: hold"), 0);
    assert!(broken.iter().any(|b| matches!(b, Violation::WriteLost { .. })), "{broken:?}");
}

/// All histories in which a promote is late or its end is lost, its target is then out of reach, and the operator goes back at last.
fn with_an_open_promote() -> Vec<Violation> {
    use fault::Call;
    use simulator::{End, Simulator};
    let (spec, graph) = plans::compile(&replica_alone("on_failure: hold"));
    let promote = graph.steps.position("db/dal-1/replica-promote").unwrap() as u32;
    let mut simulator = Simulator::new(&spec, search::scenario(&spec, &graph)).unwrap();
    simulator.play(None, &[], 0);
    simulator.after = Some(simulator.facts());
    let (_, trace, _) = simulator.trace();
    let acts = |p: &simulation::Point| p.step == promote && matches!(p.call, Call::Hook { .. });
    let at = trace.iter().position(acts).unwrap() as u32;
    let mut broken = Vec::new();
    let mut plays = |strikes: &[(u32, Fault)]| {
        if let End::Violation(violation) = simulator.play(None, strikes, 0) {
            broken.push(violation);
        }
        simulator.trace().1
    };
    let mut turns = 0;
    for first in [Fault::Late, Fault::CutOff, Fault::ReplyLost, Fault::Half, Fault::KilledLate, Fault::KilledAfter] {
        for (second, away) in (at + 1..at + 8).flat_map(|n| [(n, Fault::Gone), (n, Fault::Away)]) {
            let trace = plays(&[(at, first), (second, away)]);
            let turn = |(_, p): &(u32, &simulation::Point)| matches!(p.call, Call::Append { turn: true });
            for (turn, _) in (0..).zip(&trace).skip(second as usize + 1).filter(turn).take(4) {
                plays(&[(at, first), (second, away), (turn, Fault::RollBack)]);
                turns += 1;
            }
        }
    }
    assert!(turns > 50, "{turns}");
    broken
}

#[test]
fn while_a_promote_is_open_nothing_is_opened() {
    assert_eq!(with_an_open_promote(), Vec::new());
}

#[test]
fn a_source_that_is_opened_while_nobody_knows_whether_its_target_takes_writes_is_found() {
    let broken = mutant::with(Mutant::UnfenceOnUnknown, with_an_open_promote);
    assert!(broken.iter().any(|b| matches!(b, Violation::TwoWriters { .. })), "{broken:?}");
}

/// The same with a freeze that is bounded, so tightly that whatever is late is too late.
fn bounded(attempts: u32) -> String {
    let freeze = format!("freeze: {{ within: 3s, attempts: {attempts}, pause: 1s }}");
    replica_alone(&freeze)
}

#[test]
fn a_freeze_that_is_bounded_keeps_every_promise() {
    for attempts in [1, 2] {
        let report = rehearsed(&bounded(attempts), 1);
        println!("{}", report.text());
        assert!(report.holds());
        assert!(report.done > 10 && report.rolled_back > 10 && report.held > 5);
    }
}

#[test]
fn a_frozen_tree_is_let_go_and_frozen_again_with_every_promise_kept() {
    let plan = plans::one("freeze: { within: 3s, attempts: 2, pause: 1s }", "");
    let report = rehearsed(&plan, 1);
    println!("{}", report.text());
    assert!(report.holds());
}

#[test]
fn a_pair_that_is_let_go_while_its_promote_may_have_happened_is_found() {
    let broken = found(Mutant::ReleasesAfterPromote, &bounded(2), 1);
    assert!(broken.iter().any(|b| matches!(b, Violation::TwoWriters { .. })), "{broken:?}");
}

/// A replica whose source follows its target once that has been promoted.
fn and_back(plan: &str) -> String {
    plan.replace(
        "        lag: lag\n",
        "        lag: lag\n        back: { run: follow, done_when: follows, undo: unfollow }\n",
    )
}

#[test]
fn a_replica_that_comes_back_keeps_every_promise_there_back_and_there_again() {
    let plan = and_back(REPLICA);
    let (_, graph) = plans::compile(&plan);
    let ids: Vec<&str> = graph.steps.iter().filter_map(|s| s.id.strip_prefix("db/dal-1/replica-")).collect();
    let wanted = ["fence", "prove", "hand-over", "promote", "reverse", "unlink", "release"];
    let found: Vec<&str> = ids.iter().copied().filter(|id| wanted.contains(id)).collect();
    assert_eq!(found, wanted);
    assert!(graph.step("db/no-return").is_none(), "nothing is given up");
    let report = rehearsed(&plan, 1);
    println!("{}", report.text());
    assert!(report.holds() && report.rolled_back > 50);
}

#[test]
fn a_way_back_of_a_replica_that_stays_open_keeps_every_promise() {
    for reverse in ["on_failure: rollback\n    reverse: 1m", "reverse: { until: commit }"] {
        let report = rehearsed(&and_back(&replica_alone(reverse)), 1);
        println!("{}", report.text());
        assert!(report.holds() && report.rolled_back > 20);
    }
}

#[test]
fn a_source_that_takes_over_again_without_a_proof_is_found() {
    let broken = found(Mutant::NoProofBack, &and_back(&replica_alone("reverse: 1m")), 0);
    assert!(broken.iter().any(|b| matches!(b, Violation::WriteLost { host } if host == "dal-1")), "{broken:?}");
}

#[test]
fn a_source_that_takes_over_again_beside_its_target_is_found() {
    let broken = found(Mutant::LeavesTargetOpen, &and_back(&replica_alone("reverse: 1m")), 0);
    assert!(broken.iter().any(|b| matches!(b, Violation::TwoWriters { .. })), "{broken:?}");
}

/// A service that is checked as a whole, too, behind a gate that measures.
const MEASURED: &str = "
migration: measured
inventory: inventory.yaml
services:
  web:
    strategy: ramp
    move: { from: [dal-1, dal-2], to: [fra-1, fra-2] }
    traffic: { director: edge, pool: web }
    health:
      - { tcp: \"{{ address }}:80\", rise: 1, interval: 1s, within: 3s }
      - { test_visit: \"{{ director }}/{{ pool }}\", rise: 1, interval: 1s, within: 3s }
    gates:
      - { at: before_shift, test_quiet: 5, approve: 1, within: 1h }
      - { at: before_drain, test_quiet: 9, on_failure: rollback }
    drain: { deadline: 5s, interval: 1s }
    shift: { steps: [50%, 100%], hold: 1s }
";

#[test]
fn kinds_of_checks_and_of_conditions_that_others_add_go_all_the_way() {
    let (spec, graph) = plans::compile(MEASURED);
    let lines: Vec<String> = graph.steps.iter().map(|s| format!("{}: {}", s.id, s.kind.describe())).collect();
    for line in [
        "web/dal-1/gate-before_shift: until somebody approves and it is quieter than 5, for at most 1h 00m",
        "web/check: service web passes 1 check",
        "web/watch-50: health of fra-1, fra-2 and service web for 1 s",
    ] {
        assert!(lines.iter().any(|l| l == line), "{line}: {lines:#?}");
    }
    let simulator = simulator::Simulator::new(&spec, search::scenario(&spec, &graph)).unwrap();
    let told = simulator.tell(&[]);
    let count = |line: &str| told.iter().filter(|l| *l == line).count();
    for line in [
        "web/dal-1/gate-before_shift: asks whether it is quieter than 5",
        "web/check: checks the health of the service",
        "web/watch-100: checks the health of the service",
    ] {
        assert!(count(line) > 0, "{line}: {told:#?}");
    }
}

#[test]
fn a_plan_with_kinds_that_others_add_keeps_every_promise() {
    let report = rehearsed(MEASURED, 1);
    println!("{}", report.text());
    assert!(report.holds());
    // A condition that says no makes this plan go back, and so does the operator.
    assert!(report.rolled_back > 0 && report.done > 0 && report.held > 0);
}

#[test]
fn a_source_that_is_opened_without_the_last_pass_back_is_found() {
    let broken = found(Mutant::NoLastPassBack, &plans::one("", ""), 0);
    assert!(broken.iter().any(|b| matches!(b, Violation::WriteLost { host } if host == "dal-1")), "{broken:?}");
}

#[test]
fn a_target_that_is_frozen_while_users_are_on_it_is_found() {
    let plan = plans::one("", "").replace("shift: { steps: [100%], hold: 1s }", "shift: { steps: [100%], hold: 0s }");
    let broken = found(Mutant::FreezeBusyTarget, &plan, 0);
    assert!(broken.iter().any(|b| matches!(b, Violation::UsersCutOff { host } if host == "fra-1")), "{broken:?}");
}

#[test]
fn a_way_back_that_stays_open_keeps_every_promise_there_back_and_there_again() {
    for reverse in ["reverse: 1m", "reverse: { until: commit }"] {
        let report = rehearsed(&plans::one(reverse, ""), 1);
        println!("{}", report.text());
        assert!(report.holds() && report.rolled_back > 50);
    }
}

#[test]
fn without_a_way_back_a_run_asks_before_it_and_holds_what_it_promises() {
    let (_, graph) = plans::compile(&plans::one("reverse: off", ""));
    assert!(graph.step("uploads/no-return").is_some() && graph.step("uploads/dal-1/commit").is_none());
    assert!(rehearsed(&plans::one("reverse: off", ""), 1).holds());
}

#[test]
fn sources_that_are_given_back_keep_every_promise() {
    for plan in [plans::one(plans::GIVEN_BACK, ""), plans::ramp_and_give_back()] {
        let report = rehearsed(&plan, 1);
        println!("{}", report.text());
        assert!(report.holds() && report.rolled_back > 5 && report.held > 10);
    }
}

#[test]
fn a_host_that_is_given_back_while_somebody_has_put_it_back_into_service_is_found() {
    let broken = found(Mutant::CancelInUse, &plans::ramp_and_give_back(), 1);
    let in_use =
        |b: &Violation| matches!(b, Violation::GivenAway { host, why } if host == "dal-1" && why == "users are on it");
    assert!(broken.iter().any(in_use), "{broken:?}");
}

#[test]
fn a_provider_that_is_asked_again_without_a_look_is_found() {
    let broken = found(Mutant::CancelAgain, &plans::ramp_and_give_back(), 1);
    let again =
        |b: &Violation| matches!(b, Violation::GivenAway { why, .. } if why == "that has been asked for before");
    assert!(broken.iter().any(again), "{broken:?}");
}

#[test]
fn steps_that_give_a_host_back_stand_behind_all_that_needs_it_and_nothing_waits_for_them() {
    let (_, graph) = plans::compile(&plans::one(&format!("reverse: 1m\n    {}", plans::GIVEN_BACK), ""));
    let after = |id: &str| graph.step(id).unwrap().after.clone();
    let behind = |id: &str| graph.steps.dependents(graph.steps.position(id).unwrap());
    let waits = after("uploads/dal-1/quiet");
    assert!(waits.contains(&"uploads/dal-1/clean-up".to_owned()), "{waits:?}");
    let (cancel, commit) = (graph.steps.position("uploads/dal-1/cancel").unwrap(), behind("uploads/dal-1/commit"));
    assert!(commit.contains(&cancel));
    assert_eq!((behind("uploads/dal-1/quiet").len(), behind("uploads/dal-1/reclaimed").len()), (5, 1));
    let for_good: Vec<&str> = graph.steps.iter().filter(|s| s.no_return.is_some()).map(|s| s.id.as_str()).collect();
    assert_eq!(for_good, ["uploads/dal-1/commit", "uploads/dal-1/reclaimed"]);
}
