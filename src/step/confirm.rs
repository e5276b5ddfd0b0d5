//! Looking whether what the run has set at directors is still so.

use serde::{Deserialize, Serialize};

use super::{Class, Ends, Fenced, Kind, Live, Look, Mark, Played, Preview, Step, StepKind};
use crate::check::PoolRef;

/// Looks whether pools are as the run has set them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfirmStep {
    /// The pools.
    pub pools: Vec<PoolRef>,
    /// A source that must have stayed without traffic meanwhile.
    pub source: Option<Drained>,
    /// What its host must still refuse.
    #[serde(default)]
    pub fenced: Option<Fenced>,
}

/// A source that must not get traffic from its drain on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Drained {
    /// Its pool.
    pub pool: PoolRef,
    /// Its name there.
    pub member: String,
    /// Its other pools, with its name in each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<(PoolRef, String)>,
    /// Id of the traffic step that drained it.
    pub drained_by: String,
    /// Id of the step that looked before what had to stay as it was; `None`: this is that step.
    pub since: Option<String>,
    /// What is done when it has got traffic since, because it may have taken writes: it is waited for to be empty, and copied and compared again.
    pub again: Vec<StepKind>,
}

impl Drained {
    /// Its pools, with its name in each.
    pub fn places(&self) -> impl Iterator<Item = (&PoolRef, &String)> {
        std::iter::once((&self.pool, &self.member)).chain(self.also.iter().map(|(pool, member)| (pool, member)))
    }

    /// Whether it is this member of this pool.
    pub fn is(&self, pool: &PoolRef, member: &str) -> bool {
        self.places().any(|(of, name)| of == pool && name == member)
    }
}

impl Kind for ConfirmStep {
    fn class(&self) -> Class {
        // What is set again, and copied again, can be repeated.
        Class::Convergent
    }

    fn phase(&self) -> &'static str {
        "confirm"
    }

    fn describe(&self) -> String {
        let pools: Vec<String> = self.pools.iter().map(|p| format!("{} {}", p.director, p.pool)).collect();
        let pools = crate::text::list(&pools);
        match &self.source {
            None => format!("{pools} as it was set"),
            Some(Drained { member, since: None, .. }) => format!("{pools} as it was set, {member} without traffic"),
            Some(Drained { member, .. }) => format!("{pools} as it was set, {member} without traffic all the time"),
        }
    }

    fn ends(&self, _: &str, _: &str) -> Ends {
        Ends::when("everything is as the run has set it").otherwise(", else it holds")
    }

    fn hosts(&self) -> Option<Vec<&str>> {
        Some(Vec::new())
    }

    fn looks(&self) -> Option<Look<'_>> {
        let source = self.source.as_ref().filter(|source| source.since.is_none())?;
        Some(Look::Pool { director: &source.pool.director, pool: &source.pool.pool })
    }

    fn found_by(&self) -> Option<&str> {
        self.source.as_ref()?.since.as_deref()
    }

    fn preview(&self, _: &Step, _: &dyn Live, _: &mut Played) -> Preview {
        Preview { seen: None, mark: Mark::Assumed }
    }
}
