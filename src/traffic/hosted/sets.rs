//! The record sets of a name, the pool that they are, and what they become.
//!
//! Pure. Must never leave a name without an address or without any weight, and never lose what a set has besides.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::fields::template;
use crate::model::{Change, Member, Mode};

/// How the records of a pool make shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Records {
    /// A record set for each address, with a weight.
    Weighted,
    /// A record set for each address, up to eight of which are answered.
    Multivalue,
    /// One record set with all addresses.
    Plain,
}

/// What the record sets of an API are called, where messages speak of them.
#[derive(Debug, PartialEq, Eq)]
pub struct Words {
    /// What people call the API: `Route 53`.
    pub title: &'static str,
    /// What to do about sets that are of another kind than the settings say.
    pub kinds: &'static str,
    /// What to do about a weight with several addresses.
    pub one_each: &'static str,
    /// What becomes of records whose weights are all 0, as the rest of a sentence.
    pub all_zero: &'static str,
}

/// A record set, or one item of a weighted one. To be deleted it must be told exactly.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordSet {
    /// As it is told: with a dot at the end.
    pub name: String,
    /// `A`, `AAAA`, …
    pub rtype: String,
    pub id: Option<String>,
    pub weight: Option<u16>,
    pub multivalue: Option<bool>,
    pub ttl: Option<u32>,
    pub values: Vec<String>,
    pub health_check: Option<String>,
    /// Parts that are not known here: it is by another policy, or an alias.
    pub other: Vec<String>,
}

/// All sets of one name, in the order of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sets {
    pub records: Records,
    pub words: &'static Words,
    pub all: Vec<RecordSet>,
}

