//! `migrate pause`, `resume`, `abort`, `approve`, `set`: what an operator asks of a run from another terminal.
//!
//! A live run is asked through its socket, or by way of the store where its controller is on another machine; for a run that nobody works on, the order goes into its journal and holds when it is
//! taken up again.

use super::environment::Environment;
use super::failure::advised;
use super::runs::{self, Run};
use super::{Exit, open_run, output};
use crate::control::{self, Answer, ControlError, Request};
use crate::engine::aborted;
use crate::engine::orders::Order;
use crate::event::{Event, Operator, Record, Setting};
use crate::model::OnDrift;
use crate::text::units;

/// Arguments of `migrate pause` and `migrate abort`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  migrate pause uploads --why \"the link is busy\"          then: migrate resume uploads
  migrate abort uploads-1 --why \"the wrong evening\"       then: migrate rollback uploads-1, or migrate apply to go on")]
pub struct Because {
    /// Name of a run, or of a plan for its newest run
    run: String,

    /// Why, for the journal
    #[arg(long, value_name = "TEXT", default_value = "an operator asked for it")]
    why: String,
}

/// Arguments of `migrate resume`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: migrate resume uploads")]
pub struct Which {
    /// Name of a run, or of a plan for its newest run
    run: String,
}

/// Arguments of `migrate approve`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: migrate approve uploads-1 uploads/dal-1/gate-before_drain --why \"error rate is flat\""
)]
pub struct Approve {
    /// Name of a run, or of a plan for its newest run
    run: String,

    /// Id of the gate's step, as `migrate explain` shows it
    step: String,

    /// Why, for the journal
    #[arg(long, value_name = "TEXT")]
    why: String,
}

/// Arguments of `migrate set`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Settings:
  hold=30s             watch time after each shift, from the next one on
  bandwidth=50MiB      bytes per second of each copy, at once; 0 for no limit
  total_bandwidth=1GiB bytes per second of all copies together, at once; 0 for no limit
  max_unavailable=1    pairs out of service at once, or 25% of those of the wave; the plan's own number stays the most
  on_drift=restore     set again what others have changed at a director, or on_drift=hold
  pace=50/s            connections that a wave lets go in a second, at once; 0 lets none go

Example: migrate set uploads bandwidth=20MiB")]
pub struct Set {
    /// Name of a run, or of a plan for its newest run
    run: String,

    /// What to set, as KEY=VALUE
    #[arg(value_name = "KEY=VALUE")]
    setting: String,
}

pub fn pause(args: &Because, environment: &Environment) -> anyhow::Result<Exit> {
    let run = runs::find(environment, &args.run)?;
    give(environment, &run, Order::Pause { why: args.why.clone() }, environment.operator())?;
    say(&format!(
        "{} begins nothing new; frozen pairs are handed over first. Go on with: migrate resume {}",
        run.name, run.name
    ))
}

pub fn resume(args: &Which, environment: &Environment) -> anyhow::Result<Exit> {
    let run = runs::find(environment, &args.run)?;
    refuse_while_stopped(environment, &run)?;
    let live = give(environment, &run, Order::Resume, environment.operator())?;
    say(&resumed(&run, live))
}

/// The switch that holds every run is stronger than an order to one.
pub(super) fn refuse_while_stopped(environment: &Environment, run: &Run) -> anyhow::Result<()> {
    let switch = runs::stop_switch(environment);
    if switch.exists() {
        let what = format!("{}: {} is there, which holds every run on this machine", run.name, switch.display());
        return Err(advised(what, "remove it: what it holds goes on by itself"));
    }
    Ok(())
}

/// What has become of a run that is not paused any more. `live`: whether a controller works on it.
pub(super) fn resumed(run: &Run, live: bool) -> String {
    match live {
        true => format!("{} goes on", run.name),
        false => format!("{} is not paused any more; `migrate apply` goes on with it", run.name),
    }
}

pub fn abort(args: &Because, environment: &Environment) -> anyhow::Result<Exit> {
    let run = runs::find(environment, &args.run)?;
    give(environment, &run, Order::Abort { why: args.why.clone() }, environment.operator())?;
    say(&format!(
        "{} stops at the next safe point. Then: migrate rollback {}, or migrate apply to go on",
        run.name, run.name
    ))
}

pub fn approve(args: &Approve, environment: &Environment) -> anyhow::Result<Exit> {
    let run = runs::find(environment, &args.run)?;
    let order = Order::Approve { step: args.step.clone(), why: args.why.clone() };
    give(environment, &run, order, environment.operator())?;
    say(&format!("{} is approved by {}", args.step, environment.operator().user))
}

pub fn set(args: &Set, environment: &Environment) -> anyhow::Result<Exit> {
    let setting = parse(&args.setting)?;
    let run = runs::find(environment, &args.run)?;
    give(environment, &run, Order::Set { setting }, environment.operator())?;
    say(&format!("{}: {} is set", run.name, args.setting))
}

fn say(line: &str) -> anyhow::Result<Exit> {
    output::print(&format!("{line}\n"))?;
    Ok(Exit::Ok)
}

