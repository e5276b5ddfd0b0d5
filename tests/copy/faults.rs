//! What goes wrong ends in a clear error, harms nothing, and is made good by the next run.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::copy::pair::Pair;
use crate::copy::tree::{is_root, make_odd_tree, noise};

fn many_files(root: &Path, seed: u64) {
    for d in 0..10 {
        let dir = root.join(format!("d{d}"));
        fs::create_dir_all(&dir).unwrap();
        for f in 0..15 {
            fs::write(dir.join(format!("f{f}")), noise(seed + d * 100 + f, 3000)).unwrap();
        }
    }
    // Large enough to arrive in parts and to be patched.
    for f in 0..2 {
        fs::write(root.join(format!("large{f}")), noise(seed + f, 9 << 20)).unwrap();
    }
}

/// Temporary files below a directory.
fn leftovers(root: &Path) -> Vec<String> {
    let out = Command::new("find").arg(root).args(["-name", ".migrate~*"]).output().unwrap();
    String::from_utf8_lossy(&out.stdout).lines().map(str::to_owned).collect()
}

type Contents = std::collections::HashMap<std::path::PathBuf, Vec<blake3::Hash>>;

/// Adds what the files of a tree hold now to what they may hold.
fn remember(root: &Path, contents: &mut Contents) {
    for file in walk(root).into_iter().filter(|path| path.is_file()) {
        let hash = blake3::hash(&fs::read(&file).unwrap());
        contents.entry(file.strip_prefix(root).unwrap().to_owned()).or_default().push(hash);
    }
}

/// Every file under a final name must be whole: what the source had once.
fn assert_no_half_file(target: &Path, contents: &Contents) {
    for file in walk(target).into_iter().filter(|path| path.is_file()) {
        let name = file.strip_prefix(target).unwrap();
        if !name.file_name().unwrap().to_string_lossy().starts_with(".migrate~") {
            let known = contents.get(name).is_some_and(|c| c.contains(&blake3::hash(&fs::read(&file).unwrap())));
            assert!(known, "{} is half", name.display());
        }
    }
}

fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(walk(&path));
        }
        found.push(path);
    }
    found
}

fn kill(pid: u32) {
    signal(pid, "-KILL");
}

fn signal(pid: u32, name: &str) {
    let _ = Command::new("kill").args([name, &pid.to_string()]).stderr(Stdio::null()).status();
}

/// The agents of a pair: processes whose command line names its work directory.
fn agents(pair: &Pair, role: &str) -> Vec<u32> {
    let work = pair.dir.path().to_str().unwrap().to_owned();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words: Vec<String> = line.split(|b| *b == 0).map(|w| String::from_utf8_lossy(w).into_owned()).collect();
        if words.get(2).is_some_and(|w| w == role) && words.iter().any(|w| w.starts_with(&work)) {
            found.push(pid);
        }
    }
    found
}

fn seed() -> u64 {
    std::env::var("COPY_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| {
        u64::from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos())
    })
}

fn rounds(default: u64) -> u64 {
    std::env::var("COPY_ROUNDS").ok().and_then(|s| s.parse().ok()).unwrap_or(default)
}

/// Microseconds after the start of an agent: a pass over these files takes about as long.
const LATEST_CUT: u64 = 250_000;

/// The rounds of one end in one phase: four tests that run beside each other.
const ROUNDS: u64 = 25;

#[test]
fn a_first_pass_whose_sender_is_killed_at_any_instant_is_made_good_by_the_next() {
    killed_at_any_instant("send", false);
}

#[test]
fn a_first_pass_whose_receiver_is_killed_at_any_instant_is_made_good_by_the_next() {
    killed_at_any_instant("receive", false);
}

#[test]
fn a_later_pass_whose_sender_is_killed_at_any_instant_is_made_good_by_the_next() {
    killed_at_any_instant("send", true);
}

#[test]
fn a_later_pass_whose_receiver_is_killed_at_any_instant_is_made_good_by_the_next() {
    killed_at_any_instant("receive", true);
}

