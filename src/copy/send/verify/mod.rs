//! Source and target compared by content: both sides hash their trees, and the digests are compared.

pub mod checksum;
mod compare;
pub mod report;
