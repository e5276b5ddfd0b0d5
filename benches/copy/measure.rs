//! Time and memory of what runs, and the lines of the table.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub const HEAD: &str = "\
| work | ours s | ours MiB (source, target) | peer | peer s | peer MiB | ratio | must be |
|---|---|---|---|---|---|---|---|";

/// One measurement.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    pub seconds: f64,
    /// Peak resident memory of the sending and of the receiving program.
    pub sender: f64,
    pub receiver: f64,
}

/// Runs something and watches the processes that it starts.
pub fn measure(run: impl FnOnce()) -> Cost {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut peaks: BTreeMap<&'static str, f64> = BTreeMap::new();
            while !done.load(Ordering::Relaxed) {
                peaks_now(&mut peaks);
                std::thread::sleep(Duration::from_millis(100));
            }
            peaks
        });
        let start = Instant::now();
        run();
        let seconds = start.elapsed().as_secs_f64();
        done.store(true, Ordering::Relaxed);
        let peaks = watcher.join().unwrap();
        let peak = |end| peaks.get(end).copied().unwrap_or(0.0);
        Cost { seconds, sender: peak("send"), receiver: peak("receive") }
    })
}

/// Peaks so far of all agents and peers on this machine.
fn peaks_now(peaks: &mut BTreeMap<&'static str, f64>) {
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|b| *b == 0).collect();
        let program = words.first().and_then(|w| w.rsplit(|b| *b == b'/').next()).unwrap_or_default();
        let end = match (program, words.get(1), words.get(2)) {
            (_, Some(&b"agent"), Some(&b"send")) => "send",
            (_, Some(&b"agent"), Some(&b"receive")) => "receive",
            (b"rsync", Some(&b"--server"), _) => "receive",
            (b"rsync" | b"tar", _, _) => "send",
            _ => continue,
        };
        let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
        let kib: f64 = peak.and_then(|p| p.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0.0);
        let known = peaks.entry(end).or_default();
        *known = known.max(kib / 1024.0);
    }
}

/// How often each is measured.
pub fn rounds() -> usize {
    std::env::var("COPY_BENCH_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(3)
}

pub fn median(mut costs: Vec<Cost>) -> Cost {
    costs.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    let peak = |of: fn(&Cost) -> f64| costs.iter().map(of).fold(0.0, f64::max);
    let (sender, receiver) = (peak(|c| c.sender), peak(|c| c.receiver));
    Cost { sender, receiver, ..costs[costs.len() / 2] }
}

pub fn line(work: &str, ours: &[Cost], peer: &str, theirs: &[Cost], must: &str) {
    if ours.is_empty() || theirs.is_empty() {
        return;
    }
    let (ours, theirs) = (median(ours.to_vec()), median(theirs.to_vec()));
    println!(
        "| {work} | {:.2} | {:.0}, {:.0} | {peer} | {:.2} | {:.0}, {:.0} | {:.2} × | {must} |",
        ours.seconds,
        ours.sender,
        ours.receiver,
        theirs.seconds,
        theirs.sender,
        theirs.receiver,
        theirs.seconds / ours.seconds
    );
}
