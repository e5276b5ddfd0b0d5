//! What inventories say alike of every kind of hosted zone.

use std::net::SocketAddr;

use super::super::dns::settings::server;
use super::exchange;
use super::sets::Records;
use crate::yaml::map::{Map, one_of};

/// How records make shares: one of `kinds`, the first unless given.
pub fn records(map: &Map<'_>, kinds: &[(&'static str, Records)]) -> Option<Records> {
    let usual = kinds.first().map(|kind| kind.1);
    let given = map.get("records");
    given.map_or(usual, |v| one_of(v, "a kind of records", "kinds of records", kinds).map(|found| found.value))
}

/// Name servers of the zone that can be asked.
pub fn servers(map: &Map<'_>) -> Option<Vec<SocketAddr>> {
    map.get("servers").map_or(Some(Vec::new()), |v| v.one_or_many().iter().map(|v| server(*v)).collect())
}

/// Where the API answers.
pub fn endpoint(map: &Map<'_>, usual: &str) -> Option<String> {
    map.get("endpoint").map_or_else(|| Some(usual.to_owned()), |v| exchange::endpoint(v, usual))
}
