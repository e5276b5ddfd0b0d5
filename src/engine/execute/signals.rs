//! What the side says that connections come back to: how many wait to be taken, how long checks take, how loaded it is.
//!
//! Must never take what could not be measured for calm.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;

use super::Context;
use crate::check::{Checks, Outcome, Subject, Verdict};
use crate::engine::governor::Sign;
use crate::host::Command;
use crate::model::{Govern, Host};
use crate::outside::Error;
use crate::step::{ConnectionsStep, Watched};
use crate::text;

/// More than these wait to be taken by the service.
const WAITING: u64 = 32;
/// A check takes longer.
const SLOW: Duration = Duration::from_millis(500);
/// Hundredths of a process that want to run, for each processor.
const LOADED: u64 = 100;
/// How long a host may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// By which simulated hosts know the question.
pub const ASKS: &str = "MIGRATE_SIGNALS";

/// Only what the kernel tells everybody: no program is needed for it.
const SCRIPT: &str = "cat /proc/loadavg && getconf _NPROCESSORS_ONLN && grep '^TcpExt:' /proc/net/netstat && \
                      cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep ' 0A '; exit 0";

/// The load is a mean of the last minute, and Prometheus knows no more than its last scrape: asked sooner, they say the same again.
const LOAD_MOVES: Duration = Duration::from_secs(15);
pub const QUERY_MOVES: Duration = Duration::from_secs(5);

/// What has been measured before.
#[derive(Debug, Default)]
pub struct Counted {
    /// What each host has refused since it was started.
    overflows: BTreeMap<String, u64>,
    /// What moves slowly: when it was counted last.
    slow: BTreeMap<String, Duration>,
}

impl Counted {
    /// A sign of what moves slowly: in full once in its time, and in between as what has been said before. What is not known is always said.
    fn seldom(&mut self, what: String, now: Duration, every: Duration, sign: Sign) -> Sign {
        let fresh = self.slow.get(&what).is_none_or(|last| now >= *last + every);
        match (sign, fresh) {
            (sign @ Sign::Unknown(_), _) => sign,
            (Sign::Calm, false) => Sign::StillCalm,
            (Sign::Busy(what), false) => Sign::StillBusy(what),
            (sign, _) => {
                self.slow.insert(what, now);
                sign
            }
        }
    }
}

/// Measures everything that is asked for, on all hosts at once.
pub async fn measure(context: &Context, work: &ConnectionsStep, counted: &mut Counted) -> Vec<Sign> {
    let asks = |govern: Govern| work.govern.contains(&govern);
    let mut signs = Vec::new();
    let now = context.since_epoch();
    if asks(Govern::AcceptQueue) || asks(Govern::Load) {
        let told =
            join_all(work.watched.iter().map(|watched| async move { (watched, ask(context, watched).await) })).await;
        for (Watched { host, port }, told) in told {
            let told = match told {
                Ok(told) => told,
                Err(why) => {
                    signs.push(Sign::Unknown(why));
                    continue;
                }
            };
            if asks(Govern::AcceptQueue) {
                signs.push(queue(host, *port, &told, counted));
            }
            if asks(Govern::Load) {
                signs.push(counted.seldom(format!("load {host}"), now, LOAD_MOVES, load(host, &told)));
            }
        }
    }
    if asks(Govern::Checks) {
        signs.extend(
            join_all(work.checks.each().map(|(name, check)| async move {
                let Ok(subject) = context.subject(name) else { return Sign::Unknown(format!("{name} is not there")) };
                check_takes(context, &subject, check).await
            }))
            .await,
        );
    }
    for (nth, sign) in ask_queries(context, &work.asks).await.into_iter().enumerate() {
        signs.push(counted.seldom(format!("query {nth}"), now, QUERY_MOVES, sign));
    }
    signs
}

