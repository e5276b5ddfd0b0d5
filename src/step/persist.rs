//! Settings that only last until a director starts anew: whether what it reads then agrees, and changing that.

use serde::{Deserialize, Serialize};

use super::{Class, Ends, Kind, Lane, Live, Look, Mark, Played, Preview, Step, Undo};
use crate::check::PoolRef;
use crate::model::{Change, Kept, Line};

/// Looks whether members stay as the run has set them when their director starts anew.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PersistStep {
    /// The pool.
    pub pool: PoolRef,
    /// What the run has set its members to in the end.
    pub members: Vec<Change>,
    /// What was known of it when the plan was made; `None`: nobody had looked.
    pub expected: Option<Kept>,
    /// Whether a [`RewriteStep`] changes what has to change before.
    pub is_written: bool,
}

/// Changes what a director reads when it starts, so that members stay as the run has set them. It reloads nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RewriteStep {
    /// The pool.
    pub pool: PoolRef,
    /// What the run has set its members to in the end.
    pub members: Vec<Change>,
    /// What had to change when the plan was made; `None`: nobody had looked.
    pub expected: Option<Kept>,
}

fn lines(kept: &Kept) -> String {
    kept.lines.iter().map(Line::to_string).collect::<Vec<_>>().join("; ")
}

impl Kind for PersistStep {
    fn class(&self) -> Class {
        Class::Reading
    }

    fn phase(&self) -> &'static str {
        "persist"
    }

    fn describe(&self) -> String {
        format!("a restart keeps {} {} as it was set", self.pool.director, self.pool.pool)
    }

    fn ends(&self, run: &str, step: &str) -> Ends {
        let otherwise = format!(", else it holds; to leave it so: migrate resolve {run} {step} --done --why …");
        Ends::when("what is read at a restart agrees").otherwise(otherwise)
    }

    fn hosts(&self) -> Option<Vec<&str>> {
        Some(Vec::new())
    }

    fn holds_alone(&self) -> bool {
        true
    }

    fn preview(&self, _: &Step, _: &dyn Live, _: &mut Played) -> Preview {
        match &self.expected {
            None => Preview { seen: None, mark: Mark::Assumed },
            Some(kept) if self.is_written && kept.unclear.is_empty() => Preview { seen: None, mark: Mark::Assumed },
            Some(kept) if kept.agrees() => Preview { seen: Some(kept.describe()), mark: Mark::Assumed },
            Some(kept) => Preview { seen: Some(format!("to change: {}", kept.describe())), mark: Mark::Verified },
        }
    }
}

impl Kind for RewriteStep {
    fn class(&self) -> Class {
        Class::Convergent
    }

    fn phase(&self) -> &'static str {
        "write"
    }

    fn describe(&self) -> String {
        format!("what {} reads at a restart keeps {} as it was set", self.pool.director, self.pool.pool)
    }

    fn lane(&self) -> Option<Lane> {
        Some(Lane::Director(self.pool.director.clone()))
    }

    fn hosts(&self) -> Option<Vec<&str>> {
        Some(Vec::new())
    }

    fn holds_alone(&self) -> bool {
        true
    }

    fn looks(&self) -> Option<Look<'_>> {
        Some(Look::Files { director: &self.pool.director, pool: &self.pool.pool, members: &self.members })
    }

    fn looks_anew(&self) -> bool {
        true
    }

    fn undo(&self) -> Undo<'_> {
        Undo::Files { director: &self.pool.director }
    }

    fn preview(&self, _: &Step, _: &dyn Live, _: &mut Played) -> Preview {
        match &self.expected {
            Some(kept) if !kept.lines.is_empty() => Preview { seen: Some(lines(kept)), mark: Mark::Verified },
            Some(kept) if kept.agrees() => Preview { seen: Some("nothing has to change".into()), mark: Mark::Verified },
            _ => Preview { seen: None, mark: Mark::Assumed },
        }
    }
}
