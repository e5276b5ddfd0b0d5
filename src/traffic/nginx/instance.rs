//! One NGINX: what its file says, what it serves, who it is connected to, and writing.
//!
//! Owns the scripts that run beside it. Must never write over a file that is not, at that moment, the one that was read, and never leave
//! one that NGINX refuses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::super::commands::Commands;
use super::super::dial::{Dial, Stream};
use super::Settings;
use super::settings::Place;
use crate::host::{Command, Output};
use crate::outside::reason;
use crate::outside::{Error, Kind};
use crate::ssh::here::said;
use crate::text::{escape, hex};

/// How long the socket of the marker may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest file: what one command brings, and less than what one takes.
const LONGEST: usize = 48 << 10;

/// `$1` the file, `$2` the one with the process id. Answers lines of what is around the file, a line `--`, and the file.
const READ: &str = r#"LC_ALL=C; export LC_ALL
[ -e "$1" ] || { echo "there is no file $1" >&2; exit 3; }
[ -r "$1" ] || { echo "the login may not read $1" >&2; exit 3; }
generation=$(head -c 200 "$1.generation" 2>/dev/null | tr '\n' ' ')
echo "generation $generation"
age=$(( $(date +%s) - $(stat -L -c %Y "$1") ))
echo "age $age"
master=$(cat "$2" 2>/dev/null)
if [ -n "$master" ]; then
  ps -o pid=,etimes=,args= --ppid "$master" 2>/dev/null | grep 'worker process' | grep -v 'shutting down' | while read -r p t rest; do echo "worker $p $t"; done
fi
echo --
cat "$1""#;

/// `$1` … what members are called in a list of sockets. Answers a count and a name a line.
const COUNT: &str = r#"LC_ALL=C; export LC_ALL
all=$(ss -Htn state established) || exit 6
printf '%s\n' "$all" | awk -v want=" $* " '{ if (index(want, " " $4 " ")) n[$4]++ } END { for (p in n) print n[p], p }'"#;

/// `$1` what a member is called there. Answers a line for each of up to ten connections.
const HOLDERS: &str = r#"LC_ALL=C; export LC_ALL
all=$(ss -Htnp state established) || exit 6
printf '%s\n' "$all" | awk -v want="$1" '$4 == want { print $3, $5 }' | head -n 10 | while read -r from users; do
  pid=$(printf '%s' "$users" | sed -n 's/.*pid=\([0-9]*\).*/\1/p')
  title=$([ -n "$pid" ] && ps -o args= -p "$pid")
  echo "$from ${title:-of this host}"
done"#;

/// `$1` the file, `$2` its SHA-256 as it was read, `$3` what it shall be, `$4` what the generation's file shall be, then NGINX's program.
/// 3: refused, and everything is as it was; 4: the file is another.
const WRITE: &str = r#"LC_ALL=C; export LC_ALL
no() { echo "$1" >&2; exit 3; }
f=$(readlink -f -- "$1"); g=$(readlink -f -- "$1.generation"); was=$2 new=$3 generation=$4; shift 4
[ -f "$f" ] || no "there is no file $f"
command -v "$1" >/dev/null 2>&1 || no "there is no program $1"
d=$(dirname -- "$f")
{ [ -w "$d" ] && [ -w "$f" ]; } || no "the login may not write $f and its directory"
if command -v flock >/dev/null 2>&1; then exec 9<"$d" && flock -w 20 9 || no "somebody else holds the lock of $d"; fi
[ "$(sha256sum <"$f")" = "$was  -" ] || exit 4
put() { cp -p -- "$f" "$1.migrate-new" && printf '%s' "$2" >"$1.migrate-new" && sync -- "$1.migrate-new" && mv -f -- "$1.migrate-new" "$1"; }
cp -p -- "$f" "$f.migrate-old" || no "$f cannot be kept"
if [ -e "$g" ]; then cp -p -- "$g" "$g.migrate-old"; fi || no "$g cannot be kept"
undo() { mv -f -- "$f.migrate-old" "$f"; if [ -e "$g.migrate-old" ]; then mv -f -- "$g.migrate-old" "$g"; else rm -f -- "$g"; fi; rm -f -- "$f.migrate-new" "$g.migrate-new"; }
{ put "$f" "$new" && put "$g" "$generation"; } || { undo; no "$f cannot be written"; }
said=$("$@" -t -q 2>&1) || { undo; no "NGINX refuses its configuration: $said"; }
said=$("$@" -s reload 2>&1) || { undo; no "NGINX was not told to read it again: $said"; }
rm -f -- "$f.migrate-old" "$g.migrate-old""#;

