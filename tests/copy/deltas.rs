//! Of large files only what changed travels, and what a cut run brought is not sent again.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::copy::pair::Pair;
use crate::copy::tree::{noise, set_mtime};

const MIB: u64 = 1 << 20;

fn write_at(path: &Path, offset: u64, data: &[u8]) {
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(data, offset).unwrap();
}

#[test]
fn only_changed_blocks_of_a_large_file_travel() {
    let pair = Pair::new();
    let path = pair.source().join("big");
    fs::write(&path, noise(1, 20 * MIB as usize + 777)).unwrap();
    pair.pass();
    let inode = fs::metadata(pair.target().join("big")).unwrap().ino();
    write_at(&path, 3 * MIB + 5, b"changed");
    write_at(&path, 20 * MIB + 770, b"the end");
    let second = pair.pass();
    pair.assert_same();
    assert!(second.bytes_sent <= 2 * 65536, "{second:?}");
    assert_eq!(fs::metadata(pair.target().join("big")).unwrap().ino(), inode, "patched, not copied");
    // It grows, shrinks, and gets a hole.
    write_at(&path, 25 * MIB, b"grown");
    assert!(pair.pass().bytes_sent < 6 * MIB);
    pair.assert_same();
    OpenOptions::new().write(true).open(&path).unwrap().set_len(10 * MIB + 1).unwrap();
    write_at(&path, 2 * MIB, &vec![0; MIB as usize]);
    assert!(pair.pass().bytes_sent <= 2 * MIB);
    pair.assert_same();
    // Only its time changes.
    set_mtime(&path, 5, 5);
    assert_eq!(pair.pass().bytes_sent, 0);
    pair.assert_same();
    assert_eq!(pair.verify().different, 0);
    assert_eq!(pair.pass().files_sent, 0);
}

#[test]
fn a_patched_file_with_several_names_keeps_them_together() {
    let pair = Pair::new();
    let path = pair.source().join("big");
    fs::write(&path, noise(1, 9 * MIB as usize)).unwrap();
    fs::hard_link(&path, pair.source().join("other")).unwrap();
    pair.pass();
    write_at(&path, MIB, b"changed");
    assert!(pair.pass().bytes_sent <= 65536);
    pair.assert_same();
    assert_eq!(fs::metadata(pair.target().join("big")).unwrap().nlink(), 2);
}

#[test]
fn a_large_file_of_the_targets_own_is_compared_by_blocks() {
    let pair = Pair::new();
    let content = noise(1, 12 * MIB as usize);
    fs::write(pair.source().join("big"), &content).unwrap();
    fs::create_dir(pair.target()).unwrap();
    let mut other = content;
    other[5_000_000] ^= 1;
    fs::write(pair.target().join("big"), &other).unwrap();
    assert!(pair.pass().bytes_sent <= 65536);
    pair.assert_same();
}

#[test]
fn a_file_that_was_cut_in_the_middle_goes_on_where_it_stopped() {
    let mut pair = Pair::new();
    fs::write(pair.source().join("big"), noise(1, 60 * MIB as usize)).unwrap();
    pair.job.bandwidth = Some(10 * MIB);
    std::thread::scope(|scope| {
        let pass = scope.spawn(|| pair.try_pass());
        while partial_bytes(&pair.target()) < 15 * MIB && !pass.is_finished() {
            std::thread::sleep(Duration::from_millis(5));
        }
        // It gets no further until its agent is dead.
        pair.limit(Some(0));
        let pattern = pair.dir.path().join("work-target");
        for pid in agents(pattern.to_str().unwrap()) {
            let _ = Command::new("kill").args(["-KILL", &pid]).status();
        }
        assert!(pass.join().unwrap().is_err());
    });
    assert!(!pair.target().join("big").exists());
    pair.job.bandwidth = None;
    let second = pair.pass();
    assert!(second.bytes_sent <= 46 * MIB, "{second:?}");
    pair.assert_same();
}

#[test]
fn what_was_left_of_a_file_that_is_gone_does_not_stay() {
    let pair = Pair::new();
    fs::write(pair.source().join("a"), b"1").unwrap();
    fs::create_dir_all(pair.target().join("dir")).unwrap();
    fs::create_dir_all(pair.source().join("dir")).unwrap();
    let names = migrate::copy::fs::path::TempNames::of_job(&pair.job.id);
    for name in [names.partial(b"gone"), names.writer(2)] {
        fs::write(pair.target().join("dir").join(crate::copy::tree::name(&name)), b"half").unwrap();
    }
    set_mtime(&pair.source().join("dir"), 9, 9);
    pair.pass();
    pair.assert_same();
}

fn partial_bytes(target: &Path) -> u64 {
    let entries = fs::read_dir(target).into_iter().flatten().flatten();
    entries.filter_map(|e| e.metadata().ok()).map(|m| m.len()).sum()
}

fn agents(work: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.parse::<u32>().is_ok() && String::from_utf8_lossy(&line).starts_with(work) {
            found.push(name);
        }
    }
    found
}
