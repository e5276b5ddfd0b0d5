//! What a director reads when it starts, and what that makes of what was set while it ran.
//!
//! Must never hold more of a file than settings of members: passwords may stand there, too.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Change, Mode};

/// What happens with the settings of a service that only last until its director starts anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Persist {
    /// The service is not finished before the configuration on disk agrees.
    #[default]
    Hold,
    /// The configuration on disk is changed.
    Write,
    /// Nobody looks.
    Ignore,
}

impl Persist {
    /// The words in plans.
    pub const WORDS: [(&str, Self); 3] = [("hold", Self::Hold), ("write", Self::Write), ("ignore", Self::Ignore)];
}

/// What one machine's director reads when it starts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// `/etc/haproxy/haproxy.cfg on lb-1`.
    pub at: String,
    /// Members of a pool by name, as it would start them.
    pub members: BTreeMap<String, StoredMember>,
    /// Why nobody can tell all of it.
    pub unclear: Vec<String>,
}

/// A member as a director would start it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredMember {
    /// The line: `/etc/haproxy/haproxy.cfg:14`.
    pub at: String,
    /// Its weight.
    pub weight: u16,
    /// Its mode.
    pub mode: Mode,
    /// Why this line cannot be changed for it, or not by a program.
    pub by_hand: Option<String>,
}

/// Whether members that were set stay so when their director starts anew.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// What has to change so that they do.
    pub lines: Vec<Line>,
    /// What should tell, and does not.
    pub unclear: Vec<String>,
    /// What keeps them, or why nobody can know.
    pub notes: Vec<String>,
}

/// A line that has to change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The file and the line: `/etc/haproxy/haproxy.cfg:14`.
    pub at: String,
    /// The member.
    pub member: String,
    /// What decides, as it is: `server fra-1 … weight 0`.
    pub from: String,
    /// As it has to be.
    pub to: String,
    /// Why the run cannot change it by itself.
    pub by_hand: Option<String>,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, from, to, by_hand, .. } = self;
        write!(f, "{at}: `{from}` → `{to}`")?;
        by_hand.iter().try_for_each(|why| write!(f, " ({why})"))
    }
}

impl Kept {
    /// Where nobody can know, or nobody has to: in one sentence.
    pub fn noted(note: impl Into<String>) -> Self {
        Self { notes: vec![note.into()], ..Self::default() }
    }

    /// Whether nothing speaks against it.
    pub fn agrees(&self) -> bool {
        self.lines.is_empty() && self.unclear.is_empty()
    }

    /// All of it, for people.
    pub fn describe(&self) -> String {
        let lines = self.lines.iter().map(Line::to_string);
        let told = lines.chain(self.unclear.iter().cloned());
        let told: Vec<String> = if self.agrees() { self.notes.clone() } else { told.collect() };
        told.join("; ")
    }
}

/// Whether somebody who was started like this is as it was set.
pub fn is_as_set(weight: u16, mode: Mode, set: &Change) -> bool {
    match (set.mode, mode) {
        (Mode::Ready, Mode::Ready) => weight == set.weight,
        (Mode::Ready, Mode::Drain | Mode::Maint) => set.weight == 0,
        (Mode::Drain, Mode::Ready) => weight == 0,
        (Mode::Drain, Mode::Drain | Mode::Maint) | (Mode::Maint, Mode::Maint) => true,
        // Clients that are pinned come to a member of weight 0.
        (Mode::Maint, Mode::Ready | Mode::Drain) => false,
    }
}

/// Changes of one file, each of a few words: everything else stays as it is, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rewrite {
    /// Inventory name of the host; `None`: this machine.
    pub host: Option<String>,
    /// The file.
    pub path: String,
    /// BLAKE3 of all of it before, hex.
    pub before: String,
    /// And afterwards.
    pub after: String,
    /// What changes, from the beginning of the file to its end.
    pub edits: Vec<Edit>,
    /// All files that are read together with it, in order: they are checked as a whole.
    pub together: Vec<String>,
}

