//! Commands on simulated hosts: the plan's hooks, and questions about who is connected.

use std::sync::Arc;

use async_trait::async_trait;

use super::cast::returned;
use super::fault::{Call, Fault};
use super::stage::{Script, Sim, Stage};
use crate::engine;
use crate::planner::graph::{HookStep, StepKind};
use crate::spec::model::Host;
use crate::ssh::{Command, Output, Remote, SshError, SshErrorKind};

/// Every simulated host.
pub(super) struct SimRemote(pub Arc<Stage>);

#[async_trait]
impl Remote for SimRemote {
    async fn run(&self, host: &Host, command: &Command) -> Result<Output, SshError> {
        let played = self.0.play(|script, sim| {
            let place = script.places.get(&host.name).copied().unwrap_or(usize::MAX);
            if !sim.answers(place) {
                return Err(error(host, SshErrorKind::Unreachable, "cannot be reached"));
            }
            let step = engine::with_current_step(|id| script.index.get(id).copied()).flatten();
            let kind = step.and_then(|s| script.graph.steps.get(s)).map(|s| &s.kind);
            match (step, kind) {
                (Some(step), Some(StepKind::Hook(hook))) if command.script == hook.run => {
                    run_hook(script, sim, (host, place), step, hook)
                }
                (Some(step), Some(StepKind::Hook(hook))) if hook.done_when.as_ref() == Some(&command.script) => {
                    let done = sim.model.hooks.get(step).is_some_and(|h| h.took > 0);
                    ask(script, sim, (host, place), "asks whether it is done", |_| output(i32::from(!done), ""))
                }
                _ => ask(script, sim, (host, place), "counts connections", |sim| {
                    output(
                        0,
                        if sim.model.has_users(&host.name, sim.now) {
                            "order 1\n1 total\n"
                        } else {
                            "order 1\n0 total\n"
                        },
                    )
                }),
            }
        });
        returned(played).await
    }
}

fn output(status: i32, stdout: &str) -> Output {
    Output { status, stdout: stdout.into(), stderr: Vec::new(), truncated: false }
}

fn error(host: &Host, kind: SshErrorKind, what: &str) -> SshError {
    SshError::new(host.name.as_str(), kind, what)
}

fn run_hook(
    script: &Script,
    sim: &mut Sim,
    (host, place): (&Host, usize),
    step: usize,
    hook: &HookStep,
) -> Result<Output, SshError> {
    let fault = sim.point(script, Call::Hook { probed: hook.done_when.is_some() }, "runs its command");
    match fault {
        None | Some(Fault::ReplyLost | Fault::KilledAfter) => {
            let ran = sim.model.run_hook(step);
            sim.keep(ran);
        }
        Some(Fault::Late | Fault::KilledLate) => sim.start_later(step),
        Some(fault @ (Fault::Away | Fault::Gone)) => sim.lose(place, fault),
        Some(_) => {}
    }
    match fault {
        None | Some(Fault::Ineffective) => Ok(output(0, "")),
        Some(Fault::Refused) => Ok(output(1, "")),
        Some(Fault::Before | Fault::Away | Fault::Gone) => {
            Err(error(host, SshErrorKind::Unreachable, "cannot be reached"))
        }
        Some(_) => Err(error(host, SshErrorKind::Interrupted, "the connection broke while the command ran")),
    }
}

fn ask(
    script: &Script,
    sim: &mut Sim,
    (host, place): (&Host, usize),
    what: &str,
    answer: impl FnOnce(&Sim) -> Output,
) -> Result<Output, SshError> {
    match sim.point(script, Call::Ask, what) {
        None | Some(Fault::ClockJump) => Ok(answer(sim)),
        Some(Fault::ReplyLost) => Err(error(host, SshErrorKind::Interrupted, "the connection broke")),
        Some(fault) => {
            if matches!(fault, Fault::Away | Fault::Gone) {
                sim.lose(place, fault);
            }
            Err(error(host, SshErrorKind::Unreachable, "cannot be reached"))
        }
    }
}
