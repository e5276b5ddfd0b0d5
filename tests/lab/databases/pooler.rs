//! PgBouncer in front of a cluster of PostgreSQL.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::super::packages::program;
use super::super::process::{PATIENCE, free_port};
use super::client::Client;
use super::cluster::Lab;

/// What is in the pooler's configuration, and nowhere else.
pub const PASSWORD: &str = "secret-of-the-pooler";

/// A pooler on the new host, in front of a cluster on the old one.
pub struct Pooled {
    pub lab: Lab,
    pub port: u16,
    /// Whom it lets clients be.
    role: &'static str,
    pub failed: Arc<AtomicU64>,
    pub longest: Arc<AtomicU64>,
}

impl Pooled {
    /// In front of a cluster that moves as a whole.
    pub fn start(settings: &str) -> Self {
        Self::start_with(settings, "pool_mode = transaction\n")
    }

    /// With words for the plan, and lines for the pooler's configuration.
    pub fn start_with(settings: &str, lines: &str) -> Self {
        let pooled = Self::before(Lab::start(), ("postgres", "postgres"), settings, lines);
        let back = "        back: {user: replicator, passfile: \"{{ passfile }}\", sslmode: prefer}\n";
        pooled.lab.edit_plan("        role: postgres\n", &format!("{back}        role: postgres\n"));
        pooled
    }

    /// In front of a role's database, with words for the plan, and lines for the pooler's configuration.
    pub fn before(lab: Lab, (role, database): (&'static str, &str), settings: &str, lines: &str) -> Self {
        let bouncer = program("pgbouncer", "pgbouncer");
        let (place, ip, port) = (lab.place(1), lab.ip(1), free_port(lab.ip(1)));
        let (dir, owner) = (place.display(), lab.owner());
        let to = format!("host={} port={} dbname={database} password={PASSWORD}", lab.ip(0), lab.port(0));
        let config = format!(
            "[databases]\n; the application\napp = {to}\nother = {to}\n[pgbouncer]\nlisten_addr = {ip}\nlisten_port = {port}\n\
             unix_socket_dir = {dir}\nauth_type = trust\nauth_file = {dir}/users\nadmin_users = pgbouncer\n{lines}\
             logfile = {dir}/pooler.log\npidfile = {dir}/pooler.pid\n"
        );
        let users = "\"postgres\" \"\"\n\"app\" \"\"\n\"pgbouncer\" \"\"\n";
        let files = [("pooler.ini", config.as_str()), ("users", users)];
        for (name, text) in files {
            fs::write(place.join(name), text).unwrap();
            lab.give(&place.join(name));
        }
        let root = rustix::process::geteuid().is_root();
        let mut command = Command::new(if root { "runuser" } else { "env" });
        command.args(if root { vec!["-u", owner, "--"] } else { Vec::new() });
        let started = command.arg(bouncer).arg("-d").arg(place.join("pooler.ini")).current_dir("/").output().unwrap();
        assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
        // It goes into the background before it listens.
        let (socket, began) = (place.join(format!(".s.PGSQL.{port}")), Instant::now());
        while !socket.exists() {
            assert!(began.elapsed() < PATIENCE, "the pooler does not listen at {}", socket.display());
            std::thread::sleep(Duration::from_millis(10));
        }
        let pooler = format!(
            "        pooler: {{pgbouncer: new, database: app, config: {dir}/pooler.ini, socket: {dir}, port: {port}, user: {owner}{settings}}}\n"
        );
        lab.edit_plan("        role: postgres\n", &format!("{pooler}        role: postgres\n"));
        let pooled = Self { lab, port, role, failed: Arc::default(), longest: Arc::default() };
        pooled.lab.edit_plan("    state:\n", "    reverse: {until: commit}\n    state:\n");
        pooled
    }

    /// Writes words through the pooler, each by a connection of its own.
    pub fn client(&self) -> Client {
        self.client_named("word")
    }

    /// One of several.
    pub fn client_named(&self, name: &str) -> Client {
        let (login, failed) = (self.lab.login_at(1, self.port), Arc::clone(&self.failed));
        let (longest, role) = (Arc::clone(&self.longest), self.role);
        Client::named(name, move |host, word| {
            let began = Instant::now();
            let said = (host == 0).then(|| login.query(role, "app", &format!("insert into words values ('{word}')")));
            if let Some(Err(why)) = &said {
                println!("{word}: {why}");
                failed.fetch_add(1, Ordering::Relaxed);
            }
            longest.fetch_max(began.elapsed().as_millis() as u64, Ordering::Relaxed);
            said.is_some_and(|said| said.is_ok())
        })
    }

    /// What the console says of the database.
    pub fn says(&self) -> String {
        let told = self.lab.login_at(1, self.port).query("pgbouncer", "pgbouncer", "SHOW DATABASES").unwrap();
        told.lines().find(|line| line.starts_with("app|")).unwrap().to_owned()
    }

    pub fn goes_to(&self, host: usize) -> bool {
        let line = self.says();
        let words: Vec<&str> = line.split('|').collect();
        let paused = words[words.len() - 2];
        words[1] == self.lab.ip(host).to_string() && words[2] == self.lab.port(host).to_string() && paused == "0"
    }

    /// What the move has put beside the configuration.
    pub fn left_behind(&self) -> Vec<String> {
        let names = fs::read_dir(self.lab.place(1)).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains(".migrate-") && name.starts_with("pooler")).collect()
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let pid = fs::read_to_string(self.lab.place(1).join("pooler.pid")).unwrap_or_default();
        if let Ok(pid) = pid.trim().parse::<u32>() {
            let _ = Command::new("kill").args(["-s", "KILL", "--", &pid.to_string()]).status();
        }
    }
}
