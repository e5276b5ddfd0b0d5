//! What is much of a kind, told once: texts that differ only in the names of hosts.

use std::collections::{BTreeMap, HashSet};

use crate::model::finding::Finding;
use crate::step::Graph;
use crate::text;

/// Stands for a name.
const NAME: char = '·';

/// So many of a kind are told one by one.
pub const FEW: usize = 3;

/// So many names are a list that can be read.
const LISTED: usize = 8;

/// The names in which texts may differ and still be of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names(HashSet<String>);

impl Names {
    /// The hosts of all pairs.
    pub fn of_hosts(graph: &Graph) -> Self {
        let mut names = HashSet::new();
        for pair in graph.steps.iter().filter_map(|step| step.pair.as_ref()) {
            for host in [&pair.source, &pair.target] {
                if !names.contains(&**host) {
                    names.insert(host.to_string());
                }
            }
        }
        Self(names)
    }

    /// The hosts of pairs, `source → target`.
    pub fn of_pairs<'a>(pairs: impl IntoIterator<Item = &'a str>) -> Self {
        Self(pairs.into_iter().flat_map(|pair| pair.split(" → ")).map(str::to_owned).collect())
    }

    /// With the services, which differ between waves.
    pub fn and_services(mut self, graph: &Graph) -> Self {
        for step in &graph.steps {
            if !self.0.contains(&*step.service) {
                self.0.insert(step.service.to_string());
            }
        }
        self
    }

    /// The text without the names in it.
    pub fn shape(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(is_of_name) {
            let (before, from) = rest.split_at(at);
            let end = from.find(|c| !is_of_name(c)).unwrap_or(from.len());
            let (word, after) = from.split_at(end);
            // At the end of a sentence.
            let bare = word.trim_end_matches(['.', '-']);
            out.push_str(before);
            // An address by name begins with the name of its host.
            let first = bare.split('.').next().unwrap_or_default();
            match self.0.contains(bare) || self.0.contains(first) {
                true => {
                    out.push(NAME);
                    out.push_str(word.get(bare.len()..).unwrap_or_default());
                }
                false => out.push_str(word),
            }
            rest = after;
        }
        out.push_str(rest);
        out
    }

    /// The text without the names and without the numbers in it.
    pub fn kind(&self, text: &str) -> String {
        let mut out = String::new();
        for c in self.shape(text).chars() {
            match c.is_ascii_digit() {
                true if out.ends_with('#') => {}
                true => out.push('#'),
                false => out.push(c),
            }
        }
        out
    }

    /// A list within the text that names many of a kind, with the first and the last of them and their number.
    pub fn condense(&self, text: &str) -> String {
        let items: Vec<&str> = text.split(", ").collect();
        let mut out: Vec<String> = Vec::new();
        let mut at = 0;
        while let Some(first) = items.get(at) {
            let shape = self.shape(first);
            let alike = match shape.contains(NAME) {
                true => items.iter().skip(at).take_while(|item| self.shape(item) == shape).count(),
                false => 1,
            };
            let run = items.get(at..at + alike).unwrap_or_default();
            match (run, run.last()) {
                ([first, .., last], Some(_)) if alike > LISTED => {
                    let between = text::grouped(alike as u64 - 2);
                    out.extend([(*first).to_owned(), format!("{between} more"), (*last).to_owned()]);
                }
                _ => out.extend(run.iter().map(|item| (*item).to_owned())),
            }
            at += alike.max(1);
        }
        out.join(", ")
    }
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// The names of a plan.
#[derive(Debug, Default)]
pub struct Alike {
    /// Of its hosts.
    pub hosts: Names,
    /// Of its services, too.
    pub everything: Names,
}

impl Alike {
    /// Those of a step graph.
    pub fn of(graph: &Graph) -> Self {
        Self { hosts: Names::of_hosts(graph), everything: Names::of_hosts(graph).and_services(graph) }
    }
}

