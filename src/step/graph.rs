//! Steps in order, found by id and by what waits for them.
//!
//! Owns every way to a step: nobody else needs to search a graph, so that work with it grows with its size and no faster.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Setters, Step};

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
    ids: OnceLock<HashMap<ById, usize>>,
    /// Made when somebody first asks what waits for a step.
    followers: OnceLock<Vec<Vec<usize>>>,
    /// Made when somebody first asks what is set.
    setters: OnceLock<Setters>,
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
        let list = &self.0.list;
        let ids = self.0.ids.get_or_init(|| list.iter().zip(0..).map(|(s, n)| (ById(Arc::clone(s)), n)).collect());
        ids.get(id).copied()
    }

    /// The step of that id.
    pub fn by_id(&self, id: &str) -> Option<&Arc<Step>> {
        self.position(id).and_then(|at| self.get(at))
    }

    /// Positions of the steps that the one at a position waits for.
    pub fn waits_for(&self, at: usize) -> impl Iterator<Item = usize> + '_ {
        self.get(at).into_iter().flat_map(|step| &step.after).filter_map(|id| self.position(id))
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

    /// Which steps set which members.
    pub fn setters(&self) -> &Setters {
        self.0.setters.get_or_init(|| Setters::of(self.0.list.iter().map(AsRef::as_ref)))
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
        for (n, step) in self.iter().enumerate() {
            if self.position(&step.id) != Some(n) {
                return Err("two steps have the same id".to_owned());
            }
            if let Some(after) = step.after.iter().find(|a| self.position(a).is_none_or(|at| at >= n)) {
                return Err(format!("{} waits for {after}, which does not stand before it", step.id));
            }
        }
        Ok(())
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

/// A step as the key that its id is.
#[derive(Debug)]
struct ById(Arc<Step>);

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
        Self::from(Vec::new())
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

impl FromIterator<Step> for Steps {
    fn from_iter<I: IntoIterator<Item = Step>>(steps: I) -> Self {
        let list = steps.into_iter().map(Arc::new).collect();
        Self(Arc::new(Shared { list, ids: OnceLock::new(), followers: OnceLock::new(), setters: OnceLock::new() }))
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
        Vec::<Step>::deserialize(deserializer).map(Self::from)
    }
}
