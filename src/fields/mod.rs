//! Fields that several kinds of things share, and the lists of kinds: templates, references to secrets, read and checked as written.
//!
//! Must never know who reads them.

pub mod kinds;
pub mod secret;
pub mod template;
