//! Checks as plans write them, of every kind.

use std::time::Duration;

use super::sample::Visit;
use super::*;
use crate::fields::template::{Sides, Use};
use crate::model::Template;
use crate::yaml::diagnostic::Sink;
use crate::yaml::node;
use crate::yaml::reader::{Cx, Value};
use crate::yaml::source::Source;

fn check(probe: Probe) -> HealthCheck {
    let second = Duration::from_secs(1);
    HealthCheck { probe, of: None, rise: 1, fall: 1, interval: second, timeout: second, within: second }
}

/// A check about hosts.
pub(super) fn of_host(to: &str) -> HealthCheck {
    check(Probe::Tcp(Tcp(Template(to.into()))))
}

/// A check about a service.
pub(super) fn of_service(to: &str) -> HealthCheck {
    check(Probe::Visit(Visit(Template(to.into()))))
}

fn read(yaml: &str) -> (Option<HealthCheck>, Vec<Use>, Vec<String>) {
    let source = Source::from_text("plan.yaml", 0, yaml.to_owned());
    let sink = Sink::default();
    let (mut uses, mut check) = (Vec::new(), None);
    if let Some(node) = node::parse(&source, &sink) {
        let cx = Cx { source: &source, sink: &sink, home: None, dir: None, names_left: std::cell::Cell::new(9) };
        check = HealthCheck::read(Value::root(&cx, &node), &mut uses);
    }
    (check, uses, sink.into_diagnostics().iter().map(|d| d.message.clone()).collect())
}

#[test]
fn every_kind_is_read_by_its_own_word_with_the_template_it_asks_with() {
    for (yaml, key) in [
        ("http: http://x/", "http"),
        ("tcp: x:1", "tcp"),
        ("exec: 'true'", "exec"),
        ("dns: www.example.com\nat: 10.0.0.53", "dns"),
        ("postgres: x:1", "postgres"),
        ("mysql: x:1", "mysql"),
        ("redis: x:1", "redis"),
        ("prometheus: {server: \"http://p:9090\", query: up, at_least: 1}", "prometheus"),
        ("test_visit: e/p", "test_visit"),
    ] {
        let (check, uses, problems) = read(yaml);
        let templates = 1 + usize::from(key == "dns");
        assert_eq!((check.unwrap().probe.key(), uses.len(), problems.len()), (key, templates, 0), "{yaml}");
    }
}

#[test]
fn an_unknown_kind_is_never_taken_for_another() {
    let (check, uses, problems) = read("htp: \"http://x/\"\nstatus: 204\n");
    assert!(check.is_none() && uses.is_empty());
    assert_eq!(problems, ["unknown kind `htp` in health check"]);
}

#[test]
fn what_belongs_to_another_kind_is_refused() {
    assert_eq!(read("tcp: x:1\nstatus: 200\n").2, ["unknown key `status` in health check"]);
}

#[test]
fn what_a_check_asks_a_service_with_is_judged_before_anything_runs() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("inventory.yaml", "hosts: { a: { address: 10.0.0.1 }, b: { address: 10.0.0.2 } }\n");
    let plan = |visit: &str| {
        let health = format!("health: {{ test_visit: \"{visit}\" }}");
        let service = format!("{{ move: {{ from: a, to: b }}, state: {{ directory: /srv }}, {health} }}");
        write("plan.yaml", &format!("migration: x\ninventory: inventory.yaml\nservices: {{ web: {service} }}\n"));
        let loaded = crate::config::load(&dir.path().join("plan.yaml"), None, &Default::default());
        loaded.err().map(|problems| problems.to_string()).unwrap_or_default()
    };
    assert!(plan("edge/{{ pool }}").contains("service `web` has no variable `pool`"));
    assert!(plan("{{ name }}").contains("for `web` this is `web`, which is no director and pool"));
    assert_eq!(plan("edge/{{ name }}"), "");
}

#[test]
fn a_query_is_about_the_service_unless_it_says_that_it_is_about_hosts() {
    let asked = |of: &str| {
        let (check, uses, problems) = read(&format!("prometheus: {{server: \"http://p\", query: up, below: 5}}\n{of}"));
        (check.map(|c| c.about()), uses.first().map(|u| u.sides), problems)
    };
    assert_eq!(asked(""), (Some(About::Service), Some(Sides::Service), vec![]));
    assert_eq!(asked("of: host"), (Some(About::Host), Some(Sides::Both), vec![]));
    assert_eq!(asked("of: hosts").2, ["`hosts` is not what a check can be about"]);
}

#[test]
fn a_check_can_be_about_the_service_beside_those_of_each_host() {
    let (check, uses, problems) = read("http: \"http://www.example.com/{{ pool }}\"\nof: service\n");
    assert_eq!((check.map(|c| c.about()), problems), (Some(About::Service), vec![]));
    assert_eq!(uses[0].sides, Sides::Service);
    assert_eq!(read("exec: 'true'\nof: service\n").2, ["`exec` cannot be asked of a service, which is no host"]);
    assert!(read("exec: 'true'\nof: service\n").0.is_none());
}

#[test]
fn what_cannot_be_asked_is_refused_where_it_stands() {
    for (yaml, wanted) in [
        ("tls: x:443", "health check needs `name`"),
        ("tls: x\nname: www.example.com", ""),
        ("tls: x:443\nname: www.example.com\ndays_left: many", "`days_left` takes a number from 0 to 3650"),
        ("dns: www.example.com", "health check needs `at`"),
        ("dns: www.example.com\nat: []", "`at` is an empty list"),
        ("dns: www.example.com\nat: 10.0.0.53\ntype: PTR", "`PTR` is not a type that can be compared"),
        ("redis: x:6379\npassword: abc", "`password` takes a reference to a secret, not the secret itself"),
        ("tcp: x:1\npassword: {env: A}", "unknown key `password` in health check"),
    ] {
        let problems = read(yaml).2.join("; ");
        // What a template is when it is filled is judged once the hosts are known.
        assert!(problems.starts_with(wanted) && (wanted.is_empty() == problems.is_empty()), "{yaml}: {problems}");
    }
}
