//! A firewall on a source that refuses new connections to its service, whichever way they come.

use serde::{Deserialize, Serialize};

use super::{Class, Ends, Kind, Live, Mark, Played, Preview, Step, Undo};
use crate::model::OnDrift;

/// Lets nftables on a host refuse new connections to a port; those that are established go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceStep {
    /// Inventory name of the host.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What happens when it is found gone.
    pub on_drift: OnDrift,
}

/// Takes a fence away again, once its source is out of service for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnfenceStep {
    /// What was set.
    pub fence: FenceStep,
}

/// A fence that must still be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fenced {
    /// Id of the step that set it.
    pub by: String,
    /// What it set.
    pub fence: FenceStep,
}

impl FenceStep {
    /// The table of nftables, named by the run and the source.
    pub fn table(&self, run: &str) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        format!("migrate_{run}_{}", self.host).chars().map(plain).take(100).collect()
    }

    /// All that is in the table.
    pub fn rules(&self, table: &str) -> String {
        // Connection tracking takes up established connections as new ones: only what begins a connection is refused.
        format!(
            "table inet {table} {{\n  chain input {{\n    type filter hook input priority -10; policy accept;\n    \
             tcp dport {} tcp flags & (syn|ack) == syn reject with tcp reset\n  }}\n}}\n",
            self.port
        )
    }
}

impl Kind for FenceStep {
    fn class(&self) -> Class {
        Class::Convergent
    }

    fn phase(&self) -> &'static str {
        "fence"
    }

    fn describe(&self) -> String {
        format!("nftables on {} refuses new connections to port {}", self.host, self.port)
    }

    fn hosts(&self) -> Option<Vec<&str>> {
        Some(vec![&self.host])
    }

    fn undo(&self) -> Undo<'_> {
        Undo::Fence(self)
    }

    fn preview(&self, _: &Step, live: &dyn Live, _: &mut Played) -> Preview {
        match live.takes_fences(&self.host) {
            true => Preview { seen: Some("it takes the rule".to_owned()), mark: Mark::Verified },
            false => Preview { seen: None, mark: Mark::Assumed },
        }
    }
}

impl Kind for UnfenceStep {
    fn class(&self) -> Class {
        Class::Convergent
    }

    fn phase(&self) -> &'static str {
        "unfence"
    }

    fn describe(&self) -> String {
        format!("nftables on {} has nothing of the run any more", self.fence.host)
    }

    fn ends(&self, _: &str, _: &str) -> Ends {
        Ends::when("the table is gone")
    }

    fn hosts(&self) -> Option<Vec<&str>> {
        Some(vec![&self.fence.host])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_name_that_nftables_takes() {
        let fence = FenceStep { host: "dal-1.example".into(), port: 8080, on_drift: OnDrift::Hold };
        assert_eq!(fence.table("uploads-to-fra-3"), "migrate_uploads_to_fra_3_dal_1_example");
        assert!(fence.rules("t").contains("tcp dport 8080 "));
    }
}
