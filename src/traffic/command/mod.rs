//! A director that somebody wrote: a program which answers and obeys, here or on a host.
//!
//! Owns the contract between `migrate` and that program. Must never believe it a write that it does not show afterwards.

mod contract;
mod kind;
mod settings;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;

use self::contract::{Ask, Wanted};
use super::{Commands, Context, Director, MAX_TTL, misnamed};
use crate::host::{Command, Output};
use crate::model::{Capabilities, Change, Mode, Pool, Weights};
use crate::outside::{Certainty, Error, Kind};
use crate::secret::Secrets;
use crate::ssh::here::said;

pub use self::settings::Settings;

/// The program is there, or it is said that it is not; then it runs with nothing on its standard input.
const ASK: &str =
    "command -v \"$1\" >/dev/null 2>&1 || { echo \"there is no program $1\" >&2; exit 3; }\n\"$@\" </dev/null";

/// The same with the first argument on its standard input.
const TELL: &str = "wanted=$1; shift\n\
    command -v \"$1\" >/dev/null 2>&1 || { echo \"there is no program $1\" >&2; exit 3; }\nprintf '%s\\n' \"$wanted\" | \"$@\"";

/// What the contract says of exit codes.
const REFUSED: i32 = 3;
const CONFLICT: i32 = 4;

/// A program and how it is reached.
struct Program {
    name: String,
    settings: Settings,
    commands: Arc<dyn Commands>,
    secrets: Arc<dyn Secrets>,
    /// Writes of this controller go one after the other: a program need not expect itself.
    writes: Mutex<()>,
}

impl Program {
    fn new(name: &str, settings: &Settings, context: &Context) -> Self {
        Self {
            name: name.to_owned(),
            settings: settings.clone(),
            commands: Arc::clone(&context.commands),
            secrets: Arc::clone(&context.secrets),
            writes: Mutex::new(()),
        }
    }

    fn error(&self, kind: Kind, what: impl Into<String>) -> Error {
        Error::new(format!("{} ({})", self.name, self.settings), kind, what)
    }

    fn named(&self, pool: &str) -> Result<(), Error> {
        kind::check_name(pool, "pool").map_err(|unfit| misnamed(&self.name, pool, unfit))
    }

    /// Runs it to its end.
    async fn run(&self, ask: &Ask<'_>) -> Result<Output, Error> {
        let mut args = self.settings.run.clone();
        args.extend(ask.words());
        let input =
            ask.input().map_err(|e| self.error(Kind::Config, format!("what is wanted cannot be written: {e}")))?;
        let script = if input.is_some() { TELL } else { ASK };
        args.splice(0..0, input);
        let mut env = std::collections::BTreeMap::new();
        for (name, reference) in &self.settings.secrets {
            let value = self.secrets.resolve(reference);
            let value = value.map_err(|e| self.error(Kind::Config, format!("the secret for {name}: {e}")))?;
            env.insert(name.clone(), value.reveal().to_owned());
        }
        let command = Command { script: script.to_owned(), args, env, timeout: Some(self.settings.within) };
        let ran = match &self.settings.on {
            Some(host) => self.commands.run(host, &command).await,
            None => self.commands.here(&command).await,
        };
        ran.map_err(|e| Error {
            at: format!("{} ({})", self.name, e.at),
            what: format!("`{}`: {}", ask.verb(), e.what),
            ..e
        })
    }

    /// What it answers, when it says that all is well.
    async fn ask(&self, ask: Ask<'_>) -> Result<Vec<u8>, Error> {
        let output = self.run(&ask).await?;
        match output {
            Output { status: 0, truncated: false, stdout, .. } => Ok(stdout),
            Output { status: 0, .. } => Err(self.malformed(ask.verb(), "its answer is longer than 64 KiB")),
            output => Err(self.failed(ask.verb(), &output)),
        }
    }

