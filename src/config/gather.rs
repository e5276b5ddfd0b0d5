//! Documents of inventories, with those of the sources that they name.
//!
//! Hosts that a source finds get what `defaults` of the file say that names it. Must never take what it has not parsed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::load::{Ask, LoadOptions, Loader, Read, Sources};
use super::read::host::Settings;
use super::read::inventory::{self, InventoryDraft, SourceDraft};
use crate::inventory::{Document, SourceError, changes, copy_of, fetch, head, is_from};
use crate::model::finding::Finding;
use crate::yaml::diagnostic::{Diagnostic, Diagnostics};
use crate::yaml::source::{At, Located, Source};

/// What has been read of inventories so far.
pub struct Gathered {
    pub drafts: Vec<InventoryDraft>,
    pub read: Vec<Read>,
    /// Whether everything that was named could be read.
    pub complete: bool,
    /// The place of the next document among all.
    pub order: usize,
    /// Where each source is named.
    sources: BTreeMap<String, At>,
}

impl Gathered {
    /// Before the first of them.
    pub fn new(order: usize, complete: bool) -> Self {
        Self { drafts: Vec::new(), read: Vec::new(), complete, order, sources: BTreeMap::new() }
    }
}

/// What a source of an inventory says now.
pub struct Fetched {
    /// Its name.
    pub name: String,
    /// Its documents.
    pub documents: Vec<Document>,
}

/// Asks every source that an inventory names.
pub async fn fetch_sources(
    path: &Path,
    options: &LoadOptions,
    sources: &Sources<'_>,
) -> Result<(Vec<Fetched>, Diagnostics), Diagnostics> {
    let loader = Loader::new(options, sources);
    let out = loader.fetch_all(path).await;
    loader.finish(out)
}

