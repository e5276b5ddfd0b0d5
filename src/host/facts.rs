//! What is known of a host: what it is, what it has, and what is at paths. Plain data.
//!
//! Must never hold a guess: what the host did not say is `None`.

use serde::{Deserialize, Serialize};

use crate::text;

/// The namespace in which all processes of a machine are visible has this number on every Linux.
pub const FIRST_PIDS: &str = "pid:[4026531836]";

/// What a host is and has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// `Debian GNU/Linux 12 (bookworm)`; `unknown` where the host does not say.
    pub os: String,
    /// `Linux 6.1.0-18-amd64`.
    pub kernel: String,
    /// Machine type: `x86_64`, `aarch64`.
    pub arch: String,
    /// User id of the login.
    pub uid: u32,
    /// Name of the login.
    pub user: String,
    /// Processors.
    pub cpus: Option<u32>,
    /// Main memory in bytes.
    pub memory: Option<u64>,
    /// What the login's processes may do beyond others: a bit for each Linux capability that is effective.
    #[serde(default)]
    pub rights: Option<u64>,
    /// Whether the login sees all processes, and not only those of a container.
    #[serde(default)]
    pub sees_all: Option<bool>,
    /// Programs of the shell that setting up an agent needs, and that are not there.
    #[serde(default)]
    pub missing: Vec<String>,
    /// The host's clock against this machine's.
    pub clock: ClockSkew,
    /// The paths asked for, in that order.
    pub paths: Vec<PathFacts>,
}

/// How far a host's clock is ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockSkew {
    /// Milliseconds ahead of this machine; negative when behind.
    pub millis: i64,
    /// The true value is at most this many milliseconds away: half the time the question took.
    pub error_millis: u64,
}

/// What is at a path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathFacts {
    /// The path as asked for.
    pub path: String,
    /// Whether there is anything (where a symlink leads to, if it is one).
    pub exists: bool,
    /// Whether it is a directory.
    pub directory: bool,
    /// Whether the login may read it.
    pub readable: bool,
    /// Whether the login may write to it.
    pub writable: bool,
    /// The path itself, or the nearest parent that exists.
    pub nearest: String,
    /// Whether the login may write there, so that the path could be made.
    pub nearest_writable: bool,
    /// Free bytes of its file system for this login.
    pub free_bytes: Option<u64>,
    /// Free inodes; `None` where the file system does not count them.
    pub free_inodes: Option<u64>,
    /// Kind of its file system: the number that `statfs` has for it.
    #[serde(default)]
    pub filesystem: Option<u64>,
    /// Whether its file system is mounted so that nothing can be written.
    #[serde(default)]
    pub read_only: Option<bool>,
    /// Whether its file system lets programs run.
    #[serde(default)]
    pub runs_programs: Option<bool>,
    /// File systems that are mounted below it.
    #[serde(default)]
    pub mounts: Option<u64>,
    /// The first places in it on which filesystems are mounted that the kernel makes up, escaped.
    #[serde(default)]
    pub made_up: Vec<String>,
    /// Layers of overlays that are written to in it.
    #[serde(default)]
    pub layers: Option<u64>,
}

/// What stands in the way of something, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Obstacle {
    /// In one sentence, without the host and the path that it is about.
    pub what: String,
    /// What to do next.
    pub hint: String,
}

impl PathFacts {
    /// What keeps a directory here from being written, or from being made, by a login of that name.
    pub fn obstacle(&self, host: &str, user: &str) -> Option<Obstacle> {
        let nearest = &self.nearest;
        let rights =
            format!("say `become: sudo` under `ssh` of {host}, log in as a user who may, or let {user} write there");
        let (what, hint) = match (self.exists, self.read_only) {
            (true, _) if !self.directory => {
                ("is there and is not a directory".to_owned(), "choose another directory".to_owned())
            }
            (exists, Some(true)) => {
                let of = if exists { String::new() } else { format!(" at {nearest}") };
                let hint =
                    format!("remount it read-write on {host}; its kernel log says whether the disk is why it is not");
                (format!("cannot be written: its filesystem{of} is mounted read-only"), hint)
            }
            (true, _) if !self.writable => (format!("cannot be written by the login user {user}"), rights),
            (false, _) if !self.nearest_writable => {
                let what = format!("cannot be made by the login user {user}, to whom {nearest} is closed");
                (what, format!("{rights}, or make it there first"))
            }
            _ => return None,
        };
        Some(Obstacle { what, hint })
    }

    /// What there is too little of for so many bytes and entries.
    pub fn lacks(&self, bytes: u64, entries: u64) -> Option<String> {
        if let Some(free) = self.free_bytes.filter(|free| *free < bytes) {
            return Some(format!("{} are free and the source has {}", text::bytes(free), text::bytes(bytes)));
        }
        let free = self.free_inodes.filter(|free| *free < entries)?;
        let (free, entries) = (text::count(free, "inode"), text::entries(entries));
        Some(format!("{free} are free and the source has {entries}"))
    }
}

/// What an agent that was started on a host has seen there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentFacts {
    /// The trees that it was to look at, in that order; `None` where that took too long.
    pub trees: Vec<Option<TreeFacts>>,
}

/// What an agent sees of a tree, within its file system.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeFacts {
    /// Its root, as asked for.
    pub root: String,
    /// Entries of all kinds below it.
    pub entries: u64,
    /// Bytes that they take on the disk.
    pub allocated: u64,
    /// Entries that the login may not read.
    pub unreadable: u64,
    /// The first of them, escaped.
    pub example: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_a_login_from_writing_is_named_with_the_way_out() {
        let open =
            PathFacts { exists: true, directory: true, writable: true, nearest: "/srv".into(), ..PathFacts::default() };
        let told = |path: PathFacts| path.obstacle("fra-1", "deploy").map(|obstacle| obstacle.what);
        assert_eq!(told(open.clone()), None);
        assert_eq!(
            told(PathFacts { read_only: Some(true), ..open.clone() }).unwrap(),
            "cannot be written: its filesystem is mounted read-only"
        );
        assert_eq!(
            told(PathFacts { writable: false, ..open.clone() }).unwrap(),
            "cannot be written by the login user deploy"
        );
        let missing = PathFacts { exists: false, directory: false, writable: false, ..open };
        assert_eq!(told(missing.clone()).unwrap(), "cannot be made by the login user deploy, to whom /srv is closed");
        assert_eq!(
            told(PathFacts { read_only: Some(true), ..missing.clone() }).unwrap(),
            "cannot be written: its filesystem at /srv is mounted read-only"
        );
        assert_eq!(told(PathFacts { nearest_writable: true, ..missing }), None);
    }
}
