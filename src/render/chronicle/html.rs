//! The report as one page: nothing is loaded from elsewhere, and nothing in it runs.

use super::said::took;
use super::sections::{Chart, Part, Section, Table, amount, sections};
use super::{Band, Chronicle, charts};
use crate::render::ending::when;
use crate::render::format::Style;
use crate::render::markup::Markup;
use crate::text;

const HEAD: &str = "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n\
<meta name=\"referrer\" content=\"no-referrer\">\n<style>\n";

/// All of it.
pub(super) fn page(told: &Chronicle) -> String {
    let sections = sections(told);
    let mut page = Markup::default();
    page.raw(HEAD);
    page.raw(include_str!("style.css"));
    page.raw("</style>\n");
    page.element("title", &[], format!("{}: {}", told.run, told.status));
    page.raw("\n</head>\n<body>\n");
    head(&mut page, told);
    page.raw("<nav aria-label=\"Sections\">");
    for section in &sections {
        page.element("a", &[("href", &format!("#{}", section.id))], section.title);
    }
    page.raw("</nav>\n<main>\n");
    sections.iter().for_each(|section| body(&mut page, told, section));
    page.raw("</main>\n");
    foot(&mut page, told);
    page.raw("</body>\n</html>\n");
    page.finish()
}

/// How a status is to be taken.
fn mood(status: &str) -> &'static str {
    match status {
        "finished" => "good",
        "stuck" | "interrupted" | "unreadable" => "bad",
        _ => "warn",
    }
}

fn head(page: &mut Markup, told: &Chronicle) {
    page.raw("<header>\n");
    page.element("div", &[("class", &"soft")], format!("Migration report, plan {}", told.plan));
    page.raw("<h1>");
    page.text(&told.run);
    page.raw(" ");
    page.element("span", &[("class", &format!("badge {}", mood(&told.status)))], &told.status);
    page.raw("</h1>\n");
    if let Some(description) = &told.description {
        page.element("p", &[], description);
    }
    page.element("p", &[("class", &"lead")], &told.summary);
    if let Some(cut_off) = &told.cut_off {
        page.raw("<div class=\"box bad\" role=\"alert\">");
        cut_off.text(Style::default()).lines().for_each(|line| page.element("p", &[], line));
        page.raw("</div>\n");
    }
    if let Some(why) = &told.why {
        page.raw("<div class=\"box warn\">");
        page.element("p", &[], format!("{}: {why}", told.status));
        if let Some(hint) = &told.hint {
            page.element("p", &[("class", &"soft")], hint);
        }
        page.raw("</div>\n");
    }
    tiles(page, told);
    page.raw("</header>\n");
}

fn tiles(page: &mut Markup, told: &Chronicle) {
    let totals = &told.totals;
    let tiles = [
        ("pairs moved", Some(format!("{} of {}", totals.moved, totals.pairs)).filter(|_| totals.pairs > 0)),
        ("steps done", Some(format!("{} of {}", totals.done, totals.steps))),
        ("took", Some(took(totals.took_ms))),
        ("longest freeze", totals.longest_freeze_ms.map(took)),
        ("carried", Some(text::bytes(totals.bytes)).filter(|_| totals.bytes > 0)),
        ("stood still", Some(if told.halts.is_empty() { "never".to_owned() } else { took(totals.halted_ms) })),
        ("failed attempts", Some(totals.failures.to_string())),
    ];
    page.raw("<dl class=\"tiles\">\n");
    for (what, value) in tiles.iter().filter_map(|(what, value)| Some((what, value.as_ref()?))) {
        page.raw("<div>");
        page.element("dt", &[], what);
        page.element("dd", &[], value);
        page.raw("</div>\n");
    }
    page.raw("</dl>\n");
}

fn body(page: &mut Markup, told: &Chronicle, section: &Section<'_>) {
    page.open("section", &[("id", &section.id), ("aria-labelledby", &format!("{}-title", section.id))]);
    page.element("h2", &[("id", &format!("{}-title", section.id))], section.title);
    page.line();
    section.says.iter().for_each(|line| page.element("p", &[], line));
    for part in &section.parts {
        match part {
            Part::Chart(chart, caption) => figure(page, told, chart, caption),
            Part::Table(table) => rows(page, table),
        }
    }
    page.raw("</section>\n");
}

fn figure(page: &mut Markup, told: &Chronicle, chart: &Chart<'_>, caption: &str) {
    page.raw("<figure>\n");
    match chart {
        Chart::Timeline => {
            legend(page);
            charts::timeline(page, told);
        }
        Chart::Share(share) => charts::share(page, told, share),
        Chart::Rate => charts::rate(page, told),
        Chart::Freezes(pairs) => charts::freezes(page, pairs),
        Chart::Falling(bill) => charts::falling(page, bill, |cents| amount(cents, &bill.currency)),
    }
    page.element("figcaption", &[], caption);
    page.raw("</figure>\n");
}

fn legend(page: &mut Markup) {
    page.raw("<ul class=\"legend\">");
    let frozen = [("freeze", "nobody could write")];
    for (class, what) in Band::ALL.iter().map(|(_, class, what)| (*class, *what)).chain(frozen) {
        page.raw("<li><svg viewBox=\"0 0 10 10\" aria-hidden=\"true\">");
        page.open("rect", &[("class", &class), ("width", &"10"), ("height", &"10"), ("rx", &"2")]);
        page.raw("</rect></svg>");
        page.text(what);
        page.raw("</li>");
    }
    page.raw("</ul>\n");
}

fn rows(page: &mut Markup, table: &Table) {
    if table.rows.is_empty() {
        return;
    }
    if table.folded {
        page.raw("<details>");
        let rows = table.rows.len() + table.more;
        page.element("summary", &[], format!("{} ({rows})", table.title));
    } else {
        page.element("h3", &[], &table.title);
    }
    page.raw("<table class=\"stack\"><thead><tr>");
    for (name, number) in table.columns {
        page.element("th", &[("scope", &"col"), ("class", &if *number { "n" } else { "" })], name);
    }
    page.raw("</tr></thead><tbody>\n");
    for row in &table.rows {
        page.raw("<tr>");
        for (text, (name, number)) in row.iter().zip(table.columns) {
            let class = match *name {
                _ if *number => "n",
                "at" | "from" | "to" | "began" | "ended" | "over" | "until" => "t",
                "step" => "mono",
                _ => "",
            };
            page.element("td", &[("class", &class), ("data-of", name)], text);
        }
        page.raw("</tr>\n");
    }
    page.raw("</tbody></table>\n");
    if table.more > 0 {
        page.element("p", &[("class", &"soft")], format!("{} more are in --format json.", table.more));
    }
    if table.folded {
        page.raw("</details>\n");
    }
}

fn foot(page: &mut Markup, told: &Chronicle) {
    page.raw("<footer>\n");
    let began =
        format!("Begun {} by {}, last record {}. All times are UTC.", when(told.began), told.by, when(told.last));
    page.element("p", &[], began);
    for input in &told.inputs {
        page.raw("<p>");
        page.text(input.path.display());
        page.raw(" <code>");
        page.text(&input.digest);
        page.raw("</code></p>\n");
    }
    page.element("p", &[], format!("migrate {}", told.version));
    page.raw("</footer>\n");
}
