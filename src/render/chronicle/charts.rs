//! Charts as SVG, made here so that a page needs no script. Each has its sense as text beside it: `html` sees to that.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::said::{percent, took};
use super::{Band, Carried, Chronicle, Falling, Freeze, PairTold, ServiceShare, Span, Together};
use crate::render::markup::Markup;
use crate::text;

/// Width of all charts, in their own units.
const WIDTH: f64 = 1000.0;
/// Where time begins: names stand before it.
const LEFT: f64 = 190.0;
const RIGHT: f64 = 985.0;
const ROW: f64 = 26.0;
/// Pairs that are drawn one by one.
pub(super) const ROWS: usize = 60;
/// Freezes that are drawn.
pub(super) const FREEZES: usize = 20;
/// Slices of time in which bytes are added up.
const SLICES: usize = 120;

/// A length, as short as the eye needs it.
struct Px(f64);

impl fmt::Display for Px {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = (self.0 * 10.0).round() / 10.0;
        write!(f, "{tenths}")
    }
}

/// Time from left to right.
struct Axis {
    began: Timestamp,
    millis: f64,
}

impl Axis {
    fn of(told: &Chronicle) -> Self {
        Self { began: told.began, millis: (super::millis(told.began, told.last) as f64).max(1.0) }
    }

    fn x(&self, at: Timestamp) -> f64 {
        let since = at.duration_since(self.began).as_millis() as f64;
        LEFT + (RIGHT - LEFT) * (since / self.millis).clamp(0.0, 1.0)
    }

    /// Lines at round times, with the times below `height`.
    fn draw(&self, page: &mut Markup, height: f64) {
        const STEPS: [i64; 21] = [
            1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800,
            604_800, 2_592_000,
        ];
        let seconds = self.millis / 1000.0;
        let step = STEPS.into_iter().find(|step| seconds / *step as f64 <= 8.0).unwrap_or(31_536_000);
        let format = match step {
            ..60 => "%H:%M:%S",
            60..86_400 => "%H:%M",
            _ => "%b %d",
        };
        let mut second = self.began.as_second() - self.began.as_second().rem_euclid(step) + step;
        loop {
            let Ok(at) = Timestamp::from_second(second) else { return };
            if at.duration_since(self.began) > SignedDuration::from_millis(self.millis as i64) {
                return;
            }
            let x = Px(self.x(at));
            page.open("line", &[("class", &"grid"), ("x1", &x), ("x2", &x), ("y1", &"0"), ("y2", &Px(height))]);
            page.close("line");
            let attributes: [(_, &dyn fmt::Display); 3] =
                [("class", &"tick mid"), ("x", &x), ("y", &Px(height + 16.0))];
            page.element("text", &attributes, at.strftime(format));
            second += step;
        }
    }

    fn halts(&self, page: &mut Markup, told: &Chronicle, height: f64) {
        for halt in &told.halts {
            let (from, to) = (self.x(halt.began), self.x(halt.ended.unwrap_or(told.last)));
            let title = format!("{}: {}", halt.how, halt.why);
            bar(page, "halt", (from, 0.0, (to - from).max(2.0), height), &title);
        }
    }
}

/// A bar, with what it is for whoever points at it.
fn bar(page: &mut Markup, class: &'static str, (x, y, width, height): (f64, f64, f64, f64), title: &str) {
    let (x, y, width, height) = (Px(x), Px(y), Px(width), Px(height));
    page.open("rect", &[("class", &class), ("x", &x), ("y", &y), ("width", &width), ("height", &height)]);
    page.element("title", &[], title);
    page.close("rect");
}

/// The words of a chart: what stands in place of it for those who do not see it.
fn open(page: &mut Markup, height: f64, label: &str) {
    page.raw("<div class=\"scroll\" tabindex=\"0\">");
    let view = format!("0 0 {WIDTH} {}", Px(height));
    page.open("svg", &[("viewBox", &view), ("role", &"img"), ("aria-label", &label)]);
}

fn close(page: &mut Markup) {
    page.close("svg");
    page.raw("</div>\n");
}

fn label(page: &mut Markup, y: f64, text: &str) {
    let short = shorten(text, 26);
    page.open("text", &[("class", &"end"), ("x", &Px(LEFT - 8.0)), ("y", &Px(y))]);
    page.text(&short);
    if short != text {
        page.element("title", &[], text);
    }
    page.close("text");
}

/// Text that is too long loses its middle.
fn shorten(text: &str, most: usize) -> String {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() <= most {
        return text.to_owned();
    }
    let half = (most - 1) / 2;
    let (head, tail) = (chars.iter().take(half), chars.iter().skip(chars.len() - half));
    head.chain(std::iter::once(&'…')).chain(tail).collect()
}

impl Band {
    pub(super) const ALL: [(Self, &'static str, &'static str); 6] = [
        (Self::State, "state", "state is carried over or compared"),
        (Self::Traffic, "traffic", "traffic is moved"),
        (Self::Wait, "wait", "looks and waits"),
        (Self::Other, "other", "commands"),
        (Self::WayBack, "way_back", "the way back is open"),
        (Self::Undo, "undo", "put back"),
    ];

