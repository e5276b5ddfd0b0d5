//! Steps in order, found by id and by what waits for them.
//!
//! Owns every way to a step: nobody else needs to search a graph, so that work with it grows with its size and no faster.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::{Arc, OnceLock};

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Leaving, LeftOut, Setters, Step};
use crate::model::{Limit, shared};

/// Steps and what each waits for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    /// Steps in an order in which each stands behind all it waits for.
    pub steps: Steps,
    /// Pairs that may fail before others are held, too.
    #[serde(default)]
    pub budgets: Budgets,
    /// Bytes per second of all copies together.
    #[serde(default)]
    pub total_bandwidth: Option<u64>,
    /// What pairs and copies may do together that have a host in one place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<Limit>,
    /// Pairs that it moves without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// Pairs of each wave, with those that need no steps.
    #[serde(default)]
    pub pairs: BTreeMap<Arc<str>, usize>,
}

/// Pairs that may fail before others are held, too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budgets {
    /// By wave; none is 0.
    pub waves: BTreeMap<String, usize>,
    /// In all; `None` leaves it to the waves.
    pub all: Option<usize>,
}

impl Graph {
    /// The step with that id.
    pub fn step(&self, id: &str) -> Option<&Step> {
        self.steps.by_id(id).map(AsRef::as_ref)
    }
}

/// The steps of a graph. They do not change any more, and a clone shares them.
#[derive(Debug, Clone)]
pub struct Steps(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    list: Vec<Arc<Step>>,
    /// Made when a step is first asked for by its id.
    ids: OnceLock<Ids>,
    /// Made when somebody first asks what a step waits for.
    earlier: OnceLock<Edges>,
    /// Made when somebody first asks what waits for a step.
    followers: OnceLock<Vec<Vec<usize>>>,
    /// Made when somebody first asks what stays under way beside a step.
    beside: OnceLock<HashMap<usize, Vec<usize>>>,
    /// Made when somebody first asks what is set.
    setters: OnceLock<Setters>,
    /// Made when somebody first asks what takes pairs out of service.
    leaving: OnceLock<Leaving>,
}

impl Steps {
    /// All in order.
    pub fn iter(&self) -> Iter<'_> {
        self.0.list.iter().map(see)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.list.is_empty()
    }

    /// The step at a position.
    pub fn get(&self, at: usize) -> Option<&Arc<Step>> {
        visited();
        self.0.list.get(at)
    }

    /// Where the step of that id stands.
    pub fn position(&self, id: &str) -> Option<usize> {
        visited();
        self.ids().get(id).copied()
    }

    fn ids(&self) -> &Ids {
        let list = &self.0.list;
        self.0.ids.get_or_init(|| list.iter().zip(0..).map(|(s, n)| (ById(Arc::clone(s)), n)).collect())
    }

    /// The step of that id.
    pub fn by_id(&self, id: &str) -> Option<&Arc<Step>> {
        self.position(id).and_then(|at| self.get(at))
    }

    /// Positions of the steps that the one at a position waits for.
    pub fn waits_for(&self, at: usize) -> impl Iterator<Item = usize> + '_ {
        visited();
        self.earlier().of(at).iter().copied()
    }

    fn earlier(&self) -> &Edges {
        // Most steps wait for the one right before them.
        let find = |n: usize, id: &str| {
            let before = n.checked_sub(1).filter(|before| self.get(*before).is_some_and(|step| step.id == id));
            before.or_else(|| self.position(id))
        };
        self.0.earlier.get_or_init(|| {
            let steps = self.iter().enumerate();
            steps.map(|(n, step)| step.after.iter().filter_map(move |id| find(n, id))).collect()
        })
    }

    /// Positions of the steps of the same pair that a step waits for, directly or not, in order.
    pub fn earlier_of_pair(&self, step: &Step) -> BTreeSet<usize> {
        let same = |at: &usize| self.get(*at).is_some_and(|s| s.service == step.service && s.pair == step.pair);
        let mut reached = BTreeSet::new();
        let mut open: Vec<usize> = self.position(&step.id).into_iter().collect();
        while let Some(at) = open.pop() {
            open.extend(self.waits_for(at).filter(same).filter(|earlier| reached.insert(*earlier)));
        }
        reached
    }

    /// Positions of the steps that wait for the one at a position.
    pub fn followers(&self, at: usize) -> &[usize] {
        let followers = self.0.followers.get_or_init(|| {
            let mut followers = vec![Vec::new(); self.len()];
            for n in 0..self.len() {
                for earlier in self.waits_for(n) {
                    if let Some(list) = followers.get_mut(earlier) {
                        list.push(n);
                    }
                }
            }
            followers
        });
        visited();
        followers.get(at).map_or(&[], Vec::as_slice)
    }

    /// Positions of the steps that stay under way until the one at a position is done.
    pub fn beside(&self, at: usize) -> &[usize] {
        let beside = self.0.beside.get_or_init(|| {
            let mut beside: HashMap<usize, Vec<usize>> = HashMap::new();
            for (n, step) in self.iter().enumerate() {
                if let Some(end) = step.beside.as_deref().and_then(|id| self.position(id)) {
                    beside.entry(end).or_default().push(n);
                }
            }
            beside
        });
        visited();
        beside.get(&at).map_or(&[], Vec::as_slice)
    }

    /// Which steps set which members.
    pub fn setters(&self) -> &Setters {
        self.0.setters.get_or_init(|| Setters::of(self.0.list.iter().map(AsRef::as_ref)))
    }

    /// Which steps take pairs out of service, and bring them back.
    pub fn leaving(&self) -> &Leaving {
        self.0.leaving.get_or_init(|| Leaving::of(self.0.list.iter().map(AsRef::as_ref)))
    }

    /// Positions of a step and of all that wait for it, directly or not, in order.
    pub fn dependents(&self, first: usize) -> Vec<usize> {
        let mut reached = std::collections::BTreeSet::from([first]);
        let mut open = vec![first];
        while let Some(at) = open.pop() {
            open.extend(self.followers(at).iter().copied().filter(|f| reached.insert(*f)));
        }
        reached.into_iter().collect()
    }

    /// Why these are no steps of a graph, if they are none: two have the same id, or one waits for what does not stand before it.
    pub fn check(&self) -> Result<(), String> {
        if self.ids().len() != self.len() {
            return Err("two steps have the same id".to_owned());
        }
        let earlier = self.earlier();
        for (n, step) in self.iter().enumerate() {
            let waits = earlier.of(n);
            if waits.len() == step.after.len() && waits.iter().all(|at| *at < n) {
                continue;
            }
            if let Some(after) = step.after.iter().find(|a| self.position(a).is_none_or(|at| at >= n)) {
                return Err(format!("{} waits for {after}, which does not stand before it", step.id));
            }
        }
        Ok(())
    }
}

