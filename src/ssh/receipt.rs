//! Commands that run at most once per key, whatever happens to the connection or to this side.
//!
//! Owns the receipts on hosts: `WORK_DIR/receipts/RUN/HOST/STEP/`, since several hosts may have one home directory. Must never let a key run twice, never let a run begin whose fence is
//! older than one the host has seen, and never keep a script or its environment there.
//!
//! One hard link decides: whoever makes `go` first, the runner (with its process id) or a seal, has decided for ever. The runner
//! is detached from the connection; it looks at the fences only after it has won, so that a newer controller, which leaves its
//! fence before it looks at any key, sees every start that it did not prevent. `go` is on disk before the script starts.
//! A start never makes the run's directory: one that comes after the clean-up finds none, and nothing begins.

use std::time::Duration;

use super::Remote;
use super::exec::payload;
use crate::host::{Command, Output, ReceiptKey, ReceiptStatus};
use crate::model::Host;
use crate::outside::{Error, Kind};
use crate::text::escape;

/// How long one question waits for an answer on the host.
const POLL: Duration = Duration::from_secs(20);
/// Time that a question takes beside its waiting.
const MARGIN: Duration = Duration::from_secs(20);
/// What is kept of each output.
const KEPT: usize = 64_000;

/// Starts a command under a key, unless its start is decided, and waits up to `wait` for its end.
pub async fn start(
    remote: &dyn Remote,
    host: &Host,
    key: &ReceiptKey,
    fence: u64,
    command: &Command,
    wait: Duration,
) -> Result<ReceiptStatus, Error> {
    let script = payload(command).map_err(|what| Error::new(host.name.clone(), Kind::Config, what))?;
    let (seconds, length) = (command.limit().as_secs().max(1).to_string(), script.len().to_string());
    let args = [RUNNER, script.as_str(), length.as_str(), seconds.as_str()];
    Question { host, key, fence }.ask(remote, START, wait.min(POLL), &args).await
}

/// Asks for the result, and waits up to `wait` for a command that runs.
pub async fn fetch(
    remote: &dyn Remote,
    host: &Host,
    key: &ReceiptKey,
    fence: u64,
    wait: Duration,
) -> Result<ReceiptStatus, Error> {
    Question { host, key, fence }.ask(remote, "", wait.min(POLL), &[]).await
}

/// Sees to it that a command which has not started never does; tells what is known about it.
pub async fn seal(remote: &dyn Remote, host: &Host, key: &ReceiptKey, fence: u64) -> Result<ReceiptStatus, Error> {
    Question { host, key, fence }.ask(remote, SEAL, Duration::ZERO, &[]).await
}

/// Removes all receipts of a run; refused while one of its commands runs.
pub async fn forget(remote: &dyn Remote, host: &Host, run: &str) -> Result<(), Error> {
    let key = ReceiptKey::new(run, "x").map_err(|what| Error::new(host.name.clone(), Kind::Config, what))?;
    let args = vec![host.work_dir().to_owned(), of_run(host, &key)];
    let output = remote.run(host, &Command { script: format!("{COMMON}{REMOVE}"), args, ..Command::default() }).await?;
    match output.status {
        0 => Ok(()),
        _ => Err(failed(host, &format!("its receipts were not removed: {}", escape(&output.stderr, 300)))),
    }
}

/// Where the receipts of a run are on a host, below those of all runs.
fn of_run(host: &Host, key: &ReceiptKey) -> String {
    format!("{}/{}", key.run(), host.file_name())
}

fn failed(host: &Host, what: &str) -> Error {
    Error::new(host.name.clone(), Kind::Refused, what)
}

/// A question about one key.
struct Question<'a> {
    host: &'a Host,
    key: &'a ReceiptKey,
    fence: u64,
}

impl Question<'_> {
    async fn ask(&self, remote: &dyn Remote, act: &str, wait: Duration, more: &[&str]) -> Result<ReceiptStatus, Error> {
        // Shells count with signed 64-bit numbers.
        if i64::try_from(self.fence).is_err() {
            return Err(Error::new(
                self.host.name.clone(),
                Kind::Config,
                format!("the fence {} is too large", self.fence),
            ));
        }
        let ticks = wait.as_millis() / 100;
        let of_run = of_run(self.host, self.key);
        let mut args = vec![self.host.work_dir().to_owned(), of_run, self.key.name().to_owned()];
        args.extend([self.fence.to_string(), ticks.to_string()]);
        args.extend(more.iter().map(|arg| (*arg).to_owned()));
        let enter = if act == START { ENTER_TO_START } else { ENTER };
        let script = format!("{COMMON}{enter}{LEAVE_FENCE}{act}{ANSWER}");
        let command = Command { script, args, timeout: Some(wait + MARGIN), ..Command::default() };
        let output = remote.run(self.host, &command).await?;
        read(output).map_err(|why| failed(self.host, &why))
    }
}

