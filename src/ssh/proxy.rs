//! A `ProxyCommand`: its standard input and output are the way to the host.
//!
//! Owns the process and what it says on standard error. Must never outlive the connection, and never put a value into a command line
//! that a shell would take for more than a word.

use std::io;
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, Join, ReadBuf};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::session::lock;
use crate::text::escape;

/// What is kept of its standard error.
const MAX_SAID: usize = 1024;
/// How long it may take to end when the connection has ended, and to say its last words.
const GRACE: Duration = Duration::from_secs(1);

/// Puts the values in for the tokens of a `ProxyCommand`; the error is one clause.
pub(super) fn expand(command: &str, value: impl Fn(char) -> Option<String>) -> Result<String, String> {
    let fail = |why: String| format!("ssh_config has the ProxyCommand `{}`: {why}", escape(command.as_bytes(), 120));
    let (mut out, mut chars) = (String::new(), command.chars());
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let token = chars.next().unwrap_or(' ');
        let value = value(token)
            .ok_or_else(|| fail(format!("the token %{} is not supported", escape(token.to_string().as_bytes(), 8))))?;
        // As OpenSSH refuses them: a shell reads the line.
        if let Some(bad) = value.chars().find(|c| "'`\"$\\;&<>|(){}".contains(*c)) {
            let value = escape(value.as_bytes(), 80);
            return Err(fail(format!(
                "`{value}` would be put into it, and a shell does not take `{bad}` for part of a word"
            )));
        }
        out.push_str(&value);
    }
    Ok(out)
}

/// A running command.
pub(super) struct Proxy {
    io: Join<ChildStdout, ChildStdin>,
    /// Dropped with the connection: that ends the process.
    _end: oneshot::Sender<()>,
}

/// What a command has said and how it ended.
#[derive(Clone)]
pub(super) struct Said {
    stderr: Arc<Mutex<Vec<u8>>>,
    ended: watch::Receiver<Option<ExitStatus>>,
    command: String,
}

impl Proxy {
    pub fn start(command: &str) -> io::Result<(Self, Said)> {
        let mut child = tokio::process::Command::new("/bin/sh")
            .args(["-c", &format!("exec {command}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // What is typed to stop this program does not end its connections.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let missing = || io::Error::other("it has no standard streams");
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let listening = child.stderr.take().map(|pipe| tokio::spawn(listen(pipe, stderr.clone())));
        let (end, ending) = oneshot::channel();
        let (tell, ended) = watch::channel(None);
        tokio::spawn(wait(child, listening, ending, tell));
        let said = Said { stderr, ended, command: command.to_owned() };
        Ok((Self { io: tokio::io::join(stdout, stdin), _end: end }, said))
    }
}

async fn listen(mut pipe: ChildStderr, said: Arc<Mutex<Vec<u8>>>) {
    let mut buffer = [0; 512];
    while let Ok(n) = pipe.read(&mut buffer).await {
        let Some(new) = buffer.get(..n).filter(|new| !new.is_empty()) else { return };
        let mut said = lock(&said);
        said.extend_from_slice(new);
        let too_much = said.len().saturating_sub(MAX_SAID);
        said.drain(..too_much);
    }
}

async fn wait(
    mut child: Child,
    listening: Option<JoinHandle<()>>,
    ending: oneshot::Receiver<()>,
    tell: watch::Sender<Option<ExitStatus>>,
) {
    let status = tokio::select! {
        status = child.wait() => status.ok(),
        // The connection is gone. Most commands end with their streams; the others are ended with `child`.
        _ = ending => tokio::time::timeout(GRACE, child.wait()).await.ok().and_then(Result::ok),
    };
    // Its last words may still be on their way.
    if let (Some(_), Some(listening)) = (status, listening) {
        let _ = tokio::time::timeout(GRACE, listening).await;
    }
    let _ = tell.send(status);
}

impl Said {
    /// How the command ended, in words that follow its name.
    pub async fn told(&mut self) -> String {
        // Whoever waits for the process drops its end when it has nothing more to tell.
        let _ = self.ended.wait_for(Option::is_some).await;
        let ended = match *self.ended.borrow() {
            Some(status) => format!(" ended ({status})"),
            None => " was still running".to_owned(),
        };
        let said = escape(lock(&self.stderr).as_slice(), 300);
        if said.is_empty() { ended } else { format!("{ended}: {said}") }
    }

    /// Whether it was another sshd on the way that dropped the connection, which may take the next one.
    pub fn was_dropped_on_the_way(&self) -> bool {
        let succeeded = self.ended.borrow().is_some_and(|status| status.success());
        let said = String::from_utf8_lossy(&lock(&self.stderr)).into_owned();
        succeeded || said.contains("kex_exchange_identification") || said.contains("ssh_exchange_identification")
    }

    /// The command itself.
    pub fn command(&self) -> String {
        escape(self.command.as_bytes(), 200)
    }
}

impl AsyncRead for Proxy {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Proxy {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_put_in_and_what_a_shell_would_take_apart_is_refused() {
        let value = |host: &'static str| move |token| (token == 'h').then(|| host.to_owned());
        assert_eq!(
            expand("nc %h 5%%", |c| if c == '%' { Some("%".into()) } else { value("web1")(c) }).unwrap(),
            "nc web1 5%"
        );
        assert!(expand("nc %h", value("a;b")).unwrap_err().ends_with("a shell does not take `;` for part of a word"));
        assert!(expand("nc %h", value("$(id)")).is_err());
        assert!(expand("nc %q", value("a")).unwrap_err().ends_with("the token %q is not supported"));
    }
}
