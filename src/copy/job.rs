//! What the copy engine is asked to do, what it reports, and the trait behind which it stands.
//!
//! Owns plain data that other rooms see. Must never know how a copy is carried out.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::host::{AgentFacts, Facts};
use crate::model::{DataPath, Host, TreeRules};
use crate::outside::Error;

/// One tree to carry from one host to another. The same job always means the same manifest.
#[derive(Debug, Clone)]
pub struct CopyJob {
    /// Identifies the job across passes, runs and crashes: letters, digits, `-`, `_`, `.`.
    pub id: String,
    /// Where the tree is.
    pub source: Host,
    /// Where it goes.
    pub target: Host,
    /// Root on the source, absolute.
    pub from: String,
    /// Root on the target, absolute; made if missing, its parent must exist.
    pub to: String,
    /// What the target is to have of the source.
    pub rules: TreeRules,
    /// Bytes per second.
    pub bandwidth: Option<u64>,
    /// Which way the data takes.
    pub path: DataPath,
    /// Believe no record: compare the content of everything on both sides, and send what differs.
    pub checksum: bool,
    /// Look at the target, too, whatever the record says of it: what somebody else has removed or changed there is sent again.
    pub listed: bool,
    /// Where content is compared, read all of it, also what has not changed since an earlier comparison.
    pub fresh: bool,
}

/// How far a pass is; lossy, at most some times a second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyProgress {
    /// Entries looked at on the source.
    pub files_scanned: u64,
    /// Files whose content has arrived.
    pub files_done: u64,
    /// Files known to need sending.
    pub files_total: u64,
    /// Bytes of these that are done with: arrived, of large files also sent, or there already. Never goes back within a pass, and
    /// never beyond the total.
    pub bytes_done: u64,
    /// Bytes of the files known to need sending; 0 while that is not known.
    pub bytes_total: u64,
}

/// What a pass did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassReport {
    /// Entries of all kinds on the source.
    pub entries: u64,
    /// Bytes of all regular files on the source.
    pub bytes: u64,
    /// Files sent.
    pub files_sent: u64,
    /// Bytes of content sent.
    pub bytes_sent: u64,
    /// Entries removed on the target.
    pub deleted: u64,
    /// Entries that changed while they were read; the next pass takes them again.
    pub unsettled: u64,
    /// Users and groups that went by their number, though names were asked for: they have none, or the target does not know it.
    pub nameless: u64,
    /// The first directories on which filesystems are mounted that were not carried, escaped.
    #[serde(default)]
    pub left_out: Vec<String>,
    /// How changes on the source were found.
    pub looked: ScanMode,
    /// Wall time in milliseconds.
    pub millis: u64,
    /// Which way the data took.
    pub way: DataRoute,
}

/// Which way data took from source to target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataRoute {
    /// From host to host.
    #[default]
    Direct,
    /// Through the controller.
    Relayed {
        /// Why, escaped; empty when that was asked for.
        why: String,
    },
}

impl fmt::Display for DataRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct => f.write_str("from host to host"),
            Self::Relayed { why } if why.is_empty() => f.write_str("through this machine"),
            Self::Relayed { why } => write!(f, "through this machine, because {why}"),
        }
    }
}

/// One stream to carry from a command on one host to a command on another.
#[derive(Debug, Clone)]
pub struct StreamJob {
    /// Identifies it, as a copy's id does.
    pub id: String,
    /// Where the data comes from.
    pub source: Host,
    /// Where it goes.
    pub target: Host,
    /// The shell command on the source whose standard output is carried.
    pub from: String,
    /// The shell command on the target that gets it as its standard input.
    pub to: String,
    /// How long both commands may take, `None` for as long as they like.
    pub timeout: Option<Duration>,
    /// Bytes per second.
    pub bandwidth: Option<u64>,
}

/// What a stream carried: both commands ended with status 0, and both ends saw the same bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamReport {
    /// Bytes carried.
    pub bytes: u64,
    /// Their BLAKE3, taken on both ends.
    pub hash: [u8; 32],
    /// Wall time in milliseconds.
    pub millis: u64,
}

