//! One configured endpoint: the process behind it, or all worker processes behind a master CLI.
//!
//! Must never call a server free of connections while a worker that a reload left behind still serves some.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::super::dial::{Dial, DialError, Stream};
use super::wire::{self, Lost, Reply};
use super::{Endpoint, facts, parse, refusal};
use crate::model::{Change, Member, Mode};
use crate::outside::{Error, Kind};
use crate::text::{duration, escape};

/// Workers come and go with reloads while we read; longer than this is not a reload but a crash loop.
const SETTLING: Duration = Duration::from_secs(2);

/// Commands that are sent together, so that members which share traffic are set at nearly the same time. HAProxy reads lines of up to 16 kB.
const AT_ONCE: usize = 50;

/// How often a stick table is cleared of a server: connections under way come between.
const CLEARS: usize = 3;

/// How long the master may take to notice that a worker has ended.
const REAPING: Duration = Duration::from_millis(100);

/// A runtime API, dialled anew for each exchange.
pub(super) struct Instance {
    director: String,
    endpoint: Endpoint,
    dial: Arc<dyn Dial>,
}

/// What one endpoint says about a backend.
pub(super) struct Reading {
    /// The processes that take new connections.
    pub processes: Vec<Process>,
    /// What servers still have in workers left over from reloads.
    pub lingering: BTreeMap<String, Lingering>,
}

/// What a server still has in workers left over from reloads.
#[derive(Default)]
pub(super) struct Lingering {
    pub connections: u64,
    pub sessions: u64,
}

/// One process that takes new connections.
pub(super) struct Process {
    /// `unix /run/haproxy.sock`, with the worker behind a master CLI.
    pub at: String,
    /// What the process lets us do, where it says so.
    level: Option<String>,
    prefix: String,
    /// The backend's number there; `None` for one without servers.
    number: Option<u32>,
    /// The numbers of its servers.
    servers: BTreeMap<String, u32>,
    pub members: Vec<Member>,
}

impl Instance {
    pub fn new(director: &str, endpoint: &Endpoint, dial: Arc<dyn Dial>) -> Self {
        Self { director: director.to_owned(), endpoint: endpoint.clone(), dial }
    }

    /// Reads a backend in every process behind this endpoint.
    pub async fn read(&self, pool: &str) -> Result<Reading, Error> {
        let start = Instant::now();
        loop {
            // A worker's own socket does not know `show proc` and answers the rest; a master CLI the other way round.
            let reply = self.ask(&format!("show proc;{}", query("", pool))).await?;
            let Some(workers) = parse::workers(&reply.text) else {
                let process = self.process(pool, self.endpoint.to_string(), String::new(), &reply).await?;
                return Ok(Reading { processes: vec![process], lingering: BTreeMap::new() });
            };
            match self.read_workers(pool, &workers).await {
                // A worker that ends while it is asked is lost to us, too; the next `show proc` leaves it out.
                Err(e) if e.transient && start.elapsed() < SETTLING => {}
                result => return result,
            }
            tokio::time::sleep(REAPING).await;
        }
    }

    /// The names of its backends: those of one worker, since all have read the same configuration.
    pub async fn backends(&self) -> Result<Vec<String>, Error> {
        let reply = self.ask("show proc;show backend").await?;
        let text = match parse::workers(&reply.text) {
            None => reply.text,
            Some(workers) => match workers.current.first() {
                Some(pid) => self.ask(&format!("@!{pid} show backend")).await?.text,
                None => return Err(self.unknown("its master process has no worker")),
            },
        };
        // HAProxy has one of its own, for what its configuration calls resolvers and scripts.
        Ok(parse::backends(&text).into_iter().filter(|name| !name.starts_with(['<', '.'])).collect())
    }

