//! The protocol between the two agents and the controller: frames, and the messages in them.
//!
//! Must never allocate by what a peer claims. Nothing here acts on a message.

pub mod channels;
pub mod frame;
pub mod request;
pub mod response;
pub mod task;
