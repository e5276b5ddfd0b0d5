//! The waves of a plan as text: the first pair of each kind in full, and how many others have the same steps.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Write as _;

use super::alike::{Alike, FEW, Names, kinds, runs, span};
use super::fit;
use super::format::Style;
use super::paint::Paint;
use super::plan::seen;
use crate::planner::proposal::{GroupView, Line, WaveView};
use crate::step::{Class, Mark};
use crate::text;

/// What a check before a drain is called. The first pair of a cutover has nobody to look at before its drain: that alone is no other kind.
const LOOK: &str = "look";

/// Where what a step does begins.
const WHAT: usize = 19;

/// Waves that are told one by one among those that are alike.
const WAVES: usize = 10;

/// Waves that follow each other and differ only in the names of their services and hosts.
pub fn alike_waves<'a>(waves: &'a [WaveView], alike: &Alike) -> Vec<Vec<&'a WaveView>> {
    runs(waves, |wave| {
        let kinds = own_kinds(wave, alike);
        let kind = |groups: &Vec<&GroupView>| {
            let first = groups.first();
            let line = |line: &Line| alike.everything.shape(&format!("{} {}", line.phase, line.what));
            let lines = first.map(|first| first.lines.iter().map(line).collect::<Vec<_>>());
            (first.map(|first| kind_of(first, "", &alike.everything)), groups.len(), lines)
        };
        (wave.max_unavailable, &wave.batches, kinds.iter().map(kind).collect::<Vec<_>>())
    })
}

/// What a wave does, by kinds of pairs.
fn own_kinds<'a>(wave: &'a WaveView, alike: &Alike) -> Vec<Vec<&'a GroupView>> {
    kinds(&wave.groups, |group| kind_of(group, &group.service, &alike.hosts))
}

/// In what pairs of one kind are the same: the steps, how sure they are, and what was seen, but for sizes and connections.
pub type Kind<'a> = (&'a str, bool, Vec<(Cow<'static, str>, Mark, String)>);

fn kind_of<'a>(group: &GroupView, service: &'a str, names: &Names) -> Kind<'a> {
    let seen = |line: &Line| match &line.seen {
        Some(seen) if SETTINGS.contains(&&*line.phase) => names.shape(seen),
        Some(_) if line.phase == SEED => String::new(),
        Some(seen) => names.kind(seen),
        None => String::new(),
    };
    let lines = group.lines.iter().filter(|line| line.phase != LOOK);
    let lines = lines.map(|line| (line.phase.clone(), line.mark, seen(line))).collect();
    (service, group.pair.is_some(), lines)
}

/// Steps of which was seen what is set: of pairs of one kind the same.
const SETTINGS: [&str; 3] = ["shift", "drain", "retire"];

/// What the first pass of a copy is called.
const SEED: &str = "seed";

/// Every step of a wave.
pub fn wave_in_full(out: &mut String, wave: &WaveView, style: Style) {
    head(out, &format!("Wave {}", wave.name), wave, "", style);
    for group in &wave.groups {
        let _ = writeln!(out, "\n  {}", heading(group, Paint(style.color)));
        group.lines.iter().for_each(|line| line_text(out, &line.what, line, style));
    }
}