    fn class(self) -> &'static str {
        Self::ALL.iter().find(|(band, ..)| *band == self).map_or("", |(_, class, _)| class)
    }
}

/// A row of the timeline.
struct Row<'a> {
    name: String,
    spans: &'a [Span],
    freeze: Option<Freeze>,
}

fn together<'a>(told: &'a Chronicle, service: &str, wave: &str) -> impl Iterator<Item = &'a Together> {
    told.together.iter().filter(move |t| t.service == service && t.wave == wave)
}

/// What is done together stands above the pairs that it is done for.
fn timeline_rows(told: &Chronicle) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    let mut last = None;
    for pair in told.pairs.iter().take(ROWS) {
        let own = (pair.service.as_str(), pair.wave.as_str());
        if last.is_none_or(|(_, wave)| wave != own.1) {
            let name = format!("wave {}", own.1);
            rows.extend(together(told, "", own.1).map(|t| Row { name: name.clone(), spans: &t.spans, freeze: None }));
        }
        if last != Some(own) {
            let name = format!("{}, all pairs", own.0);
            rows.extend(together(told, own.0, own.1).map(|t| Row {
                name: name.clone(),
                spans: &t.spans,
                freeze: None,
            }));
        }
        last = Some(own);
        rows.push(Row {
            name: format!("{} → {}", pair.source, pair.target), spans: &pair.spans, freeze: pair.freeze
        });
    }
    rows
}

/// Each pair and its phases over time; what the frozen time was.
pub(super) fn timeline(page: &mut Markup, told: &Chronicle) {
    let axis = Axis::of(told);
    let rows = timeline_rows(told);
    let height = rows.len() as f64 * ROW + 4.0;
    open(page, height + 24.0, &format!("Timeline of {}", text::count(told.pairs.len().min(ROWS) as u64, "pair")));
    axis.draw(page, height);
    axis.halts(page, told, height);
    for (row, n) in rows.iter().zip(0..) {
        let y = f64::from(n) * ROW + 5.0;
        label(page, y + 12.0, &row.name);
        for span in row.spans {
            let ended = span.ended.unwrap_or(told.last);
            let (from, to) = (axis.x(span.began), axis.x(ended));
            // What stays under way beside the rest is a line below it.
            let (top, tall) = if span.band == Band::WayBack { (y + 15.0, 3.0) } else { (y, 14.0) };
            let result = span.result.unwrap_or("under way");
            let title = format!("{}: {result}, {}", span.step, took(super::millis(span.began, ended)));
            bar(page, span.band.class(), (from, top, (to - from).max(1.5), tall), &title);
        }
        if let Some(freeze) = &row.freeze {
            let (from, to) = (axis.x(freeze.began), axis.x(freeze.ended));
            let title = format!("frozen for {}", took(freeze.millis));
            bar(page, "freeze", (from, y - 3.5, (to - from).max(3.0), 3.0), &title);
        }
    }
    close(page);
}

/// What share was set, as a line, and what was counted, as dots.
pub(super) fn share(page: &mut Markup, told: &Chronicle, share: &ServiceShare) {
    const HEIGHT: f64 = 180.0;
    let axis = Axis::of(told);
    let y = |tenths: u16| 8.0 + (HEIGHT - 8.0) * (1.0 - f64::from(tenths.min(1000)) / 1000.0);
    open(page, HEIGHT + 24.0, &format!("Share of traffic that the targets of {} have", share.service));
    for tenths in [0, 250, 500, 750, 1000] {
        let at = Px(y(tenths));
        page.open("line", &[("class", &"grid"), ("x1", &Px(LEFT)), ("x2", &Px(RIGHT)), ("y1", &at), ("y2", &at)]);
        page.close("line");
        label(page, y(tenths) + 4.0, &percent(tenths));
    }
    axis.draw(page, HEIGHT);
    axis.halts(page, told, HEIGHT);
    let mut path = String::new();
    let mut last = None;
    for wanted in &share.wanted {
        let (x, now) = (axis.x(wanted.at), y(wanted.tenths));
        if let Some(before) = last {
            path.push_str(&format!("{},{} ", Px(x), Px(before)));
        }
        path.push_str(&format!("{},{} ", Px(x), Px(now)));
        last = Some(now);
    }
    if let Some(last) = last {
        path.push_str(&format!("{},{}", Px(RIGHT), Px(last)));
    }
    page.open("polyline", &[("class", &"wanted"), ("points", &path)]);
    page.close("polyline");
    for measured in &share.measured {
        let middle = f64::midpoint(axis.x(measured.began), axis.x(measured.ended));
        let (x, y) = (Px(middle), Px(y(measured.tenths)));
        page.open("circle", &[("class", &"measured"), ("cx", &x), ("cy", &y), ("r", &"4.5")]);
        let sessions = text::count(measured.sessions, "session");
        page.element("title", &[], format!("{}: {} of {sessions}", measured.step, percent(measured.tenths)));
        page.close("circle");
    }
    close(page);
}

