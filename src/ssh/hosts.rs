//! Hosts over SSH: what is meant becomes scripts, and what they print becomes answers.

use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;

use super::{Remote, connections, facts, receipt};
use crate::host::{Command, ConnectionCount, Facts, Hosts, Output, ReceiptKey, ReceiptStatus, TreeExtent, TreeSize};
use crate::model::Host;
use crate::outside::Error;

#[async_trait]
impl<R: Remote> Hosts for R {
    async fn query(&self, host: &Host, command: &Command) -> Result<Output, Error> {
        self.run(host, command).await
    }

    async fn start(
        &self,
        host: &Host,
        key: &ReceiptKey,
        fence: u64,
        command: &Command,
        wait: Duration,
    ) -> Result<ReceiptStatus, Error> {
        receipt::start(self, host, key, fence, command, wait).await
    }

    async fn fetch(&self, host: &Host, key: &ReceiptKey, fence: u64, wait: Duration) -> Result<ReceiptStatus, Error> {
        receipt::fetch(self, host, key, fence, wait).await
    }

    async fn seal(&self, host: &Host, key: &ReceiptKey, fence: u64) -> Result<ReceiptStatus, Error> {
        receipt::seal(self, host, key, fence).await
    }

    async fn forget(&self, host: &Host, run: &str) -> Result<(), Error> {
        receipt::forget(self, host, run).await
    }

    async fn connections(&self, host: &Host, address: Option<IpAddr>, port: u16) -> Result<ConnectionCount, Error> {
        connections::connections(self, host, address, port).await
    }

    async fn facts(&self, host: &Host, paths: &[String]) -> Result<Facts, Error> {
        facts::facts(self, host, paths).await
    }

    async fn tree_size(&self, host: &Host, path: &str, extent: TreeExtent) -> Result<TreeSize, Error> {
        facts::tree_size(self, host, path, extent).await
    }
}
