//! The parts of the report: what each says, and its tables. Every form of it shows the same.

use jiff::Timestamp;

use super::said::{end_of, percent, took};
use super::{Carried, Chronicle, Falling, PairTold, ServiceShare, charts, millis};
use crate::event::DriftRecord;
use crate::model::Money;
use crate::render::ending::when;
use crate::render::hosts::money;
use crate::render::table::Column;
use crate::text;

/// The most rows of a table that people read; programs get all of them.
const ROWS: usize = 300;

/// A part of the report.
pub(super) struct Section<'a> {
    /// A word for links.
    pub id: &'static str,
    pub title: &'static str,
    /// Sentences.
    pub says: Vec<String>,
    pub parts: Vec<Part<'a>>,
}

/// What stands in a section.
pub(super) enum Part<'a> {
    Chart(Chart<'a>, String),
    Table(Table),
}

/// What is drawn.
pub(super) enum Chart<'a> {
    Timeline,
    Share(&'a ServiceShare),
    Rate,
    Freezes(Vec<&'a PairTold>),
    Falling(&'a Falling),
}

/// Rows under names.
pub(super) struct Table {
    pub title: String,
    pub columns: &'static [Column],
    pub rows: Vec<Vec<String>>,
    /// Rows that are left out.
    pub more: usize,
    /// Whether it is for those who look closer.
    pub folded: bool,
}

fn table(title: &str, columns: &'static [Column], rows: impl Iterator<Item = Vec<String>>) -> Part<'static> {
    listed(title, columns, rows, false)
}

fn folded(title: &str, columns: &'static [Column], rows: impl Iterator<Item = Vec<String>>) -> Part<'static> {
    listed(title, columns, rows, true)
}

fn listed(
    title: &str,
    columns: &'static [Column],
    rows: impl Iterator<Item = Vec<String>>,
    folded: bool,
) -> Part<'static> {
    let mut rows: Vec<Vec<String>> = rows.collect();
    let more = rows.len().saturating_sub(ROWS);
    rows.truncate(ROWS);
    Part::Table(Table { title: title.to_owned(), columns, rows, more, folded })
}

/// All sections that have something to say.
pub(super) fn sections(told: &Chronicle) -> Vec<Section<'_>> {
    let all = [
        moved(told),
        shares(told),
        data(told),
        frozen(told),
        looks(told),
        trouble(told),
        people(told),
        back(told),
        bill(told),
        trust(told),
    ];
    all.into_iter().flatten().collect()
}

fn name(pair: &PairTold) -> String {
    format!("{} → {}", pair.source, pair.target)
}

fn time(at: Option<Timestamp>) -> String {
    at.map(when).unwrap_or_default()
}

fn moved(told: &Chronicle) -> Option<Section<'_>> {
    const PAIRS: &[Column] = &[
        ("pair", false),
        ("service", false),
        ("wave", false),
        ("is", false),
        ("share", true),
        ("frozen", true),
        ("data", true),
        ("began", false),
        ("ended", false),
    ];
    const WAVES: &[Column] = &[("wave", false), ("pairs", true), ("began", false), ("over", false)];
    const PHASES: &[Column] = &[("pair", false), ("phases, with how long each took", false)];
    let pair = |pair: &PairTold| {
        vec![
            name(pair),
            pair.service.clone(),
            pair.wave.clone(),
            pair.is.to_owned(),
            pair.share.map(|share| format!("{share} %")).unwrap_or_default(),
            pair.freeze.map(|freeze| took(freeze.millis)).unwrap_or_default(),
            if pair.bytes > 0 { text::bytes(pair.bytes) } else { String::new() },
            time(pair.began),
            time(pair.ended),
        ]
    };
    let mut parts = Vec::new();
    if !told.pairs.is_empty() {
        let drawn = told.pairs.len().min(charts::ROWS);
        let more = match told.pairs.len() - drawn {
            0 => String::new(),
            n => format!(" The first {drawn} are drawn, {n} are not; the table has them."),
        };
        let caption = format!(
            "Each pair in a row, its steps from left to right (UTC); a thin bar above: nobody could write; shaded: nothing new began.{more} The tables below say the same."
        );
        parts.push(Part::Chart(Chart::Timeline, caption));
        parts.push(table("Pairs", PAIRS, told.pairs.iter().map(pair)));
        parts.push(folded("Phases of each pair", PHASES, told.pairs.iter().map(|pair| vec![name(pair), phases(pair)])));
    }
    let waves = told.waves.iter().map(|w| vec![w.wave.clone(), w.pairs.to_string(), time(w.began), time(w.ended)]);
    parts.push(table("Waves", WAVES, waves));
    Some(Section { id: "moved", title: "What moved", says: Vec::new(), parts })
}

/// Phases in a line; what follows itself is told once.
fn phases(pair: &PairTold) -> String {
    let mut said: Vec<(String, u64, u32)> = Vec::new();
    for span in &pair.spans {
        let back = if span.band == super::Band::Undo { "undo of " } else { "" };
        let word = format!("{back}{}", span.phase);
        let took = span.ended.map_or(0, |ended| millis(span.began, ended));
        match said.last_mut().filter(|(last, ..)| *last == word) {
            Some((_, sum, times)) => (*sum, *times) = (*sum + took, *times + 1),
            None => said.push((word, took, 1)),
        }
    }
    let one = |(word, millis, times): &(String, u64, u32)| match times {
        1 => format!("{word} {}", took(*millis)),
        n => format!("{n} × {word} {}", took(*millis)),
    };
    said.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn shares(told: &Chronicle) -> Option<Section<'_>> {
    const SET: &[Column] = &[("from", false), ("share", true)];
    const COUNTED: &[Column] =
        &[("until", false), ("step", false), ("sessions", true), ("targets got", true), ("by weight", true)];
    let mut parts = Vec::new();
    let mut says = Vec::new();
    for share in &told.shares {
        let last = share.wanted.last().map_or(0, |wanted| wanted.tenths);
        let what = if share.of_all { "of new sessions" } else { "of their full weight, on average" };
        let counted = match share.measured.last() {
            Some(m) => format!(
                "; of {} that were counted last they got {}, where weights made {}",
                text::count(m.sessions, "session"),
                percent(m.tenths),
                percent(m.wanted)
            ),
            None => "; no session was counted".to_owned(),
        };
        says.push(format!("{}: targets have {} {what}{counted}.", share.service, percent(last)));
        let caption = format!(
            "{}: the line is the share that was set, each dot what the director counted while it was watched.",
            share.service
        );
        parts.push(Part::Chart(Chart::Share(share), caption));
        let set = share.wanted.iter().map(|wanted| vec![when(wanted.at), percent(wanted.tenths)]);
        parts.push(folded(&format!("Shares of {} that were set", share.service), SET, set));
        let counted = share.measured.iter().map(|m| {
            vec![when(m.ended), m.step.clone(), text::grouped(m.sessions), percent(m.tenths), percent(m.wanted)]
        });
        parts.push(folded(&format!("Sessions of {} that were counted", share.service), COUNTED, counted));
    }
    (!parts.is_empty()).then_some(Section { id: "traffic", title: "Traffic", says, parts })
}

fn data(told: &Chronicle) -> Option<Section<'_>> {
    const CARRIED: &[Column] = &[
        ("ended", false),
        ("step", false),
        ("phase", false),
        ("files", true),
        ("bytes", true),
        ("took", true),
        ("rate", true),
    ];
    if told.carried.is_empty() {
        return None;
    }
    let row = |carried: &Carried| {
        let back = if carried.back { " back" } else { "" };
        vec![
            when(carried.ended),
            carried.step.clone(),
            format!("{}{back}", carried.phase),
            text::grouped(carried.files),
            text::bytes(carried.bytes),
            took(carried.millis()),
            carried.rate().map(|rate| format!("{}/s", text::bytes(rate))).unwrap_or_default(),
        ]
    };
    let busiest = told.carried.iter().filter(|carried| carried.bytes > 0).max_by_key(|carried| carried.rate());
    let busiest = busiest.and_then(|carried| Some((carried, carried.rate()?)));
    let mut says = vec![format!(
        "{} went over, {} in all.",
        text::count(told.totals.files, "file"),
        text::bytes(told.totals.bytes)
    )];
    if let Some((carried, rate)) = busiest {
        says.push(format!("The fastest was {} at {}/s.", carried.step, text::bytes(rate)));
    }
    let caption = "Bytes in a second, all copies together, as if each had gone at an even pace.".to_owned();
    let parts = vec![Part::Chart(Chart::Rate, caption), folded("Every pass", CARRIED, told.carried.iter().map(row))];
    Some(Section { id: "data", title: "Data", says, parts })
}

