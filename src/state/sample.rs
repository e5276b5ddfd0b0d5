//! A kind of state for tests only: what a new kind has to bring along, in one file and one line of the list.
//!
//! It makes a place on the target, hands over in the freeze, lets the target write, and gives up what the way back needed at the end.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Ask, Carried, Risk, StateKind};
use crate::fields::kinds::Settings;
use crate::fields::template::{self, Role, Sides, Use};
use crate::model::finding::Finding;
use crate::model::{HookPoint, Host, Side, Template};
use crate::step::{Draft, HookStep, Live, Moment, StepKind};
use crate::yaml::map::Map;
use crate::yaml::reader::Value;

/// Something at a path, and whether it is thought to be safe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleState {
    path: Template,
    safe: bool,
}

impl Settings for SampleState {
    const KEY: &'static str = "test_sample";
    const BESIDE: &'static [&'static str] = &["test_safe"];

    fn read(value: Value<'_>, map: &Map<'_>, uses: &mut Vec<Use>) -> Option<Self> {
        let safe = map.get("test_safe").and_then(|v| v.bool()).unwrap_or(true);
        let read = template::read(value, Role::Directory, Sides::Both, "a path", "test_sample: /srv/x")?;
        let path = read.template.value.clone();
        uses.push(read);
        Some(Self { path, safe })
    }
}

impl StateKind for SampleState {
    fn needs_freeze(&self) -> Option<&'static str> {
        Some("a sample is handed over in a freeze")
    }

    fn comes_back(&self) -> bool {
        true
    }

    fn asks(&self) -> Vec<Ask<'_>> {
        vec![Ask { side: Side::Target, path: &self.path, size: None }]
    }

    fn risks(&self) -> Vec<Risk> {
        let unsafe_one = Risk { what: "has a sample that is not safe", hint: "say `test_safe: true`" };
        if self.safe { Vec::new() } else { vec![unsafe_one] }
    }

    fn between<'a>(
        &'a self,
        source: &'a Host,
        target: &'a Host,
        job: String,
    ) -> Result<Box<dyn Carried + 'a>, Finding> {
        Ok(Box::new(Sample { job, source, target, path: target.fill(&self.path)? }))
    }
}

struct Sample<'a> {
    job: String,
    source: &'a Host,
    target: &'a Host,
    path: String,
}

impl Sample<'_> {
    fn command(&self, name: &str, host: &Host, run: &str, undo: Option<&str>) -> Draft {
        let step = HookStep {
            host: host.name.clone(),
            at: HookPoint::BeforePair,
            run: format!("{run} {}", self.path),
            timeout: Duration::from_secs(5),
            idempotent: false,
            done_when: None,
            undo: undo.map(|undo| format!("{undo} {}", self.path)),
            secrets: BTreeMap::new(),
            env: BTreeMap::new(),
        };
        Draft::new(name, StepKind::Hook(step))
    }
}

