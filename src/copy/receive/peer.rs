//! The stream from and to the sending agent: requests in, responses out.
//!
//! Responses go out whole, from whichever thread.

use std::io::{Read, Write};
use std::sync::{Mutex, PoisonError};

use crate::copy::failure::{Failure, Side};
use crate::copy::wire::frame::{Frame, OutFrame, Route, WireError};
use crate::copy::wire::request::Request;
use crate::copy::wire::response::Response;

/// The stream to the source.
pub struct Responses(Mutex<Box<dyn Write + Send>>);

impl Responses {
    /// Over this stream.
    pub fn new(output: Box<dyn Write + Send>) -> Self {
        Self(Mutex::new(output))
    }

    /// Sends one.
    pub fn send(&self, response: &Response, data: Vec<u8>) -> Result<(), Failure> {
        let frame = OutFrame::new(Route::Peer, response, data).map_err(|e| Failure::protocol(Side::Target, e))?;
        let mut out = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        frame.write_to(out.as_mut()).map_err(|e| Failure::lost(Side::Source, e))
    }
}

/// The next request; `None` at the end of the stream.
pub fn next(input: &mut dyn Read) -> Result<Option<(Request, Frame)>, Failure> {
    let frame = match Frame::read_from(input) {
        Ok(frame) => frame,
        Err(WireError::Closed) => return Ok(None),
        Err(e @ WireError::Io(_)) => return Err(Failure::lost(Side::Source, e)),
        Err(e) => return Err(Failure::protocol(Side::Source, e)),
    };
    let request = frame.message().map_err(|e| Failure::protocol(Side::Source, e))?;
    Ok(Some((request, frame)))
}
