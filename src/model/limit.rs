//! What pairs and copies may do together that have a host in one place.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Pair;
use crate::text;

/// A bound for a place: a site, what is behind a jump host, a rack, or everywhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// Where it holds.
    pub place: LimitedPlace,
    /// Hosts of the plan that are there; none where it holds everywhere.
    pub hosts: BTreeSet<String>,
    /// Bytes per second of all copies together whose data goes in or out.
    pub bandwidth: Option<u64>,
    /// Copies, comparisons and streams under way at once.
    pub streams: Option<usize>,
    /// Pairs out of service at once.
    pub max_unavailable: Option<usize>,
}

/// Where a limit holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitedPlace {
    /// Everywhere.
    Everywhere,
    /// Within a site.
    Site(String),
    /// Behind a jump host.
    Behind(String),
    /// Where hosts have a value for a variable.
    Var(String, String),
}

impl Limit {
    /// Whether a host of a pair is there.
    pub fn holds_for(&self, pair: &Pair) -> bool {
        self.place == LimitedPlace::Everywhere || self.hosts.contains(&pair.source) || self.hosts.contains(&pair.target)
    }

    /// Whether data between the two hosts of a pair goes in or out. What is behind a jump host may go through it on the way to the
    /// controller, wherever it goes from there.
    pub fn is_crossed_by(&self, pair: &Pair) -> bool {
        let (source, target) = (self.hosts.contains(&pair.source), self.hosts.contains(&pair.target));
        match self.place {
            LimitedPlace::Everywhere => true,
            LimitedPlace::Behind(_) => source || target,
            LimitedPlace::Site(_) | LimitedPlace::Var(..) => source != target,
        }
    }

    /// What it bounds, for people.
    pub fn bounds(&self) -> String {
        let rate = self.bandwidth.map(|rate| format!("{}/s", text::bytes(rate)));
        let streams = self.streams.map(|n| text::count(n as u64, "stream"));
        let pairs = self.max_unavailable.map(|n| format!("{} out of service", text::count(n as u64, "pair")));
        let all: Vec<String> = [rate, streams, pairs].into_iter().flatten().collect();
        format!("at most {}", text::list(&all))
    }

    /// Limits of several places of one kind that bound the same are told once.
    pub fn told(limits: &[Self]) -> Vec<String> {
        let kind = |limit: &Self| (limit.place.kind(), limit.bounds());
        let alike = limits.chunk_by(|a, b| kind(a) == kind(b));
        alike
            .filter_map(|alike| {
                let first = alike.first()?;
                let place = match alike.len() {
                    1 => first.place.to_string(),
                    n => format!("each of {} {}", text::grouped(n as u64), first.place.kind()),
                };
                Some(format!("{place}: {}", first.bounds()))
            })
            .collect()
    }
}

impl LimitedPlace {
    /// What several of one kind are called: limits of one kind hold for other hosts each.
    pub fn kind(&self) -> String {
        match self {
            Self::Everywhere => String::new(),
            Self::Site(_) => "sites".to_owned(),
            Self::Behind(_) => "jump hosts".to_owned(),
            Self::Var(name, _) => format!("values of {name}"),
        }
    }
}

impl fmt::Display for LimitedPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everywhere => f.write_str("everywhere"),
            Self::Site(name) => write!(f, "site {name}"),
            Self::Behind(host) => write!(f, "behind {host}"),
            Self::Var(name, value) => write!(f, "{name} {value}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(place: LimitedPlace, hosts: &[&str]) -> Limit {
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        Limit { place, hosts, bandwidth: Some(1 << 20), streams: None, max_unavailable: Some(1) }
    }

    fn pair(source: &str, target: &str) -> Pair {
        Pair { source: source.into(), target: target.into() }
    }

    #[test]
    fn data_within_a_site_does_not_use_its_uplink() {
        let site = limit(LimitedPlace::Site("dal".into()), &["a", "b"]);
        let crosses = |source, target| site.is_crossed_by(&pair(source, target));
        assert!(crosses("a", "x") && crosses("x", "b") && !crosses("a", "b") && !crosses("x", "y"));
        assert!(site.holds_for(&pair("a", "b")) && !site.holds_for(&pair("x", "y")));
        let behind = limit(LimitedPlace::Behind("gate".into()), &["a", "b"]);
        assert!(behind.is_crossed_by(&pair("a", "b")) && !behind.is_crossed_by(&pair("x", "y")));
    }

    #[test]
    fn what_is_much_of_a_kind_is_told_once() {
        let racks = (1..=12).map(|n| limit(LimitedPlace::Var("rack".into(), n.to_string()), &[]));
        let all: Vec<Limit> = racks.chain([limit(LimitedPlace::Site("dal".into()), &[])]).collect();
        let bounds = "at most 1.0 MiB/s and 1 pair out of service";
        assert_eq!(Limit::told(&all), [format!("each of 12 values of rack: {bounds}"), format!("site dal: {bounds}")]);
    }
}