impl Carried for Sample<'_> {
    fn jobs(&self) -> Vec<&str> {
        vec![&self.job]
    }

    fn steps(&self, moment: Moment) -> Vec<Draft> {
        match moment {
            Moment::Prepare => vec![self.command("sample-place", self.target, "make", Some("remove"))],
            Moment::Fenced => vec![self.command("sample-fence", self.source, "fence", Some("open"))],
            Moment::Promoted => vec![self.command("sample-promote", self.target, "promote", Some("demote"))],
            Moment::Released => vec![self.command("sample-release", self.source, "release", None)],
            _ => Vec::new(),
        }
    }

    fn findings(&self, live: &dyn Live) -> Vec<Finding> {
        let there = live.host(&self.target.name).is_some_and(|host| host.paths.iter().any(|p| p.exists));
        there.then(|| Finding::risk(&self.target.name, "has a sample already")).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{self, LoadOptions};
    use crate::planner;
    use crate::planner::proposal::Proposal;
    use crate::rehearse::{Options, rehearse};
    use crate::render::{Show, Style};
    use crate::spec::Spec;
    use crate::yaml::Diagnostics;

    const INVENTORY: &str = "
hosts:
  dal-[1-2]: { address: \"10.0.0.[1-2]\" }
  fra-[1-2]: { address: \"10.0.1.[1-2]\" }
directors:
  edge: { haproxy: \"unix:/run/haproxy.sock\" }
";

    fn plan(strategy: &str, state: &str) -> String {
        format!(
            "
migration: samples
inventory: inventory.yaml
services:
  db:
    strategy: {strategy}
    move: {{ from: [dal-1, dal-2], to: [fra-1, fra-2] }}
    traffic: {{ director: edge, pool: db }}
    state: {state}
    health: {{ tcp: \"{{{{ address }}}}:80\", rise: 1, interval: 1s, within: 3s }}
    drain: {{ deadline: 5s, interval: 1s }}
    shift: {{ steps: [50%, 100%], hold: 1s }}
    hooks:
      - {{ at: freeze, run: stop, undo: start }}
      - {{ at: thaw, run: start, on: target, undo: stop }}
"
        )
    }

    fn load(strategy: &str, state: &str) -> Result<Spec, Diagnostics> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("inventory.yaml"), INVENTORY).unwrap();
        let path = dir.path().join("plan.yaml");
        std::fs::write(&path, plan(strategy, state)).unwrap();
        config::load(&path, None, &LoadOptions::default()).map(|(spec, _)| spec)
    }

    fn proposed(spec: &Spec) -> Proposal {
        planner::propose(spec, None)
    }

    #[test]
    fn a_new_kind_of_state_is_read_and_judged() {
        assert!(load("cutover", "{ test_sample: /srv/x }").is_ok());
        let told = |strategy, state| load(strategy, state).unwrap_err().to_string();
        assert!(told("cutover", "{ test_sample: relative }").contains("is not an absolute path"));
        assert!(told("cutover", "{ test_sampel: /srv/x, test_safe: true }").contains("unknown kind `test_sampel`"));
        assert!(told("cutover", "[{ test_sample: /srv/x }, { directory: /srv }]").contains("overlap"));
        assert!(told("ramp", "{ test_sample: /srv/x }").contains("a sample is handed over in a freeze"));
    }

    #[test]
    fn its_steps_stand_at_their_moments_and_can_be_gone_back_over() {
        let proposal =
            proposed(&load("cutover", "[{ test_sample: /srv/x, test_safe: false }, { test_sample: /srv/y }]").unwrap());
        let ids: Vec<&str> = proposal.graph.steps.iter().filter_map(|s| s.id.strip_prefix("db/dal-1/")).collect();
        let order = [
            "sample-place",
            "sample-place-2",
            "drain",
            "freeze",
            "sample-fence",
            "sample-promote",
            "thaw",
            "shift-50",
            "retire",
            "sample-release-2",
            "clean-up",
        ];
        let found: Vec<&str> = ids.iter().copied().filter(|id| order.contains(id)).collect();
        assert_eq!(found, order);
        let findings: Vec<&str> = proposal.findings.iter().map(|f| f.what.as_str()).collect();
        assert!(findings.contains(&"has a sample that is not safe"), "{findings:?}");
        let no_return = findings.iter().filter(|what| what.contains("point of no return"));
        assert_eq!(no_return.count(), 1, "the end of its way back, and nothing before it: {findings:?}");
        assert!(proposal.graph.step("db/no-return").is_none());
        assert!(proposal.text(Style { verbose: true, ..Style::default() }).contains("on dal-1: fence /srv/x"));
    }

    /// Every fault at every effect, on the way there and on the way back.
    #[test]
    fn it_moves_and_comes_back_whatever_happens() {
        let spec = load("cutover", "{ test_sample: /srv/x }").unwrap();
        let options = Options { faults: 1, limit: 100_000, seed: 1 };
        let report = rehearse(&spec, &proposed(&spec).graph, &options, &mut |_| {}).unwrap();
        println!("{}", report.text());
        assert!(report.holds() && report.done > 10 && report.rolled_back > 10);
    }
}