/// What a pass would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    /// Entries of all kinds on the source.
    pub entries: u64,
    /// Bytes of all regular files on the source.
    pub bytes: u64,
    /// Files that would be sent.
    pub files_sent: u64,
    /// Their bytes; of large files only the blocks that differ travel.
    pub bytes_sent: u64,
    /// Directories, links and special files that would be made, and directories whose attributes would change.
    pub made: u64,
    /// Entries that would be removed on the target, directories counted once.
    pub deleted: u64,
    /// The first of them, for people, escaped: `send data/x`.
    pub changes: Vec<String>,
    /// Bytes that the target needs beyond what is there.
    pub room: u64,
    /// Inodes that it needs.
    pub inodes: u64,
    /// What the target has too little of; not asked where its root is not there.
    pub lacks: Option<String>,
    /// Directories on the target in which something would change, and that its login may not write to.
    pub closed: u64,
    /// The first of them, escaped; empty for the root.
    pub closed_first: Option<String>,
}

/// How a pass finds what changed on the source. Either finds every change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScanMode {
    /// Every entry was looked at.
    Swept {
        /// Why no watch said where to look; empty in the first pass.
        why: String,
    },
    /// A change watch said where to look.
    Watched,
}

impl Default for ScanMode {
    fn default() -> Self {
        Self::Swept { why: String::new() }
    }
}

/// When two trees are compared, and so what a difference means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum VerifyMode {
    /// The source is in use: what has changed there since the last pass is for the next one.
    Ahead,
    /// Nothing writes to either: both must be the same.
    Frozen,
}

impl fmt::Display for ScanMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Watched => f.write_str("watched"),
            Self::Swept { why } if why.is_empty() => f.write_str("swept"),
            Self::Swept { why } => write!(f, "swept ({why})"),
        }
    }
}

/// What a comparison found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// Regular files on the source.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of these files, those that were compared before and have not changed since, on either side: they were not read again.
    pub known: u64,
    /// Entries that are the same but for their owner, because the login on the target cannot give it.
    #[serde(default)]
    pub disowned: u64,
    /// Entries that differ because the source has changed since the last pass; none when it is frozen.
    pub behind: u64,
    /// Entries that differ and should not.
    pub different: u64,
    /// The first few, for people, escaped: `path: content differs`.
    pub examples: Vec<String>,
}

impl VerifyReport {
    /// What it says of owners that could not be kept; nothing when all were.
    pub fn lost_owners(&self) -> String {
        match self.disowned {
            0 => String::new(),
            1 => "; 1 owner could not be kept".to_owned(),
            n => format!("; {} owners could not be kept", crate::text::grouped(n)),
        }
    }
}

/// Receives progress.
pub type OnProgress<'a> = &'a (dyn Fn(CopyProgress) + Send + Sync);

/// Carries trees.
#[async_trait]
pub trait Copier: Send + Sync {
    /// Brings the target up to what the source has: the first pass sends everything, later ones what changed. Running it again is
    /// always safe.
    async fn pass(&self, job: &CopyJob, progress: OnProgress<'_>) -> Result<PassReport, Error>;

    /// Compares every entry by its content on both disks.
    async fn verify(&self, job: &CopyJob, when: VerifyMode, progress: OnProgress<'_>) -> Result<VerifyReport, Error>;

    /// Changes how fast the passes of a job go that are under way, in bytes per second: `None` for no limit, 0 to stand still. The next
    /// pass begins as its job says.
    fn limit(&self, job: &str, bandwidth: Option<u64>);

    /// Pours a stream. No success when either command fails or the stream was cut. The error's certainty is about the command on the
    /// target, which may have got everything.
    async fn stream(&self, job: &StreamJob, progress: OnProgress<'_>) -> Result<StreamReport, Error>;

    /// Whether an agent can be on a host, by what is known of the host: contacts nobody. The error says why not, and what helps.
    async fn suits(&self, host: &Host, facts: &Facts) -> Result<(), Error>;

    /// Puts the agent on a host, starts it there, and lets it look at trees. It stays until [`Copier::clean_up`].
    async fn probe(&self, host: &Host, trees: &[String]) -> Result<AgentFacts, Error>;

    /// Removes what the engine put on a host: agents, manifests of these jobs.
    async fn clean_up(&self, host: &Host, jobs: &[String]) -> Result<(), Error>;
}

/// Whether `id` can identify a job: letters, digits, `-`, `_` and `.`, so that it can be a file name.
pub fn is_job_id(id: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !id.is_empty() && id.len() <= 200 && !id.starts_with('.') && id.chars().all(allowed)
}
