//! A process that holds a lease, and whether it is still there.

use std::fs;

use serde::{Deserialize, Serialize};

use crate::event::Operator;

/// Who holds a lease, from where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Login name.
    pub user: String,
    /// Host name.
    pub host: String,
    /// Process id.
    pub pid: u32,
    /// When the process began, in the kernel's ticks since boot: an id may be used again.
    pub began: Option<u64>,
    /// Which machine; host names may repeat.
    pub machine: Option<String>,
    /// Which start of that machine.
    pub boot: Option<String>,
    /// Where the process id counts.
    pub pid_namespace: Option<String>,
}

impl Owner {
    /// This process.
    pub fn this(operator: &Operator) -> Self {
        Self {
            user: operator.user.clone(),
            host: operator.host.clone(),
            pid: operator.pid,
            began: process(operator.pid).map(|p| p.began),
            machine: word("/etc/machine-id"),
            boot: word("/proc/sys/kernel/random/boot_id"),
            pid_namespace: fs::read_link("/proc/self/ns/pid").ok().map(|l| l.to_string_lossy().into_owned()),
        }
    }

    /// Whether it is certain, seen from `here`, that this process does not run any more. `false` when it cannot be known.
    pub fn is_dead(&self, here: &Self) -> bool {
        let same = |a: &Option<String>, b: &Option<String>| a.is_some() && a == b;
        if !same(&self.boot, &here.boot) {
            let both_known = self.boot.is_some() && here.boot.is_some();
            return both_known && same(&self.machine, &here.machine) && self.host == here.host;
        }
        if !same(&self.pid_namespace, &here.pid_namespace) || self.began.is_none() {
            return false;
        }
        process(self.pid).is_none_or(|p| Some(p.began) != self.began || p.ended)
    }

    /// Whether this and the other run since the same start of one machine, and so read the same clock.
    pub(super) fn shares_boot(&self, other: &Self) -> bool {
        self.boot.is_some() && self.boot == other.boot
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |text: &str| crate::text::escape(text.as_bytes(), 60);
        write!(f, "{}@{} (pid {})", shown(&self.user), shown(&self.host), self.pid)
    }
}

fn word(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|t| t.trim().to_owned()).filter(|t| !t.is_empty())
}

struct Process {
    began: u64,
    ended: bool,
}

/// What the kernel knows of a process; `None` when there is none of that id.
fn process(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program stands in parentheses and may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let began = fields.nth(18)?.parse().ok()?;
    Some(Process { began, ended: matches!(state, "Z" | "X" | "x") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn this() -> Owner {
        Owner::this(&Operator { user: "ada".into(), host: "desk".into(), pid: std::process::id() })
    }

    #[test]
    fn this_process_lives_and_one_that_was_waited_for_does_not() {
        assert!(!this().is_dead(&this()));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let owner = Owner::this(&Operator { user: "ada".into(), host: "desk".into(), pid: child.id() });
        assert!(!owner.is_dead(&this()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(owner.is_dead(&this()));
    }

    #[test]
    fn a_process_id_that_is_used_again_is_not_the_owner() {
        let owner = Owner { began: Some(1), ..this() };
        assert!(owner.is_dead(&this()));
    }

    #[test]
    fn a_restarted_machine_runs_nothing_from_before_and_another_machine_cannot_be_judged() {
        let before = Owner { boot: Some("earlier".into()), machine: Some("m".into()), ..this() };
        assert!(before.is_dead(&Owner { machine: Some("m".into()), ..this() }));
        assert!(!before.is_dead(&Owner { machine: Some("n".into()), ..this() }));
        assert!(!Owner { boot: None, ..before }.is_dead(&this()));
        let in_container = Owner { pid_namespace: Some("pid:[1]".into()), pid: u32::MAX, ..this() };
        assert!(!in_container.is_dead(&this()));
    }
}
