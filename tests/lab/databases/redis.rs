//! A server of Redis on each host.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::super::packages::program;
use super::super::process::free_port;
use super::client::{Client, assert_handed_over};
use super::pair::{NAMES, Pair};

const PLAN: &str = r#"
migration: redis
inventory: inventory.yaml
services:
  cache:
    move: {from: old, to: new}
    state:
      redis:
        from: {config: "{{ config }}", host: "{{ address }}", port: "{{ port }}", cli: "{{ cli }}", password: {file: old.password}}
        to: {config: "{{ config }}", host: "{{ address }}", port: "{{ port }}", cli: "{{ cli }}", password: {file: new.password}}
        freeze_within: 60s
"#;

/// Two hosts with a server each.
pub struct Lab {
    pair: Pair,
    pub servers: [SocketAddr; 2],
    /// What each server wants to hear, if anything.
    passwords: [Option<&'static str>; 2],
}

impl Lab {
    pub fn start() -> Self {
        Self::with([Some("secret-of-old"), Some("secret-of-new")], PLAN)
    }

    /// Without passwords, so that both sides can be asked before a plan is made.
    pub fn open() -> Self {
        let plan = NAMES
            .iter()
            .fold(PLAN.to_owned(), |plan, name| plan.replace(&format!(", password: {{file: {name}.password}}"), ""));
        Self::with([None, None], &plan)
    }

    pub fn with(passwords: [Option<&'static str>; 2], plan: &str) -> Self {
        program("redis-server", "redis-server");
        let pair = Pair::start("redis-");
        let servers = [0, 1].map(|n| SocketAddr::new(pair.ip(n), free_port(pair.ip(n))));
        let lab = Self { pair, servers, passwords };
        for host in 0..2 {
            lab.make_server(host);
            lab.start_server(host);
        }
        for (n, password) in passwords.iter().enumerate() {
            fs::write(lab.root().join(format!("{}.password", NAMES[n])), password.unwrap_or_default()).unwrap();
        }
        lab.write_files(plan, |host| {
            let (config, cli, port) = (lab.config(host), lab.place(host).join("cli"), lab.servers[host].port());
            format!("config: {}, cli: {}, port: \"{port}\"", config.display(), cli.display())
        });
        for n in 0..500 {
            lab.must(0, &["SET", &format!("bulk:{n}"), &"x".repeat(200)]);
        }
        lab
    }

    pub fn place(&self, host: usize) -> PathBuf {
        self.home(host).join("redis")
    }

    pub fn config(&self, host: usize) -> PathBuf {
        self.place(host).join("redis.conf")
    }

    pub fn make_server(&self, host: usize) {
        let (place, at) = (self.place(host), self.servers[host]);
        fs::create_dir_all(&place).unwrap();
        let password = self.passwords[host].map(|password| format!("requirepass {password}\n")).unwrap_or_default();
        let text = format!(
            "bind {}\nport {}\ndir {dir}\npidfile {dir}/pid\nlogfile {dir}/log\ndaemonize yes\nprotected-mode no\nsave 3600 1\nrepl-diskless-sync-delay 0\n{password}",
            at.ip(),
            at.port(),
            dir = place.display(),
        );
        fs::write(self.config(host), text).unwrap();
        // Its client, so that a test can put one of its own in its place.
        self.instead_of_client(host, "");
    }

    /// Shell commands before the client of a host does what it was asked to.
    pub fn instead_of_client(&self, host: usize, commands: &str) {
        let path = self.place(host).join("cli");
        fs::write(&path, format!("#!/bin/sh\n{commands}\nexec redis-cli \"$@\"\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// As an init system would.
    pub fn start_server(&self, host: usize) {
        let null = Stdio::null;
        let mut server = Command::new("redis-server");
        server.arg(self.config(host)).stdin(null()).stdout(null()).stderr(null());
        assert!(server.status().unwrap().success());
        while self.ask(host, &["PING"]) != "PONG" {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn restart_server(&self, host: usize) {
        self.ask(host, &["SHUTDOWN"]);
        while TcpStream::connect(self.servers[host]).is_ok() {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.start_server(host);
    }

    /// What a server says, without the space around it.
    pub fn ask(&self, host: usize, words: &[&str]) -> String {
        let at = self.servers[host];
        let mut cli = Command::new("redis-cli");
        cli.args(["-h", &at.ip().to_string(), "-p", &at.port().to_string()]).args(words);
        if let Some(password) = self.passwords[host] {
            cli.env("REDISCLI_AUTH", password);
        }
        String::from_utf8_lossy(&cli.output().unwrap().stdout).trim().to_owned()
    }

    #[track_caller]
    pub fn must(&self, host: usize, words: &[&str]) {
        assert_eq!(self.ask(host, words), "OK", "{words:?}");
    }

    pub fn role(&self, host: usize) -> String {
        self.ask(host, &["ROLE"]).lines().next().unwrap_or_default().to_owned()
    }

    /// A client that writes words to whichever host takes them.
    pub fn client(&self) -> Client {
        Client::start(self.writer())
    }

    /// Says whether a host has taken a word.
    pub fn writer(&self) -> impl Fn(usize, &str) -> bool + Send + use<> {
        let (servers, passwords) = (self.servers, self.passwords);
        move |host, word| add(servers[host], passwords[host], word).is_some()
    }

    pub fn words(&self, host: usize) -> BTreeSet<String> {
        self.ask(host, &["SMEMBERS", "words"]).lines().map(str::to_owned).collect()
    }

    /// The new one has every word that was acknowledged and is the master; the old one takes none, whatever starts it; nothing is left.
    #[track_caller]
    pub fn assert_moved(&self, acked: &[(String, usize)]) {
        assert_handed_over(acked, &self.words(1));
        for host in [0, 1] {
            self.restart_server(host);
        }
        assert_eq!([self.role(0), self.role(1)], ["slave", "master"]);
        assert!(self.ask(0, &["SET", "late", "1"]).starts_with("READONLY"));
        assert_eq!(self.ask(1, &["EXISTS", "bulk:0", "bulk:499"]), "2");
        self.assert_nothing_is_left();
    }

    /// No file of this run beside the servers, none of its settings in them, and no password in what it has written.
    #[track_caller]
    pub fn assert_nothing_is_left(&self) {
        for host in [0, 1] {
            let files = fs::read_dir(self.place(host)).unwrap().flatten().map(|e| e.file_name());
            let left: Vec<_> = files.filter(|name| name.to_string_lossy().contains("migrate")).collect();
            assert!(left.is_empty(), "{left:?}");
            assert_eq!(self.ask(host, &["CONFIG", "GET", "masterauth"]), "masterauth");
            assert!(!fs::read_to_string(self.config(host)).unwrap().contains("masterauth"));
        }
        self.assert_no_secret("secret-of-");
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
            self.ask(host, &["SHUTDOWN", "NOSAVE", "NOW", "FORCE"]);
        }
    }
}

/// Adds a word, unless the server does not take it.
fn add(server: SocketAddr, password: Option<&str>, word: &str) -> Option<()> {
    let mut stream = TcpStream::connect(server).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    let auth = password.map(|password| format!("AUTH {password}\r\n")).unwrap_or_default();
    stream.write_all(format!("{auth}SADD words {word}\r\n").as_bytes()).ok()?;
    let mut answers = BufReader::new(stream).lines();
    if password.is_some() {
        answers.next()?.ok().filter(|answer| answer == "+OK")?;
    }
    answers.next()?.ok().filter(|answer| answer == ":1").map(drop)
}
