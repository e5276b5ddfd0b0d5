//! Large files that get other names do not travel again, and what else happened to them does.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use crate::copy::pair::Pair;
use crate::copy::tree::{noise, set_mtime};

const SIZE: usize = 9 << 20;
/// One block.
const BLOCK: u64 = 64 << 10;

fn write(root: &Path, name: &str, seed: u64) {
    fs::write(root.join(name), noise(seed, SIZE)).unwrap();
}

/// After a pass of its own, renames by `change`; the bytes that the next pass sends.
fn sent_after(pair: &Pair, change: impl Fn(&Path)) -> u64 {
    // Twice: what is younger than a pass is taken again by the next.
    pair.pass();
    pair.pass();
    change(&pair.source());
    let report = pair.pass();
    pair.assert_same();
    assert_eq!(pair.pass().files_sent, 0);
    report.bytes_sent
}

fn rotate(root: &Path) {
    for n in (1..6).rev() {
        fs::rename(root.join(format!("log.{n}")), root.join(format!("log.{}", n + 1))).unwrap();
    }
    fs::rename(root.join("log"), root.join("log.1")).unwrap();
}

#[test]
fn rotated_logs_do_not_travel_again() {
    for pair in [Pair::new(), Pair::sweeping()] {
        write(&pair.source(), "log", 0);
        (1..6).for_each(|n| write(&pair.source(), &format!("log.{n}"), n));
        assert_eq!(sent_after(&pair, rotate), 0);
        // With a new log, and the last one in place of another.
        let bytes = sent_after(&pair, |root| {
            fs::write(root.join("log"), b"new").unwrap();
            rotate(root);
        });
        assert_eq!(bytes, 3);
        assert_eq!(pair.verify().different, 0);
    }
}

#[test]
fn swapped_files_moved_directories_and_files_in_place_of_others_do_not_travel_again() {
    for pair in [Pair::new(), Pair::sweeping()] {
        fs::create_dir_all(pair.source().join("dir/sub")).unwrap();
        ["a", "b", "dir/sub/c", "dir/d"].iter().zip(1..).for_each(|(name, seed)| write(&pair.source(), name, seed));
        let swapped = |root: &Path| {
            fs::rename(root.join("a"), root.join("x")).unwrap();
            fs::rename(root.join("b"), root.join("a")).unwrap();
            fs::rename(root.join("x"), root.join("b")).unwrap();
        };
        assert_eq!(sent_after(&pair, swapped), 0);
        assert_eq!(sent_after(&pair, |root| fs::rename(root.join("dir"), root.join("moved")).unwrap()), 0);
        // A file where a directory was, that was in it; a directory where a file was, with that in it.
        let inside_out = |root: &Path| {
            fs::rename(root.join("moved/d"), root.join("x")).unwrap();
            fs::rename(root.join("moved/sub/c"), root.join("y")).unwrap();
            fs::remove_dir_all(root.join("moved")).unwrap();
            fs::rename(root.join("x"), root.join("moved")).unwrap();
        };
        assert!(sent_after(&pair, inside_out) <= 2 * SIZE as u64);
        let outside_in = |root: &Path| {
            fs::rename(root.join("a"), root.join("x")).unwrap();
            fs::create_dir(root.join("a")).unwrap();
            fs::rename(root.join("x"), root.join("a/a")).unwrap();
        };
        assert!(sent_after(&pair, outside_in) <= SIZE as u64);
        assert_eq!(pair.verify().different, 0);
    }
}

#[test]
fn what_a_rename_hides_travels() {
    let pair = Pair::new();
    write(&pair.source(), "a", 1);
    write(&pair.source(), "keep", 2);
    // Appended, and changed with its time put back: the rename moves the time of change in any case.
    let changed = |root: &Path| {
        let meta = fs::metadata(root.join("a")).unwrap();
        let file = OpenOptions::new().write(true).open(root.join("a")).unwrap();
        file.write_all_at(b"changed", 3 << 20).unwrap();
        set_mtime(&root.join("a"), meta.mtime(), meta.mtime_nsec());
        fs::rename(root.join("a"), root.join("b")).unwrap();
    };
    let bytes = sent_after(&pair, changed);
    assert!(bytes > 0 && bytes <= BLOCK, "{bytes}");
    let grown = |root: &Path| {
        fs::rename(root.join("b"), root.join("c")).unwrap();
        let file = OpenOptions::new().write(true).open(root.join("c")).unwrap();
        file.write_all_at(&noise(7, 100_000), SIZE as u64).unwrap();
    };
    let bytes = sent_after(&pair, grown);
    assert!((100_000..200_000 + BLOCK).contains(&bytes), "{bytes}");
    // A copy under another name is another file.
    let copied = |root: &Path| {
        fs::copy(root.join("c"), root.join("d")).unwrap();
    };
    assert!(sent_after(&pair, copied) >= SIZE as u64);
    // One more name is a link.
    let linked = |root: &Path| fs::hard_link(root.join("keep"), root.join("link")).unwrap();
    assert_eq!(sent_after(&pair, linked), 0);
    assert_eq!(fs::metadata(pair.target().join("link")).unwrap().nlink(), 2);
    assert_eq!(pair.verify().different, 0);
}

#[test]
fn without_deletions_the_old_name_keeps_its_file() {
    let mut pair = Pair::new();
    pair.job.rules.delete = false;
    write(&pair.source(), "a", 1);
    pair.pass();
    fs::rename(pair.source().join("a"), pair.source().join("b")).unwrap();
    pair.pass();
    for name in ["a", "b"] {
        assert_eq!(fs::read(pair.target().join(name)).unwrap(), noise(1, SIZE));
    }
}
