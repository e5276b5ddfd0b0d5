//! Fields that several kinds of things share: templates and references to secrets, read and checked as they are written.
//!
//! Must never know who reads them.

pub mod secret;
pub mod template;
