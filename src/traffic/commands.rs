//! Commands on inventory hosts, for directors that are files and programs there.
//!
//! Owns the seam behind which SSH stands: directors name a host and do not know how it is reached.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use crate::host::{Command, Output};
use crate::model::Host;
use crate::outside::{Error, Kind};
use crate::ssh::{Remote, here};

/// Runs commands on hosts by their inventory name, and on this machine.
#[async_trait]
pub trait Commands: Send + Sync {
    /// Runs a command to its end.
    async fn run(&self, host: &str, command: &Command) -> Result<Output, Error>;

    /// Runs a command to its end on this machine.
    async fn here(&self, command: &Command) -> Result<Output, Error> {
        here::run(command).await
    }
}

/// Commands on the hosts of an inventory.
pub struct OnHosts {
    remote: Arc<dyn Remote>,
    hosts: BTreeMap<String, Host>,
}

impl OnHosts {
    /// Reaches these hosts, by inventory name.
    pub fn new(remote: Arc<dyn Remote>, hosts: BTreeMap<String, Host>) -> Self {
        Self { remote, hosts }
    }
}

#[async_trait]
impl Commands for OnHosts {
    async fn run(&self, host: &str, command: &Command) -> Result<Output, Error> {
        match self.hosts.get(host) {
            Some(host) => self.remote.run(host, command).await,
            None => {
                let shown = crate::text::escape(host.as_bytes(), 80);
                Err(Error::new(shown, Kind::Config, "there is no such host in the inventory"))
            }
        }
    }
}
