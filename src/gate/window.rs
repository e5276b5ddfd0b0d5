//! A window of the week.

use async_trait::async_trait;
use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};
use serde::{Deserialize, Serialize};

use super::{Answer, Clients, ConditionKind, Holds, Surroundings};
use crate::fields::kinds::Settings;
use crate::fields::template::Use;
use crate::text;
use crate::yaml::map::{Map, one_of};
use crate::yaml::reader::Value;

const DAYS: [(&str, i8); 7] = [("mon", 1), ("tue", 2), ("wed", 3), ("thu", 4), ("fri", 5), ("sat", 6), ("sun", 7)];

/// It is on these days between these minutes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Days on which it opens, Monday is 1.
    pub days: Vec<i8>,
    /// Minute of the day at which it opens.
    pub from: u16,
    /// Minute of the day at which it closes; not after `from`: on the next day.
    pub to: u16,
    /// IANA name of the time zone.
    pub zone: String,
}

impl Settings for Window {
    const KEY: &'static str = "window";

    fn read(value: Value<'_>, _: &Map<'_>, _: &mut Vec<Use>) -> Option<Self> {
        value.map("window", "window: {days: [tue, wed], from: \"22:00\", to: \"04:00\", zone: Europe/Berlin}", |m| {
            let day = |d: Value<'_>| one_of(d, "a day", "days", &DAYS).map(|d| d.value);
            let days = match m.get("days") {
                Some(given) => given.one_or_many().into_iter().filter_map(day).collect(),
                None => DAYS.iter().map(|(_, n)| *n).collect(),
            };
            let from = m.need("from", "\"22:00\"").and_then(minute);
            let to = m.need("to", "\"04:00\"").and_then(minute);
            let zone = m.need("zone", "Europe/Berlin").and_then(zone);
            Some(Self { days, from: from?, to: to?, zone: zone? })
        })?
    }
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
    if TimeZone::get(&name).is_err() {
        let shown = text::escape(name.as_bytes(), 60);
        value.error(format!("`{shown}` is not a time zone"), "IANA names, as in `Europe/Berlin` or `UTC`");
        return None;
    }
    Some(name)
}

#[async_trait]
impl ConditionKind for Window {
    fn describe(&self) -> String {
        let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        let days: Vec<&str> = DAYS.iter().filter(|(_, n)| self.days.contains(n)).map(|(name, _)| *name).collect();
        let days = if days.len() == DAYS.len() { "any day".to_owned() } else { text::list(&days) };
        format!("it is {days} between {} and {} in {}", clock(self.from), clock(self.to), self.zone)
    }

    async fn ask(&self, around: &dyn Surroundings, _: &Clients) -> Answer {
        let now = around.now();
        match self.is_open(now).and_then(|open| Ok((open, self.next_opening(now)?))) {
            Ok((true, _)) => Answer::new(Holds::Yes, "its window", format!("its window was open at {now:.0}")),
            Ok((false, next)) => Answer::new(Holds::NotYet, format!("its window, next at {next}"), ""),
            Err(why) => Answer::new(Holds::Unknown, "its window", why.to_string()),
        }
    }

    fn measures(&self) -> bool {
        false
    }
}

impl Window {
    /// Whether it is open: it opens on its days at `from` and closes at the next `to`.
    fn is_open(&self, now: Timestamp) -> Result<bool, jiff::Error> {
        let local = now.to_zoned(TimeZone::get(&self.zone)?);
        let minute = local.hour() as u16 * 60 + local.minute() as u16;
        let opens_on = |day: &Zoned| self.days.contains(&day.weekday().to_monday_one_offset());
        let overnight = self.to <= self.from;
        if opens_on(&local) && minute >= self.from && (overnight || minute < self.to) {
            return Ok(true);
        }
        Ok(overnight && minute < self.to && opens_on(&local.checked_sub(1.day())?))
    }

    fn next_opening(&self, now: Timestamp) -> Result<Timestamp, jiff::Error> {
        let local = now.to_zoned(TimeZone::get(&self.zone)?);
        let time = Time::new((self.from / 60) as i8, (self.from % 60) as i8, 0, 0)?;
        for ahead in 0..=7_i64 {
            let day = local.checked_add(ahead.days())?;
            let opening = day.with().time(time).build()?;
            if self.days.contains(&opening.weekday().to_monday_one_offset()) && opening.timestamp() > now {
                return Ok(opening.timestamp());
            }
        }
        Ok(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(days: &[i8], from: u16, to: u16) -> Window {
        Window { days: days.to_vec(), from, to, zone: "Europe/Berlin".into() }
    }

    fn open(window: &Window, at: &str) -> bool {
        window.is_open(at.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_window_within_a_day_is_open_from_its_first_minute_to_before_its_last() {
        // 2026-12-01 is a Tuesday; Berlin is an hour ahead of UTC.
        let w = window(&[2], 22 * 60, 23 * 60);
        assert!(!open(&w, "2026-12-01T20:59:59Z"));
        assert!(open(&w, "2026-12-01T21:00:00Z"));
        assert!(open(&w, "2026-12-01T21:59:59Z"));
        assert!(!open(&w, "2026-12-01T22:00:00Z"));
        assert!(!open(&w, "2026-12-02T21:30:00Z"));
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_it_opens_on() {
        let w = window(&[2], 22 * 60, 4 * 60);
        assert!(open(&w, "2026-12-01T22:30:00Z"));
        assert!(open(&w, "2026-12-02T02:59:00Z"));
        assert!(!open(&w, "2026-12-02T03:00:00Z"));
        assert!(!open(&w, "2026-12-01T02:00:00Z"));
    }

    #[test]
    fn the_next_opening_is_told_in_utc_and_follows_summer_time() {
        let w = window(&[7], 3 * 60, 5 * 60);
        // The last Sunday of March 2026: clocks go forward at two.
        let next = w.next_opening("2026-03-28T12:00:00Z".parse().unwrap()).unwrap();
        assert_eq!(next.to_string(), "2026-03-29T01:00:00Z");
    }
}
