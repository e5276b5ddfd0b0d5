//! A plan as text.

use std::fmt::Write as _;

use super::alike::{self, Alike, Names};
use super::fit;
use super::format::{Show, Style};
use super::paint::Paint;
use super::plan_markdown::plan_markdown;
use super::plan_waves::{Shown, alike_waves, wave_in_full, waves_text};
use crate::model::Limit;
use crate::model::finding::{Finding, Severity};
use crate::planner::estimate::Streams;
use crate::planner::proposal::{Line, Proposal};
use crate::text;

/// What the words in a plan mean that tell how changes will be found.
pub const CHANGES: &str =
    "A watched pass looks only at what changed, a swept one at every entry; both find every change (docs/copy.md).";

impl Show for Proposal {
    fn text(&self, style: Style) -> String {
        plan_text(self, style)
    }

    fn markdown(&self) -> String {
        plan_markdown(self)
    }
}

/// The plan for a terminal. What is much of a kind is told once, unless the style is verbose.
fn plan_text(proposal: &Proposal, style: Style) -> String {
    let paint = Paint(style.color);
    let mut out = String::new();
    let _ = writeln!(out, "{}", paint.bold(&format!("Plan {}", proposal.plan)));
    if let Some(description) = &proposal.description {
        let _ = writeln!(out, "{}", fit::line(&format!("  {description}"), 4, style));
    }
    let files: Vec<String> = proposal.inputs.iter().map(|i| i.path.display().to_string()).collect();
    let from = format!("  {}", paint.dim(&format!("from {}", text::list(&files))));
    let _ = writeln!(out, "{}", fit::line(&from, 4, style));
    for limit in Limit::told(&proposal.graph.limits) {
        let _ = writeln!(out, "{}", fit::line(&format!("  {limit}"), 4, style));
    }
    let told = match style.verbose {
        true => None,
        false => Some(Alike::of(&proposal.graph)),
    };
    let mut is_short = false;
    match &told {
        None => proposal.waves.iter().for_each(|wave| wave_in_full(&mut out, wave, style)),
        Some(alike) => {
            let mut shown = Shown::new();
            for waves in alike_waves(&proposal.waves, alike) {
                is_short |= waves_text(&mut out, &waves, &mut shown, alike, style);
            }
        }
    }
    is_short |= findings_text(&mut out, &proposal.findings, told.as_ref().map(|alike| &alike.everything), style);
    summary(&mut out, proposal, style);
    if is_short {
        let _ =
            writeln!(out, "{}", paint.dim("What is much of a kind is told once; `migrate plan --verbose` tells all."));
    }
    out
}

/// What was seen of a step, and how it will find changes.
pub fn seen(line: &Line) -> Option<String> {
    let changes = line.changes.as_ref().map(ToString::to_string);
    let said: Vec<String> = line.seen.iter().cloned().chain(changes).collect();
    (!said.is_empty()).then(|| said.join("; "))
}

fn findings_text(out: &mut String, findings: &[Finding], names: Option<&Names>, style: Style) -> bool {
    let paint = Paint(style.color);
    if !findings.is_empty() {
        out.push('\n');
    }
    let mut is_short = false;
    let all = || findings.iter().map(|one| (one, None)).collect();
    for (finding, others) in names.map_or_else(all, |names| alike::findings(findings, names)) {
        let label = match finding.severity {
            Severity::Refused => paint.red("refused"),
            Severity::Risk => paint.yellow("risk"),
            Severity::Note => paint.dim("note"),
        };
        let said = format!("{label}: {}: {}", finding.about, finding.what);
        let _ = writeln!(out, "{}", fit::whole(&said, 4, style));
        if let Some(hint) = &finding.hint {
            let _ = writeln!(out, "{}", fit::whole(&format!("    help: {hint}"), 10, style));
        }
        if let Some(others) = others {
            is_short = true;
            let _ = writeln!(out, "{}", fit::whole(&format!("    {others}"), 4, style));
        }
    }
    is_short
}

fn summary(out: &mut String, proposal: &Proposal, style: Style) {
    let paint = Paint(style.color);
    out.push('\n');
    if proposal.refusals().next().is_some() {
        let _ = writeln!(out, "{}", paint.red("This plan cannot be applied as things are."));
        return;
    }
    if proposal.is_empty() {
        let _ = writeln!(out, "Nothing to do.");
        return;
    }
    let _ = writeln!(out, "{}", fit::whole(&estimate(proposal), 2, style));
    for line in super::cost::lines(&proposal.bill) {
        let _ = writeln!(out, "{line}");
    }
    if !proposal.live {
        let _ = writeln!(out, "Made offline: nothing was looked at.");
    }
    if proposal.tells_of_changes() {
        let _ = writeln!(out, "{}", fit::whole(CHANGES, 2, style));
    }
    let marks = "✓ verified against the live system  ~ assumed  ? cannot be checked before it is done";
    let _ = writeln!(out, "{}", fit::whole(&paint.dim(marks), 2, style));
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