/// The same questions as [`WRITE`] has, and nothing is written.
const MAY_WRITE: &str = r#"LC_ALL=C; export LC_ALL
no() { echo "$1" >&2; exit 3; }
f=$(readlink -f -- "$1"); shift
command -v "$1" >/dev/null 2>&1 || no "there is no program $1"
{ [ -w "$(dirname -- "$f")" ] && [ -w "$f" ]; } || no "the login may not write $f and its directory"
said=$("$@" -t -q 2>&1) || no "NGINX refuses its configuration: $said""#;

/// What is seen at one NGINX.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub text: String,
    /// The generation that the file beside it says.
    written: Option<String>,
    /// The one that NGINX answers.
    served: String,
    /// How long ago the file was changed, in seconds.
    age: i64,
    /// The workers that take new connections, each with how many seconds ago it began; none where nobody can tell.
    workers: Vec<(i64, i64)>,
}

/// Whether what a file says is what NGINX serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Serves {
    /// It is.
    It,
    /// It is not, or not yet: our write is there, and NGINX answers another generation.
    NotYet,
    /// Somebody has changed the file, and NGINX has not read it since.
    AnOlderOne,
}

impl Reading {
    /// The generation of the file as it is.
    pub fn generation(&self) -> String {
        generation(&self.text)
    }

    pub fn serves(&self) -> Serves {
        let ours = self.generation();
        // Both are told in whole seconds.
        let newer = self.youngest().is_some_and(|youngest| self.age + 2 < youngest);
        match (self.written.as_ref() == Some(&ours), self.served == ours) {
            (true, false) => Serves::NotYet,
            // What we wrote is served, or what somebody else wrote was read: as far as its time tells.
            _ if newer => Serves::AnOlderOne,
            _ => Serves::It,
        }
    }

    fn youngest(&self) -> Option<i64> {
        self.workers.iter().map(|(_, age)| *age).min()
    }

    /// Process ids of the workers that take new connections.
    pub fn workers(&self) -> Vec<i64> {
        self.workers.iter().map(|(pid, _)| *pid).collect()
    }

    /// What happened during the last `since`, for people.
    pub fn clues(&self, since: Duration) -> Vec<String> {
        let recent =
            |age: Option<i64>| age.and_then(|age| u64::try_from(age).ok()).filter(|age| *age <= since.as_secs());
        let ago = |age: u64| crate::text::duration(Duration::from_secs(age));
        let read = recent(self.youngest()).map(|age| format!("NGINX has read its configuration {} ago", ago(age)));
        let changed = recent(Some(self.age)).map(|age| format!("its file was changed {} ago", ago(age)));
        read.into_iter().chain(changed).collect()
    }

    pub fn served(&self) -> &str {
        &self.served
    }
}

/// A generation is called by what it says.
pub(super) fn generation(text: &str) -> String {
    sha256(text).chars().take(24).collect()
}

fn sha256(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

/// How a write ended that was not refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wrote {
    /// It is there, and NGINX was told so.
    It,
    /// The file was another one: nothing was written.
    Conflict,
}