/// A setting, as it is typed.
pub(super) fn parse(text: &str) -> anyhow::Result<Setting> {
    let hint = "settings are hold=30s, bandwidth=50MiB, total_bandwidth=1GiB, max_unavailable=1, on_drift=restore and pace=50/s";
    let wrong = |why: String| advised(format!("`{text}`: {why}"), hint);
    let (key, value) = text.split_once('=').ok_or_else(|| wrong("there is no `=`".into()))?;
    match key {
        "hold" => units::duration(value).map(Setting::Hold).map_err(|bad| wrong(bad.why.into())),
        "bandwidth" => rate(value).map(Setting::Bandwidth).map_err(wrong),
        "total_bandwidth" => rate(value).map(Setting::TotalBandwidth).map_err(wrong),
        "max_unavailable" => match value.parse() {
            Ok(portion) => Ok(Setting::MaxUnavailable(portion)),
            Err(_) => Err(wrong("a whole number from 1, or a percentage is wanted".into())),
        },
        "on_drift" => match OnDrift::WORDS.iter().find(|(word, _)| *word == value) {
            Some((_, on_drift)) => Ok(Setting::OnDrift(*on_drift)),
            None => Err(wrong("`hold` or `restore` is wanted".into())),
        },
        "pace" if value == "0" => Ok(Setting::Pace(0)),
        "pace" => units::per_second(value).map(Setting::Pace).map_err(|bad| wrong(bad.why.into())),
        _ => Err(wrong(format!("there is no setting `{key}`"))),
    }
}

/// Bytes per second; `0` stands for no limit.
fn rate(value: &str) -> Result<u64, String> {
    if value == "0" { Ok(0) } else { units::rate(value).map_err(|bad| bad.why.into()) }
}

/// Gives an order in somebody's name; whether a controller was there to take it.
pub(super) fn give(environment: &Environment, run: &Run, order: Order, by: Operator) -> anyhow::Result<bool> {
    let request = Request::Order { order: order.clone(), by: by.clone() };
    match control::ask_run(environment.store.as_ref(), &run.name, &request) {
        Ok(Answer::Obeyed) => Ok(true),
        Ok(Answer::Refused(why)) => {
            Err(advised(format!("{}: {why}", run.name), "`migrate explain` shows what it waits for"))
        }
        Ok(Answer::Waiting(_)) => Err(anyhow::anyhow!("the controller answered something else")),
        Err(ControlError::NobodyThere { .. }) => write_down(environment, run, order, by).map(|()| false),
        Err(e) => Err(advised(e.to_string(), "look with `migrate explain`: the order may have been taken")),
    }
}

/// For a run that nobody works on: the order goes into the journal.
fn write_down(environment: &Environment, run: &Run, order: Order, by: Operator) -> anyhow::Result<()> {
    let command = format!("an order for {}", run.name);
    let (mut open, mut state) = open_run::by_hand(environment, run, &command)?;
    if runs::has_ended(&state) {
        let why = format!("run {} has ended: it takes no orders any more", run.name);
        return Err(advised(why, format!("`migrate status {}` shows how it ended", run.name)));
    }
    let event = match order {
        Order::Pause { why } => Event::Paused { by, why },
        Order::Resume => Event::Unpaused { by },
        Order::Approve { step, why } => Event::Approved { step, by, why },
        Order::Note { notified } => Event::Notified(notified),
        Order::Set { setting } => Event::Tuned { setting, by },
        Order::Abort { why } => {
            let (why, hint) = aborted(&by, &why);
            Event::Held { step: None, why, hint: Some(hint), stuck: false }
        }
    };
    // Folded first: a record that cannot follow must not get into the journal.
    state.apply(Record { seq: state.records, at: jiff::Timestamp::now(), event: event.clone() })?;
    open.log.append(event)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::Portion;

    #[test]
    fn settings_are_read_with_their_units() {
        assert_eq!(parse("hold=30s").unwrap(), Setting::Hold(Duration::from_secs(30)));
        assert_eq!(parse("bandwidth=50MiB").unwrap(), Setting::Bandwidth(50 << 20));
        assert_eq!(parse("total_bandwidth=1GiB/s").unwrap(), Setting::TotalBandwidth(1 << 30));
        assert_eq!(parse("total_bandwidth=0").unwrap(), Setting::TotalBandwidth(0));
        assert_eq!(parse("on_drift=restore").unwrap(), Setting::OnDrift(OnDrift::Restore));
        assert_eq!(parse("max_unavailable=2").unwrap(), Setting::MaxUnavailable(Portion::Pairs(2)));
        assert_eq!(parse("max_unavailable=25%").unwrap(), Setting::MaxUnavailable(Portion::Percent(25)));
        assert_eq!(parse("pace=50/s").unwrap(), Setting::Pace(50));
        assert_eq!(parse("pace=0").unwrap(), Setting::Pace(0));
        for bad in
            ["hold", "hold=30", "max_unavailable=0", "max_unavailable=101%", "on_drift=shrug", "pace=50", "colour=red"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
