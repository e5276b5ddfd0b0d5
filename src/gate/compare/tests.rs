//! What is said of what was found.

use super::*;
use crate::metrics::Server;
use crate::model::Template;

fn metric(name: &str, critical: bool) -> Metric {
    let query = Template(format!("{name}{{host=\"{{{{ name }}}}\"}}"));
    Metric { name: name.into(), query, worse: Worse::Higher, by: 0.1, critical, hosts: Vec::new() }
}

fn compare(metrics: Vec<Metric>) -> Compare {
    let second = Duration::from_secs(1);
    Compare {
        server: Server { url: "http://p".into(), token: None, user: None, ca: None },
        metrics,
        before: None,
        over: 60 * second,
        every: second,
        confidence: 98,
        max_age: 60 * second,
    }
}

/// What is answered where each metric has this shift for certain; `None`: it is not known.
fn answered(compare: &Compare, shifts: &[Option<f64>]) -> Answer {
    let judged = compare.metrics.iter().zip(shifts).map(|(metric, shift)| {
        let silence = || Silence { why: "fra-1 has too few samples".into(), help: "look".into() };
        let difference = |shift| Difference { medians: (100.0 * (1.0 + shift), 100.0), shift, p: 0.001 };
        Judged { metric, found: shift.map(|shift| (difference(shift), [40, 40])).ok_or_else(silence) }
    });
    compare.answer(judged.collect())
}

#[test]
fn a_critical_metric_that_is_worse_ends_it_and_another_one_is_looked_at_again() {
    let both = compare(vec![metric("errors", true), metric("latency", false)]);
    let holds = |shifts| answered(&both, shifts).holds;
    assert_eq!(holds(&[Some(0.0), Some(0.05)]), Holds::Yes);
    assert_eq!(holds(&[Some(0.0), Some(0.2)]), Holds::NotYet);
    assert_eq!(holds(&[Some(0.2), Some(0.0)]), Holds::No);
    assert_eq!(holds(&[Some(-0.5), Some(-0.5)]), Holds::Yes);
    // Nothing that is unknown hides what is certain, and nothing passes beside it.
    assert_eq!(holds(&[Some(0.2), None]), Holds::No);
    assert_eq!(holds(&[None, Some(0.2)]), Holds::Unknown);
    assert_eq!(holds(&[Some(0.0), None]), Holds::Unknown);
}

#[test]
fn the_verdict_has_the_query_both_medians_the_effect_and_the_threshold() {
    let answer = answered(&compare(vec![metric("errors", true)]), &[Some(0.25)]);
    let wanted = "errors (`errors{host=\"{{ name }}\"}`) worse: 125 against 100, medians of 40 and 40, +25.0 %, p 0.0010; 10 % higher is too much";
    assert_eq!(answer.saw, wanted);
    let lower = Metric { worse: Worse::Lower, ..metric("hits", false) };
    let found = Ok((Difference { medians: (-80.0, -100.0), shift: 0.2, p: 0.5 }, [12, 12]));
    let said = tell(&Judged { metric: &lower, found }, false);
    assert!(said.contains("no worse: 80 against 100, medians of 12 and 12, -20.0 %, p 0.5000; 10 % lower"), "{said}");
}

#[test]
fn what_is_allowed_to_chance_is_shared_by_all_metrics() {
    assert!((compare(vec![metric("a", false), metric("b", false)]).chance() - 0.01).abs() < 1e-12);
}

/// A gate that has been asking for this long.
struct Asking(Duration);

impl Surroundings for Asking {
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::UNIX_EPOCH
    }

    fn asking(&self) -> Duration {
        self.0
    }

    fn approvals(&self) -> Vec<String> {
        Vec::new()
    }

    fn approve_with(&self) -> String {
        String::new()
    }
}

struct NoSecrets;

impl crate::secret::Secrets for NoSecrets {
    fn resolve(&self, _: &crate::secret::SecretRef) -> Result<crate::secret::Secret, crate::secret::SecretError> {
        Err(crate::secret::SecretError { from: "env A".into(), why: "it is not set".into() })
    }
}

/// Answers as Prometheus does: so many samples of this value for `fra-1`, 61 of 100 for everybody else, and no age of anything.
async fn answering(samples: usize, value: f64) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut request, mut chunk) = (String::new(), [0; 2048]);
            while !request.contains("\r\n\r\n") {
                let n = stream.read(&mut chunk).await.unwrap();
                request.push_str(std::str::from_utf8(&chunk[..n]).unwrap());
            }
            let now = jiff::Timestamp::now().as_second();
            let data = if request.contains("/api/v1/query_range?") {
                let (count, value) = if request.contains("fra-1") { (samples, value) } else { (61, 100.0) };
                let values: Vec<String> = (0..count).map(|n| format!("[{n},\"{value}\"]")).collect();
                format!(r#"{{"resultType":"matrix","result":[{{"metric":{{}},"values":[{}]}}]}}"#, values.join(","))
            } else if request.contains("timestamp") {
                r#"{"resultType":"vector","result":[]}"#.to_owned()
            } else {
                format!(r#"{{"resultType":"scalar","result":[{now},"{now}"]}}"#)
            };
            let body = format!(r#"{{"status":"success","data":{data}}}"#);
            let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        }
    });
    url
}

/// What a gate says about `fra-1`, which takes the place of `dal-1`.
async fn asked(url: String, asking: u64) -> Answer {
    let host =
        |host: &str, is_target| Asked { host: host.into(), is_target, query: format!("latency{{host=\"{host}\"}}") };
    let metric = Metric { hosts: vec![host("fra-1", true), host("dal-1", false)], ..metric("latency", true) };
    let server = Server { url, token: None, user: None, ca: None };
    let compare = Compare { server, ..compare(vec![metric]) };
    let metrics = std::sync::Arc::new(crate::metrics::Reader::new(std::sync::Arc::new(NoSecrets)));
    compare.ask(&Asking(Duration::from_secs(asking)), &Clients { metrics }).await
}

#[tokio::test]
async fn a_window_is_collected_and_then_judged() {
    let early = asked("http://127.0.0.1:1".into(), 59).await;
    assert_eq!((early.holds, early.saw.as_str()), (Holds::NotYet, "samples of 59 s of 1m 00s"));
    assert_eq!(asked("http://127.0.0.1:1".into(), 60).await.holds, Holds::Unknown);
    let equal = asked(answering(61, 100.0).await, 60).await;
    assert_eq!(equal.holds, Holds::Yes, "{equal:?}");
    assert!(equal.saw.contains("no worse: 100 against 100, medians of 61 and 61, +0.0 %, p 1.0000"), "{equal:?}");
    let worse = asked(answering(61, 120.0).await, 65).await;
    assert_eq!(worse.holds, Holds::No, "{worse:?}");
    let few = asked(answering(29, 120.0).await, 60).await;
    assert_eq!(few.holds, Holds::Unknown, "{few:?}");
    assert!(few.saw.contains("fra-1 has too few samples: 29 of 30 at least"), "{few:?}");
}
