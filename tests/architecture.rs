//! The rules of the house, checked against the source text.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "architecture/imports.rs"]
mod imports;

use std::collections::{BTreeMap, BTreeSet};
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
    text.split("\n#[cfg(test)]\n").next().unwrap_or_default()
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

/// The table of rooms in docs/architecture.md, from the ground up: each room with the rooms that it may use.
fn table() -> Vec<(String, BTreeSet<String>)> {
    let docs = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architecture.md")).unwrap();
    let rows = docs.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix("| `")?.strip_suffix('|')?.split('|').collect();
        let [name, _, uses] = cells[..] else { return None };
        Some((
            name.trim().trim_end_matches(['`', '/']).to_owned(),
            uses.split_whitespace().map(str::to_owned).collect(),
        ))
    });
    rows.collect()
}

/// Rooms named by a path `crate::room`, in use lists and in line.
fn rooms_used(text: &str) -> BTreeSet<&str> {
    let mut used = BTreeSet::new();
    let code = text.lines().filter(|l| !l.trim_start().starts_with("//"));
    for rest in code.flat_map(|l| l.match_indices("crate::").map(move |(at, word)| &l[at + word.len()..])) {
        let list = rest.strip_prefix('{').map(|list| list.split('}').next().unwrap_or(list));
        for path in list.map_or_else(|| vec![rest], |list| list.split(',').collect()) {
            let end = path.trim_start().find(|c: char| !c.is_alphanumeric() && c != '_');
            used.insert(&path.trim_start()[..end.unwrap_or(path.trim_start().len())]);
        }
    }
    used.retain(|word| word.starts_with(char::is_lowercase));
    used
}

/// What each room really uses.
fn uses_by_room() -> BTreeMap<String, BTreeSet<String>> {
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, text) in sources("src") {
        let room = path.components().nth(1).unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
        if ["lib", "main"].contains(&room.as_str()) || path.ends_with("tests.rs") {
            continue;
        }
        let others = rooms_used(product(&text)).into_iter().filter(|used| *used != room).map(str::to_owned);
        uses.entry(room.clone()).or_default().extend(others);
    }
    uses
}

#[test]
fn rooms_use_what_the_table_in_the_docs_says_and_never_in_a_circle() {
    let table = table();
    let order: Vec<&String> = table.iter().map(|(room, _)| room).collect();
    let used = uses_by_room();
    assert_eq!(used.keys().collect::<BTreeSet<_>>(), order.iter().copied().collect(), "rooms, and rooms in the table");
    for (n, (room, allowed)) in table.iter().enumerate() {
        let wanted: Vec<&String> = order.iter().copied().filter(|r| used[room].contains(*r)).collect();
        assert_eq!(&used[room], allowed, "{room} uses {wanted:?}: mend the code, or its row in docs/architecture.md");
        for other in &used[room] {
            assert!(order[..n].contains(&other), "{room} uses {other}, which does not stand above it");
        }
    }
}

#[test]
fn planner_and_engine_know_traits_and_no_provider() {
    let providers = ["haproxy", "traffic::dns", "Haproxy", "russh", "reqwest", "Checker", "ssh::Pool", "ssh::pool"];
    for dir in ["src/model", "src/yaml", "src/step", "src/planner", "src/engine", "src/event", "src/journal"] {
        assert_eq!(offenders(dir, &providers), Vec::<String>::new());
    }
}

/// Closed lists of kinds, each with its room.
const LISTS: [(&str, &str); 1] = [("src/traffic", "DirectorConfig")];

#[test]
fn a_kind_is_named_in_its_room_alone() {
    for (room, list) in LISTS {
        let prefix = format!("{list}::");
        // A variant, as against an associated function or a constant.
        let variant = |rest: &str| {
            let mut letters = rest.chars();
            letters.next().is_some_and(char::is_uppercase) && letters.next().is_some_and(char::is_lowercase)
        };
        for (path, text) in sources("src").into_iter().filter(|(path, _)| !path.starts_with(room)) {
            let code = product(&text).lines().filter(|line| !line.trim_start().starts_with("//"));
            let named = code.filter(|line| line.split(prefix.as_str()).skip(1).any(variant));
            assert_eq!(named.collect::<Vec<_>>(), Vec::<&str>::new(), "{} names a kind of {list}", path.display());
        }
    }
}

#[test]
fn render_neither_reads_nor_waits() {
    assert_eq!(offenders("src/render", &["std::fs", "tokio::", "async fn"]), Vec::<String>::new());
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
        if !path.ends_with("observe.rs") && !path.components().any(|part| part.as_os_str() == "observe") {
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
        assert!(lines <= 500, "{} has {lines} lines without its tests", path.display());
    }
}

/// The rooms of the copy engine depend on each other in one direction.
#[test]
fn nothing_in_copy_uses_what_uses_it() {
    let graph = imports::graph("src/copy");
    // The graph must not be empty by mistake: these are uses by `use`, by `super`, and through what a `mod.rs` passes on.
    for (from, to) in [("send::pass", "send::transfer::context"), ("send::pass", "send::link::session")] {
        assert!(graph[&format!("copy::{from}")].contains(&format!("copy::{to}")), "{from} uses {to}");
    }
    assert_eq!(imports::cycles(&graph), Vec::<String>::new(), "files that use each other");
    let mut rooms: BTreeSet<&str> = graph.keys().filter_map(|module| module.rsplit_once("::").map(|m| m.0)).collect();
    rooms.insert("copy");
    for room in rooms {
        let inside = imports::within(&graph, room);
        assert_eq!(imports::cycles(&inside), Vec::<String>::new(), "rooms of {room} that use each other");
    }
}
