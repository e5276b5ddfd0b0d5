//! Services, waves, and how they move.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Gate, Hook, OnFailure};

/// What moves where, and under which rules.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Name of the migration; runs are filed under it.
    pub name: String,
    /// One line for people.
    pub description: Option<String>,
    /// Services in the order of the file.
    pub services: Vec<Service>,
    /// Waves in execution order; each service is in exactly one.
    pub waves: Vec<Wave>,
    /// Pairs that may fail in all before everything is held; `None` leaves it to the waves.
    pub failure_budget: Option<usize>,
    /// Bytes per second of all copies together, `None` for no limit.
    pub total_bandwidth: Option<u64>,
    /// How its runs can be accounted for.
    pub audit: Audit,
}

/// How runs can be accounted for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// Where signed checkpoints are copied to, besides the run's own directory.
    pub copy_to: Vec<CheckpointCopy>,
}

/// A place for copies of signed checkpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckpointCopy {
    /// A file on the controller that lines are added to.
    File(PathBuf),
    /// The controller's own system log.
    Syslog,
    /// A log server that takes UDP, as `host:port`.
    SyslogUdp(String),
}

impl std::fmt::Display for CheckpointCopy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Syslog => f.write_str("syslog:"),
            Self::SyslogUdp(address) => write!(f, "syslog:{address}"),
        }
    }
}

/// What moves at the same time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wave {
    /// Name, unique in the plan.
    pub name: String,
    /// Names of its services.
    pub services: Vec<String>,
    /// Pairs that may be out of service (drained and not yet serving on the target) at once; at least 1.
    pub max_unavailable: usize,
    /// Pause after the wave, before the next one.
    pub pause: Duration,
    /// Pairs that may fail before the wave's other pairs are held, too.
    pub failure_budget: usize,
}

/// A group of source hosts and a group of target hosts that move together.
#[derive(Debug, Clone)]
pub struct Service {
    /// Name, unique in the plan.
    pub name: String,
    /// How it moves.
    pub strategy: Strategy,
    /// Source and target hosts; each host at most once.
    pub pairs: Vec<Pair>,
    /// Who decides where its traffic goes. `None`: nothing directs traffic, only state moves.
    pub traffic: Option<Traffic>,
    /// What must be carried over, in order.
    pub state: Vec<State>,
    /// How sources are emptied.
    pub drain: Drain,
    /// What must hold on a target before and while it gets traffic.
    pub health: Vec<HealthCheck>,
    /// How weights rise.
    pub shift: Shift,
    /// Commands around the phases.
    pub hooks: Vec<Hook>,
    /// Percent of the sources' capacity that must serve at every moment; `None`: all but the largest host (N+1).
    pub min_capacity: Option<u8>,
    /// Questions before the phases.
    pub gates: Vec<Gate>,
    /// What happens when a step of it fails.
    pub on_failure: OnFailure,
}

/// One source host and the target host that takes its place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pair {
    /// Inventory name of the source.
    pub source: String,
    /// Inventory name of the target.
    pub target: String,
}

/// How a service moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Both sides serve; weights move in steps.
    Ramp,
    /// One writer at a time; pair by pair, with a freeze.
    Cutover,
}

/// The binding of a service to a director.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Inventory name of the director.
    pub director: String,
    /// HAProxy backend, or DNS owner name.
    pub pool: String,
    /// Template for a host's member name in the pool: server name, or address.
    pub member: Template,
    /// Local port of the service, so that connections can be counted on the host itself where the director cannot.
    pub port: Option<Template>,
    /// DNS only: the TTL during the move. `None` leaves the TTL as it is.
    pub ttl: Option<Duration>,
}

/// Text with `{{ name }}` places, filled from a host's variables; validated for both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Template(pub String);

/// What must be carried over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// A directory tree.
    Directory(DirectoryState),
    /// What a command writes, to another command.
    Stream(StreamState),
}

impl State {
    /// The tree, if it is one.
    pub fn directory(&self) -> Option<&DirectoryState> {
        match self {
            Self::Directory(tree) => Some(tree),
            Self::Stream(_) => None,
        }
    }
}

/// What a command on the source writes, and a command on the target takes, once, after the freeze.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamState {
    /// The shell command on the source.
    pub from: Template,
    /// The shell command on the target.
    pub to: Template,
    /// How long both may take, `None` for no limit.
    pub timeout: Option<Duration>,
    /// Bytes per second, `None` for no limit.
    pub bandwidth: Option<u64>,
    /// Whether pouring it twice is the same as once.
    pub idempotent: bool,
}

