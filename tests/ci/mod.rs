//! `.ci/run` with a cargo that plays: what is red, what is only unsteady, and that one run tells it all.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

const SUITE: &str = "     Running tests/suite.rs (target/debug/deps/suite-0123)\n";
const LIBRARY: &str = "     Running unittests src/lib.rs (target/debug/deps/migrate-0123)\n";
const PASSED: &str = "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s\n";

/// A checkout with the script, and a cargo that plays.
struct Checkout {
    dir: TempDir,
}

/// How a run ended.
struct Ended {
    green: bool,
    said: String,
}

impl Checkout {
    /// In which all is well: the library and the suite have one test each.
    fn new() -> Self {
        let checkout = Self { dir: tempfile::tempdir().unwrap() };
        let project = Path::new(env!("CARGO_MANIFEST_DIR"));
        for file in [".ci/run", "tests/lab/packages.txt"] {
            let copy = checkout.root().join(file);
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            fs::copy(project.join(file), copy).unwrap();
        }
        fs::write(checkout.root().join(".gitignore"), "/target\n").unwrap();
        fs::create_dir(checkout.play("")).unwrap();
        checkout.program("cargo", include_str!("cargo.sh"));
        checkout.program("dpkg-query", "#!/bin/sh\nshift 3\nfor word; do echo installed; done\n");
        checkout.git(&["init", "-q"]);
        checkout.git(&["add", "."]);
        checkout.git(&["-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-qm", "all"]);
        let fast = "test text::fast ... ok <0.010s>\n";
        let slow = "test copy::slow ... ok <12.500s>\n";
        checkout.tests(&[LIBRARY, fast, PASSED, SUITE, slow, PASSED].concat());
        checkout
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("checkout")
    }

    /// What the played cargo reads and writes.
    fn play(&self, name: &str) -> PathBuf {
        self.dir.path().join("play").join(name)
    }

