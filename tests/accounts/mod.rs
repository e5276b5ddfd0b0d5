//! Logins that are not root: sudo, doas, greetings, odd shells, on the real servers.

mod moves;
mod refusals;
mod runs;
mod shells;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::lab::accounts::{Accounts, Guarded};
use migrate::host::{Command, Output};
use migrate::model::{Become, Host};
use migrate::outside::Error;
use migrate::secret::{Secret, SecretError, SecretRef, Secrets};
use migrate::ssh::{Environment, Options, Pool, Remote};

/// Secrets that are their own names.
struct Plain;

impl Secrets for Plain {
    fn resolve(&self, reference: &SecretRef) -> Result<Secret, SecretError> {
        match reference {
            SecretRef::Env(name) => Ok(Secret::new(name.clone())),
            _ => Err(SecretError { from: "the test".to_owned(), why: "not there".to_owned() }),
        }
    }
}

fn environment(dir: &Path) -> Environment {
    Environment {
        home: Some(dir.to_owned()),
        user: Some("nobody".to_owned()),
        ssh_program: Some(PathBuf::from("ssh")),
        config_file: Some(PathBuf::from("none")),
        ..Environment::default()
    }
}

/// A host with accounts of its own, and a pool.
struct Lab {
    pool: Pool,
    guarded: Guarded,
    _dir: tempfile::TempDir,
}

fn lab(accounts: &Accounts<'_>) -> Lab {
    let dir = tempfile::tempdir().unwrap();
    let guarded = Guarded::start(&dir.path().join("dal-1"), "dal-1", accounts);
    let pool = Pool::with_secrets(environment(dir.path()), BTreeMap::new(), Options::default(), Arc::new(Plain));
    Lab { pool, guarded, _dir: dir }
}

fn sudo() -> Become {
    Become::Sudo { user: "root".to_owned(), password: None }
}

fn sudo_with(password: &str) -> Become {
    Become::Sudo { user: "root".to_owned(), password: Some(SecretRef::Env(password.to_owned())) }
}

fn doas() -> Become {
    Become::Doas { user: "root".to_owned() }
}

impl Lab {
    async fn run(&self, host: &Host, script: &str) -> Output {
        self.pool.run(host, &Command { script: script.to_owned(), ..Command::default() }).await.unwrap()
    }

    async fn error(&self, host: &Host) -> Error {
        self.pool.run(host, &Command { script: "echo ran".to_owned(), ..Command::default() }).await.unwrap_err()
    }

    /// An error as a user sees it, without what differs between runs.
    fn shown(&self, error: &Error) -> String {
        let text = format!("{:?}: {error}\nhint: {}", error.kind, error.hint.as_deref().unwrap_or("-"));
        let addr = self.guarded.sshd.addr();
        text.replace(&addr.to_string(), "ADDRESS:PORT").replace(&hostname(), "HOSTNAME")
    }
}

/// What sudo calls this machine.
fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