/// The first line says what is known; a result's outputs follow on both outputs.
fn read(output: Output) -> Result<ReceiptStatus, String> {
    let (line, stdout) = match output.stdout.iter().position(|b| *b == b'\n') {
        Some(end) if output.status == 0 => output.stdout.split_at(end),
        _ => return Err(format!("its receipts cannot be used: {}", escape(&output.stderr, 300))),
    };
    let line = String::from_utf8_lossy(line);
    let number = |text: &str| text.parse().map_err(|_| format!("its receipt holds `{}`", escape(text.as_bytes(), 80)));
    match line.split_once(' ').unwrap_or((&line, "")) {
        ("finished", status) => {
            let stdout = stdout.get(1..).unwrap_or_default().to_vec();
            let full = |bytes: &[u8]| bytes.len() >= KEPT;
            let truncated = full(&stdout) || full(&output.stderr);
            let status =
                status.parse().map_err(|_| format!("its receipt holds status `{}`", escape(status.as_bytes(), 80)))?;
            Ok(ReceiptStatus::Finished(Output { status, stdout, stderr: output.stderr, truncated }))
        }
        ("running", _) => Ok(ReceiptStatus::Running),
        ("free", _) => Ok(ReceiptStatus::NotClaimed),
        ("sealed", _) => Ok(ReceiptStatus::NeverStarted),
        ("unknown", _) => Ok(ReceiptStatus::Unknown),
        ("fenced", newest) => Ok(ReceiptStatus::Fenced { newest: number(newest)? }),
        (odd, _) => Err(format!("its receipt holds `{}`", escape(odd.as_bytes(), 80))),
    }
}

/// What the scripts share: where receipts are, whether a runner lives, what is known about a key.
const COMMON: &str = r#"
case $1 in "~/"*) W=$HOME/${1#"~/"} ;; *) W=$1 ;; esac
R=$W/receipts/$2
BOOT=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)
# Whether a process is there that was started then.
lives() {
  [ "$3" = "$BOOT" ] && { read -r line <"/proc/$1/stat"; } 2>/dev/null || return 1
  since=$2
  set -- ${line##*) }
  [ "$1" != Z ] && [ "${20}" = "$since" ]
}
# A result that the host lost in a crash is empty.
is_finished() { [ -s "$K/rc" ] && read -r rc <"$K/rc" && k="finished $rc"; }
# Sets `k`.
known() {
  ! is_finished || return 0
  [ -e "$K/go" ] || { k=free; return; }
  read -r what pid start boot <"$K/go"
  if [ "$what" = sealed ] || [ -e "$K/fenced" ]; then k=sealed
  elif lives "$pid" "$start" "$boot"; then k=running
  elif is_finished; then :
  elif [ -e "$K/fenced" ]; then k=sealed
  else k=unknown
  fi
}
# Sets `m`.
newest() {
  m=0
  for f in "$R"/fence.*; do
    # The receipt of a step may have such a name, too.
    [ -f "$f" ] || continue
    n=${f##*.}
    [ "$n" -gt "$m" ] && m=$n
  done
}
"#;

/// `$3` step, `$4` fence, `$5` tenths of a second to wait.
const ENTER: &str = r#"
K=$R/$3 F=$4 TICKS=$5
U=$(umask)
umask 077
[ -d "$K" ] || mkdir -p -- "$K" || exit 1
"#;

/// The same, where the run's directory must be there.
const ENTER_TO_START: &str = r#"
K=$R/$3 F=$4 TICKS=$5
U=$(umask)
umask 077
[ -d "$K" ] || mkdir -- "$K" || { echo "the receipts of this run were taken away: nothing was started" >&2; exit 1; }
"#;

/// The fence is left before anything is looked at.
const LEAVE_FENCE: &str = r#"
: >"$R/fence.$F" || exit 1
newest
if [ "$m" -gt "$F" ]; then echo "fenced $m"; exit 0; fi
"#;

const SEAL: &str = r#"
t=$K/seal.$$
echo sealed >"$t" && ln -- "$t" "$K/go" 2>/dev/null && { sync "$K/go" "$K" 2>/dev/null || sync; }
rm -f -- "$t"
[ -e "$K/go" ] || { echo "cannot make a hard link in $K" >&2; exit 1; }
"#;

/// `$6` the runner, `$7` the script, `$8` its length, `$9` seconds it may take. The script goes through a pipe: it is in no file,
/// no argument and no environment of the host.
const START: &str = r#"
if [ ! -e "$K/go" ]; then
  detach=; command -v setsid >/dev/null 2>&1 && detach=setsid
  { trap '' HUP; printf %s "$7" | $detach /bin/sh -c "$6" migrate-step "$K" "$R" "$F" "$8" "$9" "$U" "$BOOT"; } </dev/null >/dev/null 2>&1 &
fi
"#;

/// Waits for a result, and tells it. Most commands take less than half a second: that long it looks often.
const ANSWER: &str = r#"
QUICK=50
nap() {
  if [ "$QUICK" -gt 0 ] && sleep 0.01 2>/dev/null; then QUICK=$((QUICK - 1))
  else
    TICKS=$((TICKS - 1))
    sleep 0.1 2>/dev/null || sleep 1
  fi
}
known
while [ "$TICKS" -gt 0 ]; do
  case $k in running | free) nap ;; *) break ;; esac
  known