/// A directory tree on the source that must be the same on the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryState {
    /// Root on the source.
    pub from: Template,
    /// Root on the target.
    pub to: Template,
    /// What the target is to have of the source.
    pub rules: TreeRules,
    /// Compare BLAKE3 of every file on both sides before the thaw; true unless given.
    pub verify: bool,
    /// Bytes per second, `None` for no limit.
    pub bandwidth: Option<u64>,
    /// Which way the data takes.
    pub path: DataPath,
    /// What the source must not suffer while it serves.
    pub throttle: Option<Throttle>,
    /// Catch-up passes end when less than this many bytes are left.
    pub settle_below: u64,
    /// At most this many catch-up passes before the freeze.
    pub max_passes: u32,
    /// What becomes of the root on the target when the run goes back.
    pub on_rollback: OnRollback,
}

/// What the target is to have of a tree. These rules mean the same in the plan, in the step, in the copy engine and on the wire. By default
/// everything is carried, nothing is removed, and a source that looks unmounted is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeRules {
    /// Patterns of what is not carried, as rsync reads them. The first that matches decides, and `+ pattern` keeps the entry.
    pub exclude: Vec<String>,
    /// Whether entries that the source does not have are removed on the target.
    pub delete: bool,
    /// Whether they are also removed when the source's root is empty; otherwise that is taken for a filesystem that is not mounted.
    pub allow_empty: bool,
    /// Whether the source may be on other filesystems than at the last pass; otherwise that is taken for one that is not mounted.
    pub allow_moved: bool,
    /// What makes an owner the same on both hosts.
    pub owners: Owners,
}

/// What becomes of a target's directory when a run goes back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnRollback {
    /// What was copied stays.
    #[default]
    Leave,
    /// What was there before the run is there again; what was copied is moved beside it.
    Restore,
}

/// What makes a user or group the same on two hosts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owners {
    /// The number.
    #[default]
    Numbers,
    /// The name; who has none, or one that the target does not know, keeps the number.
    Names,
}

/// A copy stands still while a number on the source is too high.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttle {
    /// Prints the number, on the source.
    pub command: Template,
    /// The highest number at which the copy goes on.
    pub above: u64,
    /// How often it is asked for.
    pub every: Duration,
}

/// Which way data takes from source to target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataPath {
    /// From host to host where that can be, else through this machine.
    #[default]
    Auto,
    /// From host to host, or not at all.
    Direct,
    /// Through this machine.
    Relay,
}

/// How a source is emptied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// How long connections may take to end by themselves.
    pub deadline: Duration,
    /// What happens at the deadline.
    pub on_deadline: OnDeadline,
    /// How often connections are counted.
    pub interval: Duration,
}

/// What happens when a drain misses its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDeadline {
    /// Leave it drained, stop and ask.
    Hold,
    /// Put its traffic back as it was, then stop and ask.
    Restore,
    /// Go on with the connections that are left.
    Proceed,
}

/// How the targets' share rises.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shift {
    /// Percent of the full weight, rising, the last one 100.
    pub steps: Vec<u8>,
    /// Watch time after each step, with health checks in between.
    pub hold: Duration,
}

/// A check against a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: Probe,
    /// Consecutive passes that make a host healthy.
    pub rise: u32,
    /// Consecutive failures that make it unhealthy.
    pub fall: u32,
    /// Time between two probes.
    pub interval: Duration,
    /// Time one probe may take.
    pub timeout: Duration,
    /// How long a host that starts up may need until `rise` passes in a row; after that the check has failed.
    pub within: Duration,
}

/// The question a check asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// An HTTP or HTTPS GET from the controller.
    Http(HttpProbe),
    /// A TCP connect from the controller to `host:port`.
    Tcp(Template),
    /// A command on the host; exit status 0 passes.
    Exec(Template),
}

/// What an HTTP answer must look like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpProbe {
    /// The URL.
    pub url: Template,
    /// Accepted status codes; 200 unless given.
    pub status: Vec<u16>,
    /// Text the body must hold (its first 64 KiB are looked at).
    pub body: Option<String>,
    /// Headers the answer must have, with these values.
    pub headers: BTreeMap<String, String>,
    /// Longest accepted time to the full answer.
    pub latency: Option<Duration>,
}
