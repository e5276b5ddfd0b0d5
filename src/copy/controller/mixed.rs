//! Some hosts are this machine, the others are reached over SSH.

use async_trait::async_trait;

use super::transport::{Channel, Local, Transport};
use crate::copy::CopyError;
use crate::copy::message::Dial;
use crate::model::Host;
use crate::ssh::Pool;

/// Starts programs as children where the host is this machine, else over SSH.
pub struct Mixed {
    pool: Pool,
    here: String,
}

impl Mixed {
    /// `here` is the name of the host that is this machine.
    pub fn new(pool: Pool, here: &str) -> Self {
        Self { pool, here: here.to_owned() }
    }

    fn on(&self, host: &Host) -> &dyn Transport {
        if host.name == self.here { &Local } else { &self.pool }
    }
}

#[async_trait]
impl Transport for Mixed {
    async fn open(&self, host: &Host, argv: &[&str]) -> Result<Channel, CopyError> {
        Transport::open(self.on(host), host, argv).await
    }

    async fn dial(&self, host: &Host) -> Result<Dial, String> {
        self.on(host).dial(host).await
    }
}
