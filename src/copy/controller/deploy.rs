//! Puts agents on hosts: named by their SHA-256, checked there, tried, removed at the end.
//!
//! Must never start a file on a host whose hash it did not compare, never leave a half file under the agent's name, never need an agent
//! that runs to get rid of it, and never touch what belongs to another host: several may have one home directory.

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

/// `$1` directory, `$2` what this host's files end with, then for each agent: machine, SHA-256, length. Says what the host is, takes the program for it from standard input
/// unless it is there, and tries whether it starts; one that does not is of no use there. A host without a program for checksums gives it back to be compared here.
const INSTALL: &str = r#"set -eu; umask 077
say() { printf '\nmigrate:%s\n' "$1"; }
sum() { s=$({ sha256sum || shasum -a 256 || openssl dgst -sha256 -r; } <"$1" 2>/dev/null) || s=; s=${s%% *}; }
d=$1 i=$2; shift 2; case $d in "~") d=$HOME;; "~/"*) d=$HOME/${d#"~/"};; esac
case $d in /*) ;; *) echo "the work directory $d is not absolute" >&2; exit 1;; esac
u=$(uname -s -r -m); m=${u##* }; case $m in amd64) m=x86_64;; arm64) m=aarch64;; esac
say "system:${u% *}"; say "machine:$m"
while [ $# -ge 3 ] && [ "$1" != "$m" ]; do shift 3; done
[ $# -ge 3 ] || exit 0
# Another host that cleans up may take the directory away until something is in it.
enter() { c=0; until { [ -d "$d" ] || mkdir -p "$d" 2>/dev/null; } && cd "$d" 2>/dev/null && $1; do
c=$((c + 1)); [ "$c" -lt 50 ] || { mkdir -p "$d"; cd "$d"; return; }; done; }
begin() { { true >"$t"; } 2>/dev/null; }
size() { [ "$(wc -c <"$t")" -eq "$n" ] || { echo "the program arrived cut" >&2; exit 1; }; }
enter true
h=$2 n=$3 a=agent-$2@$i t=agent-$2@$i@$$
[ ! -f "$a" ] || sum "$a"
if [ ! -x "$a" ] || [ "${s:-}" != "$h" ]; then
trap 'rm -f "$t"' EXIT; trap 'exit 1' HUP INT PIPE TERM
enter begin; say missing; head -c "$n" >"$t"
sum "$t"; [ -n "$s" ] || { size; say back; cat "$t"; read -r s; }
[ "$s" = "$h" ] || { size; echo "the program arrived damaged" >&2; exit 1; }
chmod 700 "$t"; mv -f "$t" "$a"
fi
say "dir:$(pwd -P)"; say "home:$HOME"
e=0; o=$("./$a" agent hello --work "$d" 2>&1 </dev/null) || e=$?
[ "$e" = 0 ] || { rm -f "$a"; cd /; rmdir "$d" 2>/dev/null || true; }
say "started:$e"; printf '%s\n' "$o" >&2"#;

/// Says who logs in.
const LOGIN: &str = r#"echo "migrate:home:$HOME"; echo "migrate:ids:$(id -u):$(id -g)""#;

/// `forget HOME JOB...` takes keys back as the agent does: under the lock that it takes, where there is one to take, and never with a half file.
macro_rules! forget {
    () => {
        r#"forget() { k=$(readlink -f "$1/.ssh/authorized_keys") && [ -f "$k" ] || return 0; shift
( flock 9 2>/dev/null; n=$k.migrate-next
for j; do if grep -q " migrate-copy:$j\$" "$k"; then
cp -p "$k" "$n" && sed "/ migrate-copy:$j\$/d" "$k" >"$n" && mv -f "$n" "$k" || exit 1
fi; done ) 9<"${k%/*}"; }
"#
    };
}

/// `$1` directory, `$2` what this host's files end with, `$3` SHA-256 of agents, separated by blanks, then jobs. Removes their traces, the agents, and the directory when nothing
/// else is in it. For an agent that is gone or cannot run any more the script takes back the keys itself, because they may have come before
/// whatever has stopped it. It goes only after the traces, and the script needs nobody who listens: a controller that dies meanwhile finds the agent or no traces.
const REMOVE: &str = concat!(
    "set -u; umask 077\n",
    forget!(),
    r#"sum() { s=$({ sha256sum || shasum -a 256 || openssl dgst -sha256 -r; } <"$1" 2>/dev/null) || s=; s=${s%% *}; }
d=$1; case $d in "~") d=$HOME;; "~/"*) d=$HOME/${d#"~/"};; esac
e=0 r='' i=$2 hs=$3; shift 3
clean() { k=$HOME; while :; do case ${1:-} in --home) k=$2; shift 2;; --as) shift 2;; *) break;; esac; done
for j; do rm -rf "$d/jobs/$j"; done
forget "$k" "$@"; }
[ -d "$d" ] || { clean "$@"; exit; }
cd "$d" || exit 1; d=$(pwd -P)
for h in $hs; do
a=agent-$h@$i
if [ -x "$a" ]; then
r=1; sum "$a"
if [ "${s:-$h}" = "$h" ] && "./$a" agent hello --work "$d" >/dev/null 2>&1 </dev/null; then
"./$a" agent clean --work "$d" --home "$HOME" "$@" >/dev/null
else clean "$@"; fi || { c=$?; [ ! -e "$a" ] && [ "$c" -ge 126 ] || { e=$c; continue; }; }
fi
rm -f "$a" "$a"@* || e=1
done
[ -n "$r" ] || clean "$@" || e=1
rmdir jobs roots 2>/dev/null
cd /; rmdir "$d" 2>/dev/null
exit $e"#
);

/// `$1` home, `$2` job. Takes a key back where the agent cannot run any more.
const FORBID: &str = concat!(forget!(), r#"forget "$@""#);

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
        let own = host.file_name();
        let mut args = vec![host.work_dir(), &own, &hashes];
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
        let mut args = vec![host.work_dir().to_owned(), host.file_name()];
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
            agent: format!("{work}/agent-{}@{}", program.hash, host.file_name()),
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

    /// Takes the key of a job back: by the agent, or by the host's own tools where that does not run any more.
    pub async fn take_key(&self, transport: &dyn Transport, host: &Host, job: &str) -> Result<(), Error> {
        let Err(error) = self.change_keys(transport, host, "forbid", &["--job", job]).await else { return Ok(()) };
        let home = self.keys.get(1).map_or("", String::as_str);
        let Channel { reader, writer, ended, .. } = start(transport, host, FORBID, &[home, job]).await?;
        drop((reader, writer));
        if ended.await?.status == Some(0) { Ok(()) } else { Err(error) }
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::process::{Command, Stdio};
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use sha2::{Digest, Sha256};

    use super::*;

    /// Runs [`REMOVE`] in a directory with the traces of a job and an agent that does `clean`; nobody listens to it. Its exit status.
    fn remove(dir: &Path, clean: &str) -> Option<i32> {
        remove_agent(dir, &format!("#!/bin/sh\n[ \"$2\" = clean ] || exit 0\n{clean}\n"))
    }

    fn remove_agent(dir: &Path, agent: &str) -> Option<i32> {
        let hash = text::hex(&Sha256::digest(agent.as_bytes()));
        let path = dir.join(format!("agent-{hash}@fra-1"));
        std::fs::create_dir_all(dir.join("jobs/a")).unwrap();
        std::fs::write(&path, agent).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        run_remove(dir, &hash)
    }

    fn run_remove(dir: &Path, hash: &str) -> Option<i32> {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut script = Command::new("/bin/sh");
        script.args(["-c", REMOVE, "sh"]).arg(dir).args(["fra-1", hash, "a"]).env("HOME", dir.parent().unwrap());
        script.stdin(Stdio::null()).stdout(writer).stderr(Stdio::null()).status().unwrap().code()
    }

    #[test]
    fn traces_go_though_the_controller_has_died() {
        let dir = tempfile::tempdir().unwrap();
        let work = dir.path().join("work");
        assert_eq!(remove(&work, "echo preamble || exit 1\nrmdir \"$4/jobs/a\""), Some(0));
        assert!(!work.exists());
    }

    #[test]
    fn what_an_agent_has_left_that_cannot_run_any_more_goes_as_well() {
        let home = tempfile::tempdir().unwrap();
        let keys = home.path().join(".ssh/authorized_keys");
        std::fs::create_dir(home.path().join(".ssh")).unwrap();
        std::fs::write(&keys, "ssh-rsa A me\nssh-rsa B migrate-copy:a\nssh-rsa C migrate-copy:a-2\n").unwrap();
        std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(remove_agent(&home.path().join("work"), "#!/no/such/loader\n"), Some(0));
        assert_eq!(std::fs::read_to_string(&keys).unwrap(), "ssh-rsa A me\nssh-rsa C migrate-copy:a-2\n");
        assert_eq!(std::fs::metadata(&keys).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(!home.path().join("work").exists());
        assert_eq!(std::fs::read_dir(home.path().join(".ssh")).unwrap().count(), 1);
    }

    #[test]
    fn a_key_is_taken_back_without_an_agent_and_others_stay() {
        let home = tempfile::tempdir().unwrap();
        let forbid = || {
            let mut script = Command::new("/bin/sh");
            script.args(["-c", FORBID, "sh"]).arg(home.path()).arg("a").status().unwrap().code()
        };
        assert_eq!(forbid(), Some(0), "no keys, none of ours");
        let keys = home.path().join(".ssh/authorized_keys");
        std::fs::create_dir(home.path().join(".ssh")).unwrap();
        std::fs::write(&keys, "ssh-rsa A me\nssh-rsa B migrate-copy:a\nssh-rsa C migrate-copy:a-2\n").unwrap();
        for _ in 0..2 {
            assert_eq!(forbid(), Some(0));
            assert_eq!(std::fs::read_to_string(&keys).unwrap(), "ssh-rsa A me\nssh-rsa C migrate-copy:a-2\n");
        }
    }

    /// Whoever installs removes an agent that does not start, and a key may have come before that.
    #[test]
    fn what_an_agent_has_left_that_is_gone_goes_as_well() {
        for is_there in [true, false] {
            let home = tempfile::tempdir().unwrap();
            let (work, keys) = (home.path().join("work"), home.path().join(".ssh/authorized_keys"));
            std::fs::create_dir(home.path().join(".ssh")).unwrap();
            std::fs::write(&keys, "ssh-rsa A me\nssh-rsa B migrate-copy:a\n").unwrap();
            std::fs::create_dir_all(home.path().join("jobs/a")).unwrap();
            if is_there {
                std::fs::create_dir_all(work.join("jobs/a")).unwrap();
            }
            assert_eq!(run_remove(&work, "0000"), Some(0));
            assert_eq!(std::fs::read_to_string(&keys).unwrap(), "ssh-rsa A me\n");
            assert!(!work.exists() && home.path().join("jobs/a").exists());
        }
    }

    /// Tells a thread that the test is over, however it ends.
    struct Ends<'a>(&'a std::sync::atomic::AtomicBool);

    impl Drop for Ends<'_> {
        fn drop(&mut self) {
            self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }

    #[test]
    fn a_directory_that_other_hosts_take_away_again_and_again_is_found_in_the_end() {
        let home = tempfile::tempdir().unwrap();
        let work = home.path().join("work");
        let (agent, uname) = ("#!/bin/sh\n", Command::new("uname").arg("-m").output().unwrap().stdout);
        let hash = text::hex(&Sha256::digest(agent.as_bytes()));
        let over = AtomicBool::new(false);
        // Fewer than the script has tries, so that no pace of the machine makes it give up.
        let left = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let _over = Ends(&over);
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    if left.load(Ordering::SeqCst) > 0 && std::fs::remove_dir(&work).is_ok() {
                        left.fetch_sub(1, Ordering::SeqCst);
                    }
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
            });
            for _ in 0..40 {
                left.store(40, Ordering::SeqCst);
                let mut script = Command::new("/bin/sh");
                script.args(["-c", INSTALL, "sh"]).arg(&work).arg("fra-1").arg(String::from_utf8_lossy(&uname).trim());
                script.arg(&hash).arg(agent.len().to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
                let mut script = script.spawn().unwrap();
                std::io::Write::write_all(&mut script.stdin.take().unwrap(), agent.as_bytes()).unwrap();
                let said = String::from_utf8(script.wait_with_output().unwrap().stdout).unwrap();
                assert!(said.contains(&format!("migrate:dir:{}\n", work.display())), "{said}");
                assert!(said.contains("migrate:started:0"), "{said}");
                std::fs::remove_file(work.join(format!("agent-{hash}@fra-1"))).unwrap();
            }
        });
    }

    #[test]
    fn an_agent_that_could_not_remove_the_traces_stays_for_another_try() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(remove(dir.path(), "exit 3"), Some(3));
        let mut left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert!(left.iter().any(|name| name == "jobs") && left.len() == 2, "{left:?}");
    }
}