/// One NGINX and how it is reached.
pub(super) struct Instance {
    director: String,
    settings: Settings,
    host: Option<String>,
    dial: Arc<dyn Dial>,
    commands: Arc<dyn Commands>,
}

impl Instance {
    pub fn new(
        director: &str,
        settings: &Settings,
        host: Option<&str>,
        reach: (Arc<dyn Dial>, Arc<dyn Commands>),
    ) -> Self {
        let (dial, commands) = reach;
        Self {
            director: director.to_owned(),
            settings: settings.clone(),
            host: host.map(str::to_owned),
            dial,
            commands,
        }
    }

    /// The director and the file there, for people.
    pub fn at(&self) -> String {
        format!("{} ({})", self.director, Place { host: self.host.as_deref(), file: &self.settings.file })
    }

    pub fn error(&self, kind: Kind, what: impl Into<String>) -> Error {
        Error::new(self.at(), kind, what)
    }

    async fn run(&self, script: &str, args: Vec<String>) -> Result<Output, Error> {
        let command =
            Command { script: script.to_owned(), args, timeout: Some(Duration::from_secs(60)), ..Command::default() };
        let ran = match &self.host {
            Some(host) => self.commands.run(host, &command).await,
            None => self.commands.here(&command).await,
        };
        ran.map_err(|e| Error { at: format!("{} ({})", self.director, e.at), ..e })
    }

    fn failed(&self, output: &Output) -> Error {
        match output.status {
            3 => self.error(Kind::Refused, said(output)),
            status => self.error(Kind::Lost, format!("a command ended with status {status}: {}", said(output))),
        }
    }

    /// What the file says and what NGINX answers.
    pub async fn read(&self) -> Result<Reading, Error> {
        let served = self.marker().await?;
        let output = self.run(READ, vec![self.settings.file.clone(), self.settings.pid.clone()]).await?;
        if output.status != 0 {
            return Err(self.failed(&output));
        }
        if output.truncated || output.stdout.len() > LONGEST {
            let error = self.error(Kind::Refused, "the file is longer than 48 KiB");
            return Err(error.hint("put the upstreams that move into a file of their own"));
        }
        let text = String::from_utf8(output.stdout).map_err(|_| self.error(Kind::Refused, "the file is not UTF-8"))?;
        self.understand(&text, served)
    }

