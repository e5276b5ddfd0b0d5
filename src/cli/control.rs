//! Putting a controller to work on a run, and showing what it does.

use indicatif::ProgressDrawTarget;
use tokio::sync::mpsc;

use super::Exit;
use super::environment::Environment;
use super::output::{self, Format};
use super::signals;
use crate::engine::{Ending, Engine, World};
use crate::event::{Notice, RunState};
use crate::journal::{self, Journal};
use crate::render::{self, Watch};

/// Works on a run until it has ended, is held or was stopped. `command` is what goes on with it.
pub async fn work(
    format: Format,
    environment: &Environment,
    world: World,
    journal: Journal,
    state: RunState,
    command: &str,
) -> anyhow::Result<Exit> {
    let (notices, watching) = mpsc::unbounded_channel::<Notice>();
    let watcher: Box<dyn Watch> = match (format, environment.terminal) {
        (Format::Json, _) => Box::new(render::Json(std::io::stdout())),
        (Format::Text, true) => Box::new(render::Bars::new(&state, environment.color, ProgressDrawTarget::stdout())),
        (Format::Text, false) => Box::new(render::Lines::new(std::io::stdout(), state.started.graph.clone())),
    };
    let shown = tokio::task::spawn_blocking(move || watch(watcher, watching));
    let path = journal.path().to_owned();
    let engine = Engine::new(world, Box::new(journal), state, environment.operator(), notices, signals::listen()?);
    let ended = engine.run().await;
    shown.await?;
    let ending = ended?;
    if format == Format::Text {
        let state = journal::file::load(&path)?;
        output::print(&render::ending(&state, &ending, command))?;
    }
    Ok(match ending {
        Ending::Finished | Ending::RolledBack => Exit::Ok,
        Ending::Held { .. } | Ending::Stopped => Exit::Held,
    })
}

/// Shows notices until the engine has ended.
fn watch(mut watcher: Box<dyn Watch>, mut notices: mpsc::UnboundedReceiver<Notice>) {
    while let Some(notice) = notices.blocking_recv() {
        watcher.see(&notice);
    }
    watcher.close();
}