impl Loader<'_> {
    /// One inventory: a file, or a source by its address.
    pub(super) async fn gather(&self, address: &Path, at: Option<&At>, pinned: &[Document], out: &mut Gathered) {
        let documents = self.got(fetch(address, self.sources.secrets).await, address, out.order, at);
        for (file, draft) in self.take(documents, out) {
            let (sources, defaults) = (draft.sources.clone(), draft.defaults.clone());
            out.drafts.push(draft);
            for (name, written) in sources {
                let documents = self.of_source(&file.path, &name, written, pinned, out).await;
                self.take_found(documents, &defaults, out);
            }
        }
    }

    /// Reads what a source has found; its hosts get what stands beside it.
    pub(super) fn take_found(&self, documents: Option<Vec<Document>>, defaults: &Settings, out: &mut Gathered) {
        for (document, found) in self.take(documents, out) {
            self.names_none(&document, &found);
            out.drafts.push(InventoryDraft { defaults: defaults.clone(), implied: true, ..found });
        }
    }

    /// Reads documents, of which each has its place in the order; that of one which gave nothing is kept free.
    pub(super) fn take(
        &self,
        documents: Option<Vec<Document>>,
        out: &mut Gathered,
    ) -> Vec<(Arc<Source>, InventoryDraft)> {
        out.order += usize::from(documents.as_ref().is_none_or(Vec::is_empty));
        out.complete &= documents.is_some();
        let mut parsed = Vec::new();
        for Document { name, bytes, live } in documents.into_iter().flatten() {
            let source = Source::from_bytes(&name, out.order, bytes, &self.sink);
            out.order += 1;
            let draft = source.as_ref().and_then(|source| self.parse(source, inventory::read));
            out.complete &= draft.is_some();
            out.read.extend(source.clone().map(|source| Read { source, live }));
            parsed.extend(source.zip(draft));
        }
        parsed
    }

    /// What a source of an inventory says now, or said when it was saved.
    async fn of_source(
        &self,
        inventory: &Path,
        name: &Located<String>,
        written: Option<SourceDraft>,
        pinned: &[Document],
        out: &mut Gathered,
    ) -> Option<Vec<Document>> {
        if let Some(first) = out.sources.insert(name.value.clone(), name.at.clone()) {
            let found = Diagnostic::error(&name.at, format!("source `{}` is defined twice", name.value));
            self.sink.push(found.note(format!("first at {}", first.short())).hint("rename one of the two"));
            return None;
        }
        let draft = written?;
        let address = draft.address(&name.value);
        let kept = of(pinned, &address);
        let asked = match self.sources.ask {
            Ask::Never => return self.saved(inventory, name, &draft),
            Ask::Once | Ask::Always => draft.ask(&name.value, self.sources.secrets).await,
        };
        let now = self.got(asked, &address, out.order, Some(&name.at))?;
        if self.sources.ask == Ask::Always {
            self.compare(inventory, &name.value, &address, kept, &now);
        }
        Some(now)
    }

    fn saved(&self, inventory: &Path, name: &Located<String>, draft: &SourceDraft) -> Option<Vec<Document>> {
        let copy = self.got(copy_of(inventory, &name.value), inventory, 0, Some(&name.at))?;
        if copy.is_none() {
            let from = draft.config.kind().title();
            let message = format!("the hosts of `{}` come from {from}, and nothing is contacted here", name.value);
            let hint = format!("`migrate inventory fetch {}` saves a copy for such times", inventory.display());
            self.sink.push(Diagnostic::error(&name.at, message).hint(hint));
        }
        copy
    }

    /// Tells what has changed since a run began, or since a copy was saved.
    fn compare(&self, inventory: &Path, name: &str, address: &Path, kept: Vec<Document>, now: &[Document]) {
        let (before, since) = match kept.is_empty() {
            false => (kept, "since the run began".to_owned()),
            true => match copy_of(inventory, name) {
                Ok(Some(copy)) => {
                    let when = head(&copy).unwrap_or_else(|| "a copy was saved".to_owned());
                    (copy, format!("since {when}"))
                }
                // Nobody has saved any; one that cannot be read is told where it is needed.
                Ok(None) | Err(_) => return,
            },
        };
        let note = |what: String| Finding::note(address.display().to_string(), format!("{since}, {what}"));
        self.told.borrow_mut().extend(changes::since(&before, now).into_iter().map(note));
    }

    fn got<T>(&self, asked: Result<T, SourceError>, address: &Path, order: usize, at: Option<&At>) -> Option<T> {
        let SourceError { what, hint } = match asked {
            Ok(documents) => return Some(documents),
            Err(error) => error,
        };
        let found = match at {
            Some(at) => Diagnostic::error(at, what),
            None => Diagnostic::without_place(address, order, what),
        };
        self.sink.push(found.maybe_hint(hint));
        None
    }

    /// A saved copy that somebody has edited could name sources, which nobody would ask.
    fn names_none(&self, document: &Source, found: &InventoryDraft) {
        for (name, _) in &found.sources {
            let message =
                format!("source `{}` is named by {}, which comes from a source", name.value, document.path.display());
            self.sink.push(Diagnostic::error(&name.at, message).hint("name it in an inventory of its own"));
        }
    }

    async fn fetch_all(&self, path: &Path) -> Option<Vec<Fetched>> {
        let document = self.got(fetch(path, self.sources.secrets).await, path, 0, None);
        let mut out = Gathered::new(0, true);
        let mut fetched = Vec::new();
        for (_, draft) in self.take(document, &mut out) {
            for (name, written) in draft.sources {
                let documents = self.of_source(path, &name, written, &[], &mut out).await?;
                // A copy that could not be read would be found out when it is too late.
                self.take(Some(documents.clone()), &mut out);
                fetched.push(Fetched { name: name.value, documents });
            }
        }
        out.complete.then_some(fetched)
    }
}

/// What is pinned of one source.
fn of(pinned: &[Document], address: &Path) -> Vec<Document> {
    pinned.iter().filter(|d| d.live && is_from(&d.name, address)).cloned().collect()
}
