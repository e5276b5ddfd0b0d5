//! Why a host cannot have an agent, and what helps.
//!
//! Owns the words. Must never suggest to try again what only people can mend.

use super::agents::AgentProgram;
use crate::copy::failure::failed;
use crate::host::Facts;
use crate::model::Host;
use crate::outside::Error;

/// What the C library and the runtime in the agent are made for.
const OLDEST_KERNEL: (u32, u32) = (3, 2);
/// What shells answer where a program is there and cannot be started.
const NOT_STARTED: i32 = 126;

/// How an agent did not start.
#[derive(Debug)]
pub struct Started {
    /// The shell's exit status for it.
    pub status: i32,
    /// What was said, escaped.
    pub said: String,
    /// Where the agent is.
    pub work: String,
    /// `Linux 3.10.0`.
    pub system: String,
}

/// Why a host cannot have an agent.
#[derive(Debug)]
pub enum Refusal {
    /// There is no program for such a machine.
    NoProgram {
        /// The kind of machine.
        machine: String,
        /// Those for which there is one.
        there: Vec<&'static str>,
    },
    /// The work directory could not be made, or the program could not be put there.
    CannotPrepare {
        /// What the host said.
        said: String,
    },
    /// Its kernel is older than any that the agent runs on.
    OldKernel {
        /// `Linux 2.6.32`.
        kernel: String,
    },
    /// Programs are missing without which nothing can be put there.
    NoTools {
        /// Their names.
        missing: Vec<String>,
    },
    /// The work directory cannot be made or written.
    NotWritable {
        /// Where it would be.
        work: String,
    },
    /// There is no room for it.
    NoRoom {
        /// Where it would be.
        work: String,
        /// Bytes that are free.
        free: u64,
    },
    /// It is not allowed to run there.
    MayNotRun(Started),
    /// It needs libraries that the host does not have, or not so new.
    NoLibraries(Started),
    /// It fails for itself.
    Fails(Started),
}

impl Refusal {
    /// What it means that a program did not start.
    pub fn of_start(started: Started, needs_libraries: bool) -> Self {
        match started.status {
            NOT_STARTED => Self::MayNotRun(started),
            _ if needs_libraries => Self::NoLibraries(started),
            _ => Self::Fails(started),
        }
    }

    /// What speaks against an agent on a host by what is known of it; what is not known speaks against nothing.
    pub fn by_facts(host: &Host, facts: &Facts, programs: &[AgentProgram]) -> Option<Self> {
        let machine = match facts.arch.as_str() {
            "amd64" => "x86_64",
            "arm64" => "aarch64",
            other => other,
        };
        let Some(program) = programs.iter().find(|program| program.machine == machine) else {
            let there = programs.iter().map(|program| program.machine).collect();
            return Some(Self::NoProgram { machine: facts.arch.clone(), there });
        };
        if version(&facts.kernel).is_some_and(|kernel| kernel < OLDEST_KERNEL) {
            return Some(Self::OldKernel { kernel: facts.kernel.clone() });
        }
        if !facts.missing.is_empty() {
            return Some(Self::NoTools { missing: facts.missing.clone() });
        }
        let work = facts.paths.iter().find(|path| path.path == host.work_dir())?;
        let shown = crate::text::escape(work.nearest.as_bytes(), 200);
        if !(if work.exists { work.writable } else { work.nearest_writable }) {
            return Some(Self::NotWritable { work: shown });
        }
        if work.runs_programs == Some(false) {
            let said = "its file system is mounted noexec".to_owned();
            return Some(Self::MayNotRun(Started { status: NOT_STARTED, said, work: shown, system: String::new() }));
        }
        let room = work.free_bytes.filter(|free| *free < program.bytes.len() as u64);
        room.map(|free| Self::NoRoom { work: shown, free })
    }

    /// The same as an error of a host.
    pub fn at(self, host: &Host) -> Error {
        let (what, hint) = self.words();
        failed(&host.name, what).hint(hint)
    }

