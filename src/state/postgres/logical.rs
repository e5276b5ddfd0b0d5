//! Databases that move by publication and subscription, row by row: also to another version, another architecture, other rules of sorting.
//!
//! The target has a cluster of its own, whose databases are made, filled and kept closed until they take over. What is kept for the way back
//! begins right before that, once nothing comes from the source any more: no row goes round in circles.

use super::{Way, findings};
use crate::model::Side;
use crate::state::replica::script::Script;
use crate::step::{ReplicaRun, Verb};

/// The way of the rows.
pub(super) const WAY: Way =
    Way { script: SCRIPT, lag: Side::Target, compares: true, runs, runs_back, judge: findings::of_logical };

const SCRIPT: Script = Script {
    variable: "MIGRATE_POSTGRES",
    prefix: "PG",
    text: concat!(include_str!("server.sh"), include_str!("logical.sh")),
};

fn runs(_: bool) -> Vec<ReplicaRun> {
    vec![
        SCRIPT.run(Verb::Prepare, Side::Source, "prepare", Some("prepared"), Some("forget")),
        ReplicaRun { idempotent: false, ..SCRIPT.run(Verb::Seed, Side::Target, "seed", None, Some("unseed")) },
        SCRIPT.run(Verb::Link, Side::Target, "link", Some("linked"), None),
        SCRIPT.run(Verb::Release, Side::Source, "forget", None, None),
        SCRIPT.run(Verb::Release, Side::Target, "forget", None, None),
    ]
}

fn runs_back() -> Vec<ReplicaRun> {
    vec![
        SCRIPT.run(Verb::Back, Side::Source, "unpublished", Some("published"), Some("unpublish")),
        SCRIPT.run(Verb::Back, Side::Target, "follow", Some("linked"), Some("unfollow")),
    ]
}
