//! Connections that nobody uses are closed where there are many: each is an open file here, and a process on its host.
//!
//! Must never close one that somebody uses or is about to use, and none that another one goes through.

use std::collections::HashMap;
use std::sync::Arc;

use super::config::Endpoint;
use super::pool::{Lane, Place};
use super::session::Session;

/// Takes those away that have been idle for longest, where there are more than are kept. Whoever holds a place, a session or a stream on it
/// (a jump goes through one) has a reference of its own: what only the pool refers to is idle, and stays so while the pool is locked.
pub(super) fn take(places: &mut HashMap<(Arc<Endpoint>, Lane), Place>, kept: usize) -> Vec<Arc<Session>> {
    if places.len() <= kept {
        return Vec::new();
    }
    let mut idle = Vec::new();
    for (key, place) in places.iter().filter(|(_, place)| Arc::strong_count(place) == 1) {
        let Ok(connection) = place.try_lock() else { continue };
        match &connection.session {
            Some(session) if Arc::strong_count(session) > 1 => {}
            // Without a session nothing is open: it is only a name.
            Some(_) => idle.push((Some(connection.used), key.clone())),
            None => idle.push((None, key.clone())),
        }
    }
    idle.sort_by_key(|(used, _)| *used);
    // Some more than has to be: not to look again at the next one.
    let enough = kept - kept / 4;
    let too_many = places.len().saturating_sub(enough);
    let mut taken = Vec::new();
    for (_, key) in idle.into_iter().take(too_many) {
        let place = places.remove(&key);
        taken.extend(place.and_then(|place| place.try_lock().ok()?.session.take()));
    }
    taken
}
