//! Which pairs have certainly moved before a step, whatever order independent steps happen to run in.
//!
//! Each step has the pairs of all steps that it waits for. Most have the set of the step before them, or one pair more, so sets share what
//! they have in common: trees over all pairs, of which a new set copies one path.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;

/// What a pair gives to its pool before and after it has moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capacity {
    pub source: u64,
    pub target: u64,
}

/// A set of pairs by their positions in a list.
#[derive(Debug, Clone, Default)]
pub struct Moved {
    root: Option<Rc<Node>>,
    line: usize,
    depth: usize,
}

#[derive(Debug)]
struct Node {
    children: [Option<Rc<Node>>; 2],
    count: usize,
    sum: Capacity,
}

/// All sets over one list of pairs.
pub struct Sets {
    /// Sums of the capacities of the pairs before each position.
    before: Vec<Capacity>,
    /// Each set was made from another one by adding a pair, in lines: what a line branched off from, and how long it is.
    lines: Vec<(Option<(usize, usize)>, usize)>,
}

impl Sets {
    /// Over pairs with these capacities.
    pub fn new(pairs: impl IntoIterator<Item = Capacity>) -> Self {
        let mut before = vec![Capacity::default()];
        let mut sum = Capacity::default();
        for pair in pairs {
            sum = Capacity { source: sum.source + pair.source, target: sum.target + pair.target };
            before.push(sum);
        }
        Self { before, lines: vec![(None, 0)] }
    }

    fn all(&self) -> Range<usize> {
        0..self.before.len() - 1
    }

    /// The capacities of all pairs of a range together.
    pub fn sum(&self, range: &Range<usize>) -> Capacity {
        let at = |n: usize| self.before.get(n).copied().unwrap_or_default();
        let (from, to) = (at(range.start), at(range.end));
        Capacity { source: to.source - from.source, target: to.target - from.target }
    }

    /// A set with one pair more.
    pub fn with(&mut self, set: &Moved, pair: usize) -> Moved {
        let root = self.insert(set.root.as_ref(), self.all(), pair);
        let (line, depth) = match self.lines.get_mut(set.line) {
            Some((_, length)) if *length == set.depth => {
                *length += 1;
                (set.line, *length)
            }
            _ => (self.new_line(Some((set.line, set.depth)), 1), 1),
        };
        Moved { root: Some(root), line, depth }
    }

    fn new_line(&mut self, from: Option<(usize, usize)>, length: usize) -> usize {
        self.lines.push((from, length));
        self.lines.len() - 1
    }

    fn insert(&self, node: Option<&Rc<Node>>, range: Range<usize>, pair: usize) -> Rc<Node> {
        if range.len() <= 1 {
            return Rc::new(Node { children: [None, None], count: range.len(), sum: self.sum(&range) });
        }
        let (left, right) = halves(&range);
        let [l, r] = children(node);
        let (l, r) = match left.contains(&pair) {
            true => (Some(self.insert(l, left, pair)), r.cloned()),
            false => (l.cloned(), Some(self.insert(r, right, pair))),
        };
        Rc::new(Node::of(l, r))
    }

    /// Everything that is in one of the sets.
    pub fn union<'a>(&mut self, sets: impl Iterator<Item = &'a Moved>) -> Moved {
        // Of each line the longest holds all others.
        let mut longest: BTreeMap<usize, &Moved> = BTreeMap::new();
        for set in sets.filter(|s| s.root.is_some()) {
            let known = longest.entry(set.line).or_insert(set);
            if known.depth < set.depth {
                *known = set;
            }
        }
        let within = self.held_by_others(&longest);
        longest.retain(|line, _| !within.contains(line));
        let mut rest = longest.into_values();
        let Some(first) = rest.next() else { return Moved::default() };
        let Some(second) = rest.next() else { return first.clone() };
        let root = [second].into_iter().chain(rest).fold(first.root.clone(), |all, set| merge(all, set.root.clone()));
        Moved { root, line: self.new_line(None, 0), depth: 0 }
    }

    /// Those of the lines that another set holds because it comes from them. A line is younger than the one that it branched off from, so
    /// a search ends at the oldest line that is asked about; and at a line where another search has been, which went on from there.
    fn held_by_others(&self, longest: &BTreeMap<usize, &Moved>) -> BTreeSet<usize> {
        let oldest = longest.keys().next().copied().unwrap_or_default();
        let (mut within, mut seen) = (BTreeSet::new(), BTreeSet::new());
        for set in longest.values() {
            let mut at = set.line;
            while seen.insert(at) {
                let Some((line, depth)) = self.lines.get(at).and_then(|(from, _)| *from) else { break };
                if line < oldest {
                    break;
                }
                if longest.get(&line).is_some_and(|other| other.depth <= depth) {
                    within.insert(line);
                }
                at = line;
            }
        }
        within
    }

    /// What the pairs of a range give that are in the set.
    pub fn moved(&self, set: &Moved, range: &Range<usize>) -> Capacity {
        let before = |end: usize| prefix(set.root.as_deref(), self.all(), end);
        let (from, to) = (before(range.start), before(range.end));
        Capacity { source: to.source - from.source, target: to.target - from.target }
    }

    /// What the sources give together of the first `most` pairs of a range that are not in the set.
    pub fn first_absent(&self, set: &Moved, range: &Range<usize>, most: usize) -> u64 {
        let mut left = most;
        self.absent(set.root.as_ref(), self.all(), range, &mut left)
    }

    fn absent(&self, node: Option<&Rc<Node>>, at: Range<usize>, wanted: &Range<usize>, left: &mut usize) -> u64 {
        if *left == 0 || at.end <= wanted.start || wanted.end <= at.start {
            return 0;
        }
        let (count, moved) = node.map_or((0, 0), |n| (n.count, n.sum.source));
        let absent = at.len() - count;
        if absent <= *left && wanted.start <= at.start && at.end <= wanted.end {
            *left -= absent;
            return self.sum(&at).source - moved;
        }
        if at.len() <= 1 {
            return 0;
        }
        let (l, r) = halves(&at);
        let [lower, upper] = children(node);
        self.absent(lower, l, wanted, left) + self.absent(upper, r, wanted, left)
    }
}

