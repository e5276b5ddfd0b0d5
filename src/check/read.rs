//! Checks as plans write them: the kind, and how often and how long it is asked.

use std::time::Duration;

use super::{HealthCheck, Probe};
use crate::fields::template::Use;
use crate::text::units;
use crate::yaml::diagnostic::Diagnostic;
use crate::yaml::map::Map;
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
            let probe = Probe::read(m, uses);
            let timing = Timing::read(m);
            timing.check(m);
            let Timing { rise, fall, interval, timeout, within } = timing;
            Some(Self { probe: probe?, rise, fall, interval, timeout, within })
        })?
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
