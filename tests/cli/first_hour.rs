//! The first hour of somebody who has never moved anything: `init`, `doctor`, manual pages.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cli::run::Ran;
use crate::lab::haproxy::{Backend, Haproxy};
use crate::lab::packages;
use crate::lab::softlayer::world::{Machine, World};
use crate::lab::softlayer::{KEY, SoftLayer};
use crate::lab::sshd::Sshd;

/// A user with a home that holds nothing.
pub struct User(tempfile::TempDir);

impl User {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        std::fs::write(self.path(name), text).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_migrate"));
        command.current_dir(self.0.path()).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("HOME", self.0.path()).env("USER", "ops").env("COLUMNS", "100").env("LC_ALL", "C.UTF-8");
        let out = command.args(args).output().unwrap();
        Ran {
            code: out.status.code().unwrap_or(-1),
            out: String::from_utf8(out.stdout).unwrap(),
            err: String::from_utf8(out.stderr).unwrap(),
        }
    }

    #[track_caller]
    pub fn fine(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "{args:?}\n{}\n{}", ran.out, ran.err);
        ran.out
    }

    /// Names of all files below its home.
    fn files(&self) -> Vec<String> {
        below(self.0.path())
    }
}

/// Names of all files below a directory.
fn below(root: &Path) -> Vec<String> {
    let mut open = vec![root.to_owned()];
    let mut found = Vec::new();
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            found.push(path.strip_prefix(root).unwrap().display().to_string());
            if path.is_dir() && !path.is_symlink() {
                open.push(path);
            }
        }
    }
    found.sort();
    found
}

const FLAGS: [&str; 13] = [
    "--source",
    "dal-[1-2]=10.1.0.[11-12]",
    "--target",
    "fra-[1-2]=10.2.0.[11-12]",
    "--pool",
    "web",
    "--user",
    "deploy",
    "--health",
    "http://{{ address }}/health",
    "--state",
    "/srv/web",
    "--name=web-to-frankfurt",
];

#[test]
fn what_init_writes_is_valid_and_teaches() {
    let user = User::new();
    let said = user.fine(&[&["init", "move"], &FLAGS[..]].concat());
    assert!(said.contains("wrote move/plan.yaml and move/inventory.yaml: 2 pairs"), "{said}");
    assert!(said.contains("next: migrate validate move/plan.yaml"), "{said}");
    insta::assert_snapshot!("init-plan", user.read("move/plan.yaml"));
    insta::assert_snapshot!("init-inventory", user.read("move/inventory.yaml"));
    assert_eq!(user.files(), ["move", "move/inventory.yaml", "move/plan.yaml"], "and nothing else is left");
    let plan = user.run(&["plan", "--offline", "move/plan.yaml"]);
    assert_eq!(plan.code, 0, "{}", plan.out);
    assert!(plan.out.contains("fra-2") && plan.out.contains("/srv/web"), "{}", plan.out);
    // Every document that it names has the heading that it names.
    for text in [user.read("move/plan.yaml"), user.read("move/inventory.yaml")] {
        for link in text.split("docs/").skip(1).map(|rest| rest.split([')', ';', ':', ',', ' ', '\n']).next().unwrap())
        {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let file = file.trim_end_matches('.');
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(file);
            let doc = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{link}: {e}"));
            let slug = |line: &str| line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
            let found = doc.lines().filter(|line| line.starts_with('#')).any(|line| slug(line) == heading);
            assert!(heading.is_empty() || found, "{link} is no heading");
        }
    }
    // What stands in a comment as an example can be said.
    let uncommented: String = user
        .read("move/plan.yaml")
        .lines()
        .map(|line| match line.trim_start().strip_prefix("# ") {
            Some(rest) if ["shift:", "drain:", "hooks:", "waves:", "  - {"].iter().any(|key| rest.starts_with(key)) => {
                format!("{}{rest}\n", &line[..line.len() - line.trim_start().len()])
            }
            _ => format!("{line}\n"),
        })
        .collect();
    user.write("move/more.yaml", &uncommented);
    let all = user.run(&["plan", "--offline", "move/more.yaml"]);
    assert!(all.code == 0 && all.out.contains("systemctl stop web"), "{}\n{}", all.out, all.err);
}

