//! Daemons of the lab: started in the foreground, with their output in a file, and stopped by pid when dropped.

use std::fs::File;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// What has not come about after this long never will: tests depend on no machine's pace, and a hang still ends.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The ports that `free_port` hands out.
const FIRST_PORT: u32 = 10_240;
const PORTS: u32 = 20_480;

/// Stops processes in their tracks, and waits until they stand still: on a busy machine their threads go on for a while.
pub fn freeze(pids: &[u32]) {
    let status = Command::new("kill").args(["-s", "STOP", "--"]).args(pids.iter().map(u32::to_string)).status();
    assert!(status.is_ok(), "kill runs");
    let start = Instant::now();
    while !pids.iter().all(|pid| stands_still(*pid)) {
        assert!(start.elapsed() < PATIENCE, "{pids:?} do not stand still after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether every thread is stopped, or has ended.
fn stands_still(pid: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks.filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok()).all(|stat| {
        let state = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        state.starts_with(['T', 't', 'Z', 'X'])
    })
}

/// A server process that ends with its handle.
pub struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts `program` with `args`; what it prints goes to `log`. The process dies with the thread that started it, too, where
    /// `setpriv` can arrange that.
    pub fn start(name: &str, program: &Path, args: &[&str], log: &Path) -> Self {
        Self::start_to_end_by("KILL", name, program, args, log)
    }

    /// The same for one that has children of its own: by this signal it ends them, too, when its thread dies.
    pub fn start_to_end_by(signal: &str, name: &str, program: &Path, args: &[&str], log: &Path) -> Self {
        let out = File::create(log).unwrap_or_else(|e| panic!("cannot create {}: {e}", log.display()));
        let err = out.try_clone().expect("a file handle can be cloned");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", signal, "--"]).arg(program).args(args);
        // Ctrl-C in a terminal is for whoever runs the lab, which then stops its servers itself.
        command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        let child = command.spawn().unwrap_or_else(|e| panic!("cannot start {name} ({}): {e}", program.display()));
        Self { name: name.to_owned(), child, log: log.to_owned() }
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed.
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until `ready` says so; panics with the daemon's output when it ends first or [`PATIENCE`] is over.
    pub fn wait_until(&mut self, what: &str, mut ready: impl FnMut() -> bool) {
        let start = Instant::now();
        while !ready() {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("{} ended with {status} before {what}:\n{}", self.name, self.output());
            }
            assert!(start.elapsed() < PATIENCE, "{}: no {what} in {PATIENCE:?}:\n{}", self.name, self.output());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until something accepts TCP connections on `addr`.
    pub fn wait_for_port(&mut self, addr: SocketAddr) {
        self.wait_until(&format!("port {addr}"), || {
            TcpStream::connect_timeout(&addr, Duration::from_millis(200)).is_ok()
        });
    }

    /// Sends a signal by name (`HUP`, `TERM`, `STOP`, …) to the process itself.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, "--", &self.pid().to_string()]).status();
        assert!(status.is_ok_and(|s| s.success()), "cannot send {name} to {}", self.name);
    }

    /// Stops it as if its machine hung: it is there and does not answer until it gets `CONT`.
    pub fn freeze(&self) {
        freeze(&[self.pid()]);
    }

    /// Asks it to end, as a service manager would, and ends it when it has not done so in twenty seconds.
    pub fn terminate(&mut self) {
        let _ = Command::new("kill").args(["-s", "TERM", "--", &self.pid().to_string()]).status();
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(20) && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.kill();
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port on `ip` for a server that binds it by itself. It lies below those that the kernel hands out, so that no connection and no
/// other listener can take it before the server does; and no two calls of a process get the same one.
pub fn free_port(ip: IpAddr) -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(97);
    (0..PORTS)
        .map(|_| first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % PORTS)
        .filter_map(|n| u16::try_from(FIRST_PORT + n).ok())
        .find(|port| TcpListener::bind((ip, *port)).is_ok())
        .expect("a loopback port can be bound")
}

/// Where a program is: on `PATH`, or in the directories that an ordinary user's `PATH` leaves out.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|p| p.is_file())
}