    async fn read_workers(&self, pool: &str, workers: &parse::Workers) -> Result<Reading, Error> {
        let mut reading = Reading { processes: Vec::new(), lingering: BTreeMap::new() };
        for pid in &workers.current {
            let prefix = format!("@!{pid} ");
            let reply = self.ask(&query(&prefix, pool)).await?;
            let at = format!("{}, worker {pid}", self.endpoint);
            reading.processes.push(self.process(pool, at, prefix, &reply).await?);
        }
        for pid in &workers.old {
            let prefix = format!("@!{pid} ");
            let reply = self.ask(&query(&prefix, pool)).await?;
            // An old worker may have ended by now, and need not have had this backend.
            if reply.text.contains("Can't find the target PID") || reply.text.contains("Can't find backend.") {
                continue;
            }
            let (_, stats) = self.servers(pool, &prefix, &reply).await?;
            for (server, stat) in stats {
                let lingering = reading.lingering.entry(server).or_default();
                lingering.connections += stat.connections;
                lingering.sessions += stat.sessions;
            }
        }
        match reading.processes.is_empty() {
            true => Err(self.unknown("its master process has no worker").hint("start HAProxy and look at its log")),
            false => Ok(reading),
        }
    }

    async fn process(&self, pool: &str, at: String, prefix: String, reply: &Reply) -> Result<Process, Error> {
        if reply.text.contains("Can't find backend.") {
            let known = parse::backends(&self.ask(&format!("{prefix}show backend")).await?.text);
            let label = format!("{} ({at})", self.director);
            return Err(Error::new(label, Kind::Refused, format!("there is no backend `{pool}`"))
                .hint(refusal::known(pool, "backends", &known)));
        }
        let (states, stats) = self.servers(pool, &prefix, reply).await?;
        let servers = states.iter().filter_map(|state| Some((state.name.clone(), state.number?))).collect();
        let members = states.into_iter().map(|state| {
            let stat = stats.get(&state.name);
            Member {
                weight: state.weight,
                mode: state.mode,
                connections: stat.map(|s| s.connections),
                sessions: stat.map(|s| s.sessions),
                up: stat.and_then(|s| s.up),
                name: state.name,
            }
        });
        Ok(Process {
            members: members.collect(),
            level: parse::level(&reply.text).map(str::to_owned),
            number: parse::number(&reply.text, pool),
            servers,
            at,
            prefix,
        })
    }

    /// The servers in the answer to a query. Where a frontend has the backend's name, HAProxy has looked at that: it is asked again by number.
    async fn servers(
        &self,
        pool: &str,
        prefix: &str,
        reply: &Reply,
    ) -> Result<(Vec<parse::ServerState>, BTreeMap<String, parse::ServerStat>), Error> {
        let unreadable = || self.unreadable(reply);
        let states = parse::servers_state(&reply.text, pool).ok_or_else(unreadable)?;
        let stats = parse::stat(&reply.text, pool).ok_or_else(unreadable)?;
        let number = parse::number(&reply.text, pool).filter(|_| stats.is_empty());
        let Some(number) = number else { return Ok((states, stats)) };
        let reply = self.ask(&format!("{prefix}show stat {number} 4 -1")).await?;
        let stats = parse::stat(&reply.text, pool).ok_or_else(|| self.unreadable(&reply))?;
        match stats.is_empty() {
            true => Err(self.unknown(format!("`{pool}` is not the backend number {number} any more"))),
            false => Ok((states, stats)),
        }
    }

    /// What decides who gets how much, in every process that takes new connections.
    pub async fn facts(&self, pool: &str) -> Result<Vec<facts::Running>, Error> {
        let mut running = Vec::new();
        for Process { prefix, number, .. } in self.read(pool).await?.processes {
            let Some(number) = number else { continue };
            let asked = format!("{prefix}show servers state {pool};{prefix}show stat {number} 6 -1;{prefix}show table");
            let reply = self.ask(&asked).await?;
            running.push(facts::running(&reply.text, pool).ok_or_else(|| self.unreadable(&reply))?);
        }
        Ok(running)
    }

    /// Sends `set` commands to a process and adds to `written` what was done. Anything but an empty answer is a refusal.
    pub async fn set(&self, process: &Process, commands: &[String], written: &mut Vec<String>) -> Result<(), Error> {
        let Process { prefix, at, .. } = process;
        for commands in commands.chunks(AT_ONCE) {
            let line: Vec<String> = commands.iter().map(|command| format!("{prefix}{command}")).collect();
            let reply = self.ask(&line.join(";")).await?;
            let mut refused = None;
            for (command, said) in commands.iter().zip(parse::answers(&reply.text)) {
                match said.is_empty() {
                    true => written.push(format!("`{command}` at {at}")),
                    false => drop(refused.get_or_insert((command, said))),
                }
            }
            if let Some((command, said)) = refused {
                return Err(refusal::of_set(&format!("{} ({at})", self.director), command, &said));
            }
        }
        Ok(())
    }

