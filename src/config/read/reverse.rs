//! How long what a target takes is carried back to its source.

use std::time::Duration;

use crate::model::Until;
use crate::text::units::{self, YEAR};
use crate::yaml::map::one_of;
use crate::yaml::reader::Value;
use crate::yaml::source::At;

/// What a plan says of it.
#[derive(Debug, Clone)]
pub struct ReverseDraft {
    /// `None`: not at all.
    pub until: Option<Until>,
    /// Where that is written.
    pub at: At,
}

/// Reads `off`, a duration, or `{until: commit}`.
pub fn read(value: Value<'_>) -> Option<ReverseDraft> {
    let at = value.key_at();
    if value.is_off() {
        return Some(ReverseDraft { until: None, at });
    }
    let until = if value.is_map() {
        value.map("reverse", "reverse: {until: commit}", |m| {
            let until = m.need("until", "commit");
            until.and_then(|v| one_of(v, "an end", "ends", &[("commit", Until::Commit)])).map(|l| l.value)
        })?
    } else {
        value.unit("a duration, `off` or `{until: commit}`", "7d", units::duration).and_then(|time| within(value, time))
    };
    Some(ReverseDraft { until: Some(until?), at })
}

fn within(value: Value<'_>, time: Duration) -> Option<Until> {
    if time > YEAR {
        value.error("`reverse` takes a duration up to 365d", "`reverse: {until: commit}` has no end of its own");
        return None;
    }
    Some(Until::After(time))
}
