//! Redfish: what the management controller (BMC) of a machine says of it. It only reads.
//!
//! Owns the few resources that are asked for and what their answers are worth: what is not said stays unknown. Must never change anything
//! there (a session would), never send a password over plain HTTP, and never follow a link to another server.

mod wire;

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::Bmc;
use crate::outside::{Error, Kind};
use crate::secret::Secrets;
use crate::text;
use wire::Wire;

/// Where every service begins.
const ROOT: &str = "/redfish/v1/";
/// The most systems that are named where one has to be chosen.
const NAMED: usize = 8;

/// A machine, as its management controller sees it. What it does not say is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct System {
    /// `On`, `Off`, `PoweringOn`, …
    pub power: Option<String>,
    /// `OK`, `Warning` or `Critical`: of the machine, and of all in it.
    pub health: Vec<String>,
    /// `Enabled`, `StandbyOffline`, `InTest`, …
    pub state: Option<String>,
    /// By what it is known: its serial number, and where a vendor has another one for that, its service tag.
    pub serials: Vec<String>,
}

/// Asks management controllers.
#[async_trait]
pub trait Bmcs: Send + Sync {
    /// What the one behind this URL says of its machine. `host` is what errors are about.
    async fn system(&self, host: &str, bmc: &Bmc, url: &str) -> Result<System, Error>;
}

/// The real ones.
pub struct Connected {
    /// For their passwords.
    pub secrets: Arc<dyn Secrets>,
}

#[async_trait]
impl Bmcs for Connected {
    async fn system(&self, host: &str, bmc: &Bmc, url: &str) -> Result<System, Error> {
        let wire = Wire::new(host, bmc, url, self.secrets.as_ref())?;
        let root = wire.get(ROOT).await?;
        let list = link(&root, "Systems").ok_or_else(|| odd(&wire, "it names no systems"))?;
        let path = one(&wire, bmc, &wire.get(&list).await?)?;
        Ok(System::read(&wire.get(&path).await?))
    }
}

fn odd(wire: &Wire, what: &str) -> Error {
    Error::new(wire.at(), Kind::Refused, what).hint("see whether `url` is that of a Redfish service")
}

fn link(resource: &Value, name: &str) -> Option<String> {
    Some(resource.get(name)?.get("@odata.id")?.as_str()?.to_owned())
}

/// The path of the machine that is meant.
fn one(wire: &Wire, bmc: &Bmc, list: &Value) -> Result<String, Error> {
    let members = list.get("Members").and_then(Value::as_array).ok_or_else(|| odd(wire, "its systems are no list"))?;
    let paths: Vec<&str> = members.iter().filter_map(|member| member.get("@odata.id")?.as_str()).collect();
    let id = |path: &str| path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
    let ids: Vec<String> = paths.iter().map(|path| text::escape(id(path).as_bytes(), 60)).collect();
    let more = list.get("Members@odata.nextLink").is_some() || paths.len() != members.len();
    let named = || text::some(&ids, NAMED);
    match (&bmc.system, paths.as_slice()) {
        (Some(wanted), _) => match paths.iter().find(|path| id(path) == *wanted) {
            Some(path) => Ok((*path).to_owned()),
            None => Err(Error::new(wire.at(), Kind::Refused, format!("it has no system `{wanted}`, but {}", named()))
                .hint("mend `system` of its `bmc`")),
        },
        (None, [path]) if !more => Ok((*path).to_owned()),
        (None, []) => Err(odd(wire, "it has no system")),
        (None, _) => Err(Error::new(wire.at(), Kind::Refused, format!("it has several systems: {}", named()))
            .hint("say which one the host is: `bmc: {system: ID}`")),
    }
}

impl System {
    fn read(system: &Value) -> Self {
        let said = |pointer: &str| {
            let found = system.pointer(pointer)?.as_str()?.trim();
            (!found.is_empty()).then(|| text::escape(found.as_bytes(), 100))
        };
        Self {
            power: said("/PowerState"),
            health: ["/Status/Health", "/Status/HealthRollup"].into_iter().filter_map(said).collect(),
            state: said("/Status/State"),
            serials: ["/SerialNumber", "/SKU"].into_iter().filter_map(said).collect(),
        }
    }
}