/// Positions for each step, one list behind the other: a list of its own for each would take more than all that is in them.
#[derive(Debug, Default)]
struct Edges {
    ends: Vec<usize>,
    positions: Vec<usize>,
}

impl Edges {
    fn of(&self, at: usize) -> &[usize] {
        let begin = at.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied());
        let range = begin.zip(self.ends.get(at).copied()).map(|(begin, end)| begin..end);
        range.and_then(|range| self.positions.get(range)).unwrap_or_default()
    }
}

impl<I: IntoIterator<Item = usize>> FromIterator<I> for Edges {
    fn from_iter<A: IntoIterator<Item = I>>(lists: A) -> Self {
        let mut edges = Self::default();
        for list in lists {
            edges.positions.extend(list);
            edges.ends.push(edges.positions.len());
        }
        edges
    }
}

/// All steps of a graph in order.
pub type Iter<'a> = std::iter::Map<std::slice::Iter<'a, Arc<Step>>, fn(&'a Arc<Step>) -> &'a Step>;

fn see(step: &Arc<Step>) -> &Step {
    visited();
    step
}

#[cfg(not(test))]
fn visited() {}

/// Tests count every look at a step, to see how work grows with the size of a graph.
#[cfg(test)]
fn visited() {
    counting::VISITS.with(|visits| visits.set(visits.get() + 1));
}

#[cfg(test)]
pub mod counting {
    //! How often steps were looked at.

    use std::cell::Cell;

    thread_local! {
        pub(super) static VISITS: Cell<u64> = const { Cell::new(0) };
    }

    /// What some work comes to, and how many looks at steps it took on this thread.
    pub fn visits<T>(work: impl FnOnce() -> T) -> (T, u64) {
        let before = VISITS.with(Cell::get);
        let done = work();
        (done, VISITS.with(Cell::get) - before)
    }
}

/// Positions by id.
type Ids = HashMap<ById, usize, BuildHasherDefault<IdHasher>>;

/// A step as the key that its id is.
#[derive(Debug)]
struct ById(Arc<Step>);

/// Hashes ids, which are looked up with every record: quicker than what keeps out who would choose them to collide.
#[derive(Debug, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    /// What ends a string: an id is all that is hashed.
    fn write_u8(&mut self, _: u8) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Borrow<str> for ById {
    fn borrow(&self) -> &str {
        &self.0.id
    }
}

impl Hash for ById {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id.as_str().hash(state);
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for ById {}

impl Default for Steps {
    fn default() -> Self {
        Self::from(Vec::<Arc<Step>>::new())
    }
}

impl PartialEq for Steps {
    fn eq(&self, other: &Self) -> bool {
        self.0.list == other.0.list
    }
}

impl From<Vec<Step>> for Steps {
    fn from(steps: Vec<Step>) -> Self {
        steps.into_iter().collect()
    }
}

impl From<Vec<Arc<Step>>> for Steps {
    fn from(list: Vec<Arc<Step>>) -> Self {
        Self(Arc::new(Shared {
            list,
            ids: OnceLock::new(),
            earlier: OnceLock::new(),
            followers: OnceLock::new(),
            beside: OnceLock::new(),
            setters: OnceLock::new(),
            leaving: OnceLock::new(),
        }))
    }
}

impl FromIterator<Step> for Steps {
    fn from_iter<I: IntoIterator<Item = Step>>(steps: I) -> Self {
        Self::from(steps.into_iter().map(Arc::new).collect::<Vec<_>>())
    }
}

impl<'a> IntoIterator for &'a Steps {
    type Item = &'a Step;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl Serialize for Steps {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Steps {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(StepsVisitor)
    }
}

/// Puts each step where it stays as soon as it is read: all of them once more would be most of the memory that a large graph takes.
struct StepsVisitor;

impl<'de> Visitor<'de> for StepsVisitor {
    type Value = Steps;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("steps")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut steps: A) -> Result<Steps, A::Error> {
        let _names = shared::begin();
        let mut list = Vec::new();
        while let Some(step) = steps.next_element::<Step>()? {
            list.push(Arc::new(step));
        }
        Ok(list.into())
    }
}
