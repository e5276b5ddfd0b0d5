//! Documents in memory, for tests: a live source, in one file and with one line in the list.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;

use super::{Document, InventorySource, SourceError};
use crate::secret::{SecretRef, Secrets};

/// What each says now, and how often it was asked.
static ALL: Mutex<BTreeMap<String, (String, usize)>> = Mutex::new(BTreeMap::new());

/// Lets a source say something from now on.
pub fn say(name: &str, text: &str) {
    ALL.lock().unwrap().entry(name.to_owned()).or_default().0 = text.to_owned();
}

/// How often it was asked.
pub fn asked(name: &str) -> usize {
    ALL.lock().unwrap().get(name).map_or(0, |(_, asked)| *asked)
}

/// By its name; `$TOKEN` in its text stands for a secret, which it must not give away.
pub fn open(name: &str) -> Box<dyn InventorySource> {
    Box::new(Memory(name.to_owned()))
}

struct Memory(String);

#[async_trait]
impl InventorySource for Memory {
    async fn documents(&self, secrets: &dyn Secrets) -> Result<Vec<Document>, SourceError> {
        tokio::task::yield_now().await;
        let token = secrets.resolve(&SecretRef::Env("PATH".into()));
        let token = token.map_err(|e| SourceError { what: e.to_string(), hint: None })?;
        let mut all = ALL.lock().unwrap();
        let (text, asked) = all.entry(self.0.clone()).or_default();
        *asked += 1;
        let bytes = text.replace("$TOKEN", token.reveal()).into_bytes();
        Ok(vec![Document { name: format!("memory:{}", self.0).into(), bytes, live: true }])
    }
}