/// The first of each kind, and how many others are like it and about what; where they are few, all of them.
pub fn told<T, K: Ord>(
    all: impl IntoIterator<Item = T>,
    kind: impl Fn(&T) -> K,
    about: impl Fn(&T) -> &str,
) -> Vec<(T, Option<String>)> {
    let told = kinds(all, kind).into_iter().flat_map(|alike| {
        let others = alike.len().saturating_sub(1);
        if others < FEW {
            return alike.into_iter().map(|one| (one, None)).collect();
        }
        let names: Vec<&str> = alike.iter().skip(1).map(&about).collect();
        let more = format!("and {} like it: {}", text::grouped(others as u64), text::some(&names, FEW));
        alike.into_iter().take(1).map(|one| (one, Some(more.clone()))).collect::<Vec<_>>()
    });
    told.collect()
}

/// Findings of one kind: they differ in whom they are about and in numbers.
pub fn findings<'a>(all: &'a [Finding], names: &Names) -> Vec<(&'a Finding, Option<String>)> {
    let hint = |one: &Finding| one.hint.as_deref().map(|hint| names.kind(hint));
    told(all, |one| (one.severity, names.shape(&one.about), names.kind(&one.what), hint(one)), |one| &one.about)
}

/// `a → b`; of many, the first and the last and how many.
pub fn span(pairs: &[&str]) -> String {
    match pairs {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first, second] => format!("2 pairs, {first} and {second}"),
        [first, .., last] => format!("{}, {first} … {last}", text::count(pairs.len() as u64, "pair")),
    }
}

/// Things of one kind each, in the order of the first of each kind.
pub fn kinds<T, K: Ord>(all: impl IntoIterator<Item = T>, kind: impl Fn(&T) -> K) -> Vec<Vec<T>> {
    let mut found: BTreeMap<K, usize> = BTreeMap::new();
    let mut out: Vec<Vec<T>> = Vec::new();
    for one in all {
        let at = *found.entry(kind(&one)).or_insert(out.len());
        match out.get_mut(at) {
            Some(alike) => alike.push(one),
            None => out.push(vec![one]),
        }
    }
    out
}

/// The same where those of a kind follow each other.
pub fn runs<T, K: PartialEq>(all: impl IntoIterator<Item = T>, kind: impl Fn(&T) -> K) -> Vec<Vec<T>> {
    let mut out: Vec<Vec<T>> = Vec::new();
    let mut last = None;
    for one in all {
        let own = Some(kind(&one));
        match out.last_mut().filter(|_| own == last) {
            Some(alike) => alike.push(one),
            None => out.push(vec![one]),
        }
        last = own;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names((1..=12).flat_map(|n| [format!("dal-{n}"), format!("fra-{n}.example")]).collect())
    }

    #[test]
    fn texts_are_of_one_kind_when_only_names_differ() {
        let names = names();
        assert_eq!(names.shape("uploads/dal-1/commit: what fra-2.example has."), "uploads/·/commit: what · has.");
        assert_eq!(names.shape("dal-20 and dal-1-old are others"), "dal-20 and dal-1-old are others");
        assert_eq!(names.shape("größe → dal-1"), "größe → ·");
        assert_eq!(names.kind("dal-1 has 1,234 left"), names.kind("dal-2 has 7,890 left"));
    }

    #[test]
    fn of_a_long_list_the_ends_are_told() {
        let list = |n: usize| (1..=n).map(|n| format!("dal-{n} weight 5")).collect::<Vec<_>>().join(", ");
        let (short, long) = (format!("edge web: {}; all", list(8)), format!("edge web: {}; all", list(12)));
        assert_eq!(names().condense(&short), short);
        assert_eq!(
            names().condense(&long),
            "edge web: dal-1 weight 5, dal-2 weight 5, 8 more, dal-11 weight 5, dal-12 weight 5; all"
        );
        assert_eq!(names().condense("a, a, a, a, a, a, a, a"), "a, a, a, a, a, a, a, a");
    }

    #[test]
    fn kinds_keep_the_order_of_their_first() {
        assert_eq!(kinds([3, 10, 5, 20], |n| n % 2 == 0), [vec![3, 5], vec![10, 20]]);
        assert_eq!(runs([3, 10, 5, 7], |n| n % 2 == 0), [vec![3], vec![10], vec![5, 7]]);
    }
}
