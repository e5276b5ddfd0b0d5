//! The report as Markdown, for a post-mortem.

use std::fmt::Write as _;

use super::Chronicle;
use super::sections::{Part, Table, sections};
use crate::render::ending::when;
use crate::render::format::Style;
use crate::render::plan_markdown::cell;

/// All of it. Charts are left to their tables.
pub(super) fn page(told: &Chronicle) -> String {
    let mut out = format!("# Run {}: {}\n\n", cell(&told.run), cell(&told.status));
    if let Some(description) = &told.description {
        let _ = writeln!(out, "{}\n", cell(description));
    }
    if let Some(cut_off) = &told.cut_off {
        let _ = writeln!(out, "**{}**\n", cell(cut_off.text(Style::default()).trim_end()));
    }
    let _ = writeln!(out, "{}\n", cell(&told.summary));
    if let Some(why) = &told.why {
        let hint = told.hint.as_ref().map(|hint| format!(" _{}_", cell(hint))).unwrap_or_default();
        let _ = writeln!(out, "{}: {}{hint}\n", cell(&told.status), cell(why));
    }
    let _ = writeln!(
        out,
        "Plan {}, begun {} by {}, last record {}.",
        cell(&told.plan),
        when(told.began),
        cell(&told.by),
        when(told.last)
    );
    for section in sections(told) {
        let _ = writeln!(out, "\n## {}\n", section.title);
        section.says.iter().for_each(|line| {
            let _ = writeln!(out, "{}\n", cell(line));
        });
        for part in &section.parts {
            match part {
                Part::Chart(..) => {}
                Part::Table(table) => rows(&mut out, table),
            }
        }
    }
    let _ = writeln!(out, "\n## What it came from\n");
    for input in &told.inputs {
        let _ = writeln!(out, "- {} (BLAKE3 {})", cell(&input.path.display().to_string()), cell(&input.digest));
    }
    let _ = writeln!(out, "- migrate {}", cell(&told.version));
    out
}

fn rows(out: &mut String, table: &Table) {
    if table.rows.is_empty() {
        return;
    }
    let _ = writeln!(out, "### {}\n", cell(&table.title));
    let names: Vec<&str> = table.columns.iter().map(|(name, _)| *name).collect();
    let _ = writeln!(out, "| {} |", names.join(" | "));
    let lines: Vec<&str> = table.columns.iter().map(|(_, number)| if *number { "---:" } else { "---" }).collect();
    let _ = writeln!(out, "|{}|", lines.join("|"));
    for row in &table.rows {
        let cells: Vec<String> = row.iter().map(|text| cell(text)).collect();
        let _ = writeln!(out, "| {} |", cells.join(" | "));
    }
    if table.more > 0 {
        let _ = writeln!(out, "\n{} more are in `--format json`.", table.more);
    }
    out.push('\n');
}
