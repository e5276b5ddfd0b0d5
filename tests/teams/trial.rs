//! A move of upload servers under load, by a team of three machines, while somebody disturbs it. Whatever was done to it, it has to end as one
//! that nobody has disturbed.

use std::fs::{File, OpenOptions};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use migrate::event::{Event, Notice, Operator, Record, RunState, Status};
use migrate::lock::{Grant, Locks};
use migrate::store::{self, RunStore};

use super::cluster::open_at;
use super::machines::assert_sealed;
use crate::lab::command::Migrate;
use crate::lab::fleet::Fleet;
use crate::lab::load::Load;
use crate::operations::support::*;

/// In seconds; the shortest that a cluster keeps.
pub const LEASE: &str = "15";
/// Wide: a disturbed run waits for leases to end.
const PATIENCE: Duration = Duration::from_secs(600);
/// Where the run is begun, and where somebody stands by.
const BEGINS: usize = 0;
pub const STANDBYS: [usize; 2] = [1, 2];
const NAMES: [&str; 3] = ["desk", "left", "right"];
const PAIRS: usize = 2;

/// A move that has begun.
pub struct Trial {
    store: Arc<dyn RunStore>,
    pub run: String,
    machines: Vec<Machine>,
    /// Processes that were stopped in their tracks, and had the run then.
    stopped: Vec<u32>,
    load: Load,
    // Last: its servers are those of all above.
    fleet: Fleet,
}

/// A machine of the team, and what it runs. What that says is in a file.
struct Machine {
    name: &'static str,
    migrate: Migrate,
    process: Option<Child>,
    said: PathBuf,
}

