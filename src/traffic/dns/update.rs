//! One dynamic update: compare, swap, sign, send, understand the answer.
//!
//! Must never change a record set that is not, at that moment, the one that was read before.

use std::net::{IpAddr, SocketAddr};

use domain::base::iana::{Class, Opcode, Rcode, TsigRcode};
use domain::base::message_builder::{AnswerBuilder, AuthorityBuilder, PushError};
use domain::base::rdata::UnknownRecordData;
use domain::base::{Message, MessageBuilder, Rtype, Ttl};
use domain::rdata::tsig::Time48;
use domain::rdata::{A, Aaaa, Tsig};
use domain::tsig::{ClientTransaction, ValidationError};

use super::key::{BadKey, Signer};
use super::lookup::{Addresses, Owner};
use crate::nameserver::{self, Lost};

/// A record set in a zone and what it must be for the update to happen.
pub(super) struct Update<'a> {
    pub zone: &'a Owner,
    pub owner: &'a Owner,
    pub before: &'a Addresses,
    /// What it becomes; `None` changes nothing and only finds out whether it could.
    pub after: Option<&'a Addresses>,
}

/// How a compare-and-swap went.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Swap {
    /// Done.
    Done,
    /// The records are not what they were; nothing was done.
    Conflict,
}

/// Why the server has not said how it went, or has refused.
pub(super) enum Rejection {
    /// The key cannot be used; nothing was sent.
    Key(BadKey),
    /// The server's answer.
    Rcode(Rcode),
    /// The server does not accept the signature; seconds that its clock is ahead of ours, where it says so.
    Tsig(TsigRcode, Option<i64>),
    /// No answer, or none that can be trusted: whether it was done is unknown.
    Lost(String),
}

/// Sends it to the primary.
pub(super) async fn send(server: SocketAddr, update: &Update<'_>, signer: Option<&Signer>) -> Result<Swap, Rejection> {
    let too_long = |_| Rejection::Lost("there are too many records for one update".to_owned());
    let mut message = update.compose().map_err(too_long)?.additional();
    let transaction = match signer {
        None => None,
        Some(signer) => {
            let key = signer.key().await.map_err(Rejection::Key)?;
            Some(ClientTransaction::request(key, &mut message, Time48::now()).map_err(too_long)?)
        }
    };
    let mut answer =
        nameserver::send(server, &message.into_message()).await.map_err(|Lost(why)| Rejection::Lost(why))?;
    swapped(&answer)?;
    if let Some(transaction) = transaction {
        // Refusals may come unsigned, so the rcode was looked at first; success must be signed.
        transaction.answer(&mut answer, Time48::now()).map_err(untrusted)?;
    }
    swapped(&answer)
}

fn swapped(answer: &Message<Vec<u8>>) -> Result<Swap, Rejection> {
    match answer.header().rcode() {
        Rcode::NOERROR => Ok(Swap::Done),
        Rcode::NXRRSET | Rcode::YXRRSET | Rcode::NXDOMAIN | Rcode::YXDOMAIN => Ok(Swap::Conflict),
        rcode => Err(tsig_error(answer).map_or(Rejection::Rcode(rcode), |(error, skew)| Rejection::Tsig(error, skew))),
    }
}

/// What the server says about the signature, when that is the reason, and how many seconds its clock is ahead of ours.
pub(super) fn tsig_error(answer: &Message<Vec<u8>>) -> Option<(TsigRcode, Option<i64>)> {
    let record = answer.get_last_additional::<Tsig<_, _>>()?;
    let error = record.data().error();
    let ours = i64::try_from(u64_of(record.data().time_signed())).ok()?;
    let skew = || i64::try_from(u64_of(record.data().other_time()?)).ok()?.checked_sub(ours);
    match error {
        TsigRcode::NOERROR => None,
        TsigRcode::BADTIME => Some((error, skew())),
        error => Some((error, None)),
    }
}

fn u64_of(time: Time48) -> u64 {
    time.into_octets().into_iter().fold(0, |n, octet| n << 8 | u64::from(octet))
}

fn untrusted(error: ValidationError) -> Rejection {
    Rejection::Lost(format!("its answer is not signed as it should be: {error}"))
}

impl Update<'_> {
    /// Zone, prerequisites and changes are in the question, answer and authority sections.
    fn compose(&self) -> Result<AuthorityBuilder<Vec<u8>>, PushError> {
        let mut builder = MessageBuilder::new_vec();
        builder.header_mut().set_random_id();
        builder.header_mut().set_opcode(Opcode::UPDATE);
        let mut builder = builder.question();
        builder.push((self.zone, Rtype::SOA))?;
        let mut prerequisites = builder.answer();
        // Beside an alias the server would take the addresses and ignore them.
        prerequisites.push((self.owner, Class::NONE, Ttl::ZERO, empty(Rtype::CNAME)))?;
        for family in FAMILIES {
            self.require(family, &mut prerequisites)?;
        }
        let mut changes = prerequisites.authority();
        match self.after {
            None => self.probe(&mut changes)?,
            Some(after) => FAMILIES.into_iter().try_for_each(|f| self.replace(f, after, &mut changes))?,
        }
        Ok(changes)
    }

    /// This family's records are exactly those that were read.
    fn require(&self, family: Rtype, to: &mut AnswerBuilder<Vec<u8>>) -> Result<(), PushError> {
        if self.before.ttl_of(family).is_none() {
            return to.push((self.owner, Class::NONE, Ttl::ZERO, empty(family)));
        }
        self.before.of(family).try_for_each(|ip| match ip {
            IpAddr::V4(ip) => to.push((self.owner, Class::IN, Ttl::ZERO, A::new(ip))),
            IpAddr::V6(ip) => to.push((self.owner, Class::IN, Ttl::ZERO, Aaaa::new(ip))),
        })
    }

    fn replace(&self, family: Rtype, after: &Addresses, to: &mut AuthorityBuilder<Vec<u8>>) -> Result<(), PushError> {
        let (before, ttl) = (self.before, after.ttl_of(family));
        if before.of(family).eq(after.of(family)) && before.ttl_of(family) == ttl {
            return Ok(());
        }
        to.push((self.owner, Class::ANY, Ttl::ZERO, empty(family)))?;
        let ttl = Ttl::from_secs(ttl.unwrap_or_default());
        after.of(family).try_for_each(|ip| match ip {
            IpAddr::V4(ip) => to.push((self.owner, Class::IN, ttl, A::new(ip))),
            IpAddr::V6(ip) => to.push((self.owner, Class::IN, ttl, Aaaa::new(ip))),
        })
    }

    /// Asks to remove an address that is not there: the server checks key, grant and zone, and changes nothing.
    fn probe(&self, to: &mut AuthorityBuilder<Vec<u8>>) -> Result<(), PushError> {
        let absent = [[0, 0, 0, 0], [255, 255, 255, 255]].map(std::net::Ipv4Addr::from);
        let absent = absent.into_iter().find(|ip| !self.before.all.contains(&IpAddr::V4(*ip)));
        match absent {
            Some(ip) => to.push((self.owner, Class::NONE, Ttl::ZERO, A::new(ip))),
            None => Ok(()),
        }
    }
}

