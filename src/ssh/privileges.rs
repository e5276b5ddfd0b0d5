//! Programs that run as another user than the one who logs in: by sudo, by doas, or by a command of the site's own.
//!
//! Owns the words before a program, how a password gets to sudo, and what it means when they refuse. Must never put a password into
//! an argument, and never send it before sudo has asked for it with a word that only sudo was told: else the program would take it
//! for its own input where sudo asks for nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::client::Msg;
use russh::{Channel, ChannelMsg};
use tokio::sync::OwnedMutexGuard;

use super::config::Endpoint;
use super::launch::{Start, find};
use super::stream::Exit;
use crate::model::{Become, Host};
use crate::outside::{Error, Kind};
use crate::secret::{Secret, SecretRef, Secrets};
use crate::text::{duration, escape};

/// What every program finds behind the path that sudo gives it (`secure_path`), and where it begins: with the home directory of
/// who it runs as, since that of the login may be closed to it. The same rules as for the starter hold for the text.
pub(super) const SETTLE: &str =
    r#"PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin;export PATH;cd 2>/dev/null||cd /;"#;
/// How long sudo may take from its start to the start of the program. PAM pauses for some seconds after a wrong password.
const PATIENCE: Duration = Duration::from_secs(30);

/// The words before a program; `prompt` is what sudo asks with.
pub(super) fn words<'a>(becomes: &'a Become, prompt: &'a str) -> Vec<&'a str> {
    match becomes {
        Become::Sudo { user, password: None } => vec!["sudo", "-n", "-H", "-u", user, "--"],
        Become::Sudo { user, password: Some(_) } => vec!["sudo", "-S", "-p", prompt, "-H", "-u", user, "--"],
        Become::Doas { user } => vec!["doas", "-n", "-u", user, "--"],
        Become::Command(words) => words.iter().map(String::as_str).collect(),
    }
}

/// Why a program did not start as another user: what was said about it, and what to do.
pub(super) fn refused(host: &Host, becomes: &Become, status: &str, said: &str) -> (String, String) {
    let program = escape(becomes.program().as_bytes(), 80);
    let login = host.ssh.user.as_deref().unwrap_or("the login");
    let user = becomes.user().unwrap_or("another user");
    let rule = match becomes {
        Become::Sudo { password: None, .. } => format!("`{login} ALL=({user}) NOPASSWD: ALL` in sudoers"),
        Become::Sudo { password: Some(_), .. } => format!("`{login} ALL=({user}) ALL` in sudoers"),
        Become::Doas { .. } => format!("`permit nopass {login} as {user}` in doas.conf"),
        Become::Command(_) => "its rules".to_owned(),
    };
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let why = |what: &str| format!("{program} does not let {login} become {user}: {what}");
    let (what, hint) = if has(&["must have a tty"]) {
        let hint = format!(
            "let sudoers say `Defaults:{login} !requiretty`: there is no terminal where programs talk to programs"
        );
        (why("it wants a terminal (requiretty)"), hint)
    } else if has(&["password is required", "Authentication required", "a tty is required"]) {
        let password = if matches!(becomes, Become::Sudo { .. }) { "give `password` under `become`, or " } else { "" };
        (why("it asks for a password"), format!("{password}let {rule} allow it"))
    } else if has(&["not in the sudoers", "not allowed to run sudo", "may not run sudo", "Operation not permitted"]) {
        (why("no rule allows it"), format!("let {rule} allow it"))
    } else if has(&["is not allowed to execute"]) {
        // It repeats the whole command, which says nothing more.
        let hint = format!("let {rule} allow it, or at least /bin/sh, by which everything is started");
        return (why("its rules allow this login other commands, but not /bin/sh"), hint);
    } else if has(&["unknown user"]) {
        (why("there is no such user on the host"), "correct `user` under `become`".to_owned())
    } else if has(&["not enabled"]) {
        (why("it has no doas.conf"), format!("let {rule} allow it"))
    } else if has(&["incorrect password", "Authentication failed"]) {
        (why("it does not take the password"), "correct `password` under `become`".to_owned())
    } else if has(&["not found", "No such file", "Unknown command", "annot execute"]) {
        let what = format!(
            "{program} is not there, or not where {login} finds programs, so that {login} cannot become {user}"
        );
        let hint =
            "install it there, choose another `become`, or name its path: `become: {command: [/opt/bin/sudo, -n]}`";
        (what, hint.to_owned())
    } else {
        let what = format!("{program} did not start the command as {user} ({status})");
        (what, format!("let {rule} allow it; try it there: {program} /bin/sh -c id"))
    };
    match said.is_empty() {
        true => (format!("{what}; it printed nothing"), hint),
        false => (format!("{what}; it printed: {said}"), hint),
    }
}

/// Passwords for sudo, looked up when they are needed, and what became of them.
pub(super) struct Passwords {
    secrets: Arc<dyn Secrets>,
    known: Mutex<HashMap<SecretRef, Secret>>,
    tried: Mutex<HashMap<Way, Arc<Tried>>>,
}

