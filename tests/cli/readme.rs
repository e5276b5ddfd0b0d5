//! What a newcomer meets first: the first migration of the README, as it stands there, and commands that are what the documents call them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::first_hour::User;
use super::run::{migrate, migrate_in};
use crate::lab::haproxy::{Backend, Haproxy};
use crate::lab::load::{Demand, Front, Load};
use crate::lab::packages::packages;
use crate::lab::place::HTTP;
use crate::lab::service::{Mode, Service};
use crate::lab::sshd::Sshd;
use crate::lab::tree;

const README: &str = include_str!("../../README.md");

/// The YAML files of a part of the README, by the name in their first line.
fn files(part: &str) -> Vec<(String, &'static str)> {
    let part = README.split("\n## ").find(|p| p.starts_with(part)).unwrap();
    let blocks = part.split("```").filter_map(|block| block.strip_prefix("yaml\n"));
    blocks.map(|block| (block.lines().next().unwrap().trim_start_matches("# ").to_owned(), block)).collect()
}

#[test]
fn the_first_migration_is_what_the_readme_says() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files("Your first migration") {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let at = |args: &[&str]| migrate_in(dir.path(), &dir.path().join("state"), args);
    let valid = at(&["validate", "plan.yaml"]);
    assert_eq!(
        (valid.code, valid.out.as_str(), valid.err.as_str()),
        (0, "web-to-frankfurt: valid, 1 service, 1 pair\n", "")
    );
    let plan = at(&["plan", "plan.yaml", "--offline"]);
    assert_eq!((plan.code, plan.err.as_str()), (0, ""), "{}", plan.out);
    let phases = ["check", "shift", "watch", "drain"];
    let found: Vec<usize> = phases.iter().map(|phase| plan.out.find(&format!(" {phase} ")).unwrap_or(0)).collect();
    assert!(
        found.iter().all(|at| *at > 0) && found.is_sorted(),
        "its share rises, then the source leaves: {}",
        plan.out
    );
    // With state it is a cutover.
    let path = dir.path().join("plan.yaml");
    let with_state = format!("{}    state: [{{ directory: /srv/web }}]\n", std::fs::read_to_string(&path).unwrap());
    assert!(README.contains("Add `state: [{ directory: /srv/web }]` and the move becomes a cutover"));
    std::fs::write(&path, with_state).unwrap();
    let cutover = at(&["plan", "plan.yaml", "--offline"]);
    assert!(cutover.out.contains("seed") && cutover.out.contains("last pass"), "{}", cutover.out);
    // There is nothing to report before there is a run, and that is said.
    let none = at(&["report", "web-to-frankfurt"]);
    assert!(none.code == 1 && none.err.contains("`migrate status` lists all runs"), "{}", none.err);
}

/// The commands of a help text.
fn commands(help: &str) -> Vec<String> {
    let listed = help.split("\nCommands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap_or_default();
    let own = listed.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    own.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn every_command_teaches_by_example() {
    let all = commands(&migrate(&["--help"]).out);
    assert!(all.len() > 20, "{all:?}");
    for command in all {
        let help = migrate(&[&command, "--help"]).out;
        let subs = commands(&help);
        let own = subs.is_empty().then_some(help).into_iter();
        let below = subs.iter().map(|sub| migrate(&[&command, sub, "--help"]).out);
        for help in own.chain(below) {
            assert!(
                ["Example: migrate", "Example:\n  migrate", "Examples:\n  migrate"].iter().any(|e| help.contains(e))
                    || help.contains("Examples:\n"),
                "{command}: {help}"
            );
        }
    }
}

#[test]
fn the_documents_name_commands_that_there_are() {
    let known: BTreeSet<String> = commands(&migrate(&["--help"]).out).into_iter().collect();
    let docs = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")).unwrap();
    let docs = docs.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "md"));
    let texts = docs.map(|path| std::fs::read_to_string(path).unwrap()).chain([README.to_owned()]);
    let mut named = BTreeSet::new();
    for text in texts {
        let words =
            text.split("`migrate ").skip(1).filter_map(|rest| rest.split(|c: char| !c.is_ascii_lowercase()).next());
        named.extend(words.filter(|word| !word.is_empty()).map(str::to_owned));
    }
    // A line of a log begins so, too.
    named.remove("checkpoint");
    let unknown: Vec<_> = named.difference(&known).collect();
    assert!(named.len() > 20 && unknown.is_empty(), "{unknown:?}");
}

