//! The typed model of an inventory and a plan: what everything behind the YAML works with.
//!
//! Owns the words and their defaults. Must never hold a YAML node, a source position or a resolved
//! secret: what is here has passed validation and is safe to print.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::traffic::DirectorConfig;

/// A plan and its inventory, validated against each other, with the digests of every file read.
#[derive(Debug, Clone)]
pub struct Spec {
    /// What moves, and under which rules.
    pub plan: Plan,
    /// Where it moves from and to.
    pub inventory: Inventory,
    /// Every file that was read, in reading order.
    pub inputs: Vec<Input>,
}

/// One file that went into a [`Spec`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// The path as the user named it.
    pub path: PathBuf,
    /// BLAKE3 of its bytes, hex.
    pub digest: String,
}

/// Sites, hosts, groups and directors.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// Sites by name.
    pub sites: BTreeMap<String, Site>,
    /// Hosts by name.
    pub hosts: BTreeMap<String, Host>,
    /// Members of each group, in the order that pairing `by: order` uses.
    pub groups: BTreeMap<String, Vec<String>>,
    /// Traffic directors by name.
    pub directors: BTreeMap<String, DirectorConfig>,
}

/// A place that hosts stand in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// One line for people.
    pub description: Option<String>,
}

/// One machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// The name used in plans, journals and output.
    pub name: String,
    /// The site it stands in.
    pub site: Option<String>,
    /// IP address or DNS name that services and, unless `ssh` says otherwise, SSH use.
    pub address: String,
    /// How to log in.
    pub ssh: SshTarget,
    /// Labels for selectors.
    pub tags: BTreeSet<String>,
    /// Relative serving capacity; 100 unless given.
    pub capacity: u32,
    /// What keeping it costs, for the bill of running both sides.
    pub cost_per_month: Option<Money>,
    /// Values for `{{ name }}` in paths, URLs and commands. Holds `name` and `address` too.
    pub vars: BTreeMap<String, String>,
}

/// How to reach a host by SSH. What is `None` comes from `~/.ssh/config`, then OpenSSH's defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SshTarget {
    /// Host name or address to dial, when it is not the host's `address`.
    pub address: Option<String>,
    /// Login name.
    pub user: Option<String>,
    /// TCP port.
    pub port: Option<u16>,
    /// Private key file. Without one: the agent, then the identity files of the configuration.
    pub key: Option<PathBuf>,
    /// Names of inventory hosts to go through, nearest first.
    pub jump: Vec<String>,
    /// `known_hosts` file to trust instead of the user's.
    pub known_hosts: Option<PathBuf>,
    /// Directory on the host for the agent and receipts; `~/.migrate` unless given.
    pub work_dir: Option<String>,
}

/// An amount of money, in hundredths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Money {
    /// Hundredths of the currency's unit.
    pub cents: u64,
    /// ISO 4217 code.
    pub currency: String,
}

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
    /// What happens when a step of it fails.
    pub on_failure: OnFailure,
}

/// One source host and the target host that takes its place.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
}

/// A directory tree on the source that must be the same on the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryState {
    /// Root on the source.
    pub from: Template,
    /// Root on the target.
    pub to: Template,
    /// Patterns of what stays behind.
    pub exclude: Vec<String>,
    /// Whether files that the source does not have are removed on the target; true unless given.
    pub delete: bool,
    /// Compare BLAKE3 of every file on both sides before the thaw; true unless given.
    pub verify: bool,
    /// Bytes per second, `None` for no limit.
    pub bandwidth: Option<u64>,
    /// Catch-up passes end when less than this many bytes are left.
    pub settle_below: u64,
    /// At most this many catch-up passes before the freeze.
    pub max_passes: u32,
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

/// A command on a host at a named point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// When it runs.
    pub at: HookPoint,
    /// Where it runs.
    pub on: Side,
    /// The shell command; values put in for `{{ name }}` are quoted as one word.
    pub run: Template,
    /// How long it may take.
    pub timeout: Duration,
    /// Whether running it twice is the same as once.
    pub idempotent: bool,
    /// A command that tells (exit 0) whether the hook's work is already done.
    pub done_when: Option<Template>,
    /// How its work is taken back.
    pub undo: Undo,
    /// Environment variables of the command, from secrets.
    pub secrets: BTreeMap<String, SecretRef>,
}

/// How the work of a hook is taken back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Undo {
    /// The plan does not say: there is no way back behind the hook.
    #[default]
    Unsaid,
    /// There is nothing to take back.
    Nothing,
    /// A command on the same host.
    Run(Template),
}

/// What happens when a step fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Stop and ask.
    #[default]
    Hold,
    /// Put the last shift back, then stop and ask.
    StepBack,
    /// Put everything back.
    Rollback,
}

/// The points of a pair's move that hooks can be tied to, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookPoint {
    /// Before anything is done for the pair.
    BeforePair,
    /// Before the first copy.
    BeforeSeed,
    /// After the copy has caught up.
    AfterSeed,
    /// Before the source loses traffic.
    BeforeDrain,
    /// After its connections have ended.
    AfterDrain,
    /// Stops the writer on the source (cutover).
    Freeze,
    /// Starts the writer on the target (cutover).
    Thaw,
    /// Before the target gets traffic.
    BeforeShift,
    /// After the target has its full weight.
    AfterShift,
    /// After everything for the pair is done.
    AfterPair,
}

/// The side of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The host that is left.
    Source,
    /// The host that takes over.
    Target,
}

/// Where a secret is found; never the secret itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretRef {
    /// An environment variable of the controller.
    Env(String),
    /// A file on the controller; one trailing newline is dropped.
    File(PathBuf),
    /// A command on the controller; its standard output, one trailing newline dropped.
    Exec(Vec<String>),
}
