//! A plan and its inventories from texts that are at hand.
//!
//! Must never read a file and never ask a source: what they say now does not matter to a run that has begun.

use super::gather::Gathered;
use super::load::{LoadOptions, Loader, OFFLINE, Read};
use super::read::plan;
use crate::inventory::{Document, is_from};
use crate::spec::Spec;
use crate::yaml::diagnostic::Diagnostics;
use crate::yaml::source::Source;

/// Reads what a [`Spec`] was read from, in its order: the plan, then each inventory with what its sources said.
pub fn replay(documents: Vec<Document>, options: &LoadOptions) -> Result<(Spec, Diagnostics), Diagnostics> {
    let loader = Loader::new(options, &OFFLINE);
    let out = loader.replay(documents);
    loader.finish(out)
}

impl Loader<'_> {
    fn replay(&self, documents: Vec<Document>) -> Option<Spec> {
        let mut left = documents.into_iter();
        let plan = left.next()?;
        let source = Source::from_bytes(&plan.name, 0, plan.bytes, &self.sink)?;
        let draft = self.parse(&source, plan::read)?;
        let mut out = Gathered::new(1, true);
        let mut left: Vec<Document> = left.rev().collect();
        while let Some(document) = left.pop() {
            for (_, draft) in self.take(Some(vec![document]), &mut out) {
                let (sources, defaults) = (draft.sources.clone(), draft.defaults.clone());
                out.drafts.push(draft);
                for (name, written) in sources {
                    let address = written?.address(&name.value);
                    let said = |document: &mut Document| document.live && is_from(&document.name, &address);
                    let found: Vec<Document> = left.extract_if(.., said).collect();
                    self.take_found(Some(found.into_iter().rev().collect()), &defaults, &mut out);
                }
            }
        }
        let (inventories, read): (_, Vec<Read>) = self.together(out);
        self.spec(source, &draft, inventories?, read)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::load;
    use super::*;

    #[test]
    fn what_was_read_from_files_is_read_from_their_texts_and_no_file_is_needed() {
        let options = LoadOptions { home: Some("/home/user".into()), dir: None };
        let good = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/spec/good/plan.yaml");
        let (spec, _) = load(&good, None, &options).unwrap_or_else(|e| panic!("{e}"));
        let texts = spec.inputs.iter().zip(&spec.texts);
        let documents: Vec<Document> = texts
            .map(|(input, text)| {
                // Where it was read, nothing is any more.
                let name = match input.path.strip_prefix(good.parent().unwrap()) {
                    Ok(name) => PathBuf::from("/nowhere").join(name),
                    Err(_) => input.path.clone(),
                };
                Document { name, bytes: text.clone().into_bytes(), live: input.live }
            })
            .collect();
        let (again, _) = replay(documents, &options).unwrap_or_else(|e| panic!("{e}"));
        let digests = |spec: &Spec| spec.inputs.iter().map(|i| (i.digest.clone(), i.live)).collect::<Vec<_>>();
        assert_eq!(digests(&again), digests(&spec));
        assert_eq!(again.inventory.hosts.keys().collect::<Vec<_>>(), spec.inventory.hosts.keys().collect::<Vec<_>>());
        assert_eq!(again.inventory.groups, spec.inventory.groups);
        assert_eq!(format!("{:?}", again.plan.waves), format!("{:?}", spec.plan.waves));
    }
}
