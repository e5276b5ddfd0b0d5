//! What a zone's name servers answer, where they can be asked: an API says that a change is done when it has told them, not when they have it.
//!
//! Weights cannot be seen in answers: what can is that only addresses with a weight are answered, with the right TTL.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::super::dns::lookup::{self, Addresses, Owner};
use super::super::dns::refusal::Question;
use super::sets::{Records, Sets};
use crate::outside::{Error, Kind};

/// How often a server is asked that draws each answer anew.
const DRAWS: usize = 8;
/// How many addresses are answered at most where not all are.
const SOME: usize = 8;

/// Name servers of a zone that can be asked.
pub struct Servers<'a> {
    /// What the director is called in the inventory.
    pub name: &'a str,
    /// The zone's name in DNS.
    pub domain: &'a str,
    pub at: &'a [SocketAddr],
}

impl Servers<'_> {
    /// The first one that answers otherwise than these sets say.
    pub async fn behind(&self, owner: &str, sets: &Sets) -> Result<Option<Error>, Error> {
        let owner = owner.trim_end_matches('.');
        let parsed = |name: &str| name.parse::<Owner>().ok();
        let Some((zone, wire)) = parsed(self.domain).zip(parsed(owner)) else { return Ok(None) };
        let wanted = Wanted::of(sets);
        for server in self.at {
            let at = format!("{} (server {server})", self.name);
            let draws = if wanted.drawn { DRAWS } else { 1 };
            for _ in 0..draws {
                let seen = lookup::authoritative(*server, &zone, &wire, None).await;
                let question = Question { server: at.clone(), zone: self.domain, owner, key: None, records: 0 };
                let seen = seen.map_err(|failure| question.failed(failure))?.addresses;
                if !wanted.is_met_by(&seen) {
                    return Ok(Some(otherwise(at, &seen, sets)));
                }
            }
        }
        Ok(None)
    }
}

fn otherwise(at: String, seen: &Addresses, sets: &Sets) -> Error {
    let ttl = seen.ttl().map(|ttl| format!(" with TTL {ttl}")).unwrap_or_default();
    let what = format!("it answers {}{ttl}, the API says {}", seen.in_words(), sets.words());
    let hint = format!("name servers follow the API after a while: run again, then see {}'s status", sets.words.title);
    Error::new(at, Kind::Disagrees, what).hint(hint)
}

/// What may be answered.
struct Wanted {
    all: BTreeSet<IpAddr>,
    ttl_v4: Option<u32>,
    ttl_v6: Option<u32>,
    /// Each answer has some of them only.
    drawn: bool,
}

impl Wanted {
    fn of(sets: &Sets) -> Self {
        let ttl = |rtype: &str| sets.all.iter().find(|set| set.rtype == rtype).and_then(|set| set.ttl);
        let served = sets.members().into_iter().filter(|member| member.weight > 0);
        let all: BTreeSet<IpAddr> = served.filter_map(|member| member.name.parse().ok()).collect();
        let drawn = match sets.records {
            Records::Weighted => true,
            // What fails its check is not answered.
            Records::Multivalue => all.len() > SOME || sets.all.iter().any(|set| set.health_check.is_some()),
            Records::Plain => false,
        };
        Self { all, ttl_v4: ttl("A"), ttl_v6: ttl("AAAA"), drawn }
    }

    fn is_met_by(&self, seen: &Addresses) -> bool {
        let same_ttl = |seen: Option<u32>, wanted| seen.is_none() || seen == wanted;
        let answered = match self.drawn {
            true => !seen.all.is_empty() && seen.all.is_subset(&self.all),
            false => seen.all == self.all,
        };
        answered && same_ttl(seen.ttl_v4, self.ttl_v4) && same_ttl(seen.ttl_v6, self.ttl_v6)
    }
}

#[cfg(test)]
mod tests {
    use super::super::sets::{RecordSet, Words};
    use super::*;

    const WORDS: Words = Words { title: "the zone", kinds: "", one_each: "", all_zero: "" };

    fn sets(records: Records) -> Sets {
        let set = |weight: u16, values: &[&str]| RecordSet {
            rtype: "A".to_owned(),
            ttl: Some(60),
            weight: Some(weight).filter(|_| records == Records::Weighted),
            values: values.iter().map(|v| (*v).to_owned()).collect(),
            ..RecordSet::default()
        };
        let all = match records {
            Records::Weighted => vec![set(7, &["192.0.2.1"]), set(3, &["192.0.2.2"]), set(0, &["192.0.2.3"])],
            Records::Multivalue => vec![set(0, &["192.0.2.1"]), set(0, &["192.0.2.2"])],
            Records::Plain => vec![set(0, &["192.0.2.1", "192.0.2.2"])],
        };
        Sets { records, words: &WORDS, all }
    }

    fn met(sets: &Sets, all: &[&str], ttl: u32) -> bool {
        let all = all.iter().map(|ip| ip.parse().unwrap()).collect();
        Wanted::of(sets).is_met_by(&Addresses { all, ttl_v4: Some(ttl), ..Addresses::default() })
    }

    #[test]
    fn an_answer_is_of_those_that_have_a_weight_or_has_all_of_them() {
        let weighted = sets(Records::Weighted);
        assert!(met(&weighted, &["192.0.2.1"], 60) && met(&weighted, &["192.0.2.2"], 60));
        assert!(!met(&weighted, &["192.0.2.3"], 60), "it has no weight any more");
        assert!(!met(&weighted, &["192.0.2.1"], 300), "the TTL is an old one");
        assert!(!met(&weighted, &[], 60), "nothing is no answer");
        for all in [sets(Records::Plain), sets(Records::Multivalue)] {
            assert!(met(&all, &["192.0.2.1", "192.0.2.2"], 60) && !met(&all, &["192.0.2.1"], 60));
        }
    }

    #[test]
    fn an_address_that_is_checked_by_others_may_be_missing() {
        let mut checked = sets(Records::Multivalue);
        checked.all[0].health_check = Some("hc-1".to_owned());
        assert!(met(&checked, &["192.0.2.2"], 60) && !met(&checked, &["192.0.2.9"], 60));
    }
}