#[test]
fn what_nobody_knows_is_a_line_that_validate_names() {
    let user = User::new();
    let said = user.fine(&["init"]);
    assert!(said.contains("plan.yaml:") && said.contains("this is still to be written"), "{said}");
    let valid = user.run(&["validate", "plan.yaml"]);
    assert_eq!(valid.code, 0, "{}", valid.err);
    for (file, text) in [("plan.yaml", user.read("plan.yaml")), ("inventory.yaml", user.read("inventory.yaml"))] {
        let open =
            text.lines().enumerate().filter(|(_, line)| line.contains("TODO") && !line.trim_start().starts_with('#'));
        let open: Vec<usize> = open.map(|(n, _)| n + 1).collect();
        assert!(!open.is_empty(), "{text}");
        for line in open {
            assert!(
                valid.err.contains(&format!("{file}:{line}:")),
                "line {line} of {file} is not named: {}",
                valid.err
            );
        }
    }
    assert_eq!(user.run(&["plan", "--offline", "plan.yaml"]).code, 0);
    // Filled in, nothing is left to be said.
    for file in ["plan.yaml", "inventory.yaml"] {
        user.write(file, &user.read(file).replace("TODO", "example.com"));
    }
    let valid = user.run(&["validate", "plan.yaml"]);
    assert_eq!((valid.code, valid.err.as_str()), (0, ""));
}

#[test]
fn files_that_are_there_stay_and_a_bad_word_leaves_nothing() {
    let user = User::new();
    user.write("plan.yaml", "mine\n");
    let refused = user.run(&[&["init"], &FLAGS[..]].concat());
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("plan.yaml is there already") && refused.err.contains("--force"), "{}", refused.err);
    assert_eq!((user.files(), user.read("plan.yaml").as_str()), (vec!["plan.yaml".to_owned()], "mine\n"));
    let bad: [(&[&str], &str); 6] = [
        (&["--source", "dal 1=10.1.0.11", "--target", "fra-1=10.2.0.11"], "names begin with"),
        (&["--source", "dal-[1-3]=10.1.0.[11-13]", "--target", "fra-1=10.2.0.11"], "fra-1"),
        (
            &["--source", "a=10.1.0.1", "--source", "a=10.1.0.2", "--target", "b=10.1.0.3", "--target", "c=10.1.0.4"],
            "a",
        ),
        (&["--service", "no service"], "--service is no name"),
        (&["--ansible", "none.ini", "--source", "x"], "none.ini"),
        (&["--haproxy", "unix:/nowhere/admin.sock", "--pool", "web"], "/nowhere/admin.sock"),
    ];
    for (args, told) in bad {
        let ran = user.run(&[&["init", "new/place"], args].concat());
        assert_eq!(ran.code, 1, "{args:?}: {}", ran.out);
        assert!(ran.err.contains(told), "{args:?}: {}", ran.err);
        assert!(!ran.err.contains(".new"), "it names no file that nobody sees: {}", ran.err);
        assert!(!user.path("new/place").exists(), "{args:?} has left something");
    }
    user.fine(&[&["init", "--force"], &FLAGS[..]].concat());
    assert!(user.read("plan.yaml").starts_with("# What moves"));
}

/// The servers by what people set of them: addresses, modes and weights. Behind them stand times, which go on by themselves.
fn as_set(haproxy: &Haproxy) -> Vec<String> {
    let state = haproxy.command("show servers state");
    let set = |line: &str| line.split(' ').take(5).chain(line.split(' ').skip(6).take(3)).collect::<Vec<_>>().join(" ");
    state.lines().map(set).collect()
}