    fn words(self) -> (String, String) {
        let elsewhere = "set `work_dir` of the host to a directory that can be written and from which programs may run";
        match self {
            Self::NoProgram { machine, there } => (
                format!(
                    "there is no copy agent for a machine of the kind {machine}, only for {}",
                    crate::text::list(&there)
                ),
                "build one with `cargo agent --target TRIPLE` and name its directory by `--agents DIR`".to_owned(),
            ),
            Self::CannotPrepare { said } => (format!("cannot prepare the host: {said}"), elsewhere.to_owned()),
            Self::OldKernel { kernel } => {
                let (major, minor) = OLDEST_KERNEL;
                (
                    format!("the copy agent needs Linux {major}.{minor} or newer, and this is {kernel}"),
                    "move what is there by other means, or give the host a newer kernel".to_owned(),
                )
            }
            Self::NoTools { missing } => (
                format!("the host has no {}", crate::text::list(&missing)),
                "install it there (coreutils, or busybox)".to_owned(),
            ),
            Self::NotWritable { work } => {
                (format!("the work directory for the copy agent cannot be written: {work}"), elsewhere.to_owned())
            }
            Self::NoRoom { work, free } => (
                format!("there is no room for the copy agent in {work}: {} are free", crate::text::bytes(free)),
                "make room there, or set `work_dir` of the host to another directory".to_owned(),
            ),
            Self::MayNotRun(Started { said, work, .. }) => (
                format!("the copy agent may not run from {}: {said}", crate::text::escape(work.as_bytes(), 200)),
                format!("its file system may be mounted noexec: {elsewhere}"),
            ),
            Self::NoLibraries(Started { said, .. }) => (
                format!("the copy agent needs newer libraries than the host has: {said}"),
                "use a `migrate` that carries a static agent (`cargo build --release`), or name one by `--agents DIR`"
                    .to_owned(),
            ),
            Self::Fails(Started { status, said, system, .. }) => (
                format!("the copy agent does not start on this host ({system}): it ended with status {status}: {said}"),
                "see in the host's logs whether something there forbids it, and with `uname -r` whether its kernel is older than Linux 3.2".to_owned(),
            ),
        }
    }
}

/// `Linux 3.10.0-1160.el7.x86_64`.
fn version(kernel: &str) -> Option<(u32, u32)> {
    let mut numbers = kernel.strip_prefix("Linux ")?.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::host::{ClockSkew, PathFacts};
    use crate::model::SshTarget;

    fn host() -> Host {
        Host {
            name: "old".into(),
            site: None,
            address: "192.0.2.1".into(),
            ssh: SshTarget::default(),
            tags: Default::default(),
            capacity: 100,
            cost_per_month: None,
            vars: Default::default(),
        }
    }

    fn facts() -> Facts {
        let work = PathFacts {
            path: "~/.migrate".into(),
            nearest: "/root".into(),
            nearest_writable: true,
            free_bytes: Some(1 << 30),
            runs_programs: Some(true),
            ..PathFacts::default()
        };
        Facts {
            os: "unknown".into(),
            kernel: "Linux 3.10.0-1160.el7.x86_64".into(),
            arch: "x86_64".into(),
            uid: 0,
            user: "root".into(),
            cpus: None,
            memory: None,
            rights: None,
            sees_all: None,
            missing: Vec::new(),
            clock: ClockSkew { millis: 0, error_millis: 0 },
            paths: vec![work],
        }
    }

    /// What is refused, and what helps.
    fn judged(facts: &Facts) -> Option<String> {
        let program = AgentProgram {
            machine: "x86_64",
            needs_libraries: false,
            hash: String::new(),
            bytes: Bytes::from_static(&[0; 4096]),
        };
        let refusal = Refusal::by_facts(&host(), facts, &[program])?.at(&host());
        assert!(!refusal.transient);
        Some(format!("{}; {}", refusal.what, refusal.hint.unwrap_or_default()))
    }

    fn with_work(change: impl FnOnce(&mut PathFacts)) -> Facts {
        let mut facts = facts();
        change(&mut facts.paths[0]);
        facts
    }

    #[test]
    fn what_is_known_of_a_host_says_what_an_agent_needs() {
        assert_eq!(judged(&facts()), None);
        let refused = [
            (Facts { arch: "aarch64".into(), ..facts() }, ["kind aarch64, only for x86_64", "--agents DIR"]),
            (Facts { kernel: "Linux 2.6.32-754.el6".into(), ..facts() }, ["Linux 3.2 or newer", "2.6.32"]),
            (Facts { missing: vec!["head".into()], ..facts() }, ["has no head", "coreutils"]),
            (with_work(|work| work.nearest_writable = false), ["cannot be written: /root", "`work_dir`"]),
            (with_work(|work| work.runs_programs = Some(false)), ["may not run from /root", "noexec"]),
            (with_work(|work| work.free_bytes = Some(100)), ["100 B are free", "make room"]),
        ];
        for (facts, words) in refused {
            let said = judged(&facts).unwrap();
            assert!(words.iter().all(|word| said.contains(word)), "{said}");
        }
    }

    #[test]
    fn what_is_not_known_speaks_against_nothing() {
        let silent = with_work(|work| (work.free_bytes, work.runs_programs) = (None, None));
        assert_eq!(judged(&silent), None);
        assert_eq!(judged(&Facts { kernel: "Linux".into(), paths: Vec::new(), ..facts() }), None);
    }
}
