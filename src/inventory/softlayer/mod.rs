//! SoftLayer (IBM Cloud Classic) as a source: bare-metal servers and virtual guests of an account.
//!
//! What a filter gives is looked at again: the API answers a filter that it does not understand with everything there is.

mod filter;
mod invoice;
mod machine;
mod settings;

use async_trait::async_trait;
use serde_json::Value;

pub use self::settings::Settings;
use super::rules::{Rules, Usual};
use super::{Document, InventorySource, SourceError, SourceKind, found};
use crate::outside::Error;
use crate::secret::Secrets;
use crate::softlayer::{Api, Call};

impl SourceKind for Settings {
    fn title(&self) -> &'static str {
        "SoftLayer"
    }

    fn usual(&self) -> Usual {
        Usual { name: "{{ hostname }}", addresses: &["private", "public"], site: "{{ datacenter }}" }
    }

    fn open(&self, address: &str, rules: &Rules) -> Box<dyn InventorySource> {
        Box::new(Account { address: address.to_owned(), settings: self.clone(), rules: rules.clone() })
    }
}

/// An account, and which of its machines are wanted.
struct Account {
    address: String,
    settings: Settings,
    rules: Rules,
}

#[async_trait]
impl InventorySource for Account {
    async fn documents(&self, secrets: &dyn Secrets) -> Result<Vec<Document>, SourceError> {
        let login = self.settings.access.login(secrets).map_err(told)?;
        let key = login.api_key.clone();
        let api = Api::new("SoftLayer", login).map_err(told)?;
        let reads = self.settings.kinds.iter().map(|kind| self.machines(&api, *kind));
        let found: Vec<_> = futures_util::future::try_join_all(reads).await.map_err(told)?.concat();
        let what = "Hosts at SoftLayer; what is not said of them here, the file with this source says.";
        let mut documents = found::documents(&self.address, what, &found, &self.rules)?;
        // What hosts cost is known without it, and not every user may see it.
        if let (Some(invoice), Some(first)) = (invoice::next(&api).await, documents.first_mut()) {
            first.bytes.extend_from_slice(invoice.as_bytes());
        }
        // The key is no secret that was lent when it stood in a file of settings, so it is looked for here.
        let telling = |d: &Document| String::from_utf8_lossy(&d.bytes).contains(key.reveal());
        match key.reveal().len() >= super::TELLING && documents.iter().any(telling) {
            false => Ok(documents),
            true => Err(SourceError { what: "what SoftLayer says holds the API key itself".into(), hint: None }),
        }
    }
}

impl Account {
    async fn machines(&self, api: &Api, kind: machine::Kind) -> Result<Vec<found::Found>, Error> {
        let call = Call { service: "Account", method: kind.getter(), mask: Some(kind.mask()), ..Call::default() };
        let fitting = |row: Value| filter::fits(&self.settings, &row).then(|| machine::found(kind, &row));
        let found = api.kept(&call, kind.root(), &filter::wanted(&self.settings), fitting).await?;
        Ok(found.into_iter().flatten().collect())
    }
}

fn told(error: Error) -> SourceError {
    SourceError { what: error.to_string(), hint: error.hint }
}
