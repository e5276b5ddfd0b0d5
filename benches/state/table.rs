//! What was measured, and its lines of the table.

use std::collections::BTreeMap;
use std::time::Duration;

pub const HEAD: &str = "\
| state | MiB | way | ours: closed ms | ours: longest wait ms | by hand: closed ms | by hand: longest wait ms | errors, lost | load | must be |
|---|---|---|---|---|---|---|---|---|---|";

/// Who switches, and which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Switch {
    There,
    Back,
    ThereByHand,
    BackByHand,
}

/// One switch: how long nobody could write, as whoever switched tells, and how long a client has waited at most.
#[derive(Debug, Clone, Copy, Default)]
pub struct Took {
    pub closed: Option<Duration>,
    pub waited: Duration,
    /// What the machine had to do meanwhile: processes that ran or wanted to, the bench's own among them.
    pub load: f64,
}

/// All switches of one kind of state.
pub struct Table {
    pub state: &'static str,
    /// Milliseconds that a client may wait.
    pub must_be: u128,
    pub took: BTreeMap<Switch, Vec<Took>>,
    /// What clients have seen of it, and acknowledged writes that are nowhere.
    pub harm: String,
}

impl Table {
    pub fn print(&self, mib: usize) {
        for (way, ours, hand) in
            [("there", Switch::There, Switch::ThereByHand), ("back", Switch::Back, Switch::BackByHand)]
        {
            let took = |switch| self.took.get(&switch).map(Vec::as_slice).unwrap_or_default();
            let closed = |switch| {
                let known: Vec<Duration> = took(switch).iter().filter_map(|took| took.closed).collect();
                median(known).map_or("–".to_owned(), |ms| ms.to_string())
            };
            let waited = |switch| median(took(switch).iter().map(|took| took.waited).collect()).unwrap_or_default();
            let by_hand = match self.took.contains_key(&hand) {
                true => format!("{} | {}", closed(hand), waited(hand)),
                false => "– | –".to_owned(),
            };
            let load = took(ours).iter().map(|took| took.load).fold(0.0, f64::max);
            println!(
                "| {} | {mib} | {way} | {} | {} | {by_hand} | {} | {load:.0} | {} |",
                self.state,
                closed(ours),
                waited(ours),
                self.harm,
                self.must_be
            );
        }
        for (switch, took) in &self.took {
            let all: Vec<String> = took.iter().map(|took| took.waited.as_millis().to_string()).collect();
            let closed: Vec<String> =
                took.iter().filter_map(|took| Some(took.closed?.as_millis().to_string())).collect();
            let load: Vec<String> = took.iter().map(|took| format!("{:.1}", took.load)).collect();
            let (waited, closed, load) = (all.join(", "), closed.join(", "), load.join(", "));
            eprintln!("{} {switch:?}: waited {waited}; closed {closed}; load {load}", self.state);
        }
    }
}

/// What the machine has to do now.
pub fn load() -> f64 {
    let said = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    said.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(f64::NAN)
}

fn median(mut all: Vec<Duration>) -> Option<u128> {
    all.sort_unstable();
    all.get(all.len() / 2).map(Duration::as_millis)
}
