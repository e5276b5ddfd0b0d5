//! The look at the source, before anything is known of the target's state.
//!
//! Owns whether everything is looked at or only what a watch names. Must never believe a watch that is not sure.

use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::fstat;

use super::baseline::Known;
use super::changes::Act;
use super::mounts::{self, Mounted};
use super::records::cannot_remember;
use super::records::rules;
use super::scan::{Found, Source};
use super::watched::{self, Outcome};
use crate::copy::failure::{Failure, Side};
use crate::copy::fs::filter::Filter;
use crate::copy::fs::path::TempNames;
use crate::copy::fs::walk::dev_of;
use crate::copy::job::Looked;
use crate::copy::manifest::delta::Delta;
use crate::copy::manifest::format::Generation;
use crate::copy::manifest::full::Manifest;
use crate::copy::send::ledger::Ledger;
use crate::copy::watch::writers::writers;
use crate::copy::watch::{Ask, Place, Watch};
use crate::copy::wire::task::Orders;

/// Bytes below which the controller's own connections are good enough.
const LITTLE: u64 = 16 << 20;

/// What there is to see without the target.
pub struct Seen {
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
    pub known: Known,
    /// The source compared with that, unless the manifest says nothing.
    pub found: Option<Found>,
    /// The state in which the manifest knows the target.
    pub generation: Option<Generation>,
    /// The watch that was asked and wants to know how the pass ends.
    pub watch: Option<Watch>,
    /// How changes were found.
    pub looked: Looked,
}

/// Looks at the source.
pub fn survey(orders: &Orders, work: &Path, ledger: &Ledger) -> Result<Seen, Failure> {
    let start = Instant::now();
    let filter = Filter::new(&orders.rules.exclude).map_err(|e| Failure::fatal(Side::Source, e.to_string()))?;
    let source = Source::open(&orders.from, filter, TempNames::of_job(&orders.job))?;
    let work = work.join("jobs").join(&orders.job);
    std::fs::create_dir_all(&work).map_err(|e| cannot_remember(&work, &e))?;
    let (rules, file) = (rules(orders), work.join("manifest"));
    let broken = |e: std::io::Error| cannot_remember(&work, &e);
    let current = Delta::current(&file).map_err(broken)?.filter(|current| current.header.rules == rules);
    let volume = mounts::same_volume(orders, &source, current.as_ref().map(|current| &current.header), &work)?;
    let current = current.filter(|_| !orders.checksum);
    let generation = current.as_ref().and_then(|current| current.header.generation);
    let mut watch = Watch::reach(&work);
    let why = match (take(watch.as_mut(), orders, &source, generation), current) {
        (Ok(places), Some(current)) => match watched::find(&source, &file, current, places, ledger).map_err(broken)? {
            Outcome::Found(known, found) => {
                let (known, found, looked) = (Known::Watched(*known), Some(found), Looked::Watched);
                return Ok(Seen { start, work, rules, source, volume, known, found, generation, watch, looked });
            }
            Outcome::Unclear(why) => {
                ledger.restart();
                why.to_owned()
            }
        },
        (Ok(_), None) => String::new(),
        (Err(why), _) => why,
    };
    let known = Known::Manifest(match orders.checksum {
        true => Manifest::default(),
        false => Manifest::load(&file, &rules).map_err(broken)?,
    });
    let found = generation.map(|_| source.scan(&known, ledger)).transpose()?;
    let looked = Looked::Swept { why };
    Ok(Seen { start, work, rules, source, volume, known, found, generation, watch, looked })
}

/// Where the watch says to look. Also where it does not know, what happens from now on is kept for the next pass.
fn take(
    watch: Option<&mut Watch>,
    orders: &Orders,
    source: &Source,
    generation: Option<Generation>,
) -> Result<Vec<Place>, String> {
    let Some(watch) = watch else { return Err(orders.unwatched.clone()) };
    let st = fstat(source.tree.root()).map_err(|e| e.to_string())?;
    #[allow(clippy::unnecessary_cast, reason = "its width differs between architectures")]
    let root = (dev_of(&st), st.st_ino as u64);
    let open = match generation {
        Some(_) => writers(Path::new(&orders.from), root.0),
        None => Ok(Vec::new()),
    };
    let known = generation.filter(|_| open.is_ok());
    let places = watch.take(&Ask::Take { generation: known, root, open: open.clone().unwrap_or_default() });
    open.and(places)
}

impl Seen {
    /// Whether so little is to be sent that the way there matters more than its width.
    pub fn is_little(&self) -> bool {
        let Some(found) = &self.found else { return false };
        let sizes = (0..).zip(&found.dirs).flat_map(|(nth, _)| {
            found.acts(nth, &self.known).map(|(act, _)| if let Act::Send(entry) = act { entry.size } else { 0 })
        });
        sizes.fold(0, u64::saturating_add) <= LITTLE
    }
}