const FAMILIES: [Rtype; 2] = [Rtype::A, Rtype::AAAA];

/// A record without data, as prerequisites and deletions have it.
fn empty(rtype: Rtype) -> UnknownRecordData<&'static [u8]> {
    #[allow(clippy::expect_used, reason = "no data is never too long")]
    UnknownRecordData::from_octets(rtype, [].as_slice()).expect("empty record data")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::Ipv4Addr;

    use domain::tsig::{Algorithm, Key, ServerTransaction};
    use proptest::prelude::*;

    use super::*;

    fn key() -> Key {
        Key::new(Algorithm::Sha256, &[7; 32], "mover".parse().unwrap(), None, None).unwrap()
    }

    fn owner(name: &str) -> Owner {
        name.parse().unwrap()
    }

    fn addresses(all: &[&str]) -> Addresses {
        let all: BTreeSet<IpAddr> = all.iter().map(|a| a.parse().unwrap()).collect();
        Addresses { ttl_v4: (!all.is_empty()).then_some(5), all, ..Addresses::default() }
    }

    fn composed(before: &[&str], after: Option<&[&str]>) -> Message<Vec<u8>> {
        let (zone, owner, before, after) =
            (owner("lab.test"), owner("www.lab.test"), addresses(before), after.map(addresses));
        let update = Update { zone: &zone, owner: &owner, before: &before, after: after.as_ref() };
        update.compose().unwrap().into_message()
    }

    /// What a server with the same key and a clock `ahead` seconds ahead answers.
    fn refused_by_a_clock(ahead: u64) -> Message<Vec<u8>> {
        let mut request = MessageBuilder::new_vec().additional();
        let now = u64_of(Time48::now());
        ClientTransaction::request(key(), &mut request, Time48::from_u64(now)).unwrap();
        let mut request = request.into_message();
        let error =
            ServerTransaction::request(&std::sync::Arc::new(key()), &mut request, Time48::from_u64(now + ahead));
        error.unwrap_err().build_message(&request, MessageBuilder::new_vec()).unwrap().into_message()
    }

    #[test]
    fn a_server_whose_clock_is_off_tells_by_how_much() {
        match swapped(&refused_by_a_clock(1000)) {
            Err(Rejection::Tsig(TsigRcode::BADTIME, Some(1000))) => {}
            _ => panic!("not understood"),
        }
    }

    #[test]
    fn an_update_requires_every_record_that_was_read_and_replaces_the_whole_set() {
        let message = composed(&["192.0.2.1", "192.0.2.2"], Some(&["192.0.2.2", "192.0.2.3"]));
        let (required, changed) = (message.answer().unwrap(), message.authority().unwrap());
        let lines = |section: domain::base::message::RecordSection<'_, Vec<u8>>| -> Vec<String> {
            let record = |r: domain::base::record::ParsedRecord<'_, Vec<u8>>| {
                let data =
                    r.to_record::<A>().ok().flatten().map(|a| a.data().addr()).filter(|a| *a != Ipv4Addr::UNSPECIFIED);
                format!("{} {} {}", r.class(), r.rtype(), data.map(|d| d.to_string()).unwrap_or_default())
            };
            section.map(|r| record(r.unwrap()).trim_end().to_owned()).collect()
        };
        assert_eq!(lines(required), ["NONE CNAME", "IN A 192.0.2.1", "IN A 192.0.2.2", "NONE AAAA"]);
        // `*` is class ANY: the whole record set goes.
        assert_eq!(lines(changed), ["* A", "IN A 192.0.2.2", "IN A 192.0.2.3"]);
    }

    proptest! {
        #[test]
        fn arbitrary_answers_never_panic_and_are_never_trusted(
            flags in any::<[u8; 2]>(),
            counts in prop::array::uniform4(0u8..3),
            bytes in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut request = MessageBuilder::new_vec().additional();
            let transaction = ClientTransaction::request(key(), &mut request, Time48::now()).unwrap();
            let mut answer = vec![0, 7];
            answer.extend(flags);
            answer.extend(counts.iter().flat_map(|n| [0, *n]));
            answer.extend(bytes);
            let mut answer = Message::from_octets(answer).unwrap();
            let _ = swapped(&answer);
            prop_assert!(transaction.answer(&mut answer, Time48::now()).is_err());
        }
    }
}
