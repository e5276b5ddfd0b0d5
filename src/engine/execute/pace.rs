//! How fast a copy or a comparison may go, while it goes: the plan's limits, an operator's, its share of the limit for all, and the source's load.
//!
//! Must never hold a copy back by the load of a source that is frozen: there it is the copy that is waited for.

use std::future::pending;
use std::time::Duration;

use tokio::sync::watch;

use super::Context;
use crate::host::Command;
use crate::model::{Host, Throttle};
use crate::step::{Step, TreeStep};
use crate::text;

/// How long the source may take to tell its load.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The pace of one pass.
pub struct Pace<'a> {
    context: &'a Context,
    step: &'a Step,
    source: &'a Host,
    /// The state's own limit.
    own: Option<u64>,
    throttle: Option<&'a Throttle>,
    /// Whether it takes a share of the limit for all.
    shares: bool,
    /// Whether the source's load lets it go on.
    calm: watch::Sender<bool>,
}

impl<'a> Pace<'a> {
    /// From here until it is dropped, the copy takes its share.
    pub fn of_tree(context: &'a Context, step: &'a Step, tree: &'a TreeStep, live: bool, source: &'a Host) -> Self {
        Self::new(context, step, source, tree.bandwidth, throttle(tree, live), true)
    }

    /// The same for a comparison, which sends next to nothing but reads as much as a copy.
    pub fn of_comparison(
        context: &'a Context,
        step: &'a Step,
        tree: &'a TreeStep,
        live: bool,
        source: &'a Host,
    ) -> Self {
        Self::new(context, step, source, None, throttle(tree, live), false)
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
        throttle: Option<&'a Throttle>,
        shares: bool,
    ) -> Self {
        context.copies.send_modify(|n| *n += u64::from(shares));
        Self { context, step, source, own, throttle, shares, calm: watch::channel(throttle.is_none()).0 }
    }

    /// Bytes per second; 0 to stand still.
    pub fn now(&self) -> Option<u64> {
        if !*self.calm.borrow() {
            return Some(0);
        }
        let tuning = *self.context.tuning.borrow();
        let set = |by_operator: Option<u64>, by_plan| by_operator.map_or(by_plan, |rate| Some(rate).filter(|r| *r > 0));
        let own = set(tuning.bandwidth, self.own);
        let all = set(tuning.total_bandwidth, self.context.total_bandwidth);
        let share = all.map(|all| (all / (*self.context.copies.borrow()).max(1)).max(1));
        own.into_iter().chain(share).min()
    }

    /// Does `pass`, which may be a comparison, and tells `limit` of every change of the pace meanwhile.
    pub async fn keep<T>(&self, pass: impl Future<Output = T>, limit: impl Fn(Option<u64>)) -> T {
        let mut now = self.now();
        let (mut tuning, mut copies) = (self.context.tuning.subscribe(), self.context.copies.subscribe());
        let mut calm = self.calm.subscribe();
        let follow = async {
            loop {
                tokio::select! {
                    Ok(()) = tuning.changed() => {}
                    Ok(()) = copies.changed() => {}
                    Ok(()) = calm.changed() => {}
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
        self.context.copies.send_modify(|n| *n = n.saturating_sub(u64::from(self.shares)));
    }
}

/// What holds work on this tree back: nothing where the source is frozen.
fn throttle(tree: &TreeStep, live: bool) -> Option<&Throttle> {
    tree.throttle.as_ref().filter(|_| live)
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
