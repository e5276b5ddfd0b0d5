//! What providers say against giving sources back: what would be refused at the end is refused before anything moves.

use super::observed::{Observed, Seen};
use crate::model::finding::Finding;
use crate::provider::Standing;

/// What they say against the plan.
pub fn findings(observed: &Observed) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (host, seen) in &observed.machines {
        let refused = |what: String| Finding::refused(host, format!("cannot be given back as the plan says: {what}"));
        let prospect = match seen {
            Seen::Live(prospect) => prospect,
            Seen::Failed { why, hint } => {
                findings.push(Finding { hint: hint.clone(), ..refused(why.clone()) });
                continue;
            }
        };
        findings.extend(prospect.against.clone().map(&refused));
        let passing = prospect.passing.iter().map(|what| {
            Finding::risk(host, format!("{what}: it cannot be given back while that lasts"))
                .hint("see that it has ended before the end of the run")
        });
        findings.extend(passing);
        match &prospect.standing {
            Standing::Rented => {}
            Standing::Leaving(leaving) => findings.push(
                Finding::risk(
                    host,
                    format!("has been given back already ({leaving}): it goes whether it has moved or not"),
                )
                .hint("move it before that, or take the cancellation back"),
            ),
            Standing::Gone(gone) => findings.push(refused(format!("it is gone ({gone})"))),
        }
    }
    findings
}