    fn program(&self, name: &str, text: &str) {
        fs::write(self.play(name), text).unwrap();
        fs::set_permissions(self.play(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn git(&self, args: &[&str]) -> String {
        let out = Command::new("git").args(args).current_dir(self.root()).output().unwrap();
        assert!(out.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    /// What `cargo test` prints.
    fn tests(&self, text: &str) {
        fs::write(self.play("tests"), text).unwrap();
    }

    /// A run in which these tests of the suite fail, each with a reason.
    fn failed(&self, names: &[&str]) {
        let each = |text: &dyn Fn(&str) -> String| names.iter().map(|name| text(name)).collect::<String>();
        self.tests(&format!(
            "{LIBRARY}{PASSED}{SUITE}{}\nfailures:\n\n{}\nfailures:\n{}\ntest result: FAILED. 0 passed; {} failed; 0 ignored; 0 measured\n",
            each(&|name| format!("test {name} ... FAILED <3.000s>\n")),
            each(&|name| format!("---- {name} stdout ----\nset up\nthread '{name}' panicked at tests/a.rs:1:2:\nno answer from {name}\n\n")),
            each(&|name| format!("    {name}\n")),
            names.len(),
        ));
    }

    /// From which try on a test passes alone.
    fn passes_at(&self, name: &str, tries: u32) {
        fs::write(self.play(&format!("passes.{name}")), tries.to_string()).unwrap();
    }

    fn run(&self) -> Ended {
        self.run_for(600)
    }

    fn run_for(&self, seconds: u32) -> Ended {
        let path = format!("{}:{}", self.play("").display(), std::env::var("PATH").unwrap());
        let mut script = Command::new("bash");
        script.arg(".ci/run").current_dir(self.root()).env("PATH", path).stdin(Stdio::null());
        script.env("XDG_CACHE_HOME", self.dir.path()).env("CARGO_TARGET_DIR", self.dir.path().join("built"));
        let out = script.env("CI_MOST_SECONDS", seconds.to_string()).output().unwrap();
        let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
        assert!(!said.contains("not played"), "{said}");
        Ended { green: out.status.success(), said }
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.play("calls")).unwrap()
    }

    /// The trees that are known to have passed.
    fn green_trees(&self) -> String {
        fs::read_to_string(self.dir.path().join("migrate-ci/green")).unwrap_or_default()
    }
}

impl Ended {
    #[track_caller]
    fn tells(&self, words: &[&str]) {
        for word in words {
            assert!(self.said.contains(word), "{word:?} is not in:\n{}", self.said);
        }
    }
}

#[test]
fn a_run_in_which_all_is_well_is_green_and_remembered() {
    let checkout = Checkout::new();
    let ended = checkout.run();
    assert!(ended.green, "{}", ended.said);
    ended.tells(&["minutes  phase", "0.0  lints", "12.5  copy::slow", "2 passed, 0 failed", "GREEN"]);
    assert_eq!(checkout.green_trees(), checkout.git(&["rev-parse", "HEAD^{tree}"]));
    fs::write(checkout.root().join("more.rs"), "not in git").unwrap();
    assert!(checkout.run().green);
    assert_eq!(checkout.green_trees().lines().count(), 1, "git has no such tree");
}

#[test]
fn what_passes_alone_is_unsteady_and_told_with_its_reason() {
    let checkout = Checkout::new();
    checkout.failed(&["copy::one", "copy::two"]);
    checkout.passes_at("copy::one", 1);
    checkout.passes_at("copy::two", 2);
    let ended = checkout.run();
    assert!(ended.green, "{}", ended.said);
    ended.tells(&["unsteady: copy::one (", "unsteady: copy::two (", "      no answer from copy::two"]);
    let kept = fs::read_to_string(checkout.root().join("target/unsteady/copy.two.txt")).unwrap();
    assert!(kept.starts_with("set up\n") && kept.contains("no answer from copy::two"), "{kept}");
    assert!(checkout.calls().contains("test --test=suite -- --exact copy::two --test-threads=1"));
}

#[test]
fn what_fails_three_times_is_red() {
    let checkout = Checkout::new();
    checkout.failed(&["copy::one", "copy::two"]);
    checkout.passes_at("copy::one", 1);
    checkout.passes_at("copy::two", 3);
    let ended = checkout.run();
    assert!(!ended.green, "{}", ended.said);
    ended.tells(&[
        "unsteady: copy::one (",
        "red: copy::two (failed 3 times)",
        "      no answer from copy::two",
        "RED: 1",
    ]);
    assert_eq!(checkout.green_trees(), "");
}

#[test]
fn a_test_that_is_not_found_again_has_not_passed() {
    let checkout = Checkout::new();
    checkout.failed(&["copy::one"]);
    checkout.passes_at("copy::one", 1);
    fs::write(checkout.play("found.copy::one"), "0").unwrap();
    let ended = checkout.run();
    assert!(!ended.green, "{}", ended.said);
    ended.tells(&["red: copy::one (failed 3 times)"]);
}

#[test]
fn more_than_five_failures_are_red_at_once() {
    let checkout = Checkout::new();
    let names = ["a::1", "a::2", "a::3", "a::4", "a::5", "a::6"];
    checkout.failed(&names);
    names.iter().for_each(|name| checkout.passes_at(name, 1));
    let ended = checkout.run();
    assert!(!ended.green && !checkout.calls().contains("--exact"), "{}", ended.said);
    ended.tells(&["red: a::1\n", "red: a::6\n", "      no answer from a::6", "RED: 6"]);
}

#[test]
fn one_run_tells_lints_format_agent_and_tests() {
    let checkout = Checkout::new();
    for what in ["fmt", "clippy", "agent"] {
        fs::write(checkout.play(&format!("{what}.fails")), format!("{what} says why\n")).unwrap();
    }
    checkout.failed(&["copy::one"]);
    let ended = checkout.run();
    assert!(!ended.green, "{}", ended.said);
    ended.tells(&["red: formatting", "red: lints", "red: packages and the agent", "red: copy::one", "RED: 4"]);
    ended.tells(&["fmt says why", "clippy says why", "agent says why"]);
}

#[test]
fn what_does_not_compile_is_red() {
    let checkout = Checkout::new();
    fs::write(checkout.play("build.fails"), "error[E0425]: no such name\n").unwrap();
    let ended = checkout.run();
    assert!(!ended.green && !checkout.calls().contains("--no-fail-fast"), "{}", ended.said);
    ended.tells(&["error[E0425]", "red: build of the tests"]);
}

#[test]
fn a_program_that_dies_is_red_whatever_else_passes_again() {
    let checkout = Checkout::new();
    checkout.failed(&["copy::one"]);
    checkout.passes_at("copy::one", 1);
    let failed = fs::read_to_string(checkout.play("tests")).unwrap();
    let died =
        "     Running tests/architecture.rs (target/debug/deps/architecture-0123)\nerror: test failed (signal: 11)\n";
    checkout.tests(&(failed + died));
    let ended = checkout.run();
    assert!(!ended.green, "{}", ended.said);
    ended.tells(&["unsteady: copy::one (", "red: tests/architecture.rs died"]);
}

#[test]
fn a_hang_ends_and_is_told_by_name() {
    let checkout = Checkout::new();
    let running = "test copy::stuck has been running for over 60 seconds\n";
    let slow = "test copy::slow has been running for over 60 seconds\ntest copy::slow ... ok <70.000s>\n";
    checkout.tests(&[LIBRARY, PASSED, SUITE, running, slow].concat());
    fs::write(checkout.play("hangs"), "").unwrap();
    let ended = checkout.run_for(30);
    assert!(!ended.green, "{}", ended.said);
    ended.tells(&["red: copy::stuck (did not end)", "red: tests/suite.rs died, or did not end"]);
    assert!(!ended.said.contains("red: copy::slow"), "{}", ended.said);
}
