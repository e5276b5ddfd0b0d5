//! Static inventories of Ansible, for where `ansible-inventory` is not installed: INI with groups and ranges, and YAML.
//!
//! Must never pass over in silence what only Ansible itself reads.

use std::path::Path;

use serde_json::{Map, Value};

use super::merge::{Groups, Raw};
use crate::inventory::{SourceError, file};
use crate::text;

/// The most hosts that a range stands for.
const MAX_RANGE: usize = 10_000;

/// Reads a file.
pub fn read(path: &Path) -> Result<Groups, SourceError> {
    let shown = path.display();
    let needs = |what: String| SourceError {
        what,
        hint: Some("install ansible-core, so that `ansible-inventory` can be asked".to_owned()),
    };
    if path.is_dir() {
        return Err(needs(format!("{shown} is a directory, which only Ansible itself reads")));
    }
    for beside in ["group_vars", "host_vars"] {
        if path.with_file_name(beside).exists() {
            return Err(needs(format!("beside {shown} is {beside}, which only Ansible itself reads")));
        }
    }
    let text = String::from_utf8_lossy(&file::read(path)?.bytes).into_owned();
    let yaml = path.extension().is_some_and(|e| e == "yaml" || e == "yml");
    let raw = if yaml { from_yaml(&text) } else { from_ini(&text) };
    let bad = |what: String| needs(format!("{shown} cannot be read without Ansible: {what}"));
    raw.and_then(Raw::merged).map_err(bad)
}

fn from_yaml(text: &str) -> Result<Raw, String> {
    let parsed: Map<String, Value> =
        serde_yaml::from_str(text).map_err(|e| text::escape(e.to_string().as_bytes(), 200))?;
    let mut raw = Raw::default();
    for (name, group) in &parsed {
        yaml_group(name, group, &mut raw)?;
    }
    Ok(raw)
}

fn yaml_group(name: &str, group: &Value, raw: &mut Raw) -> Result<(), String> {
    let map = |value: Option<&Value>| value.and_then(Value::as_object).cloned().unwrap_or_default();
    if let Some(other) = group
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, _)| key)
        .find(|key| !["hosts", "children", "vars"].contains(&key.as_str()))
    {
        return Err(format!(
            "group `{}` has a key `{}`",
            text::escape(name.as_bytes(), 60),
            text::escape(other.as_bytes(), 60)
        ));
    }
    let children = map(group.get("children"));
    let mut hosts = Vec::new();
    for (pattern, vars) in map(group.get("hosts")) {
        for host in expand(&pattern)? {
            raw.hosts.entry(host.clone()).or_default().extend(vars.as_object().cloned().unwrap_or_default());
            hosts.push(host);
        }
    }
    let entry = raw.groups.entry(name.to_owned()).or_default();
    entry.hosts.extend(hosts);
    entry.children.extend(children.keys().cloned());
    entry.vars.extend(map(group.get("vars")));
    children.iter().try_for_each(|(child, group)| yaml_group(child, group, raw))
}

fn from_ini(text: &str) -> Result<Raw, String> {
    let mut raw = Raw::default();
    let (mut group, mut part) = ("ungrouped".to_owned(), "hosts".to_owned());
    for (n, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let at = |why: String| format!("line {}: {why}", n + 1);
        if let Some(section) = line.strip_prefix('[').and_then(|l| l.split_once(']')).map(|(s, _)| s) {
            let (name, kind) = section.split_once(':').unwrap_or((section, "hosts"));
            (group, part) = (name.trim().to_owned(), kind.trim().to_owned());
            raw.groups.entry(group.clone()).or_default();
            continue;
        }
        let entry = raw.groups.entry(group.clone()).or_default();
        match part.as_str() {
            "children" => drop(entry.children.insert(line.to_owned())),
            "vars" => {
                let (key, value) = line.split_once('=').ok_or_else(|| at("a variable is written NAME=VALUE".into()))?;
                entry.vars.insert(key.trim().to_owned(), literal(value.trim()));
            }
            "hosts" => {
                let mut words = split(line).map_err(at)?.into_iter();
                let hosts = expand(&words.next().unwrap_or_default()).map_err(at)?;
                let vars: Map<String, Value> = words
                    .map(|word| word.split_once('=').map(|(key, value)| (key.to_owned(), literal(value))))
                    .collect::<Option<_>>()
                    .ok_or_else(|| at("after a host come NAME=VALUE".into()))?;
                entry.hosts.extend(hosts.iter().cloned());
                hosts.into_iter().for_each(|host| raw.hosts.entry(host).or_default().extend(vars.clone()));
            }
            other => return Err(at(format!("`:{}` is no part of a group", text::escape(other.as_bytes(), 40)))),
        }
    }
    let children: Vec<String> = raw.groups.values().flat_map(|g| g.children.iter().cloned()).collect();
    for child in children {
        raw.groups.entry(child).or_default();
    }
    Ok(raw)
}