/// What the pairs before a position give that are in a tree.
fn prefix(node: Option<&Node>, at: Range<usize>, end: usize) -> Capacity {
    let Some(node) = node.filter(|_| at.start < end) else { return Capacity::default() };
    if at.end <= end {
        return node.sum;
    }
    let (left, right) = halves(&at);
    let [l, r] = &node.children;
    let (l, r) = (prefix(l.as_deref(), left, end), prefix(r.as_deref(), right, end));
    Capacity { source: l.source + r.source, target: l.target + r.target }
}

fn merge(a: Option<Rc<Node>>, b: Option<Rc<Node>>) -> Option<Rc<Node>> {
    let (Some(a), Some(b)) = (&a, &b) else { return a.or(b) };
    let [al, ar] = &a.children;
    let [bl, br] = &b.children;
    if Rc::ptr_eq(a, b) || (al.is_none() && ar.is_none()) {
        return Some(Rc::clone(a));
    }
    Some(Rc::new(Node::of(merge(al.clone(), bl.clone()), merge(ar.clone(), br.clone()))))
}

impl Node {
    fn of(left: Option<Rc<Self>>, right: Option<Rc<Self>>) -> Self {
        let sides = [left.as_deref(), right.as_deref()];
        let count = sides.into_iter().flatten().map(|n| n.count).sum();
        let source = sides.into_iter().flatten().map(|n| n.sum.source).sum();
        let target = sides.into_iter().flatten().map(|n| n.sum.target).sum();
        Self { children: [left, right], count, sum: Capacity { source, target } }
    }
}

fn children(node: Option<&Rc<Node>>) -> [Option<&Rc<Node>>; 2] {
    node.map_or([None, None], |n| n.children.each_ref().map(Option::as_ref))
}

fn halves(range: &Range<usize>) -> (Range<usize>, Range<usize>) {
    let middle = range.start + range.len() / 2;
    (range.start..middle, middle..range.end)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const PAIRS: usize = 13;

    fn capacity(pair: usize) -> Capacity {
        Capacity { source: 100 - pair as u64, target: 7 * pair as u64 + 1 }
    }

    proptest! {
        /// Sets are made from random earlier ones, and compared with plain sets.
        #[test]
        fn sets_that_share_say_the_same_as_plain_ones(
            steps in proptest::collection::vec((proptest::collection::vec(0_usize..40, 1..4), proptest::option::of(0..PAIRS)), 1..40),
            from in 0..PAIRS, length in 0..PAIRS, most in 0_usize..5,
        ) {
            let mut sets = Sets::new((0..PAIRS).map(capacity));
            let mut made: Vec<(Moved, BTreeSet<usize>)> = vec![Default::default()];
            for (parents, added) in steps {
                let parents: Vec<&(Moved, BTreeSet<usize>)> = parents.iter().map(|p| &made[p % made.len()]).collect();
                let plain: BTreeSet<usize> = parents.iter().flat_map(|(_, set)| set).copied().collect();
                let mut set = sets.union(parents.iter().map(|(set, _)| set));
                let mut plain = plain;
                // A pair moves once.
                if let Some(pair) = added.filter(|pair| !plain.contains(pair)) {
                    set = sets.with(&set, pair);
                    plain.insert(pair);
                }
                made.push((set, plain));
            }
            let range = from..(from + length).min(PAIRS);
            for (set, plain) in &made {
                let inside = || range.clone().filter(|p| plain.contains(p)).map(capacity);
                let moved = sets.moved(set, &range);
                prop_assert_eq!(moved.source, inside().map(|c| c.source).sum::<u64>());
                prop_assert_eq!(moved.target, inside().map(|c| c.target).sum::<u64>());
                let absent = range.clone().filter(|p| !plain.contains(p)).take(most).map(|p| capacity(p).source);
                prop_assert_eq!(sets.first_absent(set, &range, most), absent.sum::<u64>());
            }
        }
    }
}
