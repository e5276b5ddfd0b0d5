//! A directory tree, the same on both sides.
//!
//! Owns when it is copied and when it is compared, there and back. A comparison takes its time, so the whole tree is compared while the source
//! lives, and in the freeze only what has changed since.

mod findings;
mod read;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Ask, Carried, Risk, StateKind};
use crate::check::{Checks, HealthCheck, SubjectName};
use crate::host::TreeExtent;
use crate::model::finding::Finding;
use crate::model::{DataPath, Host, Side, Template, Throttle, TreeRules};
use crate::step::{
    CompareStep, Comparison, CopyPass, CopyStep, Draft, HandOverStep, Live, Moment, ReverseStep, SetAsideStep,
    StepKind, TreeStep,
};

/// A directory tree on the source that must be the same on the target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// Queries by which `bandwidth` falls and rises while the source serves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub govern: Vec<Arc<HealthCheck>>,
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
    fn comes_back(&self) -> bool {
        true
    }

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
        let (from, to) = (source.fill(&self.from)?, target.fill(&self.to)?);
        let back = self.tree(format!("{job}.back"), to.clone(), from.clone(), target)?;
        let tree = self.tree(job, from, to, source)?;
        Ok(Box::new(Tree { settings: self, tree, back: TreeStep { back: true, ..back }, source, target }))
    }
}

impl DirectoryState {
    /// From one host to another, held back by the load of the first.
    fn tree(&self, job: String, from: String, to: String, held_back_by: &Host) -> Result<TreeStep, Finding> {
        let throttle = match &self.throttle {
            Some(throttle) => {
                let command = Template(held_back_by.fill_command(&throttle.command)?);
                Some(Throttle { command, ..throttle.clone() })
            }
            None => None,
        };
        let asks = Box::new(Checks::new([SubjectName::host(&held_back_by.name)], &self.govern));
        let (rules, bandwidth, path, settle_below) = (self.rules.clone(), self.bandwidth, self.path, self.settle_below);
        Ok(TreeStep { job, from, to, rules, bandwidth, asks, path, throttle, settle_below, back: false })
    }
}

/// A tree between the two hosts of a pair.
struct Tree<'a> {
    settings: &'a DirectoryState,
    tree: TreeStep,
    /// The same from the target to the source.
    back: TreeStep,
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

    fn hand_over(&self) -> Draft {
        let hand_over = HandOverStep { tree: self.back.clone(), verify: self.settings.verify };
        Draft::new("hand-over", StepKind::HandOver(hand_over))
    }

    fn reverse(&self) -> Draft {
        let (max_passes, verify) = (self.settings.max_passes, self.settings.verify);
        Draft::new("reverse", StepKind::Reverse(ReverseStep { tree: self.back.clone(), max_passes, verify }))
    }
}

impl Carried for Tree<'_> {
    fn jobs(&self) -> Vec<&str> {
        vec![&self.tree.job, &self.back.job]
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
            Moment::HandedOver => Some(self.hand_over()),
            Moment::Reversed => Some(self.reverse()),
            _ => None,
        };
        step.into_iter().collect()
    }

    fn findings(&self, live: &dyn Live) -> Vec<Finding> {
        findings::of(self, live)
    }

    fn findings_back(&self, live: &dyn Live) -> Vec<Finding> {
        findings::back(self, live)
    }
}
