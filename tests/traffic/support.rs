//! What all tests of directors need.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use migrate::host::{Command, Output};
use migrate::model::{Change, Mode};
use migrate::outside::{Error, Kind};
use migrate::secret::SecretRef;
use migrate::secret::{Secret, SecretError, Secrets};
use migrate::traffic::dial::Local;
use migrate::traffic::{Commands, Context};

/// Secrets by the name of an environment variable, without an environment.
#[derive(Default, Clone)]
pub struct Fixed(pub HashMap<String, String>);

impl Secrets for Fixed {
    fn resolve(&self, reference: &SecretRef) -> Result<Secret, SecretError> {
        let SecretRef::Env(name) = reference else { panic!("tests keep secrets under `env`") };
        let why = SecretError { from: format!("env {name}"), why: "the variable is not set".to_owned() };
        self.0.get(name).map(Secret::new).ok_or(why)
    }
}

/// No host can be reached.
struct NoHosts;

#[async_trait]
impl Commands for NoHosts {
    async fn run(&self, host: &str, _: &Command) -> Result<Output, Error> {
        let what = "cannot be reached";
        Err(Error::new(host, Kind::Unreachable, what))
    }
}

/// A world with these secrets.
pub fn context(secrets: &[(&str, &str)]) -> Context {
    let secrets = secrets.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Context { secrets: Arc::new(Fixed(secrets)), dial: Arc::new(Local), commands: Arc::new(NoHosts) }
}

pub fn change(member: &str, weight: u16, mode: Mode) -> Change {
    Change { member: member.to_owned(), weight, mode }
}

/// A server that accepts every connection and holds it until the client ends it.
pub fn holding_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            std::thread::spawn(move || std::io::copy(&mut client, &mut std::io::sink()));
        }
    });
    addr
}

/// An error as people see it, with what differs between runs replaced.
pub fn shown(error: &Error, replace: &[(String, &str)]) -> String {
    let kind = match error.kind {
        Kind::Refused => "refused",
        Kind::Lost => "unknown",
        Kind::Disagrees => "disagrees",
        Kind::Conflict => "conflict",
        other => panic!("no director fails with {other:?}"),
    };
    let mut text = format!("[{kind}] {error}");
    if let Some(hint) = &error.hint {
        text.push_str(&format!("\nhint: {hint}"));
    }
    replace.iter().fold(text, |text, (from, to)| text.replace(from, to))
}

/// Asks again until it holds; panics when it never does.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let patience = crate::lab::process::PATIENCE;
    let held = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(patience, held).await.unwrap_or_else(|_| panic!("not in {patience:?}: {what}"));
}
