//! Who still came to the old address of a source, by day and address.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::text;

/// Clients that people are told by name.
const TOLD: usize = 5;

/// Who came since that was recorded before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Came {
    /// The day, in UTC.
    pub day: Date,
    /// How often, by address.
    pub clients: BTreeMap<String, u64>,
    /// How often others, whose addresses the source could not keep.
    #[serde(default)]
    pub others: u64,
    /// All that the source has counted.
    pub counted: Counted,
    /// Whether it had begun to count anew.
    #[serde(default)]
    pub anew: bool,
}

/// What a source counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Connections that were begun.
    pub came: u64,
    /// Those of them that were answered.
    pub answered: u64,
    /// Packets that were sent on.
    pub carried: u64,
}

/// Everybody who came.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Relayed {
    /// When that was recorded last; `None`: nobody has come.
    pub at: Option<Timestamp>,
    /// How often each came, by day and address.
    pub days: BTreeMap<Date, BTreeMap<String, u64>>,
    /// How often others came.
    pub others: u64,
    /// All that the source has counted since it began to.
    pub counted: Counted,
    /// The same by address.
    #[serde(skip)]
    pub clients: BTreeMap<String, u64>,
}

impl Relayed {
    /// With who came since.
    pub fn add(&mut self, came: &Came, at: Timestamp) {
        if came.anew {
            self.clients.clear();
        }
        for (client, n) in &came.clients {
            *self.clients.entry(client.clone()).or_default() += n;
            *self.days.entry(came.day).or_default().entry(client.clone()).or_default() += n;
        }
        self.others += came.others;
        self.counted = came.counted;
        self.at = Some(at);
    }

    /// The source counts from nothing again.
    pub fn begin_anew(&mut self) {
        (self.at, self.counted) = (None, Counted::default());
        self.clients.clear();
    }

    /// Whether it is told already that somebody came on a day.
    pub fn knows(&self, day: Date, client: &str) -> bool {
        self.days.get(&day).is_some_and(|clients| clients.contains_key(client))
    }

    /// For people.
    pub fn told(&self) -> String {
        let mut clients: BTreeMap<&str, u64> = BTreeMap::new();
        for (client, n) in self.days.values().flatten() {
            *clients.entry(client).or_default() += n;
        }
        let all = clients.values().sum::<u64>() + self.others;
        let Some(last) = self.days.keys().next_back().filter(|_| all > 0) else {
            return if all > 0 { format!("clients came {all} times") } else { "nobody has come".to_owned() };
        };
        let mut most: Vec<(&str, u64)> = clients.into_iter().collect();
        most.sort_by_key(|(client, n)| (std::cmp::Reverse(*n), *client));
        let rest = most.iter().skip(TOLD).map(|(_, n)| n).sum::<u64>() + self.others;
        let mut named: Vec<String> = most.iter().take(TOLD).map(|(client, n)| format!("{client} ({n})")).collect();
        if rest > 0 {
            named.push(format!("others ({rest})"));
        }
        let (times, days) = (text::count(all, "time"), text::count(self.days.len() as u64, "day"));
        format!("clients came {times} on {days}, last on {last}: {}", text::list(&named))
    }
}
