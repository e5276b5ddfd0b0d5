//! Runtime APIs on inventory hosts. The only file of the directors that knows SSH.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::dial::{Dial, DialError, Stream};
use crate::model::Host;
use crate::ssh::Pool;

/// Connections of this machine, and those to unix sockets on hosts through a pool of SSH connections.
pub struct OverSsh {
    pool: Pool,
    hosts: BTreeMap<String, Host>,
}

impl OverSsh {
    /// Reaches the sockets of these hosts, by inventory name.
    pub fn new(pool: Pool, hosts: BTreeMap<String, Host>) -> Self {
        Self { pool, hosts }
    }
}

#[async_trait]
impl Dial for OverSsh {
    async fn remote_unix(&self, host: &str, path: &str) -> Result<Box<dyn Stream>, DialError> {
        let Some(host) = self.hosts.get(host) else {
            let what = format!("there is no host `{}` in the inventory", crate::text::escape(host.as_bytes(), 80));
            return Err(DialError { what, hint: None });
        };
        match self.pool.open_unix(host, path).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(DialError { what: error.to_string(), hint: error.hint }),
        }
    }
}
