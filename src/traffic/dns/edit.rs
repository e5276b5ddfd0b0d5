//! From changes of members to the record sets that a name shall have.
//!
//! Pure. Must never leave a name without any address.

use std::net::IpAddr;

use domain::base::Rtype;

use super::kind;
use super::lookup::Addresses;
use crate::fields::template::Unfit;
use crate::model::{Change, Member, Mode};

impl Addresses {
    /// The addresses of one family.
    pub fn of(&self, family: Rtype) -> impl Iterator<Item = IpAddr> {
        self.all.iter().copied().filter(move |ip| ip.is_ipv4() == (family == Rtype::A))
    }

    /// The TTL of one family's records; `None` without any.
    pub fn ttl_of(&self, family: Rtype) -> Option<u32> {
        if family == Rtype::A { self.ttl_v4 } else { self.ttl_v6 }
    }

    /// The TTL of the records that an address belongs to.
    pub fn ttl_of_address(&self, ip: IpAddr) -> Option<u32> {
        self.ttl_of(if ip.is_ipv4() { Rtype::A } else { Rtype::AAAA })
    }

    /// These addresses after the changes, each record set with the TTL it has, a new one with that of the other family.
    pub fn changed(&self, changes: &[(IpAddr, bool)]) -> Self {
        let mut after = self.clone();
        for (ip, present) in changes {
            match present {
                true => after.all.insert(*ip),
                false => after.all.remove(ip),
            };
        }
        let ttl = self.ttl();
        let (v4, v6) = (after.of(Rtype::A).next(), after.of(Rtype::AAAA).next());
        after.ttl_v4 = v4.and(self.ttl_v4.or(ttl));
        after.ttl_v6 = v6.and(self.ttl_v6.or(ttl));
        after
    }

    /// These addresses with another TTL.
    pub fn with_ttl(&self, ttl: u32) -> Self {
        let mut after = self.clone();
        after.ttl_v4 = self.ttl_v4.map(|_| ttl);
        after.ttl_v6 = self.ttl_v6.map(|_| ttl);
        after
    }

    /// Each address as a member of a pool.
    pub fn members(&self) -> Vec<Member> {
        let member = |ip: &IpAddr| Member {
            name: ip.to_string(),
            weight: 1,
            mode: Mode::Ready,
            connections: None,
            sessions: None,
            up: None,
        };
        self.all.iter().map(member).collect()
    }

    /// For people: `192.0.2.1 and 192.0.2.2`, or `no address`.
    pub fn in_words(&self) -> String {
        let names: Vec<String> = self.all.iter().map(IpAddr::to_string).collect();
        match names.is_empty() {
            true => "no address".to_owned(),
            false => crate::text::list(&names),
        }
    }
}

/// Whether each address shall be there. A member that is no address is returned with the reason.
pub(in crate::traffic) fn wishes(changes: &[Change]) -> Result<Vec<(IpAddr, bool)>, (&str, Unfit)> {
    let wish = |change: &Change| change.weight > 0 && change.mode == Mode::Ready;
    changes
        .iter()
        .map(|change| match kind::address(&change.member) {
            Ok(ip) => Ok((ip, wish(change))),
            Err(unfit) => Err((change.member.as_str(), unfit)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(all: &[&str], ttl_v4: Option<u32>, ttl_v6: Option<u32>) -> Addresses {
        Addresses { all: all.iter().map(|a| a.parse().unwrap()).collect(), ttl_v4, ttl_v6, negative_ttl: None }
    }

    fn change(member: &str, weight: u16, mode: Mode) -> Change {
        Change { member: member.to_owned(), weight, mode }
    }

    #[test]
    fn a_new_family_takes_the_ttl_of_the_other_one() {
        let before = addresses(&["192.0.2.1"], Some(30), None);
        let after = before.changed(&[("2001:db8::1".parse().unwrap(), true)]);
        assert_eq!(after, addresses(&["192.0.2.1", "2001:db8::1"], Some(30), Some(30)));
        assert_eq!(
            after.changed(&[("192.0.2.1".parse().unwrap(), false)]),
            addresses(&["2001:db8::1"], None, Some(30))
        );
    }

    #[test]
    fn only_a_ready_member_with_weight_is_there() {
        let changes = [
            change("192.0.2.1", 1, Mode::Ready),
            change("192.0.2.2", 0, Mode::Ready),
            change("192.0.2.3", 1, Mode::Drain),
            change("192.0.2.4", 1, Mode::Maint),
        ];
        assert_eq!(
            wishes(&changes).unwrap().into_iter().map(|(_, there)| there).collect::<Vec<_>>(),
            [true, false, false, false]
        );
    }
}
