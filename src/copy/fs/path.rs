//! Relative paths as the wire carries them: bytes, checked before anything is done with them.
//!
//! Owns what a name may be and the names of temporary files. Must never accept `..`, an absolute path, an empty component or NUL.

use std::collections::BTreeSet;

/// A name, or a path below the root.
pub type RelativePath = Vec<u8>;

/// Longest accepted relative path. Deeper than `PATH_MAX`, because descriptor-relative calls can go there.
pub const MAX_PATH: usize = 1 << 18;
/// Longest accepted name of one entry.
pub const MAX_NAME: usize = 255;

/// Whether `name` can be one entry of a directory.
pub fn is_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= MAX_NAME
        && name != b"."
        && name != b".."
        && !name.iter().any(|b| matches!(b, 0 | b'/'))
}

/// Whether `path` names something at or below the root: names joined by single slashes, or nothing for the root itself.
pub fn is_relative(path: &[u8]) -> bool {
    path.len() <= MAX_PATH && (path.is_empty() || path.split(|b| *b == b'/').all(is_name))
}

/// `dir/name`, or `name` below the root.
pub fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(dir.len() + 1 + name.len());
    if !dir.is_empty() {
        path.extend_from_slice(dir);
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// `(dir, name)` of a path that is not the root.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (path.get(..at).unwrap_or_default(), path.get(at + 1..).unwrap_or_default()),
        None => (&[], path),
    }
}

/// Whether `path` is one of these or below one.
pub fn is_below(path: &[u8], tops: &BTreeSet<Vec<u8>>) -> bool {
    if tops.is_empty() {
        return false;
    }
    let ends = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at).chain([path.len()]);
    ends.filter_map(|end| path.get(..end)).any(|top| tops.contains(top))
}

/// Names under which a job writes what is not complete yet. No other job uses the same.
#[derive(Debug, Clone)]
pub struct TempNames {
    prefix: String,
}

impl TempNames {
    /// The names of one job.
    pub fn of_job(job: &str) -> Self {
        let tag = blake3::hash(job.as_bytes()).to_hex();
        Self { prefix: format!(".migrate~{}~", tag.get(..8).unwrap_or_default()) }
    }

    /// For the `n`th writer: one at a time in each directory.
    pub fn writer(&self, n: usize) -> Vec<u8> {
        format!("{}w{n}", self.prefix).into_bytes()
    }

    /// For a file whose parts arrive one by one: the same in every run, so that the next one finds it.
    pub fn partial(&self, name: &[u8]) -> Vec<u8> {
        let hash = blake3::hash(name).to_hex();
        format!("{}{}", self.prefix, hash.get(..24).unwrap_or_default()).into_bytes()
    }

    /// Whether a name is one for a file whose parts arrive one by one.
    pub fn is_partial(&self, name: &[u8]) -> bool {
        name.strip_prefix(self.prefix.as_bytes()).is_some_and(|rest| rest.len() == 24)
    }

    /// Whether a name is one of these.
    pub fn matches(&self, name: &[u8]) -> bool {
        name.starts_with(self.prefix.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_leave_the_directory_are_refused() {
        for bad in [&b""[..], b".", b"..", b"a/b", b"a\0", b"/", &[b'x'; 256]] {
            assert!(!is_name(bad), "{bad:?}");
        }
        for good in [&b"a"[..], b"...", b"\xff\n", b"-rf", b"~", &[b'x'; 255]] {
            assert!(is_name(good), "{good:?}");
        }
    }

    #[test]
    fn paths_that_leave_the_root_are_refused() {
        for bad in [&b"/etc"[..], b"a/../b", b"../a", b"a//b", b"a/", b"./a", b"a/.", b"a/\0"] {
            assert!(!is_relative(bad), "{bad:?}");
        }
        for good in [&b""[..], b"a", b"a/b", b"a/..b/c.."] {
            assert!(is_relative(good), "{good:?}");
        }
    }

    #[test]
    fn temporary_names_belong_to_one_job() {
        let (a, b) = (TempNames::of_job("a"), TempNames::of_job("b"));
        assert!(a.matches(&a.writer(3)) && a.matches(&a.partial(b"data.db")));
        assert!(!b.matches(&a.writer(3)) && !a.matches(b".migrate~"));
        assert!(is_name(&a.partial(&[b'x'; 255])));
    }

    proptest! {
        #[test]
        fn splitting_undoes_joining(dir in "([a-z]{1,5}(/[a-z]{1,5}){0,3})?", name in "[a-z.]{3,9}") {
            let path = join(dir.as_bytes(), name.as_bytes());
            prop_assert!(is_relative(&path));
            prop_assert_eq!(split(&path), (dir.as_bytes(), name.as_bytes()));
        }
    }
}
