//! The same switch by hand: the commands that one would type, each by a client of its own, on this machine, with no SSH between them.

use std::process::Command;
use std::time::Duration;

const PHYSICAL: &str = concat!(include_str!("hand/postgres.sh"), include_str!("hand/physical.sh"));
const LOGICAL: &str = concat!(include_str!("hand/postgres.sh"), include_str!("hand/logical.sh"));
const MARIADB: &str = include_str!("hand/mariadb.sh");
const REDIS: &str = include_str!("hand/redis.sh");

/// Whose commands.
#[derive(Debug, Clone, Copy)]
pub enum Hand {
    Physical,
    Logical,
    Mariadb,
    Redis,
}

impl Hand {
    /// Runs `there` or `back`; how long nobody could write.
    pub fn run(self, verb: &str, env: &[(&str, String)]) -> Duration {
        let script = match self {
            Self::Physical => PHYSICAL,
            Self::Logical => LOGICAL,
            Self::Mariadb => MARIADB,
            Self::Redis => REDIS,
        };
        let mut shell = Command::new("sh");
        shell.args(["-c", script, "hand", verb]).envs(env.iter().cloned()).current_dir("/");
        let out = shell.output().unwrap();
        let (said, why) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(out.status.success(), "{self:?} {verb}: {said}\n{why}");
        let closed = said.lines().find_map(|line| line.strip_prefix("closed "));
        Duration::from_millis(closed.and_then(|ms| ms.parse().ok()).unwrap_or_else(|| panic!("{said}\n{why}")))
    }
}
