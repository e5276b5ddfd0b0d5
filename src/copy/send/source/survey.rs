//! The survey of the source, before the state of the target is known.
//!
//! Owns the choice between scanning the whole tree and scanning only what a change watch names. Must never rely on a watch that is
//! not sure.

use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::fstat;

use super::actions::Action;
use super::baseline::Baseline;
use super::mounts::{self, Mounted};
use super::records::{cannot_remember, rules};
use super::scan::{Scan, Source};
use super::watched::{self, WatchedScan};
use crate::copy::failure::{Failure, Side};
use crate::copy::fs::filter::Filter;
use crate::copy::fs::tree::Execution;
use crate::copy::fs::walk::dev_of;
use crate::copy::job::ScanMode;
use crate::copy::manifest::delta::Delta;
use crate::copy::manifest::format::Generation;
use crate::copy::manifest::full::Manifest;
use crate::copy::send::ledger::Ledger;
use crate::copy::watch::writers::writers;
use crate::copy::watch::{ChangedDir, WatchClient, WatchRequest};
use crate::copy::wire::task::TreeTask;

/// Bytes below which the controller's own connections are good enough.
const LITTLE: u64 = 16 << 20;

/// What there is to see without the target.
pub struct Survey {
    /// When the pass began.
    pub start: Instant,
    /// Directory of the job's manifest.
    pub work: PathBuf,
    /// What the manifest is recognised by.
    pub rules: [u8; 32],
    /// The source.
    pub source: Source,
    /// The filesystem that its root is on.
    pub volume: Mounted,
    /// What the manifest says that the target has.
    pub known: Baseline,
    /// The source compared with that, unless the manifest says nothing.
    pub found: Option<Scan>,
    /// The state in which the manifest knows the target.
    pub generation: Option<Generation>,
    /// The watch that was asked and wants to know how the pass ends.
    pub watch: Option<WatchClient>,
    /// How changes were found.
    pub looked: ScanMode,
}

/// Looks at the source.
pub fn survey(task: &TreeTask, work: &Path, ledger: &Ledger, execution: &Execution) -> Result<Survey, Failure> {
    let start = Instant::now();
    let filter = Filter::new(&task.rules.exclude).map_err(|e| Failure::fatal(Side::Source, e.to_string()))?;
    let source = Source::open(task, filter, execution)?;
    let work = work.join("jobs").join(&task.job);
    std::fs::create_dir_all(&work).map_err(|e| cannot_remember(&work, &e))?;
    let (rules, file) = (rules(task), work.join("manifest"));
    let broken = |e: std::io::Error| cannot_remember(&work, &e);
    let current = Delta::current(&file).map_err(broken)?.filter(|current| current.header.rules == rules);
    let volume = mounts::same_volume(task, &source, current.as_ref().map(|current| &current.header), &work)?;
    let current = current.filter(|_| !task.checksum);
    let generation = current.as_ref().and_then(|current| current.header.generation);
    let base = current.as_ref().map(|current| current.base);
    let mut watch = WatchClient::reach(&work);
    let why = match (take(watch.as_mut(), task, &source, generation), current) {
        (Ok(places), Some(current)) => match watched::find(&source, &file, current, places, ledger).map_err(broken)? {
            WatchedScan::Complete(known, found) => {
                let (known, found, looked) = (Baseline::Watched(*known), Some(found), ScanMode::Watched);
                return Ok(Survey { start, work, rules, source, volume, known, found, generation, watch, looked });
            }
            WatchedScan::Unclear(why) => {
                ledger.restart();
                why.to_owned()
            }
        },
        (Ok(_), None) => String::new(),
        (Err(why), _) => why,
    };
    let manifest = match task.checksum {
        true => Manifest::default(),
        false => Manifest::load(&file, &rules).map_err(broken)?,
    };
    // One that cannot be trusted knows no state of the target, whatever its first bytes say: the target has to be asked.
    let generation = generation.filter(|_| base == Some(manifest.sum()));
    let known = Baseline::Manifest(manifest);
    let found = generation.map(|_| source.scan(&known, ledger)).transpose()?;
    let looked = ScanMode::Swept { why };
    Ok(Survey { start, work, rules, source, volume, known, found, generation, watch, looked })
}

/// Where the watch says to look. Also where it does not know, what happens from now on is kept for the next pass.
fn take(
    watch: Option<&mut WatchClient>,
    task: &TreeTask,
    source: &Source,
    generation: Option<Generation>,
) -> Result<Vec<ChangedDir>, String> {
    let Some(watch) = watch else { return Err(task.unwatched.clone()) };
    let st = fstat(source.tree.root()).map_err(|e| e.to_string())?;
    #[allow(clippy::unnecessary_cast, reason = "its width differs between architectures")]
    let root = (dev_of(&st), st.st_ino as u64);
    let open = match generation {
        Some(_) => writers(Path::new(&task.from), root.0),
        None => Ok(Vec::new()),
    };
    let known = generation.filter(|_| open.is_ok());
    let places = watch.take(&WatchRequest::Take { generation: known, root, open: open.clone().unwrap_or_default() });
    open.and(places)
}

impl Survey {
    /// Whether so little is to be sent that the way there matters more than its width.
    pub fn is_little(&self) -> bool {
        let Some(found) = &self.found else { return false };
        let sizes = (0..).zip(&found.dirs).flat_map(|(nth, _)| {
            found.actions(nth, &self.known).map(|(act, _)| if let Action::Send(entry) = act { entry.size } else { 0 })
        });
        sizes.fold(0, u64::saturating_add) <= LITTLE
    }
}
