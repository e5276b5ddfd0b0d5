//! A database of the lab: a real PostgreSQL server with its own data, reached through a socket in its own directory.
//!
//! The server refuses to run as root, so that root starts it as an ordinary user.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::packages::program;
use super::process::Daemon;

/// Its superuser and its database.
pub const USER: &str = "app";

/// A running server. Dropping it ends the server.
pub struct Postgres {
    dir: PathBuf,
    daemon: Daemon,
}

impl Postgres {
    /// A server with an empty database `app`, with all its files below `dir`, which is reachable by everyone.
    pub fn start(dir: &Path) -> Self {
        fs::create_dir_all(dir).unwrap();
        let data = dir.join("data");
        fs::create_dir(&data).unwrap();
        for part in [dir, &data] {
            give(part);
        }
        let initdb = as_user(&server_program("initdb"))
            .args(["--no-sync", "-A", "trust", "-E", "UTF8", "--locale=C", "-U", USER, "-D"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(initdb.status.success(), "{}", String::from_utf8_lossy(&initdb.stderr));
        let mut line: Vec<String> = user_words().iter().map(|w| w.to_string()).collect();
        line.extend([server_program("postgres").to_str().unwrap().to_owned(), "-D".into()]);
        line.extend([data.to_str().unwrap().to_owned(), "-k".into(), dir.to_str().unwrap().to_owned()]);
        line.extend(["-c", "listen_addresses=", "-c", "fsync=off"].map(str::to_owned));
        let args: Vec<&str> = line.iter().skip(1).map(String::as_str).collect();
        let daemon = Daemon::start("PostgreSQL", Path::new(&line[0]), &args, &dir.join("log"));
        let mut server = Self { dir: dir.to_owned(), daemon };
        let socket = server.dir.clone();
        server.daemon.wait_until("answer", || query(&socket, "postgres", "select 1").is_ok());
        server.run("postgres", &format!("create database {USER}"));
        server
    }

    /// What a client needs to find it: `psql {options} app`.
    pub fn options(&self) -> String {
        format!("-h {} -U {USER}", self.dir.display())
    }

    /// Runs statements; the rows, without headers.
    #[track_caller]
    pub fn run(&self, database: &str, sql: &str) -> String {
        query(&self.dir, database, sql).unwrap_or_else(|e| panic!("{sql}: {e}"))
    }

    /// A digest of everything in `app`.
    pub fn digest(&self) -> blake3::Hash {
        let dump = Command::new(program("pg_dump", "postgresql"))
            .args(["-h"])
            .arg(&self.dir)
            .args(["-U", USER, "--inserts", USER])
            .output()
            .unwrap();
        assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
        // Newer versions put a random word into `\restrict`.
        let text = String::from_utf8_lossy(&dump.stdout).into_owned();
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('\\')).collect();
        blake3::hash(lines.join("\n").as_bytes())
    }
}

impl Drop for Postgres {
    /// A killed server would leave its shared memory behind.
    fn drop(&mut self) {
        self.daemon.signal("INT");
        self.daemon.terminate();
    }
}

fn query(socket: &Path, database: &str, sql: &str) -> Result<String, String> {
    let psql = Command::new(program("psql", "postgresql"))
        .arg("-h")
        .arg(socket)
        .args(["-U", USER, "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql, database])
        .output()
        .unwrap();
    match psql.status.success() {
        true => Ok(String::from_utf8_lossy(&psql.stdout).trim().to_owned()),
        false => Err(String::from_utf8_lossy(&psql.stderr).into_owned()),
    }
}

/// Debian keeps the server's programs out of everyone's way.
fn server_program(name: &str) -> PathBuf {
    let find = || {
        let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
        versions.flatten().map(|v| v.path().join("bin").join(name)).find(|path| path.exists())
    };
    find().unwrap_or_else(|| {
        program("psql", "postgresql");
        find().unwrap_or_else(|| program(name, "postgresql"))
    })
}

fn user_words() -> &'static [&'static str] {
    match rustix::process::geteuid().is_root() {
        true => &["/usr/bin/setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"],
        false => &["/usr/bin/env"],
    }
}

fn as_user(program: &Path) -> Command {
    let words = user_words();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg(program).current_dir("/");
    command
}

/// Lets the server's user have a directory, and everyone reach it.
fn give(dir: &Path) {
    if rustix::process::geteuid().is_root() {
        let status = Command::new("chown").arg("nobody:nogroup").arg(dir).status().unwrap();
        assert!(status.success());
        for above in dir.ancestors().skip(1).filter(|d| d.starts_with(std::env::temp_dir())) {
            let mode = fs::metadata(above).unwrap().permissions().mode();
            fs::set_permissions(above, fs::Permissions::from_mode(mode | 0o011)).unwrap();
        }
    }
}
