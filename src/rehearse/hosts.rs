//! Simulated hosts: commands under receipts, questions, and who is connected.

use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;

use super::fault::{Call, Fault};
use super::receipts::{Key, Receipt};
use super::replica::WayBack;
use super::simulation::{Caller, Turn};
use crate::engine;
use crate::event::StepState;
use crate::host::{
    ClockSkew, Command, ConnectionCount, Facts, Hosts, Output, PathFacts, ReceiptKey, ReceiptStatus, TreeExtent,
    TreeSize,
};
use crate::model::Host;
use crate::outside::{Error, Kind};
use crate::step::{ReplicaAct, StepKind};

#[async_trait]
impl Hosts for Caller {
    /// All that a plan asks with a command is how a replica stands, and whether a step's work is done.
    async fn query(&self, host: &Host, command: &Command) -> Result<Output, Error> {
        self.call(|turn| {
            turn.reach(host)?;
            if turn.asks_replica(command) {
                let what = format!("asks {}", command.env.get("MIGRATE_VERB").map_or("", String::as_str));
                return turn.ask(host, &what, |turn| turn.answer_of_replica(host, command).unwrap_or_else(|| ended(1)));
            }
            if command.env.contains_key(engine::SIGNALS) {
                return turn.ask(host, "asks for its load", |turn| turn.load(&host.name));
            }
            let done = turn.step.and_then(|s| turn.history.model.hooks.get(s)).is_some_and(|h| h.took > 0);
            turn.ask(host, "asks whether it is done", |_| ended(i32::from(!done)))
        })
        .await
    }

    async fn start(
        &self,
        host: &Host,
        key: &ReceiptKey,
        fence: u64,
        command: &Command,
        _: Duration,
    ) -> Result<ReceiptStatus, Error> {
        self.call(|turn| match turn.look_up(host, key, fence)? {
            Known::Fenced(fenced) => turn.ask(host, "asks for the receipt", |_| fenced),
            Known::Receipt(_, Some(receipt)) => turn.ask(host, "asks for the receipt", |_| status(Some(receipt))),
            Known::Receipt(key, None) => turn.start(host, key, fence, command),
        })
        .await
    }

    async fn fetch(&self, host: &Host, key: &ReceiptKey, fence: u64, _: Duration) -> Result<ReceiptStatus, Error> {
        self.call(|turn| match turn.look_up(host, key, fence)? {
            Known::Fenced(fenced) => turn.ask(host, "asks for the receipt", |_| fenced),
            Known::Receipt(_, receipt) => turn.ask(host, "asks for the receipt", |_| status(receipt)),
        })
        .await
    }

    async fn seal(&self, host: &Host, key: &ReceiptKey, fence: u64) -> Result<ReceiptStatus, Error> {
        self.call(|turn| match turn.look_up(host, key, fence)? {
            Known::Fenced(fenced) => turn.ask(host, "asks for the receipt", |_| fenced),
            Known::Receipt(_, Some(receipt)) => turn.ask(host, "asks for the receipt", |_| status(Some(receipt))),
            Known::Receipt(key, None) => turn.ask(host, "seals the receipt", |turn| {
                let receipts = &mut turn.history.receipts;
                receipts.decide(key.clone(), turn.step.unwrap_or(usize::MAX), Receipt::Sealed);
                status(receipts.get(&key))
            }),
        })
        .await
    }

    async fn forget(&self, host: &Host, _: &str) -> Result<(), Error> {
        self.call(|turn| {
            turn.reach(host)?;
            turn.ask(host, "removes receipts", |turn| turn.history.receipts.remove(turn.place(&host.name)))
        })
        .await
    }

    async fn connections(&self, host: &Host, _: Option<IpAddr>, _: u16) -> Result<ConnectionCount, Error> {
        self.call(|turn| {
            turn.reach(host)?;
            turn.ask(host, "counts connections", |turn| ConnectionCount {
                count: u64::from(turn.history.model.has_users(&host.name, turn.history.now)),
                ..ConnectionCount::default()
            })
        })
        .await
    }

    /// Plans are made before a rehearsal, so that what hosts are and have is not asked for; every path is an empty directory.
    async fn facts(&self, _: &Host, paths: &[String]) -> Result<Facts, Error> {
        let directory = |path: &String| PathFacts { path: path.clone(), directory: true, ..PathFacts::default() };
        Ok(Facts {
            os: "simulated".into(),
            kernel: "simulated".into(),
            arch: "simulated".into(),
            uid: 0,
            user: "rehearsal".into(),
            cpus: None,
            memory: None,
            rights: None,
            sees_all: None,
            missing: Vec::new(),
            clock: ClockSkew { millis: 0, error_millis: 0 },
            paths: paths.iter().map(directory).collect(),
        })
    }

    async fn tree_size(&self, _: &Host, _: &str, _: TreeExtent) -> Result<TreeSize, Error> {
        Ok(TreeSize::default())
    }
}

/// What a host knows when it is asked about a key.
enum Known {
    Fenced(ReceiptStatus),
    Receipt(Key, Option<Receipt>),
}

fn ended(status: i32) -> Output {
    Output { status, stdout: Vec::new(), stderr: Vec::new(), truncated: false }
}

fn status(receipt: Option<Receipt>) -> ReceiptStatus {
    match receipt {
        None => ReceiptStatus::NotClaimed,
        Some(Receipt::Finished(status)) => ReceiptStatus::Finished(ended(status)),
        Some(Receipt::Lost) => ReceiptStatus::Unknown,
        Some(Receipt::Sealed) => ReceiptStatus::NeverStarted,
    }
}

fn unreachable(host: &Host) -> Error {
    Error::new(host.name.as_str(), Kind::Unreachable, "cannot be reached")
}

