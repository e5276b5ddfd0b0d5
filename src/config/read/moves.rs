//! From where to where, and who takes whose place.

use crate::yaml::diagnostic::Diagnostic;
use crate::yaml::reader::Value;
use crate::yaml::source::{At, Located};

use super::group;
use crate::yaml::map::one_of;

/// `move:` before its names are resolved.
#[derive(Debug, Clone)]
pub struct MoveDraft {
    /// Where `move` is written.
    pub at: At,
    pub from: Vec<Located<String>>,
    pub to: Vec<Located<String>>,
    pub pairing: Pairing,
}

/// Who takes whose place.
#[derive(Debug, Clone)]
pub enum Pairing {
    /// First with first, second with second.
    ByOrder,
    /// Those whose names differ only in what tells the sides apart.
    ByName,
    /// Those that are large enough for each other; with `too_small` also those that are not, where there are no others.
    ByFit { too_small: bool },
    /// As written: source, target.
    Explicit(Vec<(Located<String>, Located<String>)>),
}

/// Reads `move`.
pub fn read(value: Value<'_>) -> Option<MoveDraft> {
    value.map("move", "move: {from: old, to: new}", |m| {
        let pair = m.get("pair");
        let explicit = pair.is_some_and(|p| p.is_map());
        // Explicit pairs name every host already.
        let side = |key| if explicit { m.get(key) } else { m.need(key, "a group, a host or a list of hosts") };
        let (from, to) = (side("from"), side("to"));
        let complete = explicit || (from.is_some() && to.is_some());
        let names = |v: Option<Value<'_>>| v.map(group::names).unwrap_or_default();
        let (from, to) = (names(from), names(to));
        let too_small = m.get("too_small").map(allowed);
        let pairing = pair.map_or(Some(Pairing::ByOrder), pairing)?;
        let pairing = match (pairing, too_small) {
            (Pairing::ByFit { .. }, Some(allowed)) => Pairing::ByFit { too_small: allowed? },
            (other, None) => other,
            (_, Some(_)) => {
                let found = Diagnostic::error(m.at(), "`too_small` says something only beside `pair: by_fit`");
                m.report(found.hint("leave it out"));
                return None;
            }
        };
        complete.then(|| MoveDraft { at: m.at().clone(), from, to, pairing })
    })?
}

fn allowed(value: Value<'_>) -> Option<bool> {
    Some(one_of(value, "what becomes of it", "words", &[("refuse", false), ("allow", true)])?.value)
}

fn pairing(value: Value<'_>) -> Option<Pairing> {
    #[derive(Clone, Copy)]
    enum By {
        Order,
        Name,
        Fit,
    }
    if value.is_map() {
        let entries = value.entries("targets by source", "pair: {dal-1: fra-1}");
        let pairs = entries.iter().filter_map(|(key, value)| {
            Some((key.identifier("a host", "dal-1")?, value.identifier("a host", "dal-1")?))
        });
        return Some(Pairing::Explicit(pairs.collect()));
    }
    let ways = [("by_order", By::Order), ("by_name", By::Name), ("by_fit", By::Fit)];
    match one_of(value, "a way to pair", "ways", &ways)?.value {
        By::Order => Some(Pairing::ByOrder),
        By::Name => Some(Pairing::ByName),
        By::Fit => Some(Pairing::ByFit { too_small: false }),
    }
}
