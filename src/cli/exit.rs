//! Exit codes, in one place.

use std::process::ExitCode;

/// How a command ended, for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It did what it was asked to; for `plan`: nothing to do, or changes pending without `--detailed-exitcode`.
    Ok,
    /// It could not: bad input, a refused plan, something that does not answer.
    Error,
    /// `plan --detailed-exitcode`: changes are pending.
    Pending,
    /// The run (or the copy) is held or stopped at a safe point, and can be taken up again.
    Held,
    /// A step failed, and everything is as it was, because the plan asks for that.
    RolledBack,
    /// Interrupted at once, wherever it was.
    Interrupted,
}

/// For `--help`.
pub const TABLE: &str = "\
Exit codes:
    0  done, or nothing to do
    1  error: bad input, a refused plan, something that does not answer
    2  changes are pending (plan --detailed-exitcode); also wrong usage
    3  the run is held or was stopped at a safe point, or is done without pairs that could not be reached:
       `migrate status` says why, `migrate apply` goes on;
       or a copy was stopped: the same command goes on
    4  a step failed, and everything was rolled back, as the plan says (`on_failure: rollback`)
  130  interrupted at once (second Ctrl-C)";

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Error => 1,
            Self::Pending => 2,
            Self::Held => 3,
            Self::RolledBack => 4,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