    /// Clears what stick tables have of servers that are out, so that nobody is led there again. Entries in use stay until their connections
    /// have ended.
    pub async fn unpin(&self, process: &Process, tables: &[String], servers: &[&str]) -> Result<(), Error> {
        let Process { prefix, at, servers: numbers, .. } = process;
        let there = self.ask(&format!("{prefix}show table")).await?;
        let there = parse::tables(&there.text);
        for table in tables.iter().filter(|table| there.contains(&table.as_str())) {
            for number in servers.iter().filter_map(|server| numbers.get(*server)) {
                let entries = format!("table {table} data.server_id eq {number}");
                for _ in 0..CLEARS {
                    let said = self.ask(&format!("{prefix}clear {entries}")).await?.text;
                    let said = said.trim();
                    // A table that only counts leads nobody anywhere.
                    if said.contains("not stored in this table") {
                        break;
                    }
                    if !said.is_empty() {
                        let at = format!("{} ({at})", self.director);
                        return Err(refusal::of_set(&at, &format!("clear {entries}"), said));
                    }
                    if parse::entries(&self.ask(&format!("{prefix}show {entries}")).await?.text) == 0 {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// The sessions on a server, in every process, each with what commands to that process begin with.
    pub async fn sessions(&self, pool: &str, server: &str) -> Result<Vec<(String, parse::Session)>, Error> {
        let reply = self.ask("show proc;show sess").await?;
        let of = |prefix: &str, reply: &Reply| {
            let found = parse::sessions(&reply.text, pool, server).into_iter();
            found.map(|session| (prefix.to_owned(), session)).collect::<Vec<_>>()
        };
        let Some(workers) = parse::workers(&reply.text) else { return Ok(of("", &reply)) };
        let mut found = Vec::new();
        for pid in workers.old.iter().chain(&workers.current) {
            let prefix = format!("@!{pid} ");
            // A worker that has ended holds nobody.
            if let Ok(reply) = self.ask(&format!("{prefix}show sess")).await {
                found.extend(of(&prefix, &reply));
            }
        }
        Ok(found)
    }

    /// Ends sessions that were just listed; how many of them were still there.
    pub async fn end(&self, sessions: &[(String, parse::Session)]) -> Result<u64, Error> {
        let mut ended = 0;
        for some in sessions.chunks(AT_ONCE) {
            let line: Vec<String> =
                some.iter().map(|(prefix, s)| format!("{prefix}shutdown session {}", s.id)).collect();
            let reply = self.ask(&line.join(";")).await?;
            for ((_, session), said) in some.iter().zip(parse::answers(&reply.text)) {
                match said.as_str() {
                    "" => ended += 1,
                    gone if gone.contains("No such session") => {}
                    // The worker has ended, and its sessions with it.
                    gone if gone.contains("Can't find the target PID") => {}
                    said => {
                        let at = format!("{} ({})", self.director, self.endpoint);
                        return Err(refusal::of_set(&at, &format!("shutdown session {}", session.id), said));
                    }
                }
            }
        }
        Ok(ended)
    }

    /// What could have changed servers within a time: processes that have begun since, agent-checks. Who cannot be asked says nothing.
    pub async fn clues(&self, pool: &str, servers: &[&str], since: Duration) -> Vec<String> {
        let mut clues = Vec::new();
        let Ok(reply) = self.ask(&format!("show proc;{}", clue_query("", pool))).await else { return clues };
        match parse::workers(&reply.text) {
            None => clues.extend(parse::clues(&reply.text, pool, servers, since, &self.endpoint.to_string())),
            Some(workers) => {
                for pid in workers.current {
                    let at = format!("{}, worker {pid}", self.endpoint);
                    if let Ok(reply) = self.ask(&clue_query(&format!("@!{pid} "), pool)).await {
                        clues.extend(parse::clues(&reply.text, pool, servers, since, &at));
                    }
                }
            }
        }
        clues
    }

    async fn ask(&self, commands: &str) -> Result<Reply, Error> {
        let patience = self.patience();
        let mut stream = match timeout(patience, self.open()).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(e)) => {
                let mut error = self.unknown(format!("the runtime API cannot be reached: {}", e.what));
                error.hint = e.hint;
                return Err(error);
            }
            Err(_) => {
                let waited = duration(patience);
                return Err(self.unknown(format!("the runtime API cannot be reached: no connection in {waited}")));
            }
        };
        let asked = wire::exchange(stream.as_mut(), commands).await;
        asked.map_err(|Lost(why)| self.unknown(format!("no answer to `{}`: {why}", escape(commands.as_bytes(), 80))))
    }

    /// How long a connection may take; a first login may wait for somebody to confirm the use of a key.
    fn patience(&self) -> Duration {
        match self.endpoint {
            Endpoint::Ssh { .. } => Duration::from_secs(60),
            Endpoint::Tcp(_) | Endpoint::Unix(_) => wire::PATIENCE,
        }
    }

    async fn open(&self) -> Result<Box<dyn Stream>, DialError> {
        match &self.endpoint {
            Endpoint::Tcp(address) => self.dial.tcp(address).await,
            Endpoint::Unix(path) => self.dial.unix(path).await,
            Endpoint::Ssh { host, path } => self.dial.remote_unix(host, path).await,
        }
    }

    fn unknown(&self, what: impl Into<String>) -> Error {
        Error::new(format!("{} ({})", self.director, self.endpoint), Kind::Lost, what)
    }

    fn unreadable(&self, reply: &Reply) -> Error {
        let shown = escape(reply.text.trim().as_bytes(), 120);
        let what = match reply.cut {
            true => "the answer is longer than 16 MiB".to_owned(),
            false => format!("the answer cannot be read: {shown}"),
        };
        self.unknown(what).hint("check that this is HAProxy's runtime API (2.0 or newer)")
    }
}

impl Process {
    /// An error unless this process lets us write.
    pub fn check_level(&self, director: &str) -> Result<(), Error> {
        match self.level.as_deref() {
            None | Some("admin") => Ok(()),
            Some(level) => Err(refusal::no_admin(&format!("{director} ({})", self.at), level)),
        }
    }

    /// The commands that bring a server to the wanted setting, fewest surprises first: a server gets its new weight
    /// before it takes traffic, and stops taking traffic before its weight changes.
    pub fn commands(&self, pool: &str, change: &Change) -> Vec<String> {
        let Some(now) = self.members.iter().find(|m| m.name == change.member) else { return Vec::new() };
        let server = format!("{pool}/{}", change.member);
        let weight = (now.weight != change.weight).then(|| format!("set weight {server} {}", change.weight));
        let mode = (now.mode != change.mode).then(|| format!("set server {server} state {}", word(change.mode)));
        let commands = if change.mode == Mode::Ready { [weight, mode] } else { [mode, weight] };
        commands.into_iter().flatten().collect()
    }

    /// Remembers that a change was made.
    pub fn note(&mut self, change: &Change) {
        if let Some(member) = self.members.iter_mut().find(|m| m.name == change.member) {
            member.weight = change.weight;
            member.mode = change.mode;
        }
    }
}

/// A mode as HAProxy calls it.
fn word(mode: Mode) -> &'static str {
    match mode {
        Mode::Ready => "ready",
        Mode::Drain => "drain",
        Mode::Maint => "maint",
    }
}

fn query(prefix: &str, pool: &str) -> String {
    format!("{prefix}show cli level;{prefix}show servers state {pool};{prefix}show stat {pool} 4 -1")
}

fn clue_query(prefix: &str, pool: &str) -> String {
    format!("{prefix}show info;{prefix}show stat {pool} 4 -1")
}

/// What a server is set to, in words.
pub(super) fn setting(weight: u16, mode: Mode) -> String {
    format!("weight {weight} ({})", word(mode))
}
