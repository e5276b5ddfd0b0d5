//! Owners by name: the ids of this host in requests that arrive, and the ids of the source in responses that leave.
//!
//! On the wire all ids are those of the source.

use crate::copy::owners::Translation;
use crate::copy::wire::request::{Node, Order};
use crate::copy::wire::response::Report;

/// Puts the numbers of this host into what an order says of owners.
pub fn to_local(owners: &Translation, order: &mut Order) {
    match order {
        Order::Small(batch) => batch.files.iter_mut().for_each(|file| owners.metadata(&mut file.meta)),
        Order::Close(close) => close.meta.iter_mut().for_each(|meta| owners.metadata(meta)),
        Order::Settle { dirs, .. } => dirs.iter_mut().for_each(|(_, meta)| owners.metadata(meta)),
        Order::Make { items, .. } => {
            for item in items {
                if let Node::Symlink(_, meta) | Node::Special(_, meta) = &mut item.what {
                    owners.metadata(meta);
                }
            }
        }
        _ => {}
    }
}

/// Puts the numbers of the source into what is reported of owners.
pub fn to_source(owners: &Translation, report: Report) -> Report {
    match report {
        Report::Listing { path, listing } => Report::Listing { path, listing: owners.listing(&listing) },
        Report::Digests { path, listing, digests, last } => {
            Report::Digests { path, listing: owners.listing(&listing), digests, last }
        }
        other => other,
    }
}
