//! What nftables has counted of clients that a relay sends on.
//!
//! Must never take what cannot be read for nothing.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use jiff::civil::Date;
use serde_json::Value;

use crate::event::{Came, Counted, Relayed};

/// Everything that a table has counted since it was set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    pub came: u64,
    pub answered: u64,
    pub carried: u64,
    pub clients: BTreeMap<String, u64>,
}

/// Reads what `nft -j list table` prints. Nothing at all is a table in which nothing was counted: its status has told that it is there.
pub fn read(printed: &[u8]) -> Result<Counts, String> {
    if printed.is_empty() {
        return Ok(Counts::default());
    }
    let printed: Value = serde_json::from_slice(printed).map_err(|e| e.to_string())?;
    let things = printed.get("nftables").and_then(Value::as_array).ok_or("there is no list of what is in it")?;
    let counter = |name: &str| {
        let is = |thing: &&Value| thing.pointer("/counter/name").and_then(Value::as_str) == Some(name);
        let packets = things.iter().find(is).and_then(|thing| thing.pointer("/counter/packets")?.as_u64());
        packets.ok_or_else(|| format!("there is no counter `{name}`"))
    };
    let is_set = |thing: &&Value| thing.pointer("/set/name").and_then(Value::as_str) == Some("clients");
    let set = things.iter().find(is_set).ok_or("there is no set `clients`")?;
    let elements = set.pointer("/set/elem").and_then(Value::as_array).into_iter().flatten();
    let clients = elements.map(|element| client(element).ok_or_else(|| "its clients are told otherwise".to_owned()));
    Ok(Counts {
        came: counter("came")?,
        answered: counter("answered")?,
        carried: counter("carried")?,
        clients: clients.collect::<Result<_, _>>()?,
    })
}

fn client(element: &Value) -> Option<(String, u64)> {
    let address: Ipv4Addr = element.pointer("/elem/val")?.as_str()?.parse().ok()?;
    Some((address.to_string(), element.pointer("/elem/counter/packets")?.as_u64()?))
}

impl Counts {
    /// As they were when they were recorded last.
    pub fn recorded(relayed: &Relayed) -> Self {
        let Counted { came, answered, carried } = relayed.counted;
        Self { came, answered, carried, clients: relayed.clients.clone() }
    }

    /// What is not recorded yet, as of a day; `None` where there is nothing. Where less is counted than before, counting has begun anew.
    pub fn since(&self, relayed: &Relayed, day: Date) -> Option<Came> {
        let before = Self::recorded(relayed);
        if *self == before {
            return None;
        }
        let anew = self.came < before.came || self.carried < before.carried;
        let before = if anew { Self::default() } else { before };
        let more = |(client, n): (&String, &u64)| {
            let new = n.saturating_sub(before.clients.get(client).copied().unwrap_or_default());
            (new > 0).then(|| (client.clone(), new))
        };
        let clients: BTreeMap<String, u64> = self.clients.iter().filter_map(more).collect();
        let others = (self.came - before.came).saturating_sub(clients.values().sum());
        let counted = Counted { came: self.came, answered: self.answered, carried: self.carried };
        Some(Came { day, clients, others, counted, anew })
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use jiff::civil::date;

    use super::*;

    fn counts(came: u64, clients: &[(&str, u64)]) -> Counts {
        let clients = clients.iter().map(|(client, n)| ((*client).to_owned(), *n)).collect();
        Counts { came, answered: came, carried: came * 5, clients }
    }

    #[test]
    fn what_nftables_prints_is_read_or_refused() {
        let printed = r#"{"nftables": [{"metainfo": {"version": "1.0.6"}},
            {"counter": {"family": "ip", "name": "came", "table": "t", "handle": 3, "packets": 3, "bytes": 120}},
            {"counter": {"name": "answered", "packets": 2, "bytes": 120}}, {"counter": {"name": "carried", "packets": 9, "bytes": 120}},
            {"set": {"name": "clients", "elem": [{"elem": {"val": "10.77.1.1", "counter": {"packets": 3, "bytes": 120}}}]}}]}"#;
        let read = |text: &str| super::read(text.as_bytes());
        let found = read(printed).unwrap();
        assert_eq!((found.came, found.answered, found.carried), (3, 2, 9));
        assert_eq!(found.clients, BTreeMap::from([("10.77.1.1".to_owned(), 3)]));
        assert_eq!(read("").unwrap(), Counts::default());
        assert!(read(&printed.replace("10.77.1.1", "a.b")).is_err());
        assert!(read(&printed.replace("carried", "else")).unwrap_err().contains("`carried`"));
        assert!(read("{").is_err());
    }

    #[test]
    fn each_client_counts_once_on_its_day_also_where_counting_began_anew() {
        let (monday, tuesday) = (date(2026, 11, 30), date(2026, 12, 1));
        let mut relayed = Relayed::default();
        let mut at = |counts: &Counts, day| {
            let came = counts.since(&relayed, day);
            came.iter().for_each(|came| relayed.add(came, Timestamp::UNIX_EPOCH));
            came
        };
        assert!(at(&counts(2, &[("10.0.0.1", 2)]), monday).is_some());
        assert_eq!(at(&counts(2, &[("10.0.0.1", 2)]), monday), None);
        let more = at(&counts(5, &[("10.0.0.1", 3), ("10.0.0.2", 1)]), tuesday).unwrap();
        assert_eq!((more.clients.len(), more.others, more.anew), (2, 1, false));
        let anew = at(&counts(1, &[("10.0.0.1", 1)]), tuesday).unwrap();
        assert!(anew.anew);
        let told = relayed.told();
        assert_eq!(
            told,
            "clients came 6 times on 2 days, last on 2026-12-01: 10.0.0.1 (4), 10.0.0.2 (1) and others (1)"
        );
    }
}
