//! The rules of the house, checked against the source text.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

fn sources(dir: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut open = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(dir)];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().to_owned(), text));
            }
        }
    }
    assert!(!found.is_empty(), "no sources below {dir}");
    found
}

/// The part of a file that is not its unit tests.
fn product(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or_default()
}

fn offenders(dir: &str, words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in sources(dir) {
        for (n, line) in product(&text).lines().enumerate() {
            let code = line.trim_start();
            if !code.starts_with("//") && words.iter().any(|w| code.contains(w)) {
                found.push(format!("{}:{}: {}", path.display(), n + 1, code));
            }
        }
    }
    found
}

#[test]
fn planner_and_engine_know_traits_and_no_provider() {
    let providers =
        ["haproxy", "rfc2136", "Haproxy", "Rfc2136", "russh", "reqwest", "Checker", "ssh::Pool", "ssh::pool"];
    for dir in ["src/planner", "src/engine", "src/event", "src/journal"] {
        assert_eq!(offenders(dir, &providers), Vec::<String>::new());
    }
}

#[test]
fn render_sees_events_and_plans_only() {
    let beyond = ["crate::ssh", "crate::traffic", "crate::health", "crate::cli", "std::fs", "tokio::"];
    assert_eq!(offenders("src/render", &beyond), Vec::<String>::new());
}

#[test]
fn only_the_command_line_reads_the_environment_or_prints() {
    for (path, text) in sources("src") {
        // Unit tests in a file of their own may say what they have counted.
        if path.starts_with("src/cli") || path.ends_with("tests.rs") {
            continue;
        }
        for word in ["env::var", "env::args", "println!", "eprintln!", "process::exit"] {
            let uses = product(&text).lines().filter(|l| l.contains(word) && !l.trim_start().starts_with("//"));
            assert_eq!(uses.collect::<Vec<_>>(), Vec::<&str>::new(), "{} uses {word}", path.display());
        }
    }
}

#[test]
fn planning_is_pure() {
    for (path, text) in sources("src/planner") {
        if !path.ends_with("observe.rs") {
            for word in ["async fn", "std::fs", "Timestamp::now", "Instant::now"] {
                assert!(!product(&text).contains(word), "{} has {word}", path.display());
            }
        }
    }
}

#[test]
fn every_module_says_what_it_owns() {
    for dir in ["src", "tests", "examples", "benches"] {
        if !Path::new(env!("CARGO_MANIFEST_DIR")).join(dir).exists() {
            continue;
        }
        for (path, text) in sources(dir) {
            assert!(text.starts_with("//!"), "{} does not begin with //!", path.display());
        }
    }
}

#[test]
fn files_stay_short_enough_to_hold_one_concept() {
    for (path, text) in sources("src") {
        let lines = product(&text).lines().count();
        assert!(lines <= 400, "{} has {lines} lines without its tests", path.display());
    }
}
