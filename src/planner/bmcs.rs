//! What the management controllers of targets say against moving to them. What they do not say is unknown, and not well.

use super::observed::{Observed, Seen};
use crate::model::finding::Finding;
use crate::redfish::System;
use crate::spec::Spec;
use crate::text;

/// The variable of a host with the number on its machine.
const SERIAL: &str = "serial";
/// Hosts that are named where all is well.
const NAMED: usize = 8;

/// What they say against the plan, and who is well by what they say.
pub fn findings(spec: &Spec, observed: &Observed) -> Vec<Finding> {
    let (mut findings, mut well) = (Vec::new(), Vec::new());
    for (host, seen) in &observed.bmcs {
        let found = match seen {
            Seen::Failed { why, hint } => {
                let what = format!("its management controller does not say how it is: {why}");
                let hint = hint.clone().or_else(|| Some("mend that, or leave its `bmc` out".to_owned()));
                vec![Finding { hint, ..Finding::refused(host, what) }]
            }
            Seen::Live(system) => of_system(spec, host, system),
        };
        if found.is_empty() {
            well.push(host.clone());
        }
        findings.extend(found);
    }
    if !well.is_empty() {
        let what = format!("on and well, as their management controllers say: {}", text::some(&well, NAMED));
        findings.push(Finding::note("targets", what));
    }
    findings
}

fn of_system(spec: &Spec, host: &str, system: &System) -> Vec<Finding> {
    let mut findings = Vec::new();
    let says = "its management controller says that it is";
    findings.extend(match system.power.as_deref() {
        Some("On") => None,
        Some(power) => Some(
            Finding::refused(host, format!("{says} {power}, and not On")).hint("turn it on, and wait until it is up"),
        ),
        None => Some(Finding::risk(host, "its management controller does not say whether it is on")),
    });
    let is = |wanted: &str| system.health.iter().any(|health| health == wanted);
    findings.extend(if is("Critical") {
        Some(Finding::refused(host, "its management controller says that its health is Critical").hint(MEND))
    } else if is("Warning") {
        Some(Finding::risk(host, "its management controller says that its health is Warning").hint(MEND))
    } else if system.health.is_empty() || !system.health.iter().all(|health| health == "OK") {
        let said = if system.health.is_empty() { "nothing".to_owned() } else { system.health.join(" and ") };
        Some(Finding::risk(host, format!("its management controller says {said} of its health")))
    } else {
        None
    });
    let state = system.state.as_deref().filter(|state| *state != "Enabled");
    findings.extend(state.map(|state| Finding::risk(host, format!("{says} {state}, and not Enabled"))));
    findings.extend(another(spec, host, system));
    findings
}

const MEND: &str = "see its log there, and have it mended before anything moves to it";

/// A controller that belongs to another machine than the inventory has.
fn another(spec: &Spec, host: &str, system: &System) -> Option<Finding> {
    let wanted = spec.inventory.hosts.get(host)?.vars.get(SERIAL).filter(|serial| !serial.is_empty())?;
    if system.serials.iter().any(|serial| serial.eq_ignore_ascii_case(wanted)) {
        return None;
    }
    if system.serials.is_empty() {
        let what = format!("its management controller tells no serial number, and the inventory has {wanted}");
        return Some(Finding::risk(host, what));
    }
    let what = format!(
        "its management controller is that of another machine: its serial number is {}, and {wanted} in the inventory",
        text::list(&system.serials)
    );
    Some(Finding::refused(host, what).hint("mend `serial` or `bmc` of the host: one of them is wrong"))
}
