//! `migrate controller`: stands by on a machine, and takes runs over whose controllers are gone.
//!
//! Each run that is taken over has a process of its own: this program again, told which lease was seen to end.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use tokio::task::JoinSet;

use super::environment::Environment;
use super::failure::advised;
use super::pinned::Texts;
use super::{Exit, connect, control, failure, open_run, output, runs, signals};
use crate::engine::Stop;
use crate::event::{Event, Notice, Status};
use crate::lock::{self, Claim, Ended, Grant, Lease, Witness};
use crate::render::{self, Format, Topic};
use crate::spec::Spec;
use crate::text;

/// Arguments of `migrate controller`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A run whose controller is gone is gone on with, as `migrate apply RUN` would: what was under way is settled first, nothing is done twice,
and questions that the plan leaves to people stay theirs. Runs that are held, stopped or paused by somebody stay so.
Secrets, keys and known hosts that the plan names must be at the same places here. It begins no run, and takes none over while the file
STOP is in the state directory.

Example: migrate controller --store etcd://10.0.0.1,10.0.0.2,10.0.0.3/migrate")]
pub struct Args {
    /// How to show what happens: text, each line with its run; or json (one event a line)
    #[arg(long, default_value = "text", value_parser = output::formats(Topic::Progress))]
    format: Format,

    /// Take over this one run
    #[arg(long, value_name = "RUN", hide = true, requires = "ended")]
    take: Option<String>,

    /// Because this lease has ended: FENCE@TIME
    #[arg(long, value_name = "LEASE", hide = true)]
    ended: Option<String>,
}

/// How often leases are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// A run that could not be taken over is tried again after that.
const AGAIN: Duration = Duration::from_secs(10);

pub async fn run(args: &Args, environment: &Environment) -> anyhow::Result<Exit> {
    match (&args.take, &args.ended) {
        (Some(run), Some(ended)) => take_over(run, parse(ended)?, args.format, environment).await,
        _ => stand_by(args.format, environment).await,
    }
}

fn parse(text: &str) -> anyhow::Result<Ended> {
    let parts = text.split_once('@').and_then(|(fence, at)| Some((fence.parse().ok()?, at.parse().ok()?)));
    let (fence, expires): (u64, Timestamp) = parts.ok_or_else(|| advised("no lease is named so", "FENCE@TIME is"))?;
    Ok(Ended { fence, expires })
}

/// Goes on with a run, as `apply` does, whose lease has ended.
async fn take_over(name: &str, ended: Ended, format: Format, environment: &Environment) -> anyhow::Result<Exit> {
    let run = runs::find(environment, name)?;
    let texts = Texts::of(environment, &run.state(environment)?.started, None)?;
    let spec = texts.spec(environment)?;
    let command = format!("migrate apply {name}");
    let claim = Claim { names: lock::of_plan(&spec.plan), why: &command, by_hand: false, ended: Some(ended) };
    let lease = open_run::claim(environment, claim)?;
    let went_on = go_on(name, (&spec, &command), Arc::clone(&lease), format, environment).await;
    if went_on.is_err() {
        // It has lost its controller again.
        lease.leave();
    }
    went_on
}

async fn go_on(
    name: &str,
    (spec, command): (&Spec, &str),
    lease: Arc<Lease>,
    format: Format,
    environment: &Environment,
) -> anyhow::Result<Exit> {
    let connections = connect::connect(spec, environment)?;
    let (mut open, mut state) = open_run::open(environment, lease, name, &spec.plan.audit.copy_to)?;
    if state.status != Status::Running {
        output::say(format, &format!("{name} has come to its end or is held\n"))?;
        return Ok(Exit::Ok);
    }
    output::say(format, &render::resuming(&state))?;
    let record = open.log.append(Event::Resumed { by: environment.operator() })?;
    state.apply(record.clone())?;
    // For those who read what this one says: from here on it is another controller's.
    let _ = open.notices.send(Notice::Recorded(record));
    let world = connections.into_world(spec.inventory.hosts.clone(), &open);
    control::work(format, environment, world, open, state, (command, &spec.plan.notify)).await
}

/// Waits for leases to end, until it is told to stop.
async fn stand_by(format: Format, environment: &Environment) -> anyhow::Result<Exit> {
    let mut stop = signals::listen(signals::STANDBY)?;
    let mut standby = Standby {
        format,
        environment,
        witness: Witness::default(),
        later: BTreeMap::new(),
        again: BTreeMap::new(),
        taken: JoinSet::new(),
        processes: BTreeMap::new(),
    };
    output::say(format, &format!("standing by for runs in {}\n", environment.store.place("*")))?;
    // A place that cannot be read at the beginning is told at once.
    environment.locks().show()?;
    let mut trouble = false;
    while *stop.borrow() == Stop::No {
        match standby.look() {
            Ok(()) => trouble = false,
            Err(e) if !trouble => {
                trouble = true;
                failure::print(&e);
            }
            Err(_) => {}
        }
        tokio::select! {
            Some(ended) = standby.taken.join_next() => standby.conclude(ended?)?,
            () = tokio::time::sleep(LOOK) => {}
            _ = stop.changed() => {}
        }
    }
    standby.end().await?;
    Ok(Exit::Ok)
}

