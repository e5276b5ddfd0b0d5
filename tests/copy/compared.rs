//! Comparisons that know what an earlier one has read: they read what changed since, and miss nothing.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use migrate::copy::VerifyMode::{Ahead, Frozen};

use crate::copy::pair::Pair;
use crate::copy::tree::{make_odd_tree, noise, set_mtime};

const FILES: u64 = 40;

fn pair() -> Pair {
    let pair = Pair::new();
    for n in 0..FILES {
        let dir = pair.source().join(format!("d{}", n % 4));
        fs::create_dir_all(&dir).unwrap();
        // One of them is hashed in segments.
        let size = if n == 7 { 20 << 20 } else { 1000 + n as usize };
        fs::write(dir.join(format!("f{n}")), noise(n, size)).unwrap();
    }
    pair.pass();
    pair
}

/// Changes a byte in place and puts the time of modification back.
fn damage(path: &Path, at: u64) {
    let before = fs::metadata(path).unwrap();
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    set_mtime(path, before.mtime(), before.mtime_nsec());
    let after = fs::metadata(path).unwrap();
    assert_eq!((before.size(), before.mtime_nsec()), (after.size(), after.mtime_nsec()));
}

fn records(pair: &Pair) -> [PathBuf; 2] {
    let of = |side: &str| pair.dir.path().join(format!("work-{side}/jobs/job-1/digests.{side}"));
    [of("source"), of("target")]
}

#[test]
fn the_second_comparison_reads_only_what_has_changed() {
    let pair = pair();
    let first = pair.compare(Ahead);
    assert_eq!((first.files, first.known, first.different, first.behind), (FILES, 0, 0, 0), "{:?}", first.examples);
    assert_eq!(pair.compare(Ahead).known, FILES);
    fs::write(pair.source().join("d1/f1"), "changed").unwrap();
    fs::write(pair.source().join("d2/new"), "new").unwrap();
    fs::remove_file(pair.source().join("d2/f2")).unwrap();
    let behind = pair.compare(Ahead);
    // Both files, the one that is gone, and the directory it was in.
    assert_eq!((behind.different, behind.behind), (0, 4), "{behind:?}");
    pair.pass();
    let frozen = pair.compare(Frozen);
    assert_eq!((frozen.files, frozen.known, frozen.different), (FILES, FILES - 2, 0), "{:?}", frozen.examples);
    assert_eq!(frozen.bytes, pair.verify().bytes);
    assert_eq!(pair.verify().known, 0, "whoever wants all to be read gets that");
}

#[test]
fn a_change_that_hides_its_time_is_seen_on_either_side() {
    let pair = pair();
    pair.compare(Ahead);
    for (at, name) in [(500, "d1/f1"), (9 << 20, "d3/f7")] {
        damage(&pair.source().join(name), at);
        let found = pair.compare(Frozen);
        assert_eq!(found.examples, [format!("{name}: content differs")]);
        pair.pass();
        assert_eq!(pair.compare(Frozen).different, 0);
        damage(&pair.target().join(name), at);
        let found = pair.compare(Frozen);
        assert_eq!(found.examples, [format!("{name}: content differs")]);
        assert_eq!(pair.send_again().files_sent, 1);
        assert_eq!(pair.compare(Frozen).different, 0);
        assert_eq!(pair.verify().different, 0);
    }
}

#[test]
fn what_is_wrong_on_the_target_is_told_from_what_the_source_has_changed_since() {
    let pair = pair();
    fs::write(pair.source().join("d1/f1"), "changed since the pass").unwrap();
    damage(&pair.target().join("d2/f2"), 3);
    fs::remove_file(pair.target().join("d3/f3")).unwrap();
    fs::write(pair.target().join("d0/not ours"), "x").unwrap();
    let found = pair.compare(Ahead);
    assert_eq!(found.behind, 1, "{found:?}");
    for wrong in ["d0/not ours: is only on the target", "d2/f2: content differs", "d3/f3: is missing on the target"] {
        assert!(found.examples.iter().any(|e| e == wrong), "{wrong} is not in {:?}", found.examples);
    }
    // And the two directories whose times have moved.
    assert_eq!(found.different, 5, "{:?}", found.examples);
    let again = pair.send_again();
    assert_eq!((again.files_sent, again.deleted), (3, 1), "{again:?}");
    let found = pair.compare(Ahead);
    assert_eq!((found.different, found.behind), (0, 0), "{:?}", found.examples);
    assert_eq!(pair.verify().different, 0);
}

#[test]
fn everything_odd_is_compared_as_well_by_one_that_remembers() {
    let pair = Pair::new();
    make_odd_tree(&pair.source());
    pair.pass();
    for known in [false, true] {
        let found = pair.compare(Frozen);
        assert_eq!((found.different, found.known > 0), (0, known), "{:?}", found.examples);
    }
    rustix::fs::lremovexattr(pair.target().join("with attributes"), "user.binary").unwrap();
    let found = pair.compare(Frozen);
    assert_eq!(found.examples, ["with attributes: extended attributes differ"]);
}

#[test]
fn a_directory_that_takes_more_than_one_frame_is_compared_as_a_whole() {
    let pair = Pair::new();
    let name = |n: u64| format!("{n:0>240}");
    let many = 8000;
    (0..many).for_each(|n| fs::write(pair.source().join(name(n)), n.to_le_bytes()).unwrap());
    pair.pass();
    for known in [0, many] {
        let found = pair.compare(Frozen);
        assert_eq!((found.files, found.known, found.different), (many, known, 0), "{:?}", found.examples);
    }
    for n in [0, many - 1] {
        damage(&pair.target().join(name(n)), 0);
    }
    let found = pair.compare(Frozen);
    assert_eq!((found.known, found.different), (many - 2, 2), "{:?}", found.examples);
}

#[test]
fn a_record_that_is_damaged_or_gone_is_none_and_nothing_stays_behind() {
    let pair = pair();
    pair.compare(Ahead);
    for record in records(&pair) {
        assert_eq!(pair.compare(Ahead).known, FILES);
        let mut bytes = fs::read(&record).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&record, &bytes).unwrap();
        assert_eq!(pair.compare(Ahead).known, 0, "{}", record.display());
        fs::write(&record, &bytes[..middle]).unwrap();
        assert_eq!(pair.compare(Ahead).known, 0, "{}", record.display());
        fs::remove_file(&record).unwrap();
        let found = pair.compare(Ahead);
        assert_eq!((found.known, found.different), (0, 0), "{}", record.display());
    }
    pair.clean_up();
    assert!(!pair.dir.path().join("work-source").exists());
    assert!(!pair.dir.path().join("work-target").exists());
}

#[test]
fn a_comparison_stands_still_as_long_as_it_has_to() {
    let mut pair = pair();
    pair.job.bandwidth = Some(0);
    std::thread::scope(|scope| {
        let compared = scope.spawn(|| pair.compare(Ahead));
        std::thread::sleep(Duration::from_millis(1500));
        let still = !compared.is_finished();
        // On a busy machine it may not have begun yet, and nobody hears this.
        while !compared.is_finished() {
            pair.limit(None);
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(compared.join().unwrap().files, FILES);
        assert!(still, "it did not stand still");
    });
}