/// A few words of a file that become others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// The line, from 1.
    pub line: usize,
    /// The member whose line it is.
    pub member: String,
    /// Where in the file it begins, in bytes.
    pub at: usize,
    /// What is there.
    pub from: String,
    /// What takes its place.
    pub to: String,
}

impl Rewrite {
    /// What takes it back.
    #[must_use]
    pub fn reversed(&self) -> Self {
        let mut moved: isize = 0;
        let edits = self.edits.iter().map(|edit| {
            let at = edit.at.saturating_add_signed(moved);
            moved += edit.to.len() as isize - edit.from.len() as isize;
            Edit { at, from: edit.to.clone(), to: edit.from.clone(), ..edit.clone() }
        });
        let edits = edits.collect();
        Self { before: self.after.clone(), after: self.before.clone(), edits, ..self.clone() }
    }

    /// What it makes of a file; `None` where that is not what it is made for.
    pub fn applied(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let (mut new, mut at) = (Vec::with_capacity(bytes.len() + 64), 0);
        for edit in &self.edits {
            let end = edit.at.checked_add(edit.from.len())?;
            new.extend_from_slice(bytes.get(at..edit.at)?);
            if bytes.get(edit.at..end)? != edit.from.as_bytes() {
                return None;
            }
            new.extend_from_slice(edit.to.as_bytes());
            at = end;
        }
        new.extend_from_slice(bytes.get(at..)?);
        Some(new)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rewrite(edits: &[(usize, &str, &str)]) -> Rewrite {
        let edit = |(at, from, to): &(usize, &str, &str)| Edit {
            line: 1,
            member: "a".into(),
            at: *at,
            from: (*from).into(),
            to: (*to).into(),
        };
        let edits = edits.iter().map(edit).collect();
        let (path, before, after) = ("/h.cfg".into(), "1".into(), "2".into());
        Rewrite { host: None, path, before, after, edits, together: Vec::new() }
    }

    #[test]
    fn only_what_is_expected_is_changed() {
        let there = rewrite(&[(2, "0", "100"), (5, "", " disabled")]);
        assert_eq!(there.applied(b"w 0 x\xff").as_deref(), Some(&b"w 100 x disabled\xff"[..]));
        assert_eq!(there.applied(b"w 1 x"), None);
        assert_eq!(there.applied(b"w 0"), None);
        assert_eq!(there.reversed().applied(b"w 100 x disabled\xff").as_deref(), Some(&b"w 0 x\xff"[..]));
    }

    #[test]
    fn who_gets_nothing_may_start_in_any_way_that_gives_nothing_to_it() {
        let set = |weight, mode| Change { member: "a".into(), weight, mode };
        assert!(is_as_set(100, Mode::Ready, &set(100, Mode::Ready)));
        assert!(!is_as_set(100, Mode::Maint, &set(100, Mode::Ready)));
        assert!(is_as_set(1, Mode::Maint, &set(100, Mode::Maint)));
        assert!(!is_as_set(0, Mode::Ready, &set(100, Mode::Maint)), "pinned clients would come");
        assert!(is_as_set(0, Mode::Ready, &set(100, Mode::Drain)));
    }

    proptest! {
        #[test]
        fn whatever_is_changed_comes_back(
            text in proptest::collection::vec(any::<u8>(), 0..60),
            cuts in proptest::collection::vec((0_usize..6, "[a-z]{0,3}"), 0..5),
        ) {
            let (mut edits, mut at) = (Vec::new(), 0);
            for (gap, to) in cuts {
                let begin = at + gap;
                let Some(from) = text.get(begin..begin + gap).and_then(|b| std::str::from_utf8(b).ok()) else { break };
                edits.push((begin, from.to_owned(), to));
                at = begin + gap;
            }
            let edits: Vec<(usize, &str, &str)> = edits.iter().map(|(a, f, t)| (*a, f.as_str(), t.as_str())).collect();
            let there = rewrite(&edits);
            let new = there.applied(&text).unwrap();
            prop_assert_eq!(there.reversed().applied(&new), Some(text));
            prop_assert_eq!(there.reversed().reversed(), there);
        }
    }
}
