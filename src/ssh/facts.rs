//! What a host is and has: read in one go, changing nothing.
//!
//! Owns the script and the reading of its output. Must never take a missing or odd answer for a good one: what is not understood
//! is `None` or an error.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Remote;
use crate::host::{ClockSkew, Command, FIRST_PIDS, Facts, Output, PathFacts, TreeExtent, TreeSize};
use crate::model::Host;
use crate::outside::{Error, Kind};
use crate::text::escape;

/// Filesystems that hold what the kernel makes up, as [`crate::copy`] leaves them out.
const MADE_UP: [&str; 23] = [
    "proc",
    "sysfs",
    "devtmpfs",
    "devpts",
    "cgroup",
    "cgroup2",
    "securityfs",
    "debugfs",
    "tracefs",
    "pstore",
    "bpf",
    "configfs",
    "efivarfs",
    "mqueue",
    "hugetlbfs",
    "fusectl",
    "binfmt_misc",
    "selinuxfs",
    "smackfs",
    "rpc_pipefs",
    "nsfs",
    "nfsd",
    "resctrl",
];

/// Arguments: filesystems that the kernel makes up, and paths. Answers one `key value` a line; the lines of a path start with its number.
const SCRIPT: &str = r#"
LC_ALL=C; export LC_ALL
MADE_UP="$1"; shift
line='
'
# The first line of it. It starts no program: a hundred hosts that are asked at once feel each of them.
say() { printf '%s %s\n' "$1" "${2%%"$line"*}"; }
say os "$(grep '^PRETTY_NAME=' /etc/os-release 2>/dev/null)"
say kernel "$(uname -sr)"
say arch "$(uname -m)"
say uid "$(id -u)"
say user "$(id -un)"
say cpus "$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || grep -c '^processor' /proc/cpuinfo)"
say memory "$(grep '^MemTotal:' /proc/meminfo 2>/dev/null)"
say rights "$(grep '^CapEff:' /proc/self/status 2>/dev/null)"
say missing "$(for t in head cat wc chmod mv mkdir rm; do command -v $t >/dev/null || printf '%s ' $t; done)"
say processes "$(readlink /proc/self/ns/pid 2>/dev/null)"
within() { sed 's/\\040/ /g; s/\\134/\\/g' | while IFS= read -r at; do case $at/ in "$1"/*) echo "$at" ;; esac; done; }
n=0
for p in "$@"; do
  case $p in "~") p=$HOME ;; "~/"*) p=$HOME/${p#"~/"} ;; esac
  [ -e "$p" ] && say "$n.exists" yes
  [ -d "$p" ] && say "$n.directory" yes
  [ -r "$p" ] && say "$n.readable" yes
  [ -w "$p" ] && say "$n.writable" yes
  while [ ! -e "$p" ]; do
    case $p in /*/*) p=${p%/*} ;; *) p=/ ;; esac
  done
  [ -w "$p" ] && say "$n.nearest_writable" yes
  say "$n.nearest" "$p"
  space=$(df -Pk -- "$p" 2>/dev/null | tail -n 1)
  say "$n.space" "$space"
  say "$n.inodes" "$(df -Pi -- "$p" 2>/dev/null | tail -n 1)"
  say "$n.flags" "$(printf '%s\n' "$space" | sed 's/.*[0-9-]%* //' | { IFS= read -r m; awk -v "m=$m" '$5 == m {f = $6 "," $NF} END {print f}' /proc/self/mountinfo; } 2>/dev/null)"
  say "$n.filesystem" "$(stat -f -c %t -- "$p" 2>/dev/null)"
  real=$(cd -- "$p" 2>/dev/null && pwd -P)
  if [ -n "$real" ] && [ -r /proc/self/mountinfo ]; then
    say "$n.mounts" "$(cut -d ' ' -f 5 /proc/self/mountinfo | within "${real%/}" | grep -vxFc -- "$real")"
    say "$n.made_up" "$(sed -n 's/^[^ ]* [^ ]* [^ ]* [^ ]* \([^ ]*\) .* - \([^ ]*\) .*/\2 \1/p' /proc/self/mountinfo |
      grep -E "^($MADE_UP) " | cut -d ' ' -f 2 | within "${real%/}" | grep -vxF -- "$real" | head -n 5 | tr '\n' '\t')"
    say "$n.layers" "$(sed -n 's/.*,upperdir=\([^,]*\).*/\1/p' /proc/self/mountinfo | within "${real%/}" | grep -c .)"
  fi
  n=$((n + 1))
done
say end yes
"#;

/// Longest time that sizing a tree may take; beyond it the size stays unknown.
const SIZING: Duration = Duration::from_secs(60);

