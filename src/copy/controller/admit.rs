//! Lets the source log in to the target for one copy, and takes that back.
//!
//! Owns what the key may do: run the one receiving command, from one address, today. Must never leave a key behind, unless the
//! controller is killed; then the next start of the same copy, or cleaning up, removes it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::deploy::Installed;
use super::not_direct;
use super::relay::Broker;
use super::transport::{Channel, Transport};
use crate::copy::authorize::tag;
use crate::copy::{CopyError, CopyJob};
use crate::spec::model::DataPath;
use crate::ssh::command_line;

/// How long the key may log in. Connections last longer; sshd reads the date in its own time zone.
const VALID: Duration = Duration::from_secs(26 * 3600);

/// The target's side of one copy.
pub struct Admission<'a> {
    transport: &'a dyn Transport,
    job: &'a CopyJob,
    on_target: &'a Installed,
    admitted: AtomicBool,
}

impl<'a> Admission<'a> {
    /// For one task of a job.
    pub fn new(transport: &'a dyn Transport, job: &'a CopyJob, on_target: &'a Installed) -> Self {
        Self { transport, job, on_target, admitted: AtomicBool::new(false) }
    }

    fn receive(&self) -> Vec<&str> {
        let Installed { agent, work, .. } = self.on_target;
        let mut argv =
            vec![&**agent, "agent", "receive", "--work", work, "--job", &self.job.id, "--root", &self.job.to];
        if self.job.delete {
            argv.push("--delete");
        }
        argv
    }

    fn line(&self, public_key: &str, from: &str) -> Option<String> {
        let command = command_line(&self.receive())?;
        let expiry = (jiff::Timestamp::now() + VALID).strftime("%Y%m%d%H%M").to_string();
        line(&command, public_key, from, &expiry, &self.job.id)
    }
}

/// A line of `authorized_keys`; `None` when something in it could be read as more than it is.
fn line(command: &str, public_key: &str, from: &str, expiry: &str, job: &str) -> Option<String> {
    let address: std::net::IpAddr = from.parse().ok()?;
    let mut words = public_key.split(' ');
    let (kind, key) = (words.next()?, words.next()?);
    let base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
    if kind != "ssh-ed25519" || !key.chars().all(base64) || command.chars().any(char::is_control) {
        return None;
    }
    let command = command.replace('"', "\\\"");
    Some(format!(
        "restrict,command=\"{command}\",from=\"{address}\",expiry-time=\"{expiry}\" {kind} {key} {}",
        tag(job)
    ))
}

#[async_trait]
impl Broker for Admission<'_> {
    async fn admit(&self, public_key: &str, from: &str) -> bool {
        let Some(line) = self.line(public_key, from) else { return false };
        let Installed { work, home, .. } = self.on_target;
        let args = ["allow", "--work", work, "--home", home, "--job", &self.job.id, "--line", &line];
        // Set before: whether it came to be is unknown when the answer is lost.
        self.admitted.store(true, Ordering::Release);
        self.on_target.run(self.transport, &self.job.target, &args).await.is_ok()
    }

    async fn withdraw(&self) {
        if self.admitted.swap(false, Ordering::AcqRel) {
            let Installed { work, home, .. } = self.on_target;
            let args = ["forbid", "--work", work, "--home", home, "--job", &self.job.id];
            // Where the host is out of reach now, the next start of the copy removes it; and it expires.
            let _ = self.on_target.run(self.transport, &self.job.target, &args).await;
        }
    }

    async fn receiver(&self, reason: &str) -> Result<Channel, CopyError> {
        self.withdraw().await;
        if self.job.path == DataPath::Direct {
            return Err(not_direct(self.job, reason));
        }
        self.transport.open(&self.job.target, &self.receive()).await
    }
}

#[cfg(test)]
mod tests {
    use super::line;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA==";

    #[test]
    fn the_key_may_run_one_command_from_one_address_for_a_time() {
        assert_eq!(
            line("/w/agent 'a b'", KEY, "192.0.2.7", "202611221200", "job").unwrap(),
            "restrict,command=\"/w/agent 'a b'\",from=\"192.0.2.7\",expiry-time=\"202611221200\" \
             ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA== migrate-copy:job"
        );
    }

    #[test]
    fn a_source_cannot_smuggle_options_in() {
        for (key, from) in [
            ("ssh-ed25519 AAAA\nssh-rsa BBBB", "192.0.2.7"),
            ("ssh-ed25519 AA\"AA x", "192.0.2.7"),
            ("permitopen=\"*\" ssh-ed25519", "192.0.2.7"),
            (KEY, "*"),
            (KEY, "192.0.2.7,*"),
            (KEY, ""),
        ] {
            assert_eq!(line("/w/agent", key, from, "202611221200", "job"), None, "{key} {from}");
        }
        assert_eq!(line("/w/a\ngent", KEY, "192.0.2.7", "202611221200", "job"), None);
    }
}