/// Steps that have been told in full, but for the names in them, and where that was.
pub type Shown = BTreeMap<(Kind<'static>, Vec<String>), String>;

/// Waves of one kind: the first of them, and of the others what differs. Whether there is more to tell.
pub fn waves_text(out: &mut String, waves: &[&WaveView], shown: &mut Shown, alike: &Alike, style: Style) -> bool {
    let Some((first, others)) = waves.split_first() else { return false };
    head(out, &format!("Wave {}", first.name), first, "", style);
    let mut is_short = false;
    for groups in own_kinds(first, alike) {
        let Some(one) = groups.first().filter(|group| group.pair.is_some()) else {
            is_short |= groups_text(out, &groups, alike, style);
            continue;
        };
        let what = one.lines.iter().filter(|line| line.phase != LOOK);
        let what = what.map(|line| alike.everything.shape(&line.what)).collect();
        match shown.entry((kind_of(one, "", &alike.everything), what)) {
            Entry::Occupied(known) => {
                let pairs: Vec<&str> = groups.iter().filter_map(|group| group.pair.as_deref()).collect();
                let whom = Paint(style.color).bold(&format!("{}  {}", one.service, span(&pairs)));
                let said = format!("\n  {whom}  the same steps as {}", known.get());
                let _ = writeln!(out, "{}", fit::line(&said, 6, style));
                is_short = true;
            }
            Entry::Vacant(new) => {
                new.insert(format!("{} in wave {}", one.service, first.name));
                is_short |= groups_text(out, &groups, alike, style);
            }
        }
    }
    let Some(last) = others.last() else { return is_short };
    let names = match others.len() {
        1 => format!("Wave {}", last.name),
        n => {
            let next = others.first().map_or("", |wave| &wave.name);
            format!("Waves {next} to {} ({})", last.name, text::grouped(n as u64))
        }
    };
    head(out, &names, first, &format!(", the same steps as in {}", first.name), style);
    out.push('\n');
    let rows: Vec<String> = others.iter().map(|wave| wave_row(wave)).collect();
    for row in shortened(&rows, WAVES) {
        let _ = writeln!(out, "{}", fit::line(&format!("  {row}"), 6, style));
    }
    true
}

/// The first rows and the last, where there are more than `most`.
fn shortened(rows: &[String], most: usize) -> Vec<String> {
    match rows {
        [init @ .., last] if rows.len() > most => {
            let more = format!("… {} more", text::grouped((rows.len() - most) as u64));
            init.iter().take(most - 1).cloned().chain([more, last.clone()]).collect()
        }
        rows => rows.to_vec(),
    }
}

fn wave_row(wave: &WaveView) -> String {
    let pairs = wave.groups.iter().filter(|group| group.pair.is_some());
    let services = kinds(pairs, |group| group.service.as_str());
    let own = services.iter().map(|groups| {
        let service = groups.first().map_or("", |group| &group.service);
        // A pair may come more than once: for what is before the shift, and for its drain.
        let mut pairs: Vec<&str> = kinds(groups.iter().filter_map(|g| g.pair.as_deref()), |pair| *pair).concat();
        pairs.dedup();
        format!("{service}  {}", span(&pairs))
    });
    format!("{}  {}", wave.name, own.collect::<Vec<_>>().join("; "))
}

fn head(out: &mut String, names: &str, wave: &WaveView, same: &str, style: Style) {
    let names = Paint(style.color).bold(names);
    let _ = writeln!(out, "\n{}", fit::line(&format!("{names}, {}{same}", wave.rules()), 2, style));
}

/// Pairs of one kind: the first in full.
fn groups_text(out: &mut String, groups: &[&GroupView], alike: &Alike, style: Style) -> bool {
    let paint = Paint(style.color);
    let Some((first, others)) = groups.split_first() else { return false };
    let _ = writeln!(out, "\n  {}", heading(first, paint));
    let mut is_short = false;
    for lines in runs(&first.lines, |line| (&line.phase, alike.everything.shape(&line.what))) {
        let few = if lines.len() > FEW { 1 } else { lines.len() };
        for line in lines.iter().take(few) {
            let what = alike.hosts.condense(&line.what);
            is_short |= what != line.what;
            line_text(out, &what, line, style);
        }
        if let more @ 1.. = lines.len() - few {
            is_short = true;
            let _ = writeln!(out, "      {:<12} {} more like it", "", text::grouped(more as u64));
        }
    }
    if others.is_empty() {
        return is_short;
    }
    out.push('\n');
    if others.len() <= FEW {
        let looked = first.lines.iter().any(|line| line.phase == LOOK);
        for group in others {
            let look = group.lines.iter().find(|line| line.phase == LOOK).filter(|_| !looked);
            let own = differs(group).into_iter().chain(look.map(|look| format!("drained once {}", look.what)));
            let own: String = own.map(|own| format!("  {own}")).collect();
            let said = format!("  {}  the same steps{own}", heading(group, paint));
            let _ = writeln!(out, "{}", fit::line(&said, 6, style));
        }
        return true;
    }
    let pairs: Vec<&str> = others.iter().filter_map(|group| group.pair.as_deref()).collect();
    let whom = if first.service.is_empty() { String::new() } else { format!("{}  ", first.service) };
    let said = format!("  {}  the same steps", paint.bold(&format!("{whom}{}", span(&pairs))));
    let _ = writeln!(out, "{}", fit::line(&said, 6, style));
    for line in of_all(others, alike) {
        let _ = writeln!(out, "{}", fit::line(&format!("      {line}"), 8, style));
    }
    true
}

/// What a pair with the same steps as another has of its own: its trees, and what targets get without its source.
fn differs(group: &GroupView) -> Vec<String> {
    let sizes = group.lines.iter().filter(|l| l.phase == SEED).filter_map(|l| l.seen.clone());
    let changes = group.lines.iter().filter_map(|l| l.changes.as_ref()).map(ToString::to_string);
    // The passes of one tree say the same.
    let mut all: Vec<String> = sizes.chain(shares(group)).collect();
    changes.for_each(|line| {
        if !all.contains(&line) {
            all.push(line);
        }
    });
    all
}

fn shares(group: &GroupView) -> impl Iterator<Item = String> + '_ {
    let drains = group.lines.iter().filter(|l| l.phase == "drain");
    drains.filter_map(|l| Some(l.what.split_once("; ")?.1.to_owned()))
}