/// `$1` path; what follows goes to `find`. Uses what every host has. Answers the number of entries and the bytes that their files take: of
/// a sparse file what is allocated, of one that lies in its inode its length. Then how many files and directories the login cannot read, and
/// on a line each the owners and how much is theirs.
const SIZE: &str = r#"
root=$1; shift
nice find -H "$root" "$@" -printf '%y %s %b %U\n' \( -type f -o -type d \) ! -readable -printf 'closed\n' |
  awk '$1 == "closed" {c++; next} {n++; o[$4]++; if ($1 == "f") { a = $3 * 512; b += (a < $2 && (a > 0 || $2 > 4096)) ? a : $2 }} 
    END {printf "%d %.0f %d\n", n, b, c; for (u in o) if (l++ < 3000) print u, o[u]}'"#;

/// Looks at a host. `paths` are absolute or start with `~/`.
pub async fn facts(remote: &dyn Remote, host: &Host, paths: &[String]) -> Result<Facts, Error> {
    let args = [MADE_UP.join("|")].into_iter().chain(paths.iter().cloned()).collect();
    let command = Command { script: SCRIPT.to_owned(), args, ..Command::default() };
    let output = remote.run(host, &command).await?;
    let clock = clock_skew(remote, host).await?;
    parse(&output, paths, clock).map_err(|why| odd(host, &why))
}

/// The clock question is asked by itself, on a connection that stands: its round trip is the error.
async fn clock_skew(remote: &dyn Remote, host: &Host) -> Result<ClockSkew, Error> {
    let command = Command { script: "date +%s.%N".to_owned(), ..Command::default() };
    let before = SystemTime::now();
    let output = remote.run(host, &command).await?;
    let after = SystemTime::now();
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    skew(shown.trim(), before, after)
        .ok_or_else(|| odd(host, &format!("`date` said `{}`", escape(shown.as_bytes(), 80))))
}

fn skew(answer: &str, before: SystemTime, after: SystemTime) -> Option<ClockSkew> {
    let micros = |t: SystemTime| i64::try_from(t.duration_since(UNIX_EPOCH).ok()?.as_micros()).ok();
    let (before, after) = (micros(before)?, micros(after)?);
    let (seconds, fraction) = answer.split_once('.').unwrap_or((answer, ""));
    let seconds: i64 = seconds.parse().ok()?;
    // Not every `date` knows %N: then the answer is right to the second, from the middle of it.
    let nanos = if fraction.len() == 9 { fraction.parse::<i64>().ok() } else { None };
    let (part, coarse) = nanos.map_or((500_000, 500_000), |nanos| (nanos / 1000, 0));
    let remote = seconds.checked_mul(1_000_000)?.checked_add(part)?;
    let middle = before.checked_add(after)? / 2;
    let error = after.checked_sub(before)?.unsigned_abs() / 2 + coarse;
    Some(ClockSkew { millis: remote.checked_sub(middle)? / 1000, error_millis: error.div_ceil(1000) })
}

fn odd(host: &Host, why: &str) -> Error {
    let what = format!("its answer about itself cannot be read: {why}");
    Error::new(host.name.clone(), Kind::Refused, what)
}

fn parse(output: &Output, paths: &[String], clock: ClockSkew) -> Result<Facts, String> {
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once(' ')).collect();
    if lines.get("end") != Some(&"yes") {
        let said = escape(&output.stderr, 200);
        return Err(format!("it ends early (exit status {}, {said})", output.status));
    }
    let word = |key: &str| match lines.get(key).map(|value| value.trim()) {
        None | Some("") => Err(format!("it has no `{key}`")),
        Some(value) => Ok(escape(value.as_bytes(), 120)),
    };
    Ok(Facts {
        os: lines.get("os").and_then(|line| pretty_name(line)).unwrap_or_else(|| "unknown".to_owned()),
        kernel: word("kernel")?,
        arch: word("arch")?,
        uid: word("uid")?.parse().map_err(|_| "its user id is no number".to_owned())?,
        user: word("user").unwrap_or_default(),
        cpus: lines.get("cpus").and_then(|n| n.trim().parse().ok()),
        memory: lines.get("memory").and_then(|line| memory(line)),
        rights: lines.get("rights").and_then(|line| hex(line.strip_prefix("CapEff:")?)),
        sees_all: lines.get("processes").filter(|ns| ns.starts_with("pid:")).map(|ns| *ns == FIRST_PIDS),
        missing: lines
            .get("missing")
            .into_iter()
            .flat_map(|line| line.split_whitespace())
            .map(|t| escape(t.as_bytes(), 20))
            .collect(),
        clock,
        paths: paths.iter().enumerate().map(|(n, path)| path_facts(&lines, n, path)).collect(),
    })
}

