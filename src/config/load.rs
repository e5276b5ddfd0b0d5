//! From paths to a [`Spec`].

use std::cell::Cell;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::read::inventory::InventoryDraft;
use super::read::plan::PlanDraft;
use super::read::{inventory, plan};
use super::validate::{self, Atlas};
use crate::model::Input;
use crate::spec::{Inventory, Spec};
use crate::text::name::MAX_NAMES;
use crate::yaml::diagnostic::{Diagnostic, Diagnostics, Sink};
use crate::yaml::node;
use crate::yaml::reader::{Cx, Value};
use crate::yaml::source::{At, Source};

/// What the surroundings give; the library reads no environment.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// What `~/` stands for.
    pub home: Option<PathBuf>,
}

/// Reads a plan with the inventories that it names, or with `inventory` instead of them. Touches nothing but these files.
///
/// Returns the model with the warnings, or all problems.
pub fn load(plan: &Path, inventory: Option<&Path>, options: &LoadOptions) -> Result<(Spec, Diagnostics), Diagnostics> {
    let loader = Loader { sink: Sink::default(), options };
    let out = loader.plan(plan, inventory);
    loader.finish(out)
}

/// Reads inventories alone and merges them. Returns the model, the files and the warnings, or all problems.
pub fn load_inventory(
    paths: &[&Path],
    options: &LoadOptions,
) -> Result<(Inventory, Vec<Input>, Diagnostics), Diagnostics> {
    let loader = Loader { sink: Sink::default(), options };
    let named: Vec<(PathBuf, Option<At>)> = paths.iter().map(|path| ((*path).to_owned(), None)).collect();
    let (atlas, sources) = loader.inventories(named, 0);
    let out = atlas.map(|atlas| (atlas.inventory, inputs(&sources)));
    loader.finish(out).map(|((inventory, inputs), warnings)| (inventory, inputs, warnings))
}

struct Loader<'a> {
    sink: Sink,
    options: &'a LoadOptions,
}

impl Loader<'_> {
    fn finish<T>(self, out: Option<T>) -> Result<(T, Diagnostics), Diagnostics> {
        let failed = self.sink.has_errors();
        match out {
            Some(out) if !failed => Ok((out, self.sink.into_diagnostics())),
            _ => Err(self.sink.into_diagnostics()),
        }
    }

    fn plan(&self, path: &Path, inventory: Option<&Path>) -> Option<Spec> {
        let source = Source::read(path, 0, None, &self.sink);
        let draft = source.as_ref().and_then(|source| self.parse(source, plan::read));
        let named = match (inventory, &draft) {
            (Some(path), _) => vec![(path.to_owned(), None)],
            (None, Some(draft)) => self.named(source.as_ref()?, draft),
            (None, None) => Vec::new(),
        };
        // Also when the plan could not be read: all problems of all files at once.
        let (atlas, mut sources) = self.inventories(named, 1);
        let (source, draft, atlas) = (source?, draft?, atlas?);
        let plan = validate::plan(&draft, &atlas, &self.sink)?;
        sources.insert(0, source);
        Some(Spec { plan, inventory: atlas.inventory, inputs: inputs(&sources) })
    }

    /// The inventories that a plan names.
    fn named(&self, source: &Arc<Source>, draft: &PlanDraft) -> Vec<(PathBuf, Option<At>)> {
        if draft.inventories.is_empty() && !self.sink.has_errors() {
            let message = "the plan names no inventory";
            let at = At { source: Arc::clone(source), span: 0..0 };
            self.sink.push(
                Diagnostic::error(&at, message).hint("add `inventory: ../inventories/x.yaml`, or give one with -i"),
            );
        }
        draft.inventories.iter().map(|i| (tidy(&i.value), Some(i.at.clone()))).collect()
    }

    fn inventories(&self, named: Vec<(PathBuf, Option<At>)>, first: usize) -> (Option<Atlas>, Vec<Arc<Source>>) {
        let mut drafts: Vec<InventoryDraft> = Vec::new();
        let mut sources: Vec<Arc<Source>> = Vec::new();
        let mut complete = !named.is_empty();
        for (order, (path, at)) in named.into_iter().enumerate() {
            if sources.iter().any(|read| same_file(&read.path, &path)) {
                self.twice(&path, first + order, at.as_ref());
                continue;
            }
            let source = Source::read(&path, first + order, at.as_ref(), &self.sink);
            let draft = source.as_ref().and_then(|source| self.parse(source, inventory::read));
            complete &= draft.is_some();
            drafts.extend(draft);
            sources.extend(source);
        }
        // Half an inventory would make everything in the other half unknown.
        let atlas = complete.then(|| validate::inventory(drafts, &self.sink));
        (atlas, sources)
    }

    fn twice(&self, path: &Path, order: usize, at: Option<&At>) {
        let message = format!("inventory {} is named twice", path.display());
        let found = match at {
            Some(at) => Diagnostic::error(at, message),
            None => Diagnostic::without_place(path, order, message),
        };
        self.sink.push(found.hint("remove one of the two"));
    }

    fn parse<T>(&self, source: &Arc<Source>, read: fn(Value<'_>) -> T) -> Option<T> {
        let node = node::parse(source, &self.sink)?;
        let cx = Cx { source, sink: &self.sink, home: self.options.home.as_deref(), names_left: Cell::new(MAX_NAMES) };
        Some(read(Value::root(&cx, &node)))
    }
}

