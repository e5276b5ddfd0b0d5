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
        match source::read_file(&self.0) {
            Ok(bytes) => Ok(vec![Document { name: self.0.clone(), bytes, live: false }]),
            Err(refused) => Err(SourceError {
                what: format!("cannot read {}: {}", self.0.display(), refused.why),
                hint: refused.hint,
            }),
        }
    }
}