/// Ends where an undisturbed run does, whether the first pass is cut or one over changes.
fn killed_at_any_instant(role: &str, later: bool) {
    let seed = seed();
    println!("COPY_SEED={seed}");
    let mut random = Random(seed);
    let mut pair = Pair::new();
    for round in 0..rounds(ROUNDS) {
        pair.start_over(&format!("job-{round}"));
        many_files(&pair.source(), seed + round);
        let mut contents = Contents::new();
        remember(&pair.source(), &mut contents);
        if later {
            pair.pass();
            fs::remove_dir_all(pair.source().join("d3")).unwrap();
            many_files(&pair.source(), seed + round + 7);
            fs::remove_file(pair.source().join("d4/f4")).unwrap();
            remember(&pair.source(), &mut contents);
        }
        let delay = Duration::from_micros(random.below(LATEST_CUT));
        let error = std::thread::scope(|scope| {
            let pass = scope.spawn(|| pair.try_pass());
            while agents(&pair, role).is_empty() && !pass.is_finished() {
                // Looking at every process costs the pass more than waiting.
                std::thread::sleep(Duration::from_millis(5));
            }
            std::thread::sleep(delay);
            agents(&pair, role).into_iter().for_each(kill);
            pass.join().unwrap()
        });
        let what = format!("round {round}, {role} killed after {delay:?}: {error:?}");
        assert_no_half_file(&pair.target(), &contents);
        pair.pass();
        pair.assert_same();
        assert_eq!(leftovers(&pair.target()), Vec::<String>::new(), "{what}");
        assert_eq!(pair.pass().files_sent, 0, "{what}");
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let hash = blake3::hash(&self.0.to_le_bytes());
        u64::from_le_bytes(hash.as_bytes()[..8].try_into().unwrap()) % n
    }
}

#[test]
fn what_was_copied_by_a_run_that_was_cut_and_then_removed_on_the_source_does_not_stay() {
    let pair = Pair::new();
    many_files(&pair.source(), 1);
    std::thread::scope(|scope| {
        let pass = scope.spawn(|| pair.try_pass());
        while !pair.target().join("d1/f1").exists() && !pass.is_finished() {
            std::thread::sleep(Duration::from_micros(200));
        }
        agents(&pair, "send").into_iter().for_each(kill);
        let _ = pass.join().unwrap();
    });
    fs::remove_dir_all(pair.source().join("d1")).unwrap();
    pair.pass();
    pair.assert_same();
}

/// An agent of a controller that was killed may wake up when its job has been removed.
#[test]
fn what_an_agent_would_write_after_a_clean_up_is_never_there() {
    for role in ["send", "receive"] {
        let mut pair = Pair::new();
        many_files(&pair.source(), 1);
        // Slow enough to be stopped in the middle.
        pair.job.bandwidth = Some(4 << 20);
        let stopped = std::thread::scope(|scope| {
            let pass = scope.spawn(|| pair.try_pass());
            while !pair.target().join("d1/f1").exists() && !pass.is_finished() {
                std::thread::sleep(Duration::from_millis(1));
            }
            let stopped = agents(&pair, role);
            assert_eq!(stopped.len(), 1, "{role}: {stopped:?}");
            signal(stopped[0], "-STOP");
            let other = if role == "send" { "receive" } else { "send" };
            agents(&pair, other).into_iter().for_each(kill);
            pair.clean_up();
            let _ = pass.join().unwrap();
            stopped[0]
        });
        signal(stopped, "-CONT");
        assert_eq!(agents(&pair, role), Vec::<u32>::new());
        for work in ["work-source", "work-target"] {
            assert!(!pair.dir.path().join(work).exists(), "{role}: {:?}", walk(&pair.dir.path().join(work)));
        }
    }
}

#[test]
fn a_full_disk_is_told_ahead_and_when_it_fills_up_meanwhile() {
    if !is_root() {
        return;
    }
    let pair = Pair::new();
    let mount = Mount::tmpfs(&pair.target(), "8m");
    fs::write(pair.source().join("too large"), noise(1, 20 << 20)).unwrap();
    let ahead = pair.try_pass().unwrap_err();
    assert!(ahead.what.contains("has room for 8.0 MiB, but 20.0 MiB"), "{ahead:?}");
    assert_eq!((ahead.at.as_str(), ahead.transient), ("new", false));
    assert_eq!(walk(&pair.target()), Vec::<std::path::PathBuf>::new(), "nothing was sent");
    // Fits when it is looked at, but another writer is faster.
    fs::write(pair.source().join("too large"), noise(1, 6 << 20)).unwrap();
    for n in 0..300 {
        fs::write(pair.source().join(format!("small {n}")), noise(n, 4097)).unwrap();
    }
    let full = pair.try_pass().unwrap_err();
    assert!(full.what.contains("No space left on device"), "{full:?}");
    assert!(full.hint.unwrap().contains("free space"));
    let mut contents = Contents::new();
    remember(&pair.source(), &mut contents);
    assert_no_half_file(&pair.target(), &contents);
    // With room again, it goes on.
    mount.remount("size=64m");
    pair.pass();
    pair.assert_same();
    assert_eq!(leftovers(&pair.target()), Vec::<String>::new());
    drop(mount);
}

