//! `migrate schema`: what an editor says of a file, and what the readers say of it, by a validator that is not ours.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use migrate::config::{self, LoadOptions};

use super::run::migrate;
use crate::lab::python;

const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// The schema, where a validator finds it.
fn schema(dir: &Path, of: &str) -> PathBuf {
    let ran = migrate(&["schema", of]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let path = dir.join(format!("{of}.schema.json"));
    std::fs::write(&path, ran.out).unwrap();
    path
}

/// The files that a validator refuses.
fn refused(schema: &Path, files: &[PathBuf]) -> BTreeSet<PathBuf> {
    let program = python::programs(&["check-jsonschema==0.39.0"]).join("check-jsonschema");
    let mut command = Command::new(program);
    let out = command.args(["-o", "json", "--schemafile"]).arg(schema).args(files).output().unwrap();
    let said: serde_json::Value =
        serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out.stderr)));
    assert!(said["parse_errors"].as_array().is_none_or(Vec::is_empty), "{said}");
    let errors = said["errors"].as_array().cloned().unwrap_or_default();
    errors.iter().map(|error| PathBuf::from(error["filename"].as_str().unwrap())).collect()
}

fn yaml_in(dir: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(Path::new(HERE).join(dir)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|e| e == "yaml")).collect();
    files.sort();
    files
}

#[test]
fn the_schemas_that_files_name_are_those_that_the_program_prints() {
    for of in ["plan", "inventory"] {
        let kept = Path::new(HERE).join(format!("docs/schema/{of}.json"));
        let printed = migrate(&["schema", of]).out;
        let is = std::fs::read_to_string(&kept).unwrap();
        assert!(is == printed, "{} is old: migrate schema {of} > {0}", kept.display());
    }
    let unknown = migrate(&["schema", "hosts"]);
    assert!(unknown.code == 2 && unknown.err.contains("plan, inventory"), "{}", unknown.err);
}

#[test]
fn every_file_of_the_project_is_taken_and_says_where_its_schema_is() {
    let dir = tempfile::tempdir().unwrap();
    for (of, own, others) in [
        ("plan", "plans", vec![format!("{HERE}/tests/spec/good/plan.yaml")]),
        ("inventory", "inventories", vec![format!("{HERE}/tests/spec/good/inventory.yaml")]),
    ] {
        let files = yaml_in(own);
        assert!(files.len() >= 3);
        for file in files.iter().filter(|file| !file.to_string_lossy().contains(".fetched.")) {
            let text = std::fs::read_to_string(file).unwrap();
            let named = text.lines().next().unwrap().strip_prefix("# yaml-language-server: $schema=").unwrap();
            let named = file.parent().unwrap().join(named).canonicalize().unwrap();
            assert!(named.ends_with(format!("docs/schema/{of}.json")), "{}", file.display());
        }
        let all: Vec<PathBuf> = files.into_iter().chain(others.into_iter().map(PathBuf::from)).collect();
        assert_eq!(refused(&schema(dir.path(), of), &all), BTreeSet::new());
    }
}

/// Places of a text at which something stands behind one of these characters, up to one of those.
fn spans(text: &str, begin: &[char], mut end: impl FnMut(&str, usize) -> Option<usize>) -> Vec<std::ops::Range<usize>> {
    let after = |(at, _): &(usize, char)| text[..*at].chars().next_back().is_some_and(|c| begin.contains(&c));
    text.char_indices().filter(after).filter_map(|(at, _)| Some(at..end(text, at)?)).collect()
}

fn is_key(c: char) -> bool {
    c.is_ascii_lowercase() || c == '_'
}

/// Every key with another name, and a list of lists in the place of every word.
fn mutated(text: &str) -> Vec<String> {
    let key = |text: &str, at: usize| {
        let len = text[at..].find(|c| !is_key(c))?;
        (len > 0 && (text[at + len..].starts_with(": ") || text[at + len..].starts_with(":\n"))).then_some(at + len)
    };
    let word = |text: &str, at: usize| {
        let behind_key = text[..at].ends_with(": ") && text[..at - 2].ends_with(is_key);
        let is_word = |c: char| c.is_ascii_alphanumeric() || "%./-".contains(c);
        let len = text[at..].find(|c| !is_word(c)).filter(|len| *len > 0 && behind_key)?;
        text[at + len..]
            .starts_with([',', '}', '\n'])
            .then_some(at + len)
            .or_else(|| text[at + len..].starts_with(" }").then_some(at + len))
    };
    let keys =
        spans(text, &[' ', '{', '\n'], key).into_iter().map(|s| format!("{}x{}", &text[..s.start], &text[s.start..]));
    let words = spans(text, &[' '], word).into_iter().map(|s| format!("{}[[]]{}", &text[..s.start], &text[s.end..]));
    keys.chain(words).collect()
}

/// What the readers say: nothing, that they do not know a key or cannot take a list, or something that no schema can know.
fn read(of: &str, path: &Path) -> Option<bool> {
    let options = LoadOptions { home: Some("/home/user".into()), dir: None };
    let problems = match of {
        "plan" => config::load(path, None, &options).err(),
        _ => config::load_inventory(&[path], &options).err(),
    };
    let Some(problems) = problems else { return Some(true) };
    let plain = |message: &str| message.contains("unknown k") || message.contains("found a list");
    problems.iter().any(|found| plain(&found.message)).then_some(false)
}

#[test]
fn what_is_changed_is_judged_alike() {
    for of in ["plan", "inventory"] {
        let dir = tempfile::tempdir().unwrap();
        for file in yaml_in("tests/spec/good") {
            std::fs::copy(&file, dir.path().join(file.file_name().unwrap())).unwrap();
        }
        let good = std::fs::read_to_string(dir.path().join(format!("{of}.yaml"))).unwrap();
        let mut files = Vec::new();
        for (text, n) in mutated(&good).into_iter().zip(0..) {
            let path = dir.path().join(format!("{of}-{n:04}.yaml"));
            std::fs::write(&path, text).unwrap();
            // Saved copies of sources go by the name of their inventory.
            if of == "inventory" {
                for source in ["dallas", "frankfurt", "mine", "old"] {
                    let saved = dir.path().join(format!("inventory.{source}.fetched.yaml"));
                    std::fs::copy(saved, path.with_extension(format!("{source}.fetched.yaml"))).unwrap();
                }
            }
            files.push(path);
        }
        let refused = refused(&schema(dir.path(), of), &files);
        let judged: Vec<(&PathBuf, bool)> = files.iter().filter_map(|path| Some((path, read(of, path)?))).collect();
        println!(
            "{of}: {} files, {} refused by the schema, {} judged by both",
            files.len(),
            refused.len(),
            judged.len()
        );
        assert!(judged.len() > 100 && judged.iter().any(|(_, good)| !good));
        for (path, good) in judged {
            let text = std::fs::read_to_string(path).unwrap();
            let changed: Vec<_> = text.lines().zip(good_lines(of)).filter(|(a, b)| a != b).collect();
            assert_eq!(!refused.contains(path), good, "{of}: {changed:?}");
        }
    }
}

fn good_lines(of: &str) -> Vec<String> {
    let text = std::fs::read_to_string(Path::new(HERE).join(format!("tests/spec/good/{of}.yaml"))).unwrap();
    text.lines().map(str::to_owned).collect()
}
