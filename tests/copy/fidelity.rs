//! What arrives is what was there, whatever it was and however it changed.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use crate::copy::pair::{Pair, assert_told_the_same, differences};
use crate::copy::tree::{is_root, make_odd_tree, noise, set_mtime};

#[test]
fn a_tree_of_odd_things_arrives_whole_and_a_second_pass_sends_nothing() {
    let pair = Pair::new();
    make_odd_tree(&pair.source());
    let first = pair.pass();
    pair.assert_same();
    assert_told_the_same(&pair.source(), &pair.target());
    assert!(first.files_sent > 30 && first.unsettled == 0, "{first:?}");
    let holes = fs::metadata(pair.target().join("all hole")).unwrap();
    assert!(holes.blocks() < 100, "holes stay holes");
    assert!(fs::metadata(pair.target().join("sparse")).unwrap().blocks() < 200);
    assert_eq!(fs::metadata(pair.target().join("hard 2")).unwrap().nlink(), 3);
    let second = pair.pass();
    assert_eq!((second.files_sent, second.bytes_sent, second.deleted), (0, 0, 0), "{second:?}");
    assert_eq!(second.entries, first.entries);
    let verified = pair.verify();
    assert_eq!(verified.different, 0, "{:?}", verified.examples);
    assert!(verified.files > 30);
}

#[test]
fn every_kind_of_change_is_caught_up() {
    let pair = Pair::new();
    let root = pair.source();
    make_odd_tree(&root);
    pair.pass();
    change_everything(&root);
    let second = pair.pass();
    pair.assert_same();
    assert_told_the_same(&pair.source(), &pair.target());
    assert!(second.deleted >= 3 && second.unsettled == 0, "{second:?}");
    assert_eq!(pair.pass().files_sent, 0);
    assert_eq!(pair.verify().different, 0);
}

#[test]
fn the_root_itself_is_caught_up_where_nothing_else_changed() {
    for pair in [Pair::sweeping(), Pair::new()] {
        let root = pair.source();
        fs::write(root.join("a"), b"1").unwrap();
        let changes: [&dyn Fn(); 6] = [
            &|| {},
            &|| fs::set_permissions(&root, fs::Permissions::from_mode(0o711)).unwrap(),
            &|| {
                fs::create_dir(root.join("passing")).unwrap();
                fs::remove_dir(root.join("passing")).unwrap();
            },
            &|| set_mtime(&root, 7, 7),
            &|| assert!(acl(&["-m", "u:12345:rwx", "-m", "d:g:23456:r-x"], &root)),
            &|| std::os::unix::fs::chown(&root, is_root().then_some(12345), None).unwrap(),
        ];
        for (nth, change) in changes.iter().enumerate() {
            // Twice: what is younger than a pass is taken again by the next.
            pair.pass();
            pair.pass();
            change();
            assert_eq!(pair.pass().files_sent, 0);
            let differs = differences(&pair.source(), &pair.target(), &[]);
            assert_eq!(differs, "", "change {nth}");
        }
        let written = || {
            let record = pair.dir.path().join("work-source/jobs/job-1/manifest");
            let files = [pair.target(), record.with_extension("delta"), record];
            files.map(|file| fs::metadata(file).ok().map(|m| (m.ino(), m.ctime(), m.ctime_nsec())))
        };
        pair.pass();
        let before = written();
        pair.pass();
        assert_eq!(written(), before, "nothing is written where nothing differs");
    }
}

fn acl(args: &[&str], path: &Path) -> bool {
    let setfacl = crate::lab::packages::program("setfacl", "acl");
    std::process::Command::new(setfacl).args(args).arg(path).status().unwrap().success()
}

