//! How fast a copy or a comparison may go, while it goes: the plan's limits, an operator's, its share of the limit for all, the source's load, and
//! what Prometheus says.
//!
//! Must never hold a copy back by the load of a source that is frozen: there it is the copy that is waited for.

use std::future::pending;
use std::time::Duration;

use tokio::sync::watch;

use super::{Context, paced, signals};
use crate::host::Command;
use crate::model::{Host, Paced, Throttle};
use crate::step::{Places, Step, TreeStep};
use crate::text;

/// How long the source may take to tell its load.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Copies under way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copies {
    all: u64,
    /// Those whose data falls under a limit of bandwidth, by limit.
    under: Vec<u64>,
}

impl Copies {
    /// None yet.
    pub fn none(places: &Places) -> Self {
        Self { all: 0, under: vec![0; places.len()] }
    }

    fn begin(&mut self, crossed: &[usize]) {
        self.all += 1;
        for at in crossed {
            if let Some(under) = self.under.get_mut(*at) {
                *under += 1;
            }
        }
    }

    fn end(&mut self, crossed: &[usize]) {
        self.all = self.all.saturating_sub(1);
        for at in crossed {
            if let Some(under) = self.under.get_mut(*at) {
                *under = under.saturating_sub(1);
            }
        }
    }
}

/// What each of so many copies gets of a rate.
fn share(rate: u64, copies: u64) -> u64 {
    (rate / copies.max(1)).max(1)
}

/// The pace of one pass.
pub struct Pace<'a> {
    context: &'a Context,
    step: &'a Step,
    source: &'a Host,
    /// Its own limit.
    own: Option<u64>,
    throttle: Option<&'a Throttle>,
    /// Whether it takes a share of the limit for all.
    shares: bool,
    /// Limits of places that its data falls under.
    crossed: Vec<usize>,
    /// Whether the source's load lets it go on.
    calm: watch::Sender<bool>,
    /// What governs its limit.
    governed: Option<&'a TreeStep>,
    /// What that made of it last.
    paced: watch::Sender<Option<Paced>>,
}

impl<'a> Pace<'a> {
    /// From here until it is dropped, the copy takes its share.
    pub fn of_tree(context: &'a Context, step: &'a Step, tree: &'a TreeStep, live: bool, source: &'a Host) -> Self {
        Self::new(context, step, source, tree.bandwidth, Some(tree).filter(|_| live), true)
    }

    /// The same for a comparison, which sends next to nothing but reads as much as a copy.
    pub fn of_comparison(
        context: &'a Context,
        step: &'a Step,
        tree: &'a TreeStep,
        live: bool,
        source: &'a Host,
    ) -> Self {
        Self::new(context, step, source, None, Some(tree).filter(|_| live), false)
    }

    /// The same for a stream, which is poured in the freeze.
    pub fn of_stream(context: &'a Context, step: &'a Step, own: Option<u64>, source: &'a Host) -> Self {
        Self::new(context, step, source, own, None, true)
    }

    fn new(
        context: &'a Context,
        step: &'a Step,
        source: &'a Host,
        own: Option<u64>,
        held_back: Option<&'a TreeStep>,
        shares: bool,
    ) -> Self {
        let throttle = held_back.and_then(|tree| tree.throttle.as_ref());
        let governed = held_back.filter(|tree| !tree.asks.is_empty());
        let crossed = if shares { context.places.crossed_by(step) } else { Vec::new() };
        if shares {
            context.copies.send_modify(|copies| copies.begin(&crossed));
        }
        let calm = watch::channel(throttle.is_none()).0;
        let paced = watch::channel(None).0;
        let pace = Self { context, step, source, own, throttle, shares, crossed, calm, governed, paced };
        let known = governed.zip(pace.most()).map(|(tree, most)| context.governed.now(&tree.job, most));
        pace.paced.send_replace(known);
        pace
    }

    /// Bytes per second; 0 to stand still.
    pub fn now(&self) -> Option<u64> {
        if !*self.calm.borrow() {
            return Some(0);
        }
        let tuning = *self.context.tuning.borrow();
        let set = |by_operator: Option<u64>, by_plan| by_operator.map_or(by_plan, |rate| Some(rate).filter(|r| *r > 0));
        let own = match (self.most(), &*self.paced.borrow()) {
            (Some(_), Some(paced)) if !self.may_go(paced) => return Some(0),
            (Some(most), Some(paced)) if self.shares => Some(paced.limit.min(most)),
            _ => set(tuning.bandwidth, self.own),
        };
        let all = set(tuning.total_bandwidth, self.context.total_bandwidth);
        let copies = self.context.copies.borrow();
        let of_place = |at: &usize| {
            let rate = self.context.places.get(*at)?.bandwidth?;
            Some(share(rate, copies.under.get(*at).copied().unwrap_or_default()))
        };
        let of_places = self.crossed.iter().filter_map(of_place);
        own.into_iter().chain(all.map(|all| share(all, copies.all))).chain(of_places).min()
    }

