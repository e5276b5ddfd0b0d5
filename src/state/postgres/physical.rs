//! A cluster that moves as a whole: a base copy while it serves, a standby that streams, and a promote.

use super::{Way, findings};
use crate::model::Side;
use crate::state::replica::script::Script;
use crate::step::{ReplicaRun, Verb};

/// The way of the WAL.
pub(super) const WAY: Way = Way {
    script: SCRIPT,
    lag: Side::Source,
    // What is copied block by block is not compared row by row.
    compares: false,
    runs,
    runs_back,
    judge: findings::of_physical,
};

const SCRIPT: Script = Script {
    variable: "MIGRATE_POSTGRES",
    prefix: "PG",
    text: concat!(include_str!("server.sh"), include_str!("physical.sh")),
};

fn runs(comes_back: bool) -> Vec<ReplicaRun> {
    // The one that will follow needs what is written from the promote on.
    let slot = SCRIPT.run(Verb::Ahead, Side::Target, "slot", Some("has-slot"), Some("unslot"));
    let runs = [
        SCRIPT.run(Verb::Prepare, Side::Source, "slot", Some("has-slot"), Some("drop-slot")),
        ReplicaRun { idempotent: false, ..SCRIPT.run(Verb::Seed, Side::Target, "seed", None, Some("unseed")) },
        SCRIPT.run(Verb::Link, Side::Target, "link", Some("linked"), Some("unlink")),
        SCRIPT.run(Verb::Ahead, Side::Source, "checkpoint", None, None),
        SCRIPT.run(Verb::Release, Side::Source, "release-from", None, None),
        SCRIPT.run(Verb::Release, Side::Target, "release-to", None, None),
    ];
    runs.into_iter().chain(comes_back.then_some(slot)).collect()
}

fn runs_back() -> Vec<ReplicaRun> {
    vec![
        SCRIPT.run(Verb::Back, Side::Source, "slot", Some("has-slot"), Some("unslot")),
        SCRIPT.run(Verb::Back, Side::Target, "follow", Some("linked"), Some("unfollow")),
    ]
}
