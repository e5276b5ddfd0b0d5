//! Checks as plans write them: the kind, and how often and how long it is asked.

use std::time::Duration;

use super::{About, HealthCheck, Probe, Prometheus};
use crate::fields::kinds::Settings;
use crate::fields::template::{Sides, Use};
use crate::text::units;
use crate::yaml::diagnostic::Diagnostic;
use crate::yaml::map::{Map, one_of};
use crate::yaml::reader::Value;

const SECOND: Duration = Duration::from_secs(1);
/// The longest time that any setting of a check may have.
pub(super) const HOUR: Duration = Duration::from_secs(3600);
/// The shortest.
pub(super) const MILLISECOND: Duration = Duration::from_millis(1);

impl HealthCheck {
    /// Reads one check. The templates it asks with are added to `uses`.
    pub fn read(value: Value<'_>, uses: &mut Vec<Use>) -> Option<Self> {
        value.map("health check", "http: \"http://{{ address }}/health\"", |m| {
            let from = uses.len();
            let probe = Probe::read(m, uses);
            let of = m.get("of").map(|v| of(v, probe.as_ref()));
            let timing = Timing::read(m);
            timing.check(m);
            let Timing { rise, fall, interval, timeout, within } = timing;
            let check = Self { probe: probe?, of: flat(of)?, rise, fall, interval, timeout, within };
            uses.iter_mut().skip(from).for_each(|used| used.sides = sides(check.about()));
            Some(check)
        })?
    }

    /// Reads a query of Prometheus that is asked again and again, for what holds work back.
    pub fn query(value: Value<'_>, about: About, uses: &mut Vec<Use>) -> Option<Self> {
        let example = "prometheus: {server: \"http://prometheus.example.com:9090\", query: sum(errors), below: 5}";
        value.map("signal", example, |m| {
            let from = uses.len();
            let probe = Prometheus::read(m.need(Prometheus::KEY, "{server: …, query: …, below: 5}")?, m, uses)?;
            let (probe, of) = (Probe::Prometheus(probe), Some(about).filter(|about| *about != About::Service));
            uses.iter_mut().skip(from).for_each(|used| used.sides = sides(about));
            Some(Self { probe, of, rise: 1, fall: 1, interval: SECOND, timeout: 5 * SECOND, within: HOUR })
        })?
    }
}

/// Whose variables a check of such may use.
fn sides(about: About) -> Sides {
    match about {
        About::Host => Sides::Both,
        About::Service => Sides::Service,
    }
}

/// `None` where something was given that could not be read.
pub(super) fn flat<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    read.map_or(Some(None), |read| read.map(Some))
}

/// Of what the check is asked.
fn of(value: Value<'_>, probe: Option<&Probe>) -> Option<About> {
    let subjects = [("host", About::Host), ("service", About::Service)];
    let about = one_of(value, "what a check can be about", "subjects", &subjects)?.value;
    match probe {
        Some(probe) if !probe.kind().fits(about) => {
            value.error(format!("`{}` cannot be asked of a service, which is no host", probe.key()), "leave `of` out");
            None
        }
        _ => Some(about),
    }
}

struct Timing {
    rise: u32,
    fall: u32,
    interval: Duration,
    timeout: Duration,
    within: Duration,
}

impl Timing {
    fn read(m: &Map<'_>) -> Self {
        let times = |key| m.get(key).and_then(|v| v.integer(1..=1000)).and_then(|n| u32::try_from(n).ok());
        let span = |key| m.get(key).and_then(|v| v.duration(MILLISECOND..=HOUR));
        Self {
            rise: times("rise").unwrap_or(3),
            fall: times("fall").unwrap_or(2),
            interval: span("interval").unwrap_or(2 * SECOND),
            timeout: span("timeout").unwrap_or(5 * SECOND),
            within: span("within").unwrap_or(60 * SECOND),
        }
    }

    /// A check that can never pass is a plan that can never end.
    fn check(&self, m: &Map<'_>) {
        let needed = self.interval.saturating_mul(self.rise.saturating_sub(1));
        if needed > self.within {
            let (rise, interval) = (self.rise, units::show(self.interval));
            let message = format!(
                "this check can never pass: {rise} passes {interval} apart take longer than `within` ({})",
                units::show(self.within)
            );
            m.report(
                Diagnostic::error(m.at(), message)
                    .hint(format!("give `within` more than {}, or lower `rise`", units::show(needed))),
            );
        }
    }
}