done
case $k in
finished*)
  TICKS=20 QUICK=50
  while [ ! -e "$K/done" ] && [ "$TICKS" -gt 0 ]; do nap; done
  echo "$k"
  [ ! -s "$K/out" ] || cat -- "$K/out"
  if [ -s "$K/err" ] || [ -s "$K/err2" ]; then cat -- "$K/err" "$K/err2" 2>/dev/null | tail -c 64000 >&2; fi
  ;;
*) echo "$k" ;;
esac
exit 0
"#;

/// Detached. `$1` receipt, `$2` run, `$3` fence, `$4` length of the script on standard input, `$5` seconds, `$6` umask, `$7` the boot.
///
/// What arrived cut is no longer than what was sent, whatever a shell takes for a character. The result is there before it is on disk: a host
/// that loses it says that it does not know.
const RUNNER: &str = r#"
K=$1 R=$2 F=$3 N=$4 U=$6 BOOT=$7
umask 077
s=$(cat; echo x)
s=${s%x}
[ "${#s}" -eq "$N" ] || [ "$(printf %s "$s" | wc -c)" -eq "$N" ] || exit 1
read -r line </proc/$$/stat
set -- "$5" ${line##*) }
t=$K/try.$$
echo "run $$ ${21} $BOOT" >"$t" || exit 1
ln -- "$t" "$K/go" 2>/dev/null || { rm -f -- "$t"; exit 0; }
for f in "$R"/fence.*; do
  [ -f "$f" ] && [ "${f##*.}" -gt "$F" ] && { : >"$K/fenced"; rm -f -- "$t"; exit 0; }
done
timeout -k 1 1 true 2>/dev/null &
sync "$K/go" "$K" "$R" 2>/dev/null || sync
guard=
wait $! && guard="timeout -k 5 $1"
# Byte by byte, so that what was printed is in the file even if a daemon holds the pipe open.
keep() { dd bs=1 count=64000 2>/dev/null; }
L='s=$(cat; echo x); s=${s%x}; [ "${#s}" -eq "$1" ] || [ "$(printf %s "$s" | wc -c)" -eq "$1" ] || exit 255; umask "$2"; set -- "$s"; unset s; eval "$1"'
{
  {
    {
      printf %s "$s" | $guard /bin/sh -c "$L" sh "$N" "$U" 3>&-
      echo $? >"$K/rc"
      { sync "$K/rc"; rm -f -- "$t"; } >/dev/null 2>&1 3>&- &
    } 2>&3 | { keep >"$K/out"; cat >/dev/null; }
  } 3>&1 >/dev/null | { keep >"$K/err"; tail -c 64000 >"$K/err2"; }
}
: >"$K/done"
"#;

const REMOVE: &str = r#"
for K in "$R"/*/; do
  K=${K%/}
  [ -d "$K" ] || continue
  known
  [ "$k" != running ] || { echo "${K##*/} still runs" >&2; exit 1; }
done
rm -rf -- "$R" || exit 1
rmdir -- "${R%/*}" "$W/receipts" "$W" 2>/dev/null
exit 0
"#;
