//! A change watch on the source: passes look only where it says, and miss nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use migrate::copy::{PassReport, ScanMode};

use crate::copy::pair::Pair;
use crate::copy::tree::noise;
use crate::lab::skip::skip;

/// Whether this test may watch a filesystem; what else runs here decides the rest.
fn can_watch(pair: &Pair) -> bool {
    pair.pass();
    // Programs beside this test may make so much change that a watch gives up; then the next pass has another try.
    let watched = (0..20).any(|_| pair.pass().looked == ScanMode::Watched);
    assert!(watched || !rustix::process::geteuid().is_root(), "root can watch: {:?}", pair.pass().looked);
    watched
}

/// A pass after a change, together with the number of entries that there are.
fn caught_up(pair: &Pair, what: &str) -> PassReport {
    let report = pair.pass();
    pair.assert_same();
    let entries = Command::new("find").arg(pair.source()).args(["-mindepth", "1", "-printf", "x"]).output().unwrap();
    assert_eq!(report.entries, entries.stdout.len() as u64, "{what}: {:?}", report.looked);
    report
}

fn make(root: &Path) {
    for dir in 0..20 {
        let dir = root.join(format!("d{dir}/sub"));
        fs::create_dir_all(&dir).unwrap();
        for file in 0..20 {
            fs::write(dir.join(format!("f{file}")), noise(file, 100)).unwrap();
        }
    }
}

#[test]
fn a_watched_pass_carries_every_kind_of_change() {
    let pair = Pair::new();
    let root = pair.source();
    make(&root);
    if !can_watch(&pair) {
        skip("no watch here");
        return;
    }
    let at = |path: &str| root.join(path);
    let changes: [(&str, &dyn Fn()); 16] = [
        ("written", &|| fs::write(at("d3/sub/f3"), b"new").unwrap()),
        ("appended", &|| {
            use std::io::Write;
            fs::File::options().append(true).open(at("d3/sub/f4")).unwrap().write_all(b"more").unwrap();
        }),
        ("made", &|| fs::write(at("d4/sub/made"), b"new").unwrap()),
        ("removed", &|| fs::remove_file(at("d5/sub/f5")).unwrap()),
        ("renamed", &|| fs::rename(at("d6/sub/f6"), at("d7/other")).unwrap()),
        ("mode of a file", &|| fs::set_permissions(at("d8/sub/f8"), fs::Permissions::from_mode(0o600)).unwrap()),
        ("mode of a directory", &|| fs::set_permissions(at("d8/sub"), fs::Permissions::from_mode(0o700)).unwrap()),
        ("new directories", &|| {
            fs::create_dir_all(at("d9/a/b/c")).unwrap();
            fs::write(at("d9/a/b/c/f"), b"deep").unwrap();
        }),
        ("in a new directory", &|| fs::write(at("d9/a/b/c/f"), b"deeper").unwrap()),
        ("moved directory", &|| fs::rename(at("d10"), at("d11/moved")).unwrap()),
        ("in a moved directory", &|| fs::write(at("d11/moved/sub/f1"), b"there").unwrap()),
        ("removed directory", &|| fs::remove_dir_all(at("d12")).unwrap()),
        ("exchanged directories", &|| {
            fs::rename(at("d13"), at("x")).unwrap();
            fs::rename(at("d14"), at("d13")).unwrap();
            fs::rename(at("x"), at("d14")).unwrap();
        }),
        ("file in place of a directory", &|| {
            fs::remove_dir_all(at("d15")).unwrap();
            fs::write(at("d15"), b"file").unwrap();
        }),
        ("mode of the root", &|| fs::set_permissions(&root, fs::Permissions::from_mode(0o711)).unwrap()),
        ("made and removed in the root", &|| {
            fs::write(at("passing"), b"by").unwrap();
            fs::remove_file(at("passing")).unwrap();
        }),
    ];
    let mut watched = 0;
    for (what, change) in changes {
        change();
        let report = caught_up(&pair, what);
        watched += usize::from(report.looked == ScanMode::Watched);
        // Entries that changed during the pass are taken again.
        caught_up(&pair, what);
    }
    assert!(watched > 7, "only {watched} passes were watched");
    assert_eq!(pair.verify().different, 0);
}

#[test]
fn a_removed_directory_that_comes_back_is_sent_again() {
    let pair = Pair::new();
    let root = pair.source();
    make(&root);
    can_watch(&pair);
    // Contents keep inode and times while only the name of their directory goes and comes.
    fs::rename(root.join("d1"), root.join("away")).unwrap();
    caught_up(&pair, "away");
    fs::rename(root.join("away"), root.join("d1")).unwrap();
    caught_up(&pair, "back");
}

#[test]
fn names_of_one_inode_stay_one_inode() {
    let pair = Pair::new();
    let root = pair.source();
    make(&root);
    can_watch(&pair);
    fs::hard_link(root.join("d1/sub/f1"), root.join("d2/sub/linked")).unwrap();
    caught_up(&pair, "linked");
    fs::write(root.join("d2/sub/linked"), b"through the other name").unwrap();
    caught_up(&pair, "written");
    // A name outside the tree.
    fs::hard_link(root.join("d3/sub/f1"), pair.dir.path().join("outside")).unwrap();
    caught_up(&pair, "outside");
    fs::write(pair.dir.path().join("outside"), b"from outside").unwrap();
    caught_up(&pair, "written from outside");
    fs::remove_file(pair.dir.path().join("outside")).unwrap();
    caught_up(&pair, "alone again");
}

#[test]
fn a_watched_pass_believes_no_part_of_a_damaged_manifest() {
    for name in ["d1/sub/f1", "d2"] {
        let pair = Pair::new();
        make(&pair.source());
        if !can_watch(&pair) {
            skip("no watch here");
            return;
        }
        let file = pair.dir.path().join("work-source/jobs/job-1/manifest");
        let mut bytes = fs::read(&file).unwrap();
        // All names of files become others, and the header and the sum stay as they are.
        let from = bytes.windows(2).position(|two| two == b"f0").unwrap();
        let to = bytes.len() - 32;
        bytes[from..to].iter_mut().filter(|byte| **byte == b'f').for_each(|byte| *byte ^= 0x40);
        fs::write(&file, bytes).unwrap();
        let gone = pair.source().join(name);
        let removed = if gone.is_dir() { fs::remove_dir_all(gone) } else { fs::remove_file(gone) };
        removed.unwrap();
        assert_ne!(pair.pass().looked, ScanMode::Watched, "{name}");
        pair.assert_same();
    }
}

#[test]
fn without_its_watch_a_pass_sweeps() {
    let pair = Pair::new();
    let root = pair.source();
    make(&root);
    if !can_watch(&pair) {
        return;
    }
    // Only those of this test: their command line names its directory.
    let work = pair.dir.path().to_str().unwrap().to_owned();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let line = String::from_utf8_lossy(&fs::read(entry.path().join("cmdline")).unwrap_or_default()).into_owned();
        if line.contains(&work) && line.contains("\0watch\0") {
            let pid = entry.file_name().to_str().unwrap().parse().unwrap();
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
    }
    fs::write(root.join("d1/sub/f1"), b"unseen").unwrap();
    let report = caught_up(&pair, "killed");
    assert!(matches!(report.looked, ScanMode::Swept { .. }), "{:?}", report.looked);
    // And it comes back.
    assert!((0..20).any(|_| pair.pass().looked == ScanMode::Watched));
    fs::write(root.join("d1/sub/f1"), b"seen").unwrap();
    caught_up(&pair, "watched again");
}
