//! Who holds on to a server, over all instances and their workers: who has been there longest comes first.
//!
//! Must never end a session by a list that is not fresh: HAProxy gives the names of sessions that have ended to new ones.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Duration;

use super::parse::Session;
use super::{Haproxy, Instance};
use crate::model::{Client, Ended};
use crate::outside::Error;

/// How many clients are named.
const CLIENTS: usize = 10;

/// A session in its place.
struct Held<'a> {
    instance: &'a Instance,
    /// What commands to its process begin with.
    prefix: String,
    session: Session,
}

impl Haproxy {
    /// All sessions on a server.
    async fn held(&self, pool: &str, member: &str) -> Result<Vec<Held<'_>>, Error> {
        self.check_name("backend", pool)?;
        self.check_name("server", member)?;
        let mut held = Vec::new();
        for instance in &self.instances {
            let found = instance.sessions(pool, member).await?.into_iter();
            held.extend(found.map(|(prefix, session)| Held { instance, prefix, session }));
        }
        held.sort_by_cached_key(|held| Reverse(held.session.lasted()));
        Ok(held)
    }

    /// `address, connected for AGE`, for up to ten sessions.
    pub(super) async fn holders(&self, pool: &str, member: &str) -> Result<Vec<String>, Error> {
        let held = self.held(pool, member).await?.into_iter().take(CLIENTS);
        Ok(held.map(|held| format!("{}, connected for {}", held.session.client, held.session.age)).collect())
    }

    /// Ends up to `most` sessions on a server.
    pub(super) async fn end_some(&self, pool: &str, member: &str, most: u64) -> Result<Ended, Error> {
        let mut held = self.held(pool, member).await?;
        let rest = held.split_off(held.len().min(usize::try_from(most).unwrap_or(usize::MAX)));
        let mut ended = 0;
        for instance in &self.instances {
            let ours = held.iter().filter(|held| std::ptr::eq(held.instance, instance));
            let ours: Vec<(String, Session)> = ours.map(|h| (h.prefix.clone(), h.session.clone())).collect();
            ended += instance.end(&ours).await?;
        }
        Ok(Ended { ended, left: rest.len() as u64, clients: clients(rest.iter().map(|held| &held.session)) })
    }
}

/// Sessions by client.
fn clients<'a>(sessions: impl Iterator<Item = &'a Session>) -> Vec<Client> {
    let mut by_address: HashMap<&str, (u64, Option<Duration>)> = HashMap::new();
    for session in sessions {
        let address = session.client.rsplit_once(':').map_or(session.client.as_str(), |(address, _)| address);
        let (count, oldest) = by_address.entry(address).or_default();
        *count += 1;
        *oldest = session.lasted().max(*oldest);
    }
    let client = |(address, (sessions, oldest)): (&str, _)| Client { address: address.to_owned(), sessions, oldest };
    let mut clients: Vec<Client> = by_address.into_iter().map(client).collect();
    clients.sort_by(|a, b| (Reverse(a.oldest), &a.address).cmp(&(Reverse(b.oldest), &b.address)));
    clients.truncate(CLIENTS);
    clients
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_once_and_those_that_have_been_there_longest_first() {
        let session = |client: &str, age: &str| Session { id: "0x1".into(), client: client.into(), age: age.into() };
        let held =
            [session("10.0.0.1:5", "3s"), session("::1:7", "1h2m"), session("10.0.0.1:6", "1m"), session("a:1", "?")];
        let told: Vec<String> = clients(held.iter()).iter().map(Client::to_string).collect();
        let expected =
            ["::1 (1 session, the oldest for 1h 02m)", "10.0.0.1 (2 sessions, the oldest for 1m 00s)", "a (1 session)"];
        assert_eq!(told, expected);
    }
}
