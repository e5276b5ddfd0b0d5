//! Copies and whole migrations by logins that are not root.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command as Process, Stdio};

use serde_json::Value;

use super::*;
use crate::lab::accounts::{PASSWORD, UID};
use crate::lab::command::{Ended, Migrate};
use crate::lab::tree;

/// A greeting that ends without a line break, and a path that has nothing.
const ODD: Accounts<'_> = Accounts {
    sudoers: "Defaults secure_path=/nowhere\ndeploy ALL=(root) NOPASSWD: /bin/sh",
    doas: Some("permit nopass deploy as root"),
    shell: "/bin/bash",
    bashrc: "printf 'migrate:dir:/tmp\\033]0;%s\\007' \"$HOSTNAME\"",
    sshd: &[],
    before: "",
};

/// Two hosts, an inventory, and the program.
struct Pair {
    from: Guarded,
    to: Guarded,
    dir: tempfile::TempDir,
}

impl Pair {
    fn start(accounts: &Accounts<'_>, ssh: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let [from, to] = ["dal-1", "fra-1"].map(|name| Guarded::start(&dir.path().join(name), name, accounts));
        let hosts = from.inventory_line(ssh) + &to.inventory_line(ssh);
        fs::write(dir.path().join("inventory.yaml"), format!("hosts:\n{hosts}")).unwrap();
        fs::create_dir(dir.path().join("home")).unwrap();
        Self { from, to, dir }
    }

    fn migrate(&self) -> Migrate {
        Migrate::at(env!("CARGO_BIN_EXE_migrate"), self.dir.path())
    }

    fn copy(&self, more: &[&str]) -> Ended {
        let args = ["copy", "-i", "inventory.yaml", "dal-1:/srv/data/", "fra-1:/srv/data", "--format", "json"];
        self.migrate().run(&[&args, more].concat())
    }

    /// No agent, no key and no directory is left, and the login's files are still its own.
    fn assert_clean(&self) {
        for host in [&self.from, &self.to] {
            for entry in fs::read_dir(host.path("root/.migrate")).into_iter().flatten().flatten() {
                assert!(!entry.file_name().to_string_lossy().starts_with("agent"), "{:?}", entry.path());
            }
            assert!(!host.path("home/deploy/.migrate").exists());
            let keys = host.path("home/deploy/.ssh/authorized_keys");
            assert!(!fs::read_to_string(&keys).unwrap().contains("migrate-copy"));
            assert_eq!((fs::metadata(&keys).unwrap().uid(), fs::metadata(&keys).unwrap().gid()), (UID, UID));
        }
    }
}

