//! A real NGINX with an upstream in a file of its own, and the marker that tells which generation is served.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use super::packages::program;
use super::process::{Daemon, free_port};
use super::sshd::next_address;

/// A running NGINX. Everything it has lies in one private directory.
pub struct Nginx {
    daemon: Daemon,
    /// Where clients connect to.
    pub front: SocketAddr,
    dir: tempfile::TempDir,
}

impl Nginx {
    /// Starts it in front of an upstream `web`, which `servers` lists: a line each, as in NGINX's own file.
    pub fn start(servers: &[String]) -> Self {
        let nginx = program("nginx", "nginx-light");
        let dir = tempfile::Builder::new().prefix("lab-nginx-").tempdir().expect("a private directory");
        let ip: IpAddr = next_address();
        let front = SocketAddr::new(ip, free_port(ip));
        let lines: String = servers.iter().map(|server| format!("    {server}\n")).collect();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("a file is written");
        write("web.conf", &format!("# By hand.\nupstream web {{\n{lines}}}\n"));
        write("web.conf.generation", "default \"\";\n");
        write("nginx.conf", &config(dir.path(), front));
        let conf = dir.path().join("nginx.conf");
        let args = ["-c", conf.to_str().expect("paths of the lab are UTF-8"), "-g", "daemon off;"];
        // A master that is killed leaves its workers behind.
        let daemon = Daemon::start_to_end_by("TERM", "nginx", &nginx, &args, &dir.path().join("start.log"));
        let mut nginx = Self { daemon, front, dir };
        let (marker, front) = (nginx.marker(), nginx.front);
        nginx.daemon.wait_until("marker", || std::os::unix::net::UnixStream::connect(&marker).is_ok());
        nginx.daemon.wait_for_port(front);
        nginx
    }

    /// The file with the upstream.
    pub fn file(&self) -> PathBuf {
        self.dir.path().join("web.conf")
    }

    /// What it says.
    pub fn text(&self) -> String {
        std::fs::read_to_string(self.file()).expect("the file can be read")
    }

    /// The whole configuration.
    pub fn config(&self) -> PathBuf {
        self.dir.path().join("nginx.conf")
    }

    /// The socket of the marker.
    pub fn marker(&self) -> PathBuf {
        self.dir.path().join("marker.sock")
    }

    /// The file with the master's process id.
    pub fn pid_file(&self) -> PathBuf {
        self.dir.path().join("nginx.pid")
    }

    /// The program with what it needs to find its configuration.
    pub fn command(&self) -> Vec<String> {
        let nginx = program("nginx", "nginx-light");
        [nginx, PathBuf::from("-c"), self.config()].map(|word| word.display().to_string()).to_vec()
    }

    /// Reads the configuration again, as somebody else would have it do, and waits for new workers.
    pub fn reload(&mut self) {
        let before = self.workers();
        self.daemon.signal("HUP");
        let pid = self.daemon.pid();
        self.daemon.wait_until("reload", || workers(pid).iter().any(|worker| !before.contains(worker)));
    }

    /// Process ids of all workers, old ones included.
    pub fn workers(&self) -> Vec<u32> {
        workers(self.daemon.pid())
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("error.log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    /// Workers end with their master when it is asked to end, also those that a reload has left; nobody stays behind.
    fn drop(&mut self) {
        let workers = self.workers();
        self.daemon.terminate();
        for worker in workers.into_iter().filter(|pid| is_of(*pid, self.dir.path())) {
            let _ = std::process::Command::new("kill").args(["-s", "KILL", "--", &worker.to_string()]).status();
        }
    }
}

/// Whether a process still has files of this NGINX open: another may have got its number.
fn is_of(pid: u32, dir: &Path) -> bool {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    open.filter_map(|fd| std::fs::read_link(fd.path()).ok()).any(|file| file.starts_with(dir))
}

fn workers(master: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{master}/task/{master}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn config(dir: &Path, front: SocketAddr) -> String {
    let dir = dir.display();
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("    {kind}_temp_path {dir}/{kind};\n"))
        .concat();
    format!(
        "{user}\nworker_processes 1;\npid {dir}/nginx.pid;\nerror_log {dir}/error.log notice;\nevents {{ worker_connections 512; }}\nhttp {{\n\
         \x20   access_log off;\n{temp}    map \"\" $migrate_generation {{ include {dir}/web.conf.generation; }}\n    include {dir}/web.conf;\n\
         \x20   server {{ listen unix:{dir}/marker.sock; return 200 $migrate_generation; }}\n\
         \x20   server {{ listen {front}; location / {{ proxy_pass http://web; proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; proxy_read_timeout 1h; }} }}\n}}\n"
    )
}