/// One that stands by.
struct Standby<'a> {
    format: Format,
    environment: &'a Environment,
    witness: Witness,
    /// Leases that are being dealt with, or are not looked at before that moment.
    later: BTreeMap<u64, Option<Instant>>,
    /// Runs that could not be gone on with, and when that is tried again.
    again: BTreeMap<String, Instant>,
    taken: JoinSet<Taken>,
    /// The processes that have the runs, by lease.
    processes: BTreeMap<u64, Pid>,
}

/// A run that was taken over, and how that ended.
struct Taken {
    run: String,
    fence: u64,
    ended: std::io::Result<std::process::ExitStatus>,
}

impl Standby<'_> {
    /// Takes over what has ended since it looked last.
    fn look(&mut self) -> anyhow::Result<()> {
        let locks = self.environment.locks();
        let grants = locks.show()?;
        let ended = self.witness.look(&grants, locks.here());
        self.later.retain(|fence, _| grants.iter().any(|grant| grant.fence == *fence));
        if runs::stop_switch(self.environment).exists() {
            return Ok(());
        }
        let mut trouble = Ok(());
        for ended in ended {
            let Some(grant) = grants.iter().find(|grant| grant.fence == ended.fence) else { continue };
            // Without a run, nothing has begun. What is written by hand goes by itself.
            let Some(run) = grant.run.as_ref().filter(|_| !grant.by_hand) else { continue };
            let pauses = self.again.get(run).is_some_and(|at| *at > Instant::now());
            let due = match self.later.get(&ended.fence) {
                None => !pauses,
                Some(Some(at)) => *at <= Instant::now() && !pauses,
                Some(None) => false,
            };
            if !due {
                continue;
            }
            match self.runs(run) {
                Ok(true) => self.start(run, grant, ended)?,
                // It had come to its end, or was held, before its controller was gone.
                Ok(false) => drop(self.later.insert(ended.fence, None)),
                // Others must not wait for it.
                Err(e) => trouble = Err(e),
            }
        }
        trouble
    }

    fn runs(&self, run: &str) -> anyhow::Result<bool> {
        Ok(runs::find(self.environment, run)?.state(self.environment)?.status == Status::Running)
    }

    fn start(&mut self, run: &str, grant: &Grant, ended: Ended) -> anyhow::Result<()> {
        let shown = text::escape(run.as_bytes(), 80);
        output::say(self.format, &format!("{shown}: {} is gone: taking it over\n", grant.owner))?;
        let mut child = self.environment.this_program()?;
        child.args(["controller", "--take", run, "--ended", &format!("{}@{}", ended.fence, ended.expires)]);
        child.args(["--format", if self.format.is_for_people() { "text" } else { "json" }]);
        // In a group of its own: Ctrl-C reaches this process, which passes it on once.
        let child = child.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0).spawn()?;
        let prefix = if self.format.is_for_people() { format!("{shown}: ") } else { String::new() };
        let (run, fence) = (run.to_owned(), ended.fence);
        self.later.insert(fence, None);
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        self.processes.extend(pid.map(|pid| (fence, pid)));
        self.taken.spawn(async move { Taken { run, fence, ended: watch(child, &prefix).await } });
        Ok(())
    }

    fn conclude(&mut self, taken: Taken) -> anyhow::Result<()> {
        let Taken { run, fence, ended } = taken;
        self.processes.remove(&fence);
        let ended = ended.map(|status| status.code());
        if matches!(ended, Ok(Some(1)) | Err(_)) {
            self.again.insert(run.clone(), Instant::now() + AGAIN);
        }
        let how = match ended {
            Ok(Some(0)) => "is done".to_owned(),
            Ok(Some(3)) => "is held: `migrate status` says why".to_owned(),
            Ok(Some(4)) => "has gone back, as its plan says".to_owned(),
            // Another may have been faster; else it is tried again.
            Ok(_) => "was not gone on with to its end".to_owned(),
            Err(e) => format!("could not be taken over: {e}"),
        };
        self.later.insert(fence, Some(Instant::now() + AGAIN));
        Ok(output::say(self.format, &format!("{}: {how}\n", text::escape(run.as_bytes(), 80)))?)
    }

    /// Runs that it has taken over stop at their next safe point; others may go on with them.
    async fn end(mut self) -> anyhow::Result<()> {
        for pid in self.processes.values() {
            // One that has ended meanwhile needs no word.
            let _ = kill_process(*pid, Signal::TERM);
        }
        while let Some(ended) = self.taken.join_next().await {
            self.conclude(ended?)?;
        }
        Ok(())
    }
}

/// Passes on what a process says, until it ends.
async fn watch(mut child: Child, prefix: &str) -> std::io::Result<std::process::ExitStatus> {
    if let Some(said) = child.stdout.take() {
        let mut lines = BufReader::new(said).lines();
        while let Some(line) = lines.next_line().await? {
            output::print(&format!("{prefix}{line}\n"))?;
        }
    }
    child.wait().await
}
