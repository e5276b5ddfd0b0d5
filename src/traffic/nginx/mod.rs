//! NGINX as director: weights and `down` of the servers of an upstream, in one file that it includes.
//!
//! The file is the truth that a reload keeps; a marker tells which generation of it is served. Must never report a write as done before
//! NGINX answers its generation, and never write to one of several before all have been read.

mod advice;
mod file;
mod instance;
mod kind;
mod settings;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;

use self::file::{Server, Upstream};
use self::instance::{Instance, Reading, Serves, Wrote};
use self::kind::{CAPABILITIES, MAX_WEIGHT};
use super::{Context, Director, misnamed};
use crate::model::{Capabilities, Change, Kept, Member, MemberFacts, Mode, Pool, PoolFacts};
use crate::outside::{Certainty, Error, Kind};

pub use self::settings::Settings;

/// How long a reload may take until the new generation answers.
const FOLLOW: Duration = Duration::from_secs(60);
/// How long what somebody else is just doing may take.
const GLANCE: Duration = Duration::from_secs(5);
/// How often it is asked meanwhile.
const EVERY: Duration = Duration::from_millis(50);

/// All NGINX of one director.
pub struct Nginx {
    name: String,
    instances: Vec<Instance>,
}

/// What one of them has.
struct Seen {
    at: String,
    reading: Reading,
    upstream: Upstream,
}

impl Nginx {
    /// A director over these. Contacts nobody yet.
    pub fn new(name: &str, settings: &Settings, context: &Context) -> Self {
        let on: Vec<Option<&str>> = match settings.on.as_slice() {
            [] => vec![None],
            hosts => hosts.iter().map(|host| Some(host.as_str())).collect(),
        };
        let reach = || (context.dial.clone(), context.commands.clone());
        let instances = on.into_iter().map(|host| Instance::new(name, settings, host, reach())).collect();
        Self { name: name.to_owned(), instances }
    }

    fn check(&self, pool: &str, changes: &[Change]) -> Result<(), Error> {
        kind::check_upstream(pool).map_err(|unfit| misnamed(&self.name, pool, unfit))?;
        for change in changes {
            kind::check_server(&change.member).map_err(|unfit| misnamed(&self.name, &change.member, unfit))?;
            if change.weight > MAX_WEIGHT {
                let what = format!("weight {} of {} is over {MAX_WEIGHT}", change.weight, change.member);
                return Err(Error::new(&self.name, Kind::Refused, what));
            }
        }
        Ok(())
    }

    /// What one has, once it serves what its file says and none of the workers of before takes new connections.
    async fn served(&self, instance: &Instance, pool: &str, within: Duration, before: &[i64]) -> Result<Seen, Error> {
        let until = tokio::time::Instant::now() + within;
        loop {
            let reading = instance.read().await?;
            // The new workers answer before the old ones have stopped to accept.
            let serves = match reading.serves() {
                Serves::It if reading.workers().iter().any(|worker| before.contains(worker)) => Serves::NotYet,
                serves => serves,
            };
            match serves {
                Serves::It => return understood(instance, pool, reading),
                serves if tokio::time::Instant::now() >= until => return Err(unserved(instance, &reading, serves)),
                Serves::NotYet | Serves::AnOlderOne => tokio::time::sleep(EVERY).await,
            }
        }
    }

    async fn read_all(&self, pool: &str) -> Result<Vec<Seen>, Error> {
        let mut all = Vec::with_capacity(self.instances.len());
        for instance in &self.instances {
            all.push(self.served(instance, pool, GLANCE, &[]).await?);
        }
        Ok(all)
    }

    /// The same after a write: `old` are the workers that each had before.
    async fn read_back(&self, pool: &str, old: &[Vec<i64>]) -> Result<Vec<Seen>, Error> {
        let mut all = Vec::with_capacity(self.instances.len());
        for (instance, old) in self.instances.iter().zip(old) {
            all.push(self.served(instance, pool, FOLLOW, old).await?);
        }
        Ok(all)
    }

    /// What is written everywhere, whether it is served or not: a write that was cut off is finished by the next.
    async fn written(&self, pool: &str) -> Result<Vec<Seen>, Error> {
        let mut all = Vec::with_capacity(self.instances.len());
        for instance in &self.instances {
            all.push(understood(instance, pool, instance.read().await?)?);
        }
        Ok(all)
    }

    async fn pool(&self, pool: &str, all: &[Seen]) -> Result<Pool, Error> {
        let [first, others @ ..] = all else { return Err(Error::new(&self.name, Kind::Refused, "it has no NGINX")) };
        for other in others {
            agree(&self.name, first, other)?;
        }
        let counts = self.count(&first.upstream).await?;
        let member = |server: &Server| Member {
            name: server.name.clone(),
            weight: server.weight,
            mode: server.mode,
            connections: socket(&server.name).and_then(|s| Some(counts.as_ref()?.get(&s).copied().unwrap_or(0))),
            sessions: None,
            up: None,
        };
        Ok(Pool { name: pool.to_owned(), members: first.upstream.servers.iter().map(member).collect(), ttl: None })
    }

