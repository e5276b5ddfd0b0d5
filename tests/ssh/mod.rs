//! SSH against the real OpenSSH server.

mod facts;
mod host_keys;
mod idle;
mod keys;
mod lab_host;
mod login;
mod reach;
mod receipts;
mod run;
mod streams;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::lab::sshd::Sshd;
use migrate::host::{Command, Output};
use migrate::model::Host;
use migrate::outside::Error;
use migrate::ssh::{Environment, Options, Pool, Remote};

/// What the tests know about the user: nothing of whoever runs them.
fn environment(dir: &Path) -> Environment {
    Environment {
        home: Some(dir.to_owned()),
        user: Some(crate::lab::sshd::user()),
        ssh_program: Some(PathBuf::from("ssh")),
        config_file: Some(PathBuf::from("none")),
        ..Environment::default()
    }
}

/// A directory, a host in it and a pool.
struct Lab {
    pool: Pool,
    sshd: Sshd,
    host: Host,
    dir: tempfile::TempDir,
}

fn lab() -> Lab {
    lab_with(&[], Options::default())
}

fn lab_with(sshd_options: &[&str], options: Options) -> Lab {
    let dir = tempfile::tempdir().unwrap();
    let ip = crate::lab::sshd::next_address();
    let addr = (ip, crate::lab::process::free_port(ip)).into();
    let sshd = Sshd::start_at(&dir.path().join("dal-1"), "dal-1", addr, sshd_options);
    let pool = Pool::new(environment(dir.path()), BTreeMap::new(), options);
    Lab { host: sshd.host(), pool, sshd, dir }
}

impl Lab {
    async fn run(&self, script: &str) -> Output {
        let command = Command { script: script.to_owned(), ..Command::default() };
        self.pool.run(&self.host, &command).await.unwrap()
    }

    async fn error(&self, host: &Host) -> Error {
        self.pool.run(host, &Command { script: "echo ran".to_owned(), ..Command::default() }).await.unwrap_err()
    }

    /// An error as a user sees it, without what differs between runs.
    fn shown(&self, error: &Error) -> String {
        let text = format!("{:?}: {error}\nhint: {}", error.kind, error.hint.as_deref().unwrap_or("-"));
        let addr = self.sshd.addr();
        let text = text.replace(self.dir.path().to_str().unwrap(), "$DIR").replace(&addr.ip().to_string(), "ADDRESS");
        let text =
            text.replace(&addr.port().to_string(), "PORT").replace(&format!("{}@", crate::lab::sshd::user()), "USER@");
        let text = text
            .replace(&format!("`{}`", crate::lab::sshd::user()), "`USER`")
            .replace(&format!("~{}/", crate::lab::sshd::user()), "~USER/")
            .replace(&format!("for {}", crate::lab::sshd::user()), "for USER")
            .replace(&format!("-n {}`", crate::lab::sshd::user()), "-n USER`");
        let text = match text.split_once("@ADDRESS:") {
            Some((before, after)) => format!(
                "{before}@ADDRESS:PORT{}",
                after.trim_start_matches("PORT").trim_start_matches(|c: char| c.is_ascii_digit())
            ),
            None => text,
        };
        let words = text.split(' ').map(|word| match word.find("SHA256:") {
            Some(at) => {
                let end = word[at + 7..].find(|c: char| !c.is_ascii_alphanumeric() && !"+/".contains(c));
                format!("{}FINGERPRINT{}", &word[..at], end.map_or("", |end| &word[at + 7 + end..]))
            }
            None => word.to_owned(),
        });
        words.collect::<Vec<_>>().join(" ")
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
