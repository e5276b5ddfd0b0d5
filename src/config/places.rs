//! Where in the files of a plan something is written that is known by its name only: services, hosts, directors, groups.
//!
//! For those who point at lines. Must never fail: what cannot be found is where its kind of thing begins.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::text::name::{self, MAX_NAMES};
use crate::yaml::diagnostic::Sink;
use crate::yaml::node::{self, Kind, Node};
use crate::yaml::source::{Source, read_file};

/// A place: file, line, column.
pub type Written = (PathBuf, usize, usize);

/// The files of a plan, the plan first.
pub struct Places(Vec<(Arc<Source>, Node)>);

/// Under which keys names stand: what is about a service is shown there, whatever else it names.
const NAMED: [&str; 4] = ["services", "hosts", "directors", "groups"];

impl Places {
    /// Reads files; those that are none any more are left out.
    pub fn read<'a>(files: impl IntoIterator<Item = &'a Path>) -> Self {
        let read = |(path, order): (&Path, usize)| {
            let text = String::from_utf8(read_file(path).ok()?).ok()?;
            let source = Source::from_text(path, order, text);
            let node = node::parse(&source, &Sink::default())?;
            Some((source, node))
        };
        Self(files.into_iter().zip(0..).filter_map(read).collect())
    }

    /// Where something of this name is written: `uploads`, `uploads/dal-1/shift-50`, `dal-1 → fra-1`, `edge uploads`.
    pub fn of(&self, about: &str) -> Option<Written> {
        let words = || about.split([' ', '/', ',', '→']).filter(|word| !word.is_empty());
        let under = |key: &&str| std::iter::once(about).chain(words()).find_map(|word| self.named(key, word));
        NAMED.iter().find_map(under).or_else(|| self.section("services"))
    }

    fn named(&self, key: &str, name: &str) -> Option<Written> {
        for (source, node) in &self.0 {
            let Some(Kind::Map(entries)) = child(node, key).map(|(_, node)| &node.kind) else { continue };
            let is_it = |written: &str| written == name || written.contains('[') && stands_for(written, name);
            if let Some((key, _)) = entries.iter().find(|(key, _)| is_it(key.text())) {
                return Some(written(source, key.node.span.start));
            }
        }
        None
    }

    fn section(&self, key: &str) -> Option<Written> {
        let (source, node) = self.0.first()?;
        Some(written(source, child(node, key).map_or(node.span.start, |(key, _)| key.node.span.start)))
    }
}

/// Whether a range of names has this one.
fn stands_for(range: &str, name: &str) -> bool {
    name::expand(range, MAX_NAMES).is_ok_and(|names| names.iter().any(|n| n == name))
}

fn child<'a>(node: &'a Node, key: &str) -> Option<(&'a node::Key, &'a Node)> {
    let Kind::Map(entries) = &node.kind else { return None };
    entries.iter().find(|(k, _)| k.text() == key).map(|(key, node)| (key, node))
}

fn written(source: &Source, offset: usize) -> Written {
    let (line, column) = source.line_column(offset);
    (source.path.clone(), line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_where_they_are_written_and_what_is_not_there_is_where_services_begin() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            std::fs::write(dir.path().join(name), text).unwrap();
            dir.path().join(name)
        };
        let plan = write("plan.yaml", "migration: web\n\nservices:\n  web: {move: {from: dal-1, to: fra-1}}\n");
        let hosts = write("hosts.yaml", "hosts:\n  dal-1: {}\n  fra-[1-3]: {}\ndirectors:\n  edge: {}\n");
        let places = Places::read([plan.as_path(), hosts.as_path(), Path::new("/nowhere")]);
        let found = |about: &str| places.of(about).unwrap();
        assert_eq!(found("web"), (plan.clone(), 4, 3));
        assert_eq!(found("web/dal-1/shift-50"), (plan.clone(), 4, 3));
        assert_eq!(found("fra-2"), (hosts.clone(), 3, 3));
        assert_eq!(found("dal-1 → fra-1"), (hosts.clone(), 2, 3));
        assert_eq!(found("edge pool"), (hosts, 5, 3));
        assert_eq!(found("edge web"), (plan.clone(), 4, 3));
        assert_eq!(found("targets"), (plan, 3, 1));
        assert_eq!(Places::read([Path::new("/nowhere")]).of("web"), None);
    }
}