    /// What an exit code means, by the contract.
    fn failed(&self, verb: &str, output: &Output) -> Error {
        let said = match said(output) {
            said if said.is_empty() => String::new(),
            said => format!(": {said}"),
        };
        match output.status {
            REFUSED => self.error(Kind::Refused, format!("`{verb}` was refused{said}")),
            CONFLICT => self
                .error(Kind::Conflict, format!("`{verb}` found that somebody else has changed it{said}"))
                .hint("find out who else changes it, then run again"),
            status => self
                .error(Kind::Lost, format!("`{verb}` ended with status {status}{said}"))
                .hint("by its contract 0 is done, 3 refused, 4 a conflict; any other status says nothing"),
        }
    }

    /// An answer that asking again does not make better.
    fn malformed(&self, verb: &str, why: impl std::fmt::Display) -> Error {
        let hint = format!(
            "docs/directors.md says what it has to answer; `migrate director check {} POOL` tries it",
            self.name
        );
        Error {
            transient: false,
            ..self.error(Kind::Lost, format!("the answer to `{verb}` is none: {why}")).hint(hint)
        }
    }

    async fn read(&self, pool: &str) -> Result<Pool, Error> {
        let answer = self.ask(Ask::Observe(pool)).await?;
        contract::pool(pool, &answer, &self.settings.can).map_err(|why| self.malformed("observe", why))
    }

    /// What can be known to be wrong before anything is asked of the program.
    fn check(&self, pool: &str, changes: &[Change]) -> Result<(), Error> {
        self.named(pool)?;
        for change in changes {
            kind::check_name(&change.member, "member").map_err(|unfit| misnamed(&self.name, &change.member, unfit))?;
            if let Weights::Exact(most) = self.settings.can.weights
                && change.weight > most
            {
                let what = format!("weight {} of {} is over {most}", change.weight, change.member);
                return Err(self.error(Kind::Refused, what));
            }
        }
        Ok(())
    }

    fn check_members(&self, before: &Pool, wanted: &[Wanted]) -> Result<(), Error> {
        let missing = wanted.iter().find(|w| !self.settings.can.adds_members && before.member(&w.name).is_none());
        let Some(missing) = missing else { return Ok(()) };
        let what = format!("`{}` has no member `{}`", before.name, missing.name);
        let hint = crate::text::suggest::hint(&missing.name, "members", before.members.iter().map(|m| m.name.as_str()));
        Err(self.error(Kind::Refused, what).hint(hint))
    }

    /// What of the wanted is not there.
    fn missing(&self, now: &Pool, wanted: &[Wanted]) -> Option<String> {
        let by_presence = self.settings.can.weights == Weights::Presence;
        let otherwise = wanted.iter().find(|w| !w.is_met(now.member(&w.name), by_presence))?;
        let found = now.member(&otherwise.name).map(|m| contract::setting(m.weight, m.mode, by_presence));
        let found = found.unwrap_or_else(|| "absent".to_owned());
        let set = contract::setting(otherwise.weight, otherwise.mode, by_presence);
        Some(format!("{} was set to {set} and reads back {found}", otherwise.name))
    }

    /// Whatever the program said of a write: only what is there afterwards counts.
    async fn read_back(
        &self,
        pool: &str,
        before: &Pool,
        wanted: &[Wanted],
        said: Result<(), Error>,
    ) -> Result<Pool, Error> {
        let now = match (self.read(pool).await, &said) {
            (Ok(now), _) => now,
            // The write's own trouble says more than that of reading.
            (Err(_), Err(_)) => return Err(said.err().map_or_else(|| self.error(Kind::Lost, "unknown"), open)),
            (Err(e), Ok(())) => return Err(open(e)),
        };
        let missing = self.missing(&now, wanted);
        match (said, missing) {
            (Ok(()), None) => Ok(now),
            (Ok(()), Some(missing)) => Err(self
                .error(Kind::Disagrees, missing)
                .hint("the program said that it was done: either it was not, or somebody else has changed it since")),
            // The answer was lost, and what was wanted is there.
            (Err(e), None) if e.is_unknown() => Ok(now),
            (Err(e), _) if e.kind == Kind::Refused && !same_settings(before, &now) => {
                let what = format!("{}; and yet {pool} is not as it was before", e.what);
                Err(self.error(Kind::Disagrees, what).hint("look at what it has now: `migrate director show`"))
            }
            (Err(e), _) => Err(e),
        }
    }
}

