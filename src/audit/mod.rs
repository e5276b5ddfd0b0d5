//! Accounting for every act of a run: signed checkpoints over its journal, their copies elsewhere, and the check that finds
//! what was changed afterwards.
//!
//! The journal's hash chain alone shows damage, but whoever can write the file can make a new chain. A checkpoint says, signed with a
//! key that only the owner of the state directory can read, what the chain's head was; a copy of it in another place shows even
//! what someone with that key has changed. Must never change a journal, and never call intact what it could not compare.

mod checkpoint;
mod copies;
mod export;
mod key;
mod report;
mod sealed;
mod verify;

pub use checkpoint::{Checkpoint, EVERY};
pub use copies::{Copies, Warn};
pub use export::{Act, acts};
pub use key::{AuditKey, KeyError, PublicKey};
pub use report::{Finding, Kind, Outside, Report};
pub use sealed::{AuditError, Sealed, seals};
pub use verify::{Question, verify};