/// Asks all queries that are asked for this alone.
pub async fn ask_queries(context: &Context, asks: &Checks) -> Vec<Sign> {
    let asked = asks.each().map(|(name, check)| async move {
        match context.subject(name) {
            Ok(subject) => says(context.world.health.probe(check, &subject).await),
            Err(_) => Sign::Unknown(format!("{name} is not there")),
        }
    });
    join_all(asked).await
}

/// What one of them says.
fn says(verdict: Verdict) -> Sign {
    match verdict.outcome {
        Outcome::Pass => Sign::Calm,
        Outcome::Fail => Sign::Busy(verdict.evidence),
        Outcome::Unknown => Sign::Unknown(verdict.evidence),
    }
}

async fn check_takes(context: &Context, subject: &Subject<'_>, check: &crate::check::HealthCheck) -> Sign {
    let clock = &context.world.clock;
    let began = clock.now();
    let verdict = context.world.health.probe(check, subject).await;
    let took = clock.now().saturating_duration_since(began);
    match verdict.outcome {
        Outcome::Fail => Sign::Busy(format!("{subject} fails its check: {}", verdict.evidence)),
        _ if took > SLOW => Sign::Busy(format!("a check of {subject} takes {}", text::duration(took))),
        Outcome::Unknown => Sign::Unknown(format!("{subject}: {}", verdict.evidence)),
        Outcome::Pass => Sign::Calm,
    }
}

/// What a host says of itself.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    /// Processes that want to run, in hundredths.
    load: u64,
    processors: u64,
    /// Connections that came while an accept queue was full, since it was started.
    overflows: u64,
    /// How many wait, by port.
    waiting: BTreeMap<u16, u64>,
}

async fn ask(context: &Context, watched: &Watched) -> Result<Told, String> {
    let host: &Host = match context.world.hosts.get(&watched.host) {
        Some(host) => host,
        None => return Err(format!("{} is not in the inventory any more", watched.host)),
    };
    let env = BTreeMap::from([(ASKS.to_owned(), "1".to_owned())]);
    let question = Command { script: SCRIPT.to_owned(), env, timeout: Some(TIMEOUT), ..Command::default() };
    let output = context.world.remote.query(host, &question).await.map_err(|e: Error| e.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout);
    read(&said)
        .ok_or_else(|| format!("{} tells nothing of its load: {}", host.name, text::escape(said.as_bytes(), 100)))
}

fn read(said: &str) -> Option<Told> {
    let mut lines = said.lines();
    let load: f64 =
        lines.next()?.split(' ').next()?.parse().ok().filter(|load: &f64| load.is_finite() && *load >= 0.0)?;
    let processors = lines.next()?.parse().ok().filter(|n| *n > 0)?;
    let (names, values) = (lines.next()?, lines.next()?);
    let at = names.split(' ').position(|name| name == "ListenOverflows")?;
    let overflows = values.split(' ').nth(at)?.parse().ok()?;
    let mut waiting = BTreeMap::new();
    for line in lines {
        let mut cells = line.split_whitespace().skip(1);
        let (local, queues) = (cells.next()?, cells.nth(2)?);
        let port = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
        let queue = u64::from_str_radix(queues.rsplit_once(':')?.1, 16).ok()?;
        let most: &mut u64 = waiting.entry(port).or_default();
        *most = queue.max(*most);
    }
    Some(Told { load: (load * 100.0) as u64, processors, overflows, waiting })
}

fn queue(host: &str, port: Option<u16>, told: &Told, counted: &mut Counted) -> Sign {
    let before = counted.overflows.insert(host.to_owned(), told.overflows);
    let new = before.map_or(0, |before| told.overflows.saturating_sub(before));
    match port.and_then(|port| told.waiting.get(&port)) {
        _ if new > 0 => {
            Sign::Busy(format!("{host} has refused {}: its accept queue is full", text::count(new, "connection")))
        }
        None => Sign::Unknown(format!("nobody listens on the port of the service on {host}")),
        Some(waiting) if *waiting > WAITING => {
            Sign::Busy(format!("{} wait to be accepted by {host}", text::count(*waiting, "connection")))
        }
        Some(_) => Sign::Calm,
    }
}

