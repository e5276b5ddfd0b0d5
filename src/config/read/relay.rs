//! Where clients are sent on to that still come to the old addresses of a service.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use crate::fields::template::{self, Role, Sides, Unfit, Use};
use crate::model::OnDrift;
use crate::spec::Relay;
use crate::text::units::YEAR;
use crate::yaml::map::one_of;
use crate::yaml::reader::Value;
use crate::yaml::source::At;

use super::decommission::ports;

const DAY: Duration = Duration::from_secs(86_400);
const QUIET: Duration = Duration::from_secs(3 * 86_400);
const EVERY: Duration = Duration::from_secs(60);

/// A relay with its place.
#[derive(Debug, Clone)]
pub struct RelayDraft {
    pub relay: Relay,
    pub to: Use,
    pub at: At,
}

/// Reads `relay`.
pub fn read(value: Value<'_>) -> Option<RelayDraft> {
    if value.is_off() {
        return None;
    }
    let at = value.at();
    value.map("relay", "relay: {to: 10.80.0.10, quiet_for: 7d}", |m| {
        let to = m.need("to", "10.80.0.10").and_then(|v| {
            template::read(
                v,
                Role::Own(address),
                Sides::Target,
                "an IPv4 address, with a port or without",
                "to: 10.80.0.10:443",
            )
        });
        let ports = m.get("ports").map_or(Some(Vec::new()), ports);
        let quiet_for = m.get("quiet_for").map_or(Some(QUIET), |v| v.duration(Duration::ZERO..=YEAR));
        let interval = m.get("interval").map_or(Some(EVERY), |v| v.duration(Duration::from_millis(10)..=DAY));
        let on_drift = m.get("on_drift").and_then(|v| one_of(v, "a choice", "choices", &OnDrift::WORDS));
        let (to, on_drift) = (to?, on_drift.map_or(OnDrift::Hold, |l| l.value));
        let template = to.template.value.clone();
        let relay = Relay { to: template, ports: ports?, quiet_for: quiet_for?, interval: interval?, on_drift };
        Some(RelayDraft { relay, to, at })
    })?
}

fn address(text: &str) -> Result<(), Unfit> {
    let fits = text.parse::<Ipv4Addr>().is_ok() || text.parse::<SocketAddrV4>().is_ok_and(|to| to.port() > 0);
    let unfit =
        || Unfit::new("is not an IPv4 address, with a port or without", "name the address of the new side: 10.80.0.10");
    fits.then_some(()).ok_or_else(unfit)
}
