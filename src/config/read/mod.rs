//! One file per concept of the language: nodes to drafts.
//!
//! A draft is the model with the places where things were written and with names still unresolved. What needs
//! a second file or another concept to be judged is left to [`super::validate`].

pub mod audit;
pub mod becoming;
pub mod gate;
pub mod group;
pub mod hook;
pub mod host;
pub mod inventory;
pub mod moves;
pub mod plan;
pub mod reverse;
pub mod service;
pub mod traffic;
