//! What was seen of the hosts of a tree and speaks against carrying it.

use super::Tree;
use crate::host::PathFacts;
use crate::model::finding::Finding;
use crate::step::Live;
use crate::text;

/// Everything that speaks against it.
pub(super) fn of(tree: &Tree<'_>, live: &dyn Live) -> Vec<Finding> {
    let (source, target) = (&tree.source.name, &tree.target.name);
    let path = |host: &str, path: &str| live.host(host)?.paths.iter().find(|p| p.path == path);
    let bytes = live.tree(source, &tree.tree.from).map(|size| size.bytes);
    let from = path(source, &tree.tree.from).and_then(|from| on_source(source, from));
    let to = path(target, &tree.tree.to).and_then(|to| on_target(target, to, bytes));
    from.into_iter().chain(to).chain(users(source, target, live)).collect()
}

fn on_source(host: &str, path: &PathFacts) -> Option<Finding> {
    let about = format!("{host}:{}", path.path);
    if !path.exists {
        return Some(
            Finding::refused(about, "is not there: there is nothing to copy").hint("correct `state` in the plan"),
        );
    }
    if !path.directory {
        return Some(Finding::refused(about, "is not a directory"));
    }
    let hint = "log in as a user who may read all of it";
    (!path.readable).then(|| Finding::refused(about, "cannot be read by the login user").hint(hint))
}

fn on_target(host: &str, path: &PathFacts, bytes: Option<u64>) -> Option<Finding> {
    let about = format!("{host}:{}", path.path);
    if path.exists && !path.directory {
        return Some(Finding::refused(about, "is there and is not a directory"));
    }
    if !(if path.exists { path.writable } else { path.nearest_writable }) {
        let what = if path.exists { "cannot be written by the login user" } else { "cannot be made by the login user" };
        return Some(Finding::refused(about, what).hint("log in as a user who may, or make it there first"));
    }
    let (Some(free), Some(bytes)) = (path.free_bytes, bytes) else { return None };
    let numbers = format!("{} are free and the source has {}", text::bytes(free), text::bytes(bytes));
    if path.exists && free < bytes {
        // Some of it may be there already, from an earlier run.
        return Some(Finding::risk(about, numbers).hint("make room, unless most of it is there already"));
    }
    (free < bytes).then(|| Finding::refused(about, numbers).hint("make room on the target"))
}

fn users(source: &str, target: &str, live: &dyn Live) -> Option<Finding> {
    let (here, there) = (live.host(source)?, live.host(target)?);
    let what = format!("logs in as {} while {target} logs in as {}", here.user, there.user);
    (here.uid != there.uid).then(|| Finding::note(source, what).hint("only root can keep owners"))
}
