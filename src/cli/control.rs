//! Putting a controller to work on a run, and showing what it does.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::ProgressDrawTarget;
use tokio::sync::{mpsc, oneshot};

use super::elsewhere::{self, Elsewhere};
use super::environment::Environment;
use super::notifications::Receivers;
use super::open_run::{self, OpenRun};
use super::output;
use super::{Exit, runs, signals};
use crate::control::{self, Feed, Served};
use crate::engine::orders::{Order, OrderRequest};
use crate::engine::{Ending, Engine, World};
use crate::event::{Event, Notice, Record, RunState, Watch, Watchers};
use crate::lock::Lease;
use crate::model::Notified;
use crate::notify::Notify;
use crate::render::{self, Format};
use crate::store;

/// Works on a run until it has ended, is held or was stopped. `command` is what goes on with it; `notify` says who is told of it.
pub async fn work(
    format: Format,
    environment: &Environment,
    world: World,
    run: OpenRun,
    mut state: RunState,
    (command, notify): (&str, &[Notify]),
) -> anyhow::Result<Exit> {
    let without = !state.graph.left_out.is_empty();
    let OpenRun { name, lease, mut log, notices, watching, .. } = run;
    let path = environment.store.socket(&name);
    let elsewhere = elsewhere::begun(environment.store.as_ref(), &name, &state)?;
    let (give, orders) = mpsc::channel(16);
    let feed = Feed::default();
    let store = Arc::clone(&environment.store);
    let served = Served { orders: give.clone(), feed: feed.clone(), store, run: name.clone() };
    let postman = control::answer_letters(&served);
    let socket = control::serve(&path, served).context("the run's control socket cannot be made")?;
    if runs::stop_switch(environment).exists() && state.paused.is_none() {
        // Before the first step: afterwards there is no telling what has begun.
        let paused = Event::Paused { by: environment.operator(), why: runs::switch_words(environment) };
        let record = log.append(paused)?;
        state.apply(record.clone())?;
        let _ = notices.send(Notice::Recorded(record));
    }
    let by_switch = state.paused.as_ref().is_some_and(|p| runs::is_of_switch(environment, &p.why));
    let switch = tokio::spawn(follow_switch(environment.clone(), by_switch, give.clone()));
    let mut receivers = Receivers::start(notify, Arc::clone(&world.secrets), environment, give);
    let mut watchers = Watched { format, environment, state: &state, feed }.watchers();
    receivers.watcher(&state).into_iter().for_each(|watch| watchers.add(watch));
    let shown = tokio::task::spawn_blocking(move || watch(watchers, watching));
    let operator = environment.operator();
    let worlds = Arc::new(Elsewhere::new(world, elsewhere));
    let engine = Engine::new(worlds, log, state, operator, notices, signals::listen(signals::RUN)?, orders);
    let ended = engine.run().await;
    socket.abort();
    drop(postman);
    switch.abort();
    // Nobody listens there any more; a file that stays is taken away by the next controller.
    let _ = std::fs::remove_file(&path);
    shown.await?;
    let left = receivers.end().await;
    if let (Ok(_), Err(e)) = (&ended, note(environment, &lease, &name, left)) {
        eprintln!("{name}: what became of messages about it is not in its journal: {e:#}");
    }
    if ended.is_err() {
        // Nobody has stopped it: whoever stands by is to go on with it.
        lease.leave();
    }
    // All is on disk: the next one may come.
    drop(lease);
    let ending = ended?;
    if format.is_for_people() {
        let state = store::state(environment.store.as_ref(), &name)?;
        output::print(&render::ending(&state, &ending, command, environment.style(false)))?;
    }
    Ok(match ending {
        Ending::Finished if without => Exit::Held,
        Ending::Finished => Exit::Ok,
        Ending::RolledBack => Exit::RolledBack,
        Ending::Held { .. } | Ending::Stopped => Exit::Held,
    })
}

/// Writes down what became of messages that were still under way when the run ended.
fn note(environment: &Environment, lease: &Arc<Lease>, run: &str, left: Vec<Notified>) -> anyhow::Result<()> {
    if left.is_empty() {
        return Ok(());
    }
    left.iter().filter(|notified| !notified.was_taken()).for_each(|notified| eprintln!("warning: {notified}"));
    let (mut open, mut state) = open_run::open(environment, Arc::clone(lease), run, &[])?;
    for notified in left {
        let event = Event::Notified(notified);
        state.apply(Record { seq: state.records, at: jiff::Timestamp::now(), event: event.clone() })?;
        open.log.append(event)?;
    }
    Ok(())
}

/// What a watcher may need to know of a run.
pub(super) struct Watched<'a> {
    format: Format,
    environment: &'a Environment,
    /// The run as it begins.
    pub(super) state: &'a RunState,
    feed: Feed,
}

impl Watched<'_> {
    /// Bars move: they need a terminal, and a person.
    fn has_bars(&self) -> bool {
        self.environment.terminal && self.format.is_for_people()
    }

    fn watchers(&self) -> Watchers {
        let mut watchers = Watchers::default();
        WATCHERS.iter().filter_map(|(_, make)| make(self)).for_each(|watch| watchers.add(watch));
        watchers
    }
}

/// How long the end of a run waits for a watcher that takes nothing in.
const PATIENCE: Duration = Duration::from_secs(10);

/// Passes notices on until the engine has ended.
fn watch(watchers: Watchers, mut notices: mpsc::UnboundedReceiver<Notice>) {
    while let Some(notice) = notices.blocking_recv() {
        watchers.tell(notice);
    }
    if watchers.close(PATIENCE) > 0 {
        eprintln!("a watcher of the run took nothing in any more and was left behind");
    }
}

/// The switch that holds every run on the machine is a file: while it is there, this run is paused.
async fn follow_switch(environment: Environment, mut paused: bool, give: mpsc::Sender<OrderRequest>) {
    loop {
        let thrown = runs::stop_switch(&environment).exists();
        if thrown != paused {
            let order = if thrown { Order::Pause { why: runs::switch_words(&environment) } } else { Order::Resume };
            let (answer, answered) = oneshot::channel();
            if give.send(OrderRequest { order, by: environment.operator(), answer }).await.is_err() {
                return;
            }
            // Refused when an operator has paused it already: then the pause is theirs.
            paused = thrown && matches!(answered.await, Ok(Ok(())));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Makes a watcher, if it is wanted this time.
type MakeWatcher = fn(&Watched<'_>) -> Option<Box<dyn Watch>>;

/// Everything that watches a run, a line each.
const WATCHERS: &[(&str, MakeWatcher)] = &[
    ("bars", |run| {
        let bars = || render::Bars::new(run.state, run.environment.style(false), ProgressDrawTarget::stdout());
        run.has_bars().then(|| Box::new(bars()) as Box<dyn Watch>)
    }),
    ("lines", |run| (!run.has_bars()).then(|| run.format.watch(std::io::stdout(), run.state))),
    ("followers", |run| Some(Box::new(run.feed.clone()))),
    #[cfg(test)]
    ("test", super::tests::watcher),
];
