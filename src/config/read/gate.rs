//! Gates: where they stand, and how long they may take. Their conditions are read by their kinds.

use std::time::Duration;

use crate::fields::template::Use;
use crate::gate::{self, Condition, Gate};
use crate::model::HookPoint;
use crate::text::units::YEAR;
use crate::yaml::map::one_of;
use crate::yaml::reader::Value;

use super::hook::POINTS;
use super::service::ON_FAILURE;

const EXAMPLE: &str = "gates: [{at: before_drain, approve: 1}]";

/// Reads one entry of `gates`. The templates of its conditions are added to `uses`.
pub fn read(value: Value<'_>, uses: &mut Vec<Use>) -> Option<Gate> {
    value.map("gate", EXAMPLE, |m| {
        let points = [&POINTS[..], &[("each_shift", HookPoint::EachShift)]].concat();
        let at = m.need("at", "before_drain").and_then(|v| one_of(v, "a point", "points", &points));
        let conditions = gate::read(m, uses);
        if conditions.as_ref().is_some_and(Vec::is_empty) {
            value.error("the gate asks nothing", format!("give it {}", kinds()));
        }
        let within = m.get("within").and_then(|v| v.duration(Duration::from_secs(1)..=YEAR));
        let on_failure = m.get("on_failure").and_then(|v| {
            let may_fail = conditions.iter().flatten().any(|c| c.kind().measures());
            if m.get("within").is_none() && !may_fail {
                v.error("a gate without `within` never fails", "say how long it may take: `within: 2h`");
            }
            one_of(v, "a choice", "choices", &ON_FAILURE).map(|l| l.value)
        });
        Some(Gate { at: at?.value, conditions: conditions?, within, on_failure })
    })?
}

/// The words of all conditions: `` `a`, `b` or `c` ``.
fn kinds() -> String {
    let words: Vec<String> = Condition::KINDS.iter().map(|kind| format!("`{kind}`")).collect();
    match words.as_slice() {
        [init @ .., last] if !init.is_empty() => format!("{} or {last}", init.join(", ")),
        words => words.concat(),
    }
}
