//! Gates: what people, the calendar and the clock have to say.

use std::time::Duration;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

use super::{Context, Effect, done, failed};
use crate::event::Approval;
use crate::model::{Gate, Window};
use crate::step::Step;
use crate::text;

/// Longest time between two looks at the clock: suspended machines and changed clocks are noticed.
const LOOK: Duration = Duration::from_secs(1);

/// Waits until the gate is open.
pub async fn wait(context: &Context, step: &Step, gate: &Gate) -> Effect {
    let began = context.world.clock.now();
    loop {
        let approvals = context.approvals.borrow().get(&step.id).cloned().unwrap_or_default();
        match missing(gate, &approvals, context.world.clock.wall()) {
            Ok(None) => return done(opened(&approvals)),
            Ok(Some(missing))
                if gate.within.is_some_and(|w| context.world.clock.now().saturating_duration_since(began) >= w) =>
            {
                return late(gate, &missing);
            }
            Ok(Some(missing)) => context.waiting(step, missing + &how(context, step, gate, &approvals)),
            Err(e) => return failed(e.to_string(), None),
        }
        if context.pass(step, LOOK).await {
            return Effect::Interrupted;
        }
    }
}

/// With whose words it opens, where people have to say yes.
fn how(context: &Context, step: &Step, gate: &Gate, approvals: &[Approval]) -> String {
    match approvals.len() < usize::from(gate.approvals) {
        true => format!(": migrate approve {} {} --why TEXT", context.run, step.id),
        false => String::new(),
    }
}

fn late(gate: &Gate, missing: &str) -> Effect {
    let within = text::duration(gate.within.unwrap_or_default());
    let hint = "`migrate apply` asks again, for as long".to_owned();
    failed(format!("it did not open within {within}: it waits for {missing}"), Some(hint))
}

fn opened(approvals: &[Approval]) -> String {
    let said: Vec<String> = approvals.iter().map(|a| format!("{}@{}: {}", a.by.user, a.by.host, a.why)).collect();
    if said.is_empty() { "open".to_owned() } else { format!("approved by {}", text::list(&said)) }
}

/// What is still missing, for people; `None` when the gate is open.
fn missing(gate: &Gate, approvals: &[Approval], now: Timestamp) -> Result<Option<String>, jiff::Error> {
    let given = approvals.len();
    if given < usize::from(gate.approvals) {
        return Ok(Some(format!("approval ({given} of {})", gate.approvals)));
    }
    if let Some(time) = gate.not_before.filter(|t| now < *t) {
        return Ok(Some(format!("{time}")));
    }
    let Some(window) = &gate.window else { return Ok(None) };
    Ok(if is_open(window, now)? { None } else { Some(format!("its window, next at {}", next_opening(window, now)?)) })
}

/// Whether the window is open: it opens on its days at `from` and closes at the next `to`.
fn is_open(window: &Window, now: Timestamp) -> Result<bool, jiff::Error> {
    let local = now.to_zoned(TimeZone::get(&window.zone)?);
    let minute = local.hour() as u16 * 60 + local.minute() as u16;
    let opens_on = |day: &Zoned| window.days.contains(&day.weekday().to_monday_one_offset());
    let overnight = window.to <= window.from;
    if opens_on(&local) && minute >= window.from && (overnight || minute < window.to) {
        return Ok(true);
    }
    Ok(overnight && minute < window.to && opens_on(&local.checked_sub(1.day())?))
}

fn next_opening(window: &Window, now: Timestamp) -> Result<Timestamp, jiff::Error> {
    let local = now.to_zoned(TimeZone::get(&window.zone)?);
    let time = Time::new((window.from / 60) as i8, (window.from % 60) as i8, 0, 0)?;
    for ahead in 0..=7_i64 {
        let day = local.checked_add(ahead.days())?;
        let opening = day.with().time(time).build()?;
        if window.days.contains(&opening.weekday().to_monday_one_offset()) && opening.timestamp() > now {
            return Ok(opening.timestamp());
        }
    }
    Ok(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(days: &[i8], from: u16, to: u16) -> Window {
        Window { days: days.to_vec(), from, to, zone: "Europe/Berlin".into() }
    }

    fn open(window: &Window, at: &str) -> bool {
        is_open(window, at.parse().unwrap()).unwrap()
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
        let next = next_opening(&w, "2026-03-28T12:00:00Z".parse().unwrap()).unwrap();
        assert_eq!(next.to_string(), "2026-03-29T01:00:00Z");
    }

    #[test]
    fn two_people_are_two_people() {
        let gate = Gate {
            at: crate::model::HookPoint::Freeze,
            approvals: 2,
            not_before: None,
            window: None,
            within: None,
            on_failure: None,
        };
        let by = |user: &str| Approval {
            by: crate::event::Operator { user: user.into(), host: "h".into(), pid: 1 },
            why: "ready".into(),
        };
        let now = Timestamp::UNIX_EPOCH;
        assert!(missing(&gate, &[by("ada")], now).unwrap().unwrap().contains("1 of 2"));
        assert_eq!(missing(&gate, &[by("ada"), by("bob")], now).unwrap(), None);
    }
}
