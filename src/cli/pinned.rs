//! What a run goes on with: the texts that it was begun with, whatever has been edited in their files since, which is told.
//!
//! Must never let an edit into a run that has begun, and never pass one over in silence that means something.

use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::failure::advised;
use super::load::{BadFiles, options};
use super::runs::{self, Run};
use crate::config;
use crate::event::Started;
use crate::inventory::Document;
use crate::journal::blob;
use crate::spec::Spec;
use crate::text;
use crate::yaml::edited::{self, Edited};
use crate::yaml::source::{Refused, read_file};

/// The texts of a run.
pub struct Texts {
    run: String,
    /// The plan first.
    documents: Vec<Document>,
}

impl Texts {
    /// Fetches them. Where the plan is not where it was, what stood beside it is looked for beside `plan`.
    pub fn of(environment: &Environment, started: &Started, plan: Option<&Path>) -> anyhow::Result<Self> {
        let run = started.run.clone();
        if started.texts.len() != started.inputs.len() {
            let what = format!("run {run} does not keep what its files said: version {} began it", started.version);
            return Err(advised(what, "go on with that version of migrate"));
        }
        let chunks = environment.store.chunks(&run);
        let moved = started.inputs.first().and_then(|input| Moved::new(&input.path, plan?));
        let mut documents = Vec::new();
        for (input, text) in started.inputs.iter().zip(&started.texts) {
            let name = match &moved {
                Some(moved) if !input.live => moved.place(&input.path),
                _ => input.path.clone(),
            };
            documents.push(Document { name, bytes: blob::fetch_bytes(chunks.as_ref(), text)?, live: input.live });
        }
        Ok(Self { run, documents })
    }

    /// The plan and the inventories that they are.
    pub fn spec(&self, environment: &Environment) -> anyhow::Result<Spec> {
        // Their warnings were told when the run began.
        let spec = config::replay(self.documents.clone(), &options(environment));
        Ok(spec.map(|(spec, _)| spec).map_err(BadFiles)?)
    }

    /// They themselves.
    pub fn into_documents(self) -> Vec<Document> {
        self.documents
    }

    /// What has been edited in the files, and that the run goes on with what they said; empty when that changes nothing. `plan` and
    /// `inventory` are what was typed this time.
    pub fn edits(&self, plan: Option<&Path>, inventory: Option<&Path>) -> String {
        let files = self.documents.iter().enumerate().filter(|(_, document)| !document.live);
        let mut told: Vec<String> = files
            .filter_map(|(n, document)| {
                let place = plan.filter(|_| n == 0).unwrap_or(&document.name);
                self.edit(place, &document.bytes)
            })
            .collect();
        told.extend(inventory.and_then(|inventory| self.another(inventory)));
        if told.is_empty() {
            return String::new();
        }
        told.push(format!(
            "run {0} goes on with what it was begun with: let it end, or `migrate rollback {0}`; an edit counts from the next run on\n",
            self.run
        ));
        told.join("\n")
    }

    fn edit(&self, place: &Path, before: &[u8]) -> Option<String> {
        let shown = short(place);
        let now = match read_file(place) {
            Ok(bytes) => bytes,
            Err(Refused { why, .. }) => return Some(format!("{shown} cannot be read any more: {why}")),
        };
        let Edited { means_something, lines } =
            edited::between(place, &String::from_utf8_lossy(before), &String::from_utf8_lossy(&now))?;
        let list = || lines.iter().fold(String::new(), |list, line| format!("{list}\n  {line}"));
        means_something.then(|| format!("{shown} has been edited since run {} began:{}", self.run, list()))
    }

    /// An inventory that was typed and is none of the run.
    fn another(&self, inventory: &Path) -> Option<String> {
        let place = absolute(inventory);
        let known = |document: &Document| {
            absolute(&document.name) == place || read_file(inventory).is_ok_and(|bytes| bytes == document.bytes)
        };
        let is_new = !self.documents.iter().any(known);
        is_new.then(|| format!("{} is no inventory of run {}", short(inventory), self.run))
    }
}

/// The run that is not finished: that of the plan in a file, of a file that is not there or cannot be read any more, or by its name.
pub fn unfinished(environment: &Environment, plan: &Path) -> anyhow::Result<Option<Run>> {
    let open = |run: &Run| !run.state(environment).is_ok_and(|state| runs::has_ended(&state));
    if let Some(name) = config::name_of(plan, &options(environment)) {
        return Ok(runs::latest(environment, &name)?.filter(open));
    }
    let place = absolute(plan);
    let is_it = |run: &Run| {
        let began_there = |started: &Started| started.inputs.first().is_some_and(|i| absolute(&i.path) == place);
        Path::new(&run.name) == plan && !plan.exists()
            || run.began.as_ref().is_ok_and(|(_, started)| began_there(started))
    };
    Ok(runs::all(environment)?.into_iter().rfind(is_it).filter(open))
}

/// The whole of a path, as far as this process can tell.
pub fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// A path as people here would write it.
fn short(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let is_root = here.parent().is_none();
    let path = path.strip_prefix(here).ok().filter(|_| !is_root).unwrap_or(path);
    text::escape(path.as_os_str().as_encoded_bytes(), 300)
}

/// A tree of files that stands elsewhere now.
struct Moved {
    from: PathBuf,
    to: PathBuf,
}

impl Moved {
    /// By where a plan was and where it is; `None` when it is where it was.
    fn new(was: &Path, is: &Path) -> Option<Self> {
        let (was, is) = (absolute(was), absolute(is));
        if was.exists() || !is.exists() {
            return None;
        }
        let (mut from, mut to) = (was.as_path(), is.as_path());
        while let (Some(a), Some(b)) = (from.file_name(), to.file_name())
            && a == b
        {
            (from, to) = (from.parent()?, to.parent()?);
        }
        // A plan that has another name now still stands beside the rest.
        if from == was {
            (from, to) = (from.parent()?, to.parent()?);
        }
        Some(Self { from: from.to_owned(), to: to.to_owned() })
    }

    fn place(&self, path: &Path) -> PathBuf {
        let path = absolute(path);
        path.strip_prefix(&self.from).map(|rest| self.to.join(rest)).unwrap_or(path)
    }
}
