//! Plans and inventories of any size.

#![allow(dead_code, reason = "the bench and the tests use some of them each")]

use std::path::{Path, PathBuf};

/// Ranges stand for so many names at most.
const RANGE: usize = 10_000;

/// What holds for every service.
const SERVICE: &str = r#"    traffic: { director: edge, pool: uploads }
    state: { directory: /srv/uploads }
    health: { http: "http://{{ address }}:8080/health" }
    shift: { steps: [50%, 100%] }
    min_capacity: 50%
    hooks:
      - { at: freeze, run: systemctl stop uploads, undo: systemctl start uploads }
      - { at: thaw, run: systemctl start uploads, undo: systemctl stop uploads }
"#;

/// Writes a plan that moves so many pairs by cutover, in so many waves of one service each; returns its path.
pub fn cutover(dir: &Path, pairs: usize, waves: usize) -> PathBuf {
    let per_wave = pairs / waves;
    let range = |side: &str, wave: usize| format!("\"{side}{wave}-[{:05}-{per_wave:05}]\"", 1);
    let mut hosts = String::new();
    let mut services = String::new();
    let mut order = String::new();
    for wave in 0..waves {
        for side in ["dal", "fra"] {
            hosts += &format!("  {}: {{ address: \"{{{{ name }}}}.{side}.example\" }}\n", range(side, wave));
        }
        let (from, to) = (range("dal", wave), range("fra", wave));
        services += &format!("  uploads{wave}:\n    move: {{ from: [{from}], to: [{to}] }}\n{SERVICE}");
        order += &format!("  - {{ name: w{wave:05}, services: [uploads{wave}], max_unavailable: 3 }}\n");
    }
    let plan = format!("migration: fleet\ninventory: inventory.yaml\nservices:\n{services}waves:\n{order}");
    write(dir, &hosts, "", &plan)
}

/// Writes an inventory of so many hosts, and a plan that moves ten of them; returns the plan's path.
pub fn hosts(dir: &Path, count: usize) -> PathBuf {
    let mut hosts = String::new();
    for (n, first) in (0..count / 2).step_by(RANGE).enumerate() {
        let last = RANGE.min(count / 2 - first);
        for side in ["dal", "fra"] {
            let address = "\"{{ name }}.example\"";
            hosts +=
                &format!("  \"{side}{n}-[00001-{last:05}]\": {{ address: {address}, site: {side}, tags: [web] }}\n");
        }
    }
    let groups =
        "sites: { dal: , fra: }\ngroups:\n  old: { site: dal, tags: [web] }\n  new: { site: fra, tags: [web] }\n";
    let moves = "    move: { from: [dal0-00001, dal0-00002], to: [fra0-00001, fra0-00002] }\n";
    let plan = format!("migration: few\ninventory: inventory.yaml\nservices:\n  uploads:\n{moves}{SERVICE}");
    write(dir, &hosts, groups, &plan)
}

fn write(dir: &Path, hosts: &str, rest: &str, plan: &str) -> PathBuf {
    let directors = "directors:\n  edge: { haproxy: \"unix:/run/haproxy/admin.sock\" }\n";
    std::fs::write(dir.join("inventory.yaml"), format!("hosts:\n{hosts}{rest}{directors}")).unwrap();
    let path = dir.join("plan.yaml");
    std::fs::write(&path, plan).unwrap();
    path
}
