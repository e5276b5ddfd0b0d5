//! What this process was given: directories, names, programs. Read once, passed on as values.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::event::Operator;
use crate::lock::{self, Locks};
use crate::render::Style;
use crate::secret::SecretRef;
use crate::secret::{Secret, SecretError, Secrets};
use crate::store::{self, Here, RunStore, StoreError};

/// The process's surroundings.
#[derive(Debug, Clone)]
pub struct Environment {
    /// What belongs to this machine: the audit key, the switch that stops everything, and runs unless another store is named.
    pub state_dir: PathBuf,
    /// Where runs are kept.
    pub store: Arc<dyn RunStore>,
    /// The address of another store than that of the state directory.
    pub store_address: Option<String>,
    /// In whose name this process acts, when it was started for somebody.
    pub acts_for: Option<String>,
    /// A directory with agents that go to hosts before those that this program carries.
    pub agents: Option<PathBuf>,
    /// Home directory.
    pub home: Option<PathBuf>,
    /// Login name.
    pub user: Option<String>,
    /// Who has become root by `sudo`.
    pub sudo_user: Option<String>,
    /// Socket of the SSH agent.
    pub ssh_auth_sock: Option<PathBuf>,
    /// Whether colours may be used.
    pub color: bool,
    /// Columns of the terminal on standard output, where it is one.
    pub width: Option<usize>,
    /// How long locks last without being renewed.
    pub lease: Duration,
    /// Whether people read standard output as it comes.
    pub terminal: bool,
}

impl Environment {
    /// Reads the process's environment.
    pub fn from_process(state_dir: Option<PathBuf>, store: Option<String>) -> Result<Self, StoreError> {
        let path = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let home = path("HOME");
        let state = || match (path("XDG_STATE_HOME"), &home) {
            (Some(state), _) => state.join("migrate"),
            (None, Some(home)) => home.join(".local/state/migrate"),
            (None, None) => PathBuf::from(".migrate"),
        };
        let name = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        let terminal = std::io::stdout().is_terminal();
        let state_dir = state_dir.unwrap_or_else(state);
        Ok(Self {
            store: match &store {
                Some(address) => {
                    store::open(address, &Here { dir: state_dir.clone(), secrets: Arc::new(ProcessSecrets) })?
                }
                None => store::in_directory(&state_dir),
            },
            store_address: store,
            acts_for: name("MIGRATE_BY"),
            state_dir,
            agents: None,
            lease: lock::LENGTH,
            user: name("USER").or_else(|| name("LOGNAME")),
            sudo_user: name("SUDO_USER").filter(|_| rustix::process::getuid().is_root()),
            ssh_auth_sock: path("SSH_AUTH_SOCK"),
            color: terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
            width: terminal.then(columns).flatten(),
            terminal,
            home,
        })
    }

    /// How text looks on standard output.
    pub fn style(&self, verbose: bool) -> Style {
        Style { color: self.color, verbose, width: self.width }
    }

    /// This program again, in the same surroundings.
    pub fn this_program(&self) -> std::io::Result<tokio::process::Command> {
        let mut command = tokio::process::Command::new(std::env::current_exe()?);
        // By its environment, where others of this machine do not see it.
        command.env("MIGRATE_STATE_DIR", &self.state_dir).env("MIGRATE_LEASE", self.lease.as_secs().to_string());
        command.envs(self.store_address.as_ref().map(|address| ("MIGRATE_STORE", address)));
        command.envs(self.agents.as_ref().map(|agents| ("MIGRATE_AGENTS", agents)));
        Ok(command)
    }

    /// The locks of the store.
    pub fn locks(&self) -> Locks {
        Locks::new(self.store.lock_table(), &self.operator(), self.lease)
    }

    /// Who runs this, for the journal.
    pub fn operator(&self) -> Operator {
        let uname = rustix::system::uname();
        Operator {
            // Two people who work as root are two people.
            user: self
                .acts_for
                .clone()
                .or_else(|| self.sudo_user.clone())
                .or_else(|| self.user.clone())
                .unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw())),
            host: uname.nodename().to_string_lossy().into_owned(),
            pid: std::process::id(),
        }
    }
}

/// How wide the terminal is; one that does not say so has no width.
fn columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Secrets from this process's environment, files and commands.
#[derive(Debug, Clone, Copy)]
pub struct ProcessSecrets;

impl Secrets for ProcessSecrets {
    fn resolve(&self, reference: &SecretRef) -> Result<Secret, SecretError> {
        let (from, value) = match reference {
            SecretRef::Env(name) => (format!("env {name}"), std::env::var(name).map_err(|e| e.to_string())),
            SecretRef::File(path) => {
                (format!("file {}", path.display()), std::fs::read_to_string(path).map_err(|e| e.to_string()))
            }
            SecretRef::Exec(argv) => (format!("exec {}", argv.first().map_or("", String::as_str)), from_command(argv)),
        };
        match value {
            Ok(value) => Ok(Secret::new(value.strip_suffix('\n').unwrap_or(&value))),
            Err(why) => Err(SecretError { from, why }),
        }
    }
}

fn from_command(argv: &[String]) -> Result<String, String> {
    let (program, args) = argv.split_first().ok_or("the command is empty")?;
    let output = std::process::Command::new(program).args(args).output().map_err(|e| e.to_string())?;
    if !output.status.success() {
        // Its output may hold the secret, so it is not shown.
        return Err(format!("it ended with {}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|_| "its output is not UTF-8".to_owned())
}
