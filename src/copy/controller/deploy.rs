//! Puts the agent on hosts: the running program itself, named by its SHA-256, checked there, removed at the end.
//!
//! Must never start a file on a host whose hash it did not compare, and never leave a half file under the agent's name.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Mutex, OnceCell};

use super::transport::{Channel, Ended, Transport};
use crate::copy::failure::{failed, transient};
use crate::model::Host;
use crate::outside::Error;

/// Where the agent lives unless the host says otherwise.
const WORK_DIR: &str = "~/.migrate";
/// Output of a script that is read at most.
const OUTPUT: u64 = 64 << 10;
/// What a script's own lines begin with; a login shell may print others.
const MARK: &str = "migrate:";

/// `$1` directory, `$2` SHA-256. Says where the directory is, and whether the agent is there already.
const LOOK: &str = r#"set -eu; umask 077
d=$1; case $d in "~") d=$HOME;; "~/"*) d=$HOME/${d#"~/"};; esac
case $d in /*) ;; *) echo "the work directory $d is not absolute" >&2; exit 1;; esac
mkdir -p "$d"; cd "$d"; echo "migrate:dir:$(pwd -P)"; echo "migrate:home:$HOME"
a=agent-$2
if [ -x "$a" ] && [ "$(sha256sum < "$a" | cut -c1-64)" = "$2" ]; then echo migrate:there; else echo migrate:missing; fi"#;

/// `$1` directory, `$2` SHA-256. Takes the program from standard input; keeps it only when it is whole.
const UPLOAD: &str = r#"set -eu; umask 077; cd "$1"
a=agent-$2; t=$a.$$; trap 'rm -f "$t"' EXIT
cat > "$t"
if [ "$(sha256sum < "$t" | cut -c1-64)" != "$2" ]; then echo "the program arrived damaged" >&2; exit 1; fi
chmod 700 "$t"; mv -f "$t" "$a"; echo migrate:there"#;

/// `$1` directory, `$2` SHA-256, then jobs. Removes their traces, the agent, and the directory when nothing else is in it.
const REMOVE: &str = r#"set -eu; umask 077
d=$1; case $d in "~") d=$HOME;; "~/"*) d=$HOME/${d#"~/"};; esac
[ -d "$d" ] || exit 0
cd "$d"; d=$(pwd -P); a=agent-$2; shift 2
if [ -x "$a" ] && [ "$(sha256sum < "$a" | cut -c1-64)" = "${a#agent-}" ]; then "./$a" agent clean --work "$d" --home "$HOME" "$@"; fi
rm -f "$a" "$a".*
rmdir jobs roots 2>/dev/null || true
cd /; rmdir "$d" 2>/dev/null || true"#;

/// An agent that is ready on a host.
#[derive(Debug, Clone)]
pub struct Installed {
    /// Its absolute path there.
    pub agent: String,
    /// The work directory, absolute.
    pub work: String,
    /// The home directory of the user who logs in there.
    pub home: String,
}

type Slot = Arc<OnceCell<Installed>>;

/// The program and the hosts that have it.
pub struct Deployer {
    program: PathBuf,
    loaded: OnceCell<(Arc<Vec<u8>>, String)>,
    ready: Mutex<HashMap<(String, String), Slot>>,
}

impl Deployer {
    /// Deploys the program at `program`.
    pub fn new(program: PathBuf) -> Self {
        Self { program, loaded: OnceCell::new(), ready: Mutex::default() }
    }

    /// Makes sure that the agent is on a host.
    pub async fn install(&self, transport: &dyn Transport, host: &Host) -> Result<Installed, Error> {
        let key = (host.name.clone(), work_dir(host).to_owned());
        let slot = Arc::clone(self.ready.lock().await.entry(key).or_default());
        slot.get_or_try_init(|| self.deploy(transport, host)).await.cloned()
    }

    /// Forgets that a host has the agent: someone removed it.
    pub async fn forget(&self, host: &Host) {
        self.ready.lock().await.remove(&(host.name.clone(), work_dir(host).to_owned()));
    }

    /// Removes the traces of jobs and the agent itself from a host.
    pub async fn clean_up(&self, transport: &dyn Transport, host: &Host, jobs: &[String]) -> Result<(), Error> {
        let (_, hash) = self.load(host).await?;
        let mut args = vec![work_dir(host), hash];
        args.extend(jobs.iter().map(String::as_str));
        run(transport, host, REMOVE, &args, &[]).await?;
        self.forget(host).await;
        Ok(())
    }

    async fn deploy(&self, transport: &dyn Transport, host: &Host) -> Result<Installed, Error> {
        let (bytes, hash) = self.load(host).await?;
        let said = run(transport, host, LOOK, &[work_dir(host), hash], &[]).await?;
        let find = |what: &str| said.iter().find_map(|line| line.strip_prefix(what)).map(str::to_owned);
        let work =
            find("dir:").ok_or_else(|| failed(&host.name, "the host did not say where its work directory is"))?;
        let home = find("home:").unwrap_or_default();
        if !said.iter().any(|line| line == "there") {
            let said = run(transport, host, UPLOAD, &[&work, hash], bytes).await?;
            if !said.iter().any(|line| line == "there") {
                return Err(failed(&host.name, "the agent could not be put on the host"));
            }
        }
        Ok(Installed { agent: format!("{work}/agent-{hash}"), work, home })
    }

    async fn load(&self, host: &Host) -> Result<&(Arc<Vec<u8>>, String), Error> {
        let load = || async {
            let bytes = tokio::fs::read(&self.program).await.map_err(|e| {
                failed(
                    &host.name,
                    format!("cannot read this program ({}) to put it on the host: {e}", self.program.display()),
                )
            })?;
            let hash: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
            Ok((Arc::new(bytes), hash))
        };
        self.loaded.get_or_try_init(load).await
    }
}

impl Installed {
    /// Runs the agent to its end; what it says on failure is the error.
    pub async fn run(&self, transport: &dyn Transport, host: &Host, args: &[&str]) -> Result<(), Error> {
        let mut argv = vec![&*self.agent, "agent"];
        argv.extend_from_slice(args);
        let Channel { mut reader, writer, ended, .. } = transport.open(host, &argv).await?;
        drop(writer);
        let mut output = Vec::new();
        let _ = (&mut reader).take(OUTPUT).read_to_end(&mut output).await;
        let Ended { status, stderr } = ended.await?;
        if status == Some(0) { Ok(()) } else { Err(failed(&host.name, &stderr)) }
    }
}

fn work_dir(host: &Host) -> &str {
    host.ssh.work_dir.as_deref().unwrap_or(WORK_DIR)
}

/// Runs a script with arguments and input; its marked lines.
async fn run(
    transport: &dyn Transport,
    host: &Host,
    script: &str,
    args: &[&str],
    input: &[u8],
) -> Result<Vec<String>, Error> {
    let mut argv = vec!["/bin/sh", "-c", script, "sh"];
    argv.extend_from_slice(args);
    let mut channel = transport.open(host, &argv).await?;
    let send = async {
        // A script that ends early says why on standard error.
        let _ = channel.writer.write_all(input).await;
        let _ = channel.writer.shutdown().await;
        drop(channel.writer);
    };
    let mut output = Vec::new();
    let mut reader = channel.reader.take(OUTPUT);
    let receive = reader.read_to_end(&mut output);
    let (_, read, ended) = tokio::join!(send, receive, channel.ended);
    let Ended { status, stderr } = ended?;
    if let Err(e) = read {
        return Err(transient(failed(&host.name, format!("the connection broke: {e}"))));
    }
    if status != Some(0) {
        let hint = "set `work_dir` of the host to a directory that can be written and from which programs may run";
        return Err(failed(&host.name, format!("cannot prepare the host: {stderr}")).hint(hint));
    }
    let lines = String::from_utf8_lossy(&output).into_owned();
    Ok(lines.lines().filter_map(|line| line.strip_prefix(MARK)).map(str::to_owned).collect())
}
