//! The command line: argv to exit code. One file a command: its arguments, its help, its run function.
//!
//! The only part that prints and reads the environment.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is the part that prints")]

mod abandon;
mod apply;
mod audit;
mod claims;
mod commit;
mod completions;
mod confirm;
mod connect;
mod control;
mod controller;
mod copy;
mod cost;
mod desk;
mod director;
mod doctor;
mod earlier;
mod elsewhere;
mod environment;
mod exit;
mod explain;
mod failure;
mod follow;
#[cfg(test)]
mod growth;
mod init;
mod inventory;
mod load;
mod lock;
mod man;
mod metrics;
mod notifications;
mod open_run;
mod operate;
mod output;
mod pinned;
mod plan;
mod rehearse;
mod report;
mod resolve;
mod retire;
mod rollback;
mod runs;
mod schema;
mod serve;
mod signals;
mod status;
mod store;
#[cfg(test)]
mod tests;
mod validate;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use environment::Environment;
use exit::Exit;

/// Moves live services from one datacenter to another, step by step, with a way back.
#[derive(Debug, Parser)]
#[command(name = "migrate", version, max_term_width = 110, after_help = exit::TABLE, after_long_help = exit::TABLE)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Directory that holds the runs [default: $XDG_STATE_HOME/migrate, else ~/.local/state/migrate]
    #[arg(long, global = true, value_name = "DIR", env = "MIGRATE_STATE_DIR", hide_env_values = true)]
    state_dir: Option<PathBuf>,

    /// Where runs are kept, when it is not the state directory: etcd://HOST:PORT,HOST:PORT/PREFIX (docs/teams.md), or file:DIR
    #[arg(long, global = true, value_name = "ADDRESS", env = "MIGRATE_STORE", hide_env_values = true)]
    store: Option<String>,

    /// Directory with copy agents (`migrate-agent*`) for hosts, used before those that this program carries
    #[arg(long, global = true, value_name = "DIR", env = "MIGRATE_AGENTS", hide_env_values = true)]
    agents: Option<PathBuf>,

    /// How long the locks of a run last, in seconds, when its controller does not renew them any more
    #[arg(long, global = true, value_name = "SECONDS", env = "MIGRATE_LEASE", hide = true, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    lease: u64,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a first plan and inventory, with comments that teach
    Init(init::Args),
    /// Look at this machine, at hosts and at directors for what would be in the way
    Doctor(doctor::Args),
    /// Check plan and inventory files; contacts nothing
    Validate(validate::Args),
    /// Show what would happen, looking at the live system; writes nothing anywhere
    Plan(plan::Args),
    /// Play the plan in a simulated world with everything going wrong that can; contacts nothing
    Rehearse(rehearse::Args),
    /// Do it; run again to go on where it stopped
    Apply(apply::Args),
    /// Stand by, and take runs over whose controllers are gone
    Controller(controller::Args),
    /// Show where runs stand
    Status(status::Args),
    /// List all runs
    Runs(status::Runs),
    /// Tell what a run was, on one page: what moved and when, what was seen, who decided what
    Report(report::Args),
    /// Say what a run waits for, since when, and what would end it
    Explain(explain::Args),
    /// Let a run begin nothing new
    Pause(operate::Because),
    /// Let a paused run go on
    Resume(operate::Which),
    /// Stop a run at the next safe point
    Abort(operate::Because),
    /// Say yes to a gate
    Approve(operate::Approve),
    /// End the way back of pairs that have moved
    Commit(commit::Args),
    /// Give sources back that nobody needs any more
    Retire(retire::Args),
    /// Change a setting of a run while it goes on
    Set(operate::Set),
    /// Go back, step by step, as it came
    Rollback(rollback::Args),
    /// Say what became of a step whose outcome is unknown
    Resolve(resolve::Args),
    /// Give a run up that will go neither on nor back; what it has done stays
    Abandon(abandon::Args),
    /// Show what a plan does to the bill
    Cost(cost::Args),
    /// Show hosts of an inventory, or save what its sources say
    Inventory(inventory::Args),
    /// Copy a directory tree between hosts, or to or from this machine, without a plan
    Copy(copy::Args),
    /// Show what a traffic director has now, and try one out; needs no plan
    Director(director::Args),
    /// Check that a run's records are what they were, and hand them out
    Audit(audit::Args),
    /// Show who works on what, and take locks away from controllers that hang
    Lock(lock::Args),
    /// Show all runs in a browser, as they go on, and take orders there
    Serve(serve::Args),
    /// Carry runs from one store to another
    Store(store::Args),
    /// Print runs as metrics, for Prometheus
    Metrics(metrics::Args),
    /// Print the JSON Schema of plans or inventories, for editors
    Schema(schema::Args),
    /// Print a completion script for a shell
    Completions(completions::Args),
    /// Write manual pages, one for each command
    Man(man::Args),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    // Where there is no agent for hosts, the program stands in for it; the word is no command for people.
    if args.next().is_some_and(|first| first == "agent") {
        return ExitCode::from(crate::copy::agent::agent_main(args));
    }
    let cli = Cli::parse();
    let lease = Duration::from_secs(cli.lease);
    let environment = Environment::from_process(cli.state_dir, cli.store);
    let environment = environment.map(|environment| Environment { lease, agents: cli.agents, ..environment });
    match environment.map_err(Into::into).and_then(|environment| run(cli.command, &environment)) {
        Ok(exit) => exit.into(),
        Err(error) => {
            failure::print(&error);
            Exit::Error.into()
        }
    }
}