/// The same of many pairs.
fn of_all(groups: &[&GroupView], alike: &Alike) -> Vec<String> {
    let mut out = Vec::new();
    let sizes = groups.iter().flat_map(|group| group.lines.iter().filter(|l| l.phase == SEED));
    let sizes = kinds(sizes.filter_map(|line| line.seen.as_deref()), |size| *size);
    match sizes.as_slice() {
        [] => {}
        [one] => out.extend(one.first().map(|size| format!("each {size}"))),
        many => out.push(format!("trees of {} sizes", text::grouped(many.len() as u64))),
    }
    let told = |group: &GroupView| {
        let mut told: Vec<String> =
            group.lines.iter().filter_map(|l| l.changes.as_ref()).map(ToString::to_string).collect();
        told.dedup();
        told
    };
    let changes = kinds(groups.iter().flat_map(|group| told(group)), |told| alike.hosts.kind(told));
    for alike in &changes {
        let Some(first) = alike.first() else { continue };
        out.push(match changes.len() {
            1 => first.clone(),
            _ => format!("{}: {first}", text::grouped(alike.len() as u64)),
        });
    }
    let share = |group: Option<&&GroupView>| group.and_then(|group| shares(group).next());
    match (share(groups.first()), share(groups.last())) {
        (Some(first), Some(last)) if first != last => out.push(format!("{first}; in the end {last}")),
        (Some(first), _) => out.push(first),
        (None, _) => {}
    }
    let looks = groups.iter().filter(|group| group.lines.iter().any(|line| line.phase == LOOK)).count();
    if looks > 0 {
        let all =
            if looks == groups.len() { "each is".to_owned() } else { format!("{} are", text::grouped(looks as u64)) };
        out.push(format!("{all} drained once targets of pairs before pass their checks"));
    }
    out
}

fn heading(group: &GroupView, paint: Paint) -> String {
    let whom = group.pair.as_deref().unwrap_or("all pairs");
    paint.bold(&if group.service.is_empty() { whom.to_owned() } else { format!("{}  {whom}", group.service) })
}

fn line_text(out: &mut String, what: &str, line: &Line, style: Style) {
    let paint = Paint(style.color);
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
    let line = format!("    {mark} {:<12} {what}{seen}{class}", line.phase);
    let _ = writeln!(out, "{}", fit::line(&line, WHAT, style));
}
