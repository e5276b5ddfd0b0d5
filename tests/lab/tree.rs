//! Directory trees: made from a seed, read back from a disk, and compared to the last bit that matters.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::content::Dice;

/// What a tree holds, by path below its root; directories only when they are empty.
pub type Tree = BTreeMap<String, Entry>;

/// One entry, with all that a copy must keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub content: Content,
    /// Permission bits; 0 for a link, which has none.
    pub mode: u32,
    /// Seconds; 0 for directories, whose time moves with every entry.
    pub mtime: i64,
    pub owner: (u32, u32),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    File {
        hash: blake3::Hash,
        bytes: u64,
        /// How many names it has.
        links: u64,
    },
    Link(String),
    EmptyDirectory,
}

/// Makes `count` files of 1 to 64 KiB below `root/dir`, spread over directories.
pub fn seed_files(root: &Path, dir: &str, count: usize, seed: u64) {
    let mut dice = Dice::new(seed, dir);
    for n in 0..count {
        let size = dice.size(1 << 10, 64 << 10);
        let name = format!("{dir}/{:02x}/{n:05}.bin", dice.below(16));
        write(&root.join(name), &dice.bytes(size), 0o644, &mut dice);
    }
}

/// Makes, below `root/dir`, one of everything that copies are known to get wrong.
pub fn seed_oddities(root: &Path, dir: &str, seed: u64) {
    let mut dice = Dice::new(seed, dir);
    let at = |name: &str| root.join(dir).join(name);
    for name in ["empty", "with space", "quote'$(x)`y`\"", "new\nline", "-rf", "ümläut ☂", ".hidden"] {
        let size = if name == "empty" { 0 } else { dice.size(1, 4096) };
        write(&at(name), &dice.bytes(size), 0o640, &mut dice);
    }
    write(&at("private"), &dice.bytes(1000), 0o600, &mut dice);
    write(&at("run.sh"), b"#!/bin/sh\n", 0o755, &mut dice);
    write(&at("large.bin"), &dice.bytes(6 << 20), 0o644, &mut dice);
    let deep = at("a/b/c/d/e/f");
    fs::create_dir_all(&deep).expect("a deep directory");
    fs::create_dir_all(at("nothing here")).expect("an empty directory");
    write(&deep.join("deep"), &dice.bytes(10), 0o644, &mut dice);
    symlink("../large.bin", at("a/link")).expect("a link");
    symlink("/no/such/place", at("dangling")).expect("a dangling link");
    fs::hard_link(at("private"), at("a/private too")).expect("a second name");
}

fn write(path: &Path, bytes: &[u8], mode: u32, dice: &mut Dice) {
    fs::create_dir_all(path.parent().expect("a path below the root")).expect("a directory");
    fs::write(path, bytes).unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    let age = Duration::from_secs(dice.below(3 * 365 * 86_400));
    let file = fs::File::options().write(true).open(path).expect("the file that was just made");
    file.set_modified(SystemTime::now() - age).expect("a time");
}

/// What lies below `root` now; empty when there is nothing.
pub fn read(root: &Path) -> Tree {
    let mut tree = Tree::new();
    if root.exists() {
        read_into(root, "", &mut tree);
    }
    tree
}

fn read_into(dir: &Path, prefix: &str, tree: &mut Tree) {
    let entries = fs::read_dir(dir).unwrap_or_else(|e| panic!("cannot read {}: {e}", dir.display()));
    for entry in entries {
        let entry = entry.expect("a directory entry");
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let meta = entry.metadata().expect("the metadata of an own file");
        let path = entry.path();
        let content = if meta.is_dir() {
            if fs::read_dir(&path).expect("an own directory").next().is_some() {
                read_into(&path, &format!("{name}/"), tree);
                continue;
            }
            Content::EmptyDirectory
        } else if meta.is_symlink() {
            Content::Link(fs::read_link(&path).expect("a link").to_string_lossy().into_owned())
        } else {
            let bytes = fs::read(&path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
            Content::File { hash: blake3::hash(&bytes), bytes: bytes.len() as u64, links: meta.nlink() }
        };
        tree.insert(name, Entry::new(content, &meta));
    }
}

impl Entry {
    fn new(content: Content, meta: &fs::Metadata) -> Self {
        let (mode, mtime) = match content {
            Content::File { .. } => (meta.mode() & 0o7777, meta.mtime()),
            Content::Link(_) => (0, meta.mtime()),
            Content::EmptyDirectory => (meta.mode() & 0o7777, 0),
        };
        Self { content, mode, mtime, owner: (meta.uid(), meta.gid()) }
    }

    /// Bytes of content.
    pub fn bytes(&self) -> u64 {
        match self.content {
            Content::File { bytes, .. } => bytes,
            _ => 0,
        }
    }
}

/// How a tree differs from what it should be.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Difference {
    pub lost: Vec<String>,
    pub changed: Vec<String>,
    pub extra: Vec<String>,
}

impl Difference {
    pub fn is_none(&self) -> bool {
        self.lost.is_empty() && self.changed.is_empty() && self.extra.is_empty()
    }
}

/// Compares what should be there with what is.
pub fn compare(should: &Tree, is: &Tree) -> Difference {
    let mut difference = Difference::default();
    for (name, wanted) in should {
        match is.get(name) {
            None => difference.lost.push(name.clone()),
            Some(found) if found != wanted => difference.changed.push(format!("{name}: {wanted:?} is now {found:?}")),
            Some(_) => {}
        }
    }
    difference.extra.extend(is.keys().filter(|name| !should.contains_key(*name)).cloned());
    difference
}