    /// The most that what is governed may get; `None` where nothing is, or an operator has lifted the limit, and with it what governs it.
    fn most(&self) -> Option<u64> {
        let planned = self.governed?.bandwidth;
        self.context.tuning.borrow().bandwidth.map_or(planned, |rate| Some(rate).filter(|rate| *rate > 0))
    }

    /// A comparison sends next to nothing that could be limited: it goes, or stands still.
    fn may_go(&self, paced: &Paced) -> bool {
        paced.limit > 0 && (self.shares || paced.held_by.is_none())
    }

    /// Does `pass`, which may be a comparison, and tells `limit` of every change of the pace meanwhile.
    pub async fn keep<T>(&self, pass: impl Future<Output = T>, limit: impl Fn(Option<u64>)) -> T {
        let mut now = self.now();
        let (mut tuning, mut copies) = (self.context.tuning.subscribe(), self.context.copies.subscribe());
        let (mut calm, mut paced) = (self.calm.subscribe(), self.paced.subscribe());
        let follow = async {
            loop {
                tokio::select! {
                    Ok(()) = tuning.changed() => {}
                    Ok(()) = copies.changed() => {}
                    Ok(()) = calm.changed() => {}
                    Ok(()) = paced.changed() => {}
                    else => pending().await,
                }
                if self.now() != now {
                    now = self.now();
                    limit(now);
                }
            }
        };
        tokio::select! {
            biased;
            done = pass => done,
            never = self.watch_load() => never,
            never = self.watch_queries() => never,
            never = follow => never,
        }
    }

    async fn watch_load<T>(&self) -> T {
        let Some(throttle) = self.throttle else { return pending().await };
        loop {
            let trouble = self.trouble(throttle).await;
            if let Some(what) = &trouble {
                self.context.waiting(self.step, format!("{what}; the copy stands still"));
            }
            self.calm.send_if_modified(|calm| std::mem::replace(calm, trouble.is_none()) != trouble.is_none());
            self.context.world.clock.sleep(throttle.every).await;
        }
    }

    async fn watch_queries<T>(&self) -> T {
        let Some(tree) = self.governed else { return pending().await };
        let mut tuning = self.context.tuning.subscribe();
        loop {
            if let Some(most) = self.most() {
                let signs = signals::ask_queries(self.context, &tree.asks).await;
                let paced = paced::decide(self.context, self.step, &tree.job, &signs, most).await;
                self.paced.send_replace(Some(paced));
            }
            tokio::select! {
                () = self.context.world.clock.sleep(signals::QUERY_MOVES) => {}
                // A limit that is set again is governed at once.
                Ok(()) = tuning.changed() => {}
            }
        }
    }

    /// What the copy has to wait for, if it has to. What is not known may be anything.
    async fn trouble(&self, throttle: &Throttle) -> Option<String> {
        let (name, above) = (&self.source.name, throttle.above);
        let unknown = |why: String| Some(format!("a load of {name} that is known: {why}"));
        let script = throttle.command.0.clone();
        let command = Command { script, timeout: Some(TIMEOUT), ..Command::default() };
        let output = match self.context.world.remote.query(self.source, &command).await {
            Ok(output) => output,
            Err(e) => return unknown(e.to_string()),
        };
        match load(output.status, &output.stdout) {
            Some(load) if load <= above as f64 => None,
            Some(load) => Some(format!("the load of {name} to fall to {above}: it is {load}")),
            None => {
                let said = [output.stdout, output.stderr].concat();
                let said = text::escape(said.trim_ascii(), 200);
                unknown(format!("`throttle` ended with status {}, and said `{said}`", output.status))
            }
        }
    }
}

impl Drop for Pace<'_> {
    fn drop(&mut self) {
        if self.shares {
            self.context.copies.send_modify(|copies| copies.end(&self.crossed));
        }
    }
}

/// A number, if the command printed one and nothing else.
fn load(status: i32, stdout: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(stdout).ok()?.trim();
    text.parse().ok().filter(|load: &f64| status == 0 && load.is_finite())
}

#[cfg(test)]
mod tests {
    use super::load;

    #[test]
    fn only_a_number_is_a_load() {
        assert_eq!(load(0, b"0.42\n"), Some(0.42));
        assert_eq!(load(0, b" 17 "), Some(17.0));
        for (status, said) in [(1, &b"3"[..]), (0, b""), (0, b"NaN"), (0, b"inf"), (0, b"3 4"), (0, b"\xff")] {
            assert_eq!(load(status, said), None, "{status} {said:?}");
        }
    }
}