/// Whether every member has the settings that it had. What it holds and how it is are no settings.
fn same_settings(before: &Pool, now: &Pool) -> bool {
    let settings = |pool: &Pool| {
        let mut all: Vec<(String, u16, Mode)> =
            pool.members.iter().map(|m| (m.name.clone(), m.weight, m.mode)).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    };
    settings(before) == settings(now)
}

/// After a write nobody knows what was done, whatever reading it back met.
fn open(error: Error) -> Error {
    error.certainty(Certainty::Unknown)
}

#[async_trait]
impl Director for Program {
    fn capabilities(&self) -> Capabilities {
        self.settings.can
    }

    async fn observe(&self, pool: &str) -> Result<Pool, Error> {
        self.named(pool)?;
        self.read(pool).await
    }

    async fn apply(&self, pool: &str, changes: &[Change]) -> Result<Pool, Error> {
        self.check(pool, changes).map_err(Error::nothing_changed)?;
        let wanted = contract::wanted(changes, &self.settings.can);
        let _one_at_a_time = self.writes.lock().await;
        let before = self.read(pool).await.map_err(Error::nothing_changed)?;
        self.check_members(&before, &wanted).map_err(Error::nothing_changed)?;
        if wanted.is_empty() {
            return Ok(before);
        }
        let said = self.ask(Ask::Apply(pool, &wanted)).await.map(drop);
        self.read_back(pool, &before, &wanted, said).await
    }

    async fn set_ttl(&self, pool: &str, ttl: Duration) -> Result<Pool, Error> {
        self.named(pool)?;
        if !self.settings.can.ttl {
            let error = self.error(Kind::Refused, "it has no TTL to set");
            return Err(error.hint("leave `ttl` out of this service's `traffic`, or say `can: {ttl: true}`"));
        }
        if ttl > MAX_TTL || ttl.subsec_nanos() != 0 {
            let what = format!("a TTL cannot be {}", crate::text::duration(ttl));
            return Err(self.error(Kind::Refused, what).hint("a TTL is a whole number of seconds below 2^31"));
        }
        let _one_at_a_time = self.writes.lock().await;
        let before = self.read(pool).await.map_err(Error::nothing_changed)?;
        let said = self.ask(Ask::Ttl(pool, ttl)).await.map(drop);
        let now = self.read_back(pool, &before, &[], said).await?;
        match now.ttl {
            Some(there) if there == ttl => Ok(now),
            there => {
                let there = there.map_or_else(|| "none".to_owned(), crate::text::duration);
                let what = format!("the TTL was set to {} and reads back {there}", crate::text::duration(ttl));
                Err(self.error(Kind::Disagrees, what))
            }
        }
    }

    async fn settled(&self, pool: &str) -> Result<Option<String>, Error> {
        self.named(pool)?;
        let answer = self.ask(Ask::Settled(pool)).await?;
        Ok(Some(crate::text::escape(answer.trim_ascii(), 300)).filter(|text| !text.is_empty()))
    }

    async fn blockers(&self, pool: &str, member: &str) -> Result<Vec<String>, Error> {
        self.check(pool, &[Change { member: member.to_owned(), weight: 0, mode: Mode::Ready }])?;
        if !self.settings.can.connections {
            return Ok(Vec::new());
        }
        let answer = self.ask(Ask::Blockers(pool, member)).await?;
        let lines = answer.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
        Ok(lines.take(10).map(|line| crate::text::escape(line, 120)).collect())
    }

    async fn writable(&self, pool: &str) -> Result<(), Error> {
        self.named(pool)?;
        let answer = self.ask(Ask::Capabilities).await?;
        let says = contract::capabilities(&answer).map_err(|why| self.malformed("capabilities", why))?;
        if says != self.settings.can {
            let what = "what it says it can is not what the inventory says of it";
            return Err(self.error(Kind::Refused, what).hint(format!("write `can: {}`", settings::in_words(&says))));
        }
        self.ask(Ask::Writable(pool)).await.map(drop)
    }
}
