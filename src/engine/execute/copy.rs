//! Steps that carry and compare trees.

use super::pace::Pace;
use super::{Context, Effect, done, failed, measured};
use crate::copy::{CopyJob, CopyProgress, PassReport, VerifyMode, VerifyReport};
use crate::event::{Figures, Notice};
use crate::retry::Policy;
use crate::step::{CompareStep, Comparison, CopyPass, CopyStep, Step, TreeStep};
use crate::text;

impl Context {
    pub(super) fn job(&self, step: &Step, tree: &TreeStep) -> Result<CopyJob, Effect> {
        let Some(pair) = &step.pair else { return Err(failed("a copy needs a pair of hosts", None)) };
        let (source, target) = if tree.back { (&pair.target, &pair.source) } else { (&pair.source, &pair.target) };
        Ok(CopyJob {
            id: tree.job.clone(),
            source: self.host(source)?.clone(),
            target: self.host(target)?.clone(),
            from: tree.from.clone(),
            to: tree.to.clone(),
            rules: tree.rules.clone(),
            path: tree.path,
            bandwidth: tree.bandwidth,
            checksum: false,
            listed: false,
            fresh: false,
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
pub async fn copy(context: &Context, step: &Step, copy: &CopyStep) -> Effect {
    let tree = &copy.tree;
    let job = match context.job(step, tree) {
        // The record may be of another run: what has become of the target since nobody has watched.
        Ok(job) => CopyJob { listed: copy.pass == CopyPass::Seed, ..job },
        Err(effect) => return effect,
    };
    let passes = if copy.pass == CopyPass::CatchUp { copy.max_passes.max(1) } else { 1 };
    let mut last = u64::MAX;
    let (mut files, mut bytes) = (0_u64, 0_u64);
    for n in 1..=passes {
        let report = match pass(context, step, tree, copy.pass.is_live(), &job).await {
            Ok(report) => report,
            Err(effect) => return effect,
        };
        let settled = report.bytes_sent < tree.settle_below && report.unsettled == 0;
        let shrinks = report.bytes_sent < last;
        last = report.bytes_sent;
        (files, bytes) = (files + report.files_sent, bytes + report.bytes_sent);
        if settled || !shrinks || n == passes {
            let figures = Figures::Carried { files, bytes };
            return measured(said(copy.pass, n, settled, shrinks, &report), Some(figures));
        }
    }
    failed("no pass was made", None)
}

async fn pass(
    context: &Context,
    step: &Step,
    tree: &TreeStep,
    live: bool,
    job: &CopyJob,
) -> Result<PassReport, Effect> {
    let progress = context.on_progress(step);
    let pace = Pace::of_tree(context, step, tree, live, &job.source);
    // Each try goes on where the one before ended.
    let mut retry = context.retry(Policy::LONG);
    loop {
        context.leave_to_act().await?;
        let job = CopyJob { bandwidth: pace.now(), ..job.clone() };
        let pass = context.world.copier.pass(&job, &progress);
        match pace.keep(pass, |now| context.world.copier.limit(&job.id, now)).await {
            Err(e) => context.try_again(&mut retry, step, e).await?,
            Ok(report) => return Ok(report),
        }
    }
}

async fn verify(
    context: &Context,
    step: &Step,
    tree: &TreeStep,
    when: VerifyMode,
    job: &CopyJob,
) -> Result<VerifyReport, Effect> {
    let progress = context.on_progress(step);
    let pace = Pace::of_comparison(context, step, tree, when == VerifyMode::Ahead, &job.source);
    // Each try goes on where the one before ended.
    let mut retry = context.retry(Policy::LONG);
    loop {
        let job = CopyJob { bandwidth: pace.now(), ..job.clone() };
        let verify = context.world.copier.verify(&job, when, &progress);
        match pace.keep(verify, |now| context.world.copier.limit(&job.id, now)).await {
            Err(e) => context.try_again(&mut retry, step, e).await?,
            Ok(report) => return Ok(report),
        }
    }
}

fn said(which: CopyPass, passes: u32, settled: bool, shrinks: bool, report: &PassReport) -> String {
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
    let sent = match report.left_out.as_slice() {
        [] => sent,
        mounted => format!("{sent}, without what is mounted on {}", mounted.join(", ")),
    };
    let sent = format!("{sent}; {}", report.looked);
    if which != CopyPass::CatchUp {
        return sent;
    }
    let why = match (settled, shrinks) {
        (true, _) => "little is left",
        (false, false) => "what is left no longer shrinks",
        (false, true) => "the most passes that the plan allows",
    };
    format!("{sent}; {} ({why})", text::count(passes.into(), "pass").replace("passs", "passes"))
}

/// Compares by content. A difference that should not be is sent once more, then it stops the run.
pub async fn compare(context: &Context, step: &Step, compare: &CompareStep) -> Effect {
    let tree = &compare.tree;
    let when = match compare.comparison {
        Comparison::Ahead => VerifyMode::Ahead,
        Comparison::Whole => VerifyMode::Frozen,
    };
    let job = match context.job(step, tree) {
        Ok(job) => job,
        Err(effect) => return effect,
    };
    // The record of what was sent says that all is well: what differs is found by its content.
    let again = CopyJob { checksum: true, ..job.clone() };
    let mut resent = None;
    loop {
        let report = match verify(context, step, tree, when, &job).await {
            Ok(report) => report,
            Err(effect) => return effect,
        };
        match (report.different, resent) {
            (0, resent) => {
                let figures = Figures::Compared { files: report.files, bytes: report.bytes };
                return measured(found(&report, resent), Some(figures));
            }
            (_, None) => resent = Some(report.different),
            (_, Some(_)) => {
                let what =
                    format!("source and target still differ after sending again: {}", report.examples.join("; "));
                let hint = "something else writes to one of the two trees: find it, then `migrate apply` again";
                return failed(what, Some(hint.into()));
            }
        }
        if let Err(effect) = pass(context, step, tree, when == VerifyMode::Ahead, &again).await {
            return effect;
        }
    }
}

fn found(report: &VerifyReport, resent: Option<u64>) -> String {
    let (files, bytes) = (text::count(report.files, "file"), text::bytes(report.bytes));
    let mut said = match report.behind {
        0 => format!("{files} ({bytes}) are the same by BLAKE3"),
        n => {
            format!("{files} ({bytes}) are the same by BLAKE3, but for {} that changed since the last pass", entries(n))
        }
    };
    said.push_str(&report.lost_owners());
    if report.known > 0 {
        let known = text::grouped(report.known);
        said.push_str(&format!("; {known} of them were compared before and have not changed since"));
    }
    if let Some(resent) = resent {
        said.push_str(&format!("; {} differed and went again", entries(resent)));
    }
    said
}

fn entries(n: u64) -> String {
    if n == 1 { "1 entry".to_owned() } else { format!("{} entries", text::grouped(n)) }
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
        if let Err(e) = context.world.remote.forget(host, &context.run).await {
            left.push(e.to_string());
        }
    }
    done(if left.is_empty() {
        "nothing is left behind".to_owned()
    } else {
        format!("left behind: {}", left.join("; "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comparison_says_what_it_read_and_what_it_knew() {
        let report = VerifyReport { files: 1204, bytes: 3 << 30, ..VerifyReport::default() };
        assert_eq!(found(&report, None), "1,204 files (3.0 GiB) are the same by BLAKE3");
        let ahead = VerifyReport { behind: 14, ..report.clone() };
        assert_eq!(
            found(&ahead, Some(1)),
            "1,204 files (3.0 GiB) are the same by BLAKE3, but for 14 entries that changed since the last pass; \
             1 entry differed and went again"
        );
        assert_eq!(
            found(&VerifyReport { known: 1190, ..report }, None),
            "1,204 files (3.0 GiB) are the same by BLAKE3; 1,190 of them were compared before and have not changed since"
        );
    }
}
