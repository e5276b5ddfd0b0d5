//! What kinds that know a server have in common: words and paths as templates, the bounds of a replica, what its commands know of both
//! servers, and which commands there are.
//!
//! Owns no kind's commands: those are in its script.

use std::collections::BTreeMap;
use std::time::Duration;

use super::replica::script::Script;
use super::replica::steps::{self, Commands};
use super::replica::{Limits, Verify};
use crate::fields::template::{self, Role, Sides, Unfit, Use};
use crate::model::finding::Finding;
use crate::model::{Host, Side, Template};
use crate::secret::SecretRef;
use crate::step::{BothSides, Replica, ReplicaRun};
use crate::text::units::YEAR;
use crate::yaml::map::{Map, one_of};
use crate::yaml::reader::Value;

const MILLISECOND: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

/// A server on one side of a move, as the script of its kind knows it.
pub struct Known<'h> {
    /// The host that it is on.
    pub host: &'h Host,
    /// Variables by the name that they have on both sides.
    pub env: Vec<(&'static str, String)>,
    /// Whoever logs in to it; `None` where no password is needed.
    pub password: Option<SecretRef>,
}

/// One server and the one that gets what it has, as all steps know them: `PREFIX_FROM_x` and `PREFIX_TO_x` for all that either is known by,
/// and `PREFIX_JOB`, which tells this move from others.
pub fn replica(script: &Script, from: Known<'_>, to: Known<'_>, job: &str, timeout: Duration) -> Replica {
    let prefix = script.prefix;
    let mut env = steps::environment(from.host, to.host);
    let digest = job.rsplit('.').next().unwrap_or_default().to_owned();
    env.extend([script.environment(), (format!("{prefix}_JOB"), digest)]);
    let mut secrets = BTreeMap::new();
    let names = (from.host.name.clone(), to.host.name.clone());
    for (role, known) in [("FROM", from), ("TO", to)] {
        env.extend(known.env.into_iter().map(|(name, value)| (format!("{prefix}_{role}_{name}"), value)));
        secrets.extend(known.password.map(|secret| (format!("{prefix}_{role}_PASSWORD"), secret)));
    }
    Replica { job: job.to_owned(), from: names.0, to: names.1, env, secrets, timeout }
}

/// The commands of a script that has all verbs. `lag` is where that runs; nothing is compared.
pub fn commands(script: &Script, lag: Side, runs: Vec<ReplicaRun>) -> Commands {
    let command = |verb| script.command(verb);
    Commands {
        check: Some(BothSides { from: command("check-from"), to: command("check-to") }),
        runs,
        lag: (lag, command("lag")),
        digest: None,
        position: command("position"),
        reached: command("reached"),
        fence: command("fence"),
        unfence: command("unfence"),
        writer: script.both("writer"),
        promote: command("promote"),
    }
}

/// Where the other side finds a server: as the plan says, or at the address of its host.
pub fn address(given: Option<&Template>, host: &Host) -> Result<String, Finding> {
    given.map_or_else(|| Ok(host.address.clone()), |at| host.fill(at))
}

/// Templates of one mapping.
pub struct Texts<'m, 'a, 'u> {
    /// The mapping.
    pub map: &'m Map<'a>,
    /// Whose variables they may use.
    pub sides: Sides,
    /// What is shown where one is wrong.
    pub example: &'static str,
    /// Where they are added, to be judged.
    pub uses: &'u mut Vec<Use>,
}

impl Texts<'_, '_, '_> {
    /// One that may be left out; the outer `None`: it cannot be read.
    pub fn optional(&mut self, key: &'static str, role: Role, wants: &str) -> Option<Option<Template>> {
        match self.map.get(key) {
            None => Some(None),
            Some(value) => self.read(value, role, wants).map(Some),
        }
    }

    /// One with a default.
    pub fn or(&mut self, key: &'static str, role: Role, wants: &str, default: &str) -> Option<Template> {
        Some(self.optional(key, role, wants)?.unwrap_or_else(|| Template(default.to_owned())))
    }

    /// One that must be there.
    pub fn needed(&mut self, key: &'static str, role: Role, wants: &str, example: &'static str) -> Option<Template> {
        let value = self.map.need(key, example)?;
        self.read(value, role, wants)
    }

    fn read(&mut self, value: Value<'_>, role: Role, wants: &str) -> Option<Template> {
        let read = template::read(value, role, self.sides, wants, self.example)?;
        let template = read.template.value.clone();
        self.uses.push(read);
        Some(template)
    }
}

/// The bounds of a replica whose commands may take so long.
pub fn limits(m: &Map<'_>, timeout: Duration, verify: Verify) -> Limits {
    let within = |key, default: Duration, most| {
        m.get(key).and_then(|value| value.duration(MILLISECOND..=most)).unwrap_or(default)
    };
    Limits {
        settle_below: m.get("settle_below").and_then(|value| value.size()).unwrap_or(1 << 20),
        settle_within: within("settle_within", HOUR, YEAR),
        freeze_within: within("freeze_within", Duration::from_secs(30), HOUR),
        timeout: within("timeout", timeout, HOUR),
        verify,
    }
}

/// When both sides are compared.
pub fn verify(value: Value<'_>) -> Option<Verify> {
    const TIMES: [(&str, Verify); 3] = [("ahead", Verify::Ahead), ("frozen", Verify::Frozen), ("both", Verify::Both)];
    one_of(value, "a time", "times", &TIMES).map(|read| read.value)
}

/// The name of somebody whom a server knows: it becomes a word of a command or of a connection string.
pub fn name(value: Value<'_>, wants: &str, example: &str) -> Option<String> {
    let text = value.line(wants, example)?;
    match word(&text.value) {
        Ok(()) => Some(text.value),
        Err(unfit) => {
            value.error(unfit.sentence(&text.value), unfit.hint);
            None
        }
    }
}

/// What is left out is nothing; what cannot be read is an error.
pub fn given<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    read.map_or(Some(None), |read| read.map(Some))
}

/// A word that is the same for every shell and server.
pub fn word(text: &str) -> Result<(), Unfit> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-:@/".contains(c);
    match !text.is_empty() && !text.starts_with('-') && text.chars().all(plain) {
        true => Ok(()),
        false => Err(Unfit::new("is not made of letters, digits and . _ - : @ / alone", "rename it, or correct it")),
    }
}

/// The same for a path.
pub fn path(text: &str) -> Result<(), Unfit> {
    word(text)?;
    match text.starts_with('/') {
        true => Ok(()),
        false => Err(Unfit::new("is not an absolute path", "begin it with `/`")),
    }
}

/// Whatever it is.
pub fn any(_: &str) -> Result<(), Unfit> {
    Ok(())
}