/// Why sets are no pool, or cannot become what is wanted: a sentence and what to do.
#[derive(Debug, PartialEq, Eq)]
pub struct Unfit(pub String, pub &'static str);

impl Sets {
    /// Whether they are what the settings say; else what is wrong.
    pub fn check(&self) -> Result<(), Unfit> {
        if self.all.is_empty() {
            return Err(Unfit(
                "has no address records".to_owned(),
                "check the pool's name; the first record is made by hand",
            ));
        }
        for set in &self.all {
            let called =
                set.id.as_ref().map(|id| format!(" `{}`", crate::text::escape(id.as_bytes(), 60))).unwrap_or_default();
            let what = format!("{}{called}", set.rtype);
            if let Some(other) = set.other.first() {
                let other = crate::text::escape(other.as_bytes(), 60);
                return Err(Unfit(
                    format!("has the record set {what} with {other}"),
                    "use a name whose sets are plain or by weight, with nothing besides",
                ));
            }
            if !["A", "AAAA"].contains(&set.rtype.as_str()) {
                return Err(Unfit(
                    format!("is a {what}, not a name with addresses"),
                    "use the name that it stands for",
                ));
            }
            if set.kind() != Some(self.records) {
                return Err(Unfit(format!("has the record set {what}, which is {}", set.words()), self.words.kinds));
            }
            if self.records != Records::Plain && set.values.len() != 1 {
                let many = set.values.len();
                return Err(Unfit(format!("has the record set {what} with {many} addresses"), self.words.one_each));
            }
        }
        let mut names: Vec<&String> = self.all.iter().flat_map(|set| &set.values).collect();
        names.sort();
        match names.windows(2).find(|pair| pair.first() == pair.last()).and_then(|pair| pair.first()) {
            Some(twice) => Err(Unfit(
                format!("has {} in two record sets", crate::text::escape(twice.as_bytes(), 60)),
                "keep one of them",
            )),
            None => Ok(()),
        }
    }

    /// Each address as a member of a pool.
    pub fn members(&self) -> Vec<Member> {
        let member = |set: &RecordSet, value: &String| Member {
            name: normal(value),
            weight: set.weight.unwrap_or(1),
            mode: Mode::Ready,
            connections: None,
            sessions: None,
            up: None,
        };
        self.all.iter().flat_map(|set| set.values.iter().map(move |value| member(set, value))).collect()
    }

    /// The longest time that any of them may stay in a cache.
    pub fn ttl(&self) -> Option<u32> {
        self.all.iter().filter_map(|set| set.ttl).max()
    }

    /// The sets after the changes, or why they cannot be.
    pub fn changed(&self, name: &str, changes: &[(IpAddr, u16)]) -> Result<Self, Unfit> {
        let mut after = self.clone();
        for (ip, weight) in changes {
            match self.records {
                Records::Weighted => after.weigh(name, *ip, *weight),
                Records::Multivalue => after.list(name, *ip, *weight > 0),
                Records::Plain => after.include(name, *ip, *weight > 0),
            }
        }
        after.all.retain(|set| !set.values.is_empty());
        if after.all.is_empty() {
            return Err(Unfit("would lose its last address".to_owned(), "add the new address before the old one goes"));
        }
        for rtype in ["A", "AAAA"] {
            let mut weights = after.all.iter().filter(|set| set.rtype == rtype).filter_map(|set| set.weight).peekable();
            if weights.peek().is_some() && weights.all(|weight| weight == 0) && self.records == Records::Weighted {
                let all_zero = self.words.all_zero;
                let what = format!("would have only {rtype} records of weight 0, {all_zero}");
                return Err(Unfit(what, "give another address its weight before"));
            }
        }
        Ok(after)
    }

    /// The same with another TTL.
    pub fn with_ttl(&self, ttl: u32) -> Self {
        let all = self.all.iter().map(|set| RecordSet { ttl: Some(ttl), ..set.clone() });
        Self { all: all.collect(), ..self.clone() }
    }

    fn find(&mut self, ip: IpAddr) -> Option<&mut RecordSet> {
        self.all.iter_mut().find(|set| set.values.iter().any(|value| value.parse() == Ok(ip)))
    }

    /// A set of one address, like those that are there.
    fn fresh(&self, name: &str, ip: IpAddr) -> RecordSet {
        // All sets of a name and a type have one TTL.
        let alike = self.all.iter().find(|set| set.rtype == rtype(ip));
        RecordSet {
            name: name.to_owned(),
            rtype: rtype(ip).to_owned(),
            id: Some(ip.to_string()),
            ttl: alike.map_or_else(|| self.ttl(), |set| set.ttl),
            values: vec![ip.to_string()],
            ..RecordSet::default()
        }
    }

    fn weigh(&mut self, name: &str, ip: IpAddr, weight: u16) {
        let fresh = self.fresh(name, ip);
        match self.find(ip) {
            Some(set) => set.weight = Some(weight),
            None => self.all.push(RecordSet { weight: Some(weight), ..fresh }),
        }
    }

    fn list(&mut self, name: &str, ip: IpAddr, there: bool) {
        let fresh = self.fresh(name, ip);
        match (self.find(ip), there) {
            (Some(set), false) => set.values.clear(),
            (None, true) => self.all.push(RecordSet { multivalue: Some(true), ..fresh }),
            _ => {}
        }
    }

    fn include(&mut self, name: &str, ip: IpAddr, there: bool) {
        let fresh = self.fresh(name, ip);
        match (self.find(ip), there) {
            (Some(set), false) => set.values.retain(|value| value.parse() != Ok(ip)),
            (None, true) => match self.all.iter_mut().find(|set| set.rtype == rtype(ip)) {
                Some(set) => set.values.push(ip.to_string()),
                None => self.all.push(RecordSet { id: None, ..fresh }),
            },
            _ => {}
        }
    }

    /// What has to be deleted and what created so that these become `after`.
    pub fn steps_to<'a>(&'a self, after: &'a Self) -> (Vec<&'a RecordSet>, Vec<&'a RecordSet>) {
        let gone = self.all.iter().filter(|set| !after.all.contains(set)).collect();
        let new = after.all.iter().filter(|set| !self.all.contains(set)).collect();
        (gone, new)
    }

    /// The same sets, in whatever order.
    pub fn same(&self, other: &Self) -> bool {
        self.all.len() == other.all.len() && self.all.iter().all(|set| other.all.contains(set))
    }

    /// For people: `192.0.2.1 (weight 100) and 192.0.2.2 (weight 0), TTL 60`.
    pub fn words(&self) -> String {
        let member = |m: Member| match self.records {
            Records::Weighted => format!("{} (weight {})", crate::text::escape(m.name.as_bytes(), 60), m.weight),
            _ => crate::text::escape(m.name.as_bytes(), 60),
        };
        let all: Vec<String> = self.members().into_iter().map(member).collect();
        let ttl = self.ttl().map(|ttl| format!(", TTL {ttl}")).unwrap_or_default();
        if all.is_empty() { "no address".to_owned() } else { crate::text::list(&all) + &ttl }
    }
}

impl RecordSet {
    fn kind(&self) -> Option<Records> {
        match (&self.id, self.weight, self.multivalue) {
            (None, None, None) => Some(Records::Plain),
            (Some(_), Some(_), None) => Some(Records::Weighted),
            (Some(_), None, Some(true)) => Some(Records::Multivalue),
            _ => None,
        }
    }

    fn words(&self) -> &'static str {
        match self.kind() {
            Some(Records::Plain) => "plain",
            Some(Records::Weighted) => "weighted",
            Some(Records::Multivalue) => "multivalue",
            None => "of another kind",
        }
    }
}

fn rtype(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "A" } else { "AAAA" }
}

/// Types that addresses are, or that stand in their place.
pub fn in_question(rtype: &str) -> bool {
    ["A", "AAAA", "CNAME"].contains(&rtype)
}

/// An address as members are called.
fn normal(value: &str) -> String {
    value.parse::<IpAddr>().map_or_else(|_| value.to_owned(), |ip| ip.to_string())
}

