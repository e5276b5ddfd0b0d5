//! What the source is told. Reports go out whole, from whichever thread.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use crate::copy::failure::{Failure, Side};
use crate::copy::message::Report;
use crate::copy::wire::{OutFrame, Route};

/// The stream to the source.
pub struct Reports(Mutex<Box<dyn Write + Send>>);

impl Reports {
    /// Over this stream.
    pub fn new(output: Box<dyn Write + Send>) -> Self {
        Self(Mutex::new(output))
    }

    /// Sends one.
    pub fn send(&self, report: &Report, data: Vec<u8>) -> Result<(), Failure> {
        let frame = OutFrame::new(Route::Peer, report, data).map_err(|e| Failure::protocol(Side::Target, e))?;
        let mut out = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        frame.write_to(out.as_mut()).map_err(|e| Failure::lost(Side::Source, e))
    }
}
