//! A team with a cluster of etcd: the controller of a run is killed under load, and another machine goes on with it.

use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use migrate::event::{Event, Record};
use migrate::secret::{Secret, SecretError, SecretRef, Secrets};
use migrate::store::{self, Follower, Here, RunStore};
use migrate::text;

use super::lab::command::own_kernel;
use super::lab::etcd::Etcd;
use super::lab::fleet::{Fleet, Storage};
use super::lab::place::Place;
use super::{Migrate, PLAN, SIZE, USERS};

const RUN: &str = "uploads-1";
/// In seconds; the shortest that a cluster keeps.
const LEASE: &str = "15";
/// The controller is killed when this step has begun: the second pair is on its way, and users are on both of its hosts.
const KILLED_IN: &str = "uploads/dal-2/watch-10";
/// How long may pass without a record before something is wrong: a takeover takes a lease and some seconds.
const SILENCE: Duration = Duration::from_secs(90);

/// Whether nobody has noticed, and the journal holds.
pub fn another_machine_goes_on(interrupted: &dyn Fn() -> bool) -> Result<bool, String> {
    let began = Instant::now();
    let etcd = Etcd::cluster();
    let fleet = Fleet::behind_haproxy(Place::checked_in()?, SIZE, Storage::Own);
    let team = Team::new(&fleet, &etcd)?;
    println!(
        "The lab runs: a cluster of three etcd servers at {}, 3 source hosts, 3 empty target\n\
         hosts, HAProxy in front, {USERS} users who read and upload without a pause, and two machines of a team, `desk` and `night`, each\n\
         with a kernel of its own as far as `migrate` can see. All of it is in {}.\n",
        etcd.servers().join(", "),
        fleet.place.root().display()
    );
    let load = fleet.load_with_pause(USERS, Duration::ZERO);
    load.wait_for(500);
    let takeover = team.moves(interrupted)?;
    load.wait_for(load.requests() + 2_000);
    let report = load.stop();
    let Some(takeover) = takeover else { return Ok(false) };
    let sealed = team.is_sealed();
    let unnoticed = super::show_results(&fleet, &team.desk.freezes("uploads"), &report, began.elapsed());
    super::print_rows(&[("taken over after", format!("{} (leases of {LEASE} s)", text::duration(takeover)))]);
    println!("\n{}", super::verdict(unnoticed && sealed));
    Ok(unnoticed && sealed)
}

/// Two machines with the same files, and what they share.
struct Team {
    desk: Migrate,
    night: Migrate,
    store: Arc<dyn RunStore>,
}

impl Team {
    fn new(fleet: &Fleet, etcd: &Etcd) -> Result<Self, String> {
        let (root, address) = (fleet.place.root(), etcd.address());
        let migrate = Migrate::new(root)?;
        let machine = |name: &str| Migrate {
            state: root.join(name),
            store: Some(address.clone()),
            through: own_kernel(root, name),
            ..migrate.clone()
        };
        let here = Here { dir: root.join("here"), secrets: Arc::new(NoSecrets) };
        let store = store::open(&address, &here).map_err(|e| e.to_string())?;
        Ok(Self { desk: machine("desk"), night: machine("night"), store })
    }

    /// Moves everything; how long nobody had the run, and nothing when it was interrupted.
    fn moves(&self, interrupted: &dyn Fn() -> bool) -> Result<Option<Duration>, String> {
        let standby = Process::start("night", &self.night, &["controller", "--lease", LEASE])?;
        let mut apply = Process::start("desk", &self.desk, &["apply", PLAN, "--yes", "--lease", LEASE])?;
        let mut records = Records::new(&self.store, interrupted);
        let begun = |record: &Record| matches!(&record.event, Event::Intent { step, .. } if step == KILLED_IN);
        if records.find(&begun)?.is_none() {
            return Ok(None);
        }
        apply.kill();
        let killed = Timestamp::now();
        println!(
            "\nThe controller on `desk` is killed (-9). Nobody on `night` can see that: it waits for the lease to end.\n"
        );
        let Some(resumed) = records.find(&|record| matches!(record.event, Event::Resumed { .. }))? else {
            return Ok(None);
        };
        let ended = records.find(&|record| matches!(record.event, Event::Finished | Event::Held { .. }))?;
        standby.dismiss();
        match ended.map(|record| record.event) {
            Some(Event::Finished) => Ok(Duration::try_from(resumed.at.duration_since(killed)).ok()),
            Some(_) => Err("\nThe migration did not come to its end.".to_owned()),
            None => Ok(None),
        }
    }

    /// Whether the journal is what both machines have sealed.
    fn is_sealed(&self) -> bool {
        println!();
        let key = |machine: &Migrate| {
            let said = machine.command(&["audit", "key"]).output().expect("migrate runs").stdout;
            String::from_utf8_lossy(&said).trim().to_owned()
        };
        let keys = [key(&self.desk), key(&self.night)];
        self.desk.show(&["audit", "verify", RUN, "--key", &keys[0], "--key", &keys[1]]).success()
    }
}

/// Nothing here has a password.
struct NoSecrets;

impl Secrets for NoSecrets {
    fn resolve(&self, _: &SecretRef) -> Result<Secret, SecretError> {
        Err(SecretError { from: "the demonstration".into(), why: "it has none".into() })
    }
}

/// The records of the run, as they come.
struct Records<'a> {
    store: &'a Arc<dyn RunStore>,
    follower: Option<Follower>,
    read: Vec<Record>,
    interrupted: &'a dyn Fn() -> bool,
}

impl<'a> Records<'a> {
    fn new(store: &'a Arc<dyn RunStore>, interrupted: &'a dyn Fn() -> bool) -> Self {
        Self { store, follower: None, read: Vec::new(), interrupted }
    }

    /// The next that is wanted; nothing when somebody has interrupted this.
    fn find(&mut self, wanted: &dyn Fn(&Record) -> bool) -> Result<Option<Record>, String> {
        let mut last = Instant::now();
        loop {
            while !self.read.is_empty() {
                let record = self.read.remove(0);
                last = Instant::now();
                if wanted(&record) {
                    return Ok(Some(record));
                }
            }
            if (self.interrupted)() {
                return Ok(None);
            }
            if last.elapsed() > SILENCE {
                return Err("\nNobody goes on with the migration.".to_owned());
            }
            self.read = self.next().map_err(|e| e.to_string())?;
        }
    }

    fn next(&mut self) -> Result<Vec<Record>, store::StoreError> {
        let Some(follower) = &mut self.follower else {
            std::thread::sleep(Duration::from_millis(100));
            let is_there = self.store.runs()?.iter().any(|run| run == RUN);
            self.follower = is_there.then(|| Follower::new(Arc::clone(self.store), RUN, 0));
            return Ok(Vec::new());
        };
        follower.next(Duration::from_millis(200))
    }
}

/// `migrate` at work on this terminal. It ends with its handle.
struct Process(Child);

impl Process {
    fn start(machine: &str, migrate: &Migrate, args: &[&str]) -> Result<Self, String> {
        println!("{machine}$ migrate {}", args.join(" "));
        migrate.command(args).spawn().map(Self).map_err(|e| format!("cannot run migrate: {e}"))
    }

    /// `kill -9`.
    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// Asks it to end, and waits for that.
    fn dismiss(mut self) {
        let _ = Command::new("kill").args(["-s", "TERM", "--", &self.0.id().to_string()]).status();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
