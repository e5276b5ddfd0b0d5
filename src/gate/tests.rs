//! Conditions of every kind: how they are read, what they say.

use futures_util::FutureExt;

use super::*;
use crate::secret::{Secret, SecretError, SecretRef, Secrets};
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

    fn asking(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn approvals(&self) -> Vec<String> {
        self.1.clone()
    }

    fn approve_with(&self) -> String {
        "migrate approve".to_owned()
    }
}

/// There are none.
struct NoSecrets;

impl Secrets for NoSecrets {
    fn resolve(&self, _: &SecretRef) -> Result<Secret, SecretError> {
        Err(SecretError { from: "env TOKEN".to_owned(), why: "it is not set".to_owned() })
    }
}

fn asker() -> Asker {
    Asker::new(Arc::new(Reader::new(Arc::new(NoSecrets))))
}

fn ask(condition: &Condition, at: &'static str, people: &[&str]) -> Answer {
    let around = Around(at, people.iter().map(|p| (*p).to_owned()).collect());
    asker().ask(condition, &around).now_or_never().unwrap()
}

fn conditions(yaml: &str) -> (Option<Vec<Condition>>, Vec<String>) {
    let source = Source::from_text("plan.yaml", 0, yaml.to_owned());
    let sink = Sink::default();
    let mut found = None;
    if let Some(node) = node::parse(&source, &sink) {
        let cx = Cx { source: &source, sink: &sink, home: None, dir: None, names_left: std::cell::Cell::new(9) };
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

#[test]
fn a_number_needs_a_server_a_query_and_one_comparison() {
    let good = "prometheus: {server: \"http://prom:9090/\", query: up, at_least: 1, for: 2m}\n";
    let gate = Gate { at: HookPoint::Freeze, conditions: conditions(good).0.unwrap(), within: None, on_failure: None };
    assert_eq!(gate.describe(), "`up` is at least 1, for 2m 00s at prom:9090");
    let problems = |inner: &str| conditions(&format!("prometheus: {{{inner}}}\n")).1;
    for (inner, wanted) in [
        ("query: up, above: 1", "prometheus condition needs `server`"),
        ("server: \"http://p\", above: 1", "prometheus condition needs `query`"),
        ("server: \"http://p\", query: up", "prometheus condition needs `below`"),
        ("server: \"http://p\", query: up, above: 1, below: 2", "a number is compared in one way"),
        ("server: \"http://p\", query: up, abve: 1", "unknown key `abve` in prometheus condition"),
        ("server: \"http://p\", query: up, above: lots", "`above` takes a number; `lots` is not a number"),
        ("server: \"http://p\", query: up, above: 1, for: 5", "`for` takes a duration with a unit; `5` has no unit"),
        ("server: \"http://p\", query: up, above: 1, on: both", "`both` is not a side"),
        ("server: \"http://p\", query: \"up{a=\\\"{{ na me }}\\\"}\", above: 1", "is not the name of a variable"),
        ("server: \"ftp://p\", query: up, above: 1", "is not an HTTP or HTTPS URL"),
        ("server: \"http://a:b@p\", query: up, above: 1", "a URL in a file must not hold a password"),
        ("server: {url: \"http://p\", user: a}, query: up, above: 1", "`user` needs `password` beside it"),
        ("server: {url: \"http://p\", token: abc}, query: up, above: 1", "takes a reference to a secret"),
        ("server: {url: \"http://p\", ca: ./ca.pem}, query: up, above: 1", "nobody to be vouched for over plain HTTP"),
    ] {
        let said = problems(inner);
        assert!(said.iter().any(|problem| problem.contains(wanted)), "{inner}: {said:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_asked_is_unknown_and_says_what_to_do() {
    let asked = async |server: &str| {
        let yaml = format!("prometheus: {{server: {server}, query: up, at_least: 1}}\n");
        let around = Around("2026-12-01T02:00:00Z", Vec::new());
        let answer = asker().ask(&conditions(&yaml).0.unwrap()[0], &around).await;
        assert_eq!(answer.holds, Holds::Unknown);
        (answer.missing(), answer.help.unwrap())
    };
    let (missing, help) = asked("{url: \"http://127.0.0.1:1\", token: {env: TOKEN}}").await;
    assert!(missing.ends_with("there are no credentials: secret from env TOKEN: it is not set"), "{missing}");
    assert_eq!(help, "mend what `token` or `password` refers to");
    // Nothing listens on this port.
    let (missing, help) = asked("\"http://127.0.0.1:1\"").await;
    let wanted = "`up` is at least 1, which nobody can tell: 127.0.0.1:1: it cannot be reached: ";
    assert!(missing.starts_with(wanted) && help.starts_with("look whether Prometheus runs"), "{missing}: {help}");
    let (missing, _) = asked("{url: \"https://127.0.0.1:1\", ca: /nowhere/ca.pem}").await;
    assert!(missing.contains("cannot read /nowhere/ca.pem"), "{missing}");
}

#[test]
fn a_comparison_has_enough_samples_that_do_not_overlap() {
    let read = |inner: &str| conditions(&format!("compare: {{server: \"http://p\", {inner}}}\n"));
    let metric = "metrics: {name: errors, query: 'rate(errors[1m])'}";
    let (found, problems) = read(metric);
    assert_eq!(problems, Vec::<String>::new());
    let Some([Condition::Compare(compare)]) = found.as_deref() else { panic!("{found:?}") };
    assert_eq!(
        (compare.every, compare.over, compare.confidence),
        (Duration::from_secs(60), Duration::from_secs(600), 98)
    );
    assert_eq!(
        found.unwrap()[0].kind().describe(),
        "errors of the targets no worse than of the sources, over 10m 00s at p"
    );
    for (more, wanted) in [
        (", every: 15s", "samples 15s apart overlap: a query looks back over 1m"),
        (", over: 5m", "5m hold 6 samples, 1m apart, and 10 are needed"),
        (", over: 1d", "1d hold 1441 samples, 1m apart, more than the limit of 500"),
        (", confidence: 100%", "nobody is that sure"),
        (", over: 10", "`over` takes a duration with a unit; `10` has no unit"),
        (", befor: 1d", "unknown key `befor` in comparison"),
    ] {
        let (found, problems) = read(&format!("{metric}{more}"));
        assert!(found.is_none_or(|_| more.contains("befor:")) && problems == [wanted], "{more}: {problems:?}");
    }
    assert_eq!(read("metrics: []").1, ["a comparison has 1 to 20 metrics"]);
    assert_eq!(read("metrics: {name: errors, worse: bigger, query: up}").1, ["`bigger` is not a way"]);
}
