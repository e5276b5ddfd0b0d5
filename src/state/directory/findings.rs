//! What was seen of the hosts of a tree and speaks against carrying it.

use super::Tree;
use crate::host::{AgentFacts, Obstacle, PathFacts, TreeSize};
use crate::model::Owners;
use crate::model::finding::Finding;
use crate::step::Live;
use crate::text;

/// Everything that speaks against it.
pub(super) fn of(tree: &Tree<'_>, live: &dyn Live) -> Vec<Finding> {
    let (source, target) = (&tree.source.name, &tree.target.name);
    let path = |host: &str, path: &str| live.host(host)?.paths.iter().find(|p| p.path == path);
    let size = live.tree(source, &tree.tree.from);
    let seen = path(source, &tree.tree.from);
    let from = seen.and_then(|from| on_source(source, from));
    let left_out = seen.and_then(|from| left_out(source, from));
    let to = path(target, &tree.tree.to).and_then(|to| on_target(target, &live.host(target)?.user, to, size));
    let tried = live.agent(source).and_then(|seen| unreadable(tree, seen));
    from.into_iter().chain(tried).chain(left_out).chain(to).chain(owners(tree, live)).collect()
}

/// What speaks against carrying it back to its source. The way there does not need that: it is told, and no reason to stay.
pub(super) fn back(tree: &Tree<'_>, live: &dyn Live) -> Vec<Finding> {
    let (source, target) = (&tree.source.name, &tree.target.name);
    let Some(here) = live.host(source) else { return Vec::new() };
    let risk = |why: String| {
        let what = format!("{why}: what {target} takes cannot be carried back");
        let hint = format!("say `become: sudo` under `ssh` of {source}, or `reverse: off`");
        Finding::risk(format!("{source}:{}", tree.tree.from), what).hint(hint)
    };
    let root = here.paths.iter().find(|p| p.path == tree.tree.from);
    let closed = root.filter(|root| root.exists && root.directory).and_then(|root| root.obstacle(source, &here.user));
    if let Some(Obstacle { what, .. }) = closed {
        return vec![risk(what)];
    }
    let Some(size) = live.tree(source, &tree.tree.from).filter(|size| !size.owners.is_empty()) else {
        return Vec::new();
    };
    let own = size.owners.get(&u64::from(here.uid)).copied().unwrap_or_default();
    match size.entries.saturating_sub(own) {
        lost if lost > 0 && here.uid != 0 && tree.tree.rules.owners != Owners::Drop => {
            let (lost, all) = (text::grouped(lost), text::entries(size.entries));
            vec![risk(format!("{lost} of its {all} belong to others, and {} cannot give them away there", here.user))]
        }
        _ => Vec::new(),
    }
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

/// What an agent that was tried there could not read. What is excluded is not needed, but which of it that is, nobody has asked.
fn unreadable(tree: &Tree<'_>, seen: &AgentFacts) -> Option<Finding> {
    let seen = seen.trees.iter().flatten().find(|seen| seen.root == tree.tree.from && seen.unreadable > 0)?;
    let about = format!("{}:{}", tree.source.name, seen.root);
    let example = seen.example.as_deref().unwrap_or_default();
    let what = format!("{} cannot be read by the login user: {example}", text::count(seen.unreadable, "path"));
    let finding = match tree.tree.rules.exclude.is_empty() {
        true => Finding::refused(about, what),
        false => Finding::risk(about, what),
    };
    Some(finding.hint("log in as a user who may read all of it, or exclude it"))
}

fn on_target(host: &str, user: &str, path: &PathFacts, size: Option<&TreeSize>) -> Option<Finding> {
    let about = format!("{host}:{}", path.path);
    if let Some(Obstacle { what, hint }) = path.obstacle(host, user) {
        return Some(Finding::refused(about, what).hint(hint));
    }
    let size = size?;
    let numbers = path.lacks(size.bytes, size.entries)?;
    if path.exists {
        // Some of it may be there already, from an earlier run.
        return Some(Finding::risk(about, numbers).hint("make room, unless most of it is there already"));
    }
    Some(Finding::refused(about, numbers).hint("make room on the target"))
}

/// What the kernel makes up below the root.
fn left_out(host: &str, path: &PathFacts) -> Option<Finding> {
    let what = format!("leaves out what the kernel mounts in it: {}", path.made_up.join(", "));
    (!path.made_up.is_empty()).then(|| Finding::note(format!("{host}:{}", path.path), what))
}

/// What the logins cannot read, and whose owners they cannot give.
fn owners(tree: &Tree<'_>, live: &dyn Live) -> Vec<Finding> {
    let (source, target) = (&tree.source.name, &tree.target.name);
    let (Some(here), Some(there)) = (live.host(source), live.host(target)) else { return Vec::new() };
    let Some(size) = live.tree(source, &tree.tree.from) else {
        return users(source, target, live).into_iter().collect();
    };
    let rules = &tree.tree.rules;
    // What is not copied is counted, too.
    let refused = |about: String, what: String| match rules.exclude.is_empty() {
        true => Finding::refused(about, what),
        false => Finding::risk(about, what + ", unless those are excluded"),
    };
    let mut findings = Vec::new();
    if size.closed > 0 {
        let what = format!("{} cannot be read by {}", text::entries(size.closed), here.user);
        let hint = format!("say `become: sudo` under `ssh` of {source}, or log in as a user who may read all of it");
        findings.push(refused(format!("{source}:{}", tree.tree.from), what).hint(hint));
    }
    let own = if rules.owners == Owners::Names && here.user == there.user { here.uid } else { there.uid };
    let kept = size.owners.get(&u64::from(own)).copied().unwrap_or_default();
    match size.entries.saturating_sub(kept) {
        _ if there.uid == 0 || size.owners.is_empty() => {}
        0 => {}
        lost if rules.owners == Owners::Drop => {
            let what =
                format!("{} of its {} get the owner {}", text::grouped(lost), text::entries(size.entries), there.user);
            findings.push(Finding::note(format!("{source}:{}", tree.tree.from), what));
        }
        lost => {
            let (lost, all) = (text::grouped(lost), text::entries(size.entries));
            let what =
                format!("{lost} of its {all} belong to others, and {} on {target} cannot give them away", there.user);
            let hint = format!(
                "say `become: sudo` under `ssh` of {target}, or `owners: drop` to let them belong to {}",
                there.user
            );
            findings.push(refused(format!("{source}:{}", tree.tree.from), what).hint(hint));
        }
    }
    findings
}

fn users(source: &str, target: &str, live: &dyn Live) -> Option<Finding> {
    let (here, there) = (live.host(source)?, live.host(target)?);
    let what = format!("logs in as {} while {target} logs in as {}", here.user, there.user);
    (here.uid != there.uid).then(|| Finding::note(source, what).hint("only root can keep owners"))
}
