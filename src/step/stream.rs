//! Pouring what one command writes into another.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{AtMost, Class, Ends, Kind, Live, Mark, Played, Preview, Step};
use crate::text;

/// A stream with its commands filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamStep {
    /// Id of the job.
    pub job: String,
    /// The shell script on the source.
    pub from: String,
    /// The shell script on the target.
    pub to: String,
    /// How long both may take.
    #[serde(default)]
    pub timeout: Option<Duration>,
    /// Bytes per second.
    pub bandwidth: Option<u64>,
    /// Whether pouring it twice is the same as once.
    pub idempotent: bool,
}

impl Kind for StreamStep {
    fn class(&self) -> Class {
        if self.idempotent { Class::Convergent } else { Class::Opaque }
    }

    fn phase(&self) -> &'static str {
        "stream"
    }

    fn describe(&self) -> String {
        let shown = |script: &str| text::escape(script.as_bytes(), 100);
        format!("{} | {}", shown(&self.from), shown(&self.to))
    }

    fn ends(&self, _: &str, _: &str) -> Ends {
        Ends::when("both commands have ended, and both ends have seen the same bytes")
    }

    fn carries(&self) -> Option<&str> {
        Some(&self.job)
    }

    fn takes_unknown_time(&self) -> Option<AtMost> {
        Some(AtMost(self.timeout))
    }

    fn preview(&self, _: &Step, _: &dyn Live, _: &mut Played) -> Preview {
        Preview { seen: None, mark: Mark::CannotBeChecked }
    }
}
