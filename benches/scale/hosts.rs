//! Hosts that are really asked: so many sshd on loopback addresses, by `migrate` and by Ansible in turns.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::lab::sshd::{self, Sshd};
use super::lab::{process, python};

/// The Ansible that is compared with.
const ANSIBLE: &str = "ansible-core==2.18.1";
/// How often each is measured; medians are compared.
const ROUNDS: usize = 3;
/// Hosts that Ansible asks at once.
const FORKS: &str = "50";

/// Pairs with a large file each, and how large.
const LARGE: usize = 4;
const LARGE_BYTES: usize = 256 << 20;

/// The plan: pairs that move their files by cutover, all of them out of service at once.
const SERVICE: &str = r#"    state: { directory: "{{ data }}", verify: false }
    reverse: off
    hooks:
      - { at: freeze, idempotent: true, run: "true", undo: none }
"#;

/// A row: what is done, and by what words of either.
struct Row {
    what: &'static str,
    plan: &'static str,
    ansible: &'static [&'static str],
}

const ROWS: [Row; 2] = [
    Row { what: "reach and ask every host", plan: "plan.yaml", ansible: &["-m", "ping"] },
    Row {
        what: "run one more command on each",
        plan: "asked.yaml",
        ansible: &["-m", "command", "-a", "sysctl -n net.core.somaxconn"],
    },
];

/// Prints what it takes to ask so many hosts, and to move them.
pub fn hosts(count: usize) {
    let dir = tempfile::tempdir().unwrap();
    let hosts: Vec<Sshd> = (0..count).map(|n| host(dir.path(), n)).collect();
    let pairs = count / 2;
    inventory(dir.path(), &hosts);
    plan(dir.path(), pairs, "plan.yaml", "");
    plan(dir.path(), pairs, "asked.yaml", "    parity: { sysctls: [net.core.somaxconn] }\n");
    ansible_inventory(dir.path(), &hosts);
    let programs = python::programs(&[ANSIBLE]);
    println!("\n| {count} hosts | `migrate plan` | `ansible -f {FORKS}` | times faster |\n|---|---|---|---|");
    for row in ROWS {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(timed(migrate(dir.path()).args(["plan", row.plan])));
            theirs.push(timed(ansible(dir.path(), &programs).args(row.ansible)));
        }
        let (ours, theirs) = (median(ours), median(theirs));
        let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
        println!(
            "| {}: `ansible {}` | {:.2} s | {:.2} s | {ratio:.1} |",
            row.what,
            row.ansible.join(" "),
            ours.as_secs_f64(),
            theirs.as_secs_f64()
        );
    }
    println!("\n| `migrate apply` | time | its processor time | peak memory | open files |\n|---|---|---|---|---|");
    for pairs in [pairs / 5, pairs] {
        let name = format!("move-{pairs}.yaml");
        plan(dir.path(), pairs, &name, "");
        println!("| {pairs} pairs | {} |", apply(dir.path(), &name));
    }
    for host in hosts.iter().take(2 * LARGE) {
        fs::write(host.home().join("data/large"), vec![b'y'; LARGE_BYTES]).unwrap();
    }
    for way in ["direct", "relay"] {
        let name = format!("large-{way}.yaml");
        plan(dir.path(), LARGE, &name, "");
        let text = fs::read_to_string(dir.path().join(&name)).unwrap();
        // Another directory for each: nothing is there yet.
        let to = format!("directory: {{ from: \"{{{{ data }}}}\", to: \"{{{{ data }}}}-{way}\" }}, path: {way},");
        fs::write(dir.path().join(&name), text.replace("directory: \"{{ data }}\",", &to)).unwrap();
        println!("| {LARGE} pairs of {} MiB, `path: {way}` | {} |", LARGE_BYTES >> 20, apply(dir.path(), &name));
    }
}

fn host(dir: &Path, n: usize) -> Sshd {
    let ip = sshd::next_address();
    let name = name(n);
    let host = Sshd::start_at(&dir.join(&name), &name, (ip, process::free_port(ip)).into(), &[]);
    fs::create_dir(host.home().join("data")).unwrap();
    for file in 0..10 {
        fs::write(host.home().join(format!("data/{file}")), vec![b'x'; 4096]).unwrap();
    }
    host
}

fn name(n: usize) -> String {
    format!("h-{n:03}")
}