fn frozen(told: &Chronicle) -> Option<Section<'_>> {
    const FROZEN: &[Column] = &[("pair", false), ("frozen", true), ("from", false), ("to", false)];
    let mut pairs: Vec<&PairTold> = told.pairs.iter().filter(|pair| pair.freeze.is_some()).collect();
    pairs.sort_by_key(|pair| std::cmp::Reverse(pair.freeze.map(|freeze| freeze.millis)));
    let middle = pairs.get(pairs.len() / 2)?.freeze?.millis;
    let longest = pairs.first()?.freeze?.millis;
    let says = vec![format!(
        "From the last write on the source to the first on the target: {} at most, {} for the pair in the middle of {}.",
        took(longest),
        took(middle),
        pairs.len()
    )];
    let rows = pairs.iter().filter_map(|pair| {
        let freeze = pair.freeze?;
        Some(vec![name(pair), took(freeze.millis), when(freeze.began), when(freeze.ended)])
    });
    let table = folded("Every freeze", FROZEN, rows.collect::<Vec<_>>().into_iter());
    let drawn = pairs.len().min(charts::FREEZES);
    let caption = match pairs.len() - drawn {
        0 => "Freezes, the longest first.".to_owned(),
        n => format!("The {drawn} longest freezes; {n} shorter ones are in the table."),
    };
    pairs.truncate(charts::FREEZES);
    let parts = vec![Part::Chart(Chart::Freezes(pairs), caption), table];
    Some(Section { id: "freezes", title: "Freezes", says, parts })
}

