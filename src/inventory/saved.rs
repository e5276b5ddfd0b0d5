//! Copies of what sources said, beside the inventory that names them: for where nothing is contacted.
//!
//! `fleet.yaml` with the source `dallas` has its copy in `fleet.dallas.fetched.yaml`, and what does not fit into one file in `….2.yaml` and so on.

use std::path::{Path, PathBuf};

use super::{Document, SourceError, file};

/// The most files of one copy.
const MAX_PARTS: usize = 200;

fn part(inventory: &Path, name: &str, n: usize) -> PathBuf {
    let stem = inventory.file_stem().unwrap_or_default().to_string_lossy();
    let number = if n > 1 { format!(".{n}") } else { String::new() };
    inventory.with_file_name(format!("{stem}.{name}.fetched{number}.yaml"))
}

/// The saved copy of a source; `None` when there is none.
pub fn copy_of(inventory: &Path, name: &str) -> Result<Option<Vec<Document>>, SourceError> {
    let mut documents = Vec::new();
    for path in (1..=MAX_PARTS).map(|n| part(inventory, name, n)) {
        if !path.exists() {
            break;
        }
        documents.push(file::read(&path)?);
    }
    Ok((!documents.is_empty()).then_some(documents))
}

/// Saves a copy of a source, with a line before it; returns its files.
pub fn save(inventory: &Path, name: &str, head: &str, documents: &[Document]) -> std::io::Result<Vec<PathBuf>> {
    let paths: Vec<PathBuf> = (1..=documents.len()).map(|n| part(inventory, name, n)).collect();
    for (path, document) in paths.iter().zip(documents) {
        let new = path.with_extension("yaml.new");
        std::fs::write(&new, [format!("# {head}\n").as_bytes(), &document.bytes].concat())?;
        std::fs::rename(&new, path)?;
    }
    // What is left of a larger copy is not of this one.
    for old in (documents.len() + 1..=MAX_PARTS).map(|n| part(inventory, name, n)).take_while(|path| path.exists()) {
        std::fs::remove_file(old)?;
    }
    Ok(paths)
}

/// The first line of a saved copy, which says when it was made.
pub fn head(documents: &[Document]) -> Option<String> {
    let text = String::from_utf8_lossy(&documents.first()?.bytes).into_owned();
    Some(text.lines().next()?.strip_prefix("# ")?.to_owned())
}