#[test]
fn servers_of_a_running_haproxy_are_taken_as_they_are() {
    let server = |n: u8| std::net::SocketAddr::from(([127, 0, 0, n], 80));
    let web = Backend::http("web").server("dal-1", server(11), 100).server("dal-2", server(12), 50);
    let web = web.server("fra-1", server(21), 0).server("fra-2", server(22), 0);
    let haproxy = Haproxy::start(&[web, Backend::http("api").server("dal-1", server(11), 1)]);
    for socket in [&haproxy.operator, &haproxy.master] {
        let user = User::new();
        let address = format!("unix:{}", socket.display());
        let several = user.run(&["init", "--haproxy", &address]);
        assert_eq!(several.code, 1);
        assert!(several.err.contains("`api`") && several.err.contains("`web`"), "{}", several.err);
        assert_eq!(user.files(), Vec::<String>::new());
        let before = as_set(&haproxy);
        user.fine(&["init", "--haproxy", &address, "--pool", "web", "--health", "http://{{ address }}/"]);
        assert_eq!(as_set(&haproxy), before);
        let plan = user.read("plan.yaml");
        assert!(plan.contains("from: [dal-1, dal-2]") && plan.contains("to: [fra-1, fra-2]"), "{plan}");
        let inventory = user.read("inventory.yaml");
        assert!(inventory.contains("  fra-2: { address: \"127.0.0.22\" }"), "{inventory}");
        assert!(inventory.contains("#   dal-2  127.0.0.12  weight 50  ready"), "{inventory}");
        assert_eq!(user.run(&["validate", "plan.yaml"]).err, "", "nothing is left to fill in");
        user.fine(&["plan", "--offline", "plan.yaml"]);
    }
}

#[test]
fn hosts_come_from_ssh_config_ansible_and_softlayer() {
    packages::program("ssh", "openssh-client");
    let user = User::new();
    user.write(
        ".ssh/config",
        "Host bastion\n  HostName 203.0.113.1\nHost dal-1 dal-2\n  User deploy\n  Port 2222\n  ProxyJump bastion\nHost dal-1\n  HostName 10.1.0.11\nHost dal-2\n  HostName 10.1.0.12\nHost fra-1\n  HostName 10.2.0.11\nHost fra-2\n  HostName 10.2.0.12\n",
    );
    let file = user.path(".ssh/config").display().to_string();
    let choose = user.run(&["init", "ssh", "--ssh-config", &file]);
    assert!(choose.code == 1 && choose.err.contains("`dal-1`") && choose.err.contains("--source"), "{}", choose.err);
    let words = ["init", "ssh", "--ssh-config", &file, "--source", "dal-*", "--target", "fra-*", "--state", "/srv/web"];
    user.fine(&words);
    let inventory = user.read("ssh/inventory.yaml");
    assert!(inventory.contains("  bastion: ") && inventory.contains("jump: [bastion]"), "{inventory}");
    assert!(inventory.contains("port: 2222"), "{inventory}");
    let shown: serde_json::Value =
        serde_json::from_str(&user.fine(&["inventory", "show", "ssh/inventory.yaml", "--format", "json"])).unwrap();
    assert_eq!(shown.as_array().unwrap().len(), 5);
    user.fine(&["plan", "--offline", "ssh/plan.yaml"]);
    let typo = user.run(&["init", "typo", "--ssh-config", &file, "--source", "dal-9", "--target", "fra-1"]);
    assert!(typo.code == 1 && typo.err.contains("no host is `dal-9`"), "{}", typo.err);

    user.write("hosts.ini", "[old]\nweb1 ansible_host=10.1.0.21\n[new]\nweb2 ansible_host=10.2.0.21\n");
    user.fine(&["init", "ansible", "--ansible", "hosts.ini", "--source", "tag=old", "--target", "tag=new"]);
    assert!(user.read("ansible/inventory.yaml").contains("10.2.0.21"));
    user.fine(&["plan", "--offline", "ansible/plan.yaml"]);

    let mut world = World::default();
    let machine = |hostname: &str, private: &str| Machine {
        hostname: hostname.into(),
        datacenter: "dal10".into(),
        private: Some(private.into()),
        ..Machine::default()
    };
    world.add_hardware(&machine("chat01", "10.1.0.31"));
    let api = SoftLayer::start(world);
    std::fs::copy(api.settings(user.0.path()), user.path(".softlayer")).unwrap();
    user.fine(&["init", "rented", "--softlayer", "--source", "site=dal10", "--target", "fra-1=10.2.0.31"]);
    let inventory = user.read("rented/inventory.yaml");
    assert!(
        inventory.contains("  chat01: ") && inventory.contains("10.1.0.31") && !inventory.contains(KEY),
        "{inventory}"
    );
    user.fine(&["plan", "--offline", "rented/plan.yaml"]);
}