fn run(command: Command, environment: &Environment) -> anyhow::Result<Exit> {
    match command {
        Command::Validate(args) => validate::run(&args, environment),
        Command::Metrics(args) => metrics::run(&args, environment),
        Command::Serve(args) => block_on(serve::run(&args, environment)),
        Command::Schema(args) => schema::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
        Command::Init(args) => block_on(init::run(&args, environment)),
        Command::Doctor(args) => block_on(doctor::run(&args, environment)),
        Command::Audit(args) => audit::run(&args, environment),
        Command::Lock(args) => lock::run(&args, environment),
        Command::Store(args) => store::run(&args, environment),
        Command::Status(args) => status::run(&args, environment),
        Command::Runs(args) => status::list(&args, environment),
        Command::Report(args) => report::run(&args, environment),
        Command::Explain(args) => explain::run(&args, environment),
        Command::Pause(args) => operate::pause(&args, environment),
        Command::Resume(args) => operate::resume(&args, environment),
        Command::Abort(args) => operate::abort(&args, environment),
        Command::Approve(args) => operate::approve(&args, environment),
        Command::Commit(args) => commit::run(&args, environment),
        Command::Set(args) => operate::set(&args, environment),
        Command::Resolve(args) => resolve::run(&args, environment),
        Command::Abandon(args) => block_on(abandon::run(&args, environment)),
        Command::Retire(args) => block_on(retire::run(&args, environment)),
        Command::Rollback(args) => block_on(rollback::run(&args, environment)),
        Command::Rehearse(args) => rehearse::run(&args, environment),
        Command::Cost(args) => block_on(cost::run(&args, environment)),
        Command::Inventory(args) => block_on(inventory::run(&args, environment)),
        Command::Copy(args) => block_on(copy::run(&args, environment)),
        Command::Director(args) => block_on(director::run(&args, environment)),
        Command::Plan(args) => block_on(plan::run(&args, environment)),
        Command::Apply(args) => block_on(apply::run(&args, environment)),
        Command::Controller(args) => block_on(controller::run(&args, environment)),
    }
}

fn block_on(future: impl Future<Output = anyhow::Result<Exit>>) -> anyhow::Result<Exit> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(future)
}
