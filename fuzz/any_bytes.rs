//! Any bytes at all, as a hostile peer could send them: nothing may panic, hang, or take memory by what a header claims.
//!
//! The body of the fuzz target, and of the property test that runs with all others (`tests/copy/any_bytes.rs`).

use migrate::copy::fs::listing::{Entries, is_valid, merge};
use migrate::copy::fs::path;
use migrate::copy::wire::frame::{Coding, Frame, Header, Route, hash};
use migrate::copy::wire::request::Request;
use migrate::copy::wire::response::Response;
use migrate::copy::wire::task::{ControllerMessage, SenderMessage, Task};

/// Reads them as a stream, and as the body of a frame whose hash is right, which chance would never find.
pub fn read(bytes: &[u8]) {
    let mut input = bytes;
    while let Ok(frame) = Frame::read_from(&mut input) {
        decode(&frame);
    }
    let [split, coding, body @ ..] = bytes else { return };
    let meta = body.len() * usize::from(*split) / 255;
    let coding = if coding % 2 == 0 { Coding::Plain } else { Coding::Zstd };
    let header = Header { body: body.len(), meta, hash: hash(body), route: Route::Peer, coding };
    if let Ok(frame) = Frame::check(header, body.to_vec()) {
        decode(&frame);
    }
}

fn decode(frame: &Frame) {
    let _ = frame.message::<Task>();
    let _ = frame.message::<SenderMessage>();
    let _ = frame.message::<ControllerMessage>();
    if let Ok(Request::Delete { paths, .. }) = frame.message::<Request>() {
        for relative in &paths {
            let _ = path::is_relative(relative);
        }
    }
    if let Ok(Response::Listing { listing, .. } | Response::Digests { listing, .. }) = frame.message::<Response>()
        && is_valid(&listing)
    {
        assert!(Entries(&listing).count() <= listing.len());
        assert_eq!(merge(&listing, &listing).count(), Entries(&listing).count());
    }
}