/// The lines of a report, by what they are about.
fn judged(report: &str, about: &str) -> Vec<(String, serde_json::Value)> {
    let report: serde_json::Value = serde_json::from_str(report).unwrap_or_else(|e| panic!("{e}: {report}"));
    let parts = report["parts"].as_array().unwrap().iter().flat_map(|part| part["lines"].as_array().unwrap().clone());
    let own = parts.filter(|line| line["about"] == about);
    own.map(|line| (line["mark"].as_str().unwrap().to_owned(), line)).collect()
}

#[test]
fn doctor_looks_at_this_machine_and_writes_nothing() {
    let user = User::new();
    let well = user.run(&["doctor"]);
    assert_eq!(well.code, 0, "{}{}", well.out, well.err);
    for about in ["✓ state directory: ", "copy agents: ", "open files: ", "clock: ", "! keys: ", "! known hosts: "] {
        assert!(well.out.contains(about), "{about}: {}", well.out);
    }
    assert_eq!(user.files(), Vec::<String>::new());
    // Each that is not well says what to do next.
    let marks = well.out.lines().filter(|line| line.starts_with("  ! ") || line.starts_with("  ✗ ")).count();
    assert_eq!(well.out.matches("    next: ").count(), marks, "{}", well.out);
    user.write("file", "");
    let state = user.path("file").display().to_string();
    let bad = user.run(&["doctor", "--state-dir", &state, "--format", "json"]);
    assert_eq!(bad.code, 1, "{}", bad.out);
    assert_eq!(judged(&bad.out, "state directory")[0].0, "bad");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&bad.out).unwrap()["well"], false);
    let key = Command::new(packages::program("ssh-keygen", "openssh-client"))
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg({
            std::fs::create_dir_all(user.path(".ssh")).unwrap();
            user.path(".ssh/id_ed25519")
        })
        .status();
    assert!(key.unwrap().success());
    user.write(".ssh/known_hosts", "host ssh-ed25519 AAAA\n");
    let keys = user.fine(&["doctor", "--format", "json"]);
    assert_eq!(judged(&keys, "key file")[0].0, "well");
    assert_eq!(judged(&keys, "known hosts")[0].0, "well");
    assert!(judged(&keys, "keys").is_empty());
}