/// `PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"`.
fn pretty_name(line: &str) -> Option<String> {
    let value = line.strip_prefix("PRETTY_NAME=")?.trim().trim_matches(['"', '\'']);
    (!value.is_empty()).then(|| escape(value.as_bytes(), 120))
}

/// `MemTotal:       16318476 kB`.
fn memory(line: &str) -> Option<u64> {
    let mut words = line.split_whitespace();
    let (label, number, unit) = (words.next()?, words.next()?, words.next()?);
    let kib: u64 = number.parse().ok().filter(|_| label == "MemTotal:" && unit == "kB")?;
    kib.checked_mul(1024)
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text.trim(), 16).ok()
}

fn path_facts(lines: &BTreeMap<&str, &str>, n: usize, path: &str) -> PathFacts {
    let get = |key: &str| lines.get(format!("{n}.{key}").as_str()).copied();
    let yes = |key: &str| get(key) == Some("yes");
    // Of the mount, then of what is mounted: either may be read-only.
    let flags = get("flags").filter(|flags| !flags.is_empty());
    let flag = |name: &str| flags.map(|flags| flags.split(',').any(|flag| flag == name));
    PathFacts {
        path: path.to_owned(),
        exists: yes("exists"),
        directory: yes("directory"),
        readable: yes("readable"),
        writable: yes("writable"),
        nearest: escape(get("nearest").unwrap_or_default().as_bytes(), 4096),
        nearest_writable: yes("nearest_writable"),
        free_bytes: get("space").and_then(df_row).and_then(|row| row.free.checked_mul(1024)),
        // File systems without a fixed number of inodes report none in all.
        free_inodes: get("inodes").and_then(df_row).filter(|row| row.total > 0).map(|row| row.free),
        filesystem: get("filesystem").and_then(hex),
        read_only: flag("ro"),
        runs_programs: flag("noexec").map(|is_set| !is_set),
        mounts: get("mounts").and_then(|n| n.trim().parse().ok()),
        made_up: get("made_up").map(listed).unwrap_or_default(),
        layers: get("layers").and_then(|n| n.trim().parse().ok()),
    }
}

fn listed(places: &str) -> Vec<String> {
    places.split('\t').filter(|place| !place.is_empty()).map(|place| escape(place.as_bytes(), 300)).collect()
}

struct DfRow {
    total: u64,
    free: u64,
}

/// A row of `df -P`: the device (which may hold spaces), total, used, free, percent, and where it is mounted (spaces, too).
fn df_row(line: &str) -> Option<DfRow> {
    let words: Vec<&str> = line.split_whitespace().collect();
    words.windows(4).find_map(|window| {
        let [total, used, free, percent] = window else { return None };
        let digits = percent.strip_suffix('%').unwrap_or(percent);
        let is_percent = *percent == "-" || percent.ends_with('%') && digits.parse::<u32>().is_ok();
        used.parse::<u64>().ok().filter(|_| is_percent)?;
        Some(DfRow { total: total.parse().ok()?, free: free.parse().ok()? })
    })
}