/// What each address shall weigh; without a drain, who is not ready has none. A member that is no address is returned with the reason.
pub fn wishes(changes: &[Change]) -> Result<Vec<(IpAddr, u16)>, (&str, template::Unfit)> {
    let wish = |change: &Change| if change.mode == Mode::Ready { change.weight } else { 0 };
    let address = |change: &'_ Change| super::super::dns::kind::address(&change.member);
    changes.iter().map(|c| address(c).map(|ip| (ip, wish(c))).map_err(|unfit| (c.member.as_str(), unfit))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: Words = Words { title: "T", kinds: "say it", one_each: "one each", all_zero: "which is bad" };

    fn weighted(value: &str, weight: u16) -> RecordSet {
        RecordSet {
            name: "www.lab.test.".to_owned(),
            rtype: "A".to_owned(),
            id: Some(format!("set {value}")),
            weight: Some(weight),
            ttl: Some(60),
            values: vec![value.to_owned()],
            health_check: Some("abc".to_owned()),
            ..RecordSet::default()
        }
    }

    fn sets(records: Records, all: Vec<RecordSet>) -> Sets {
        Sets { records, words: &WORDS, all }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_weight_changes_one_set_and_nothing_else_of_it() {
        let before = sets(Records::Weighted, vec![weighted("192.0.2.1", 100), weighted("192.0.2.2", 0)]);
        let after = before.changed("www.lab.test.", &[(ip("192.0.2.2"), 50), (ip("198.51.100.1"), 7)]).unwrap();
        let (gone, new) = before.steps_to(&after);
        assert_eq!(gone, [&weighted("192.0.2.2", 0)]);
        assert_eq!(new[0], &weighted("192.0.2.2", 50));
        let added = new[1];
        assert_eq!((added.id.as_deref(), added.weight, added.ttl), (Some("198.51.100.1"), Some(7), Some(60)));
        assert_eq!(after.words(), "192.0.2.1 (weight 100), 192.0.2.2 (weight 50) and 198.51.100.1 (weight 7), TTL 60");
    }

    #[test]
    fn weights_that_are_all_zero_are_refused_because_they_are_equal_shares() {
        let before = sets(Records::Weighted, vec![weighted("192.0.2.1", 100), weighted("192.0.2.2", 0)]);
        let unfit = before.changed("www.lab.test.", &[(ip("192.0.2.1"), 0)]).unwrap_err();
        assert!(unfit.0.contains("only A records of weight 0, which is bad"), "{unfit:?}");
    }

    #[test]
    fn plain_sets_keep_their_other_values_and_never_lose_the_last() {
        let plain =
            RecordSet { id: None, weight: None, values: vec!["192.0.2.1".to_owned()], ..weighted("192.0.2.1", 0) };
        let before = sets(Records::Plain, vec![plain]);
        let both = before.changed("www.lab.test.", &[(ip("198.51.100.1"), 1), (ip("2001:db8::1"), 1)]).unwrap();
        assert_eq!(both.words(), "192.0.2.1, 198.51.100.1 and 2001:db8::1, TTL 60");
        assert_eq!(both.all.len(), 2, "a set for each family");
        let unfit = before.changed("www.lab.test.", &[(ip("192.0.2.1"), 0)]).unwrap_err();
        assert_eq!(unfit.0, "would lose its last address");
    }

    #[test]
    fn a_new_set_has_the_ttl_of_its_own_type() {
        let six = RecordSet { rtype: "AAAA".to_owned(), ttl: Some(300), ..weighted("2001:db8::1", 1) };
        let before = sets(Records::Weighted, vec![six, weighted("192.0.2.1", 1)]);
        let after = before.changed("www.lab.test.", &[(ip("192.0.2.2"), 1), (ip("2001:db8::2"), 1)]).unwrap();
        assert_eq!(after.all.iter().map(|set| set.ttl).collect::<Vec<_>>(), [300, 60, 60, 300].map(Some));
    }

    #[test]
    fn sets_that_are_no_pool_are_said_to_be_what_they_are() {
        let why = |records, set: RecordSet| sets(records, vec![set]).check().unwrap_err().0;
        assert_eq!(
            why(Records::Plain, weighted("192.0.2.1", 1)),
            "has the record set A `set 192.0.2.1`, which is weighted"
        );
        let alias = RecordSet { other: vec!["AliasTarget".to_owned()], ..weighted("192.0.2.1", 1) };
        assert_eq!(why(Records::Weighted, alias), "has the record set A `set 192.0.2.1` with AliasTarget");
        let cname = RecordSet { rtype: "CNAME".to_owned(), ..weighted("x.lab.test.", 1) };
        assert!(why(Records::Weighted, cname).starts_with("is a CNAME"));
        let two = RecordSet { values: vec!["192.0.2.1".to_owned(), "192.0.2.2".to_owned()], ..weighted("x", 1) };
        assert!(why(Records::Weighted, two).contains("with 2 addresses"));
        let twice = sets(
            Records::Weighted,
            vec![weighted("192.0.2.1", 1), RecordSet { id: Some("b".to_owned()), ..weighted("192.0.2.1", 2) }],
        );
        assert_eq!(twice.check().unwrap_err().0, "has 192.0.2.1 in two record sets");
        assert_eq!(sets(Records::Plain, Vec::new()).check().unwrap_err().0, "has no address records");
    }
}