#[test]
fn what_has_arrived_of_a_large_file_when_the_disk_is_full_is_not_sent_again() {
    if !is_root() {
        return;
    }
    let mut pair = Pair::new();
    let mount = Mount::tmpfs(&pair.target(), "24m");
    let (all, wanted) = (16_u64 << 20, 4_u64 << 20);
    fs::write(pair.source().join("large"), noise(1, 16 << 20)).unwrap();
    // Slow enough that another writer comes before its end.
    pair.job.bandwidth = Some(4 << 20);
    let part = || -> u64 {
        let parts = leftovers(&pair.target());
        parts.iter().filter_map(|part| fs::metadata(part).ok()).map(|meta| meta.blocks() * 512).sum()
    };
    let other = pair.target().parent().unwrap().join("target/other");
    let full = std::thread::scope(|scope| {
        let pass = scope.spawn(|| pair.try_pass());
        while part() < wanted && !pass.is_finished() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut file = fs::File::create(&other).unwrap();
        while std::io::Write::write_all(&mut file, &[1; 1 << 16]).is_ok() {}
        pass.join().unwrap().unwrap_err()
    });
    assert!(full.what.contains("No space left on device"), "{full:?}");
    assert!(full.hint.as_ref().unwrap().contains("goes on where it stopped"), "{full:?}");
    let kept = part();
    assert!(kept >= wanted, "{kept}");
    // Room for the rest, and not for the whole.
    fs::File::options().write(true).open(&other).unwrap().set_len(7 << 20).unwrap();
    pair.job.bandwidth = None;
    let report = pair.pass();
    assert!(
        report.bytes_sent <= all - wanted + (1 << 20),
        "{kept} bytes were there, and {} were sent",
        report.bytes_sent
    );
    pair.assert_same();
    assert_eq!(leftovers(&pair.target()), Vec::<String>::new());
    drop(mount);
}

#[test]
fn a_read_only_target_is_named() {
    if !is_root() {
        return;
    }
    let pair = Pair::new();
    let mount = Mount::tmpfs(&pair.target(), "1m");
    fs::write(pair.source().join("a"), b"1").unwrap();
    mount.remount("ro");
    let error = pair.try_pass().unwrap_err();
    assert!(error.what.contains("Read-only file system"), "{error:?}");
    assert_eq!(error.at, "new");
}

/// A filesystem of its own, unmounted when dropped.
struct Mount(std::path::PathBuf);

impl Mount {
    fn tmpfs(at: &Path, size: &str) -> Self {
        fs::create_dir_all(at).unwrap();
        let out = Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"]).arg(at).output();
        let out = out.unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        Self(at.to_owned())
    }

