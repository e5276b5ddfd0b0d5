//! NetBox as a source: devices and virtual machines of a datacenter that is documented there.
//!
//! What a filter gives is looked at again: NetBox answers a filter that it does not know with everything there is.

mod client;
mod machine;
mod settings;

use async_trait::async_trait;

pub use self::settings::Settings;
use super::rules::{Rules, Usual};
use super::{Document, InventorySource, SourceError, SourceKind, found};
use crate::secret::Secrets;

impl SourceKind for Settings {
    fn title(&self) -> &'static str {
        "NetBox"
    }

    fn usual(&self) -> Usual {
        Usual { name: "{{ hostname }}", addresses: &["primary"], site: "{{ site }}" }
    }

    fn open(&self, address: &str, rules: &Rules) -> Box<dyn InventorySource> {
        Box::new(NetBox { address: address.to_owned(), settings: self.clone(), rules: rules.clone() })
    }
}

struct NetBox {
    address: String,
    settings: Settings,
    rules: Rules,
}

#[async_trait]
impl InventorySource for NetBox {
    async fn documents(&self, secrets: &dyn Secrets) -> Result<Vec<Document>, SourceError> {
        let token = secrets.resolve(&self.settings.token);
        let token = token.map_err(|e| SourceError { what: e.to_string(), hint: None })?;
        let client = client::Client::new(&self.settings.url, token)?;
        let mut found = Vec::new();
        for kind in &self.settings.machines {
            let rows = client.list(kind.path(), &self.settings.query()).await?;
            found.extend(
                rows.iter().filter(|row| machine::fits(&self.settings, row)).map(|row| machine::found(*kind, row)),
            );
        }
        let what = "Hosts of NetBox; what is not said of them here, the file with this source says.";
        found::documents(&self.address, what, &found, &self.rules)
    }
}