fn inputs(sources: &[Arc<Source>]) -> Vec<Input> {
    sources.iter().map(|s| Input { path: s.path.clone(), digest: s.digest.clone() }).collect()
}

fn same_file(a: &Path, b: &Path) -> bool {
    a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// `plans/../inventories/x.yaml` as `inventories/x.yaml`, if that is the same file.
fn tidy(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        let last = out.components().next_back();
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(last, Some(Component::Normal(_))) => drop(out.pop()),
            part => out.push(part),
        }
    }
    if same_file(&out, path) { out } else { path.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const DOCS: [&str; 2] = [include_str!("../../docs/plan.md"), include_str!("../../docs/inventory.md")];

    /// Every key that reading a plan and an inventory asks for, with its concept.
    fn known_keys() -> BTreeSet<(&'static str, &'static str)> {
        let options = LoadOptions { home: Some("/home/user".into()) };
        let loader = Loader { sink: Sink::default(), options: &options };
        let plan = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/spec/good/plan.yaml");
        assert!(loader.plan(&plan, None).is_some());
        // Kinds that only tests have are no part of the language.
        loader.sink.known_keys().into_iter().filter(|(_, key)| !key.starts_with("test_")).collect()
    }

    /// The part of the documents under the heading of a concept.
    fn section(concept: &str) -> &'static str {
        let heading = match concept {
            "defaults" | "site defaults" => "host",
            "service defaults" => "service",
            concept => concept,
        };
        let sections = DOCS.iter().flat_map(|doc| doc.split("\n## ").flat_map(|part| part.split("\n### ")));
        let found = sections.into_iter().find(|s| s.lines().next().is_some_and(|h| h.eq_ignore_ascii_case(heading)));
        found.unwrap_or_else(|| panic!("docs/ have no section `{heading}`"))
    }

    #[test]
    fn every_key_is_documented_and_every_documented_key_is_known() {
        let known = known_keys();
        for (concept, key) in &known {
            let row = format!("\n| `{key}` |");
            assert!(section(concept).contains(&row), "docs/ do not tell of `{key}` in `{concept}`");
        }
        for (concept, _) in &known {
            let rows = section(concept).lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
            for (key, rest) in rows {
                let is_key = rest.matches('|').count() >= 2 && section(concept).contains("| key |");
                let point = super::super::read::hook::POINTS.iter().any(|(point, _)| *point == key);
                let there = known.iter().any(|(c, k)| *k == key && section(c) == section(concept));
                assert!(!is_key || point || there, "docs/ tell of `{key}` in `{concept}`, which nobody reads");
            }
        }
    }

    #[test]
    fn the_examples_of_the_documents_are_valid() {
        let dir = tempfile::tempdir().unwrap();
        let block =
            |doc: &'static str, n: usize| doc.split("```").filter_map(|b| b.strip_prefix("yaml\n")).nth(n).unwrap();
        std::fs::write(dir.path().join("inventory.yaml"), block(DOCS[0], 0)).unwrap();
        std::fs::write(dir.path().join("plan.yaml"), block(DOCS[0], 1)).unwrap();
        let (_, warnings) =
            load(&dir.path().join("plan.yaml"), None, &LoadOptions::default()).unwrap_or_else(|e| panic!("{e}"));
        assert!(warnings.is_empty(), "{warnings}");
        let path = dir.path().join("large.yaml");
        std::fs::write(&path, block(DOCS[1], 0)).unwrap();
        let options = LoadOptions { home: Some("/home/user".into()) };
        let (inventory, ..) = load_inventory(&[&path], &options).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(inventory.hosts.len(), 241);
    }
}
