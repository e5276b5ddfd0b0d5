//! How long pairs may be frozen.

use std::time::Duration;

use crate::model::Freeze;
use crate::text::units::YEAR;
use crate::yaml::reader::Value;
use crate::yaml::source::At;

const MILLISECOND: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);

/// What a plan says of it.
#[derive(Debug, Clone)]
pub struct FreezeDraft {
    pub freeze: Freeze,
    /// Where that is written.
    pub at: At,
}

/// Reads `freeze: {within: 30s, attempts: 3, pause: 1m}`.
pub fn read(value: Value<'_>) -> Option<FreezeDraft> {
    let at = value.key_at();
    let freeze = value.map("freeze", "freeze: {within: 30s, attempts: 3}", |m| {
        let within = m.need("within", "30s").and_then(|v| v.duration(MILLISECOND..=YEAR));
        let attempts = m.get("attempts").map_or(Some(3), |v| v.integer(1..=100));
        let pause = m.get("pause").map_or(Some(MINUTE), |v| v.duration(Duration::ZERO..=YEAR));
        Some(Freeze { within: within?, attempts: u32::try_from(attempts?).ok()?, pause: pause? })
    })??;
    Some(FreezeDraft { freeze, at })
}
