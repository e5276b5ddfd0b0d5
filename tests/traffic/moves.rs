//! A service is moved through directors with the controller killed in every step, and back again: what was there before is there.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::lab::command::{Ended, Migrate};
use crate::lab::sshd::Sshd;

/// Hosts `dal-1` and `fra-1` behind one director, in a directory of its own.
pub struct Move {
    migrate: Migrate,
    _hosts: [Sshd; 2],
    _dir: tempfile::TempDir,
}

impl Move {
    /// `director` is what the inventory says of it; members are what `member` makes of a host.
    pub fn new(
        director: &str,
        pool: &str,
        member: &str,
        (dal, fra): (SocketAddr, SocketAddr),
        vars: [&str; 2],
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let hosts = ["dal-1", "fra-1"].map(|name| Sshd::start(&dir.path().join(name), name));
        let host = |sshd: &Sshd, at: SocketAddr, member: &str| {
            let (ip, port, user) = (sshd.addr().ip(), sshd.addr().port(), crate::lab::sshd::user());
            let (key, known) = (sshd.client_key(), sshd.known_hosts());
            let files = format!("key: \"{}\", known_hosts: \"{}\"", key.display(), known.display());
            let ssh = format!("{{ address: {ip}, port: {port}, user: {user}, {files} }}");
            format!("{{ address: {}, ssh: {ssh}, vars: {{ port: {}, member: \"{member}\" }} }}", at.ip(), at.port())
        };
        let inventory = format!(
            "hosts:\n  dal-1: {}\n  fra-1: {}\ndirectors:\n  edge: {director}\n",
            host(&hosts[0], dal, vars[0]),
            host(&hosts[1], fra, vars[1])
        );
        let plan = format!(
            "migration: web\ninventory: inventory.yaml\nservices:\n  web:\n    strategy: ramp\n    move: {{ from: [dal-1], to: [fra-1] }}\n    \
             traffic: {{ director: edge, pool: {pool}, member: \"{member}\", others_stay: true, address: any }}\n    \
             health: {{ tcp: \"{{{{ address }}}}:{{{{ port }}}}\", interval: 50ms, rise: 1 }}\n    \
             drain: {{ deadline: 30s, interval: 50ms }}\n    shift: {{ steps: [50%, 100%], hold: 100ms }}\n"
        );
        std::fs::write(dir.path().join("inventory.yaml"), inventory).unwrap();
        std::fs::write(dir.path().join("plan.yaml"), plan).unwrap();
        std::fs::create_dir(dir.path().join("home")).unwrap();
        Self { migrate: Migrate::at(env!("CARGO_BIN_EXE_migrate"), dir.path()), _hosts: hosts, _dir: dir }
    }

    /// Applies until it is done, killed once in each step that it begins; tells in which.
    pub fn apply_with_kills(&self) -> BTreeSet<String> {
        let mut killed = BTreeSet::new();
        for _ in 0..100 {
            let mut apply = self.migrate.start(&["apply", "plan.yaml", "--yes", "--format", "json"]);
            match apply.read_until(|line| begun(line).is_some_and(|step| !killed.contains(&step))) {
                Some(line) => {
                    apply.kill();
                    killed.extend(begun(&line));
                }
                None => {
                    apply.finish().expect(0);
                    return killed;
                }
            }
        }
        panic!("it does not come to an end; killed in {killed:?}");
    }

    /// Applies until a step of that name has begun, and is killed there.
    pub fn apply_until(&self, step: &str) {
        let mut apply = self.migrate.start(&["apply", "plan.yaml", "--yes", "--format", "json"]);
        let found = apply.read_until(|line| begun(line).is_some_and(|begun| begun.contains(step)));
        assert!(found.is_some(), "no {step}: {}", apply.finish().stdout);
        apply.kill();
    }

    /// Applies, and tells how it ended.
    pub fn apply(&self) -> Ended {
        self.migrate.run(&["apply", "plan.yaml", "--yes"])
    }

    /// Goes all the way back.
    pub fn roll_back(&self) {
        self.migrate.run(&["rollback", "web-1", "--yes"]).expect(0);
    }
}

/// The step that a line says is about to act.
fn begun(line: &str) -> Option<String> {
    let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("not JSON: {e}: {line}"));
    let event = &line["event"];
    (event["event"] == "intent").then(|| event["step"].as_str().unwrap().to_owned())
}
