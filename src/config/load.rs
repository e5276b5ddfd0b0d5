//! From paths and addresses to a [`Spec`].

use std::cell::{Cell, RefCell};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use futures_util::FutureExt as _;

use super::gather::Gathered;
use super::read::plan;
use super::read::plan::PlanDraft;
use super::todo;
use super::validate::{self, Inventories};
use crate::inventory::Document;
use crate::model::Input;
use crate::model::finding::Finding;
use crate::secret::{Secret, SecretError, SecretRef, Secrets};
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
    /// Where relative paths of this machine count from, for who may look at them from elsewhere; as they are otherwise.
    pub dir: Option<PathBuf>,
}

/// Where the inventories of a plan come from.
pub struct Sources<'a> {
    /// For sources that need them. They never get into a document.
    pub secrets: &'a dyn Secrets,
    /// What the live sources of an unfinished run of the plan of this name said when it began.
    pub pinned: &'a dyn Fn(&str) -> Vec<Document>,
    /// When live sources are asked.
    pub ask: Ask,
}

/// When live sources are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Once: what they say is what counts.
    Once,
    /// Once, and what they say is compared with what a run has pinned, or with what was saved.
    Always,
    /// Never: nothing is contacted, and saved copies stand in.
    Never,
}

pub(super) const OFFLINE: Sources<'static> = Sources { secrets: &NoSecrets, pinned: &|_| Vec::new(), ask: Ask::Never };

/// Reads a plan with the inventories that it names, or with `inventory` instead of them, from wherever they are. Changes nothing there.
///
/// Returns the model with the warnings, or all problems.
pub async fn load_from(
    plan: &Path,
    inventory: Option<&Path>,
    options: &LoadOptions,
    sources: &Sources<'_>,
) -> Result<(Spec, Diagnostics), Diagnostics> {
    let loader = Loader::new(options, sources);
    let out = loader.plan(plan, inventory).await;
    loader.finish(out)
}

/// The same for plans whose inventories are files.
pub fn load(plan: &Path, inventory: Option<&Path>, options: &LoadOptions) -> Result<(Spec, Diagnostics), Diagnostics> {
    let loader = Loader::new(options, &OFFLINE);
    let out = loader.plan(plan, inventory).now_or_never();
    if out.is_none() {
        loader.not_now(plan);
    }
    loader.finish(out.flatten())
}

/// Reads inventories alone, from wherever they are, and merges them. Returns the model, the documents and the warnings, or all problems.
pub async fn load_inventory_from(
    paths: &[&Path],
    options: &LoadOptions,
    sources: &Sources<'_>,
) -> Result<(Inventory, Vec<Input>, Diagnostics), Diagnostics> {
    let loader = Loader::new(options, sources);
    let named: Vec<(PathBuf, Option<At>)> = paths.iter().map(|path| ((*path).to_owned(), None)).collect();
    let (inventories, read) = loader.inventories(named, &[], 0).await;
    let out = inventories.map(|inventories| (inventories.inventory, inputs(&read)));
    loader.finish(out).map(|((inventory, inputs), warnings)| (inventory, inputs, warnings))
}

/// The same for inventories that are files, with saved copies of their sources.
pub fn load_inventory(
    paths: &[&Path],
    options: &LoadOptions,
) -> Result<(Inventory, Vec<Input>, Diagnostics), Diagnostics> {
    // Files do not keep anybody waiting.
    load_inventory_from(paths, options, &OFFLINE).now_or_never().unwrap_or_else(|| Err(Diagnostics::default()))
}

/// Files need none.
struct NoSecrets;

impl Secrets for NoSecrets {
    fn resolve(&self, _: &SecretRef) -> Result<Secret, SecretError> {
        Err(SecretError { from: "nowhere".to_owned(), why: "nobody looks secrets up here".to_owned() })
    }
}

/// The name that a plan has by its file; `None` where that cannot be read.
pub fn name_of(plan: &Path, options: &LoadOptions) -> Option<String> {
    let loader = Loader::new(options, &OFFLINE);
    let source = Source::read(plan, 0, &loader.sink)?;
    loader.parse(&source, plan::read)?.name.map(|name| name.value)
}

pub(super) struct Loader<'a> {
    pub(super) sink: Sink,
    options: &'a LoadOptions,
    pub(super) sources: &'a Sources<'a>,
    /// What sources say now that they did not say before.
    pub(super) told: RefCell<Vec<Finding>>,
}

impl<'a> Loader<'a> {
    pub(super) fn new(options: &'a LoadOptions, sources: &'a Sources<'a>) -> Self {
        Self { sink: Sink::default(), options, sources, told: RefCell::default() }
    }
}

