//! What an agent sees of a tree before anything is carried: how much there is, and what of it the login may not read.
//!
//! Must never change anything, and never leave the file system of the root.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};

use crate::copy::failure::show;
use crate::host::TreeFacts;

/// Blocks of `stat`, whatever the file system's own are.
const BLOCK: u64 = 512;

/// Looks at everything below a root.
pub fn look(root: &Path) -> io::Result<TreeFacts> {
    let device = fs::metadata(root)?.dev();
    let mut seen = TreeFacts::default();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        let Ok(entries) = fs::read_dir(&dir) else {
            unreadable(&mut seen, root, &dir);
            continue;
        };
        for entry in entries {
            let (path, meta) = match entry.and_then(|entry| Ok((entry.path(), entry.metadata()?))) {
                Ok(found) => found,
                // What goes while it is looked at was never there.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(_) => {
                    unreadable(&mut seen, root, &dir);
                    continue;
                }
            };
            if meta.dev() != device {
                continue;
            }
            seen.entries += 1;
            seen.allocated += meta.blocks() * BLOCK;
            if meta.is_dir() {
                open.push(path);
            } else if meta.is_file() && accessat(CWD, &path, Access::READ_OK, AtFlags::EACCESS).is_err() {
                unreadable(&mut seen, root, &path);
            }
        }
    }
    Ok(seen)
}

fn unreadable(seen: &mut TreeFacts, root: &Path, path: &Path) {
    seen.unreadable += 1;
    let below: PathBuf = path.strip_prefix(root).unwrap_or(path).into();
    let shown = if below.as_os_str().is_empty() { ".".to_owned() } else { show(below.as_os_str().as_bytes()) };
    seen.example.get_or_insert(shown);
}

/// One line, which [`parse`] reads.
pub fn line(seen: &TreeFacts) -> String {
    let example = seen.example.as_deref().unwrap_or_default();
    format!("{} {} {} {}\n", seen.entries, seen.allocated, seen.unreadable, crate::text::hex(example.as_bytes()))
}

/// What an agent has said of `root`; `None` when it is anything else than a [`line`].
#[cfg(feature = "controller")]
pub fn parse(root: &str, text: &str) -> Option<TreeFacts> {
    let mut words = text.lines().last()?.split(' ');
    let mut number = || words.next()?.parse().ok();
    let (entries, allocated, unreadable) = (number()?, number()?, number()?);
    let example = String::from_utf8(crate::text::unhex(words.next()?)?).ok()?;
    let example = (!example.is_empty()).then(|| crate::text::escape(example.as_bytes(), 300));
    Some(TreeFacts { root: root.to_owned(), entries, allocated, unreadable, example })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_counted_once_and_by_what_it_takes() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(dir.path().join("sub/a b"), vec![1; 10_000]).unwrap();
        let sparse = fs::File::create(dir.path().join("sparse")).unwrap();
        sparse.set_len(1 << 40).unwrap();
        let seen = look(dir.path()).unwrap();
        assert_eq!((seen.entries, seen.unreadable), (3, 0));
        assert!(seen.allocated >= 10_000 && seen.allocated < 1 << 20, "{}", seen.allocated);
        assert!(look(&dir.path().join("none")).is_err());
    }

    #[test]
    fn a_line_is_read_as_it_was_written_and_nothing_else_is() {
        let seen = TreeFacts {
            root: "/srv".to_owned(),
            entries: 3,
            allocated: 4096,
            unreadable: 1,
            example: Some("a b".to_owned()),
        };
        assert_eq!(parse("/srv", &format!("\nmigrate agent 1\n{}", line(&seen))), Some(seen.clone()));
        let all_well = TreeFacts { unreadable: 0, example: None, ..seen };
        assert_eq!(parse("/srv", &line(&all_well)), Some(all_well));
        for bad in ["", "1 2 3", "1 2 x 00", "-1 2 3 00", "1 2 3 0g"] {
            assert_eq!(parse("/srv", bad), None, "{bad}");
        }
    }
}