/// Who logs in where, and becomes whom by what.
type Way = (Arc<Endpoint>, Become);

/// Nothing before the first answer, then whether sudo took the password. A wrong one is sent once: accounts are locked after some.
type Tried = tokio::sync::Mutex<Option<Result<(), Error>>>;

impl Passwords {
    pub(super) fn new(secrets: Arc<dyn Secrets>) -> Self {
        Self { secrets, known: Mutex::default(), tried: Mutex::default() }
    }

    /// The turn of a program that may be asked for a password; `None` when its host asks for nothing. Until sudo has taken the password
    /// once there is one turn at a time: sudo asks one program after the other, in an order of its own.
    pub(super) async fn turn(&self, endpoint: &Arc<Endpoint>, host: &Host) -> Result<Option<Turn>, Error> {
        let Some((becomes, reference)) = host.ssh.becomes.as_ref().and_then(|b| Some((b, b.password()?))) else {
            return Ok(None);
        };
        let tried = lock(&self.tried).entry((endpoint.clone(), becomes.clone())).or_default().clone();
        let first = tried.lock_owned().await;
        if let Some(Err(refused)) = &*first {
            return Err(refused.clone());
        }
        let password = self.password(endpoint, reference)?;
        Ok(Some(Turn { password, first: Some(first).filter(|first| first.is_none()) }))
    }

    fn password(&self, endpoint: &Endpoint, reference: &SecretRef) -> Result<Secret, Error> {
        if let Some(known) = lock(&self.known).get(reference) {
            return Ok(known.clone());
        }
        let wrong =
            |what: String| Error::new(endpoint.to_string(), Kind::Config, format!("its password for sudo: {what}"));
        let found = self.secrets.resolve(reference).map_err(|e| wrong(escape(e.to_string().as_bytes(), 300)))?;
        if found.reveal().is_empty() || found.reveal().contains(['\n', '\0']) {
            return Err(wrong("it is empty, or more than one line".to_owned()));
        }
        lock(&self.known).insert(reference.clone(), found.clone());
        Ok(found)
    }
}

/// The turn of one program.
pub(super) struct Turn {
    password: Secret,
    /// Nobody knows yet whether sudo takes the password.
    first: Option<OwnedMutexGuard<Option<Result<(), Error>>>>,
}

impl Turn {
    /// Sees a program through sudo's question; comes back when it has started.
    pub(super) async fn answer(mut self, question: Question<'_>) -> Result<(), Error> {
        let answer = question.answer(&self.password).await;
        if let Some(first) = &mut self.first
            && !answer.as_ref().is_err_and(|e| e.kind == Kind::Lost)
        {
            **first = Some(answer.clone());
        }
        answer
    }
}

/// Where sudo asks for a password.
pub(super) struct Question<'a> {
    pub channel: &'a mut Channel<Msg>,
    pub start: &'a mut Start,
    pub prompt: &'a str,
    pub label: &'a str,
}

impl Question<'_> {
    async fn answer(mut self, password: &Secret) -> Result<(), Error> {
        let label = self.label.to_owned();
        let lost = |what: String| Error::new(label, Kind::Lost, what);
        let answered = tokio::time::timeout(PATIENCE, self.listen(password)).await;
        let Ok(answered) = answered else {
            let _ = self.channel.close().await;
            return Err(lost(format!("sudo did not start the command within {}", duration(PATIENCE))));
        };
        answered.unwrap_or_else(|| Err(lost("the connection broke before sudo had started the command".to_owned())))
    }

    /// `None`: the connection is gone.
    async fn listen(&mut self, password: &Secret) -> Option<Result<(), Error>> {
        let (mut exit, mut asked) = (Exit::default(), false);
        loop {
            match self.channel.wait().await? {
                ChannelMsg::Data { data } if self.start.begins(&data) => {
                    self.start.stderr = exit.stderr;
                    return Some(Ok(()));
                }
                ChannelMsg::ExtendedData { data, ext: 1 } => {
                    exit.stderr.extend_from_slice(&data);
                    let Some(at) = find(&exit.stderr, self.prompt.as_bytes()) else { continue };
                    exit.stderr.drain(..at + self.prompt.len());
                    if asked {
                        let _ = self.channel.close().await;
                        return Some(Err(wrong_password(self.label, &exit.stderr)));
                    }
                    asked = true;
                    exit.stderr.clear();
                    self.channel.data_bytes(format!("{}\n", password.reveal()).into_bytes()).await.ok()?;
                }
                ChannelMsg::ExitStatus { exit_status } => exit.status = i32::try_from(exit_status).ok(),
                ChannelMsg::Close => return Some(self.start.ended(exit, self.label).map(|_| ())),
                _ => {}
            }
        }
    }
}

fn wrong_password(label: &str, said: &[u8]) -> Error {
    let said = match escape(said.trim_ascii(), 200) {
        said if said.is_empty() => String::new(),
        said => format!("; it printed: {said}"),
    };
    Error::new(label, Kind::Refused, format!("sudo does not take the password{said}"))
        .hint("correct `password` under `become`; it was tried once, and is not tried again by this command")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
