//! From where to where, and who takes whose place.

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
        let pairing = pair.map_or(Some(Pairing::ByOrder), pairing)?;
        complete.then(|| MoveDraft { at: m.at().clone(), from, to, pairing })
    })?
}

fn pairing(value: Value<'_>) -> Option<Pairing> {
    #[derive(Clone, Copy)]
    enum By {
        Order,
        Name,
    }
    if value.is_map() {
        let entries = value.entries("targets by source", "pair: {dal-1: fra-1}");
        let pairs = entries.iter().filter_map(|(key, value)| {
            Some((key.identifier("a host", "dal-1")?, value.identifier("a host", "dal-1")?))
        });
        return Some(Pairing::Explicit(pairs.collect()));
    }
    match one_of(value, "a way to pair", "ways", &[("by_order", By::Order), ("by_name", By::Name)])?.value {
        By::Order => Some(Pairing::ByOrder),
        By::Name => Some(Pairing::ByName),
    }
}
