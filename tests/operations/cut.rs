//! SSH connections cut at random instants while commands of a plan run: each runs exactly once.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use super::support::*;
use crate::lab::command::Ended;
use crate::lab::content::Dice;
use crate::lab::fleet::{BACKEND, Fleet};

/// Commands of one pair: half of them before, half of them behind the shift.
const HOOKS: usize = 20;

/// Writes a plan with this many hooks a pair.
fn write_plan(fleet: &Fleet, round: usize) -> String {
    let text = fs::read_to_string(fleet.place.root().join(RAMP)).unwrap();
    let (mut text, _) = text.split_once("    hooks:").map(|(service, rest)| (service.to_owned(), rest)).unwrap();
    text.push_str("    hooks:\n");
    for n in 0..HOOKS {
        let at = if n % 2 == 0 { "before_pair" } else { "after_pair" };
        let _ = write!(
            text,
            "      - at: {at}\n        run: echo \"{round} $MIGRATE_STEP\" >> {{{{ lab }}}}/hooks; sleep 0.0{}\n        undo: none\n",
            n % 9
        );
    }
    let name = format!("plans/cut-{round}.yaml");
    fs::write(fleet.place.root().join(&name), text.replace("migration: web", &format!("migration: cut-{round}")))
        .unwrap();
    name
}

/// All weights and states as they were at the start.
fn reset_pool(fleet: &Fleet) {
    for (hosts, weight) in [(&fleet.sources, 100), (&fleet.targets, 0)] {
        for host in hosts {
            for command in [
                format!("set server {BACKEND}/{} state ready", host.name),
                format!("set weight {BACKEND}/{} {weight}", host.name),
            ] {
                assert_eq!(fleet.haproxy().command(&command).trim(), "");
            }
        }
    }
}

/// Applies until it ends or is held, and cuts all connections at a random instant after two of three commands have begun.
fn apply_and_cut(fleet: &Fleet, plan: &str, dice: &mut Dice, cuts: &mut usize) -> Ended {
    let mut running = apply(fleet, plan);
    let begun = |line: &str| {
        let event = &json(line)["event"];
        event["event"] == "intent"
            && ["before_pair", "after_pair"].iter().any(|at| event["step"].to_string().contains(at))
    };
    while running.read_until(begun).is_some() {
        if dice.below(3) == 0 {
            continue;
        }
        std::thread::sleep(Duration::from_millis(dice.below(150)));
        for host in fleet.sources.iter().chain(&fleet.targets) {
            *cuts += host.sshd.connections().len();
            host.sshd.cut_connections();
        }
    }
    running.finish()
}

#[test]
fn every_command_runs_exactly_once_while_connections_are_cut() {
    let fleet = ramp(2);
    let wanted = if long() { 1_000 } else { 40 };
    let mut dice = Dice::new(u64::from(std::process::id()), "cuts");
    let (mut applies, mut rounds, mut cuts) = (0, 0, 0);
    while rounds * HOOKS * 2 < wanted {
        let plan = write_plan(&fleet, rounds);
        loop {
            let ended = apply_and_cut(&fleet, &plan, &mut dice, &mut cuts);
            applies += 1;
            match ended.code() {
                0 => break,
                3 if applies < 50 + wanted => {}
                code => panic!("{code} after {applies} applies: {}\n{}", ended.stdout, ended.stderr),
            }
        }
        rounds += 1;
        reset_pool(&fleet);
    }
    let ran = hooks(&fleet);
    println!("{} commands in {rounds} runs; {applies} applies; {cuts} connections cut", ran.len());
    assert_eq!(ran.len(), rounds * HOOKS * 2);
    let not_once: Vec<_> = ran.iter().filter(|(_, times)| **times != 1).collect();
    assert!(not_once.is_empty(), "{not_once:?}");
    assert!(cuts > 0);
}

#[test]
fn a_host_whose_sshd_starts_again_in_the_freeze_is_asked_again_and_the_run_goes_on() {
    let mut fleet = cutover(2);
    let begun = "          cd {{ lab }}/{{ name }}/uploads\n          echo frozen > mode";
    fleet.place.edit(CUTOVER, begun, &format!("          until [ -e {{{{ lab }}}}/go ]; do sleep 0.05; done\n{begun}"));
    let load = fleet.load(USERS);
    load.wait_for(100);
    let mut running = apply(&fleet, CUTOVER);
    let freeze = running.read_until(|line| {
        let event = &json(line)["event"];
        event["event"] == "intent" && event["step"].as_str().is_some_and(|step| step.contains("/freeze"))
    });
    let freeze = json(&freeze.expect("a freeze"))["event"]["step"].as_str().unwrap().to_owned();
    let source = fleet.sources.iter().position(|host| freeze.contains(&host.name)).unwrap();
    while !hooks(&fleet).keys().any(|line| line.contains("/freeze")) {
        std::thread::sleep(Duration::from_millis(20));
    }
    // The command goes on; its host cannot be asked.
    fleet.sources[source].sshd.stop_server();
    wait_for_words(&mut running, &freeze, "trying again");
    fs::write(fleet.place.root().join("go"), "").unwrap();
    fleet.sources[source].sshd.start_again();
    let ended = running.finish().expect(0);
    assert!(!ended.stdout.contains("\"held\""), "{}", ended.stdout);
    assert_eq!(hooks(&fleet).get(&format!("do {freeze}")), Some(&1), "{:?}", hooks(&fleet));
    assert_kept(&fleet, &load.stop());
}

#[test]
fn a_ramp_that_does_nothing_on_its_hosts_needs_no_way_in() {
    let mut fleet = ramp(1);
    let text = fs::read_to_string(fleet.place.root().join(RAMP)).unwrap();
    let (service, _) = text.split_once("    hooks:").unwrap();
    fs::write(fleet.place.root().join(RAMP), service).unwrap();
    fleet.sources[0].sshd.stop();
    fleet.targets[0].sshd.stop();
    migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(0);
    assert_eq!(weight(&fleet, "fra-1"), 100);
    migrate(&fleet).run(&["rollback", "web", "--yes"]).expect(0);
    assert_eq!((weight(&fleet, "dal-1"), weight(&fleet, "fra-1")), (100, 0));
    // With one command on the targets these must be reached, and the sources still need not.
    fs::write(
        fleet.place.root().join(RAMP),
        format!("{service}    hooks: [{{at: before_shift, run: \"true\", undo: none}}]\n"),
    )
    .unwrap();
    let refused = migrate(&fleet).run(&["plan", RAMP]).expect(1);
    assert!(
        refused.stdout.contains("fra-1: cannot be reached") && !refused.stdout.contains("dal-1: cannot"),
        "{}",
        refused.stdout
    );
}