    fn remount(&self, option: &str) {
        let status = Command::new("mount").args(["-o", &format!("remount,{option}")]).arg(&self.0).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_missing_source_and_a_missing_parent_of_the_target_change_nothing() {
    let mut pair = Pair::new();
    fs::remove_dir(pair.source()).unwrap();
    let error = pair.try_pass().unwrap_err();
    assert!(error.what.contains("cannot open the source directory"), "{error:?}");
    assert!(error.what.contains("No such file") && error.at == "old", "{error:?}");
    fs::create_dir(pair.source()).unwrap();
    pair.job.to = pair.dir.path().join("no/where").to_str().unwrap().to_owned();
    let error = pair.try_pass().unwrap_err();
    assert!(error.what.contains("the parent of the target directory") && error.at == "new", "{error:?}");
    fs::write(pair.dir.path().join("file"), b"x").unwrap();
    pair.job.to = pair.dir.path().join("file").to_str().unwrap().to_owned();
    let error = pair.try_pass().unwrap_err();
    assert!(error.what.contains("Not a directory"), "{error:?}");
    assert_eq!(fs::read(pair.dir.path().join("file")).unwrap(), b"x");
}

#[test]
fn an_empty_source_never_empties_the_target() {
    let pair = Pair::new();
    fs::write(pair.source().join("a"), b"1").unwrap();
    pair.pass();
    fs::remove_file(pair.source().join("a")).unwrap();
    let error = pair.try_pass().unwrap_err();
    assert!(error.what.contains("is empty, but the target is not"), "{error:?}");
    assert!(error.hint.as_ref().unwrap().contains("allow_empty: true"), "{error:?}");
    assert!(pair.target().join("a").exists());
    fs::write(pair.source().join("b"), b"1").unwrap();
    pair.pass();
    pair.assert_same();
}

#[test]
fn an_empty_source_empties_the_target_where_that_is_allowed() {
    let mut pair = Pair::new();
    fs::write(pair.source().join("a"), b"1").unwrap();
    pair.pass();
    fs::remove_file(pair.source().join("a")).unwrap();
    pair.job.rules.allow_empty = true;
    assert_eq!(pair.pass().deleted, 1);
    pair.assert_same();
}

#[test]
fn an_empty_source_to_an_empty_target_is_fine() {
    let pair = Pair::new();
    assert_eq!(pair.pass().entries, 0);
    assert_eq!(pair.pass().entries, 0);
    assert_eq!(pair.verify().different, 0);
}

#[test]
fn a_file_that_cannot_be_read_is_named_and_everything_else_arrives_but_nothing_is_deleted() {
    if is_root() {
        return;
    }
    let pair = Pair::new();
    fs::write(pair.source().join("old"), b"1").unwrap();
    pair.pass();
    fs::remove_file(pair.source().join("old")).unwrap();
    fs::write(pair.source().join("closed"), b"1").unwrap();
    fs::set_permissions(pair.source().join("closed"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::write(pair.source().join("open"), b"1").unwrap();
    let error = pair.try_pass().unwrap_err();
    assert!(error.what.contains("cannot open closed: Permission denied"), "{error:?}");
    assert!(error.hint.is_some() && !error.transient);
    assert!(pair.target().join("open").exists() && pair.target().join("old").exists());
    fs::set_permissions(pair.source().join("closed"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(pair.pass().deleted, 1);
    pair.assert_same();
}

#[test]
fn a_bad_job_is_refused_before_any_host_is_touched() {
    let mut pair = Pair::new();
    for (id, from, exclude) in [("../x", "/a", ""), ("", "/a", ""), ("a", "relative", ""), ("a", "/a", "[x")] {
        pair.job.id = id.into();
        pair.job.from = from.into();
        pair.job.rules.exclude = if exclude.is_empty() { vec![] } else { vec![exclude.into()] };
        assert!(pair.try_pass().is_err(), "{id} {from} {exclude}");
    }
    assert!(!pair.dir.path().join("work-source").exists());
}

#[test]
fn another_job_or_a_replaced_target_ends_the_trust_in_the_manifest() {
    let mut pair = Pair::new();
    make_odd_tree(&pair.source());
    pair.pass();
    // Someone throws the target away and starts it anew.
    fs::rename(pair.target(), pair.dir.path().join("aside")).unwrap();
    fs::create_dir(pair.target()).unwrap();
    pair.pass();
    pair.assert_same();
    // Another job writes something else there.
    let other = pair.dir.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("foreign"), b"x").unwrap();
    let (id, from) = (pair.job.id.clone(), pair.job.from.clone());
    pair.job.id = "job-2".into();
    pair.job.from = other.to_str().unwrap().into();
    pair.pass();
    assert!(!pair.target().join("plain").exists());
    (pair.job.id, pair.job.from) = (id, from);
    pair.pass();
    pair.assert_same();
}

#[test]
fn a_damaged_manifest_is_no_manifest() {
    let pair = Pair::new();
    make_odd_tree(&pair.source());
    pair.pass();
    let file = pair.dir.path().join("work-source/jobs/job-1/manifest");
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    fs::write(&file, bytes).unwrap();
    fs::remove_file(pair.source().join("plain")).unwrap();
    pair.pass();
    pair.assert_same();
}

#[test]
fn a_removed_agent_is_put_there_again() {
    let pair = Pair::new();
    fs::write(pair.source().join("a"), b"1").unwrap();
    pair.pass();
    fs::remove_dir_all(pair.dir.path().join("work-target")).unwrap();
    // The engine believes that it is still there, finds out, and looks again the next time.
    let _ = pair.try_pass();
    pair.pass();
    pair.assert_same();
}
