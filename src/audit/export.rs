//! Every act of a run as one flat object: who, where, what, when, with which result.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::event::{Event, Operator, Record, StepResult};
use crate::step::{Graph, Step};

/// One record, with all that is known of it in one place.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Act {
    /// Name of the run.
    pub run: String,
    /// Number of the record.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// What kind of record: `intent`, `outcome`, `held`, …
    pub act: String,
    /// Who ran the controller, or did this by hand.
    pub operator: Operator,
    /// The step, when it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Whether the step was being undone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undo: Option<bool>,
    /// Hosts that the step is about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// What was to be done there: the command of a hook as it is, everything else in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// `done`, `failed` or `unknown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<&'static str>,
    /// What was seen, or why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub says: Option<String>,
    /// Everything else that the record holds.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub detail: Value,
}

/// The acts of a run with this graph; a journal that does not begin with its start has none.
pub fn acts(records: &[Record], graph: &Graph) -> Vec<Act> {
    let Some(Event::Started(started)) = records.first().map(|r| &r.event) else { return Vec::new() };
    let mut operator = started.by.clone();
    let steps: HashMap<&str, &Step> = graph.steps.iter().map(|s| (s.id.as_str(), s)).collect();
    let mut acts = Vec::with_capacity(records.len());
    for record in records {
        let mut fields = fields(&record.event);
        let by = fields.remove("by").and_then(|by| serde_json::from_value::<Operator>(by).ok());
        if let (Event::Started(_) | Event::Resumed { .. }, Some(by)) = (&record.event, &by) {
            operator = by.clone();
        }
        acts.push(act(&started.run, &steps, record, by.unwrap_or_else(|| operator.clone()), fields));
    }
    acts
}

type Fields = serde_json::Map<String, Value>;

/// What an event holds, by name.
fn fields(event: &Event) -> Fields {
    let mut fields = match serde_json::to_value(event) {
        Ok(Value::Object(fields)) => fields,
        _ => Fields::new(),
    };
    if let Event::Stopped { by } = event {
        // The one `by` that is no person.
        fields.remove("by");
        fields.insert("signal".into(), Value::from(by.as_str()));
    }
    fields
}

fn act(run: &str, steps: &HashMap<&str, &Step>, record: &Record, operator: Operator, mut fields: Fields) -> Act {
    let mut text = |name: &str| match fields.remove(name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    };
    let (act, step) = (text("event").unwrap_or_default(), text("step"));
    let undo = fields.remove("undo").and_then(|u| u.as_bool());
    let (result, says) = match &record.event {
        Event::Outcome { result, .. } => {
            fields.remove("result");
            let (result, says) = ended(result);
            (Some(result), Some(says))
        }
        _ => (None, None),
    };
    fields.remove("run");
    let known = step.as_deref().and_then(|id| steps.get(id).copied());
    Act {
        run: run.to_owned(),
        seq: record.seq,
        at: record.at,
        act,
        operator,
        step,
        undo,
        hosts: known.map(hosts).unwrap_or_default(),
        command: known.map(command),
        result,
        says,
        detail: if fields.is_empty() { Value::Null } else { Value::Object(fields) },
    }
}

fn ended(result: &StepResult) -> (&'static str, String) {
    match result {
        StepResult::Done { evidence, .. } => ("done", evidence.clone()),
        StepResult::Failed { why, .. } => ("failed", why.clone()),
        StepResult::Unknown { why, .. } => ("unknown", why.clone()),
    }
}

fn hosts(step: &Step) -> Vec<String> {
    step.hosts().into_iter().map(str::to_owned).collect()
}

fn command(step: &Step) -> String {
    step.kind.command().map_or_else(|| step.kind.describe(), str::to_owned)
}
