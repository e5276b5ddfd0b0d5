//! pgbench through the pooler: eight clients with their connections held, two hundred transactions a second.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::lab::databases::pooler::Pooled;
use super::lab::packages::program;

/// MiB that a unit of scale has.
const MIB: usize = 15;

/// A load that goes on until it is stopped.
pub struct Pgbench {
    child: Child,
    log: PathBuf,
    said: PathBuf,
}

/// Its tables, with about so much in them.
pub fn fill(pooled: &Pooled, database: &str, mib: usize) {
    let scale = mib.div_ceil(MIB).to_string();
    let lab = &pooled.lab;
    let mut made = Command::new(program("pgbench", "postgresql"));
    made.args(["-i", "-q", "-I", "dtgp", "-s", &scale, "-U", "postgres", "-p", &lab.port(0).to_string(), "-h"]);
    let made = made.arg(lab.place(0)).arg(database).current_dir("/").output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let login = lab.login(0);
    let grant = "grant all on all tables in schema public to public";
    login.query("postgres", database, grant).unwrap();
    login.query("postgres", database, "vacuum analyze").unwrap();
}

impl Pgbench {
    pub fn start(pooled: &Pooled, role: &str) -> Self {
        let root = pooled.lab.root();
        let (log, said) = (root.join("transactions"), root.join("pgbench.said"));
        let out = fs::File::create(&said).unwrap();
        let mut command = Command::new(program("pgbench", "postgresql"));
        command.args(["-n", "-c", "8", "-j", "1", "-R", "200", "-T", "86400", "-U", role]);
        command.args(["-p", &pooled.port.to_string(), "-h"]).arg(pooled.lab.place(1));
        command.arg("-l").arg(format!("--log-prefix={}", log.display())).arg("app").current_dir("/");
        let err = out.try_clone().unwrap();
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().unwrap();
        Self { child, log, said }
    }

    /// Lets it come to its end, as if its time were over: how long whoever waited longest did so in each of these spans, how many
    /// transactions have been acknowledged, and how many of the clients had an error.
    pub fn stop(mut self, spans: &[(SystemTime, SystemTime)]) -> (Vec<Duration>, u64, usize) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", "ALRM", "--", &pid]).status().unwrap().success());
        let _ = self.child.wait();
        let said = fs::read_to_string(&self.said).unwrap();
        let number = |line: &str| line.rsplit_once(": ")?.1.split([' ', '/']).next()?.parse().ok();
        let of = |words: &str| said.lines().find(|line| line.starts_with(words)).and_then(number);
        let done = of("number of transactions actually processed").unwrap_or_else(|| panic!("{said}"));
        let errors = said.matches(" aborted").count() + usize::try_from(of("number of failed").unwrap_or(0)).unwrap();
        if errors > 0 {
            eprintln!("{said}");
        }
        let log = fs::read_to_string(self.log.with_extension(&pid)).unwrap();
        let waits: Vec<(Duration, Duration)> = log.lines().map(|line| wait(line).expect("a line of its log")).collect();
        let longest = |(from, to): &(SystemTime, SystemTime)| {
            let [from, to] = [from, to].map(|at| at.duration_since(UNIX_EPOCH).unwrap());
            // Whoever waited through the end of the span is part of it.
            let inside = waits.iter().filter(|(ended, took)| *ended >= from && *ended <= to + *took);
            inside.map(|(_, took)| *took).max().unwrap_or_default()
        };
        (spans.iter().map(longest).collect(), done, errors)
    }
}

/// When a transaction has ended, and how long it took since it was due.
fn wait(line: &str) -> Option<(Duration, Duration)> {
    let words: Vec<u64> = line.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
    let [_, _, took, _, seconds, micros, ..] = words[..] else { return None };
    Some((Duration::from_secs(seconds) + Duration::from_micros(micros), Duration::from_micros(took)))
}

impl Drop for Pgbench {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
