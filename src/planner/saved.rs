//! A plan in a file, bound to the files it came from and to what was seen when it was made.
//!
//! Must never be applied to anything else: what has changed since is named.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::observed::{Observed, Seen};
use crate::model::Input;
use crate::model::{Mode, Pool};
use crate::step::{Graph, Live};

/// The format written, and the only one read.
pub const FORMAT: u32 = 2;

/// The content of a saved plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedPlan {
    /// Format of the file; also what tells it from YAML.
    pub migrate_plan: u32,
    /// Version of the tool that made it.
    pub version: String,
    /// When.
    pub made: Timestamp,
    /// Plan file as named then.
    pub plan: PathBuf,
    /// Inventory given on the command line, if any.
    pub inventory: Option<PathBuf>,
    /// All files it came from.
    pub inputs: Vec<Input>,
    /// What was seen.
    pub observed: Observed,
    /// What will be done.
    pub graph: Graph,
}

/// Why a saved plan cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SavedPlanError {
    /// Made by a newer version.
    #[error("the saved plan has format {0}; this program reads {FORMAT}: use the newer `migrate` that made it")]
    Newer(u32),
    /// Made by an older version, whose steps have another shape.
    #[error("the saved plan has format {0}; this program reads {FORMAT}: make it again with `migrate plan --out`")]
    Older(u32),
    /// Not a whole saved plan.
    #[error("the saved plan is damaged: {0}; make it again with `migrate plan --out`")]
    Damaged(String),
}

/// Whether a file's beginning looks like a saved plan.
pub fn is_saved_plan(bytes: &[u8]) -> bool {
    let start = bytes.iter().position(|b| !b.is_ascii_whitespace()).unwrap_or(0);
    bytes.get(start..).is_some_and(|b| b.starts_with(b"{"))
}

impl SavedPlan {
    /// Reads one.
    pub fn parse(bytes: &[u8]) -> Result<Self, SavedPlanError> {
        #[derive(Deserialize)]
        struct Versioned {
            migrate_plan: u32,
        }
        let damaged = |e: serde_json::Error| SavedPlanError::Damaged(e.to_string());
        let Versioned { migrate_plan } = serde_json::from_slice(bytes).map_err(damaged)?;
        if migrate_plan > FORMAT {
            return Err(SavedPlanError::Newer(migrate_plan));
        }
        if migrate_plan < FORMAT {
            return Err(SavedPlanError::Older(migrate_plan));
        }
        serde_json::from_slice(bytes).map_err(damaged)
    }

    /// What has changed in the files since it was made.
    pub fn changed_inputs(&self, now: &[Input]) -> Vec<String> {
        let mut changed: Vec<String> = Vec::new();
        for input in &self.inputs {
            match now.iter().find(|n| n.path == input.path) {
                None => changed.push(format!("{} is not read any more", input.path.display())),
                Some(n) if n.digest != input.digest => {
                    changed.push(format!("{} has been edited", input.path.display()))
                }
                Some(_) => {}
            }
        }
        let new = now.iter().filter(|n| self.inputs.iter().all(|i| i.path != n.path));
        changed.extend(new.map(|n| format!("{} is new", n.path.display())));
        changed
    }

    /// What has changed on the live system since it was made, as far as it matters: pools, hosts, directories. Connections,
    /// free space and health move all the time and are checked by the run itself.
    pub fn changed_world(&self, now: &Observed) -> Vec<String> {
        let mut changed = Vec::new();
        for (key, then) in &self.observed.pools {
            match (then.live(), now.pools.get(key).and_then(Seen::live)) {
                (Some(then), Some(now)) => changed.extend(pool_changes(key, then, now)),
                (Some(_), None) => changed.push(format!("{key} does not answer any more")),
                (None, _) => {}
            }
        }
        for (name, then) in &self.observed.hosts {
            let (Some(then), Some(now)) = (then.live(), now.host(name)) else {
                changed.push(format!("{name} cannot be reached any more"));
                continue;
            };
            if (&then.os, &then.arch) != (&now.os, &now.arch) {
                changed.push(format!("{name}: {} {} → {} {}", then.os, then.arch, now.os, now.arch));
            }
            for path in &then.paths {
                let there = now.paths.iter().find(|p| p.path == path.path).is_some_and(|p| p.exists);
                if there != path.exists {
                    let what = if there { "has appeared" } else { "has gone" };
                    changed.push(format!("{name}:{} {what}", path.path));
                }
            }
        }
        changed
    }
}

fn pool_changes(key: &str, then: &Pool, now: &Pool) -> Vec<String> {
    let mut changed = Vec::new();
    let shown = |mode: Mode, weight: u16| match mode {
        Mode::Ready => format!("weight {weight}"),
        Mode::Drain => "drain".to_owned(),
        Mode::Maint => "maintenance".to_owned(),
    };
    let (known, there) = (then.by_name(), now.by_name());
    for member in &then.members {
        match there.get(member.name.as_str()) {
            None => changed.push(format!("{key}: {} is not there any more", member.name)),
            Some(n) if (n.mode, n.weight) != (member.mode, member.weight) => changed.push(format!(
                "{key}: {} {} → {}",
                member.name,
                shown(member.mode, member.weight),
                shown(n.mode, n.weight)
            )),
            Some(_) => {}
        }
    }
    let new = now.members.iter().filter(|n| !known.contains_key(n.name.as_str()));
    changed.extend(new.map(|n| format!("{key}: {} is new", n.name)));
    if then.ttl != now.ttl {
        changed.push(format!("{key}: its TTL has changed"));
    }
    changed
}
