//! Alerts of the hosts of a pair are silenced while it moves, and heard again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Class, Ends, Kind, Live, Mark, Played, Preview, Step, Undo};
use crate::alerts::Wanted;
use crate::metrics::Server;
use crate::text;

/// Silences alerts, or lets them be heard again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SilenceStep {
    /// Who is asked.
    pub at: Server,
    /// What is silenced.
    pub wanted: Vec<Wanted>,
    /// How long that lasts if nobody takes it away.
    pub lasts: Duration,
    /// Whether the run holds where it cannot be done.
    pub must: bool,
    /// Whether the silences are made; else they are taken away.
    pub makes: bool,
}

impl Kind for SilenceStep {
    fn class(&self) -> Class {
        Class::Convergent
    }

    fn phase(&self) -> &'static str {
        "silence"
    }

    fn describe(&self) -> String {
        let hosts: Vec<&str> = self.wanted.iter().map(|wanted| wanted.host.as_str()).collect();
        let (hosts, at) = (text::list(&hosts), self.at.host());
        match self.makes {
            true => format!("alerts of {hosts} at {at}, for {} at most", text::duration(self.lasts)),
            false => format!("no alerts of {hosts} at {at} any more"),
        }
    }

    fn ends(&self, run: &str, step: &str) -> Ends {
        let ends = Ends::when("Alertmanager has it, read back");
        match self.must {
            true => ends
                .otherwise(format!(", else it holds; to go on without: migrate resolve {run} {step} --done --why …")),
            false => ends.otherwise(", else it goes on and says so"),
        }
    }

    fn hosts(&self) -> Option<Vec<&str>> {
        Some(self.wanted.iter().map(|wanted| wanted.host.as_str()).collect())
    }

    fn undo(&self) -> Undo<'_> {
        Undo::Silence(self)
    }

    fn preview(&self, _: &Step, live: &dyn Live, _: &mut Played) -> Preview {
        match live.alertmanager(&self.at.url) {
            Some(version) => Preview { seen: Some(format!("Alertmanager {version} answers")), mark: Mark::Assumed },
            None => Preview { seen: None, mark: Mark::Assumed },
        }
    }
}