fn looks(told: &Chronicle) -> Option<Section<'_>> {
    const LOOKS: &[Column] = &[("at", false), ("step", false), ("asked", false), ("seen", false)];
    if told.looks.is_empty() {
        return None;
    }
    let row = |look: &super::Look| vec![when(look.at), look.step.clone(), look.asked.clone(), look.says.clone()];
    let (gates, others): (Vec<_>, Vec<_>) = told.looks.iter().partition(|look| look.phase == "gate");
    let mut parts = Vec::new();
    if !gates.is_empty() {
        parts.push(table("Gates", LOOKS, gates.into_iter().map(row)));
    }
    if !others.is_empty() {
        parts.push(folded("Checks and watches", LOOKS, others.into_iter().map(row)));
    }
    let says = vec![format!("{} with what was seen.", text::count(told.looks.len() as u64, "answer"))];
    Some(Section { id: "checks", title: "Checks and gates", says, parts })
}

fn trouble(told: &Chronicle) -> Option<Section<'_>> {
    const HALTS: &[Column] =
        &[("from", false), ("for", true), ("how", false), ("step", false), ("why", false), ("ended by", false)];
    const FAILURES: &[Column] = &[("at", false), ("step", false), ("attempt", true), ("end", false), ("why", false)];
    const DRIFTS: &[Column] = &[("at", false), ("where", false), ("then", false)];
    const RELAYED: &[Column] = &[("step", false), ("who came to the old address", false)];
    let mut parts = Vec::new();
    if !told.halts.is_empty() {
        let halts = told.halts.iter().map(|halt| {
            let lasted = millis(halt.began, halt.ended.unwrap_or(told.last));
            let step = halt.step.clone().unwrap_or_default();
            vec![when(halt.began), took(lasted), halt.how.to_owned(), step, halt.why.clone(), end_of(halt)]
        });
        parts.push(table("When nothing new began", HALTS, halts));
    }
    if !told.failures.is_empty() {
        let failures = told.failures.iter().map(|f| {
            let step = if f.undo { format!("{} (undo)", f.step) } else { f.step.clone() };
            vec![when(f.at), step, f.attempt.to_string(), f.result.to_owned(), f.why.clone()]
        });
        parts.push(table("Attempts that failed, or whose end nobody knew", FAILURES, failures));
    }
    if !told.drifts.is_empty() {
        let row = |drift: &DriftRecord| {
            let then = if drift.restores { "set again" } else { "held" };
            vec![when(drift.at), drift.to_string(), then.to_owned()]
        };
        parts.push(table("What others have changed", DRIFTS, told.drifts.iter().map(row)));
    }
    if !told.relayed.is_empty() {
        let rows = told.relayed.iter().map(|(step, relayed)| vec![step.clone(), relayed.told()]);
        parts.push(table("Old addresses", RELAYED, rows));
    }
    (!parts.is_empty()).then_some(Section { id: "trouble", title: "Holds and failures", says: Vec::new(), parts })
}

