//! What one server answers about one name.
//!
//! Must never follow a CNAME or fill a gap: the answer is the server's own or an error.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use domain::base::iana::{Rcode, TsigRcode};
use domain::base::{Message, MessageBuilder, Name, Rtype, Serial};
use domain::rdata::tsig::Time48;
use domain::rdata::{A, Aaaa, Cname, Soa};
use domain::tsig::{ClientTransaction, Key};

use super::update::tsig_error;
use crate::nameserver::{self, Lost};
use crate::text::{duration, escape};

/// A name in the zone, or the zone's own.
pub(in crate::traffic) type Owner = Name<Vec<u8>>;

/// The addresses of a name at one server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::traffic) struct Addresses {
    /// IPv4 first, each family in ascending order.
    pub all: BTreeSet<IpAddr>,
    /// TTL of the A records; `None` without any.
    pub ttl_v4: Option<u32>,
    /// TTL of the AAAA records; `None` without any.
    pub ttl_v6: Option<u32>,
    /// How long a resolver keeps the fact that a type has no records.
    pub negative_ttl: Option<u32>,
}

impl Addresses {
    /// The longest time that any of it may stay in a cache.
    pub fn ttl(&self) -> Option<u32> {
        self.ttl_v4.max(self.ttl_v6)
    }

    /// The same records, whatever is said about those that are not there.
    pub fn same_records(&self, other: &Self) -> bool {
        self.all == other.all && self.ttl_v4 == other.ttl_v4 && self.ttl_v6 == other.ttl_v6
    }
}

/// What an authoritative server has.
#[derive(Debug, Clone)]
pub(in crate::traffic) struct View {
    /// The zone's serial when we began to read: the addresses are at least as new.
    pub serial: Serial,
    pub addresses: Addresses,
}

/// Why a server's answer is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::traffic) enum Failure {
    /// Silent, or what it says cannot be read.
    Lost(String),
    /// It answers, but is not authoritative for the name.
    NotAuthoritative(String),
    /// The name is an alias.
    Alias(String),
    /// It does not accept the signature; seconds that its clock is ahead of ours, where it says so.
    Tsig(TsigRcode, Option<i64>),
}

impl From<Lost> for Failure {
    fn from(Lost(why): Lost) -> Self {
        Self::Lost(why)
    }
}

/// Reads the zone's serial and then the addresses from an authoritative server. With a key, the one of its views that is chosen by it, as
/// for updates.
pub(in crate::traffic) async fn authoritative(
    server: SocketAddr,
    zone: &Owner,
    owner: &Owner,
    key: Option<&Key>,
) -> Result<View, Failure> {
    let answer = query(server, zone, Rtype::SOA, false, key).await?;
    check_authority(&answer)?;
    let serial =
        serial(&answer).ok_or_else(|| Failure::NotAuthoritative("it has no SOA record for the zone".to_owned()))?;
    let mut addresses = Addresses::default();
    for rtype in [Rtype::A, Rtype::AAAA] {
        let answer = query(server, owner, rtype, false, key).await?;
        check_authority(&answer)?;
        collect(&answer, owner, &mut addresses)?;
    }
    Ok(View { serial, addresses })
}

/// Reads the addresses as a resolver tells them.
async fn recursive(server: SocketAddr, owner: &Owner) -> Result<Addresses, Failure> {
    let mut addresses = Addresses::default();
    for rtype in [Rtype::A, Rtype::AAAA] {
        let answer = query(server, owner, rtype, true, None).await?;
        match answer.header().rcode() {
            Rcode::NOERROR | Rcode::NXDOMAIN => collect(&answer, owner, &mut addresses)?,
            rcode => return Err(Failure::Lost(format!("it answers {rcode}"))),
        }
    }
    Ok(addresses)
}

/// Resolvers that do not answer these addresses yet, in words; `None` when all do. One that cannot be asked ends it.
pub(in crate::traffic) async fn stale(
    resolvers: &[SocketAddr],
    owner: &Owner,
    wanted: &Addresses,
) -> Result<Option<String>, (SocketAddr, Failure)> {
    let mut stale = Vec::new();
    for server in resolvers {
        match recursive(*server, owner).await {
            Ok(seen) if seen.all == wanted.all => {}
            Ok(seen) => {
                let left = seen.ttl().max(seen.negative_ttl).unwrap_or_default();
                let left = duration(Duration::from_secs(left.into()));
                stale.push(format!("resolver {server} still answers {} for up to {left}", seen.in_words()));
            }
            Err(Failure::Alias(of)) => stale.push(format!("resolver {server} still answers with an alias for {of}")),
            Err(failure) => return Err((*server, failure)),
        }
    }
    Ok((!stale.is_empty()).then(|| stale.join("; ")))
}

