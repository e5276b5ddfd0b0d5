//! `migrate copy`, as its users meet it: every way round, every flag.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::copy::over_ssh::Hosts;
use crate::copy::pair::differences;
use crate::copy::tree::{DEEP, is_root, make_odd_tree, noise, set_mtime};
use crate::lab::agent;
use crate::lab::process::PATIENCE;
use crate::lab::sshd::Sshd;

/// Two hosts, a home directory on this machine, an inventory.
pub struct Desk {
    pub hosts: Hosts,
}

pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Desk {
    pub fn new() -> Self {
        Self::of(Hosts::start())
    }

    pub fn of(hosts: Hosts) -> Self {
        fs::create_dir(hosts.dir.path().join("home")).unwrap();
        let desk = Self { hosts };
        let lines: String = [&desk.hosts.source, &desk.hosts.target].map(inventory_line).concat();
        fs::write(desk.path("inventory.yaml"), format!("hosts:\n{lines}")).unwrap();
        desk
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.hosts.dir.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// `migrate copy`, with the inventory.
    fn command(&self, args: &[&str]) -> Command {
        let inventory = self.text("inventory.yaml");
        self.any(&[&["copy", "-i", &inventory], args].concat())
    }

    /// Any command, in this directory.
    pub fn any(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_migrate"));
        command
            .current_dir(self.hosts.dir.path())
            .env("HOME", self.path("home"))
            .env("MIGRATE_STATE_DIR", self.path("state"))
            .env("MIGRATE_AGENTS", agent::directory())
            .env_remove("SSH_AUTH_SOCK")
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn copy(&self, args: &[&str]) -> Ran {
        ran(self.command(args).spawn().unwrap())
    }

    /// A copy that ends well; the report of its last event.
    fn report(&self, args: &[&str]) -> Value {
        let ran = self.copy(&[args, &["--format", "json"]].concat());
        assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
        let last: Value = serde_json::from_str(ran.out.lines().last().unwrap()).unwrap();
        assert_eq!(last["event"], "done", "{last}");
        last["report"].clone()
    }

    /// Neither agents nor keys stay anywhere.
    pub fn assert_clean(&self) {
        for home in [self.path("home"), self.hosts.source.home(), self.hosts.target.home()] {
            for entry in fs::read_dir(home.join(".migrate")).into_iter().flatten().flatten() {
                assert!(!entry.file_name().to_string_lossy().starts_with("agent"), "{:?}", entry.path());
            }
            let keys = fs::read_to_string(home.join(".ssh/authorized_keys")).unwrap_or_default();
            assert!(!keys.contains("migrate-copy"), "{keys}");
        }
    }
}

fn inventory_line(sshd: &Sshd) -> String {
    let host = sshd.host();
    format!(
        "  {}: {{ address: {}, ssh: {{ user: {}, port: {}, key: {}, known_hosts: {} }} }}\n",
        host.name,
        host.address,
        host.ssh.user.unwrap(),
        host.ssh.port.unwrap(),
        sshd.client_key().display(),
        sshd.known_hosts().display()
    )
}

pub fn ran(child: Child) -> Ran {
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

pub fn signal(child: &Child) {
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
}

pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn assert_same(source: &Path, target: &Path) {
    let skip = format!("--exclude=/{}/", String::from_utf8_lossy(&DEEP));
    assert_eq!(differences(source, target, &[&skip]), "");
}

/// Copies an odd tree, then a change of it, and compares by rsync.
fn round_trip(source: &str, target: &str) {
    let desk = Desk::new();
    make_odd_tree(&desk.path("data"));
    let place = |host: &str, name: &str| match host {
        "here" => name.to_owned(),
        host => format!("{host}:{}", desk.text(name)),
    };
    let (from, to) = (place(source, "data/"), place(target, "copied"));
    let first = desk.report(&[&from, &to]);
    assert!(first["files_sent"].as_u64().unwrap() > 30, "{first}");
    assert_same(&desk.path("data"), &desk.path("copied"));
    desk.assert_clean();
    // The record of the first copy holds.
    assert_eq!(desk.report(&[&from, &to])["files_sent"], 0);
    fs::write(desk.path("data/plain"), b"changed").unwrap();
    fs::remove_file(desk.path("data/empty")).unwrap();
    let third = desk.report(&[&from, &to, "--delete", "--verify"]);
    assert_eq!((&third["files_sent"], &third["deleted"]), (&1.into(), &1.into()));
    assert_same(&desk.path("data"), &desk.path("copied"));
    desk.assert_clean();
}

#[test]
fn from_host_to_host() {
    round_trip("old", "new");
}

#[test]
fn from_here_to_a_host() {
    round_trip("here", "new");
}

#[test]
fn from_a_host_to_here() {
    round_trip("old", "here");
}

#[test]
fn from_here_to_here() {
    round_trip("here", "here");
}

#[test]
fn what_somebody_else_did_to_the_target_is_made_good_by_the_same_command() {
    let desk = Desk::new();
    let (data, copied) = (desk.path("data"), desk.path("copied"));
    fs::create_dir_all(data.join("sub/deep")).unwrap();
    for name in ["a", "sub/b", "sub/deep/c"] {
        fs::write(data.join(name), name).unwrap();
    }
    fs::write(data.join("large"), noise(1, 9 << 20)).unwrap();
    let (from, to) = (format!("old:{}/", desk.text("data")), format!("new:{}", desk.text("copied")));
    let again = |args: &[&str]| {
        let report = desk.report(&[&[from.as_str(), to.as_str()], args].concat());
        (report["files_sent"].as_u64().unwrap(), report["deleted"].as_u64().unwrap())
    };
    assert_eq!(again(&[]), (4, 0));
    assert_eq!(again(&[]), (0, 0), "as it was left");
    // Everything in it is removed; it stays the same directory.
    for entry in fs::read_dir(&copied).unwrap().flatten() {
        let gone = if entry.path().is_dir() { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) };
        gone.unwrap();
    }
    assert_eq!(again(&[]), (4, 0));
    assert_same(&data, &copied);
    fs::remove_file(copied.join("sub/deep/c")).unwrap();
    fs::write(copied.join("sub/b"), b"bad").unwrap();
    assert_eq!(again(&[]), (2, 0));
    assert_same(&data, &copied);
    fs::write(copied.join("sub/extra"), b"1").unwrap();
    assert_eq!(again(&[]), (0, 0), "nothing is removed without --delete");
    assert_eq!(again(&["--delete"]), (0, 1));
    assert_same(&data, &copied);
    // What is as it was left is known well enough that a new name sends nothing.
    assert_eq!(again(&["--delete"]), (0, 0));
    fs::rename(data.join("large"), data.join("renamed")).unwrap();
    let report = desk.report(&[&from, &to, "--delete"]);
    assert_eq!(report["bytes_sent"], 0, "{report}");
    assert_same(&data, &copied);
}

#[test]
fn everything_goes_through_this_machine_where_that_is_asked_for() {
    let desk = Desk::new();
    fs::create_dir(desk.path("data")).unwrap();
    fs::write(desk.path("data/a"), b"1").unwrap();
    let (from, to) = (format!("old:{}/", desk.text("data")), format!("new:{}", desk.text("copied")));
    desk.report(&[&from, &to, "--relay"]);
    assert_same(&desk.path("data"), &desk.path("copied"));
    assert_eq!(desk.hosts.direct_logins(), 0, "only the controller's own");
}

#[test]
fn without_a_slash_the_directory_itself_goes_into_the_target_which_is_made() {
    let desk = Desk::new();
    fs::create_dir(desk.path("data")).unwrap();
    fs::write(desk.path("data/a"), b"1").unwrap();
    let to = format!("new:{}/", desk.text("copied"));
    desk.report(&["data", &to]);
    assert_eq!(fs::read(desk.path("copied/data/a")).unwrap(), b"1");
    desk.report(&["data/.", &to]);
    assert_eq!(fs::read(desk.path("copied/a")).unwrap(), b"1");
    assert!(desk.path("copied/data/a").exists(), "nothing is removed without --delete");
    let missing = desk.copy(&["data", &format!("new:{}/no/where", desk.text("copied"))]);
    assert_eq!(missing.code, 1);
    assert!(missing.err.contains("cannot make") && missing.err.contains("No such file"), "{}", missing.err);
}

#[test]
fn patterns_are_tried_in_the_order_of_the_command_line() {
    let desk = Desk::new();
    fs::create_dir_all(desk.path("data/cache")).unwrap();
    for name in ["a.log", "keep.log", "b", "cache/c"] {
        fs::write(desk.path("data").join(name), name).unwrap();
    }
    let rules = ["--include", "keep.log", "--exclude", "*.log", "--exclude", "/cache/", "--include", "c"];
    desk.report(&[&["data/", "copied"], &rules[..]].concat());
    let mut names: Vec<_> =
        fs::read_dir(desk.path("copied")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["b", "keep.log"]);
    desk.report(&["data/", "other", "--exclude", "*.log", "--include", "keep.log"]);
    assert!(!desk.path("other/keep.log").exists());
}

#[test]
fn a_dry_run_finds_a_target_that_is_full_read_only_or_closed() {
    let mut desk = Desk::new();
    fs::create_dir(desk.path("data")).unwrap();
    fs::write(desk.path("data/file"), noise(1, 1 << 20)).unwrap();
    for dir in ["small", "fixed"] {
        fs::create_dir(desk.path(dir)).unwrap();
    }
    let (small, fixed) = (desk.path("small"), desk.path("fixed"));
    for (dir, options, place, words) in [
        (&small, "size=256k", "small", ["has room for", "1.0 MiB would have to go there", "make room"]),
        (&small, "size=256k", "small/new", ["KiB are free", "the source has 1.0 MiB", "make room"]),
        (&fixed, "ro", "fixed", ["/fixed cannot be written", "mounted read-only", "remount it read-write on new"]),
        (&fixed, "ro", "fixed/new", ["/fixed/new cannot be written", "mounted read-only", "kernel log"]),
    ] {
        if !desk.hosts.target.mount_small(dir, options) {
            return;
        }
        let target = format!("new:{}", desk.text(place));
        let shown = desk.copy(&["data/", &target, "-n"]);
        assert_eq!(shown.code, 1, "{}", shown.out);
        assert!(shown.out.contains("would send 1 file (1.0 MiB)"), "{}", shown.out);
        words.iter().for_each(|word| assert!(shown.err.contains(word), "{word}: {}", shown.err));
    }
    if is_root() {
        closed_to_nobody(&desk);
    }
}

/// The same by a login that may not write where it would have to.
fn closed_to_nobody(desk: &Desk) {
    use std::os::unix::fs::{PermissionsExt, chown};
    let program = desk.path("migrate");
    fs::copy(env!("CARGO_BIN_EXE_migrate"), &program).unwrap();
    for dir in [desk.hosts.dir.path(), &desk.path("data"), &program] {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    }
    for (dir, owner) in [("open", 65534), ("open/sub", 0), ("closed", 0), ("home", 65534), ("data/sub", 0)] {
        fs::create_dir_all(desk.path(dir)).unwrap();
        chown(desk.path(dir), Some(owner), Some(owner)).unwrap();
        fs::set_permissions(desk.path(dir), fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::write(desk.path("data/sub/file"), b"x").unwrap();
    for (to, words) in [
        ("open", ["has 1 directory that nobody may not write to", "/open/sub"]),
        ("closed", ["/closed cannot be written by the login user nobody", "log in as a user who may"]),
        ("closed/new", ["cannot be made by the login user nobody, to whom", "/closed is closed"]),
    ] {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
        command.args(["copy", "data/", to, "-n"]).current_dir(desk.hosts.dir.path()).env("HOME", desk.path("home"));
        let shown = command.output().unwrap();
        let told = String::from_utf8_lossy(&shown.stderr).into_owned();
        assert_eq!(shown.status.code(), Some(1), "{told}");
        words.iter().for_each(|word| assert!(told.contains(word), "{word}: {told}"));
    }
}

#[test]
fn a_dry_run_tells_what_would_happen_and_touches_neither_tree() {
    let desk = Desk::new();
    fs::create_dir_all(desk.path("data/sub")).unwrap();
    fs::write(desk.path("data/sub/a"), noise(1, 2048)).unwrap();
    fs::write(desk.path("data/b"), b"1").unwrap();
    let (from, to) = (format!("old:{}/", desk.text("data")), format!("new:{}", desk.text("copied")));
    let before = desk.copy(&[&from, &to, "--delete", "--dry-run"]);
    assert_eq!(before.code, 0, "{}", before.err);
    for line in ["send b", "make sub", "send sub/a", "would send 2 files (2.0 KiB) of 3 entries", "nothing was changed"]
    {
        assert!(before.out.contains(line), "{line} in {}", before.out);
    }
    assert!(!desk.path("copied").exists());
    desk.report(&[&from, &to, "--delete"]);
    fs::write(desk.path("data/b"), b"2").unwrap();
    fs::write(desk.path("copied/extra"), b"target").unwrap();
    let after = desk.copy(&[&from, &to, "--delete", "-n"]);
    assert!(after.out.starts_with("send b\nremove extra\nwould send 1 file (1 B)"), "{}", after.out);
    assert_eq!(fs::read(desk.path("copied/b")).unwrap(), b"1");
    assert!(desk.path("copied/extra").exists());
    let kept = desk.copy(&[&from, &to, "-n", "--format", "json"]);
    let event: Value = serde_json::from_str(kept.out.lines().last().unwrap()).unwrap();
    assert_eq!((&event["event"], &event["preview"]["deleted"]), (&"dry_run".into(), &0.into()));
    desk.assert_clean();
}

/// Changes one bit and nothing else that anybody could see.
fn damage(path: &Path) {
    use std::os::unix::fs::MetadataExt;
    let time = fs::metadata(path).unwrap();
    let mut bytes = fs::read(path).unwrap();
    bytes[0] ^= 1;
    fs::write(path, bytes).unwrap();
    set_mtime(path, time.mtime(), time.mtime_nsec());
}

#[test]
fn what_no_record_can_know_is_found_by_content_and_only_that_is_sent() {
    let desk = Desk::new();
    make_odd_tree(&desk.path("data"));
    let (from, to) = ("data/", format!("new:{}", desk.text("copied")));
    desk.report(&[from, &to]);
    damage(&desk.path("copied/dir/large"));
    damage(&desk.path("copied/plain"));
    assert_eq!(desk.report(&[from, &to])["files_sent"], 0, "the record is believed");
    let shown = desk.copy(&[from, &to, "--checksum", "--dry-run"]);
    assert!(shown.out.contains("send plain\n"), "{}", shown.out);
    let healed = desk.report(&[from, &to, "--checksum"]);
    // Names of one inode are sent as one, however little of it differs.
    assert!(healed["files_sent"].as_u64().unwrap() <= 4, "{healed}");
    assert_same(&desk.path("data"), &desk.path("copied"));
}

#[test]
fn verifying_finds_what_differs_and_sends_it_again() {
    let desk = Desk::new();
    make_odd_tree(&desk.path("data"));
    let (from, to) = ("data/", format!("new:{}", desk.text("copied")));
    desk.report(&[from, &to]);
    damage(&desk.path("copied/plain"));
    let ran = desk.copy(&[from, &to, "--verify"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("1 differ; sending them again"), "{}", ran.err);
    assert!(ran.out.contains("the same on both sides"), "{}", ran.out);
    assert_same(&desk.path("data"), &desk.path("copied"));
}

#[test]
fn a_limit_holds_and_progress_tells_rate_and_time_left() {
    let desk = Desk::new();
    fs::create_dir(desk.path("data")).unwrap();
    fs::write(desk.path("data/a"), noise(1, 6 << 20)).unwrap();
    let began = Instant::now();
    let to = format!("new:{}", desk.text("copied"));
    let ran = desk.copy(&["data/", &to, "--bwlimit", "4MiB/s", "--format", "json"]);
    assert!(began.elapsed() > Duration::from_secs(1), "{:?}", began.elapsed());
    let events: Vec<Value> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let timed = |e: &&Value| e["event"] == "progress" && e["eta_seconds"].is_u64() && e["bytes_per_second"] != 0;
    assert!(events.iter().any(|e| timed(&e)), "{}", ran.out);
}

#[test]
fn watching_catches_up_until_it_is_asked_for_the_last_pass() {
    let desk = Desk::new();
    fs::create_dir(desk.path("data")).unwrap();
    fs::write(desk.path("data/a"), b"1").unwrap();
    let (from, to) = (format!("old:{}/", desk.text("data")), format!("new:{}", desk.text("copied")));
    let child = desk.command(&[&from, &to, "--delete", "--watch=50ms", "--verify"]).spawn().unwrap();
    until("the first pass", || desk.path("copied/a").exists());
    fs::write(desk.path("data/b"), b"2").unwrap();
    fs::remove_file(desk.path("data/a")).unwrap();
    until("what came later", || desk.path("copied/b").exists() && !desk.path("copied/a").exists());
    // Programs beside this test may make so much change that a watch gives up; then the next pass has another try.
    std::thread::sleep(Duration::from_secs(2));
    fs::write(desk.path("data/c"), b"3").unwrap();
    signal(&child);
    let ran = ran(child);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("one last pass") && ran.out.contains("the same on both sides"), "{}{}", ran.out, ran.err);
    assert_same(&desk.path("data"), &desk.path("copied"));
    desk.assert_clean();
    let holds =
        if is_root() { "changes are watched: a pass looks only at what changed" } else { "changes are swept (" };
    assert!(ran.err.contains(holds), "{}", ran.err);
    // One pass alone has no use for a watch.
    assert_eq!(desk.report(&[&from, &to])["looked"]["swept"]["why"], "no watch was asked for");
}

/// Reads its complaints up to a line that holds `text`.
fn until_it_says(child: &mut Child, text: &str) {
    let mut errors = BufReader::new(child.stderr.as_mut().unwrap());
    let mut line = String::new();
    while !line.contains(text) {
        line.clear();
        assert!(errors.read_line(&mut line).unwrap() > 0, "it ended without {text:?}");
    }
}

/// A copy that takes long, and is under way.
fn slow(desk: &Desk) -> Child {
    fs::create_dir(desk.path("data")).unwrap();
    for n in 0..40 {
        fs::write(desk.path(&format!("data/{n}")), noise(n, 400_000)).unwrap();
    }
    let (from, to) = (format!("old:{}/", desk.text("data")), format!("new:{}", desk.text("copied")));
    let child = desk.command(&[&from, &to, "--bwlimit", "1MiB"]).spawn().unwrap();
    until("a first file", || fs::read_dir(desk.path("copied")).is_ok_and(|d| d.count() > 1));
    child
}

#[test]
fn a_copy_that_is_stopped_leaves_neither_agent_nor_key_and_goes_on_the_next_time() {
    let desk = Desk::new();
    let child = slow(&desk);
    signal(&child);
    let ran = ran(child);
    assert_eq!(ran.code, 3, "{}", ran.err);
    assert!(ran.err.contains("goes on where it stopped"), "{}", ran.err);
    desk.assert_clean();
    let (from, to) = (format!("old:{}/", desk.text("data")), format!("new:{}", desk.text("copied")));
    desk.report(&[&from, &to]);
    assert_same(&desk.path("data"), &desk.path("copied"));
}

#[test]
fn a_second_signal_ends_it_at_once_and_the_next_copy_sweeps_up() {
    let desk = Desk::new();
    let mut child = slow(&desk);
    // Nothing answers any more, so that cleaning up takes its time.
    desk.hosts.target.freeze();
    signal(&child);
    until_it_says(&mut child, "once more ends it at once");
    signal(&child);
    assert_eq!(ran(child).code, 130);
    desk.hosts.target.thaw();
    let (from, to) = (format!("old:{}/", desk.text("data")), format!("new:{}", desk.text("copied")));
    until("the agent of the broken copy to end", || desk.hosts.target.connections().is_empty());
    desk.report(&[&from, &to]);
    assert_same(&desk.path("data"), &desk.path("copied"));
    desk.assert_clean();
}

#[test]
fn hosts_that_no_inventory_has_come_from_ssh_config() {
    let desk = Desk::new();
    let host = desk.hosts.target.host();
    let config = format!(
        "Host shortname\n  HostName {}\n  Port {}\n  User {}\n  IdentityFile {}\n  UserKnownHostsFile {}\n",
        host.address,
        host.ssh.port.unwrap(),
        host.ssh.user.unwrap(),
        desk.hosts.target.client_key().display(),
        desk.hosts.target.known_hosts().display()
    );
    fs::write(desk.path("ssh_config"), config).unwrap();
    // The real client, with a configuration of its own.
    let ssh = crate::lab::packages::program("ssh", "openssh-client");
    let wrapper = format!("#!/bin/sh\nexec {} -F {} \"$@\"\n", ssh.display(), desk.text("ssh_config"));
    fs::create_dir(desk.path("bin")).unwrap();
    fs::write(desk.path("bin/ssh"), wrapper).unwrap();
    fs::set_permissions(desk.path("bin/ssh"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    fs::create_dir(desk.path("data")).unwrap();
    fs::write(desk.path("data/a"), b"1").unwrap();
    let path = format!("{}:{}", desk.text("bin"), std::env::var("PATH").unwrap());
    let mut command = desk.command(&["data/", &format!("shortname:{}", desk.text("copied"))]);
    let ran = ran(command.env("PATH", path).spawn().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_same(&desk.path("data"), &desk.path("copied"));
}

#[test]
fn with_forget_no_record_stays() {
    let desk = Desk::new();
    fs::create_dir(desk.path("data")).unwrap();
    fs::write(desk.path("data/a"), b"1").unwrap();
    desk.report(&["data/", &format!("new:{}", desk.text("copied")), "--forget"]);
    assert!(!desk.path("home/.migrate").exists() && !desk.hosts.target.home().join(".migrate").exists());
}

#[test]
fn bad_input_is_told_before_anybody_is_contacted_and_changes_nothing() {
    let desk = Desk::new();
    fs::create_dir(desk.path("data")).unwrap();
    fs::write(desk.path("data/a"), b"1").unwrap();
    fs::write(desk.path("file"), b"1").unwrap();
    for (args, code, says) in [
        (vec!["data/", "new:relative"], 1, "has to be absolute"),
        (vec!["data/", "new::module"], 1, "rsync daemon"),
        (vec!["data/", "/"], 1, "root of everything"),
        (vec!["data/", "data/sub"], 1, "one lies in the other"),
        (vec!["data/", "out", "--exclude", "[x"], 1, "has a `[` without its `]`"),
        (vec!["data/", "out", "--bwlimit", "50"], 2, "has no unit"),
        (vec!["data/", "out", "--watch", "--dry-run"], 2, "cannot be used with"),
        (vec!["nothing/", "out"], 1, "there is no directory"),
        (vec!["file", "out"], 1, "it is there and is no directory"),
        (vec!["data/", "file"], 1, "it is there and is no directory"),
        (vec!["data/", "unknown.invalid:/x"], 1, "unknown.invalid"),
    ] {
        let ran = desk.copy(&args);
        assert_eq!(ran.code, code, "{args:?}: {}{}", ran.out, ran.err);
        assert!(ran.err.contains(says), "{args:?}: {}", ran.err);
    }
    assert!(!desk.path("out").exists());
    assert_eq!(fs::read(desk.path("file")).unwrap(), b"1");
}
