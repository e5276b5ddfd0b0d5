//! What a pass is recognised by: the rules of its job, and the state it leaves on the target.

use crate::copy::failure::{Failure, Side};
use crate::copy::manifest::Generation;
use crate::copy::message::Orders;
use crate::copy::wire::VERSION;

/// A digest of what the job carries by which rules.
pub fn rules(orders: &Orders) -> [u8; 32] {
    let text =
        (VERSION, &orders.job, &orders.from, &orders.to, &orders.pair, &orders.rules.exclude, orders.rules.owners);
    postcard::to_stdvec(&text).map_or([0; 32], |bytes| *blake3::hash(&bytes).as_bytes())
}

/// A name for the next state of the target.
pub fn new_generation() -> Result<Generation, Failure> {
    let mut random = [0; 16];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
        .map_err(|e| Failure::of(Side::Source, "draw random numbers on", b"the source", e))?;
    Ok(random)
}
