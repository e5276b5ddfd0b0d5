//! Who takes whose place.

use std::collections::{BTreeMap, BTreeSet};

/// Pairs by position, or the names that have no partner.
pub fn by_order(sources: &[String], targets: &[String]) -> Result<Vec<(String, String)>, Unpaired> {
    if sources.len() != targets.len() {
        let rest = |names: &[String], from: usize| names.get(from..).unwrap_or_default().to_vec();
        return Err(Unpaired { sources: rest(sources, targets.len()), targets: rest(targets, sources.len()) });
    }
    Ok(sources.iter().cloned().zip(targets.iter().cloned()).collect())
}

/// Names that have no partner.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Unpaired {
    /// Sources without a target.
    pub sources: Vec<String>,
    /// Targets without a source.
    pub targets: Vec<String>,
}

/// Pairs by the part in which the names of one side differ among themselves: `dal-1`, `dal-2` go with `fra-1`, `fra-2`, and
/// `web1.dal10` with `web01.fra02`. In the order of the sources.
pub fn by_name(sources: &[String], targets: &[String]) -> Result<Vec<(String, String)>, Unpaired> {
    if let ([source], [target]) = (sources, targets) {
        return Ok(vec![(source.clone(), target.clone())]);
    }
    let (source_keys, target_keys) = (keys(sources), keys(targets));
    let mut by_key: BTreeMap<&String, Vec<&String>> = BTreeMap::new();
    for (key, target) in target_keys.iter().zip(targets) {
        by_key.entry(key).or_default().push(target);
    }
    let mut count: BTreeMap<&String, usize> = BTreeMap::new();
    source_keys.iter().for_each(|key| *count.entry(key).or_default() += 1);
    let mut unpaired = Unpaired::default();
    let mut pairs = Vec::new();
    for (key, source) in source_keys.iter().zip(sources) {
        let unique = count.get(key) == Some(&1);
        match by_key.get(key).map(Vec::as_slice) {
            Some([target]) if unique => pairs.push((source.clone(), (*target).clone())),
            _ => unpaired.sources.push(source.clone()),
        }
    }
    let paired: BTreeSet<&String> = pairs.iter().map(|(_, target)| target).collect();
    unpaired.targets = targets.iter().filter(|name| !paired.contains(name)).cloned().collect();
    if unpaired == Unpaired::default() { Ok(pairs) } else { Err(unpaired) }
}

/// For each name what is left without the parts that all of them begin and end with.
fn keys(names: &[String]) -> Vec<String> {
    let split: Vec<Vec<String>> = names.iter().map(|name| parts(name)).collect();
    let prefix = common(split.iter().map(|p| p.iter().collect()).collect());
    let suffix = common(split.iter().map(|p| p.iter().skip(prefix).rev().collect()).collect());
    split.iter().map(|p| p.get(prefix..p.len().saturating_sub(suffix)).unwrap_or_default().concat()).collect()
}

/// How many leading parts all have in common.
fn common(lists: Vec<Vec<&String>>) -> usize {
    let Some((first, rest)) = lists.split_first() else { return 0 };
    let same = |i: usize| rest.iter().all(|other| other.get(i) == first.get(i));
    (0..first.len()).take_while(|&i| same(i)).count()
}

/// Runs of letters, runs of digits without leading zeros, and single other characters.
fn parts(name: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut last = None;
    for c in name.chars() {
        let class = if c.is_ascii_digit() {
            'd'
        } else if c.is_alphanumeric() {
            'a'
        } else {
            '-'
        };
        match out.last_mut() {
            Some(part) if last == Some(class) && class != '-' => part.push(c),
            _ => out.push(c.to_string()),
        }
        last = Some(class);
    }
    let trim = |part: String| {
        let digits = part.bytes().all(|b| b.is_ascii_digit());
        if digits { format!("{:0>1}", part.trim_start_matches('0')) } else { part }
    };
    out.into_iter().map(trim).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|n| (*n).to_owned()).collect()
    }

    fn paired(sources: &[&str], targets: &[&str]) -> Vec<String> {
        by_name(&names(sources), &names(targets)).unwrap().iter().map(|(s, t)| format!("{s}={t}")).collect()
    }

    #[test]
    fn names_pair_by_the_part_that_tells_them_apart() {
        assert_eq!(paired(&["dal-1", "dal-2"], &["fra-2", "fra-1"]), ["dal-1=fra-1", "dal-2=fra-2"]);
        assert_eq!(
            paired(&["web1.dal10", "web2.dal10"], &["web01.fra02", "web02.fra02"]),
            ["web1.dal10=web01.fra02", "web2.dal10=web02.fra02"]
        );
        assert_eq!(
            paired(&["dal-web-1", "dal-db-1"], &["fra-db-1", "fra-web-1"]),
            ["dal-web-1=fra-web-1", "dal-db-1=fra-db-1"]
        );
        assert_eq!(paired(&["a"], &["b"]), ["a=b"]);
    }

    #[test]
    fn what_has_no_partner_is_listed() {
        let unpaired = by_name(&names(&["dal-1", "dal-2", "dal-3"]), &names(&["fra-1", "fra-2", "fra-4"])).unwrap_err();
        assert_eq!(unpaired, Unpaired { sources: names(&["dal-3"]), targets: names(&["fra-4"]) });
        let unpaired = by_order(&names(&["a", "b", "c"]), &names(&["x"])).unwrap_err();
        assert_eq!(unpaired, Unpaired { sources: names(&["b", "c"]), targets: names(&[]) });
    }

    #[test]
    fn names_that_say_the_same_are_not_guessed_apart() {
        assert!(by_name(&names(&["dal-1", "dal-01"]), &names(&["fra-1", "fra-2"])).is_err());
    }
}
