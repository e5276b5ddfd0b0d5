//! Groups: by name, or by what their hosts have in common; how one logs in to them.

use crate::model::Selector;
use crate::yaml::map::Map;
use crate::yaml::reader::Value;
use crate::yaml::source::Located;

use super::host::{self, Scope, Ssh};

/// A group before it is resolved.
#[derive(Debug, Clone, Default)]
pub struct GroupDraft {
    /// `None` when they could not be read, which is reported.
    pub members: Option<Members>,
    /// What it says of logging in to its hosts, and where.
    pub ssh: Option<Located<Ssh>>,
}

/// Who is in a group.
#[derive(Debug, Clone)]
pub enum Members {
    /// Hosts by name, in this order.
    Names(Vec<Located<String>>),
    /// Hosts that a selector picks.
    Selected { selector: Selector, sites: Vec<Located<String>>, except: Vec<Located<String>> },
}

/// Reads a list of names, one name, or a mapping.
pub fn read(value: Value<'_>) -> GroupDraft {
    if !value.is_map() {
        return GroupDraft { members: listed(value), ssh: None };
    }
    let draft = value.map("group", "new: {site: fra1}", |m| {
        let ssh = m.get("ssh").and_then(|v| Some(Located { value: host::ssh(v, Scope::Group)?, at: v.at() }));
        GroupDraft { members: members(m), ssh }
    });
    draft.unwrap_or_default()
}

fn members(m: &Map<'_>) -> Option<Members> {
    // Both are read, so that no key is taken for an unknown one.
    let (hosts, selected) = (m.get("hosts"), selected(m));
    let Some(hosts) = hosts else { return selected };
    if let Some(other) = SELECTING.iter().find_map(|key| m.get(key)) {
        other.error(
            format!("`{}` stands beside `hosts`: a group lists its hosts or selects them", other.name()),
            "remove one of the two",
        );
        return None;
    }
    listed(hosts)
}

/// The conditions of a selector.
const SELECTING: [&str; 4] = ["site", "tags", "name", "except"];

fn listed(value: Value<'_>) -> Option<Members> {
    let names: Vec<Vec<Located<String>>> = value.one_or_many().iter().map(|v| expand(*v)).collect();
    // An entry that stands for nothing has been reported.
    (!names.iter().any(Vec::is_empty)).then(|| Members::Names(names.into_iter().flatten().collect()))
}

/// Host names, ranges expanded.
pub fn names(value: Value<'_>) -> Vec<Located<String>> {
    value.one_or_many().into_iter().flat_map(expand).collect()
}

fn expand(value: Value<'_>) -> Vec<Located<String>> {
    let Some(written) = value.line("the name of a host", "dal-1") else { return Vec::new() };
    match value.cx.expand(&written.value) {
        Ok(names) => names.into_iter().map(|value| Located { value, at: written.at.clone() }).collect(),
        Err(why) => {
            value.error(format!("`{}` names no hosts: {why}", written.value), "for example `dal-[01-20]`");
            Vec::new()
        }
    }
}

fn selected(m: &Map<'_>) -> Option<Members> {
    let sites: Vec<Located<String>> = m
        .get("site")
        .map(|v| v.one_or_many().iter().filter_map(|v| v.identifier("a site", "dal10")).collect())
        .unwrap_or_default();
    let tags = m.get("tags").map(host::tags).unwrap_or_default();
    let pattern = m.get("name").and_then(|v| v.line("a pattern for names", "name: dal-*").map(|p| (v, p.value)));
    let except = m.get("except").map(names).unwrap_or_default();
    let selector = Selector {
        sites: sites.iter().map(|s| s.value.clone()).collect(),
        tags: tags.into_iter().collect(),
        name: pattern.as_ref().map(|(_, text)| text.clone()),
        except: except.iter().map(|e| e.value.clone()).collect(),
    };
    if let Some((value, text)) = pattern
        && let Err(error) = globset::Glob::new(&text)
    {
        let why = crate::text::escape(error.kind().to_string().as_bytes(), 100);
        value.error(
            format!("`{}` is not a pattern: {why}", crate::text::escape(text.as_bytes(), 60)),
            "for example `name: dal-*`",
        );
        return None;
    }
    Some(Members::Selected { selector, sites, except })
}