fn load(host: &str, told: &Told) -> Sign {
    match told.load > LOADED.saturating_mul(told.processors) {
        true => Sign::Busy(format!("the load of {host} is {}.{:02}", told.load / 100, told.load % 100)),
        false => Sign::Calm,
    }
}

/// Connections that were ended and have not come back: more than half a second's worth is too many.
pub fn away(gone: u64, back: Option<u64>, pace: u64) -> Sign {
    let Some(back) = back else { return Sign::Unknown("the director does not count who comes back".to_owned()) };
    let away = gone.saturating_sub(back);
    match away > (pace / 2).max(5) {
        true => Sign::Busy(format!("{} not back yet", text::count(away, "client"))),
        false => Sign::Calm,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "0.42 0.30 0.20 2/300 4242\n2\nTcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 1 7 9\n\
        \x20  0: 0100007F:1F90 00000000:0000 0A 00000000:00000021 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0\n\
        \x20  1: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000003 00:0 0\n";

    #[test]
    fn a_host_is_read_as_its_kernel_tells_it() {
        let told = read(SAID).unwrap();
        let waiting = BTreeMap::from([(8080, 33), (80, 3)]);
        assert_eq!(told, Told { load: 42, processors: 2, overflows: 7, waiting });
        for cut in ["", "0.42 1\n", "0.42 1\n2\nTcpExt: a\nTcpExt: 1\n", "NaN 1\n2\n", "sh: no\n"] {
            assert_eq!(read(cut), None, "{cut:?}");
        }
    }

    #[test]
    fn a_full_queue_and_what_it_has_refused_since_are_too_much() {
        let (told, mut counted) = (read(SAID).unwrap(), Counted::default());
        assert_eq!(queue("fra-1", Some(80), &told, &mut counted), Sign::Calm, "what it refused before is old");
        let busy = Sign::Busy("33 connections wait to be accepted by fra-1".into());
        assert_eq!(queue("fra-1", Some(8080), &told, &mut counted), busy);
        let told = Told { overflows: 9, ..told };
        let busy = Sign::Busy("fra-1 has refused 2 connections: its accept queue is full".into());
        assert_eq!(queue("fra-1", Some(80), &told, &mut counted), busy);
        assert!(matches!(queue("fra-1", Some(81), &told, &mut counted), Sign::Unknown(_)));
        assert_eq!(load("fra-1", &told), Sign::Calm);
        assert_eq!(load("fra-1", &Told { load: 230, ..told }), Sign::Busy("the load of fra-1 is 2.30".into()));
    }

    #[test]
    fn what_moves_slowly_is_counted_once_in_its_time() {
        let (mut counted, every) = (Counted::default(), Duration::from_secs(5));
        let mut at = |second, sign| counted.seldom("load".into(), Duration::from_secs(second), every, sign);
        let (busy, unknown) = (Sign::Busy("9".into()), Sign::Unknown("silent".into()));
        assert_eq!(at(0, busy.clone()), busy);
        assert_eq!(at(4, busy.clone()), Sign::StillBusy("9".into()));
        assert_eq!(at(4, unknown.clone()), unknown);
        assert_eq!(at(5, busy.clone()), busy);
        assert_eq!((at(6, Sign::Calm), at(10, Sign::Calm)), (Sign::StillCalm, Sign::Calm));
    }

    #[test]
    fn half_a_second_s_worth_may_be_away() {
        assert_eq!(away(100, Some(60), 100), Sign::Calm);
        assert_eq!(away(100, Some(49), 100), Sign::Busy("51 clients not back yet".into()));
        assert_eq!(away(3, Some(9), 1), Sign::Calm, "others come, too");
        assert!(matches!(away(3, None, 1), Sign::Unknown(_)));
    }
}
