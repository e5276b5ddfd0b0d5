//! Puts agents on hosts: named by their SHA-256, checked there, tried, removed at the end.
//!
//! Must never start a file on a host whose hash it did not compare, never leave a half file under the agent's name, and never need an agent
//! that runs to get rid of it.

use std::collections::HashMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::sync::{Mutex, OnceCell};

use super::agents::{AgentProgram, Agents};
use super::refusal::{Refusal, Started};
use super::transport::{Channel, Ended, Transport};
use crate::copy::failure::{failed, transient};
use crate::host::Facts;
use crate::model::{Host, SshTarget};
use crate::outside::Error;
use crate::text;

/// Output of a script that is read at most, besides a program that is read back.
const OUTPUT: u64 = 64 << 10;
/// What a script's own lines begin with; a login shell may print others.
const MARK: &str = "migrate:";

/// `$1` directory, then for each agent: machine, SHA-256, length. Says what the host is, takes the program for it from standard input
/// unless it is there, and tries whether it starts; one that does not is of no use there. A host without a program for checksums gives it back to be compared here.
const INSTALL: &str = r#"set -eu; umask 077
say() { printf '\nmigrate:%s\n' "$1"; }
sum() { s=$({ sha256sum || shasum -a 256 || openssl dgst -sha256 -r; } <"$1" 2>/dev/null) || s=; s=${s%% *}; }
d=$1; shift; case $d in "~") d=$HOME;; "~/"*) d=$HOME/${d#"~/"};; esac
case $d in /*) ;; *) echo "the work directory $d is not absolute" >&2; exit 1;; esac
m=$(uname -m); case $m in amd64) m=x86_64;; arm64) m=aarch64;; esac
say "system:$(uname -s) $(uname -r)"; say "machine:$m"
while [ $# -ge 3 ] && [ "$1" != "$m" ]; do shift 3; done
[ $# -ge 3 ] || exit 0
mkdir -p "$d"; cd "$d"; say "dir:$(pwd -P)"; say "home:$HOME"
h=$2 n=$3 a=agent-$2
[ ! -f "$a" ] || sum "$a"
if [ ! -x "$a" ] || [ "${s:-}" != "$h" ]; then
t=$a.$$; trap 'rm -f "$t"' EXIT; trap 'exit 1' HUP INT PIPE TERM
say missing; head -c "$n" >"$t"
[ "$(wc -c <"$t")" -eq "$n" ] || { echo "the program arrived cut" >&2; exit 1; }
sum "$t"; [ -n "$s" ] || { say back; cat "$t"; read -r s; }
[ "$s" = "$h" ] || { echo "the program arrived damaged" >&2; exit 1; }
chmod 700 "$t"; mv -f "$t" "$a"
fi
e=0; o=$("./$a" agent hello --work "$d" 2>&1 </dev/null) || e=$?
[ "$e" = 0 ] || { rm -f "$a"; cd /; rmdir "$d" 2>/dev/null || true; }
say "started:$e"; printf '%s\n' "$o" >&2"#;

/// Says who logs in.
const LOGIN: &str = r#"echo "migrate:home:$HOME"; echo "migrate:ids:$(id -u):$(id -g)""#;

/// `$1` directory, `$2` SHA-256 of agents, separated by blanks, then jobs. Removes their traces, the agents, and the directory when nothing
/// else is in it. An agent that cannot run any more has nothing that it could take back, and one that is gone was removed by someone else.
const REMOVE: &str = r#"set -u; umask 077
sum() { s=$({ sha256sum || shasum -a 256 || openssl dgst -sha256 -r; } <"$1" 2>/dev/null) || s=; s=${s%% *}; }
d=$1; case $d in "~") d=$HOME;; "~/"*) d=$HOME/${d#"~/"};; esac
[ -d "$d" ] || exit 0
cd "$d" || exit 1; d=$(pwd -P); e=0; hs=$2; shift 2
for h in $hs; do
a=agent-$h
if [ -x "$a" ]; then
sum "$a"
if [ "${s:-$h}" = "$h" ] && "./$a" agent hello --work "$d" >/dev/null 2>&1 </dev/null; then
"./$a" agent clean --work "$d" --home "$HOME" "$@" || { c=$?; [ ! -e "$a" ] || e=$c; }
fi
fi
rm -f "$a" "$a".* || e=1
done
rmdir jobs roots 2>/dev/null
cd /; rmdir "$d" 2>/dev/null
exit $e"#;

/// An agent that is ready on a host.
#[derive(Debug, Clone)]
pub struct Installed {
    /// Its absolute path there.
    pub agent: String,
    /// The work directory, absolute.
    pub work: String,
    /// Where the keys are that log in there, and whose they are: arguments for the agent.
    pub keys: Vec<String>,
}

type Slot = Arc<OnceCell<Installed>>;

/// The programs and the hosts that have one.
pub struct Deployer {
    agents: Agents,
    ready: Mutex<HashMap<(String, String), Slot>>,
}

impl Deployer {
    /// Deploys these programs.
    pub fn new(agents: Agents) -> Self {
        Self { agents, ready: Mutex::default() }
    }

    /// Makes sure that an agent is on a host and that it starts there.
    pub async fn install(&self, transport: &dyn Transport, host: &Host) -> Result<Installed, Error> {
        let key = (host.name.clone(), host.work_dir().to_owned());
        let slot = Arc::clone(self.ready.lock().await.entry(key).or_default());
        slot.get_or_try_init(|| self.deploy(transport, host)).await.cloned()
    }

    /// Forgets that a host has an agent: someone removed it.
    pub async fn forget(&self, host: &Host) {
        self.ready.lock().await.remove(&(host.name.clone(), host.work_dir().to_owned()));
    }

    /// Removes the traces of jobs and the agent itself from a host.
    pub async fn clean_up(&self, transport: &dyn Transport, host: &Host, jobs: &[String]) -> Result<(), Error> {
        let hashes: Vec<&str> = self.programs(host).await?.iter().map(|program| &*program.hash).collect();
        let hashes = hashes.join(" ");
        let keys = keys_of_login(transport, host).await?.unwrap_or_default();
        let mut args = vec![host.work_dir(), &hashes];
        args.extend(keys.iter().chain(jobs).map(String::as_str));
        let Channel { reader, writer, ended, .. } = start(transport, host, REMOVE, &args).await?;
        drop(writer);
        let _ = reader.take(OUTPUT).read_to_end(&mut Vec::new()).await;
        let Ended { status, stderr } = ended.await?;
        self.forget(host).await;
        match status {
            Some(0) => Ok(()),
            _ => Err(failed(
                &host.name,
                format!("cannot clean up in {}: {stderr}", text::escape(host.work_dir().as_bytes(), 200)),
            )),
        }
    }

    /// Whether an agent can be on a host, by what is known of it.
    pub async fn suits(&self, host: &Host, facts: &Facts) -> Result<(), Error> {
        let programs = self.programs(host).await?;
        Refusal::by_facts(host, facts, programs).map_or(Ok(()), |refusal| Err(refusal.at(host)))
    }

    async fn deploy(&self, transport: &dyn Transport, host: &Host) -> Result<Installed, Error> {
        let programs = self.programs(host).await?;
        let mut args = vec![host.work_dir().to_owned()];
        for AgentProgram { machine, hash, bytes, .. } in programs {
            args.extend([(*machine).to_owned(), hash.clone(), bytes.len().to_string()]);
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let channel = start(transport, host, INSTALL, &args).await?;
        let install = Installation { host, programs, said: Said::default() }.run(channel);
        let (installed, keys) = tokio::try_join!(install, keys_of_login(transport, host))?;
        Ok(Installed { keys: keys.unwrap_or(installed.keys), ..installed })
    }

    async fn programs(&self, host: &Host) -> Result<&[AgentProgram], Error> {
        self.agents.load().await.map_err(|why| failed(&host.name, format!("there is no agent for the host: {why}")))
    }
}

/// What a host has said so far.
#[derive(Debug, Default)]
struct Said {
    system: String,
    machine: String,
    dir: Option<String>,
    home: String,
    started: Option<i32>,
}

/// The controller's part of [`INSTALL`].
struct Installation<'a> {
    host: &'a Host,
    programs: &'a [AgentProgram],
    said: Said,
}

impl<'a> Installation<'a> {
    async fn run(mut self, channel: Channel) -> Result<Installed, Error> {
        let Channel { reader, mut writer, ended, .. } = channel;
        let longest = self.programs.iter().map(|program| program.bytes.len() as u64).max().unwrap_or_default();
        let mut reader = BufReader::new(reader.take(OUTPUT + longest));
        let mut line = Vec::new();
        // A script that ends early says why on standard error.
        while matches!(reader.read_until(b'\n', &mut line).await, Ok(1..)) {
            let text = String::from_utf8_lossy(&line).into_owned();
            line.clear();
            let Some(said) = text.trim_end().strip_prefix(MARK) else { continue };
            match said.split_once(':').unwrap_or((said, "")) {
                ("missing", _) => {
                    let _ = writer.write_all(&self.program()?.bytes).await;
                    let _ = writer.flush().await;
                }
                ("back", _) => {
                    let mut back = vec![0; self.program()?.bytes.len()];
                    if reader.read_exact(&mut back).await.is_err() {
                        break;
                    }
                    let hash = text::hex(&Sha256::digest(&back));
                    let _ = writer.write_all(format!("{hash}\n").as_bytes()).await;
                    let _ = writer.flush().await;
                }
                ("system", system) => self.said.system = text::escape(system.as_bytes(), 80),
                ("machine", machine) => self.said.machine = text::escape(machine.as_bytes(), 40),
                ("dir", dir) => self.said.dir = Some(dir.to_owned()),
                ("home", home) => self.said.home = home.to_owned(),
                ("started", status) => self.said.started = status.parse().ok(),
                _ => {}
            }
        }
        let _ = writer.shutdown().await;
        drop((reader, writer));
        let ended = ended.await?;
        self.conclude(ended)
    }

    fn program(&self) -> Result<&'a AgentProgram, Error> {
        let machine = &self.said.machine;
        self.programs.iter().find(|program| program.machine == machine).ok_or_else(|| {
            let there = self.programs.iter().map(|program| program.machine).collect();
            Refusal::NoProgram { machine: machine.clone(), there }.at(self.host)
        })
    }

    fn conclude(self, Ended { status, stderr }: Ended) -> Result<Installed, Error> {
        let host = self.host;
        match status {
            None => return Err(transient(failed(&host.name, "the connection ended while the host was prepared"))),
            Some(0) => {}
            Some(_) => return Err(Refusal::CannotPrepare { said: stderr }.at(host)),
        }
        let program = self.program()?;
        let (Some(work), Some(started)) = (self.said.dir, self.said.started) else {
            return Err(failed(&host.name, "the host did not say whether the agent is ready"));
        };
        if started != 0 {
            let started = Started { status: started, said: stderr, work, system: self.said.system };
            return Err(Refusal::of_start(started, program.needs_libraries).at(host));
        }
        Ok(Installed {
            agent: format!("{work}/agent-{}", program.hash),
            work,
            keys: vec!["--home".to_owned(), self.said.home],
        })
    }
}

impl Installed {
    /// Changes the keys that log in there; `args` say how.
    pub async fn change_keys(
        &self,
        transport: &dyn Transport,
        host: &Host,
        role: &str,
        args: &[&str],
    ) -> Result<(), Error> {
        let mut words = vec![role, "--work", &self.work];
        words.extend(self.keys.iter().map(String::as_str));
        words.extend(args);
        self.run(transport, host, &words).await
    }

    /// Runs the agent to its end; what it says on failure is the error.
    pub async fn run(&self, transport: &dyn Transport, host: &Host, args: &[&str]) -> Result<(), Error> {
        self.ask(transport, host, args).await.map(drop)
    }

    /// The same; what it has answered.
    pub async fn ask(&self, transport: &dyn Transport, host: &Host, args: &[&str]) -> Result<String, Error> {
        let mut argv = vec![&*self.agent, "agent"];
        argv.extend_from_slice(args);
        let Channel { mut reader, writer, ended, .. } = transport.open(host, &argv).await?;
        drop(writer);
        let mut output = Vec::new();
        let _ = (&mut reader).take(OUTPUT).read_to_end(&mut output).await;
        let Ended { status, stderr } = ended.await?;
        if status == Some(0) {
            Ok(String::from_utf8_lossy(&output).into_owned())
        } else {
            Err(failed(&host.name, &stderr))
        }
    }
}

/// Where the keys of the login are, and whose, when the agent runs as another user.
async fn keys_of_login(transport: &dyn Transport, host: &Host) -> Result<Option<Vec<String>>, Error> {
    if host.ssh.becomes.is_none() {
        return Ok(None);
    }
    let login = Host { ssh: SshTarget { becomes: None, ..host.ssh.clone() }, ..host.clone() };
    let Channel { reader, writer, ended, .. } = start(transport, &login, LOGIN, &[]).await?;
    drop(writer);
    let mut said = Vec::new();
    let _ = reader.take(OUTPUT).read_to_end(&mut said).await;
    ended.await?;
    let said = String::from_utf8_lossy(&said);
    let find = |what: &str| said.lines().find_map(|line| line.strip_prefix(what)).map(str::to_owned);
    match (find("migrate:home:"), find("migrate:ids:")) {
        (Some(home), Some(ids)) => Ok(Some(vec!["--home".to_owned(), home, "--as".to_owned(), ids])),
        _ => Err(failed(&host.name, "the host did not say who logs in there")),
    }
}

/// Starts a script with arguments.
async fn start(transport: &dyn Transport, host: &Host, script: &str, args: &[&str]) -> Result<Channel, Error> {
    let mut argv = vec!["/bin/sh", "-c", script, "sh"];
    argv.extend_from_slice(args);
    transport.open(host, &argv).await
}
