//! A file.

use std::path::{Path, PathBuf};

use async_trait::async_trait;

use super::{Document, InventorySource, SourceError};
use crate::secret::Secrets;
use crate::yaml::source;

/// By its address.
pub fn open(place: &str) -> Box<dyn InventorySource> {
    at(Path::new(place))
}

/// By its path.
pub fn at(path: &Path) -> Box<dyn InventorySource> {
    Box::new(FileSource(path.to_owned()))
}

struct FileSource(PathBuf);

#[async_trait]
impl InventorySource for FileSource {
    async fn documents(&self, _: &dyn Secrets) -> Result<Vec<Document>, SourceError> {
        Ok(vec![read(&self.0)?])
    }
}

/// The document that a file is.
pub fn read(path: &Path) -> Result<Document, SourceError> {
    match source::read_file(path) {
        Ok(bytes) => Ok(Document { name: path.to_owned(), bytes, live: false }),
        Err(refused) => {
            let what = format!("cannot read {}: {}", path.display(), refused.why);
            Err(SourceError { what, hint: refused.hint })
        }
    }
}
