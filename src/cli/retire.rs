//! `migrate retire`: gives sources back that nobody needs any more, or takes that back.

use super::environment::Environment;
use super::failure::advised;
use super::operate::give;
use super::{Exit, confirm, output, rollback, runs};
use crate::engine::orders::Order;
use crate::event::{RunState, StepState};
use crate::step::{DecommissionAct, DecommissionStep, Step, StepKind};
use crate::text;

/// Arguments of `migrate retire`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A plan with `decommission` gives its sources back to whom they are rented from once nobody has been on them for long enough, and only when
you say so here. Without a host, all of the run of which that has been seen. Nothing else says it for you, `--yes` of apply neither.
`--void` takes a cancellation back as long as the provider lets that be; the run must not be at work meanwhile.

Examples:
  migrate retire chat-1                                 what has been seen of each source, then asks
  migrate retire chat-1 dal-1 --why \"CHG-1234\"
  migrate retire chat-1 dal-1 --void")]
pub struct Args {
    /// Name of a run, or of a plan for its newest run
    run: String,

    /// The source
    host: Option<String>,

    /// Take it back
    #[arg(long, requires = "host")]
    void: bool,

    /// Why, for the journal
    #[arg(long, value_name = "TEXT", default_value = "an operator gives it back")]
    why: String,

    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

pub async fn run(args: &Args, environment: &Environment) -> anyhow::Result<Exit> {
    let run = runs::find(environment, &args.run)?;
    let state = run.state(environment)?;
    if args.void {
        return void(args, &state, environment).await;
    }
    output::print(&told(&state))?;
    let steps = wanted(args, &state)?;
    if !args.yes && !confirm::confirm("Give them back?")? {
        eprintln!("nothing was changed");
        return Ok(Exit::Error);
    }
    for (step, back) in steps {
        let order = Order::Approve { step: step.id.clone(), why: args.why.clone() };
        give(environment, &run, order, environment.operator())?;
        let by = &environment.operator().user;
        output::print(&format!("{}: {by} says that it is given back\n", back.host))?;
    }
    if !environment.store.is_live(&run.name) {
        output::print("nobody works on the run now: `migrate apply` goes on with it\n")?;
    }
    Ok(Exit::Ok)
}

/// Goes back over what was asked for, and over the word for it: whoever goes on is asked again.
async fn void(args: &Args, state: &RunState, environment: &Environment) -> anyhow::Result<Exit> {
    let host = args.host.as_deref().unwrap_or_default();
    let is = |act: &DecommissionAct| matches!(act, DecommissionAct::Quiet(_));
    let quiet = steps(state).find(|(_, back)| back.host == host && is(&back.act));
    let Some((quiet, _)) = quiet else { return Err(no_such(args, state, host)) };
    rollback::run(&rollback::Args::to(&args.run, &quiet.id, &args.why, args.yes), environment).await
}

fn steps(state: &RunState) -> impl Iterator<Item = (&Step, &DecommissionStep)> {
    state.graph.steps.iter().filter_map(|step| match &step.kind {
        StepKind::Decommission(back) => Some((step, back.as_ref())),
        _ => None,
    })
}

/// The steps that wait for a word.
fn asks(state: &RunState) -> impl Iterator<Item = (&Step, &DecommissionStep)> {
    steps(state).filter(|(_, back)| back.act == DecommissionAct::Ask)
}

fn wanted<'a>(args: &Args, state: &'a RunState) -> anyhow::Result<Vec<(&'a Step, &'a DecommissionStep)>> {
    let open = |step: &Step| {
        state.state_of(&step.id) != Some(StepState::Done) && state.approvals.get(&step.id).is_none_or(Vec::is_empty)
    };
    let seen = |step: &Step| step.after.iter().all(|id| state.state_of(id) == Some(StepState::Done));
    let Some(host) = &args.host else {
        let ready: Vec<_> = asks(state).filter(|(step, _)| open(step) && seen(step)).collect();
        return match (ready.is_empty(), asks(state).next()) {
            (false, _) => Ok(ready),
            (true, Some(_)) => Err(advised(
                format!("{}: no source waits to be given back", args.run),
                "each is watched first, for as long as `quiet_for` says",
            )),
            (true, None) => Err(advised(format!("{}: {NONE}", args.run), HOW)),
        };
    };
    let found: Vec<_> = asks(state).filter(|(_, back)| back.host == *host).collect();
    if found.is_empty() { Err(no_such(args, state, host)) } else { Ok(found) }
}

const NONE: &str = "its plan gives no source back";
const HOW: &str = "say so in the plan (`decommission: {softlayer: {when: next_bill}, quiet_for: 3d}`), then `migrate apply`: what this run has moved is given back, too";

fn no_such(args: &Args, state: &RunState, host: &str) -> anyhow::Error {
    let there: Vec<&str> = asks(state).map(|(_, back)| back.host.as_str()).collect();
    match there.is_empty() {
        true => advised(format!("{}: {NONE}", args.run), HOW),
        false => advised(
            format!("{}: `{host}` is not a source that is given back", args.run),
            format!("those are: {}", text::list(&there)),
        ),
    }
}

/// How it stands with every source that is given back.
fn told(state: &RunState) -> String {
    let mut out = String::new();
    for (_, back) in asks(state) {
        let kind = back.provider.kind();
        out.push_str(&format!("{} is {} at {}\n", back.host, back.machine, kind.title()));
        for (step, _) in steps(state).filter(|(_, other)| other.host == back.host) {
            let record = state.step(&step.id);
            let says = record.map(|r| r.says.as_str()).filter(|says| !says.is_empty());
            let done = record.is_some_and(|r| r.state == StepState::Done);
            let what = step.kind.describe();
            let (mark, says) = (if done { '✓' } else { '·' }, says.map(|s| format!(": {s}")).unwrap_or_default());
            out.push_str(&format!("  {mark} {what}{says}\n"));
        }
    }
    out
}