    /// Connections of all, old workers included; `None` where one cannot tell.
    async fn count(&self, upstream: &Upstream) -> Result<Option<BTreeMap<String, u64>>, Error> {
        let sockets: Vec<String> = upstream.servers.iter().filter_map(|s| socket(&s.name)).collect();
        let mut sum = BTreeMap::new();
        for instance in &self.instances {
            let Some(counts) = instance.connections(sockets.clone()).await? else { return Ok(None) };
            for (name, n) in counts {
                *sum.entry(name).or_insert(0) += n;
            }
        }
        Ok(Some(sum))
    }

    /// Writes where something has to be; returns the workers that must go, for each.
    async fn write(&self, pool: &str, changes: &[Change], before: &[Seen]) -> Result<Vec<Vec<i64>>, Error> {
        let (mut written, mut old) = (Vec::new(), Vec::new());
        for (instance, seen) in self.instances.iter().zip(before) {
            let text = file::changed(&seen.reading.text, &seen.upstream, changes);
            let text = text.map_err(|why| instance.error(Kind::Refused, why));
            let text = text.map_err(|e| partly(e, &written))?;
            if text == seen.reading.text && seen.reading.serves() == Serves::It {
                old.push(Vec::new());
                continue;
            }
            old.push(seen.reading.workers());
            match instance.write(&seen.reading, &text).await.map_err(|e| partly(e, &written))? {
                Wrote::It => written.push(seen.at.clone()),
                Wrote::Conflict => return Err(partly(conflict(instance, pool), &written)),
            }
        }
        Ok(old)
    }
}

fn understood(instance: &Instance, pool: &str, reading: Reading) -> Result<Seen, Error> {
    let found = file::upstream(&reading.text, pool);
    let (upstream, all) = found.map_err(|why| instance.error(Kind::Refused, why))?;
    let Some(upstream) = upstream else {
        let error = instance.error(Kind::Refused, format!("there is no upstream `{pool}`"));
        return Err(error.hint(crate::text::suggest::hint(pool, "upstreams", all.iter().map(String::as_str))));
    };
    Ok(Seen { at: instance.at(), reading, upstream })
}

fn unserved(instance: &Instance, reading: &Reading, serves: Serves) -> Error {
    match serves {
        Serves::AnOlderOne => instance
            .error(Kind::Disagrees, "somebody has changed the file, and NGINX has not read it since")
            .hint("`nginx -t` and `nginx -s reload`, or put the file back as it was"),
        _ => {
            let served = crate::text::escape(reading.served().as_bytes(), 40);
            let what = format!("the file is generation {}, and NGINX serves `{served}`", reading.generation());
            instance
                .error(Kind::Disagrees, what)
                .hint("NGINX's error log says why it did not take the new configuration")
        }
    }
}

fn conflict(instance: &Instance, pool: &str) -> Error {
    let what = format!("somebody else has changed the file of {pool} since it was read; nothing of ours was written");
    instance.error(Kind::Conflict, what).hint("find out who else writes it, then run again")
}

fn agree(director: &str, one: &Seen, other: &Seen) -> Result<(), Error> {
    let disagrees = |what: String| {
        Error::new(director, Kind::Disagrees, what).hint("give all the same servers and weights, or apply again")
    };
    for (a, b) in [(one, other), (other, one)] {
        for server in &a.upstream.servers {
            let Some(same) = b.upstream.servers.iter().find(|s| s.name == server.name) else {
                return Err(disagrees(format!("{} has server {} and {} has not", a.at, server.name, b.at)));
            };
            if (same.weight, same.mode) != (server.weight, server.mode) {
                let (here, there) = (setting(server.weight, server.mode), setting(same.weight, same.mode));
                return Err(disagrees(format!("{} has {here} at {} and {there} at {}", server.name, a.at, b.at)));
            }
        }
    }
    Ok(())
}

/// After the first write a refusal no longer means that nothing changed.
fn partly(mut error: Error, written: &[String]) -> Error {
    if written.is_empty() {
        return error;
    }
    (error.kind, error.certainty) = (Kind::Disagrees, Certainty::Unknown);
    error.what.push_str(&format!("; done before: {}", crate::text::list(written)));
    error
}

fn setting(weight: u16, mode: Mode) -> String {
    match mode {
        Mode::Ready => format!("weight {weight}"),
        Mode::Drain => format!("weight {weight} (drain)"),
        Mode::Maint => format!("weight {weight} (maintenance)"),
    }
}

/// What a server is called in a list of sockets; `None` where it is a name that may stand for several addresses.
fn socket(server: &str) -> Option<String> {
    use std::net::{IpAddr, SocketAddr};
    let with_port = server.parse::<SocketAddr>();
    let bare = || server.trim_matches(['[', ']']).parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 80));
    with_port.or_else(|_| bare()).ok().map(|address| address.to_string())
}

