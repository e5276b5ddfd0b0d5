//! Owners by name: the ids of this host in requests that arrive, and the ids of the source in responses that leave.
//!
//! On the wire all ids are those of the source.

use crate::copy::owners::IdMap;
use crate::copy::wire::request::{Node, Request};
use crate::copy::wire::response::Response;

/// Replaces the owners in a request by the ids of this host.
pub fn to_local(owners: &IdMap, order: &mut Request) {
    match order {
        Request::Files(batch) => batch.files.iter_mut().for_each(|file| owners.metadata(&mut file.meta)),
        Request::CloseFile(close) => close.meta.iter_mut().for_each(|meta| owners.metadata(meta)),
        Request::SetMetadata { dirs, .. } => dirs.iter_mut().for_each(|(_, meta)| owners.metadata(meta)),
        Request::CreateNodes { items, .. } => {
            for item in items {
                if let Node::Symlink(_, meta) | Node::Special(_, meta) = &mut item.what {
                    owners.metadata(meta);
                }
            }
        }
        _ => {}
    }
}

/// Replaces the owners in a response by the ids of the source.
pub fn to_source(owners: &IdMap, report: Response) -> Response {
    match report {
        Response::Listing { path, listing } => Response::Listing { path, listing: owners.listing(&listing) },
        Response::Digests { path, listing, digests, last } => {
            Response::Digests { path, listing: owners.listing(&listing), digests, last }
        }
        other => other,
    }
}