#[test]
fn the_first_migration_goes_there_and_back_as_the_readme_says() {
    let user = User::new();
    let hosts: Vec<(&str, &str, Sshd, Service)> = [("dal-1", "10.1.0.11"), ("fra-1", "10.2.0.11")]
        .into_iter()
        .map(|(name, written)| {
            let dir = user.path(name);
            let sshd = Sshd::start(&dir.join("host"), name);
            tree::seed_files(&dir.join("service/data"), "common", 10, 1);
            let service =
                Service::start(name, SocketAddr::new(sshd.addr().ip(), HTTP), &dir.join("service"), Mode::Serving);
            (name, written, sshd, service)
        })
        .collect();
    let server = |n: usize| SocketAddr::new(hosts[n].2.addr().ip(), HTTP);
    let web = Backend::http("web").server("dal-1", server(0), 100).server("fra-1", server(1), 0);
    let haproxy = Haproxy::start(&[web]);
    for (name, text) in files("Your first migration") {
        // Addresses, the socket and the port are those of the lab; what a newcomer's ssh_config says stands with each host.
        let mut text = text.replace("/run/haproxy/admin.sock", &haproxy.admin.display().to_string());
        text = text.replace("{{ address }}/health", &format!("{{{{ address }}}}:{HTTP}/health"));
        for (_, written, sshd, _) in &hosts {
            let (addr, key, known) = (sshd.addr(), sshd.client_key(), sshd.known_hosts());
            let ssh = format!("port: {}, key: {}, known_hosts: {}", addr.port(), key.display(), known.display());
            text = text.replace(&format!("address: {written} "), &format!("address: {}, ssh: {{ {ssh} }} ", addr.ip()));
        }
        // It would watch for half a minute after each step.
        text = text.replace("    health:", "    shift: { hold: 100ms }\n    health:");
        user.write(&name, &text);
    }
    let read = tree::read(&user.path("dal-1/service/data")).into_iter();
    let all = read.filter_map(|(name, entry)| match entry.content {
        tree::Content::File { hash, .. } => Some((name, hash)),
        _ => None,
    });
    let load = Load::start(
        Front::Address(haproxy.frontend("web")),
        Demand { connections: 4, pause: Duration::from_millis(20), uploads: 0, seed: 1, files: all.collect() },
    );
    user.fine(&["doctor", "dal-1", "fra-1", "--director", "edge", "web"]);
    user.fine(&["validate", "plan.yaml"]);
    let plan = user.fine(&["plan", "plan.yaml"]);
    assert!(plan.contains("✓ shift"), "{plan}");
    let settings = || {
        let of = |name: &str| haproxy.command(&format!("get weight web/{name}")).trim().to_owned();
        (of("dal-1"), of("fra-1"), haproxy.command("show servers state web"))
    };
    let before = settings();
    let done = user.fine(&["apply", "plan.yaml", "--yes"]);
    assert!(done.contains("Done in ") && done.contains("dal-1 → fra-1 moved"), "{done}");
    assert!(settings().1.starts_with("100 "), "{:?}", settings());
    assert!(user.fine(&["status", "web-to-frankfurt"]).contains("target at 100 %, done"));
    user.fine(&["report", "web-to-frankfurt", "--out", "report.html"]);
    assert!(user.read("report.html").contains("web-to-frankfurt"));
    let back = user.run(&["rollback", "web-to-frankfurt", "--yes"]);
    assert_eq!(back.code, 0, "{}\n{}", back.out, back.err);
    assert_eq!((settings().0, settings().1), (before.0, before.1));
    let seen = load.stop();
    assert_eq!(seen.failed, 0, "{:?}", seen.failures);
}

/// The words in backquotes between two places of the README.
fn quoted(from: &str, to: &str) -> BTreeSet<&'static str> {
    let text = README.split_once(from).unwrap().1.split_once(to).unwrap().0;
    text.split('`').skip(1).step_by(2).collect()
}

#[test]
fn the_packages_are_those_that_the_lab_installs() {
    assert_eq!(quoted("It needs Debian's", "as root it installs them"), packages("demo").collect());
    assert_eq!(quoted("it needs the lab's other packages:", "besides"), packages("tests").collect());
}
