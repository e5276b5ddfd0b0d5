//! Conditions of every kind: how they are read, what they say.

use futures_util::FutureExt;

use super::*;
use crate::yaml::diagnostic::Sink;
use crate::yaml::node;
use crate::yaml::reader::{Cx, Value};
use crate::yaml::source::Source;

/// A time, and people.
struct Around(&'static str, Vec<String>);

impl Surroundings for Around {
    fn now(&self) -> Timestamp {
        self.0.parse().unwrap()
    }

    fn approvals(&self) -> Vec<String> {
        self.1.clone()
    }

    fn approve_with(&self) -> String {
        "migrate approve".to_owned()
    }
}

fn ask(condition: &Condition, at: &'static str, people: &[&str]) -> Answer {
    let around = Around(at, people.iter().map(|p| (*p).to_owned()).collect());
    Asker.ask(condition, &around).now_or_never().unwrap()
}

fn conditions(yaml: &str) -> (Option<Vec<Condition>>, Vec<String>) {
    let source = Source::from_text("plan.yaml", 0, yaml.to_owned());
    let sink = Sink::default();
    let mut found = None;
    if let Some(node) = node::parse(&source, &sink) {
        let cx = Cx { source: &source, sink: &sink, home: None, names_left: std::cell::Cell::new(9) };
        found = Value::root(&cx, &node).map("gate", "approve: 1", |m| read(m, &mut Vec::new())).flatten();
    }
    (found, sink.into_diagnostics().iter().map(|d| d.message.clone()).collect())
}

#[test]
fn conditions_are_read_each_by_its_own_word() {
    let yaml = "test_quiet: 5\nwindow: {from: \"22:00\", to: \"04:00\", zone: UTC}\nnot_before: 2026-12-01T02:00:00Z\napprove: 2\n";
    let (found, problems) = conditions(yaml);
    assert_eq!(problems, Vec::<String>::new());
    let gate = Gate { at: HookPoint::Freeze, conditions: found.unwrap(), within: None, on_failure: None };
    let wanted = "2 different people approve, it is 2026-12-01T02:00:00Z, it is any day between 22:00 and 04:00 in UTC and it is quieter than 5";
    assert_eq!(gate.describe(), wanted);
    assert_eq!(conditions("test_quiet: loud\n").0, None);
    assert_eq!(conditions("test_quite: 5\n").1, ["unknown key `test_quite` in gate"]);
}

#[test]
fn two_people_are_two_people() {
    let two = Condition::Approvals(Approvals { needed: 2 });
    let now = "2026-12-01T02:00:00Z";
    let one = ask(&two, now, &["ada@h: ready"]);
    assert_eq!((one.holds, one.missing().as_str()), (Holds::NotYet, "approval (1 of 2)"));
    assert_eq!(one.help.as_deref(), Some("migrate approve"));
    let both = ask(&two, now, &["ada@h: ready", "bob@h: go"]);
    assert_eq!((both.holds, both.saw.as_str()), (Holds::Yes, "approved by ada@h: ready and bob@h: go"));
}

#[test]
fn a_time_that_has_not_come_is_waited_for() {
    let time = Condition::NotBefore(NotBefore("2026-12-01T02:00:00Z".parse().unwrap()));
    let early = ask(&time, "2026-12-01T01:59:59Z", &[]);
    assert_eq!((early.holds, early.missing().as_str()), (Holds::NotYet, "2026-12-01T02:00:00Z"));
    assert_eq!(ask(&time, "2026-12-01T02:00:00Z", &[]).holds, Holds::Yes);
}

#[test]
fn a_window_that_nobody_can_compute_is_unknown() {
    let window =
        |zone: &str| Condition::Window(Window { days: vec![2], from: 22 * 60, to: 23 * 60, zone: zone.into() });
    let closed = ask(&window("UTC"), "2026-12-01T20:00:00Z", &[]);
    assert_eq!((closed.holds, closed.missing().as_str()), (Holds::NotYet, "its window, next at 2026-12-01T22:00:00Z"));
    assert_eq!(ask(&window("UTC"), "2026-12-01T22:30:00Z", &[]).holds, Holds::Yes);
    assert_eq!(ask(&window("Mars/Olympus"), "2026-12-01T22:30:00Z", &[]).holds, Holds::Unknown);
}

#[test]
fn an_answer_says_what_it_saw_beside_what_it_wants() {
    let quiet = |below| Condition::Quiet(sample::Quiet { below });
    let asked = |below, at| {
        let answer = ask(&quiet(below), at, &[]);
        (answer.holds, answer.missing())
    };
    assert_eq!(asked(5, "2026-12-01T02:04:00Z").0, Holds::Yes);
    assert_eq!(asked(5, "2026-12-01T02:30:00Z"), (Holds::NotYet, "less noise than 5 (30)".to_owned()));
    assert_eq!(asked(0, "2026-12-01T02:30:00Z").0, Holds::No);
    let unknown = "less noise than 5, which nobody can tell: there is no number";
    assert_eq!(asked(5, "1969-12-31T23:30:00Z"), (Holds::Unknown, unknown.to_owned()));
}
