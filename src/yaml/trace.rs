//! What a reader takes where: learned by watching it read something that holds everything.
//!
//! A reader is the list of the keys that there are, and nobody wants to write that list twice: who needs it as data, for editors say, lets
//! the reader read a sample and looks at what it asked. Must never change what a reader does.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// A value of the sample: where it begins, in which file, and whether it is a list, a mapping or neither. A mapping begins where its
/// first key does.
pub type Place = (usize, usize, char);

/// What a reader takes for a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Taken {
    /// A mapping with known keys: the name of its concept.
    Map(&'static str),
    /// A mapping whose keys the user chooses.
    Names,
    /// A list.
    List,
    /// A list, or one item without brackets.
    OneOrMany,
    /// Text, possibly of several lines.
    Text,
    /// Text of one line.
    Line,
    /// A name.
    Identifier,
    /// True or false.
    Bool,
    /// A whole number within these limits.
    Integer(u64, u64),
    /// Text that is a quantity: `a duration with a unit`.
    Quantity(String),
    /// One of these words.
    Words(Vec<&'static str>),
    /// The word `off`.
    Off,
    /// Nothing.
    Null,
    /// It was asked whether it is a mapping: there is more than one form.
    Form,
}

/// A concept: a mapping with known keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Concept {
    /// How often one was read.
    pub times: usize,
    /// Whether keys that are missing may come from elsewhere.
    pub falls_back: bool,
    /// Its keys.
    pub keys: BTreeMap<&'static str, Known>,
    /// Words of which exactly one must be there.
    pub kinds: BTreeSet<Vec<&'static str>>,
}

/// A key of a concept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// How often it had to be there.
    pub needed: usize,
    /// Its values in the sample.
    pub values: BTreeSet<Place>,
}

/// Everything that was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Concepts by name.
    pub concepts: BTreeMap<&'static str, Concept>,
    /// What was taken for each value.
    pub taken: BTreeMap<Place, BTreeSet<Taken>>,
    /// Items of lists, and values of mappings whose keys the user chooses.
    pub within: BTreeMap<Place, BTreeSet<Place>>,
}

/// Watches a reader, if it is wanted.
#[derive(Debug, Default)]
pub struct Trace(Option<RefCell<Seen>>);

impl Trace {
    /// One that watches.
    pub fn watching() -> Self {
        Self(Some(RefCell::default()))
    }

    /// What was seen; nothing, where nobody watched.
    pub fn seen(self) -> Seen {
        self.0.map(RefCell::into_inner).unwrap_or_default()
    }

    pub(super) fn note<T>(&self, look: impl FnOnce(&mut Seen) -> T) {
        if let Some(seen) = &self.0 {
            look(&mut seen.borrow_mut());
        }
    }

    pub(super) fn take(&self, place: Place, what: Taken) {
        self.note(|seen| seen.taken.entry(place).or_default().insert(what));
    }
}
