//! Spec and live reads become a step graph, and the graph becomes something to read before anything is done.
//!
//! Compiling is pure: no I/O, no clock. Must never write anything anywhere.

pub mod graph;
