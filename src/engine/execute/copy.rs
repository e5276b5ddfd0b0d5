//! Steps that carry and compare trees.

use std::time::Duration;

use super::pace::Pace;
use super::{Context, Effect, done, failed};
use crate::copy::{CopyJob, CopyProgress, PassReport};
use crate::event::Notice;
use crate::planner::graph::{CopyPhase, CopyStep, Step};
use crate::spec::model::Owners;
use crate::ssh::receipt;
use crate::text;

/// Tries of a pass whose connection broke: each goes on where the one before ended.
const TRIES: u32 = 5;

impl Context {
    fn job(&self, step: &Step, tree: &CopyStep) -> Result<CopyJob, Effect> {
        let Some(pair) = &step.pair else { return Err(failed("a copy needs a pair of hosts", None)) };
        Ok(CopyJob {
            id: tree.job.clone(),
            source: self.host(&pair.source)?.clone(),
            target: self.host(&pair.target)?.clone(),
            from: tree.from.clone(),
            to: tree.to.clone(),
            exclude: tree.exclude.clone(),
            delete: tree.delete,
            allow_empty: tree.allow_empty,
            allow_moved: tree.allow_moved,
            path: tree.path,
            bandwidth: tree.bandwidth,
            by_name: tree.owners == Owners::Names,
            checksum: false,
        })
    }

    pub(super) fn on_progress(&self, step: &Step) -> impl Fn(CopyProgress) + Send + Sync + use<> {
        let (notices, step) = (self.notices.clone(), step.id.clone());
        move |progress| {
            let _ = notices.send(Notice::Copying { step: step.clone(), progress });
        }
    }
}

/// One pass, or passes until little is left.
pub async fn copy(context: &Context, step: &Step, tree: &CopyStep) -> Effect {
    let job = match context.job(step, tree) {
        Ok(job) => job,
        Err(effect) => return effect,
    };
    let passes = if tree.phase == CopyPhase::CatchUp { tree.max_passes.max(1) } else { 1 };
    let mut last = u64::MAX;
    for n in 1..=passes {
        let report = match pass(context, step, tree, &job).await {
            Ok(report) => report,
            Err(effect) => return effect,
        };
        let settled = report.bytes_sent < tree.settle_below && report.unsettled == 0;
        let shrinks = report.bytes_sent < last;
        last = report.bytes_sent;
        if settled || !shrinks || n == passes {
            return done(said(tree.phase, n, settled, shrinks, &report));
        }
    }
    failed("no pass was made", None)
}

async fn pass(context: &Context, step: &Step, tree: &CopyStep, job: &CopyJob) -> Result<PassReport, Effect> {
    let progress = context.on_progress(step);
    let pace = Pace::of_tree(context, step, tree, &job.source);
    let mut attempt = 1;
    loop {
        context.leave_to_act().await?;
        let job = CopyJob { bandwidth: pace.now(), ..job.clone() };
        let pass = context.world.copier.pass(&job, &progress);
        match pace.keep(pass, |now| context.world.copier.limit(&job.id, now)).await {
            Err(e) if e.retryable && attempt < TRIES => {
                context.waiting(step, format!("{e}; trying again"));
                context.world.clock.sleep(Duration::from_secs(1 << attempt)).await;
                attempt += 1;
            }
            ended => return ended.map_err(|e| failed(e.to_string(), e.hint)),
        }
    }
}

fn said(phase: CopyPhase, passes: u32, settled: bool, shrinks: bool, report: &PassReport) -> String {
    let sent = format!(
        "sent {} ({}) of {} ({}), removed {}; {}",
        text::count(report.files_sent, "file"),
        text::bytes(report.bytes_sent),
        text::grouped(report.entries),
        text::bytes(report.bytes),
        report.deleted,
        report.way
    );
    let sent = match report.nameless {
        0 => sent,
        n => format!("{sent}, {n} users and groups by their number"),
    };
    let sent = format!("{sent}; {}", report.looked);
    if phase != CopyPhase::CatchUp {
        return sent;
    }
    let why = match (settled, shrinks) {
        (true, _) => "little is left",
        (false, false) => "what is left no longer shrinks",
        (false, true) => "the most passes that the plan allows",
    };
    format!("{sent}; {} ({why})", text::count(passes.into(), "pass").replace("passs", "passes"))
}

/// Compares by content. A difference is sent once more, then it stops the run.
pub async fn verify(context: &Context, step: &Step, tree: &CopyStep) -> Effect {
    let job = match context.job(step, tree) {
        Ok(job) => job,
        Err(effect) => return effect,
    };
    let progress = context.on_progress(step);
    // The record of what was sent says that all is well: what differs is found by its content.
    let again = CopyJob { checksum: true, ..job.clone() };
    let mut examples = Vec::new();
    for _ in 0..2 {
        match context.world.copier.verify(&job, &progress).await {
            Ok(r) if r.different == 0 => {
                return done(format!(
                    "{} ({}) are the same by BLAKE3",
                    text::count(r.files, "file"),
                    text::bytes(r.bytes)
                ));
            }
            Ok(r) => examples = r.examples,
            Err(e) => return failed(e.to_string(), e.hint),
        }
        if let Err(effect) = pass(context, step, tree, &again).await {
            return effect;
        }
    }
    let hint = "something else writes to one of the two trees: find it, then `migrate apply` again";
    failed(format!("source and target still differ after sending again: {}", examples.join("; ")), Some(hint.into()))
}

/// Removes agents, manifests and receipts. What stays behind does no harm, so trouble here is told and not held for.
pub async fn clean_up(context: &Context, hosts: &[String], jobs: &[String]) -> Effect {
    let mut left = Vec::new();
    if let Err(barred) = context.leave_to_act().await {
        return barred;
    }
    for name in hosts {
        let host = match context.host(name) {
            Ok(host) => host,
            Err(effect) => return effect,
        };
        if let Err(e) = context.world.copier.clean_up(host, jobs).await {
            left.push(e.to_string());
        }
        if let Err(e) = receipt::remove(context.world.remote.as_ref(), host, &context.run).await {
            left.push(e.to_string());
        }
    }
    done(if left.is_empty() {
        "nothing is left behind".to_owned()
    } else {
        format!("left behind: {}", left.join("; "))
    })
}
