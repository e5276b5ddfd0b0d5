//! Copying a tree.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Class, Ends, Kind, Lane, Live, Mark, Played, Preview, Step, TreeStep};
use crate::host::TreeSize;
use crate::text;

/// A pass over a tree, or passes until little is left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CopyStep {
    /// The tree.
    pub tree: TreeStep,
    /// Which of the passes.
    pub pass: CopyPass,
    /// Catching up ends after this many passes.
    pub max_passes: u32,
}

/// Which of the passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CopyPass {
    /// The first, long before the drain.
    Seed,
    /// Passes until little is left.
    CatchUp,
    /// The one pass after the freeze.
    Last,
}

impl CopyPass {
    /// Whether the source serves meanwhile.
    pub fn is_live(self) -> bool {
        match self {
            Self::Seed | Self::CatchUp => true,
            Self::Last => false,
        }
    }
}

impl Kind for CopyStep {
    fn class(&self) -> Class {
        Class::Convergent
    }

    fn phase(&self) -> &'static str {
        match self.pass {
            CopyPass::Seed => "seed",
            CopyPass::CatchUp => "catch up",
            CopyPass::Last => "last pass",
        }
    }

    fn describe(&self) -> String {
        let tree = self.tree.describe();
        match self.pass {
            CopyPass::Seed => format!("{tree}, live"),
            CopyPass::CatchUp => {
                let (little, passes) = (text::bytes(self.tree.settle_below), self.max_passes);
                format!("{tree} until less than {little} is left, at most {passes} passes")
            }
            CopyPass::Last => tree,
        }
    }

    fn ends(&self, _: &str, _: &str) -> Ends {
        Ends::when("all of it has arrived")
    }

    fn carries(&self) -> Option<&str> {
        Some(&self.tree.job)
    }

    fn lane(&self) -> Option<Lane> {
        (self.pass == CopyPass::Seed).then_some(Lane::Seeds)
    }

    fn finds_changes_of(&self) -> Option<&TreeStep> {
        match self.pass {
            // It looks at everything anyway.
            CopyPass::Seed => None,
            CopyPass::CatchUp | CopyPass::Last => Some(&self.tree),
        }
    }

    fn volume(&self, step: &Step, live: &dyn Live) -> Option<TreeSize> {
        let pair = step.pair.as_ref().filter(|_| self.pass == CopyPass::Seed)?;
        live.tree(&pair.source, &self.tree.from).cloned()
    }

    fn brings_in_step(&self) -> bool {
        self.pass == CopyPass::CatchUp
    }

    fn takes(&self, step: &Step, live: &dyn Live) -> Duration {
        let (size, limit) = (self.tree.size(step, live), self.tree.bandwidth);
        match self.pass {
            CopyPass::Seed => TreeStep::takes(size.bytes, size.entries, limit),
            CopyPass::CatchUp => TreeStep::takes(size.bytes / 100, size.entries / 10, limit),
            CopyPass::Last => TreeStep::takes(self.tree.settle_below, size.entries / 10, limit),
        }
    }

    fn preview(&self, step: &Step, live: &dyn Live, _: &mut Played) -> Preview {
        match self.volume(step, live) {
            Some(size) => {
                let seen = format!("{} entries, {}", text::grouped(size.entries), text::bytes(size.bytes));
                Preview { seen: Some(seen), mark: Mark::Verified }
            }
            None => Preview { seen: None, mark: Mark::Assumed },
        }
    }
}
