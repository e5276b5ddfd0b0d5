//! Access of the source to the target: authorizes its key for one copy, and revokes it.
//!
//! Owns what the key may do: run the one receiving command, from one address, today. Must never leave a key behind, unless the
//! controller is killed; then the next start of the same copy, or cleaning up, removes it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::deploy::Installed;
use super::transport::{Channel, Connection, Transport};
use crate::copy::authorized_keys::tag;
use crate::copy::failure::{failed, transient};
use crate::copy::job::{CopyJob, StreamJob};
use crate::model::{DataPath, Host};
use crate::outside::Error;
use crate::ssh::bound_command;

/// How long the key may log in. Connections last longer; sshd reads the date in its own time zone.
const VALID: Duration = Duration::from_secs(26 * 3600);

/// What the controller does for a sending agent that asks.
#[async_trait]
pub trait TargetAccess: Send + Sync {
    /// Authorizes a key on the target, for this copy only. Returns false when that fails.
    async fn admit(&self, public_key: &str, from: &str) -> bool;
    /// Revokes the key. Connections that are open stay open.
    async fn withdraw(&self);
    /// Starts a receiving agent for the controller to relay to; `reason` is why the source cannot reach it itself.
    async fn receiver(&self, reason: &str) -> Result<Channel, Error>;
    /// Starts one more on the same connection, for content only; `None` when there can be no more.
    async fn extra_channel(&self, connection: &dyn Connection) -> Option<Channel>;
}

/// The target's side of one copy.
pub struct KeyAccess<'a> {
    transport: &'a dyn Transport,
    job: &'a str,
    target: &'a Host,
    on_target: &'a Installed,
    /// The one command that the key may start.
    receive: Vec<String>,
    /// The tree that must go from host to host.
    only_direct: Option<&'a CopyJob>,
    admitted: AtomicBool,
}

impl<'a> KeyAccess<'a> {
    /// For one task of a job that carries a tree.
    pub fn of_tree(transport: &'a dyn Transport, job: &'a CopyJob, on_target: &'a Installed) -> Self {
        let delete = job.rules.delete.then_some("--delete");
        let words = ["receive", "--work", &on_target.work, "--job", &job.id, "--root", &job.to];
        let admission = Self::new(transport, (&job.id, &job.target), on_target, words.into_iter().chain(delete));
        Self { only_direct: (job.path == DataPath::Direct).then_some(job), ..admission }
    }

    /// For a stream.
    pub fn of_stream(transport: &'a dyn Transport, job: &'a StreamJob, on_target: &'a Installed) -> Self {
        let command = crate::text::hex(job.to.as_bytes());
        let words = ["take", "--work", &on_target.work, "--job", &job.id, "--command", &command];
        Self::new(transport, (&job.id, &job.target), on_target, words.into_iter())
    }

    fn new<'w>(
        transport: &'a dyn Transport,
        (job, target): (&'a str, &'a Host),
        on_target: &'a Installed,
        words: impl Iterator<Item = &'w str>,
    ) -> Self {
        let receive = ["agent"].into_iter().chain(words).map(str::to_owned);
        let receive = std::iter::once(on_target.agent.clone()).chain(receive).collect();
        Self { transport, job, target, on_target, receive, only_direct: None, admitted: AtomicBool::new(false) }
    }

    fn receive(&self) -> Vec<&str> {
        self.receive.iter().map(String::as_str).collect()
    }

    fn line(&self, public_key: &str, from: &str) -> Option<String> {
        let command = bound_command(self.target, &self.receive()).ok()?;
        let expiry = (jiff::Timestamp::now() + VALID).strftime("%Y%m%d%H%M").to_string();
        line(&command, public_key, from, &expiry, self.job)
    }
}

/// The plan wants the data to go from host to host, and it cannot.
pub fn not_direct(job: &CopyJob, why: &str) -> Error {
    let (source, target) = (&job.source.name, &job.target.name);
    let what = format!("{source} cannot send to {target} itself, as `path: direct` wants: {why}");
    transient(failed(target, what))
        .hint("let the source reach the target's sshd, or say `path: auto` to relay where it cannot")
}

/// A line of `authorized_keys`. `None` when part of it could be read as another option.
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
impl TargetAccess for KeyAccess<'_> {
    async fn admit(&self, public_key: &str, from: &str) -> bool {
        let Some(line) = self.line(public_key, from) else { return false };
        let args = ["--job", self.job, "--line", &line];
        // Set first, because it is unknown whether the key was added when the answer is lost.
        self.admitted.store(true, Ordering::Release);
        self.on_target.change_keys(self.transport, self.target, "allow", &args).await.is_ok()
    }

    async fn withdraw(&self) {
        if self.admitted.swap(false, Ordering::AcqRel) {
            // If the host cannot be reached now, the next start of the copy removes the key, or it expires.
            let _ = self.on_target.take_key(self.transport, self.target, self.job).await;
        }
    }

    async fn receiver(&self, reason: &str) -> Result<Channel, Error> {
        self.withdraw().await;
        if let Some(job) = self.only_direct {
            return Err(not_direct(job, reason));
        }
        self.transport.open(self.target, &self.receive()).await
    }

    async fn extra_channel(&self, connection: &dyn Connection) -> Option<Channel> {
        connection.open(&self.receive()).await
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
