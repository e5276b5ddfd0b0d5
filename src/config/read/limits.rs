//! What copies and pairs may do together that have a host in one place.

use crate::yaml::diagnostic::Diagnostic;
use crate::yaml::reader::Value;
use crate::yaml::source::{At, Located};

/// A limit before its names are resolved.
#[derive(Debug, Clone)]
pub struct LimitDraft {
    pub place: PlaceDraft,
    pub at: At,
    pub bandwidth: Option<u64>,
    pub streams: Option<usize>,
    pub max_unavailable: Option<usize>,
}

/// Where it holds.
#[derive(Debug, Clone)]
pub enum PlaceDraft {
    Everywhere,
    Site(Located<String>),
    Jump(Located<String>),
    /// Wherever hosts have the same of this.
    Each(Located<String>),
}

/// Reads the limits of a plan.
pub fn read(value: Value<'_>) -> Vec<LimitDraft> {
    value.one_or_many().into_iter().filter_map(limit).collect()
}

fn limit(value: Value<'_>) -> Option<LimitDraft> {
    value.map("limit", "{site: dal10, bandwidth: 200MiB/s}", |m| {
        let site = m.get("site").and_then(|v| v.identifier("a site", "dal10"));
        let jump = m.get("jump").and_then(|v| v.identifier("a host", "bastion"));
        let each = m.get("each").and_then(|v| v.line("`site`, `jump` or the name of a variable", "each: rack"));
        let places = [site.map(PlaceDraft::Site), jump.map(PlaceDraft::Jump), each.map(PlaceDraft::Each)];
        let mut places = places.into_iter().flatten();
        let place = places.next().unwrap_or(PlaceDraft::Everywhere);
        if places.next().is_some() {
            let what = Diagnostic::error(m.at(), "a limit holds in one place: `site`, `jump` or `each`");
            m.report(what.hint("make it several limits"));
        }
        let number = |key: &'static str| {
            let number = m.get(key).and_then(|v| v.integer(1..=100_000));
            number.and_then(|n| usize::try_from(n).ok())
        };
        let (streams, max_unavailable) = (number("streams"), number("max_unavailable"));
        let bandwidth = m.get("bandwidth").and_then(|v| v.rate());
        if ["bandwidth", "streams", "max_unavailable"].iter().all(|key| !value.keys().contains(key)) {
            let what = Diagnostic::error(m.at(), "the limit bounds nothing");
            m.report(what.hint("add `bandwidth`, `streams` or `max_unavailable`"));
        }
        LimitDraft { place, at: m.at().clone(), bandwidth, streams, max_unavailable }
    })
}