/// Words of a line; quotes keep spaces together, and a word that begins with `#` ends it.
fn split(line: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for c in line.chars() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '#') if word.is_empty() => break,
            (None, c) if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            (_, c) => word.push(c),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".to_owned());
    }
    if !word.is_empty() {
        words.push(word);
    }
    Ok(words)
}

/// Numbers and booleans as Ansible takes them; the rest is text.
fn literal(text: &str) -> Value {
    let inner = text.trim_matches(['"', '\'']);
    match inner {
        "True" | "true" => Value::Bool(true),
        "False" | "false" => Value::Bool(false),
        _ if inner.len() == text.len() && !inner.starts_with('0') => {
            inner.parse::<i64>().map_or_else(|_| Value::from(inner), Value::from)
        }
        _ => Value::from(inner),
    }
}

/// `web-[01:03].example` stands for three hosts; `[a:c]` for three letters.
fn expand(pattern: &str) -> Result<Vec<String>, String> {
    let Some((before, rest)) = pattern.split_once('[') else { return Ok(vec![pattern.to_owned()]) };
    let bad = || format!("`{}` is no range of hosts", text::escape(pattern.as_bytes(), 80));
    let (range, after) = rest.split_once(']').ok_or_else(bad)?;
    let parts: Vec<&str> = range.split(':').collect();
    let (first, last, step) = match *parts.as_slice() {
        [first, last] => (first, last, 1),
        [first, last, step] => (first, last, step.parse::<usize>().ok().filter(|s| *s > 0).ok_or_else(bad)?),
        _ => return Err(bad()),
    };
    let values: Vec<String> = match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(low), Ok(high)) if high >= low && high - low < MAX_RANGE => {
            let width = if first.starts_with('0') { first.len() } else { 0 };
            (low..=high).step_by(step).map(|n| format!("{n:0width$}")).collect()
        }
        _ => match (first.as_bytes(), last.as_bytes()) {
            ([low], [high]) if low.is_ascii_alphabetic() && high.is_ascii_alphabetic() && high >= low => {
                (*low..=*high).step_by(step).map(|c| char::from(c).to_string()).collect()
            }
            _ => return Err(bad()),
        },
    };
    let mut hosts = Vec::new();
    for rest in expand(after)? {
        hosts.extend(values.iter().map(|value| format!("{before}{value}{rest}")));
    }
    if hosts.len() > MAX_RANGE { Err(bad()) } else { Ok(hosts) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_stand_for_hosts() {
        assert_eq!(expand("web-[01:03].x").unwrap(), ["web-01.x", "web-02.x", "web-03.x"]);
        assert_eq!(expand("db-[a:c:2]").unwrap(), ["db-a", "db-c"]);
        assert_eq!(expand("r[1:2]h[1:2]").unwrap(), ["r1h1", "r2h1", "r1h2", "r2h2"]);
        assert!(["a[", "a[1]", "a[2:1]", "a[1:99999]", "a[1:2:0]"].iter().all(|bad| expand(bad).is_err()));
    }

    #[test]
    fn what_is_closer_to_a_host_goes_before_what_is_further_away() {
        let ini = "lonely\n[web]\nweb-[1:2] rack=a1 note='x y' # end\n[prod:children]\nweb\n[prod:vars]\nport=80\ndc=iad1\n[web:vars]\nport=8080\n[all:vars]\ndc=none\nn=1\n";
        let groups = from_ini(ini).unwrap().merged().unwrap();
        let vars = &groups.vars["web-1"];
        assert_eq!(
            (&vars["port"], &vars["dc"], &vars["n"], &vars["note"]),
            (&8080.into(), &"iad1".into(), &1.into(), &"x y".into())
        );
        assert_eq!(groups.members["prod"].len(), 2);
        assert_eq!(groups.members["all"].len(), 3);
        let yaml = "all:\n  vars: {dc: none}\n  children:\n    prod:\n      vars: {port: 80}\n      children: {web: {hosts: {\"web-[1:2]\": {rack: a1}}, vars: {port: 8080}}}\n";
        let groups = from_yaml(yaml).unwrap().merged().unwrap();
        assert_eq!((&groups.vars["web-2"]["port"], &groups.vars["web-2"]["rack"]), (&8080.into(), &"a1".into()));
        assert!(from_yaml("all: {hots: {}}").is_err() && from_ini("[web]\nx y z").is_err());
    }
}
