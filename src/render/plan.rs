//! A plan as text.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::format::{Show, Style};
use super::paint::Paint;
use super::plan_markdown::plan_markdown;
use crate::model::finding::{Finding, Severity};
use crate::planner::estimate::Streams;
use crate::planner::proposal::{GroupView, Line, Proposal, WaveView};
use crate::step::{Class, Mark};
use crate::text;

/// What the words in a plan mean that tell how changes will be found.
pub const CHANGES: &str =
    "A watched pass looks only at what changed, a swept one at every entry; both find every change (docs/copy.md).";

impl Show for Proposal {
    fn text(&self, style: Style) -> String {
        plan_text(self, style.verbose, style.color)
    }

    fn markdown(&self) -> String {
        plan_markdown(self)
    }
}

/// The plan for a terminal. All pairs of a service look alike: unless `verbose`, the first stands for them.
fn plan_text(proposal: &Proposal, verbose: bool, color: bool) -> String {
    let paint = Paint(color);
    let mut out = String::new();
    let _ = writeln!(out, "{}", paint.bold(&format!("Plan {}", proposal.plan)));
    if let Some(description) = &proposal.description {
        let _ = writeln!(out, "  {description}");
    }
    let files: Vec<String> = proposal.inputs.iter().map(|i| i.path.display().to_string()).collect();
    let _ = writeln!(out, "  {}", paint.dim(&format!("from {}", text::list(&files))));
    for wave in &proposal.waves {
        wave_text(&mut out, wave, verbose, paint);
    }
    findings_text(&mut out, &proposal.findings, paint);
    summary(&mut out, proposal, paint);
    out
}

fn wave_text(out: &mut String, wave: &WaveView, verbose: bool, paint: Paint) {
    let at_once = text::count(wave.max_unavailable as u64, "pair");
    let _ = writeln!(out, "\n{}, at most {at_once} out of service at once", paint.bold(&format!("Wave {}", wave.name)));
    let mut shown: BTreeSet<(&str, Vec<&str>)> = BTreeSet::new();
    for group in &wave.groups {
        let shape = (group.service.as_str(), group.lines.iter().map(|l| l.phase.as_str()).collect());
        if !verbose && group.pair.is_some() && shown.contains(&shape) {
            let _ = writeln!(out, "\n  {}  the same steps  {}", heading(group, paint), differs(group).join(", "));
            continue;
        }
        let _ = writeln!(out, "\n  {}", heading(group, paint));
        for line in &group.lines {
            line_text(out, line, paint);
        }
        shown.insert(shape);
    }
}

/// What a pair with the same steps as another has of its own: its trees.
fn differs(group: &GroupView) -> Vec<String> {
    let sizes = group.lines.iter().filter(|l| l.phase == "seed").filter_map(|l| l.seen.clone());
    let changes = group.lines.iter().filter_map(|l| l.changes.as_ref()).map(ToString::to_string);
    // The passes of one tree say the same.
    let mut all: Vec<String> = sizes.collect();
    changes.for_each(|line| {
        if !all.contains(&line) {
            all.push(line);
        }
    });
    all
}

/// What was seen of a step, and how it will find changes.
pub fn seen(line: &Line) -> Option<String> {
    let changes = line.changes.as_ref().map(ToString::to_string);
    let said: Vec<String> = line.seen.iter().cloned().chain(changes).collect();
    (!said.is_empty()).then(|| said.join("; "))
}

fn heading(group: &GroupView, paint: Paint) -> String {
    let whom = group.pair.as_deref().unwrap_or("all pairs");
    paint.bold(&if group.service.is_empty() { whom.to_owned() } else { format!("{}  {whom}", group.service) })
}

fn line_text(out: &mut String, line: &Line, paint: Paint) {
    let mark = match line.mark {
        Mark::Verified => paint.green("✓"),
        Mark::Assumed => paint.dim("~"),
        Mark::CannotBeChecked => paint.yellow("?"),
    };
    let seen = seen(line).map(|s| format!("  {}", paint.dim(&format!("[{s}]")))).unwrap_or_default();
    let class = match line.class {
        Class::Keyed => paint.dim("  (once, under a receipt)"),
        Class::Probed => paint.dim("  (unless already done)"),
        Class::Opaque => paint.dim("  (once; holds where its end is unknown)"),
        // A command: everything else that may be repeated is an absolute setting or a pass.
        Class::Convergent if line.mark == Mark::CannotBeChecked => paint.dim("  (may be repeated)"),
        Class::Reading | Class::Convergent => String::new(),
    };
    let _ = writeln!(out, "    {mark} {:<12} {}{seen}{class}", line.phase, line.what);
}

fn findings_text(out: &mut String, findings: &[Finding], paint: Paint) {
    if !findings.is_empty() {
        out.push('\n');
    }
    for finding in findings {
        let label = match finding.severity {
            Severity::Refused => paint.red("refused"),
            Severity::Risk => paint.yellow("risk"),
            Severity::Note => paint.dim("note"),
        };
        let _ = writeln!(out, "{label}: {}: {}", finding.about, finding.what);
        if let Some(hint) = &finding.hint {
            let _ = writeln!(out, "    help: {hint}");
        }
    }
}

fn summary(out: &mut String, proposal: &Proposal, paint: Paint) {
    out.push('\n');
    if proposal.refusals().next().is_some() {
        let _ = writeln!(out, "{}", paint.red("This plan cannot be applied as things are."));
        return;
    }
    if proposal.is_empty() {
        let _ = writeln!(out, "Nothing to do.");
        return;
    }
    let _ = writeln!(out, "{}", estimate(proposal));
    for line in super::cost::lines(&proposal.bill) {
        let _ = writeln!(out, "{line}");
    }
    if !proposal.live {
        let _ = writeln!(out, "Made offline: nothing was looked at.");
    }
    if proposal.tells_of_changes() {
        let _ = writeln!(out, "{CHANGES}");
    }
    let marks = "✓ verified against the live system  ~ assumed  ? cannot be checked before it is done";
    let _ = writeln!(out, "{}", paint.dim(marks));
}

/// The totals in one line.
pub fn estimate(proposal: &Proposal) -> String {
    let e = &proposal.estimate;
    let steps = text::count(proposal.graph.steps.len() as u64, "step");
    let size = match (proposal.live, e.entries) {
        (true, n) if n > 0 => format!(", {} in {} entries to carry", text::bytes(e.bytes), text::grouped(n)),
        _ => String::new(),
    };
    let freeze = match e.freeze.is_zero() {
        true => String::new(),
        false => format!(", a freeze of about {} for each pair", text::duration(e.freeze)),
    };
    let streams = match e.streams {
        Streams::None => String::new(),
        Streams::AtMost(most) => {
            format!(
                " Streams add to the freeze of each pair what nobody knows before, at most {}.",
                text::duration(most)
            )
        }
        Streams::Unknown => " Streams add to the freeze of each pair, and for how long is unknown.".to_owned(),
    };
    format!("{steps}{size}; about {} in all{freeze}.{streams}", text::duration(e.duration))
}
