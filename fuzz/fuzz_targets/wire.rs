//! Any bytes at all, as a hostile peer could send them: nothing may panic, hang, or take memory by what a header claims.

#![no_main]

use libfuzzer_sys::fuzz_target;
use migrate::copy::listing::{Entries, is_valid, merge};
use migrate::copy::message::{Control, News, Order, Report, Task};
use migrate::copy::path;
use migrate::copy::wire::{Frame, Header, Route};

fuzz_target!(|bytes: &[u8]| {
    // As a stream.
    let mut input = bytes;
    while let Ok(frame) = Frame::read_from(&mut input) {
        decode(&frame);
    }
    // As the body of a frame whose check sum is right, which chance would never find.
    let Some((split, body)) = bytes.split_first() else { return };
    let meta = body.len() * usize::from(*split) / 255;
    let header = Header { body: body.len(), meta, crc: crc32fast::hash(body), route: Route::Peer };
    if let Ok(frame) = Frame::check(header, body.to_vec()) {
        decode(&frame);
    }
});

fn decode(frame: &Frame) {
    let _ = frame.message::<Task>();
    let _ = frame.message::<News>();
    let _ = frame.message::<Control>();
    if let Ok(Order::Delete { paths, .. }) = frame.message::<Order>() {
        for relative in &paths {
            let _ = path::is_relative(relative);
        }
    }
    if let Ok(Report::Listing { listing, .. } | Report::Digests { listing, .. }) = frame.message::<Report>()
        && is_valid(&listing)
    {
        assert!(Entries(&listing).count() <= listing.len());
        assert_eq!(merge(&listing, &listing).count(), Entries(&listing).count());
    }
}
