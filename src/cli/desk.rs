//! What the live view has done for people: the same as the commands do.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::environment::Environment;
use super::pinned::Texts;
use super::runs::{self, Run};
use super::{failure, metrics, operate};
use crate::control::{self, Request};
use crate::engine::orders::Order;
use crate::event::{Operator, RunState};
use crate::serve::{Desk, Errand, Refused, Wanted};
use crate::spec::Spec;
use crate::store;
use crate::text;

/// What does not fail within this time is under way.
const AT_ONCE: Duration = Duration::from_secs(3);
/// Of what a command has said, this much is shown.
const SHOWN: usize = 2000;

/// Does what people want by what the commands do.
pub struct CommandDesk {
    environment: Environment,
    /// Whether it is told who asks for what.
    tells: bool,
    errands: Arc<Mutex<HashMap<String, Sent>>>,
}

/// A command that was sent.
struct Sent {
    errand: Errand,
    /// What it says.
    log: PathBuf,
}

impl CommandDesk {
    /// In these surroundings.
    pub fn new(environment: Environment, tells: bool) -> Self {
        Self { environment, tells, errands: Arc::default() }
    }

    fn errands(&self) -> MutexGuard<'_, HashMap<String, Sent>> {
        self.errands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn do_it(&self, name: &str, wanted: Wanted, by: &Operator) -> anyhow::Result<String> {
        let run = runs::find(&self.environment, name)?;
        let give = |order| operate::give(&self.environment, &run, order, by.clone());
        let (order, said) = match wanted {
            Wanted::Pause { why } => {
                (Order::Pause { why }, "it begins nothing new; frozen pairs are handed over first")
            }
            Wanted::Abort { why } => (Order::Abort { why }, "it stops at the next safe point"),
            Wanted::Approve { step, why } => (Order::Approve { step, why }, "it is approved"),
            Wanted::Set { setting } => (Order::Set { setting: operate::parse(&setting)? }, "it is set"),
            Wanted::Resume => {
                operate::refuse_while_stopped(&self.environment, &run)?;
                return Ok(operate::resumed(&run, give(Order::Resume)?));
            }
            Wanted::RollBack { why, to } => return self.roll_back(&run, &why, to.as_deref(), by),
        };
        give(order)?;
        Ok(said.to_owned())
    }

