//! The receiving agent: does on the target what the sending agent asks for, and nothing outside the root.
//!
//! Must never trust the source. Root, job and permission to delete come from the command line, which only the controller writes.

mod channels;
mod compare;
mod deadline;
mod delete;
mod durable;
mod files;
mod flush;
mod large;
mod list;
mod marker;
mod nodes;
mod open_files;
mod owners;
mod peer;
mod pool;
mod root;
mod session;
mod stream;
mod target;

pub use self::marker::forget_roots;
pub use self::root::Permit;
pub use self::session::serve;
pub use self::stream::serve as serve_stream;
