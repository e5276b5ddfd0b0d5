//! Gates: approvals, dates, windows of the week.

use std::time::Duration;

use jiff::Timestamp;

use crate::model::{Gate, Window};
use crate::text;
use crate::text::units::YEAR;
use crate::yaml::reader::Value;

use super::hook::POINTS;
use super::service::ON_FAILURE;
use crate::yaml::map::one_of;

const DAYS: [(&str, i8); 7] = [("mon", 1), ("tue", 2), ("wed", 3), ("thu", 4), ("fri", 5), ("sat", 6), ("sun", 7)];
const EXAMPLE: &str = "gates: [{at: before_drain, approve: 1}]";

/// Reads one entry of `gates`.
pub fn read(value: Value<'_>) -> Option<Gate> {
    value.map("gate", EXAMPLE, |m| {
        let at = m.need("at", "before_drain").and_then(|v| one_of(v, "a point", "points", &POINTS));
        let approvals = m.get("approve").and_then(|v| v.integer(1..=9)).unwrap_or(0);
        let not_before = m.get("not_before").map(timestamp);
        let window = m.get("window").map(window);
        if approvals == 0 && not_before.is_none() && window.is_none() {
            value.error("the gate asks nothing", "give it `approve`, `not_before` or `window`");
        }
        let within = m.get("within").and_then(|v| v.duration(Duration::from_secs(1)..=YEAR));
        let on_failure = m.get("on_failure").and_then(|v| {
            if m.get("within").is_none() {
                v.error("a gate without `within` never fails", "say how long it may take: `within: 2h`");
            }
            one_of(v, "a choice", "choices", &ON_FAILURE).map(|l| l.value)
        });
        let (not_before, window) =
            (not_before.map_or(Some(None), |t| t.map(Some)), window.map_or(Some(None), |w| w.map(Some)));
        let approvals = u8::try_from(approvals).unwrap_or(9);
        Some(Gate { at: at?.value, approvals, not_before: not_before?, window: window?, within, on_failure })
    })?
}

fn timestamp(value: Value<'_>) -> Option<Timestamp> {
    let text = value.line("a time", "not_before: 2026-12-01T02:00:00Z")?;
    match text.value.parse() {
        Ok(time) => Some(time),
        Err(_) => {
            let shown = text::escape(text.value.as_bytes(), 60);
            value.error(
                format!("`{shown}` is not a time with an offset"),
                "for example `2026-12-01T02:00:00Z` or `2026-12-01T03:00:00+01:00`",
            );
            None
        }
    }
}

fn window(value: Value<'_>) -> Option<Window> {
    value.map("window", "window: {days: [tue, wed], from: \"22:00\", to: \"04:00\", zone: Europe/Berlin}", |m| {
        let days = m.get("days").map_or_else(
            || DAYS.iter().map(|(_, n)| *n).collect::<Vec<_>>(),
            |v| {
                v.one_or_many().into_iter().filter_map(|d| one_of(d, "a day", "days", &DAYS)).map(|d| d.value).collect()
            },
        );
        let from = m.need("from", "\"22:00\"").and_then(minute);
        let to = m.need("to", "\"04:00\"").and_then(minute);
        let zone = m.need("zone", "Europe/Berlin").and_then(zone);
        Some(Window { days, from: from?, to: to?, zone: zone? })
    })?
}

fn minute(value: Value<'_>) -> Option<u16> {
    let text = value.line("a time of day", "from: \"22:00\"")?.value;
    let (hour, minute) = text.split_once(':').unwrap_or((text.as_str(), ""));
    let two = |s: &str, max: u16| s.parse::<u16>().ok().filter(|n| s.len() == 2 && *n <= max);
    match (two(hour, 23), two(minute, 59)) {
        (Some(hour), Some(minute)) => Some(hour * 60 + minute),
        _ => {
            let shown = text::escape(text.as_bytes(), 60);
            value.error(format!("`{shown}` is not a time of day"), "for example \"22:00\", with the quotes");
            None
        }
    }
}

fn zone(value: Value<'_>) -> Option<String> {
    let name = value.line("a time zone", "zone: Europe/Berlin")?.value;
    if jiff::tz::TimeZone::get(&name).is_err() {
        let shown = text::escape(name.as_bytes(), 60);
        value.error(format!("`{shown}` is not a time zone"), "IANA names, as in `Europe/Berlin` or `UTC`");
        return None;
    }
    Some(name)
}
