//! Small plans, two pairs of each strategy.

#![allow(dead_code, reason = "each test binary uses some of them")]

use migrate::config::{self, LoadOptions};
use migrate::planner;
use migrate::spec::Spec;
use migrate::step::Graph;

const INVENTORY: &str = "
hosts:
  dal-1: { address: 10.0.0.1, vars: { softlayer_id: \"1001\", softlayer_kind: hardware, fqdn: dal-1.example.com, billing_item: \"1\" } }
  dal-2: { address: 10.0.0.2, vars: { softlayer_id: \"1002\", softlayer_kind: hardware, fqdn: dal-2.example.com, billing_item: \"2\" } }
  fra-[1-2]: { address: \"10.0.1.[1-2]\" }
directors:
  edge: { haproxy: \"unix:/run/haproxy.sock\" }
  far: { haproxy: \"unix:/run/far.sock\" }
  zone: { dns: { zone: example.org, primary: 10.0.0.53, key: { name: k, secret: { env: TSIG } } } }
";

/// Both sides serve, weights move in steps.
pub const RAMP: &str = "
migration: ramp
inventory: inventory.yaml
services:
  web:
    strategy: ramp
    move: { from: [dal-1, dal-2], to: [fra-1, fra-2] }
    traffic: { director: edge, pool: web }
    health: { tcp: \"{{ address }}:80\", rise: 2, interval: 1s, within: 3s }
    drain: { deadline: 5s, interval: 1s }
    shift: { steps: [50%, 100%], hold: 1s }
";

/// One writer at a time, behind weights.
pub const CUTOVER: &str = "
migration: cutover
inventory: inventory.yaml
services:
  uploads:
    strategy: cutover
    move: { from: [dal-1, dal-2], to: [fra-1, fra-2] }
    traffic: { director: edge, pool: uploads }
    state: { directory: /srv/uploads }
    health: { tcp: \"{{ address }}:80\", rise: 2, interval: 1s, within: 3s }
    drain: { deadline: 5s, interval: 1s }
    shift: { steps: [50%, 100%], hold: 1s }
    reverse: off
    hooks:
      - { at: freeze, run: freeze, undo: unfreeze }
      - { at: thaw, run: thaw, undo: unthaw }
";

/// One writer at a time, and what it has is poured from one command into another.
pub const STREAM: &str = "
migration: stream
inventory: inventory.yaml
services:
  db:
    strategy: cutover
    move: { from: [dal-1], to: [fra-1] }
    traffic: { director: edge, pool: db }
    state: { stream: { from: pg_dump app, to: psql app } }
    health: { tcp: \"{{ address }}:80\", rise: 2, interval: 1s, within: 3s }
    drain: { deadline: 5s, interval: 1s }
    shift: { steps: [100%], hold: 1s }
    hooks:
      - { at: freeze, run: freeze, undo: unfreeze }
      - { at: thaw, run: thaw, undo: unthaw }
  other:
    strategy: ramp
    move: { from: [dal-2], to: [fra-2] }
    traffic: { director: edge, pool: db }
    shift: { steps: [100%], hold: 1s }
waves:
  - { name: first, services: db }
  - { name: last, services: other, after: first }
";

/// One writer at a time, behind names.
pub const CUTOVER_BY_NAME: &str = "
migration: cutover-by-name
inventory: inventory.yaml
services:
  uploads:
    strategy: cutover
    move: { from: [dal-1, dal-2], to: [fra-1, fra-2] }
    traffic: { director: zone, pool: uploads.example.org, port: 80, ttl: 10s }
    state: { directory: /srv/uploads }
    health: { tcp: \"{{ address }}:80\", rise: 2, interval: 1s, within: 3s }
    drain: { deadline: 5s, interval: 1s }
    shift: { steps: [100%], hold: 1s }
    reverse: off
    hooks:
      - { at: freeze, idempotent: true, run: freeze, undo: unfreeze }
      - { at: thaw, idempotent: true, run: thaw, undo: unthaw }
";

/// The same plan with `other` before the director that each service has.
pub fn behind(plan: &str, other: &str) -> String {
    let mut services = plan.split("traffic: { ");
    let mut out = services.next().unwrap().to_owned();
    for service in services {
        let (binding, rest) = service.split_once(" }\n").unwrap();
        out += &format!("traffic: [{other}, {{ {binding} }}]\n{rest}");
    }
    out
}

/// A zone in front of the director that the plan has.
pub const ZONE: &str = "{ director: zone, pool: www.example.org, member: \"{{ address }}\", port: 80, ttl: 10s }";

/// A balancer beside it.
pub const FAR: &str = "{ director: far, pool: far }";

/// The same with a way back.
pub fn and_back(plan: &str) -> String {
    plan.replace("reverse: off", "reverse: 2s")
}

/// One pair with state, and another that keeps its pool alive, so that few histories show a mistake.
pub fn one(setting: &str, hooks: &str) -> String {
    format!(
        "
migration: one
inventory: inventory.yaml
services:
  uploads:
    strategy: cutover
    move: {{ from: [dal-1], to: [fra-1] }}
    traffic: {{ director: edge, pool: uploads }}
    state: {{ directory: /srv/uploads }}
    health: {{ tcp: \"{{{{ address }}}}:80\", rise: 1, interval: 1s, within: 3s }}
    drain: {{ deadline: 5s, interval: 1s }}
    shift: {{ steps: [100%], hold: 1s }}
    {setting}
    hooks:
      - {{ at: freeze, run: freeze, undo: unfreeze{hooks} }}
      - {{ at: thaw, run: thaw, undo: unthaw{hooks} }}
  other:
    strategy: ramp
    move: {{ from: [dal-2], to: [fra-2] }}
    traffic: {{ director: edge, pool: uploads }}
    shift: {{ steps: [100%], hold: 1s }}
waves:
  - {{ name: first, services: uploads }}
  - {{ name: last, services: other, after: first }}
"
    )
}

/// What gives the sources of a service back.
pub const GIVEN_BACK: &str = "decommission: { softlayer: { when: next_bill }, quiet_for: 3d, interval: 1m }";

/// A pair without state whose source is given back, and another that keeps its pool alive.
pub fn ramp_and_give_back() -> String {
    format!(
        "
migration: ramp
inventory: inventory.yaml
services:
  web:
    strategy: ramp
    move: {{ from: [dal-1], to: [fra-1] }}
    traffic: {{ director: edge, pool: web }}
    drain: {{ deadline: 5s, interval: 1s }}
    shift: {{ steps: [100%], hold: 1s }}
    {GIVEN_BACK}
  other:
    strategy: ramp
    move: {{ from: [dal-2], to: [fra-2] }}
    traffic: {{ director: edge, pool: web }}
    shift: {{ steps: [100%], hold: 1s }}
waves:
  - {{ name: first, services: web }}
  - {{ name: last, services: other, after: first }}
"
    )
}

/// Reads a plan and compiles it as `plan --offline` does.
pub fn compile(plan: &str) -> (Spec, Graph) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("inventory.yaml"), INVENTORY).unwrap();
    let path = dir.path().join("plan.yaml");
    std::fs::write(&path, plan).unwrap();
    let (spec, _) = config::load(&path, None, &LoadOptions::default()).unwrap_or_else(|e| panic!("{e}"));
    let proposal = planner::propose(&spec, None);
    assert_eq!(proposal.refusals().collect::<Vec<_>>(), Vec::<&migrate::model::finding::Finding>::new());
    (spec, proposal.graph)
}