fn people(told: &Chronicle) -> Option<Section<'_>> {
    const ACTS: &[Column] = &[("at", false), ("who", false), ("what", false)];
    let rows = told.acts.iter().map(|act| vec![when(act.at), act.by.clone(), act.did.clone()]);
    let parts = vec![table("What people did", ACTS, rows)];
    Some(Section { id: "people", title: "Who decided what", says: Vec::new(), parts })
}

fn back(told: &Chronicle) -> Option<Section<'_>> {
    const BACK: &[Column] = &[("pair", false), ("way back", false)];
    let known: Vec<&PairTold> = told.pairs.iter().filter(|pair| !pair.way_back.is_empty()).collect();
    if known.is_empty() {
        return None;
    }
    let rows = known.into_iter().map(|pair| vec![name(pair), pair.way_back.join("; ")]);
    Some(Section {
        id: "back",
        title: "The way back",
        says: Vec::new(),
        parts: vec![table("Way back of each pair", BACK, rows)],
    })
}

/// An amount in a currency.
pub(super) fn amount(cents: u64, currency: &str) -> String {
    money(&Money { cents, currency: currency.to_owned() })
}

fn bill(told: &Chronicle) -> Option<Section<'_>> {
    const WAVES: &[Column] = &[("wave", false), ("over", false), ("its sources", true), ("left a month", true)];
    let mut parts = Vec::new();
    let mut says = Vec::new();
    for bill in &told.bills {
        let show = |cents| amount(cents, &bill.currency);
        let left = bill.waves.last().map_or(bill.all, |wave| wave.left);
        says.push(format!(
            "{} a month for all hosts of the inventory, {} when all sources are given back; {} for each day that they are kept.",
            show(bill.all),
            show(left),
            show(bill.way_back_a_day)
        ));
        let caption = format!(
            "The bill of a month in {}, if the sources of each wave are given back when it is over.",
            bill.currency
        );
        parts.push(Part::Chart(Chart::Falling(bill), caption));
        let rows = bill.waves.iter().map(|w| vec![w.wave.clone(), time(w.over), show(w.ends), show(w.left)]);
        parts.push(table(&format!("The bill in {}", bill.currency), WAVES, rows));
    }
    if !told.unknown_costs.is_empty() {
        says.push(format!("Nobody knows what these cost: {}.", text::some(&told.unknown_costs, 20)));
    }
    (!parts.is_empty()).then_some(Section { id: "cost", title: "Cost", says, parts })
}

fn trust(told: &Chronicle) -> Option<Section<'_>> {
    const COMPARED: &[Column] = &[("at", false), ("step", false), ("files", true), ("bytes", true), ("found", false)];
    let mut says = Vec::new();
    let mut parts = Vec::new();
    if !told.compared.is_empty() {
        says.push("Compared on both hosts, by the content of every file:".to_owned());
        let row = |c: &Carried| {
            vec![when(c.ended), c.step.clone(), text::grouped(c.files), text::bytes(c.bytes), c.says.clone()]
        };
        parts.push(folded("Comparisons", COMPARED, told.compared.iter().map(row)));
    }
    if let Some(audit) = &told.audit {
        let word =
            if audit.intact { "The records are what was sealed." } else { "THE RECORDS ARE NOT WHAT WAS SEALED." };
        says.push(word.to_owned());
        says.extend(audit.says.iter().cloned());
    }
    (!says.is_empty()).then_some(Section { id: "proof", title: "Comparisons and records", says, parts })
}