/// Sizes a tree.
pub async fn tree_size(remote: &dyn Remote, host: &Host, path: &str, extent: TreeExtent) -> Result<TreeSize, Error> {
    let mut args = vec![path.to_owned()];
    match extent {
        TreeExtent::OneFilesystem => args.push("-xdev".to_owned()),
        TreeExtent::Mounts => {
            let kinds = MADE_UP.iter().flat_map(|kind| ["-o", "-fstype", kind]).skip(1);
            args.extend(["("].into_iter().chain(kinds).chain([")", "-prune", "-o"]).map(str::to_owned));
        }
    }
    let command = Command { script: SIZE.to_owned(), args, timeout: Some(SIZING), ..Command::default() };
    let output = remote.run(host, &command).await?;
    let mut numbers =
        std::str::from_utf8(&output.stdout).unwrap_or_default().split_ascii_whitespace().map(str::parse::<u64>);
    match (numbers.next(), numbers.next(), numbers.next()) {
        // What is below a closed directory is not counted, and `find` complains about it.
        (Some(Ok(entries)), Some(Ok(bytes)), Some(Ok(closed)))
            if output.status == 0 && (output.stderr.is_empty() || closed > 0) =>
        {
            let mut owners = BTreeMap::new();
            while let (Some(Ok(owner)), Some(Ok(count))) = (numbers.next(), numbers.next()) {
                owners.insert(owner, count);
            }
            Ok(TreeSize { entries, bytes, closed, owners })
        }
        _ => {
            let what = format!("cannot be sized: {}", escape(&output.stderr, 200));
            Err(Error::new(host.name.clone(), Kind::Refused, what))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const CLOCK: ClockSkew = ClockSkew { millis: 0, error_millis: 1 };

    fn output(stdout: &str) -> Output {
        Output { status: 0, stdout: stdout.into(), stderr: Vec::new(), truncated: false }
    }

    #[test]
    fn a_debian_host_is_read() {
        let text = "os PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nkernel Linux 6.1.0\narch x86_64\nuid 0\nuser root\ncpus 2\n\
                    memory MemTotal:       16318476 kB\nrights CapEff:\t000001ffffffffff\nprocesses pid:[4026531836]\n0.exists yes\n0.directory yes\n0.readable yes\n0.writable yes\n\
                    0.nearest_writable yes\n0.nearest /srv/data\n\
                    0.space /dev/mapper/vg my data 1000 400 600 40% /srv/my data\n\
                    0.inodes /dev/sda1 500 100 400 20% /srv\n0.flags rw,nosuid,noexec,relatime\n0.filesystem ef53\n0.mounts 0\n0.layers 2\nend yes\n";
        let facts = parse(&output(text), &["/srv/data".to_owned()], CLOCK).unwrap();
        assert_eq!(facts.os, "Debian GNU/Linux 12 (bookworm)");
        assert_eq!((facts.cpus, facts.memory), (Some(2), Some(16_318_476 * 1024)));
        let path = &facts.paths[0];
        assert!(path.exists && path.directory && path.readable && path.writable);
        assert_eq!((path.free_bytes, path.free_inodes), (Some(600 * 1024), Some(400)));
        assert_eq!((facts.rights, facts.sees_all), (Some(0x1ff_ffff_ffff), Some(true)));
        assert_eq!((path.filesystem, path.mounts, path.layers), (Some(0xef53), Some(0), Some(2)));
        assert_eq!((path.runs_programs, facts.missing.len()), (Some(false), 0));
    }

    #[test]
    fn a_busybox_host_without_os_release_is_read() {
        let text = "os \nkernel Linux 5.10.0\narch armv7l\nuid 1000\nuser ops\ncpus \nmemory \nrights \nmissing head \nprocesses \n0.nearest /\n\
                    0.space tmpfs                   62656         0     62656   0% /\n0.inodes \nend yes\n";
        let facts = parse(&output(text), &["/srv/x".to_owned()], CLOCK).unwrap();
        assert_eq!((facts.os.as_str(), facts.cpus, facts.memory), ("unknown", None, None));
        let path = &facts.paths[0];
        assert!(!path.exists && !path.writable && path.nearest == "/");
        assert_eq!((path.free_bytes, path.free_inodes), (Some(62656 * 1024), None));
        assert_eq!((path.runs_programs, &*facts.missing), (None, &["head".to_owned()][..]));
        assert_eq!((facts.rights, facts.sees_all, path.filesystem, path.mounts), (None, None, None, None));
    }

    #[test]
    fn uncounted_inodes_are_not_zero_inodes() {
        assert_eq!(df_row("/dev/sdb 0 0 0 - /mnt/btrfs").filter(|row| row.total > 0).map(|row| row.free), None);
        assert!(df_row("Filesystem 1024-blocks Used Available Capacity Mounted on").is_none());
        assert!(df_row("").is_none());
    }

    #[test]
    fn an_answer_that_ends_early_is_an_error() {
        let mut cut = output("os x\nkernel Linux 1\n");
        cut.status = 2;
        cut.stderr = b"uname: not found\n".to_vec();
        assert_eq!(parse(&cut, &[], CLOCK).unwrap_err(), "it ends early (exit status 2, uname: not found)");
        assert_eq!(parse(&output("end yes\n"), &[], CLOCK).unwrap_err(), "it has no `kernel`");
    }

    #[test]
    fn clock_skew_knows_its_error() {
        let before = UNIX_EPOCH + Duration::from_millis(1_700_000_000_000);
        let after = before + Duration::from_millis(20);
        let exact = skew("1700000003.010000000", before, after).unwrap();
        assert_eq!(exact, ClockSkew { millis: 3000, error_millis: 10 });
        let coarse = skew("1700000003.%N", before, after).unwrap();
        assert_eq!(coarse, ClockSkew { millis: 3490, error_millis: 510 });
        assert_eq!(skew("Tue Nov 14", before, after), None);
        assert_eq!(skew("99999999999999999", before, after), None);
    }
}