fn inventory(dir: &Path, hosts: &[Sshd]) {
    let mut text = "hosts:\n".to_owned();
    for (n, host) in hosts.iter().enumerate() {
        let (name, addr, user) = (name(n), host.addr(), sshd::user());
        let (key, known, home) = (host.client_key(), host.known_hosts(), host.home());
        let ssh = format!(
            "{{ user: {user}, port: {}, key: {}, known_hosts: {}, work_dir: {} }}",
            addr.port(),
            key.display(),
            known.display(),
            home.join("work").display()
        );
        let data = home.join(if n % 2 == 0 { "data" } else { "new" });
        let _ =
            writeln!(text, "  {name}: {{ address: {}, ssh: {ssh}, vars: {{ data: {} }} }}", addr.ip(), data.display());
    }
    fs::write(dir.join("inventory.yaml"), text).unwrap();
}

fn plan(dir: &Path, pairs: usize, file: &str, more: &str) {
    let side = |odd: usize| (0..pairs).map(|n| name(2 * n + odd)).collect::<Vec<_>>().join(", ");
    let moves = format!("    move: {{ from: [{}], to: [{}] }}\n", side(0), side(1));
    let waves = "waves: [{ name: all, services: files, max_unavailable: 100% }]\nlimits: { streams: 100 }\n";
    let migration = file.trim_end_matches(".yaml");
    let text = format!(
        "migration: {migration}\ninventory: inventory.yaml\nservices:\n  files:\n{moves}{SERVICE}{more}{waves}"
    );
    fs::write(dir.join(file), text).unwrap();
}

fn ansible_inventory(dir: &Path, hosts: &[Sshd]) {
    let mut text = String::new();
    for (n, host) in hosts.iter().enumerate() {
        let _ = writeln!(
            text,
            "{} ansible_host={} ansible_port={} ansible_user={} ansible_ssh_private_key_file={} \
             ansible_ssh_common_args='-F none -o IdentitiesOnly=yes -o UserKnownHostsFile={}' ansible_python_interpreter=/usr/bin/python3",
            name(n),
            host.addr().ip(),
            host.addr().port(),
            sshd::user(),
            host.client_key().display(),
            host.known_hosts().display()
        );
    }
    fs::write(dir.join("hosts.ini"), text).unwrap();
    fs::write(dir.join("ansible.cfg"), "[defaults]\n").unwrap();
}

fn migrate(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_migrate"));
    command.current_dir(dir).env("HOME", dir).arg("--state-dir").arg(dir.join("state"));
    command
}

/// One that has no connection of an earlier one.
fn ansible(dir: &Path, programs: &Path) -> Command {
    let control: PathBuf = tempfile::Builder::new().prefix("cp").tempdir().unwrap().keep();
    let mut command = Command::new(programs.join("ansible"));
    command.current_dir(dir).env("HOME", dir).env("ANSIBLE_CONFIG", dir.join("ansible.cfg"));
    command.env("ANSIBLE_SSH_CONTROL_PATH_DIR", control).env("LC_ALL", "C.UTF-8");
    command.args(["all", "-i", "hosts.ini", "-f", FORKS]);
    command
}

fn timed(command: &mut Command) -> Duration {
    let began = Instant::now();
    let out = command.stdout(Stdio::null()).stderr(Stdio::piped()).output().unwrap();
    let took = began.elapsed();
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    took
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

struct Applied {
    took: Duration,
    /// What its threads have had of the processors.
    worked: Duration,
    /// Most resident memory, in KiB.
    peak: u64,
    /// Most open files.
    files: usize,
}

impl std::fmt::Display for Applied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { took, worked, peak, files } = self;
        write!(f, "{:.1} s | {:.2} s | {} MiB | {files}", took.as_secs_f64(), worked.as_secs_f64(), peak / 1024)
    }
}

/// What a process has had of the processors, in hundredths of a second; `None` once it has ended.
fn worked(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

fn apply(dir: &Path, plan: &str) -> Applied {
    let began = Instant::now();
    let mut command = migrate(dir);
    command.args(["apply", plan, "--yes"]).stdout(Stdio::null()).stderr(Stdio::inherit());
    let mut applied = command.spawn().unwrap();
    let (mut peak, mut files, mut ticks) = (0, 0, 0);
    let status = loop {
        peak = peak.max(super::import::peak_of(applied.id()));
        files = files.max(fs::read_dir(format!("/proc/{}/fd", applied.id())).map_or(0, Iterator::count));
        ticks = worked(applied.id()).unwrap_or(0).max(ticks);
        match applied.try_wait().unwrap() {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    assert!(status.success(), "{plan}");
    Applied { took: began.elapsed(), worked: Duration::from_millis(ticks * 10), peak, files }
}
