//! A kind in one file goes from an inventory to a rollback.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

use super::dial::Local;
use super::sample::{Table, Tables};
use super::*;
use crate::config::{LoadOptions, load, load_inventory};
use crate::host::{Command, Output};
use crate::model::Mode;
use crate::model::finding::Finding;
use crate::outside::Kind;
use crate::planner;
use crate::planner::observed::{Observed, Seen};
use crate::rehearse;
use crate::secret::{Secret, SecretError, SecretRef};
use crate::spec::Spec;

/// Every host is this machine.
struct Here;

#[async_trait]
impl Commands for Here {
    async fn run(&self, host: &str, command: &Command) -> Result<Output, Error> {
        assert_eq!(host, "lb-1");
        let mut sh = std::process::Command::new("sh");
        sh.arg("-c").arg(&command.script).arg("sh").args(&command.args).envs(&command.env);
        let output = sh.output().unwrap();
        let status = output.status.code().unwrap();
        Ok(Output { status, stdout: output.stdout, stderr: output.stderr, truncated: false })
    }
}

struct OneSecret(&'static str);

impl Secrets for OneSecret {
    fn resolve(&self, reference: &SecretRef) -> Result<Secret, SecretError> {
        assert_eq!(*reference, SecretRef::Env("TOKEN".to_owned()));
        Ok(Secret::new(self.0))
    }
}

fn context(secret: &'static str) -> Context {
    Context { secrets: Arc::new(OneSecret(secret)), dial: Arc::new(Local), commands: Arc::new(Here) }
}

const INVENTORY: &str = "\
hosts:
  lb-1: { address: 10.0.2.1 }
  dal-[1-2]: { address: \"10.0.0.[1-2]\" }
  fra-[1-2]: { address: \"10.0.1.[1-2]\", capacity: 150 }
directors:
  table: { test_weights_file: { host: lb-1, path: PATH, token: { env: TOKEN } } }
";

const PLAN: &str = "\
migration: there
inventory: inventory.yaml
services:
  web:
    move: { from: [dal-1, dal-2], to: [fra-1, fra-2] }
    traffic: { director: table, pool: Web, ttl: 5s }
    health: { tcp: \"{{ address }}:80\", rise: 1, interval: 1s, within: 3s }
    shift: { steps: [50%, 100%], hold: 1s }
";

/// A plan, its inventory and its file in a private directory.
struct Files(tempfile::TempDir);

impl Files {
    fn new(plan: &str, inventory: &str) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        std::fs::write(files.0.path().join("plan.yaml"), plan).unwrap();
        let inventory = inventory.replace("PATH", &files.table().display().to_string());
        std::fs::write(files.0.path().join("inventory.yaml"), inventory).unwrap();
        std::fs::write(files.table(), r#"{"web":{"ttl":60,"weights":{"10.0.0.1":80,"10.0.0.2":100}}}"#).unwrap();
        files
    }

    fn table(&self) -> std::path::PathBuf {
        self.0.path().join("weights.json")
    }

    fn web(&self) -> Table {
        serde_json::from_slice::<Tables>(&std::fs::read(self.table()).unwrap()).unwrap().remove("web").unwrap()
    }

    fn load(&self) -> Result<Spec, String> {
        let path: &Path = self.0.path();
        let loaded = load(&path.join("plan.yaml"), None, &LoadOptions::default());
        loaded.map(|(spec, _)| spec).map_err(|e| e.to_string().replace(&path.display().to_string(), "HERE"))
    }
}

fn weights(of: &[(&str, u16)]) -> BTreeMap<String, u16> {
    of.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).collect()
}

/// What the plan says when the pool has been looked at.
fn proposed(spec: &Spec, pool: Pool) -> planner::proposal::Proposal {
    let pools = BTreeMap::from([(Observed::pool_key("table", "web"), Seen::Live(pool))]);
    planner::propose(spec, Some(&Observed { pools, ..Observed::default() }))
}

#[test]
fn a_kind_in_one_file_goes_from_the_inventory_through_the_plan_there_and_back() {
    let files = Files::new(PLAN, INVENTORY);
    let spec = files.load().unwrap();
    assert_eq!(spec.plan.services[0].traffic[0].pool, "web", "the one name of the pool");
    let director = spec.inventory.directors["table"].kind().connect("table", &context("sesame")).unwrap();

    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(director.writable("web")).unwrap();
    let proposal = proposed(&spec, runtime.block_on(director.observe("web")).unwrap());
    assert_eq!(proposal.refusals().collect::<Vec<_>>(), Vec::<&Finding>::new());
    let about = format!("has 2 members in {} and gets 10.0.1.1 and 10.0.1.2", files.table().display());
    assert!(proposal.findings.contains(&Finding::note("table web", about)), "{:?}", proposal.findings);
    let lines = proposal.waves[0].groups.iter().flat_map(|g| &g.lines);
    let seen: Vec<&str> = lines.filter_map(|line| line.seen.as_deref()).collect();
    // Weights of 80 and 100 on hosts of capacity 100 are 120 and 150 on hosts of capacity 150. At 50 % each side has half of the 180 that
    // there were; one that has none is still there.
    assert_eq!(
        seen,
        ["1m 00s → 5 s", "absent → 40, absent → 50, 80 → 40, 100 → 50", "40 → 120, 50 → 150", "40 → 0", "50 → 0"]
    );

    let directors = BTreeMap::from([("table".to_owned(), director)]);
    let before = files.web();
    rehearse::there_and_back(&spec, &proposal.graph, directors, || {
        let there = weights(&[("10.0.0.1", 0), ("10.0.0.2", 0), ("10.0.1.1", 120), ("10.0.1.2", 150)]);
        assert_eq!(files.web(), Table { ttl: 60, weights: there });
    });
    let back = weights(&[("10.0.0.1", 80), ("10.0.0.2", 100), ("10.0.1.1", 0), ("10.0.1.2", 0)]);
    assert_eq!(files.web(), Table { ttl: before.ttl, weights: back });
}

#[test]
fn a_kind_in_one_file_is_rehearsed_by_what_it_can_do() {
    let spec = Files::new(PLAN, INVENTORY).load().unwrap();
    let proposal = planner::propose(&spec, None);
    let options = rehearse::Options { faults: 1, limit: 400_000, seed: 1 };
    let report = rehearse::rehearse(&spec, &proposal.graph, &options, &mut |_| {}).unwrap();
    assert!(report.holds(), "{}", report.text());
}

#[test]
fn an_unknown_kind_is_answered_with_the_kinds_there_are() {
    let files = Files::new("", "directors: { edge: { weights: x } }\n");
    let error = load_inventory(&[&files.0.path().join("inventory.yaml")], &LoadOptions::default()).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("unknown kind `weights` in director"), "{error}");
    for kind in DirectorConfig::KINDS {
        assert!(error.contains(&format!("`{kind}`")), "{error}");
    }
}

#[test]
fn what_a_kind_cannot_be_used_for_is_said_where_it_is_written() {
    let inventory = INVENTORY.replace("host: lb-1", "host: lb-2").replace("10.0.0.[1-2]", "11.0.0.[1-2]");
    let error = Files::new(&PLAN.replace("pool: Web", "pool: w3b"), &inventory).load().unwrap_err();
    for said in [
        "error: unknown host `lb-2`\n --> HERE/inventory.yaml:6:",
        "error: `w3b` cannot be the name of a table\n --> HERE/plan.yaml:6:",
        "error: host `dal-1` would be the member `11.0.0.1`, which is not in 10.0.0.0/8",
    ] {
        assert!(error.contains(said), "{said}\n\n{error}");
    }
}

#[test]
fn a_refused_write_changes_nothing() {
    let files = Files::new(PLAN, INVENTORY);
    let spec = files.load().unwrap();
    let director = spec.inventory.directors["table"].kind().connect("table", &context("wrong")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (before, change) = (files.web(), Change { member: "10.0.1.1".to_owned(), weight: 1, mode: Mode::Ready });
    let error = runtime.block_on(director.apply("web", &[change])).unwrap_err();
    assert_eq!((error.kind, files.web()), (Kind::Refused, before));
}
