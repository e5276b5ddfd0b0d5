//! Filesystems that are mounted below the root, and those on which a target is: what is carried of them, and what they cannot keep.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use migrate::copy::VerifyMode;

use crate::copy::pair::{Pair, differences};
use crate::copy::tree::{is_root, noise, set_mtime};
use crate::lab::packages::program;
use crate::lab::skip::skip;

/// Something mounted, until it is dropped.
struct Mounted(PathBuf);

impl Mounted {
    /// `None` where this test may not mount.
    fn new(at: &Path, args: &[&str]) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mounted = is_root() && Command::new("mount").args(args).arg(at).status().is_ok_and(|s| s.success());
        if !mounted {
            skip(&format!("cannot mount {args:?}"));
        }
        mounted.then(|| Self(at.to_owned()))
    }

    /// A filesystem of its own in a file, made by `mkfs` with these arguments.
    fn image(at: &Path, mkfs: &[&str]) -> Option<Self> {
        let image = at.with_extension("image");
        fs::File::create(&image).unwrap().set_len(400 << 20).unwrap();
        let package = if mkfs[0] == "mkfs.xfs" { "xfsprogs" } else { "e2fsprogs" };
        let made = Command::new(program(mkfs[0], package)).args(&mkfs[1..]).arg(&image).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self::new(at, &["-o", "loop", image.to_str().unwrap()])
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn count(root: &Path) -> usize {
    fs::read_dir(root).unwrap().count()
}

#[test]
fn what_the_kernel_makes_up_below_the_root_is_left_out_and_named() {
    let pair = Pair::new();
    let jail = pair.source().join("jail");
    let Some(_proc) = Mounted::new(&jail.join("proc"), &["-t", "proc", "proc"]) else { return };
    let Some(_sys) = Mounted::new(&jail.join("sys"), &["-t", "sysfs", "sys"]) else { return };
    let dev = Mounted::new(&jail.join("dev"), &["-t", "devtmpfs", "dev"]);
    fs::create_dir_all(jail.join("etc")).unwrap();
    fs::write(jail.join("etc/passwd"), b"root").unwrap();
    // What somebody has there on the target is his.
    fs::create_dir_all(pair.target().join("jail/proc")).unwrap();
    fs::write(pair.target().join("jail/proc/own"), b"theirs").unwrap();
    let mut named = vec!["jail/proc", "jail/sys"];
    if dev.is_some() {
        named.insert(0, "jail/dev");
    }
    for round in 0..3 {
        let report = pair.pass();
        assert_eq!(report.left_out, named, "pass {round}");
        assert_eq!(report.files_sent, u64::from(round == 0), "pass {round}");
        assert_eq!(count(&pair.target().join("jail/sys")), 0);
        assert_eq!(fs::read(pair.target().join("jail/proc/own")).unwrap(), b"theirs");
        assert_eq!(fs::read(pair.target().join("jail/etc/passwd")).unwrap(), b"root");
    }
    assert_eq!(pair.verify().different, 0);
    assert_eq!(pair.compare(VerifyMode::Frozen).different, 0);
    // It comes and goes, and nothing is lost with it.
    drop(dev);
    fs::remove_file(jail.join("etc/passwd")).unwrap();
    pair.pass();
    assert!(!pair.target().join("jail/etc/passwd").exists());
}

#[test]
fn only_the_roots_filesystem_is_carried_where_that_is_asked_for() {
    let mut pair = Pair::new();
    let volume = pair.source().join("volume");
    fs::write(pair.source().join("file"), b"x").unwrap();
    let Some(mounted) = Mounted::new(&volume, &["-t", "tmpfs", "tmpfs"]) else { return };
    fs::write(volume.join("elsewhere"), b"y").unwrap();
    pair.job.rules.one_filesystem = true;
    for _ in 0..2 {
        assert_eq!(pair.pass().left_out, ["volume"]);
        assert_eq!(count(&pair.target().join("volume")), 0);
    }
    assert_eq!(pair.verify().different, 0);
    assert_eq!(differences(&pair.source(), &pair.target(), &["-x"]), "");
    drop(mounted);
    // What was there may have been put on the target in another way: it is not taken for removed.
    let error = pair.try_pass().unwrap_err();
    assert!(error.what.contains("volume was another filesystem at the last pass"), "{error:?}");
    // By other rules it is another copy.
    pair.job.rules.one_filesystem = false;
    let Some(_mounted) = Mounted::new(&volume, &["-t", "tmpfs", "tmpfs"]) else { return };
    fs::write(volume.join("elsewhere"), b"y").unwrap();
    let report = pair.pass();
    assert_eq!((report.left_out, report.files_sent), (Vec::new(), 2));
    pair.assert_same();
}

/// Copies a tree with odd times to a target on a filesystem that cannot keep them.
fn times_that_are_not_kept(mkfs: &[&str], kept: &str) {
    let mut pair = Pair::new();
    fs::create_dir(pair.source().join("dir")).unwrap();
    for (name, sec, nsec) in [("dir/y2040", 2_209_082_645, 678_900_000), ("dir/now", 1_700_000_000, 123_456_789)] {
        fs::write(pair.source().join(name), name).unwrap();
        set_mtime(&pair.source().join(name), sec, nsec);
    }
    fs::write(pair.source().join("large"), noise(1, 9 << 20)).unwrap();
    set_mtime(&pair.source().join("large"), 2_209_082_645, 0);
    std::os::unix::fs::symlink("now", pair.source().join("dir/link")).unwrap();
    set_mtime(&pair.source().join("dir/link"), 2_209_082_646, 0);
    set_mtime(&pair.source().join("dir"), 2_209_082_647, 0);
    let Some(_mounted) = Mounted::image(&pair.target(), mkfs) else { return };
    let _ = fs::remove_dir(pair.target().join("lost+found"));
    let error = pair.try_pass().unwrap_err();
    assert!(error.what.contains("the target's filesystem cannot keep the time of"), "{error:?}");
    assert!(error.what.contains("became") && !error.transient, "{error:?}");
    assert!(error.hint.as_ref().unwrap().contains("allow_inexact_times: true"), "{error:?}");
    pair.job.rules.allow_inexact_times = true;
    assert_eq!(pair.pass().files_sent, 3);
    assert_eq!(pair.pass().files_sent, 0);
    assert_eq!(pair.verify().different, 0);
    assert_eq!(pair.compare(VerifyMode::Ahead).different, 0);
    let stat = Command::new("stat").args(["-c", "%y"]).arg(pair.target().join("dir/y2040")).env("TZ", "UTC").output();
    assert!(String::from_utf8_lossy(&stat.unwrap().stdout).starts_with(kept));
    // Where the record is lost, nothing is taken for changed.
    fs::remove_dir_all(pair.dir.path().join("work-target/roots")).unwrap();
    assert_eq!(pair.pass().files_sent, 0);
    // What is no rounding is a difference.
    set_mtime(&pair.target().join("dir/now"), 1_600_000_000, 0);
    assert_eq!(pair.verify().examples, ["dir/now: modification time differs"]);
}

#[test]
fn times_that_ext4_with_small_inodes_cannot_keep_are_told_and_can_be_accepted() {
    times_that_are_not_kept(&["mkfs.ext4", "-q", "-I", "128"], "2038-01-19 03:14:07");
}

#[test]
fn times_that_xfs_without_bigtime_cannot_keep_are_told_and_can_be_accepted() {
    times_that_are_not_kept(&["mkfs.xfs", "-q", "-m", "bigtime=0"], "2038-01-19 03:14:07");
}
