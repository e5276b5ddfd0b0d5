//! Numbers of a real Prometheus, and of what only looks like one.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use migrate::check::{Health, Outcome, Probe, Prometheus, ServiceRef, Subject, Verdict};
use migrate::metrics::{Ask, Bound, Comparison, Server};
use migrate::model::Template;
use migrate::secret::SecretRef;

use super::{NoSsh, answering, check, checker};
use crate::lab::process::PATIENCE;
use crate::lab::prometheus::{self as lab, Exporter};

fn server(addr: impl std::fmt::Display) -> Server {
    Server { url: format!("http://{addr}"), token: None, user: None, ca: None }
}

async fn ask(server: &Server, query: &str, timeout: Duration) -> Verdict {
    let bound = Bound { is: Comparison::Below, than: 5.0 };
    let ask = Ask { server: server.clone(), query: Template(query.into()), bound, max_age: Duration::from_secs(30) };
    let probe = Probe::Prometheus(Prometheus { ask });
    let service = ServiceRef { name: "web".into(), through: None };
    checker(Arc::new(NoSsh)).probe(&check(probe, timeout), &Subject::Service(&service)).await
}

/// What it says once it says this: samples come when they come.
async fn until(server: &Server, query: &str, words: &str) -> Verdict {
    let start = Instant::now();
    loop {
        let verdict = ask(server, query, PATIENCE).await;
        if verdict.evidence.contains(words) {
            return verdict;
        }
        assert!(start.elapsed() < PATIENCE, "never {words:?}: {}", verdict.evidence);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Numbers, and one whose sample says itself that it is of two minutes ago.
fn numbers(errors: &str) -> String {
    let old = jiff::Timestamp::now().as_millisecond() - 120_000;
    format!("errors{{side=\"new\"}} {errors}\nerrors{{side=\"old\"}} 1\nnothing NaN\npushed 1 {old}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_decides_and_everything_else_is_unknown() {
    let exporter = Exporter::start(&numbers("2"));
    let prometheus = lab::Prometheus::start(&[exporter.addr]);
    let server = server(prometheus.addr);
    let passes = until(&server, "sum(errors{side=\"new\"}) # of {{ name }}", "→ 2 in ").await;
    assert_eq!(passes.outcome, Outcome::Pass);
    assert!(passes.evidence.starts_with("ask `sum(errors{side=\"new\"}) # of web` at 127."), "{}", passes.evidence);
    exporter.say(&numbers("7.5"));
    let fails = until(&server, "sum(errors{side=\"new\"})", "→ 7.5 in ").await;
    assert_eq!(fails.outcome, Outcome::Fail);
    assert!(fails.evidence.ends_with(", wanted below 5"), "{}", fails.evidence);
    for (query, why) in [
        ("sum(absent_errors)", "there is no data: no series fits the query"),
        ("sum(nothing)", "the number is NaN"),
        ("sum(errors) / 0", "the number is +Inf"),
        ("errors", "the query gives 2 series, and one is wanted: {__name__=\"errors\""),
        ("sum(errors", "it cannot read the query: "),
        ("errors[1m]", "the query gives all samples of a range"),
        ("\"text\"", "the query gives text"),
        ("sum(pushed) + sum(errors)", "stale: the last sample of `pushed` is 2m"),
        ("max(avg_over_time(pushed[10m]))", "stale: the last sample of `pushed` is 2m"),
    ] {
        let verdict = ask(&server, query, PATIENCE).await;
        assert_eq!(verdict.outcome, Outcome::Unknown, "{query}: {}", verdict.evidence);
        assert!(verdict.evidence.contains(why), "{query}: {}", verdict.evidence);
    }
    // What is looked back at on purpose is not stale.
    assert_eq!(ask(&server, "vector(1) + time() * 0", PATIENCE).await.outcome, Outcome::Pass);
    // A target that is gone has no number, whatever it had.
    drop(exporter);
    let gone = until(&server, "sum(errors)", "there is no data").await;
    assert_eq!(gone.outcome, Outcome::Unknown);
    prometheus.freeze();
    let silent = ask(&server, "vector(1)", Duration::from_millis(300)).await;
    assert_eq!(silent.outcome, Outcome::Unknown);
    assert!(silent.evidence.contains("→ no answer in 300 ms; look at Prometheus"), "{}", silent.evidence);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guarded_server_lets_in_who_has_the_password_and_is_vouched_for() {
    let prometheus = lab::Prometheus::guarded(&[]);
    let (user, password) = lab::USER;
    let guarded = |password: &str, ca: &Path| Server {
        url: format!("https://{}", prometheus.addr),
        token: None,
        user: Some((user.to_owned(), SecretRef::Env(password.to_owned()))),
        ca: Some(ca.to_owned()),
    };
    let verdict = ask(&guarded(password, &prometheus.ca()), "vector(1)", PATIENCE).await;
    assert_eq!(verdict.outcome, Outcome::Pass, "{}", verdict.evidence);
    let verdict = ask(&guarded("wrong", &prometheus.ca()), "vector(1)", PATIENCE).await;
    assert_eq!(verdict.outcome, Outcome::Unknown, "{}", verdict.evidence);
    assert!(
        verdict.evidence.contains("it does not let us in (401)") && !verdict.evidence.contains("wrong"),
        "{}",
        verdict.evidence
    );
    let other = tempfile::tempdir().unwrap();
    crate::lab::certificates::Authority::start(other.path());
    let verdict = ask(&guarded(password, &other.path().join("ca.pem")), "vector(1)", PATIENCE).await;
    assert_eq!(verdict.outcome, Outcome::Unknown, "{}", verdict.evidence);
    assert!(verdict.evidence.contains("it cannot be reached: invalid peer certificate"), "{}", verdict.evidence);
}

#[tokio::test]
async fn what_only_looks_like_prometheus_gives_no_number() {
    for (answer, why) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n{\"status\":\"success\",\"data\":{}}",
            "its answer is not that of Prometheus' API",
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"status\":\"succ", "its answer was lost"),
        ("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\noops", "it answers 502: `oops`"),
        ("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", "it answers 302"),
        ("220 mail ESMTP\r\n", "its answer was lost"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n{\"status\":\"success\",\"data\":{\"resultType\":\"scalar\",\"result\":[1600000000,\"1\"]}}",
            "stale: its answer is for a time ",
        ),
    ] {
        let verdict = ask(&server(answering(answer).await), "up", PATIENCE).await;
        assert_eq!(verdict.outcome, Outcome::Unknown, "{}", verdict.evidence);
        assert!(verdict.evidence.contains(why), "{why}: {}", verdict.evidence);
    }
}
