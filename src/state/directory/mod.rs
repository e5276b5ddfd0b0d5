//! A directory tree, the same on both sides.
//!
//! Owns when it is copied and when it is compared. A comparison takes its time, so the whole tree is compared while the source lives, and in
//! the freeze only what has changed since.

mod findings;
mod read;

use serde::{Deserialize, Serialize};

use super::{Ask, Carried, Risk, StateKind};
use crate::host::TreeExtent;
use crate::model::finding::Finding;
use crate::model::{DataPath, Host, Side, Template, Throttle, TreeRules};
use crate::step::{CompareStep, Comparison, CopyPass, CopyStep, Draft, Live, Moment, SetAsideStep, StepKind, TreeStep};

/// A directory tree on the source that must be the same on the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryState {
    /// Root on the source.
    pub from: Template,
    /// Root on the target.
    pub to: Template,
    /// What the target is to have of the source.
    pub rules: TreeRules,
    /// Compare BLAKE3 of every file on both sides before the thaw; true unless given.
    pub verify: bool,
    /// Bytes per second, `None` for no limit.
    pub bandwidth: Option<u64>,
    /// Which way the data takes.
    pub path: DataPath,
    /// What the source must not suffer while it serves.
    pub throttle: Option<Throttle>,
    /// Catch-up passes end when less than this many bytes are left.
    pub settle_below: u64,
    /// At most this many catch-up passes before the freeze.
    pub max_passes: u32,
    /// What becomes of the root on the target when the run goes back.
    pub on_rollback: OnRollback,
}

/// What becomes of a target's directory when a run goes back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnRollback {
    /// What was copied stays.
    #[default]
    Leave,
    /// What was there before the run is there again; what was copied is moved beside it.
    Restore,
}

impl StateKind for DirectoryState {
    fn asks(&self) -> Vec<Ask<'_>> {
        let extent = if self.rules.one_filesystem { TreeExtent::OneFilesystem } else { TreeExtent::Mounts };
        vec![
            Ask { side: Side::Source, path: &self.from, size: Some(extent) },
            Ask { side: Side::Target, path: &self.to, size: None },
        ]
    }

    fn risks(&self) -> Vec<Risk> {
        let unverified = Risk {
            what: "has state that is not verified: a damaged copy would be noticed by its users",
            hint: "leave `verify` on",
        };
        if self.verify { Vec::new() } else { vec![unverified] }
    }

    fn between<'a>(
        &'a self,
        source: &'a Host,
        target: &'a Host,
        job: String,
    ) -> Result<Box<dyn Carried + 'a>, Finding> {
        let throttle = match &self.throttle {
            Some(throttle) => {
                let command = Template(source.fill_command(&throttle.command)?);
                Some(Throttle { command, ..throttle.clone() })
            }
            None => None,
        };
        let tree = TreeStep {
            job,
            from: source.fill(&self.from)?,
            to: target.fill(&self.to)?,
            rules: self.rules.clone(),
            bandwidth: self.bandwidth,
            path: self.path,
            throttle,
            settle_below: self.settle_below,
        };
        Ok(Box::new(Tree { settings: self, tree, source, target }))
    }
}

/// A tree between the two hosts of a pair.
struct Tree<'a> {
    settings: &'a DirectoryState,
    tree: TreeStep,
    source: &'a Host,
    target: &'a Host,
}

impl Tree<'_> {
    fn copy(&self, name: &str, pass: CopyPass) -> Draft {
        let (tree, max_passes) = (self.tree.clone(), self.settings.max_passes);
        Draft::new(name, StepKind::Copy(CopyStep { tree, pass, max_passes }))
    }

    fn comparison(&self, name: &str, comparison: Comparison) -> Option<Draft> {
        let compare = CompareStep { tree: self.tree.clone(), comparison };
        self.settings.verify.then(|| Draft::new(name, StepKind::Compare(compare)))
    }

    fn set_aside(&self) -> Option<Draft> {
        let set_aside = SetAsideStep { host: self.target.name.clone(), path: self.tree.to.clone() };
        let restores = self.settings.on_rollback == OnRollback::Restore;
        restores.then(|| Draft::new("aside", StepKind::SetAside(set_aside)))
    }
}

impl Carried for Tree<'_> {
    fn job(&self) -> &str {
        &self.tree.job
    }

    fn steps(&self, moment: Moment) -> Vec<Draft> {
        let step = match moment {
            Moment::Prepare => self.set_aside(),
            Moment::Seed => Some(self.copy("seed", CopyPass::Seed)),
            Moment::CatchUp => Some(self.copy("catch-up", CopyPass::CatchUp)),
            Moment::CompareAhead => self.comparison("verify-ahead", Comparison::Ahead),
            Moment::CatchUpAgain => Some(self.copy("catch-up-again", CopyPass::CatchUp)),
            Moment::Frozen => Some(self.copy("last-pass", CopyPass::Last)),
            Moment::Proved => self.comparison("verify", Comparison::Whole),
            _ => None,
        };
        step.into_iter().collect()
    }

    fn findings(&self, live: &dyn Live) -> Vec<Finding> {
        findings::of(self, live)
    }
}