async fn query(
    server: SocketAddr,
    name: &Owner,
    rtype: Rtype,
    recursive: bool,
    key: Option<&Key>,
) -> Result<Message<Vec<u8>>, Failure> {
    let too_long = |_| Failure::Lost("the question is too long".to_owned());
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_random_id();
    builder.header_mut().set_rd(recursive);
    let mut builder = builder.question();
    builder.push((name, rtype)).map_err(too_long)?;
    let mut builder = builder.additional();
    let transaction = key.map(|key| ClientTransaction::request(key, &mut builder, Time48::now())).transpose();
    let transaction = transaction.map_err(too_long)?;
    let mut answer = nameserver::ask(server, &builder.into_message()).await?;
    if let Some(transaction) = transaction {
        // Refusals may come unsigned, so they are looked at first; whatever is believed must be signed.
        if let Some((error, skew)) = tsig_error(&answer) {
            return Err(Failure::Tsig(error, skew));
        }
        let untrusted = |e| Failure::Lost(format!("its answer is not signed as it should be: {e}"));
        match answer.header().rcode() {
            Rcode::NOERROR | Rcode::NXDOMAIN => transaction.answer(&mut answer, Time48::now()).map_err(untrusted)?,
            _ => {}
        }
    }
    Ok(answer)
}

fn check_authority(answer: &Message<Vec<u8>>) -> Result<(), Failure> {
    match answer.header().rcode() {
        Rcode::NOERROR | Rcode::NXDOMAIN if answer.header().aa() => Ok(()),
        Rcode::NOERROR | Rcode::NXDOMAIN => {
            Err(Failure::NotAuthoritative("it answers, but not as an authoritative server for this name".to_owned()))
        }
        Rcode::SERVFAIL => Err(Failure::Lost("it answers SERVFAIL".to_owned())),
        rcode => Err(Failure::NotAuthoritative(format!("it answers {rcode}"))),
    }
}

fn serial(answer: &Message<Vec<u8>>) -> Option<Serial> {
    answer.answer().ok()?.limit_to::<Soa<_>>().find_map(|record| Some(record.ok()?.data().serial()))
}

/// Adds the address records of an answer.
fn collect(answer: &Message<Vec<u8>>, owner: &Owner, into: &mut Addresses) -> Result<(), Failure> {
    let broken = |_| Failure::Lost("its answer cannot be read".to_owned());
    for record in answer.answer().map_err(broken)? {
        let record = record.map_err(broken)?;
        if record.owner() != *owner {
            continue;
        }
        let ttl = record.ttl().as_secs();
        if let Some(alias) = record.to_record::<Cname<_>>().map_err(broken)? {
            return Err(Failure::Alias(escape(alias.data().cname().to_string().as_bytes(), 255)));
        } else if let Some(a) = record.to_record::<A>().map_err(broken)? {
            into.all.insert(a.data().addr().into());
            into.ttl_v4 = Some(ttl);
        } else if let Some(aaaa) = record.to_record::<Aaaa>().map_err(broken)? {
            into.all.insert(aaaa.data().addr().into());
            into.ttl_v6 = Some(ttl);
        }
    }
    for soa in answer.authority().map_err(broken)?.limit_to::<Soa<_>>() {
        let soa = soa.map_err(broken)?;
        into.negative_ttl = into.negative_ttl.max(Some(soa.ttl().as_secs()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn arbitrary_answers_never_panic(
            counts in prop::array::uniform4(0u8..4),
            bytes in prop::collection::vec(any::<u8>(), 0..400),
        ) {
            let mut message = vec![0, 7, 0x84, 0];
            message.extend(counts.iter().flat_map(|n| [0, *n]));
            message.extend(bytes);
            let message = Message::from_octets(message).unwrap();
            let owner: Owner = "www.lab.test".parse().unwrap();
            let _ = (collect(&message, &owner, &mut Addresses::default()), serial(&message), check_authority(&message));
        }
    }
}