impl Loader<'_> {
    pub(super) fn finish<T>(self, out: Option<T>) -> Result<(T, Diagnostics), Diagnostics> {
        let failed = self.sink.has_errors();
        match out {
            Some(out) if !failed => Ok((out, self.sink.into_diagnostics())),
            _ => Err(self.sink.into_diagnostics()),
        }
    }

    /// A source wants to be waited for where nothing is contacted.
    fn not_now(&self, plan: &Path) {
        let message = "an inventory of this plan is fetched from elsewhere, and nothing is contacted here";
        self.sink.push(Diagnostic::without_place(plan, 0, message).hint("`migrate plan` fetches it"));
    }

    async fn plan(&self, path: &Path, inventory: Option<&Path>) -> Option<Spec> {
        let source = Source::read(path, 0, &self.sink);
        let draft = source.as_ref().and_then(|source| self.parse(source, plan::read));
        let named = match (inventory, &draft) {
            (Some(path), _) => vec![(path.to_owned(), None)],
            (None, Some(draft)) => self.named(source.as_ref()?, draft),
            (None, None) => Vec::new(),
        };
        let name = draft.as_ref().and_then(|draft| draft.name.as_ref());
        let pinned = name.map(|name| (self.sources.pinned)(&name.value)).unwrap_or_default();
        // Also when the plan could not be read: all problems of all files at once.
        let (inventories, read) = self.inventories(named, &pinned, 1).await;
        self.spec(source?, &draft?, inventories?, read)
    }

    /// Everything that was read, together.
    pub(super) fn spec(
        &self,
        source: Arc<Source>,
        draft: &PlanDraft,
        inventories: Inventories,
        mut read: Vec<Read>,
    ) -> Option<Spec> {
        let plan = validate::plan(draft, &inventories, &self.sink)?;
        read.insert(0, Read { source, live: false });
        let texts = read.iter().map(|r| r.source.text.clone()).collect();
        let told = self.told.take();
        Some(Spec { plan, inventory: inventories.inventory, inputs: inputs(&read), texts, told })
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

    async fn inventories(
        &self,
        named: Vec<(PathBuf, Option<At>)>,
        pinned: &[Document],
        first: usize,
    ) -> (Option<Inventories>, Vec<Read>) {
        let mut gathered = Gathered::new(first, !named.is_empty());
        let mut seen = Vec::<PathBuf>::new();
        for (address, at) in named {
            if seen.iter().any(|earlier| same_file(earlier, &address)) {
                self.twice(&address, gathered.order, at.as_ref());
                gathered.order += 1;
                continue;
            }
            self.gather(&address, at.as_ref(), pinned, &mut gathered).await;
            seen.push(address);
        }
        self.together(gathered)
    }

    /// Half an inventory would make everything in the other half unknown.
    pub(super) fn together(&self, gathered: Gathered) -> (Option<Inventories>, Vec<Read>) {
        let inventories = gathered.complete.then(|| validate::inventory(gathered.drafts, &self.sink));
        (inventories, gathered.read)
    }

    fn twice(&self, path: &Path, order: usize, at: Option<&At>) {
        let message = format!("inventory {} is named twice", path.display());
        let found = match at {
            Some(at) => Diagnostic::error(at, message),
            None => Diagnostic::without_place(path, order, message),
        };
        self.sink.push(found.hint("remove one of the two"));
    }

    pub(super) fn parse<T>(&self, source: &Arc<Source>, read: fn(Value<'_>) -> T) -> Option<T> {
        let node = node::parse(source, &self.sink)?;
        todo::warn(source, &node, &self.sink);
        let LoadOptions { home, dir } = self.options;
        let (home, dir, names_left) = (home.as_deref(), dir.as_deref(), Cell::new(MAX_NAMES));
        let cx = Cx { source, sink: &self.sink, home, dir, names_left };
        Some(read(Value::root(&cx, &node)))
    }
}

/// A document that was read.
pub(super) struct Read {
    pub(super) source: Arc<Source>,
    pub(super) live: bool,
}

fn inputs(read: &[Read]) -> Vec<Input> {
    let input = |r: &Read| Input { path: r.source.path.clone(), digest: r.source.digest.clone(), live: r.live };
    read.iter().map(input).collect()
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
        let options = LoadOptions { home: Some("/home/user".into()), dir: None };
        let loader = Loader::new(&options, &OFFLINE);
        let plan = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/spec/good/plan.yaml");
        assert!(loader.plan(&plan, None).now_or_never().flatten().is_some());
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
        let options = LoadOptions { home: Some("/home/user".into()), dir: None };
        let (inventory, ..) = load_inventory(&[&path], &options).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(inventory.hosts.len(), 241);
    }
}