/// What was asked for is what is there; of several changes to one member the last counts.
fn confirm(director: &str, pool: &Pool, changes: &[Change]) -> Result<(), Error> {
    for (n, change) in changes.iter().enumerate() {
        if changes.iter().skip(n + 1).any(|later| later.member == change.member) {
            continue;
        }
        let now = pool.member(&change.member).map(|now| (now.weight, now.mode));
        if now != Some((change.weight, change.mode)) {
            let now = now
                .map_or_else(|| "is gone".to_owned(), |(weight, mode)| format!("reads back {}", setting(weight, mode)));
            let what = format!("{} was set to {} and {now}", change.member, setting(change.weight, change.mode));
            return Err(Error::new(director, Kind::Disagrees, what)
                .hint("somebody else is changing it: find out who, then run again"));
        }
    }
    Ok(())
}

#[async_trait]
impl Director for Nginx {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    async fn observe(&self, pool: &str) -> Result<Pool, Error> {
        self.check(pool, &[])?;
        self.pool(pool, &self.read_all(pool).await?).await
    }

    async fn facts(&self, pool: &str) -> Result<PoolFacts, Error> {
        self.check(pool, &[])?;
        let all = self.written(pool).await?;
        Ok(all.first().map(|seen| facts(&seen.upstream)).unwrap_or_default())
    }

    async fn apply(&self, pool: &str, changes: &[Change]) -> Result<Pool, Error> {
        self.check(pool, changes).map_err(Error::nothing_changed)?;
        let before = self.written(pool).await.map_err(Error::nothing_changed)?;
        for (seen, change) in before.iter().flat_map(|seen| changes.iter().map(move |change| (seen, change))) {
            if seen.upstream.servers.iter().all(|s| s.name != change.member) {
                let names = seen.upstream.servers.iter().map(|s| s.name.as_str());
                let hint = crate::text::suggest::hint(&change.member, "servers", names);
                let what = format!("upstream `{pool}` has no server `{}`", change.member);
                return Err(Error::new(&seen.at, Kind::Refused, what).hint(hint).nothing_changed());
            }
        }
        let old = self.write(pool, changes, &before).await?;
        let after = self.read_back(pool, &old).await.map_err(|e| e.certainty(Certainty::Unknown))?;
        let now = self.pool(pool, &after).await.map_err(|e| e.certainty(Certainty::Unknown))?;
        confirm(&self.name, &now, changes)?;
        Ok(now)
    }

    async fn set_ttl(&self, pool: &str, _ttl: Duration) -> Result<Pool, Error> {
        self.check(pool, &[])?;
        let error = Error::new(&self.name, Kind::Refused, "NGINX has no TTL to set");
        Err(error.hint("leave `ttl` out of this service's `traffic`"))
    }

    async fn settled(&self, _pool: &str) -> Result<Option<String>, Error> {
        Ok(None)
    }

    async fn blockers(&self, pool: &str, member: &str) -> Result<Vec<String>, Error> {
        self.check(pool, &[Change { member: member.to_owned(), weight: 0, mode: Mode::Ready }])?;
        let Some(socket) = socket(member) else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for instance in &self.instances {
            found.extend(instance.holders(socket.clone()).await?);
        }
        found.truncate(10);
        Ok(found)
    }

    async fn kept(&self, _pool: &str, _wanted: &[Change]) -> Result<Kept, Error> {
        Ok(kind::itself())
    }

    async fn clues(&self, _pool: &str, _members: &[&str], since: Duration) -> Vec<String> {
        let mut clues = Vec::new();
        for instance in &self.instances {
            let Ok(reading) = instance.read().await else { continue };
            clues.extend(reading.clues(since).into_iter().map(|clue| format!("{clue} ({})", instance.at())));
        }
        clues
    }

    async fn writable(&self, pool: &str) -> Result<(), Error> {
        self.check(pool, &[])?;
        self.read_all(pool).await?;
        for instance in &self.instances {
            instance.writable().await?;
        }
        Ok(())
    }
}

/// What decides who gets how much.
fn facts(upstream: &Upstream) -> PoolFacts {
    let (algorithm, sharing) = kind::sharing(&upstream.directives);
    let member = |server: &Server| MemberFacts {
        address: socket(&server.name).and_then(|s| s.parse::<std::net::SocketAddr>().ok()).map(|s| s.ip()),
        looked_up: socket(&server.name).is_none().then(|| server.name.clone()),
        configured: Some(server.weight),
        standby: server.words.iter().any(|w| w == "backup"),
        limit: server.words.iter().find_map(|w| w.strip_prefix("max_conns=")?.parse().ok()).filter(|n| *n > 0),
        ..MemberFacts::default()
    };
    PoolFacts {
        algorithm: Some(algorithm),
        sharing,
        members: upstream.servers.iter().map(|s| (s.name.clone(), member(s))).collect(),
        ..PoolFacts::default()
    }
}