#[test]
fn doctor_looks_at_a_host_and_a_director_and_tells_what_is_in_the_way() {
    let user = User::new();
    let dir = tempfile::tempdir().unwrap();
    let mut host = Sshd::start(dir.path(), "dal-1");
    let haproxy = Haproxy::start(&[Backend::http("web").server("dal-1", host.addr(), 100)]);
    let (ip, port) = (host.addr().ip(), host.addr().port());
    let ssh =
        format!("port: {port}, key: {}, known_hosts: {}", host.client_key().display(), host.known_hosts().display());
    let inventory = |ssh: &str| {
        let edge = format!("unix:{}", haproxy.operator.display());
        format!(
            "hosts:\n  dal-1: {{ address: {ip}, ssh: {{ {ssh} }} }}\ndirectors:\n  edge: {{ haproxy: \"{edge}\" }}\n"
        )
    };
    user.write("inventory.yaml", &inventory(&ssh));
    let before = below(&host.home());
    let said = user.fine(&["doctor", "dal-1", "--director", "edge", "web", "--format", "json"]);
    assert_eq!(judged(&said, "reach and login")[0].0, "well");
    assert_eq!(judged(&said, "clock").len(), 2, "its own and the host's");
    assert_eq!(judged(&said, "copy agent")[0].0, "well", "{said}");
    assert_eq!(judged(&said, "pool web")[0].0, "well");
    assert_eq!(below(&host.home()), before, "nothing is written there");
    let pools = user.fine(&["doctor", "--director", "edge"]);
    assert!(pools.contains("✓ pools: it answers, and has web"), "{pools}");
    let wrong = user.run(&["doctor", "--director", "edge", "wbe"]);
    assert!(
        wrong.code == 1 && wrong.out.contains("✗ pool: ") && wrong.out.contains("there is no backend `wbe`"),
        "{}",
        wrong.out
    );
    // Nobody has vouched for its key.
    user.write("empty", "");
    user.write(
        "inventory.yaml",
        &inventory(&ssh.replace(&host.known_hosts().display().to_string(), &user.path("empty").display().to_string())),
    );
    let unknown = user.run(&["doctor", "dal-1"]);
    assert_eq!(unknown.code, 1);
    assert!(
        unknown.out.contains("✗ reach and login: ") && !unknown.out.contains("copy agent: there is"),
        "{}",
        unknown.out
    );
    user.write("inventory.yaml", &inventory(&ssh));
    host.stop();
    let gone = user.run(&["doctor", "dal-1"]);
    assert!(
        gone.code == 1 && gone.out.contains("connection refused") && gone.out.contains("    next: "),
        "{}",
        gone.out
    );
    let name = user.run(&["doctor", "dal-2"]);
    assert!(name.code == 1 && name.err.contains("no host `dal-2`") && name.err.contains("`dal-1`"), "{}", name.err);
}

#[test]
fn manual_pages_are_what_man_takes_without_a_word() {
    let groff = packages::program("groff", "groff-base");
    let user = User::new();
    user.fine(&["man", "--dir", "man"]);
    let pages: Vec<PathBuf> = std::fs::read_dir(user.path("man")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let commands = user.fine(&["--help"]);
    let commands = commands.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    for command in commands.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   ")) {
        let name = command.split_whitespace().next().unwrap();
        assert!(name == "help" || user.path(&format!("man/migrate-{name}.1")).is_file(), "{name} has no page");
    }
    assert!(user.path("man/migrate.1").is_file() && user.path("man/migrate-director-show.1").is_file());
    for page in &pages {
        // With the same macros and the same warnings as `man --warnings`.
        let out = Command::new(&groff).args(["-man", "-ww", "-Tutf8", "-k"]).arg(page).output().unwrap();
        let complaints = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success() && complaints.is_empty(), "{}: {complaints}", page.display());
        let name = page.file_stem().unwrap().to_string_lossy().into_owned();
        let text = String::from_utf8_lossy(&out.stdout);
        assert!(text.contains(&format!("{name}(1)")), "{}: {text}", page.display());
    }
}

#[test]
fn the_program_needs_nothing_but_the_c_library() {
    let readelf = packages::program("readelf", "binutils");
    let out = Command::new(readelf).args(["-d", env!("CARGO_BIN_EXE_migrate")]).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let needed = text.lines().filter(|line| line.contains("(NEEDED)")).filter_map(|line| line.split(['[', ']']).nth(1));
    let needed: Vec<&str> = needed.collect();
    let known = ["libc.so.", "libm.so.", "libgcc_s.so.", "ld-linux", "libdl.so.", "libpthread.so."];
    let foreign: Vec<&&str> = needed.iter().filter(|name| !known.iter().any(|known| name.starts_with(known))).collect();
    assert!(!needed.is_empty() && foreign.is_empty(), "{needed:?}");
    // What `cargo install` builds from is what the project holds: the agent and what puts it in, too.
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["package", "--list", "--allow-dirty"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let listed = cargo.output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    for file in ["build.rs", "agent/main.rs", "src/main.rs", ".cargo/config.toml", "Cargo.lock"] {
        assert!(listed.lines().any(|line| line == file), "{file} is not in the package");
    }
}