fn change_everything(root: &Path) {
    // Content, with the same length and the same time.
    let plain = fs::metadata(root.join("plain")).unwrap();
    fs::write(root.join("plain"), b"PLAIN\n").unwrap();
    set_mtime(&root.join("plain"), plain.mtime(), plain.mtime_nsec());
    // Attributes only.
    fs::set_permissions(root.join("mode 755"), fs::Permissions::from_mode(0o750)).unwrap();
    fs::set_permissions(root.join("empty dir"), fs::Permissions::from_mode(0o711)).unwrap();
    rustix::fs::lremovexattr(root.join("with attributes"), "user.long").unwrap();
    set_mtime(&root.join("time 1"), 7, 7);
    set_mtime(&root.join("to plain"), 8, 8);
    // Names.
    fs::rename(root.join("dir/large"), root.join("dir/larger")).unwrap();
    fs::rename(root.join("dir/sub"), root.join("moved")).unwrap();
    fs::remove_file(root.join("hard 2")).unwrap();
    fs::hard_link(root.join("dir/hard 1"), root.join("empty dir/hard 4")).unwrap();
    // Kinds.
    fs::remove_file(root.join("empty")).unwrap();
    fs::create_dir(root.join("empty")).unwrap();
    fs::write(root.join("empty/not any more"), b"!").unwrap();
    fs::remove_dir_all(root.join("sticky dir")).unwrap();
    fs::write(root.join("sticky dir"), b"a file now").unwrap();
    fs::remove_file(root.join("fifo")).unwrap();
    symlink("plain", root.join("fifo")).unwrap();
    fs::remove_file(root.join("dangling")).unwrap();
    fs::write(root.join("dangling"), b"a file").unwrap();
    fs::remove_file(root.join("to plain")).unwrap();
    fs::create_dir(root.join("to plain")).unwrap();
    // Size.
    fs::write(root.join("dir/just over small"), b"short").unwrap();
    fs::write(root.join("time 0"), noise(5, 3 << 20)).unwrap();
    // In a directory that passes its ACL on.
    fs::write(root.join("default acl/made last"), b"x").unwrap();
}

/// 10,000 names; a million with `MIGRATE_LONG=1`.
#[test]
fn a_directory_of_very_many_entries_arrives_and_is_caught_up() {
    let pair = Pair::new();
    let long = std::env::var_os("MIGRATE_LONG").is_some_and(|value| value == "1");
    let count: u64 = if long { 1_000_000 } else { 10_000 };
    let many = pair.source().join("many");
    fs::create_dir(&many).unwrap();
    for n in 0..count {
        // Most are further names of a few inodes: that is quick to make, and harder to carry.
        match n % 50 {
            0 => fs::write(many.join(n.to_string()), n.to_le_bytes()).unwrap(),
            _ => fs::hard_link(many.join((n - n % 50).to_string()), many.join(n.to_string())).unwrap(),
        }
    }
    assert_eq!(pair.pass().entries, count + 1);
    for gone in [7, count / 2, count - 1] {
        fs::remove_file(many.join(gone.to_string())).unwrap();
    }
    fs::write(many.join("last"), b"x").unwrap();
    let second = pair.pass();
    assert_eq!((second.entries, second.deleted), (count - 1, 3));
    assert_eq!(pair.verify().different, 0);
    pair.assert_same();
}

#[test]
fn without_deletion_everything_else_still_follows() {
    let mut pair = Pair::new();
    pair.job.rules.delete = false;
    let root = pair.source();
    fs::write(root.join("stays"), b"1").unwrap();
    fs::write(root.join("goes"), b"1").unwrap();
    pair.pass();
    fs::remove_file(root.join("goes")).unwrap();
    fs::write(root.join("comes"), b"1").unwrap();
    assert_eq!(pair.pass().deleted, 0);
    assert!(pair.target().join("goes").exists() && pair.target().join("comes").exists());
    // Allowed later, it catches up on what was left.
    pair.job.rules.delete = true;
    assert_eq!(pair.pass().deleted, 1);
    pair.assert_same();
}

