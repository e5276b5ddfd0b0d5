//! The controller's side of a copy: deploys agents, lets the source log in to the target, and relays where it cannot.
//!
//! Must never trust an agent with more than its own side of one job.

mod access;
mod agents;
mod channels;
mod copier;
mod deploy;
mod directories;
mod engine;
mod frames;
mod rate_limits;
mod refusal;
mod relay;
mod stream;
mod transport;
mod watches;

pub use self::agents::{AgentProgram, Agents};
pub use self::directories::{is_directory, make_directory};
pub use self::engine::Engine;
pub use self::transport::{Channel, Ended, Local, LocalOrSsh, Transport};
