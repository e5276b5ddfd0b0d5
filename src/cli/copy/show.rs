//! What people and programs see of an ad-hoc copy: a bar or lines on standard error, what came of it on standard output.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::cli::output;
use crate::copy::{CopyProgress, PassReport, Preview, ScanMode, VerifyReport};
use crate::render::Format;
use crate::text;

/// Lines of progress come at most this often where there is no terminal; JSON comes as often as there is news.
const EVERY: Duration = Duration::from_secs(10);

/// Shows one copy.
pub struct Show {
    format: Format,
    bar: ProgressBar,
    clock: Mutex<Clock>,
    /// What was told last of how changes are found.
    looked: Mutex<Option<ScanMode>>,
}

struct Clock {
    /// When the first content of this pass was on its way.
    began: Option<Instant>,
    told: Instant,
}

impl Show {
    /// Where standard error is a terminal there is a bar.
    pub fn new(format: Format) -> Self {
        let bar = match format.is_for_people() {
            true => ProgressBar::new_spinner(),
            false => ProgressBar::hidden(),
        };
        Self { format, bar, clock: Mutex::new(Clock { began: None, told: Instant::now() }), looked: Mutex::default() }
    }

    /// A pass or a comparison begins.
    pub fn begin(&self, what: &'static str) {
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        *clock = Clock { began: None, told: Instant::now() };
        self.bar.reset();
        self.bar.unset_length();
        self.bar.set_style(style("  {spinner} {prefix}  {wide_msg}  {elapsed}"));
        self.bar.set_prefix(what);
        self.bar.enable_steady_tick(Duration::from_millis(120));
    }

    /// How far it is.
    pub fn progress(&self, now: CopyProgress) {
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        let began = (now.bytes_total > 0).then(|| *clock.began.get_or_insert_with(Instant::now));
        let (rate, left) = pace(now, began.map_or(Duration::ZERO, |began| began.elapsed()));
        if !self.format.is_for_people() {
            let eta = left.map(|left| left.as_secs());
            return self.event("progress", json!({ "progress": now, "bytes_per_second": rate, "eta_seconds": eta }));
        }
        self.draw(now);
        if self.bar.is_hidden() && clock.told.elapsed() >= EVERY {
            clock.told = Instant::now();
            eprintln!("{}", line(now, rate, left));
        }
    }

    fn draw(&self, now: CopyProgress) {
        if now.bytes_total == 0 {
            self.bar.set_message(format!("{} looked at", text::entries(now.files_scanned)));
            return;
        }
        if self.bar.length().is_none() {
            let template = "  {spinner} {prefix}  {bar:24} {bytes} of {total_bytes}  {bytes_per_sec}  ETA {eta}  {msg}";
            self.bar.set_style(style(template));
        }
        self.bar.set_length(now.bytes_total);
        self.bar.set_position(now.bytes_done);
        self.bar.set_message(format!("{}/{} files", now.files_done, now.files_total));
    }

    /// Something worth a line, which is no result.
    pub fn note(&self, what: &str) {
        match self.format.is_for_people() {
            true => self.bar.suspend(|| eprintln!("{what}")),
            false => self.event("note", json!({ "what": what })),
        }
    }

    /// Says how changes are found, once and when that changes. The first pass looks at everything anyway.
    fn guarantee(&self, now: &ScanMode) {
        let mut told = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if told.as_ref() != Some(now) {
            let what = match now {
                ScanMode::Watched => "a pass looks only at what changed",
                ScanMode::Swept { .. } => "a pass looks at every entry",
            };
            self.note(&format!("changes are {now}: {what}"));
            *told = Some(now.clone());
        }
    }

    /// A pass has ended. Of those that only look for changes, what they found is told.
    pub fn passed(&self, nth: u32, watching: bool, report: &PassReport) {
        self.bar.finish_and_clear();
        if watching && nth > 1 {
            self.guarantee(&report.looked);
        }
        if !self.format.is_for_people() {
            self.event("pass", json!({ "nth": nth, "report": report }));
        } else if watching && (nth == 1 || report.files_sent + report.deleted > 0) {
            print(&format!("pass {nth}: {}\n", summary(report)));
        }
    }

    /// All is done.
    pub fn done(&self, report: &PassReport, verified: Option<&VerifyReport>) {
        self.bar.finish_and_clear();
        if !self.format.is_for_people() {
            return self.event("done", json!({ "report": report, "verified": verified }));
        }
        print(&format!("{}\n", summary(report)));
        if let Some(verified) = verified {
            let (files, bytes) = (text::count(verified.files, "file"), text::bytes(verified.bytes));
            let (what, lost) = match verified.disowned {
                0 => ("attributes", String::new()),
                _ => ("attributes but for owners", verified.lost_owners()),
            };
            print(&format!("verified {files} ({bytes}): the same on both sides by BLAKE3 and {what}{lost}\n"));
        }
    }

