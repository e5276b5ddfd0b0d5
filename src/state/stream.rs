//! What a command on the source writes, poured into a command on the target, once, after the freeze.
//!
//! Nobody can be asked what became of it: it has no undo.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Carried, Risk, StateKind};
use crate::fields::kinds::Settings;
use crate::fields::template::{self, Role, Sides, Use};
use crate::model::finding::Finding;
use crate::model::{Host, Template};
use crate::step::{Draft, Moment, StepKind, StreamStep};
use crate::text::units::YEAR;
use crate::yaml::map::Map;
use crate::yaml::reader::Value;

const EXAMPLE: &str = "stream: {from: pg_dump app, to: psql app}";

/// A stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamState {
    /// The shell command on the source.
    pub from: Template,
    /// The shell command on the target.
    pub to: Template,
    /// How long both may take, `None` for no limit.
    pub timeout: Option<Duration>,
    /// Bytes per second, `None` for no limit.
    pub bandwidth: Option<u64>,
    /// Whether pouring it twice is the same as once.
    pub idempotent: bool,
}

impl Settings for StreamState {
    const KEY: &'static str = "stream";
    const BESIDE: &'static [&'static str] = &["timeout", "idempotent"];

    fn read(value: Value<'_>, m: &Map<'_>, uses: &mut Vec<Use>) -> Option<Self> {
        let bandwidth = m.get("bandwidth").and_then(|v| v.rate());
        let timeout = m.get("timeout").and_then(|v| v.duration(Duration::from_millis(1)..=YEAR));
        let idempotent = m.get("idempotent").and_then(|v| v.bool()).unwrap_or(false);
        let command = |v: Value<'_>, sides| template::read(v, Role::Command, sides, "a command", EXAMPLE);
        let (source, target) = value.map("stream", EXAMPLE, |m| {
            let from = m.need("from", "pg_dump app").and_then(|v| command(v, Sides::Source));
            let to = m.need("to", "psql app").and_then(|v| command(v, Sides::Target));
            Some((from?, to?))
        })??;
        let (from, to) = (source.template.value.clone(), target.template.value.clone());
        uses.extend([source, target]);
        Some(Self { from, to, timeout, bandwidth, idempotent })
    }
}

impl StateKind for StreamState {
    fn needs_freeze(&self) -> Option<&'static str> {
        Some("a stream is poured after a freeze")
    }

    fn risks(&self) -> Vec<Risk> {
        let unbounded = Risk {
            what: "is frozen for as long as its stream takes, which nobody can estimate: it begins after the freeze",
            hint: "rehearse it by hand, measure how long it takes, and give it a `timeout`",
        };
        if self.timeout.is_none() { vec![unbounded] } else { Vec::new() }
    }

    fn between<'a>(
        &'a self,
        source: &'a Host,
        target: &'a Host,
        job: String,
    ) -> Result<Box<dyn Carried + 'a>, Finding> {
        Ok(Box::new(StreamStep {
            job,
            from: source.fill_command(&self.from)?,
            to: target.fill_command(&self.to)?,
            timeout: self.timeout,
            bandwidth: self.bandwidth,
            idempotent: self.idempotent,
        }))
    }
}

impl Carried for StreamStep {
    fn jobs(&self) -> Vec<&str> {
        vec![&self.job]
    }

    fn steps(&self, moment: Moment) -> Vec<Draft> {
        match moment {
            Moment::Frozen => vec![Draft::new("stream", StepKind::Stream(self.clone()))],
            _ => Vec::new(),
        }
    }
}