    fn understand(&self, answer: &str, served: String) -> Result<Reading, Error> {
        let lost = || self.error(Kind::Lost, "what was read of it cannot be understood");
        let (around, text) = answer.split_once("\n--\n").ok_or_else(lost)?;
        let values = |key: &'static str| {
            around.lines().filter_map(move |l| l.split_once(' ').filter(|(k, _)| *k == key)).map(|(_, v)| v)
        };
        let number = |value: &str| value.trim().parse::<i64>().map_err(|_| lost());
        let age = values("age").next().ok_or_else(lost).and_then(number)?;
        let worker = |value: &str| {
            let (pid, age) = value.split_once(' ').ok_or_else(lost)?;
            Ok::<_, Error>((number(pid)?, number(age)?))
        };
        let workers = values("worker").map(worker).collect::<Result<Vec<_>, _>>()?;
        // `default "…";`
        let written = values("generation").next().and_then(|g| g.split('"').nth(1)).map(str::to_owned);
        Ok(Reading { text: text.to_owned(), written, served, age, workers })
    }

    /// The generation that NGINX serves.
    async fn marker(&self) -> Result<String, Error> {
        let path = &self.settings.marker;
        let lost = |why: String| {
            self.error(Kind::Lost, format!("NGINX does not answer at {path}: {why}")).hint(
                "it needs `server { listen unix:PATH; return 200 $migrate_generation; }`: see docs/directors.md; is it running?",
            )
        };
        let ask = async {
            let mut stream: Box<dyn Stream> = match &self.host {
                Some(host) => self.dial.remote_unix(host, path).await,
                None => self.dial.unix(path.as_ref()).await,
            }
            .map_err(|e| e.what)?;
            let talk = async {
                stream.write_all(b"GET / HTTP/1.0\r\nHost: migrate\r\n\r\n").await?;
                stream.flush().await?;
                let mut bytes = Vec::new();
                stream.take(8 << 10).read_to_end(&mut bytes).await?;
                Ok::<_, std::io::Error>(bytes)
            };
            talk.await.map_err(|e| reason(&e))
        };
        let answer = timeout(PATIENCE, ask).await;
        let answer = answer.map_err(|_| lost(format!("no answer in {} s", PATIENCE.as_secs())))?.map_err(lost)?;
        let text = String::from_utf8_lossy(&answer);
        match text.split_once("\r\n\r\n") {
            Some((head, body)) if head.split(' ').nth(1) == Some("200") => Ok(escape(body.trim().as_bytes(), 100)),
            _ => Err(lost(format!("it says {}", escape(text.lines().next().unwrap_or("nothing").as_bytes(), 100)))),
        }
    }

    /// Established connections by what members are called in a list of sockets; `None` where nobody can tell.
    pub async fn connections(&self, sockets: Vec<String>) -> Result<Option<BTreeMap<String, u64>>, Error> {
        let output = self.run(COUNT, sockets).await?;
        if output.status != 0 || output.truncated {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let row = |line: &str| line.split_once(' ').and_then(|(n, name)| Some((name.to_owned(), n.parse().ok()?)));
        Ok(text.lines().map(row).collect())
    }

    /// Who holds connections to a member.
    pub async fn holders(&self, socket: String) -> Result<Vec<String>, Error> {
        let output = self.run(HOLDERS, vec![socket]).await?;
        if output.status != 0 {
            return Ok(Vec::new());
        }
        Ok(output.stdout.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(|l| escape(l, 120)).collect())
    }

    /// Writes the file where it is still the one that was read, and has NGINX read it.
    pub async fn write(&self, before: &Reading, text: &str) -> Result<Wrote, Error> {
        if text.len() > LONGEST {
            return Err(self.error(Kind::Refused, "the file would be longer than 48 KiB"));
        }
        let marker = format!("default \"{}\";\n", generation(text));
        let mut args = vec![self.settings.file.clone(), sha256(&before.text), text.to_owned(), marker];
        args.extend(self.settings.command.iter().cloned());
        let output = self.run(WRITE, args).await?;
        match output.status {
            0 => Ok(Wrote::It),
            4 => Ok(Wrote::Conflict),
            _ => Err(self.failed(&output)),
        }
    }

    /// Whether a write would be let in.
    pub async fn writable(&self) -> Result<(), Error> {
        let args = std::iter::once(&self.settings.file).chain(&self.settings.command).cloned().collect();
        match self.run(MAY_WRITE, args).await? {
            Output { status: 0, .. } => Ok(()),
            output => Err(self.failed(&output)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(text: &str, written: Option<&str>, served: &str, newer: bool) -> Serves {
        let of = |what: &str| if what == "it" { generation(text) } else { what.to_owned() };
        let age = if newer { 10 } else { 60 };
        Reading { text: text.to_owned(), written: written.map(of), served: of(served), age, workers: vec![(1, 60)] }
            .serves()
    }

    #[test]
    fn what_is_served_is_told_by_the_generation_and_else_by_time() {
        assert_eq!(reading("a", Some("it"), "it", false), Serves::It);
        assert_eq!(reading("a", Some("it"), "another", false), Serves::NotYet);
        assert_eq!(reading("a", Some(""), "", false), Serves::It, "nothing was ever written by us");
        assert_eq!(reading("a", Some("before"), "before", false), Serves::It, "somebody else has written and reloaded");
        assert_eq!(reading("a", Some("before"), "before", true), Serves::AnOlderOne);
        assert_eq!(reading("a", Some("it"), "it", true), Serves::AnOlderOne, "written and taken back by somebody else");
    }
}
