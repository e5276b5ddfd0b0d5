//! A cluster of PostgreSQL moves to its standby while clients write: real servers, made by the tests, each on its own address.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::lab::command::Migrate;
use super::lab::packages::program;
use super::lab::process::free_port;
use super::lab::sshd::{self, Sshd};
use super::replica::{Client, apply_with_kills, assert_handed_over};

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

/// Two hosts, a cluster on the old one, and a directory for one on the new.
struct Lab {
    hosts: [Sshd; 2],
    ports: [u16; 2],
    /// Where the servers' programs are.
    bin: PathBuf,
    owner: String,
    dir: tempfile::TempDir,
}

impl Lab {
    fn start() -> Self {
        let bin = server_programs();
        let dir = tempfile::Builder::new().prefix("pg-").tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::set_permissions(&root, fs::Permissions::from_mode(0o711)).unwrap();
        let hosts = ["old", "new"].map(|name| Sshd::start(&root.join(name), name));
        let ports = [0, 1].map(|n: usize| free_port(hosts[n].addr().ip()));
        let root_user = rustix::process::geteuid().is_root();
        let owner = if root_user { "postgres".to_owned() } else { sshd::user() };
        let lab = Self { hosts, ports, bin, owner, dir };
        for host in 0..2 {
            fs::create_dir_all(lab.place(host)).unwrap();
            fs::set_permissions(lab.root().join(["old", "new"][host]), fs::Permissions::from_mode(0o711)).unwrap();
            lab.give(&lab.place(host));
            // The servers' programs, so that a test can put one of its own in their place.
            fs::create_dir(lab.programs(host)).unwrap();
            for entry in fs::read_dir(&lab.bin).unwrap().flatten() {
                symlink(entry.path(), lab.programs(host).join(entry.file_name())).unwrap();
            }
        }
        fs::write(lab.place(1).join("passfile"), "*:*:*:replicator:secret-of-the-link\n").unwrap();
        fs::set_permissions(lab.place(1).join("passfile"), fs::Permissions::from_mode(0o600)).unwrap();
        lab.give(&lab.place(1).join("passfile"));
        lab.make_cluster();
        lab.write_files();
        lab
    }

    fn root(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap()
    }

    fn place(&self, host: usize) -> PathBuf {
        self.root().join(["old", "new"][host]).join("pg")
    }

    fn programs(&self, host: usize) -> PathBuf {
        self.root().join(["old", "new"][host]).join("bin")
    }

    fn data(&self, host: usize) -> PathBuf {
        self.place(host).join("data")
    }

    fn give(&self, path: &Path) {
        let done = Command::new("chown").arg(&self.owner).arg(path).status().unwrap();
        assert!(done.success());
    }

