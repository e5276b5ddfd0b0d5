//! What many steps of a plan have in common is one thing in memory once they have been read, as it was when they were planned.
//!
//! Owns what has been read so far, for as long as somebody reads. Must never hand out anything but the equal of what was read.

use std::any::Any;
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};
use xxhash_rust::xxh3::xxh3_64;

use super::Pair;

/// Plans have few different values of those that cannot be found by their hash.
const FEW: usize = 16;

thread_local! {
    static READ: RefCell<Option<Read>> = const { RefCell::new(None) };
}

/// What has been read. By hash alone: of two that have the same one, the second is shared.
#[derive(Default)]
struct Read {
    texts: HashMap<u64, Arc<str>>,
    pairs: HashMap<u64, Arc<Pair>>,
    values: Vec<Arc<dyn Any + Send + Sync>>,
}

/// While it is there, what is read on this thread is shared.
#[must_use]
pub struct Reading {
    before: Option<Read>,
}

/// From here on what is read is shared.
pub fn begin() -> Reading {
    Reading { before: READ.with(|read| read.replace(Some(Read::default()))) }
}

impl Drop for Reading {
    fn drop(&mut self) {
        READ.with(|read| *read.borrow_mut() = self.before.take());
    }
}

/// Reads a text.
pub fn text<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<str>, D::Error> {
    let Words(text) = Words::deserialize(from)?;
    Ok(found(|read| &mut read.texts, xxh3_64(text.as_bytes()), |known| **known == *text, || Arc::from(&*text)))
}

/// Reads a pair, if there is one.
pub fn pair<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Arc<Pair>>, D::Error> {
    #[derive(Deserialize)]
    struct Given<'a> {
        #[serde(borrow)]
        source: Cow<'a, str>,
        #[serde(borrow)]
        target: Cow<'a, str>,
    }
    let Some(Given { source, target }) = Option::deserialize(from)? else { return Ok(None) };
    let hash = xxh3_64(source.as_bytes()).rotate_left(1) ^ xxh3_64(target.as_bytes());
    let is_it = |known: &Arc<Pair>| known.source == source && known.target == target;
    let new = || Arc::new(Pair { source: source.to_string(), target: target.to_string() });
    Ok(Some(found(|read| &mut read.pairs, hash, is_it, new)))
}

/// Reads values of which there are few different ones.
pub fn few<'de, D: Deserializer<'de>, T>(from: D) -> Result<Vec<Arc<T>>, D::Error>
where
    T: Deserialize<'de> + PartialEq + Any + Send + Sync,
{
    Ok(Vec::<T>::deserialize(from)?.into_iter().map(one_of_few).collect())
}

fn one_of_few<T: PartialEq + Any + Send + Sync>(value: T) -> Arc<T> {
    READ.with(|read| {
        let mut read = read.borrow_mut();
        let Some(Read { values, .. }) = read.as_mut() else { return Arc::new(value) };
        let known = values.iter().find(|known| known.downcast_ref::<T>() == Some(&value));
        if let Some(known) = known.and_then(|known| Arc::clone(known).downcast().ok()) {
            return known;
        }
        let new = Arc::new(value);
        if values.len() == FEW {
            values.remove(0);
        }
        values.push(Arc::clone(&new) as Arc<dyn Any + Send + Sync>);
        new
    })
}

/// What has that hash and is it; else a new one, which is kept.
fn found<T: Clone>(
    among: impl FnOnce(&mut Read) -> &mut HashMap<u64, T>,
    hash: u64,
    is_it: impl FnOnce(&T) -> bool,
    new: impl FnOnce() -> T,
) -> T {
    READ.with(|read| {
        let mut read = read.borrow_mut();
        let Some(known) = read.as_mut().map(among) else { return new() };
        if let Some(known) = known.get(&hash).filter(|known| is_it(known)) {
            return known.clone();
        }
        let new = new();
        known.insert(hash, new.clone());
        new
    })
}

/// A text that need not be copied to be looked at.
#[derive(Deserialize)]
struct Words<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Step {
        #[serde(deserialize_with = "text")]
        wave: Arc<str>,
        #[serde(default, deserialize_with = "pair")]
        pair: Option<Arc<Pair>>,
        #[serde(default, deserialize_with = "few")]
        limits: Vec<Arc<u64>>,
    }

    const STEPS: &str = r#"[
        {"wave": "a\tb", "pair": {"source": "x", "target": "y"}, "limits": [1, 2, 1]},
        {"wave": "b", "pair": {"source": "y", "target": "x"}, "limits": [2]},
        {"wave": "a\tb", "pair": {"source": "x", "target": "y"}},
        {"wave": "b", "pair": null}
    ]"#;

    fn read() -> Vec<Step> {
        serde_json::from_str(STEPS).unwrap()
    }

    #[test]
    fn what_is_read_twice_is_there_once() {
        let reading = begin();
        let [a, b, again, last] = &read()[..] else { panic!("four") };
        assert_eq!((&*a.wave, &*b.wave), ("a\tb", "b"));
        assert!(Arc::ptr_eq(&a.wave, &again.wave) && Arc::ptr_eq(&b.wave, &last.wave));
        let [Some(there), Some(back), Some(same), None] = [&a.pair, &b.pair, &again.pair, &last.pair] else {
            panic!("three pairs")
        };
        assert_eq!((&*there.source, &*there.target, &*back.source), ("x", "y", "y"));
        assert!(Arc::ptr_eq(there, same) && !Arc::ptr_eq(there, back));
        assert_eq!(a.limits, [1, 2, 1].map(Arc::new));
        assert!(Arc::ptr_eq(&a.limits[0], &a.limits[2]) && Arc::ptr_eq(&a.limits[1], &b.limits[0]));
        drop(reading);
        let later = read();
        assert!(!Arc::ptr_eq(&a.wave, &later[0].wave) && !Arc::ptr_eq(&later[0].wave, &later[2].wave));
        assert_eq!(later[0].wave, a.wave);
    }

    #[test]
    fn of_many_values_the_last_are_shared_and_all_are_right() {
        let _reading = begin();
        let mut from = serde_json::Deserializer::from_str("[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,1,17]");
        let read: Vec<Arc<u64>> = few(&mut from).unwrap();
        assert_eq!(read.iter().map(|n| **n).collect::<Vec<_>>(), (1..=17).chain([1, 17]).collect::<Vec<_>>());
        assert!(!Arc::ptr_eq(&read[0], &read[17]) && Arc::ptr_eq(&read[16], &read[18]));
    }
}