    /// A rollback is a controller of its own: the server must be able to end without it.
    fn roll_back(&self, run: &Run, why: &str, to: Option<&str>, by: &Operator) -> anyhow::Result<String> {
        let name = &run.name;
        if self.environment.store.is_live(name) {
            let what = format!("{name}: a controller works on it");
            return Err(failure::advised(what, "abort it first: once it has stopped, it can go back"));
        }
        let dir = self.environment.state_dir.join("serve");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        let log = dir.join(format!("{name}.rollback"));
        let out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&log)?;
        let child = self.command(&["rollback", name, "--yes"], why, to, by, out)?.spawn()?;
        let command =
            to.map_or_else(|| format!("migrate rollback {name}"), |to| format!("migrate rollback {name} --to {to}"));
        let by = format!("{}@{}", by.user, by.host);
        let errand = Errand { command, by, since: Timestamp::now(), code: None, says: String::new() };
        self.errands().insert(name.clone(), Sent { errand, log });
        self.wait_for(name, child)
    }

    fn command(
        &self,
        words: &[&str],
        why: &str,
        to: Option<&str>,
        by: &Operator,
        out: File,
    ) -> anyhow::Result<Command> {
        let environment = &self.environment;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(words).arg(format!("--why={why}")).args(to.map(|to| format!("--to={to}")));
        command.arg("--state-dir").arg(&environment.state_dir).arg(format!("--lease={}", environment.lease.as_secs()));
        command.args(environment.agents.iter().flat_map(|dir| ["--agents".into(), dir.clone().into_os_string()]));
        command.envs(environment.store_address.iter().map(|address| ("MIGRATE_STORE", address)));
        command.env("MIGRATE_BY", &by.user);
        // Ctrl-C is for the server.
        command.stdin(Stdio::null()).stderr(out.try_clone()?).stdout(out).process_group(0);
        Ok(command)
    }

    /// Waits until it works on the run, or has failed at once.
    fn wait_for(&self, run: &str, mut child: Child) -> anyhow::Result<String> {
        let began = Instant::now();
        while began.elapsed() < AT_ONCE && !self.environment.store.is_live(run) {
            if let Some(status) = child.try_wait()? {
                self.end(run, status.code());
                let said = self.errand(run).map(|errand| errand.says).unwrap_or_default();
                let said = if said.is_empty() { format!("{run}: its rollback ended with {status}") } else { said };
                return match status.success() {
                    true => Ok(said),
                    false => Err(failure::advised(said, "nothing goes back")),
                };
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let (errands, name) = (Arc::clone(&self.errands), run.to_owned());
        std::thread::spawn(move || {
            let code = child.wait().ok().and_then(|status| status.code());
            end(&errands, &name, code);
        });
        Ok("it goes back".to_owned())
    }

    fn end(&self, run: &str, code: Option<i32>) {
        end(&self.errands, run, code);
    }
}

/// A command that a signal has ended has no code of its own.
fn end(errands: &Mutex<HashMap<String, Sent>>, run: &str, code: Option<i32>) {
    if let Some(sent) = errands.lock().unwrap_or_else(PoisonError::into_inner).get_mut(run) {
        sent.errand.code = Some(code.unwrap_or(-1));
    }
}

impl Desk for CommandDesk {
    fn owner(&self) -> Operator {
        self.environment.operator()
    }

    fn ask(&self, run: &str, wanted: Wanted, by: &Operator) -> Result<String, Refused> {
        self.do_it(run, wanted, by).map_err(|e| refused(&e))
    }

    fn stop_all(&self, why: &str, by: &Operator) -> Result<String, Refused> {
        let switch = runs::stop_switch(&self.environment);
        // It says who and why from the moment it is there: controllers look at any time.
        let made = switch.with_extension(format!("{}.new", std::process::id()));
        let write = || {
            fs::write(&made, format!("{}@{}: {why}\n", by.user, by.host))?;
            fs::hard_link(&made, &switch)
        };
        let written = write();
        let _ = fs::remove_file(&made);
        match written {
            Ok(()) => Ok("every run on this machine begins nothing new; frozen pairs are handed over first".to_owned()),
            Err(e) => {
                let what = format!("{}: {e}", switch.display());
                Err(Refused {
                    what,
                    hint: Some("while that file is there, every run on the machine is paused".to_owned()),
                })
            }
        }
    }

    fn let_all_go_on(&self, by: &Operator) -> Result<String, Refused> {
        let switch = runs::stop_switch(&self.environment);
        let names = self.environment.store.runs().unwrap_or_default();
        // Before the switch is taken away: then each controller would do so by itself, and in its own name.
        for name in names.into_iter().filter(|name| self.environment.store.is_live(name)) {
            let paused = store::state(self.environment.store.as_ref(), &name).ok().and_then(|state| state.paused);
            if paused.is_some_and(|pause| runs::is_of_switch(&self.environment, &pause.why)) {
                let request = Request::Order { order: Order::Resume, by: by.clone() };
                // One that has ended meanwhile is not paused any more.
                let _ = control::ask(&self.environment.store.socket(&name), &request);
            }
        }
        match fs::remove_file(&switch) {
            Ok(()) => Ok("what the switch had paused goes on".to_owned()),
            Err(e) => Err(Refused { what: format!("{}: {e}", switch.display()), hint: None }),
        }
    }

    fn stopped(&self) -> Option<String> {
        runs::stop_switch(&self.environment).exists().then(|| runs::switch_words(&self.environment))
    }

    fn errand(&self, run: &str) -> Option<Errand> {
        let errands = self.errands();
        let sent = errands.get(run)?;
        let said = fs::read(&sent.log).unwrap_or_default();
        let end = said.get(said.len().saturating_sub(SHOWN)..).unwrap_or_default();
        let lines: Vec<String> = end.split(|byte| *byte == b'\n').map(|line| text::escape(line, SHOWN)).collect();
        Some(Errand { says: lines.join("\n").trim().to_owned(), ..sent.errand.clone() })
    }

    fn spec(&self, state: &RunState) -> Option<Spec> {
        Texts::of(&self.environment, &state.started, None).and_then(|texts| texts.spec(&self.environment)).ok()
    }

    fn metrics(&self) -> Result<String, Refused> {
        metrics::text(&self.environment).map_err(|e| refused(&e))
    }

    fn log(&self, line: &str) {
        if self.tells {
            eprintln!("{} {line}", Timestamp::now().strftime("%Y-%m-%d %H:%M:%S UTC"));
        }
    }
}

fn refused(error: &anyhow::Error) -> Refused {
    let what = error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ");
    Refused { what, hint: failure::hint_of(error) }
}