/// Bytes in a second over time, all together.
pub(super) fn rate(page: &mut Markup, told: &Chronicle) {
    const HEIGHT: f64 = 140.0;
    let axis = Axis::of(told);
    let slices = rates(&told.carried, &axis);
    let most = slices.iter().copied().fold(1.0, f64::max);
    open(page, HEIGHT + 24.0, &format!("Bytes in a second, {}/s at most", text::bytes(most as u64)));
    for part in [0.0, 0.5, 1.0] {
        let at = 8.0 + (HEIGHT - 8.0) * (1.0 - part);
        let line = Px(at);
        page.open("line", &[("class", &"grid"), ("x1", &Px(LEFT)), ("x2", &Px(RIGHT)), ("y1", &line), ("y2", &line)]);
        page.close("line");
        label(page, at + 4.0, &format!("{}/s", text::bytes((most * part) as u64)));
    }
    axis.draw(page, HEIGHT);
    axis.halts(page, told, HEIGHT);
    let width = (RIGHT - LEFT) / SLICES as f64;
    for (rate, n) in slices.iter().zip(0..).filter(|(rate, _)| **rate > 0.0) {
        let tall = ((HEIGHT - 8.0) * rate / most).max(1.0);
        let title = format!("{}/s", text::bytes(*rate as u64));
        bar(page, "rate", (LEFT + f64::from(n) * width, HEIGHT - tall, width, tall), &title);
    }
    close(page);
}

/// Bytes in a second in each slice of time, as if every copy had gone at an even pace.
fn rates(carried: &[Carried], axis: &Axis) -> Vec<f64> {
    let slice = axis.millis / SLICES as f64;
    let mut slices = vec![0.0; SLICES];
    for carried in carried {
        let from = carried.began.duration_since(axis.began).as_millis() as f64;
        let to = (carried.ended.duration_since(axis.began).as_millis() as f64).max(from + 1.0);
        let (first, last) = ((from / slice) as usize, (to / slice) as usize);
        for (sum, n) in slices.iter_mut().zip(0_u32..).take(last + 1).skip(first) {
            let begins = f64::from(n) * slice;
            let within = (to.min(begins + slice) - from.max(begins)).max(0.0);
            *sum += carried.bytes as f64 * within / (to - from) / slice * 1000.0;
        }
    }
    slices
}

/// Bars from the longest freeze to the shortest.
pub(super) fn freezes(page: &mut Markup, pairs: &[&PairTold]) {
    let rows: Vec<(String, u64, String)> = pairs
        .iter()
        .filter_map(|pair| Some((format!("{} → {}", pair.source, pair.target), pair.freeze?.millis)))
        .map(|(name, millis)| (name, millis, took(millis)))
        .collect();
    bars(page, &rows, "freeze", "How long each pair was frozen");
}

/// Bars for what is left of a bill after each wave.
pub(super) fn falling(page: &mut Markup, bill: &Falling, money: impl Fn(u64) -> String) {
    let mut rows = vec![("before".to_owned(), bill.all, money(bill.all))];
    rows.extend(bill.waves.iter().map(|wave| (format!("after {}", wave.wave), wave.left, money(wave.left))));
    bars(page, &rows, "bar", "The bill of a month, before and after each wave");
}

fn bars(page: &mut Markup, rows: &[(String, u64, String)], class: &'static str, what: &str) {
    let most = rows.iter().map(|(_, value, _)| *value).max().unwrap_or(1).max(1) as f64;
    // The number stands behind its bar.
    let room = RIGHT - LEFT - 150.0;
    open(page, rows.len() as f64 * ROW + 4.0, what);
    for ((name, value, said), n) in rows.iter().zip(0..) {
        let y = f64::from(n) * ROW + 3.0;
        let width = (room * *value as f64 / most).max(1.0);
        label(page, y + 14.0, name);
        bar(page, class, (LEFT, y, width, 18.0), said);
        page.element("text", &[("x", &Px(LEFT + width + 8.0)), ("y", &Px(y + 14.0))], said);
    }
    close(page);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_spread_over_the_time_that_they_took_and_none_is_lost() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let carried = |began, ended, bytes| Carried {
            step: "web/seed".into(),
            phase: "seed",
            back: false,
            began: at(began),
            ended: at(ended),
            files: 1,
            bytes,
            says: String::new(),
        };
        let axis = Axis { began: at(0), millis: 120_000.0 };
        let slices = rates(&[carried(0, 60, 6000), carried(30, 60, 3000), carried(90, 90, 50)], &axis);
        assert_eq!(slices.len(), SLICES);
        assert!((slices[10] - 100.0).abs() < 1e-6 && (slices[40] - 200.0).abs() < 1e-6, "{slices:?}");
        assert!((slices.iter().sum::<f64>() - 9050.0).abs() < 1e-6, "a second each: {slices:?}");
    }

    #[test]
    fn names_lose_their_middle() {
        assert_eq!(shorten("dal-1 → fra-1", 26), "dal-1 → fra-1");
        assert_eq!(shorten("abcdefghij", 7), "abc…hij");
    }
}
