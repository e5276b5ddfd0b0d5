//! What in an upstream does not follow weights, and what to do about it.
//!
//! Pure. Must never call a step a share where NGINX makes something else of it.

use super::super::Intent;
use crate::model::finding::Finding;
use crate::model::{MemberFacts, Sharing, Strategy};
use crate::text::{self, list};

/// Everything that is to be known before a move begins.
pub(super) fn of(intent: &Intent<'_>) -> Vec<Finding> {
    let Some(facts) = intent.facts else { return Vec::new() };
    let about = intent.about();
    let algorithm = facts.algorithm.as_deref().map(|a| text::escape(a.as_bytes(), 60)).unwrap_or_default();
    let mut found = Vec::new();
    match facts.sharing {
        Sharing::Held if intent.strategy == Strategy::Ramp => found.push(
            Finding::risk(
                &about,
                format!("chooses by `{algorithm}`: shares follow connections that are held, and steps are not exact"),
            )
            .hint("watch what targets really get, or use round robin while it moves"),
        ),
        Sharing::Keys => {
            found.push(Finding::note(
                &about,
                format!("chooses by `{algorithm}`: keys follow weights, and a key takes all its requests along"),
            ));
        }
        Sharing::Unknown => {
            found.push(Finding::risk(
                &about,
                format!("chooses by `{algorithm}`: nobody can tell what that makes of weights"),
            ));
        }
        _ => {}
    }
    let of = |names: &[&str], which: fn(&MemberFacts) -> bool| -> Vec<String> {
        names.iter().filter(|n| facts.members.get(**n).is_some_and(which)).map(|n| (*n).to_owned()).collect()
    };
    let standby = of(&intent.targets, |m| m.standby);
    if !standby.is_empty() {
        let what = format!("has {} as `backup`: they get nothing while another server is up", list(&standby));
        found.push(Finding::refused(&about, what).hint("take `backup` away from the targets"));
    }
    let named = of(&[intent.sources.as_slice(), intent.targets.as_slice()].concat(), |m| m.looked_up.is_some());
    if !named.is_empty() {
        let what = format!("has {} by name: their connections cannot be counted here", list(&named));
        found.push(
            Finding::risk(&about, what)
                .hint("write addresses, or give the service its `port`, so that they are counted on the hosts"),
        );
    }
    found.push(Finding::note(
        &about,
        "every step reloads NGINX: old workers keep their connections, also WebSockets, until these end or `worker_shutdown_timeout` ends them",
    ));
    found
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::PoolFacts;
    use crate::model::finding::Severity;

    fn said(facts: &PoolFacts) -> Vec<(Severity, String)> {
        let intent = Intent {
            director: "edge",
            pool: "web",
            now: None,
            facts: Some(facts),
            strategy: Strategy::Ramp,
            sources: vec!["10.0.0.1"],
            targets: vec!["10.0.1.1"],
            others: Vec::new(),
            others_stay: false,
            steps: &[50, 100],
            shares: &[],
            hold: Duration::from_secs(1),
        };
        of(&intent).into_iter().map(|f| (f.severity, f.what)).collect()
    }

    #[test]
    fn what_does_not_follow_weights_is_told_and_standby_targets_are_refused() {
        let facts =
            PoolFacts { algorithm: Some("round robin".to_owned()), sharing: Sharing::Weights, ..PoolFacts::default() };
        assert_eq!(said(&facts).len(), 1, "reloads alone");
        let held =
            PoolFacts { algorithm: Some("least_conn".to_owned()), sharing: Sharing::Held, ..PoolFacts::default() };
        assert!(said(&held).iter().any(|(s, what)| *s == Severity::Risk && what.contains("`least_conn`")));
        let standby = MemberFacts { standby: true, ..MemberFacts::default() };
        let facts = PoolFacts { members: [("10.0.1.1".to_owned(), standby)].into(), ..facts };
        assert!(said(&facts).iter().any(|(s, what)| *s == Severity::Refused && what.contains("10.0.1.1")));
    }
}