    fn as_owner(&self, program: &str, args: &[&str]) -> Output {
        let program = self.bin.join(program);
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

    fn make_cluster(&self) {
        let data = self.data(0);
        let data = data.to_str().unwrap();
        let made = self.as_owner(
            "initdb",
            &["--no-sync", "-A", "trust", "-E", "UTF8", "--locale=C", "-k", "-U", "postgres", "-D", data],
        );
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let hba = "local all all trust\nhost replication replicator 127.0.0.0/8 scram-sha-256\nhost postgres replicator 127.0.0.0/8 scram-sha-256\n";
        fs::write(self.data(0).join("pg_hba.conf"), hba).unwrap();
        let conf = self.data(0).join("postgresql.conf");
        let text = fs::read_to_string(&conf).unwrap();
        fs::write(conf, format!("{text}\nfsync = off\nshared_buffers = 16MB\nwal_keep_size = 0\n")).unwrap();
        self.start_server(0);
        self.sql(0, "create role replicator login replication password 'secret-of-the-link'").unwrap();
        self.sql(0, "create table words(word text primary key)").unwrap();
        self.sql(0, "create table bulk as select n, md5(n::text) from generate_series(1, 20000) n").unwrap();
    }

    fn options(&self, host: usize) -> String {
        format!("-c listen_addresses={}", self.hosts[host].addr().ip())
    }

    /// As an init system would.
    fn start_server(&self, host: usize) {
        let (data, log, port) = (self.data(host), self.place(host).join("log"), self.ports[host]);
        let options = format!("-p {port} -k {} {}", self.place(host).display(), self.options(host));
        let args = ["start", "-w", "-D", data.to_str().unwrap(), "-l", log.to_str().unwrap(), "-o", &options];
        let program = self.bin.join("pg_ctl");
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

    fn write_files(&self) {
        let root = self.root();
        let known: String = self.hosts.iter().map(|h| fs::read_to_string(h.known_hosts()).unwrap()).collect();
        fs::write(root.join("known_hosts"), known).unwrap();
        let mut inventory = "hosts:\n".to_owned();
        for (n, host) in self.hosts.iter().enumerate() {
            let (ip, key) = (host.addr().ip(), host.client_key());
            let ssh = format!(
                "{{user: {}, port: {}, key: {}, known_hosts: {}}}",
                sshd::user(),
                host.addr().port(),
                key.display(),
                root.join("known_hosts").display()
            );
            let vars = format!(
                "{{data: {}, dir: {}, bin: {}, port: \"{}\", owner: {}, options: \"{}\", passfile: {}}}",
                self.data(n).display(),
                self.place(n).display(),
                self.programs(n).display(),
                self.ports[n],
                self.owner,
                self.options(n),
                self.place(1).join("passfile").display()
            );
            inventory += &format!("  {}: {{address: {ip}, ssh: {ssh}, vars: {vars}}}\n", host.host().name);
        }
        fs::write(root.join("inventory.yaml"), inventory).unwrap();
        fs::write(root.join("plan.yaml"), PLAN).unwrap();
    }

    fn migrate(&self) -> Migrate {
        Migrate::at(env!("CARGO_BIN_EXE_migrate"), &self.root())
    }

    fn sql(&self, host: usize, sql: &str) -> Result<String, String> {
        query(&self.bin, &self.place(host), self.ports[host], sql)
    }

    /// A client that writes words to whichever host takes them.
    fn client(&self) -> Client {
        let (bin, places, ports) = (self.bin.clone(), [self.place(0), self.place(1)], self.ports);
        Client::start(move |host, word| {
            query(&bin, &places[host], ports[host], &format!("insert into words values ('{word}')")).is_ok()
        })
    }

    fn words(&self, host: usize) -> BTreeSet<String> {
        self.sql(host, "select word from words").unwrap().lines().map(str::to_owned).collect()
    }

    fn slots(&self, host: usize) -> usize {
        fs::read_dir(self.data(host).join("pg_replslot")).unwrap().count()
    }

    /// Puts a program in the place of the target's psql: the shell commands see its statement as `$sql`, and `psql` is the real one.
    fn instead_of_psql(&self, commands: &str) {
        let psql = self.programs(1).join("psql");
        fs::remove_file(&psql).unwrap();
        let real = self.bin.join("psql");
        let stop = format!("{} stop -D {} -m immediate", self.bin.join("pg_ctl").display(), self.data(1).display());
        let text = format!(
            "#!/bin/sh\nfor sql; do :; done\npsql() {{ {} \"$@\"; }}\nkill_server() {{ {stop} >/dev/null; }}\n{commands}\nexec {} \"$@\"\n",
            real.display(),
            real.display()
        );
        fs::write(&psql, text).unwrap();
        fs::set_permissions(&psql, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The real one again.
    fn psql_again(&self) {
        let psql = self.programs(1).join("psql");
        fs::remove_file(&psql).unwrap();
        symlink(self.bin.join("psql"), psql).unwrap();
    }

    /// The new one has every word that was acknowledged and takes writes; the old one is a reader, whatever starts it.
    #[track_caller]
    fn assert_moved(&self, acked: &[(String, usize)]) {
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
        self.assert_no_secret();
    }

    /// The password of the link is in no file of the run.
    #[track_caller]
    fn assert_no_secret(&self) {
        let found =
            Command::new("grep").args(["-rl", "secret-of-the-link"]).arg(self.root().join("state")).output().unwrap();
        assert!(found.stdout.is_empty(), "{}", String::from_utf8_lossy(&found.stdout));
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for host in 0..2 {
            let data = self.data(host);
            self.as_owner("pg_ctl", &["stop", "-m", "immediate", "-D", data.to_str().unwrap()]);
        }
    }
}

fn query(bin: &Path, socket: &Path, port: u16, sql: &str) -> Result<String, String> {
    let mut psql = Command::new(bin.join("psql"));
    psql.arg("-h").arg(socket).args(["-p", &port.to_string(), "-U", "postgres", "-XAtq", "-v", "ON_ERROR_STOP=1"]);
    let out = psql.args(["-c", sql, "postgres"]).current_dir("/").output().unwrap();
    match out.status.success() {
        true => Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned()),
        false => Err(String::from_utf8_lossy(&out.stderr).into_owned()),
    }
}

/// Where Debian has the servers' programs.
fn server_programs() -> PathBuf {
    program("psql", "postgresql");
    let versions = fs::read_dir("/usr/lib/postgresql").unwrap().flatten().map(|v| v.path().join("bin"));
    versions.filter(|bin| bin.join("initdb").exists()).max().expect("a server of PostgreSQL")
}

/// Whether a line tells that a step is done.
fn outcome(line: &str, step: &str) -> bool {
    let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("not JSON: {e}: {line}"));
    let event = &line["event"];
    event["event"] == "outcome" && event["step"] == step && event["result"]["is"] == "done"
}

#[test]
fn a_cluster_moves_while_it_is_written_to_and_a_restart_in_the_freeze_leaves_a_reader() {
    let lab = Lab::start();
    let plan = lab.migrate().run(&["plan", "plan.yaml"]).expect(0);
    for words in ["old takes no writes any more", "is a point of no return", "max_slot_wal_keep_size is not set"] {
        assert!(plan.stdout.contains(words), "{words}: {}", plan.stdout);
    }
    let client = lab.client();
    client.wait_for_more(20);
    let mut apply = lab.migrate().start(&["apply", "plan.yaml", "--yes", "--format", "json"]);
    apply.read_until(|line| outcome(line, "db/old/postgres-fence")).expect("the fence");
    // Its init system starts it again, in the middle of the freeze.
    lab.start_server(0);
    apply.finish().expect(0);
    client.wait_for_more(20);
    let acked = client.stop();
    println!("{} words acknowledged", acked.len());
    assert_eq!(lab.sql(0, "select pg_is_in_recovery()").unwrap(), "t", "it was left running, as a reader");
    lab.assert_moved(&acked);
}

#[test]
fn killed_around_its_freeze_a_cluster_still_moves_and_nothing_is_lost() {
    let lab = Lab::start();
    let client = lab.client();
    client.wait_for_more(10);
    let around = ["seed", "fence", "prove", "promote", "release"];
    let killed =
        apply_with_kills(&lab.migrate(), |step| around.iter().any(|word| step.ends_with(&format!("postgres-{word}"))));
    assert_eq!(killed.len(), around.len(), "{killed:?}");
    client.wait_for_more(10);
    lab.assert_moved(&client.stop());
}

#[test]
fn a_target_that_dies_in_its_promote_holds_the_run_until_it_can_be_asked() {
    let lab = Lab::start();
    // It promotes, and is gone before it can say so: what it would be when it is started nobody has been told.
    lab.instead_of_psql("case $sql in *pg_promote*) psql \"$@\" >/dev/null; kill_server; exit 2 ;; esac");
    let client = lab.client();
    client.wait_for_more(10);
    let held = lab.migrate().run(&["apply", "plan.yaml", "--yes"]);
    assert_ne!(held.code(), 0);
    assert!(held.stdout.contains("nobody can tell whether new takes writes"), "{}\n{}", held.stdout, held.stderr);
    assert!(lab.sql(0, "select 1").is_err(), "the source stays closed");
    let refused = lab.migrate().run(&["rollback", "pg-1", "--yes"]);
    assert_ne!(refused.code(), 0, "{}", refused.stdout);
    assert!([&refused.stdout, &refused.stderr].iter().any(|said| said.contains("no way back")), "{}", refused.stderr);
    lab.psql_again();
    lab.start_server(1);
    lab.migrate().run(&["apply", "plan.yaml", "--yes"]).expect(0);
    client.wait_for_more(10);
    lab.assert_moved(&client.stop());
}

#[test]
fn a_cluster_that_is_not_proved_in_time_opens_again_and_goes_back_without_a_slot() {
    let lab = Lab::start();
    let plan = fs::read_to_string(lab.root().join("plan.yaml")).unwrap();
    fs::write(lab.root().join("plan.yaml"), plan.replace("freeze_within: 60s", "freeze_within: 1s")).unwrap();
    lab.instead_of_psql("case $sql in *pg_last_wal_replay_lsn*) echo 'no answer' >&2; exit 2 ;; esac");
    let client = lab.client();
    client.wait_for_more(10);
    let held = lab.migrate().run(&["apply", "plan.yaml", "--yes"]);
    assert!(held.stdout.contains("is closed for longer than 1 s"), "{}\n{}", held.stdout, held.stderr);
    client.wait_for_more(10);
    assert_eq!(lab.sql(1, "select pg_is_in_recovery()").unwrap(), "t", "it follows on the same timeline");
    lab.migrate().run(&["rollback", "pg-1", "--yes"]).expect(0);
    client.wait_for_more(10);
    let acked = client.stop();
    let has = lab.words(0);
    assert!(acked.iter().all(|(word, host)| *host == 0 && has.contains(word)));
    assert_eq!(lab.slots(0), 0, "no slot is left");
    assert!(!lab.data(1).exists() && !lab.data(0).join("standby.signal").exists());
    lab.assert_no_secret();
}

#[test]
fn what_speaks_against_a_cluster_is_told_before_anything_is_done() {
    let lab = Lab::start();
    lab.sql(0, "alter system set max_wal_senders = 1").unwrap();
    let old = lab.data(0);
    lab.as_owner("pg_ctl", &["stop", "-m", "fast", "-w", "-D", old.to_str().unwrap()]);
    lab.start_server(0);
    fs::create_dir(lab.data(1)).unwrap();
    fs::write(lab.data(1).join("PG_VERSION"), "15\n").unwrap();
    fs::set_permissions(lab.place(1).join("passfile"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(lab.place(1).join("passfile"), "*:*:*:replicator:another\n").unwrap();
    let told = lab.migrate().run(&["plan", "plan.yaml"]).stdout;
    for words in [
        "1 of max_wal_senders are free, and 2 are needed",
        "there is a cluster in",
        "the source does not let it replicate",
        "password authentication failed",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
}
