//! A plan as Markdown, for a comment on a pull request.

use std::fmt::Write as _;

use super::plan::{CHANGES, estimate, seen};
use crate::model::Limit;
use crate::model::finding::Severity;
use crate::planner::proposal::{GroupView, Proposal};
use crate::step::Mark;
use crate::text;

/// The plan as Markdown. Long parts are folded.
pub fn plan_markdown(proposal: &Proposal) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "## Plan `{}`\n", code(&proposal.plan));
    if let Some(description) = &proposal.description {
        let _ = writeln!(out, "{}\n", cell(description));
    }
    let verdict = if proposal.refusals().next().is_some() {
        "**Refused**: this plan cannot be applied as things are.".to_owned()
    } else if proposal.is_empty() {
        "Nothing to do.".to_owned()
    } else {
        estimate(proposal)
    };
    let offline = if proposal.live { "" } else { " Made offline: nothing was looked at." };
    let _ = writeln!(out, "{verdict}{offline}\n");
    if proposal.tells_of_changes() {
        let _ = writeln!(out, "{}\n", cell(CHANGES));
    }
    let bill = super::cost::lines(&proposal.bill);
    if !bill.is_empty() {
        let _ = writeln!(out, "```text\n{}\n```\n", bill.join("\n"));
    }
    for finding in &proposal.findings {
        let label = match finding.severity {
            Severity::Refused => "⛔ refused",
            Severity::Risk => "⚠️ risk",
            Severity::Note => "ℹ️ note",
        };
        let hint = finding.hint.as_ref().map(|h| format!(" _{}_", cell(h))).unwrap_or_default();
        let _ = writeln!(out, "- {label}: **{}** {}{hint}", cell(&finding.about), cell(&finding.what));
    }
    for limit in Limit::told(&proposal.graph.limits) {
        let _ = writeln!(out, "- {}", cell(&limit));
    }
    for wave in &proposal.waves {
        let _ = writeln!(out, "\n### Wave `{}`, {}", code(&wave.name), wave.rules());
        for group in &wave.groups {
            group_markdown(&mut out, group);
        }
    }
    out
}

fn group_markdown(out: &mut String, group: &GroupView) {
    let whom = group.pair.as_deref().unwrap_or("all pairs");
    let steps = text::count(group.lines.len() as u64, "step");
    let _ = writeln!(out, "\n<details><summary>{} {}: {steps}</summary>\n", html(&group.service), html(whom));
    out.push_str("| | phase | what | seen |\n|---|---|---|---|\n");
    for line in &group.lines {
        let mark = match line.mark {
            Mark::Verified => "✓",
            Mark::Assumed => "~",
            Mark::CannotBeChecked => "?",
        };
        let seen = seen(line).as_deref().map(cell).unwrap_or_default();
        let _ = writeln!(out, "| {mark} | {} | {} | {seen} |", cell(&line.phase), cell(&line.what));
    }
    out.push_str("\n</details>\n");
}

/// Text in a table cell: nothing in it may end the cell or begin markup.
pub(super) fn cell(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' | '#' | '@' => {
                out.push('\\');
                out.push(c);
            }
            '\n' | '\r' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

pub(super) fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn code(text: &str) -> String {
    text.replace('`', "'")
}
