//! `migrate serve`: the real program, asked by hand and by a real Chromium.

mod asked;
mod seen;
pub mod support;
