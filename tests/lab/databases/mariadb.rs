//! A server of MariaDB on each host.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::super::packages::program;
use super::super::process::free_port;
use super::super::sshd;
use super::client::Client;
use super::pair::Pair;

const PLAN: &str = r#"
migration: mysql
inventory: inventory.yaml
services:
  db:
    move: {from: old, to: new}
    reverse: {until: commit}
    state:
      mysql:
        from: {config: "{{ config }}", socket: "{{ socket }}", port: "{{ port }}"}
        to: {config: "{{ config }}", socket: "{{ socket }}", port: "{{ port }}"}
        link: {user: replicator, password: {file: link.password}}
        freeze_within: 60s
"#;
pub const PASSWORD: &str = "secret-of-the'link";

/// Two hosts with a server each.
pub struct Lab {
    pair: Pair,
    pub servers: [SocketAddr; 2],
}

impl Lab {
    pub fn start() -> Self {
        program("mariadbd", "mariadb-server");
        program("mariadb-dump", "mariadb-client");
        let pair = Pair::start("my-");
        let servers = [0, 1].map(|n| SocketAddr::new(pair.ip(n), free_port(pair.ip(n))));
        let lab = Self { pair, servers };
        for host in 0..2 {
            lab.make_server(host);
            lab.start_server(host);
            let user = format!(
                "set sql_log_bin = 0; create user replicator identified by '{}'; grant select, reload, replication slave, \
                 replication client, lock tables, show view, trigger, event on *.* to replicator",
                PASSWORD.replace('\'', "\\'")
            );
            lab.must(host, &user);
        }
        lab.must(0, "create database app; create table app.words(word varchar(40) primary key) engine = InnoDB");
        lab.must(0, "create event app.tick on schedule every 1 second do insert into app.words values (uuid())");
        fs::write(lab.root().join("link.password"), PASSWORD).unwrap();
        lab.write_files(PLAN, |host| {
            let (config, socket, port) = (lab.place(host).join("conf"), lab.socket(host), lab.servers[host].port());
            format!("config: {}, socket: {}, port: \"{port}\"", config.display(), socket.display())
        });
        lab
    }

    pub fn place(&self, host: usize) -> PathBuf {
        self.home(host).join("db")
    }

    pub fn socket(&self, host: usize) -> PathBuf {
        self.place(host).join("socket")
    }

    /// With a directory for temporary files of its own: a server that starts removes those of others.
    pub fn make_server(&self, host: usize) {
        let (place, at) = (self.place(host), self.servers[host]);
        fs::create_dir_all(place.join("conf")).unwrap();
        let place = place.display();
        let text = format!(
            "[mariadbd]\nuser={}\ndatadir={place}/data\ntmpdir={place}\nsocket={place}/socket\npid-file={place}/pid\nbind-address={}\nport={}\nserver_id={}\n\
             log_bin=bin\nlog_slave_updates=1\nbinlog_format=ROW\nskip-name-resolve\ninnodb_buffer_pool_size=16M\ninnodb_log_file_size=8M\n\
             innodb_flush_log_at_trx_commit=2\n!includedir {place}/conf\n",
            sshd::user(),
            at.ip(),
            at.port(),
            host + 1
        );
        fs::write(self.place(host).join("my.cnf"), text).unwrap();
        let mut install = Command::new("mariadb-install-db");
        install.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
        install.arg(format!("--user={}", sshd::user()));
        install.args([format!("--datadir={place}/data"), format!("--tmpdir={place}")]);
        let made = install.output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    /// As an init system would.
    pub fn start_server(&self, host: usize) {
        let log = || fs::OpenOptions::new().create(true).append(true).open(self.place(host).join("log")).unwrap();
        let mut server = Command::new("setsid");
        server.arg("--fork").arg(program("mariadbd", "mariadb-server"));
        server.arg(format!("--defaults-file={}", self.place(host).join("my.cnf").display()));
        let started = server.stdin(Stdio::null()).stdout(log()).stderr(log()).status().unwrap();
        assert!(started.success());
        while self.sql(host, "select 1").is_err() {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn restart_server(&self, host: usize) {
        self.stop_server(host);
        self.start_server(host);
    }

    pub fn stop_server(&self, host: usize) {
        let pid = fs::read_to_string(self.place(host).join("pid")).unwrap();
        let _ = self.sql(host, "shutdown");
        while Path::new("/proc").join(pid.trim()).exists() {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn sql(&self, host: usize, sql: &str) -> Result<String, String> {
        query(&self.socket(host), "root", sql)
    }

    #[track_caller]
    pub fn must(&self, host: usize, sql: &str) {
        self.sql(host, sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
    }

    /// A client that writes words to whichever host takes them.
    pub fn client(&self) -> Client {
        Client::start(self.writer())
    }

    /// Says whether a host has taken a word, as a user who may not write to a reader.
    pub fn writer(&self) -> impl Fn(usize, &str) -> bool + Send + use<> {
        for host in [0, 1] {
            self.must(host, "set sql_log_bin = 0; create user app; grant insert on app.* to app");
        }
        let sockets = [self.socket(0), self.socket(1)];
        move |host, word| query(&sockets[host], "app", &format!("insert into app.words values ('{word}')")).is_ok()
    }

    pub fn words(&self, host: usize) -> BTreeSet<String> {
        self.sql(host, "select word from app.words").unwrap().lines().map(str::to_owned).collect()
    }

    /// Whether each takes writes.
    pub fn read_only(&self) -> [String; 2] {
        [0, 1].map(|host| self.sql(host, "select @@read_only").unwrap())
    }

    pub fn files(&self, host: usize) -> usize {
        fs::read_dir(self.place(host).join("conf")).unwrap().count()
    }
}

impl Deref for Lab {
    type Target = Pair;

    fn deref(&self) -> &Pair {
        &self.pair
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for host in [0, 1] {
            let _ = self.sql(host, "shutdown");
        }
    }
}

fn query(socket: &Path, user: &str, sql: &str) -> Result<String, String> {
    let mut client = Command::new("mariadb");
    client.args(["--no-defaults", "--connect-timeout=20", "-u", user, "-NBr", "-S"]).arg(socket).args(["-e", sql]);
    let out = client.output().unwrap();
    match out.status.success() {
        true => Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned()),
        false => Err(String::from_utf8_lossy(&out.stderr).into_owned()),
    }
}
