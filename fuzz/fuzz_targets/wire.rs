//! What two agents say to each other, as any bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../any_bytes.rs"]
mod any_bytes;

fuzz_target!(|bytes: &[u8]| any_bytes::read(bytes));