#[test]
fn excluded_entries_are_neither_sent_nor_deleted() {
    let mut pair = Pair::new();
    pair.job.rules.exclude = vec!["*.tmp".into(), "/cache/".into()];
    let root = pair.source();
    fs::create_dir_all(root.join("cache/x")).unwrap();
    fs::create_dir_all(root.join("dir")).unwrap();
    fs::write(root.join("dir/a.tmp"), b"source").unwrap();
    fs::write(root.join("dir/a"), b"source").unwrap();
    fs::create_dir_all(pair.target().join("cache")).unwrap();
    fs::write(pair.target().join("cache/own"), b"target").unwrap();
    fs::create_dir_all(pair.target().join("old")).unwrap();
    fs::write(pair.target().join("old/kept.tmp"), b"target").unwrap();
    fs::write(pair.target().join("old/gone"), b"target").unwrap();
    pair.pass();
    assert!(!pair.target().join("dir/a.tmp").exists());
    assert!(pair.target().join("dir/a").exists());
    assert!(pair.target().join("cache/own").exists());
    assert!(pair.target().join("old/kept.tmp").exists());
    assert!(!pair.target().join("old/gone").exists());
    assert_eq!(pair.verify().different, 1, "the directory that the kept file is in");
}

#[test]
fn a_target_with_content_of_its_own_becomes_the_same() {
    let pair = Pair::new();
    make_odd_tree(&pair.source());
    let target = pair.target();
    fs::create_dir_all(target.join("plain/was/a directory")).unwrap();
    fs::create_dir_all(target.join("extra/with/much")).unwrap();
    fs::write(target.join("extra/with/much/in it"), b"x").unwrap();
    symlink("/etc", target.join("dir")).unwrap();
    // Same length and time, other content: only a look at the content can tell.
    fs::write(target.join("time 0"), b"T").unwrap();
    set_mtime(&target.join("time 0"), 0, 0);
    pair.pass();
    pair.assert_same();
    assert!(Path::new("/etc/passwd").exists());
    assert_eq!(pair.verify().different, 0);
}

#[test]
fn verifying_finds_one_changed_bit_and_every_changed_attribute() {
    let pair = Pair::new();
    make_odd_tree(&pair.source());
    fs::write(pair.source().join("huge"), noise(8, 20 << 20)).unwrap();
    pair.pass();
    let target = pair.target();
    let mut bytes = fs::read(target.join("huge")).unwrap();
    let time = fs::metadata(target.join("huge")).unwrap();
    bytes[9 << 20] ^= 1;
    fs::write(target.join("huge"), &bytes).unwrap();
    set_mtime(&target.join("huge"), time.mtime(), time.mtime_nsec());
    fs::set_permissions(target.join("mode 640"), fs::Permissions::from_mode(0o641)).unwrap();
    rustix::fs::lremovexattr(target.join("with attributes"), "user.binary").unwrap();
    set_mtime(&target.join("time 3"), 1, 0);
    fs::remove_file(target.join("long link")).unwrap();
    symlink("elsewhere", target.join("to nowhere")).unwrap();
    let found = pair.verify();
    let shown = found.examples.join("\n");
    for expected in [
        "huge: content differs",
        "mode 640: permissions differ",
        "with attributes: extended attributes differ",
        "time 3: modification time differs",
        "long link: is missing on the target",
        "to nowhere: is only on the target",
    ] {
        assert!(shown.contains(expected), "{expected} in:\n{shown}");
    }
    assert_eq!(found.different, 6, "{shown}");
}

#[test]
fn cleaning_up_leaves_nothing_on_the_hosts() {
    let pair = Pair::new();
    fs::write(pair.source().join("a"), b"1").unwrap();
    pair.pass();
    assert!(pair.dir.path().join("work-source/jobs/job-1/manifest").exists());
    pair.clean_up();
    assert!(!pair.dir.path().join("work-source").exists());
    assert!(!pair.dir.path().join("work-target").exists());
    // And it can start over.
    fs::write(pair.source().join("b"), b"2").unwrap();
    pair.pass();
    pair.assert_same();
}

#[test]
fn as_an_ordinary_user_owners_and_set_user_id_are_not_faked() {
    if is_root() {
        return;
    }
    let pair = Pair::new();
    make_odd_tree(&pair.source());
    pair.pass();
    assert_eq!(fs::metadata(pair.target().join("plain")).unwrap().uid(), rustix::process::geteuid().as_raw());
}