fn cut(host: &Host) -> Error {
    Error::new(host.name.as_str(), Kind::Lost, "the connection broke while the command ran")
}

fn broke(host: &Host, fault: Fault) -> Error {
    match fault {
        Fault::Before | Fault::Away | Fault::Gone => unreachable(host),
        _ => cut(host),
    }
}

impl Turn<'_> {
    fn reach(&mut self, host: &Host) -> Result<(), Error> {
        if self.answers(&host.name) { Ok(()) } else { Err(unreachable(host)) }
    }

    /// Leaves the fence, and tells what is known of a key.
    fn look_up(&mut self, host: &Host, key: &ReceiptKey, fence: u64) -> Result<Known, Error> {
        self.reach(host)?;
        let place = self.place(&host.name);
        let newest = self.history.receipts.fence(place, fence);
        if newest > fence {
            return Ok(Known::Fenced(ReceiptStatus::Fenced { newest }));
        }
        let key = (place, key.name().to_owned());
        let receipt = self.history.receipts.get(&key);
        Ok(Known::Receipt(key, receipt))
    }

    /// Whether the step is being undone.
    fn undoes(&self) -> bool {
        let record = self.step.zip(self.history.state.as_ref()).and_then(|(step, state)| state.at(step));
        record.is_some_and(|r| r.state == StepState::Undoing)
    }

    /// Whether the effect of the step's command is asked for afterwards.
    fn is_probed(&self) -> bool {
        let kind = self.step.and_then(|s| self.scenario.graph.steps.get(s)).map(|s| &s.kind);
        match kind {
            Some(StepKind::Hook(hook)) => hook.done_when.is_some(),
            Some(StepKind::Decommission(back)) => back.wipes().is_some(),
            Some(StepKind::Replica(replica)) => match &replica.act {
                ReplicaAct::Run(run) => run.done_when.is_some(),
                _ => true,
            },
            _ => false,
        }
    }

    fn start(&mut self, host: &Host, key: Key, fence: u64, command: &Command) -> Result<ReceiptStatus, Error> {
        let (undo, step) = (self.undoes(), self.step.unwrap_or(usize::MAX));
        let (means, asks_to_leave) = (self.means_on_way_back(command), command.env.contains_key("MIGRATE_COUNT"));
        let what = if undo { "takes it back" } else { "runs its command" };
        let fault = self.point(Call::Hook { probed: self.is_probed() && !undo }, what);
        let receipts = &mut self.history.receipts;
        if let (None, Some(decided)) = (fault, receipts.get(&key)) {
            // A late start, or a fence before it, has just come first.
            return Ok(status(Some(decided)));
        }
        if receipts.get(&key).is_some() {
            return Err(cut(host));
        }
        match fault {
            None | Some(Fault::ReplyLost | Fault::KilledAfter) => {
                receipts.decide(key, step, Receipt::Finished(0));
                self.take_hold(host, step, (undo, means), asks_to_leave);
            }
            Some(Fault::Half) => {
                receipts.decide(key, step, Receipt::Lost);
                self.take_hold(host, step, (undo, means), asks_to_leave);
            }
            Some(Fault::Died) => receipts.decide(key, step, Receipt::Lost),
            Some(Fault::Ineffective) => receipts.decide(key, step, Receipt::Finished(0)),
            Some(Fault::Refused) => receipts.decide(key, step, Receipt::Finished(1)),
            Some(fault @ (Fault::Late | Fault::KilledLate)) => {
                self.history.start_later(step, (undo, means), (key, fence), fault);
            }
            Some(fault) => self.lose(&host.name, fault),
        }
        match fault {
            None | Some(Fault::Ineffective) => Ok(status(Some(Receipt::Finished(0)))),
            Some(Fault::Refused) => Ok(status(Some(Receipt::Finished(1)))),
            Some(fault) => Err(broke(host, fault)),
        }
    }

    /// A host with nothing to do.
    fn load(&self, host: &str) -> Output {
        let step = self.step.and_then(|s| self.scenario.graph.steps.get(s));
        let asks = match step.map(|s| &s.kind) {
            Some(StepKind::Connections(step)) => std::slice::from_ref(step.as_ref()),
            Some(StepKind::Traffic(traffic)) => traffic.back.connections.as_slice(),
            _ => &[],
        };
        let watched = asks.iter().flat_map(|step| &step.watched).filter(|watched| watched.host == host);
        let listens = |port: u16| format!("0: 00000000:{port:04X} 00000000:0000 0A 00000000:00000000 00:00000000\n");
        let listening: String = watched.filter_map(|watched| watched.port).map(listens).collect();
        let said = format!("0.00 0.00 0.00 1/1 1\n1\nTcpExt: ListenOverflows\nTcpExt: 0\n{listening}");
        Output { stdout: said.into_bytes(), ..ended(0) }
    }

    /// A command has its effect.
    fn take_hold(&mut self, host: &Host, step: usize, does: (bool, Option<WayBack>), asks_to_leave: bool) {
        match asks_to_leave {
            true => self.history.model.ask_to_leave(&host.name, self.history.now),
            false => self.history.act(step, does.0, does.1),
        }
    }

    /// A question that changes nothing for the service.
    fn ask<T>(&mut self, host: &Host, what: &str, answer: impl FnOnce(&mut Self) -> T) -> Result<T, Error> {
        match self.point(Call::Ask, what) {
            None | Some(Fault::ClockJump) => Ok(answer(self)),
            Some(Fault::ReplyLost) => {
                answer(self);
                Err(cut(host))
            }
            Some(fault) => {
                self.lose(&host.name, fault);
                Err(broke(host, fault))
            }
        }
    }
}
