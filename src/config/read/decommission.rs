//! How sources are given back, as plans say it: to whom is read by the kinds of providers.

use std::time::Duration;

use crate::fields::template::{self, Role, Sides, Use};
use crate::provider::ProviderConfig;
use crate::spec::{Decommission, Wipe};
use crate::text::units::YEAR;
use crate::yaml::reader::Value;

const DAY: Duration = Duration::from_secs(86_400);
const EVERY: Duration = Duration::from_secs(60);
/// Large disks that are written over take most of a day.
const WIPE_WITHIN: Duration = Duration::from_secs(86_400);
/// The most ports that a source is watched at.
const MAX_PORTS: usize = 50;

/// How sources are given back, and the templates in it.
#[derive(Debug, Clone)]
pub struct DecommissionDraft {
    pub decommission: Decommission,
    pub templates: Vec<Use>,
}

/// Reads `off`, or whom sources go back to and when they may.
pub fn read(value: Value<'_>) -> Option<DecommissionDraft> {
    if value.is_off() {
        return None;
    }
    value.map("decommission", "decommission: {softlayer: {when: next_bill}, quiet_for: 3d}", |m| {
        // Templates have no place in what providers read.
        let provider = ProviderConfig::read(m, &mut Vec::new());
        let quiet_for = m.get("quiet_for").map_or(Some(DAY), |v| v.duration(Duration::ZERO..=YEAR));
        let interval = m.get("interval").map_or(Some(EVERY), |v| v.duration(Duration::from_millis(10)..=DAY));
        let ports = m.get("ports").map_or(Some(Vec::new()), ports);
        let wipe = m.get("wipe").map_or(Some(None), |v| wipe(v).map(Some))?;
        let (wipe, templates) = wipe.map_or((None, Vec::new()), |(wipe, templates)| (Some(wipe), templates));
        let (provider, ports) = (provider?, ports?);
        let decommission = Decommission { provider, quiet_for: quiet_for?, interval: interval?, ports, wipe };
        Some(DecommissionDraft { decommission, templates })
    })?
}

/// Reads how disks are wiped. Who believes that without a look has not wiped them.
fn wipe(value: Value<'_>) -> Option<(Wipe, Vec<Use>)> {
    let command =
        |v: Value<'_>| template::read(v, Role::Command, Sides::Source, "a command", "run: wipefs -a /dev/sdb");
    value.map("wipe", "wipe: {run: blkdiscard /dev/sdb, proof: test -z \"$(wipefs /dev/sdb)\"}", |m| {
        let run = m.need("run", "blkdiscard /dev/sdb").and_then(command);
        let proof = m.need("proof", "test -z \"$(wipefs /dev/sdb)\"").and_then(command);
        let timeout = m.get("timeout").map_or(Some(WIPE_WITHIN), |v| v.duration(Duration::from_millis(1)..=YEAR));
        let (run, proof) = (run?, proof?);
        let wipe = Wipe { run: run.template.value.clone(), proof: proof.template.value.clone(), timeout: timeout? };
        Some((wipe, vec![run, proof]))
    })?
}

/// Reads a port, or several.
pub(super) fn ports(value: Value<'_>) -> Option<Vec<u16>> {
    let items = value.one_or_many();
    if items.len() > MAX_PORTS {
        value.error(format!("`ports` has {} entries, more than the limit of {MAX_PORTS}", items.len()), "name fewer");
        return None;
    }
    items.iter().map(|port| u16::try_from(port.integer(1..=65_535)?).ok()).collect()
}
