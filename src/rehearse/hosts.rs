//! Commands on simulated hosts: the plan's hooks, with receipts and without, and questions about who is connected.

use std::sync::Arc;

use async_trait::async_trait;

use super::cast::returned;
use super::fault::{Call, Fault};
use super::receipts::Receipt;
use super::stage::{Script, Sim, Stage};
use crate::engine;
use crate::event::StepState;
use crate::model::Host;
use crate::outside::{Error, Kind};
use crate::ssh::receipt::{self, Asked};
use crate::ssh::{Command, Output, Remote};
use crate::step::StepKind;

/// Every simulated host.
pub(super) struct SimRemote(pub Arc<Stage>);

#[async_trait]
impl Remote for SimRemote {
    async fn run(&self, host: &Host, command: &Command) -> Result<Output, Error> {
        let played = self.0.play(|script, sim| {
            let place = script.places.get(&host.name).copied().unwrap_or(usize::MAX);
            let step = engine::with_current_step(|id| script.index.get(id).copied()).flatten();
            let mut shell = Shell { script, sim, host, place };
            if !shell.sim.answers(place) {
                return Err(shell.error(Kind::Unreachable, "cannot be reached"));
            }
            match (step.and_then(|s| Some((s, script.graph.steps.get(s)?))), receipt::asked(command)) {
                (Some((step, _)), Some(asked)) => shell.receipts(step, &asked),
                (Some((n, step)), None) => match &step.kind {
                    StepKind::Hook(_) => shell.plain(n),
                    _ => shell.count(),
                },
                (None, _) => shell.count(),
            }
        });
        returned(played).await
    }
}

/// One command on one host.
struct Shell<'a> {
    script: &'a Script,
    sim: &'a mut Sim,
    host: &'a Host,
    place: usize,
}

type Ran = Result<Output, Error>;

fn output(status: i32, stdout: &str) -> Output {
    Output { status, stdout: stdout.into(), stderr: Vec::new(), truncated: false }
}

impl Shell<'_> {
    fn error(&self, kind: Kind, what: &str) -> Error {
        Error::new(self.host.name.as_str(), kind, what)
    }

    fn cut(&self) -> Error {
        self.error(Kind::Lost, "the connection broke while the command ran")
    }

    /// Whether a step is being undone.
    fn undoes(&self, step: usize) -> bool {
        let id = self.script.graph.steps.get(step).map(|s| s.id.as_str()).unwrap_or_default();
        self.sim.state.as_ref().is_some_and(|s| s.step(id).state == StepState::Undoing)
    }

    /// A command without a receipt only asks.
    fn plain(&mut self, step: usize) -> Ran {
        let done = self.sim.model.hooks.get(step).is_some_and(|h| h.took > 0);
        self.ask("asks whether it is done", |_| output(i32::from(!done), ""))
    }

    fn broke(&self, fault: Fault) -> Error {
        match fault {
            Fault::Before | Fault::Away | Fault::Gone => self.error(Kind::Unreachable, "cannot be reached"),
            _ => self.cut(),
        }
    }

    fn receipts(&mut self, step: usize, asked: &Asked<'_>) -> Ran {
        let (Asked::Start { key, fence, .. } | Asked::Seal { key, fence } | Asked::Fetch { key, fence }) = asked else {
            return self.ask("removes receipts", |shell| {
                shell.sim.receipts.remove(shell.place);
                output(0, "")
            });
        };
        let key = (self.place, (*key).to_owned());
        let (newest, known) = (self.sim.receipts.fence(self.place, *fence), self.sim.receipts.get(&key));
        if newest > *fence {
            return self.ask("asks for the receipt", |_| output(0, &format!("fenced {newest}\n")));
        }
        match (asked, known) {
            (Asked::Start { .. }, None) => self.start(step, key, *fence),
            (Asked::Seal { .. }, None) => self.ask("seals the receipt", |shell| {
                shell.sim.receipts.decide(key.clone(), step, Receipt::Sealed);
                output(0, &describe(shell.sim.receipts.get(&key)))
            }),
            _ => self.ask("asks for the receipt", |_| output(0, &describe(known))),
        }
    }

    fn start(&mut self, step: usize, key: (usize, String), fence: u64) -> Ran {
        let undo = self.undoes(step);
        let probed = matches!(self.script.graph.steps.get(step).map(|s| &s.kind), Some(StepKind::Hook(h)) if h.done_when.is_some());
        let fault = self.sim.point(
            self.script,
            Call::Hook { probed: probed && !undo },
            if undo { "takes it back" } else { "runs its command" },
        );
        let receipts = &mut self.sim.receipts;
        if let (None, Some(decided)) = (fault, receipts.get(&key)) {
            // A late start, or a fence before it, has just come first.
            return Ok(output(0, &describe(Some(decided))));
        }
        if receipts.get(&key).is_some() {
            return Err(self.cut());
        }
        match fault {
            None | Some(Fault::ReplyLost | Fault::KilledAfter) => {
                receipts.decide(key, step, Receipt::Finished(0));
                self.sim.act(step, undo);
            }
            Some(Fault::Half) => {
                receipts.decide(key, step, Receipt::Lost);
                self.sim.act(step, undo);
            }
            Some(Fault::Died) => receipts.decide(key, step, Receipt::Lost),
            Some(Fault::Ineffective) => receipts.decide(key, step, Receipt::Finished(0)),
            Some(Fault::Refused) => receipts.decide(key, step, Receipt::Finished(1)),
            Some(fault @ (Fault::Late | Fault::KilledLate)) => {
                self.sim.start_later(step, undo, (key, fence), fault);
            }
            Some(fault @ (Fault::Away | Fault::Gone)) => self.sim.lose(self.place, fault),
            Some(_) => {}
        }
        match fault {
            None | Some(Fault::Ineffective) => Ok(output(0, "finished 0\n")),
            Some(Fault::Refused) => Ok(output(0, "finished 1\n")),
            Some(fault) => Err(self.broke(fault)),
        }
    }

    fn count(&mut self) -> Ran {
        self.ask("counts connections", |shell| {
            let n = u8::from(shell.sim.model.has_users(&shell.host.name, shell.sim.now));
            output(0, &format!("order 1\n{n} total\n"))
        })
    }

    /// A command that changes nothing for the service.
    fn ask(&mut self, what: &str, answer: impl FnOnce(&mut Self) -> Output) -> Ran {
        match self.sim.point(self.script, Call::Ask, what) {
            None | Some(Fault::ClockJump) => Ok(answer(self)),
            Some(Fault::ReplyLost) => {
                answer(self);
                Err(self.cut())
            }
            Some(fault) => {
                if matches!(fault, Fault::Away | Fault::Gone) {
                    self.sim.lose(self.place, fault);
                }
                Err(self.broke(fault))
            }
        }
    }
}

fn describe(receipt: Option<Receipt>) -> String {
    match receipt {
        None => "free\n".into(),
        Some(Receipt::Finished(status)) => format!("finished {status}\n"),
        Some(Receipt::Lost) => "unknown\n".into(),
        Some(Receipt::Sealed) => "sealed\n".into(),
    }
}
