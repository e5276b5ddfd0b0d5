//! Why a host cannot have an agent, and what helps.
//!
//! Owns the words. Must never suggest to try again what only people can mend.

use crate::copy::failure::failed;
use crate::model::Host;
use crate::outside::Error;

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
                "it needs Linux 3.2 or newer; see in the host's logs whether something there forbids it".to_owned(),
            ),
        }
    }
}