/// A tree whose owners only root can keep, and of which some only root can read.
fn make_tree(root: &Path) {
    tree::seed_files(root, "files", 40, 1);
    for (name, owner, mode) in [("www", 33, 0o600), ("root", 0, 0o640), ("mine", UID, 0o644), ("gone", 4711, 0o6755)] {
        let path = root.join(name);
        fs::write(&path, name.repeat(1000)).unwrap();
        chown(&path, Some(owner), Some(owner)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::create_dir(root.join("closed")).unwrap();
    fs::write(root.join("closed/file"), "closed").unwrap();
    symlink("www", root.join("link")).unwrap();
    for name in ["closed", "closed/file", "link"] {
        std::os::unix::fs::lchown(root.join(name), Some(33), Some(33)).unwrap();
    }
    fs::set_permissions(root.join("closed"), fs::Permissions::from_mode(0o700)).unwrap();
}

/// The last event of a copy.
fn report(ended: Ended) -> Value {
    let ended = ended.expect(0);
    let last: Value = serde_json::from_str(ended.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(last["event"], "done", "{last}");
    last
}

#[test]
fn a_tree_with_foreign_owners_goes_from_host_to_host_by_sudo_and_doas() {
    for becomes in ["become: sudo", "become: doas"] {
        let pair = Pair::start(&ODD, becomes);
        make_tree(&pair.from.path("srv/data"));
        let done = report(pair.copy(&["--verify"]));
        assert_eq!(done["report"]["way"], "direct", "{done}");
        assert_eq!(tree::read(&pair.from.path("srv/data")), tree::read(&pair.to.path("srv/data")));
        pair.assert_clean();
    }
}

#[test]
fn a_greeting_breaks_nothing_without_sudo_either() {
    let pair = Pair::start(&ODD, "become: none");
    let from = pair.from.path("srv/data");
    tree::seed_files(&from, "files", 20, 1);
    fs::set_permissions(pair.to.path("srv"), fs::Permissions::from_mode(0o777)).unwrap();
    let given = Process::new("chown").args(["-R", "1500:1500"]).arg(&from).status().unwrap();
    assert!(given.success());
    let done = report(pair.copy(&["--verify"]));
    assert_eq!(done["report"]["way"], "direct", "{done}");
    assert_eq!(tree::read(&from), tree::read(&pair.to.path("srv/data")));
}

#[test]
fn a_password_stays_between_the_controller_and_each_host() {
    let accounts = Accounts { sudoers: "deploy ALL=(ALL) ALL", ..Accounts::default() };
    let pair = Pair::start(&accounts, "become: { method: sudo, password: { file: ./sudo.secret } }");
    fs::write(pair.dir.path().join("sudo.secret"), format!("{PASSWORD}\n")).unwrap();
    make_tree(&pair.from.path("srv/data"));
    let done = report(pair.copy(&["--verify"]));
    let why = done["report"]["way"]["relayed"]["why"].as_str().unwrap_or_default();
    assert_eq!(why, "sudo on fra-1 is told a password, and no other host is", "{done}");
    assert_eq!(tree::read(&pair.from.path("srv/data")), tree::read(&pair.to.path("srv/data")));
    pair.assert_clean();
}

const PLAN: &str = "\
migration: files
inventory: inventory.yaml
services:
  files:
    move: {from: dal-1, to: fra-1}
    state: {directory: /srv/data, bandwidth: 20MiB}
    drain: {stops_writes: true}
    hooks:
      - {at: freeze, run: id -un >/srv/frozen-by, undo: rm -f /srv/frozen-by, done_when: test -e /srv/frozen-by}
      - {at: thaw, run: id -un >>/srv/thawed-by, undo: rm -f /srv/thawed-by}
";

#[test]
fn a_whole_migration_runs_by_sudo_and_goes_back() {
    let pair = Pair::start(&ODD, "become: sudo");
    make_tree(&pair.from.path("srv/data"));
    let plan = PLAN.replace("    drain:", "    reverse: {until: commit}\n    drain:");
    fs::write(pair.dir.path().join("plan.yaml"), plan).unwrap();
    let planned = pair.migrate().run(&["plan", "plan.yaml"]).expect(0);
    assert!(!planned.stdout.contains("refused") && !pair.to.path("root/.migrate").exists(), "{}", planned.stdout);
    assert!(!pair.to.path("srv/data").exists(), "{}", planned.stdout);
    let mut apply = pair.migrate().start(&["apply", "plan.yaml", "--yes", "--format", "json"]);
    let moved = apply.read_until(|line| line.contains("\"intent\"") && line.contains("files/dal-1/commit"));
    assert!(moved.is_some(), "it ended before the pair had moved");
    assert_eq!(tree::read(&pair.from.path("srv/data")), tree::read(&pair.to.path("srv/data")));
    assert_eq!(fs::read_to_string(pair.from.path("srv/frozen-by")).unwrap(), "root\n");
    assert_eq!(fs::read_to_string(pair.to.path("srv/thawed-by")).unwrap(), "root\n");
    apply.kill();
    fs::write(pair.to.path("srv/data/taken-by-the-target"), "kept").unwrap();
    pair.migrate().run(&["rollback", "files", "--yes"]).expect(0);
    assert!(!pair.from.path("srv/frozen-by").exists() && !pair.to.path("srv/thawed-by").exists());
    assert_eq!(fs::read_to_string(pair.from.path("srv/data/taken-by-the-target")).unwrap(), "kept");
    pair.assert_clean();
}

#[test]
fn a_controller_that_is_killed_goes_on_by_sudo() {
    let pair = Pair::start(&ODD, "become: sudo");
    make_tree(&pair.from.path("srv/data"));
    fs::write(pair.from.path("srv/data/large"), vec![7; 8 << 20]).unwrap();
    fs::write(pair.dir.path().join("plan.yaml"), PLAN.replace("20MiB", "2MiB")).unwrap();
    let mut apply = pair.migrate().start(&["apply", "plan.yaml", "--yes", "--format", "json"]);
    let begun = apply.read_until(|line| line.contains("\"intent\"") && line.contains("/seed"));
    assert!(begun.is_some(), "it ended before the seed");
    apply.kill();
    pair.migrate().run(&["apply", "plan.yaml", "--yes"]).expect(0);
    assert_eq!(tree::read(&pair.from.path("srv/data")), tree::read(&pair.to.path("srv/data")));
    assert_eq!(fs::read_to_string(pair.to.path("srv/thawed-by")).unwrap(), "root\n");
    pair.assert_clean();
}

#[test]
fn plan_says_on_which_host_sudo_refuses_and_what_to_do() {
    let accounts = Accounts { sudoers: "deploy ALL=(ALL) ALL", ..Accounts::default() };
    let pair = Pair::start(&accounts, "become: sudo");
    make_tree(&pair.from.path("srv/data"));
    fs::write(pair.dir.path().join("plan.yaml"), PLAN).unwrap();
    let refused = pair.migrate().command(&["plan", "plan.yaml"]).stdout(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stdout);
    assert!(!refused.status.success(), "{said}");
    for host in ["dal-1", "fra-1"] {
        let line = format!("{host}: cannot be reached: sudo does not let deploy become root: it asks for a password");
        assert!(said.contains(&line), "{said}");
    }
    assert!(said.contains("give `password` under `become`"), "{said}");
}

#[test]
fn owners_that_cannot_be_kept_are_refused_or_told() {
    let pair = Pair::start(&ODD, "become: none");
    make_tree(&pair.from.path("srv/data"));
    fs::set_permissions(pair.to.path("srv"), fs::Permissions::from_mode(0o777)).unwrap();
    fs::write(pair.dir.path().join("plan.yaml"), PLAN).unwrap();
    let plan = || String::from_utf8(pair.migrate().command(&["plan", "plan.yaml"]).output().unwrap().stdout).unwrap();
    let said = plan();
    assert!(said.contains("refused: dal-1:/srv/data: 3 entries cannot be read by deploy"), "{said}");
    assert!(said.contains("belong to others, and deploy on fra-1 cannot give them away"), "{said}");
    assert!(said.contains("say `become: sudo` under `ssh` of fra-1"), "{said}");

    for closed in ["www", "root"] {
        fs::set_permissions(pair.from.path("srv/data").join(closed), fs::Permissions::from_mode(0o644)).unwrap();
    }
    fs::set_permissions(pair.from.path("srv/data/closed"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(pair.dir.path().join("plan.yaml"), PLAN.replace("bandwidth", "owners: drop, bandwidth")).unwrap();
    let said = plan();
    assert!(!said.contains("refused") && said.contains("get the owner deploy"), "{said}");
    let done = report(pair.copy(&["--owners", "drop", "--verify"]));
    assert!(done["verified"]["disowned"].as_u64().unwrap() > 40, "{done}");
    let text = ["copy", "-i", "inventory.yaml", "dal-1:/srv/data/", "fra-1:/srv/data", "--verify"];
    let said = pair.migrate().run(&text).expect(0).stdout;
    assert!(said.contains("attributes but for owners; ") && said.contains("owners could not be kept"), "{said}");
}
