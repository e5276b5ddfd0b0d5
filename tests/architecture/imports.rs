//! Which module of a room uses which, read from `use` declarations and from paths in the code. What `mod.rs` passes on with `pub use`
//! is not a use by `mod.rs`: whoever names it there uses the module that it comes from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{product, sources};

pub type Graph = BTreeMap<String, BTreeSet<String>>;

struct Module {
    name: String,
    /// Whether it is the `mod.rs` of its room.
    is_room: bool,
    /// Paths that it uses, made absolute.
    used: Vec<Vec<String>>,
    /// Names that it passes on, and where they come from.
    passed_on: BTreeMap<String, Vec<String>>,
}

pub fn graph(dir: &str) -> Graph {
    let modules: BTreeMap<String, Module> =
        sources(dir).into_iter().map(|(path, text)| read(&path, product(&text))).collect();
    let uses = |module: &Module| {
        let used = module.used.iter().filter_map(|path| resolve(&modules, path));
        used.filter(|other| *other != module.name).collect()
    };
    modules.values().map(|module| (module.name.clone(), uses(module))).collect()
}

fn read(path: &Path, text: &str) -> (String, Module) {
    let path: PathBuf = path.strip_prefix("src").unwrap().with_extension("");
    let is_room = path.ends_with("mod");
    let path = if is_room { path.parent().unwrap() } else { &path };
    let parts: Vec<String> = path.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    let name = parts.join("::");
    let code: String =
        text.lines().filter(|line| !line.trim_start().starts_with("//")).flat_map(|l| [l, "\n"]).collect();
    let children: Vec<&str> = code.lines().filter_map(|line| line.split_once("mod ")?.1.strip_suffix(';')).collect();
    let (mut used, mut passed_on, mut rest) = (Vec::new(), BTreeMap::new(), String::new());
    for statement in code.split_inclusive(';') {
        match declaration(statement) {
            None => rest.push_str(statement),
            Some((before, public, tree)) => {
                rest.push_str(before);
                for path in leaves(tree).into_iter().filter_map(|path| absolute(path, &parts, &children)) {
                    match (public, path.last().cloned()) {
                        (true, Some(item)) => drop(passed_on.insert(item, path)),
                        _ => used.push(path),
                    }
                }
            }
        }
    }
    let words = rest.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).filter(|word| word.contains("::"));
    let paths = words.map(|word| word.split("::").map(str::to_owned).collect());
    used.extend(paths.filter_map(|path| absolute(path, &parts, &children)));
    (name.clone(), Module { name, is_room, used, passed_on })
}

/// What stands before a `use` at the end of a statement, whether it is public, and what it names.
fn declaration(statement: &str) -> Option<(&str, bool, &str)> {
    let body = statement.strip_suffix(';')?;
    let line = body.rmatch_indices('\n').map(|(at, _)| at + 1).chain([0]);
    line.into_iter().find_map(|at| {
        let (before, text) = body.split_at(at);
        let text = text.trim_start();
        let public = text.starts_with("pub");
        let text = text.strip_prefix("pub").map_or(text, |rest| rest.trim_start().trim_start_matches("(super)"));
        Some((before, public, text.trim_start().strip_prefix("use ")?))
    })
}

/// `a::{b, c::{self, d}}` as the paths in it.
fn leaves(tree: &str) -> Vec<Vec<String>> {
    let Some((prefix, inner)) = tree.trim().split_once('{') else {
        let path = tree.trim().split(" as ").next().unwrap();
        return vec![path.split("::").map(|part| part.trim().to_owned()).filter(|part| part != "self").collect()];
    };
    let inner = inner.strip_suffix('}').expect("a use that ends with its brace");
    let prefix: Vec<String> = prefix.split("::").map(|p| p.trim().to_owned()).filter(|p| !p.is_empty()).collect();
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for c in inner.chars() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        match c {
            ',' if depth == 0 => parts.push(String::new()),
            c => parts.last_mut().unwrap().push(c),
        }
    }
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| leaves(part)).map(|rest| [prefix.clone(), rest].concat()).collect()
}

/// A path from the root of the crate, if it is one of this crate.
fn absolute(path: Vec<String>, module: &[String], children: &[&str]) -> Option<Vec<String>> {
    match path.first()?.as_str() {
        "crate" => Some(path[1..].to_vec()),
        "self" => Some([module, &path[1..]].concat()),
        "super" => {
            let ups = path.iter().take_while(|part| *part == "super").count();
            Some([&module[..module.len().checked_sub(ups)?], &path[ups..]].concat())
        }
        child if children.contains(&child) => Some([module, &path].concat()),
        _ => None,
    }
}

/// The module that a path leads to.
fn resolve(modules: &BTreeMap<String, Module>, path: &[String]) -> Option<String> {
    let at = (1..=path.len()).rev().find(|n| modules.contains_key(&path[..*n].join("::")))?;
    let module = &modules[&path[..at].join("::")];
    match path.get(at).and_then(|item| module.passed_on.get(item)).filter(|_| module.is_room) {
        Some(from) => resolve(modules, from),
        None => Some(module.name.clone()),
    }
}

/// The direct children of a room, each standing for all that is in it.
pub fn within(graph: &Graph, room: &str) -> Graph {
    let child = |module: &str| {
        let rest = module.strip_prefix(room)?.strip_prefix("::")?;
        Some(rest.split("::").next().unwrap_or(rest).to_owned())
    };
    let mut inside = Graph::new();
    for (module, used) in graph {
        let Some(from) = child(module) else { continue };
        let to = used.iter().filter_map(|other| child(other)).filter(|to| *to != from);
        inside.entry(from.clone()).or_default().extend(to);
    }
    inside
}

/// What is left when everything that uses nothing else is taken away, again and again, and so is what nothing else uses.
pub fn cycles(graph: &Graph) -> Vec<String> {
    let mut left = graph.clone();
    loop {
        let before = left.len();
        let names: BTreeSet<String> = left.keys().cloned().collect();
        left.values_mut().for_each(|used| used.retain(|name| names.contains(name)));
        let used: BTreeSet<String> = left.values().flatten().cloned().collect();
        left.retain(|name, uses| !uses.is_empty() && used.contains(name));
        if left.len() == before {
            let told = left.iter().flat_map(|(name, used)| used.iter().map(move |to| format!("{name} uses {to}")));
            return told.collect();
        }
    }
}