impl Machine {
    fn start(&mut self, args: &[&str]) {
        let said: File = OpenOptions::new().create(true).append(true).open(&self.said).unwrap();
        let errors = OpenOptions::new().create(true).append(true).open(self.said.with_extension("errors")).unwrap();
        let mut command = self.migrate.command(&[args, &["--format", "json", "--lease", LEASE]].concat());
        self.process = Some(command.stdout(said).stderr(errors).spawn().unwrap());
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// The records that it has shown: it shows none that is not in the journal.
    fn acknowledged(&self) -> Vec<Record> {
        let said = std::fs::read_to_string(&self.said).unwrap_or_default();
        // The last line of one that was killed may be torn.
        let notices = said.lines().filter_map(|line| serde_json::from_str(line).ok());
        let records = notices.filter_map(|notice| match notice {
            Notice::Recorded(record) => Some(record),
            _ => None,
        });
        records.collect()
    }

    /// Whether it has ever signed anything.
    fn has_key(&self) -> bool {
        self.said.with_file_name(self.name).join("audit-key.pem").exists()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Trial {
    /// Begins a move, with two machines that stand by; each has its own way to the cluster.
    pub fn begin(address: impl Fn(&str) -> String, hold: &str) -> Self {
        let fleet = cutover(PAIRS);
        fleet.place.edit(CUTOVER, "hold: 200ms", &format!("hold: {hold}"));
        let store = open_at(&address("test"), &fleet.place.root().join("test"));
        let before = store.runs().unwrap();
        let machine = |name: &'static str| Machine {
            name,
            migrate: migrate(&fleet).on_machine(name, &address(name)).with_its_own_kernel(name),
            process: None,
            said: fleet.place.root().join(format!("{name}.said")),
        };
        let machines = NAMES.map(machine).into();
        let load = fleet.load(USERS);
        load.wait_for(100);
        let mut trial = Self { store, run: String::new(), machines, stopped: Vec::new(), load, fleet };
        STANDBYS.into_iter().for_each(|at| trial.stand_by(at));
        trial.machines[BEGINS].start(&["apply", CUTOVER, "--yes"]);
        trial.wait_for("the run", |trial| {
            let run = trial.store.runs().unwrap_or_default().into_iter().find(|run| !before.contains(run));
            trial.run = run.unwrap_or_default();
            // One that dies before its first record has begun nothing that others could go on with.
            !trial.run.is_empty() && trial.state().is_some_and(|state| state.records > 1)
        });
        trial
    }

    fn stand_by(&mut self, at: usize) {
        self.machines[at].start(&["controller"]);
    }

    /// What the run is, if the cluster can say.
    pub fn state(&self) -> Option<RunState> {
        store::state(self.store.as_ref(), &self.run).ok()
    }

    /// Whether it has come to its end. It must not be held: nobody has asked for that, and nothing has failed.
    pub fn has_ended(&self) -> bool {
        match self.state().map(|state| state.status) {
            Some(Status::Finished) => true,
            None | Some(Status::Running) => false,
            Some(other) => panic!("{} is {other:?}\n{}", self.run, self.complaints()),
        }
    }

    /// Who has the run, if the cluster can say.
    pub fn owner(&self) -> Option<Grant> {
        let by = Operator { user: "test".into(), host: "test".into(), pid: std::process::id() };
        let locks = Locks::new(self.store.lock_table(), &by, Duration::from_secs(60));
        locks.show().ok()?.into_iter().find(|grant| grant.run.as_ref() == Some(&self.run))
    }

    /// Waits until a step has begun.
    pub fn wait_for_step(&mut self, step: &str) {
        self.wait_for(step, |trial| {
            let record = trial.state().and_then(|state| state.step(step).map(|record| record.attempts));
            record.is_some_and(|attempts| attempts > 0)
        });
    }

    #[track_caller]
    pub fn wait_for(&mut self, what: &str, mut came: impl FnMut(&mut Self) -> bool) {
        let began = Instant::now();
        while !came(self) {
            assert!(began.elapsed() < PATIENCE, "{what} never came\n{}", self.complaints());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// `kill -9` for the process that has the run. Its machine goes on.
    pub fn kill_owner(&self) {
        if let Some(grant) = self.owner() {
            signal("KILL", grant.owner.pid);
        }
    }

    /// Kills everything on the machine that has the run, as if its power had failed, and waits until another has taken it over; then the first
    /// stands by, too. Returns how long nobody had it.
    pub fn lose_the_machine_that_has_it(&mut self) -> Duration {
        let before = self.taken_up().len();
        let (at, pid) = self.machine_that_has_it();
        self.machines[at].kill();
        signal("KILL", pid);
        let killed = Timestamp::now();
        self.wait_for("a takeover", |trial| trial.taken_up().len() > before);
        self.stand_by(at);
        Duration::try_from(self.taken_up()[before].duration_since(killed)).unwrap_or_default()
    }

    fn machine_that_has_it(&mut self) -> (usize, u32) {
        let mut found = None;
        self.wait_for("an owner", |trial| {
            let is_on = |grant: &Grant, name: &str| grant.owner.boot.as_deref() == Some(&format!("boot-of-{name}"));
            found = trial
                .owner()
                .and_then(|grant| Some((NAMES.iter().position(|name| is_on(&grant, name))?, grant.owner.pid)));
            found.is_some()
        });
        found.unwrap()
    }

    /// When it was taken up again.
    pub fn taken_up(&self) -> Vec<Timestamp> {
        let records = store::records(self.store.as_ref(), &self.run).unwrap_or_default();
        let resumed = records.iter().filter(|record| matches!(record.event, Event::Resumed { .. }));
        resumed.map(|record| record.at).collect()
    }

    /// `kill -9` for one that stands by, which is started again. What it has taken over goes on without it.
    pub fn kill_standby(&mut self, at: usize) {
        self.machines[at].kill();
        self.stand_by(at);
    }

    /// Stops the process that has the run in its tracks.
    pub fn stop_owner(&mut self) {
        let owner = self.owner().map(|grant| grant.owner.pid).filter(|pid| signal("STOP", *pid));
        self.stopped.extend(owner);
    }

    /// Lets those go on that were stopped and do not have the run any more.
    pub fn wake(&mut self) {
        let owner = self.owner().map(|grant| grant.owner.pid);
        self.stopped.retain(|pid| Some(*pid) == owner || !signal("CONT", *pid));
    }

    /// Changes how long a share is watched.
    pub fn set_hold(&self, hold: &str) {
        self.machines[BEGINS].migrate.run(&["set", &self.run, &format!("hold={hold}")]).expect(0);
    }

    /// Whether the process with which the run was begun is still there.
    pub fn first_runs(&mut self) -> bool {
        let process = self.machines[BEGINS].process.as_mut();
        process.is_some_and(|process| matches!(process.try_wait(), Ok(None)))
    }

    /// What the machines have complained of.
    pub fn complaints(&self) -> String {
        let of = |machine: &Machine| {
            let errors = std::fs::read_to_string(machine.said.with_extension("errors")).unwrap_or_default();
            format!("{}: {errors}", machine.name)
        };
        self.machines.iter().map(of).collect::<Vec<_>>().join("\n")
    }

    /// It ends as an undisturbed one, with these settings at the balancer: nobody has noticed, nothing was done twice, and everything that was
    /// acknowledged is there and sealed. Returns how often it was taken up again.
    pub fn ends_well(mut self, undisturbed: &[String]) -> usize {
        self.wait_for("the end", |trial| {
            trial.wake();
            trial.has_ended()
        });
        // The last seal follows the last record.
        self.wait_for("the end of its controller", |trial| {
            trial.owner().is_none_or(|grant| !signal("0", grant.owner.pid))
        });
        self.machines.iter_mut().for_each(Machine::kill);
        let records = store::records(self.store.as_ref(), &self.run).unwrap();
        let shown: Vec<Record> = self.machines.iter().flat_map(Machine::acknowledged).collect();
        assert!(!shown.is_empty());
        for record in shown {
            assert_eq!(records.get(record.seq as usize), Some(&record), "{}", self.run);
        }
        assert_once(
            &self.fleet,
            lines(&self.fleet, "do", "uploads", &["after_drain", "freeze", "thaw", "after_shift"]),
        );
        let machines = self.machines.iter().filter(|machine| machine.has_key());
        let machines: Vec<&Migrate> = machines.map(|machine| &machine.migrate).collect();
        assert_sealed(&self.run, &machines);
        self.load.wait_for(self.load.requests() + 100);
        assert_kept(&self.fleet, &self.load.stop());
        assert_eq!(settings(&self.fleet), undisturbed);
        records.iter().filter(|record| matches!(record.event, Event::Resumed { .. })).count()
    }
}

/// What the balancer has after a move that nobody has disturbed.
pub fn undisturbed() -> Vec<String> {
    let fleet = cutover(PAIRS);
    migrate(&fleet).run(&["apply", CUTOVER, "--yes"]).expect(0);
    settings(&fleet)
}

fn signal(name: &str, pid: u32) -> bool {
    let sent = Command::new("kill").args(["-s", name, "--", &pid.to_string()]).stderr(Stdio::null()).status();
    sent.is_ok_and(|status| status.success())
}