    /// What would be done.
    pub fn preview(&self, preview: &Preview) {
        self.bar.finish_and_clear();
        if !self.format.is_for_people() {
            return self.event("dry_run", json!({ "preview": preview }));
        }
        let all = preview.files_sent + preview.made + preview.deleted;
        let mut out: String = preview.changes.iter().map(|change| format!("{change}\n")).collect();
        if let more @ 1.. = all.saturating_sub(preview.changes.len() as u64) {
            out.push_str(&format!("… and {} more\n", text::grouped(more)));
        }
        out.push_str(&format!(
            "would send {} ({}) of {} ({}), make or change {}, remove {}; nothing was changed\n",
            text::count(preview.files_sent, "file"),
            text::bytes(preview.bytes_sent),
            text::entries(preview.entries),
            text::bytes(preview.bytes),
            text::grouped(preview.made),
            text::grouped(preview.deleted)
        ));
        print(&out);
    }

    fn event(&self, event: &str, mut value: Value) {
        if let Some(map) = value.as_object_mut() {
            map.insert("event".to_owned(), event.into());
        }
        print(&format!("{value}\n"));
    }
}

/// Bytes per second so far, and how long the rest takes at that rate.
fn pace(now: CopyProgress, elapsed: Duration) -> (u64, Option<Duration>) {
    let rate = now.bytes_done as f64 / elapsed.as_secs_f64().max(0.001);
    let left = now.bytes_total.saturating_sub(now.bytes_done) as f64;
    let eta = (rate >= 1.0).then(|| Duration::try_from_secs_f64(left / rate).ok()).flatten();
    (rate as u64, eta)
}

fn line(now: CopyProgress, rate: u64, left: Option<Duration>) -> String {
    if now.bytes_total == 0 {
        return format!("{} looked at", text::entries(now.files_scanned));
    }
    let eta = left.map_or_else(|| "unknown".to_owned(), text::duration);
    let (done, total) = (text::bytes(now.bytes_done), text::bytes(now.bytes_total));
    format!("{done} of {total}, {} of {} files, {}/s, ETA {eta}", now.files_done, now.files_total, text::bytes(rate))
}

fn summary(report: &PassReport) -> String {
    let took = Duration::from_millis(report.millis);
    let rate = report.bytes_sent as f64 / took.as_secs_f64().max(0.001);
    let nameless = match report.nameless {
        0 => String::new(),
        n => format!("; {} users and groups by their number", text::grouped(n)),
    };
    let unsettled = match report.unsettled {
        0 => String::new(),
        n => format!("; {} changed while being read", text::grouped(n)),
    };
    let left_out = match report.left_out.as_slice() {
        [] => String::new(),
        mounted => format!("; left out what is mounted on {}", mounted.join(", ")),
    };
    format!(
        "sent {} ({}) of {} ({}), removed {}, in {} ({}/s); {}{nameless}{unsettled}{left_out}",
        text::count(report.files_sent, "file"),
        text::bytes(report.bytes_sent),
        text::entries(report.entries),
        text::bytes(report.bytes),
        text::grouped(report.deleted),
        text::duration(took),
        text::bytes(rate as u64),
        report.looked
    )
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn print(text: &str) {
    // A reader that has gone away must not stop a copy.
    let _ = output::print(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::DataRoute;

    #[test]
    fn rate_and_time_left_follow_from_what_has_arrived() {
        let now = CopyProgress { bytes_done: 25 << 20, bytes_total: 100 << 20, ..CopyProgress::default() };
        assert_eq!(pace(now, Duration::from_secs(5)), (5 << 20, Some(Duration::from_secs(15))));
        let nothing = CopyProgress { bytes_done: 0, ..now };
        assert_eq!(pace(nothing, Duration::from_secs(5)), (0, None));
        assert_eq!(
            line(now, 5 << 20, Some(Duration::from_secs(15))),
            "25.0 MiB of 100.0 MiB, 0 of 0 files, 5.0 MiB/s, ETA 15 s"
        );
    }

    #[test]
    fn a_summary_says_what_was_sent_of_what() {
        let report = PassReport {
            entries: 1204,
            bytes: 3 << 30,
            files_sent: 12,
            bytes_sent: 4 << 20,
            deleted: 3,
            unsettled: 1,
            nameless: 0,
            left_out: vec!["jail/proc".to_owned()],
            looked: ScanMode::Watched,
            millis: 2000,
            way: DataRoute::Direct,
        };
        assert_eq!(
            summary(&report),
            "sent 12 files (4.0 MiB) of 1,204 entries (3.0 GiB), removed 3, in 2 s (2.0 MiB/s); watched; 1 changed while being read; left out what is mounted on jail/proc"
        );
    }
}
