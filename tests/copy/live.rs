//! Files that change while passes run: after the freeze both sides are the same.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use migrate::copy::VerifyMode;

use crate::copy::pair::Pair;
use crate::copy::tree::{noise, set_mtime};
use crate::lab::packages::program;

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

fn seeds() -> Vec<u64> {
    if let Some(seed) = std::env::var("COPY_SEED").ok().and_then(|s| s.parse().ok()) {
        return vec![seed];
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let rounds = std::env::var("COPY_ROUNDS").ok().and_then(|s| s.parse().ok()).unwrap_or(20);
    (1..=rounds).map(|n| (u64::from(now.subsec_nanos()) << 8 | n) | 1).collect()
}

/// One random change; what is not possible just does not happen.
fn change(root: &Path, random: &mut Random, kinds: u64) {
    let dir = root.join(format!("d{}", random.below(4)));
    let path = dir.join(format!("f{}", random.below(12)));
    let other = root.join(format!("d{}", random.below(4))).join(format!("f{}", random.below(12)));
    let len = [0, 10, 5000, 300_000, 1_500_000][random.below(5) as usize];
    match random.below(kinds) {
        0 | 1 => drop(fs::write(&path, noise(random.0, len))),
        2 => drop(fs::remove_file(&path)),
        3 => drop(fs::rename(&path, &other)),
        11 => drop(fs::hard_link(&path, &other)),
        5 => drop(OpenOptions::new().append(true).open(&path).and_then(|mut f| f.write_all(&noise(random.0, 700)))),
        6 => drop(OpenOptions::new().write(true).open(&path).and_then(|f| f.set_len(random.below(9000)))),
        7 => {
            // Same length, same time.
            if let Ok(meta) = fs::metadata(&path)
                && let Ok(mut file) = OpenOptions::new().write(true).open(&path)
            {
                let _ = file.seek(SeekFrom::Start(random.below(meta.len().max(1))));
                if meta.len() > 0 {
                    let _ = file.set_len(meta.len());
                    let _ = file.write_at(b"!", random.below(meta.len()));
                }
                set_mtime(&path, meta.mtime(), meta.mtime_nsec());
            }
        }
        8 => {
            let _ = fs::remove_file(&path);
            let _ = fs::create_dir(&path);
            let _ = fs::write(path.join("inside"), noise(random.0, len));
        }
        9 => drop(fs::remove_dir_all(&path)),
        10 => drop(std::os::unix::fs::symlink("f1", &path)),
        4 => {
            let made = root.join(format!("d{}", random.below(4)));
            let _ = fs::rename(root.join(format!("d{}", random.below(4))), &made);
            let _ = fs::create_dir(&made);
        }
        _ => {
            use std::os::unix::fs::PermissionsExt;
            let _ = fs::set_permissions(&path, fs::Permissions::from_mode(0o600 + random.below(0o100) as u32));
        }
    }
}

/// Stops the writer when it is dropped.
struct Freeze<'a>(&'a AtomicBool);

impl Drop for Freeze<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

// A writer changes everything while passes run, and after the freeze both sides are the same.

#[test]
fn what_a_writer_changes_during_watched_passes_is_the_same_after_the_freeze() {
    // Hard links make passes sweep: without them the watch has more to say.
    chaos_of_many_seeds(Pair::new(), 11);
}

#[test]
fn what_a_writer_changes_and_links_during_watched_passes_is_the_same_after_the_freeze() {
    chaos_of_many_seeds(Pair::new(), 12);
}

#[test]
fn what_a_writer_changes_and_links_during_swept_passes_is_the_same_after_the_freeze() {
    chaos_of_many_seeds(Pair::sweeping(), 12);
}

fn chaos_of_many_seeds(mut pair: Pair, kinds: u64) {
    for seed in seeds() {
        println!("COPY_SEED={seed}");
        chaos(seed, &mut pair, kinds);
    }
}

fn chaos(seed: u64, pair: &mut Pair, kinds: u64) {
    pair.start_over(&format!("job-{seed}-{kinds}"));
    let root = pair.source();
    for d in 0..4 {
        fs::create_dir(root.join(format!("d{d}"))).unwrap();
    }
    let mut random = Random(seed);
    (0..200).for_each(|_| change(&root, &mut random, kinds));
    let frozen = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !frozen.load(Ordering::Relaxed) {
                change(&root, &mut random, kinds);
            }
        });
        // Also when a pass fails: the scope waits for its writer.
        let _freeze = Freeze(&frozen);
        for _ in 0..3 {
            pair.pass();
        }
        let ahead = pair.compare(VerifyMode::Ahead);
        assert_eq!(ahead.different, 0, "seed {seed}: {:?}", ahead.examples);
    });
    pair.pass();
    let knowing = pair.compare(VerifyMode::Frozen);
    assert_eq!(knowing.different, 0, "seed {seed}: {:?}", knowing.examples);
    pair.assert_same();
    assert_eq!(pair.verify().different, 0, "seed {seed}");
}

/// Stores through a mapping, paced by lines on its input: «w N» writes byte N everywhere and answers.
const MAPPED_WRITER: &str = r#"
import mmap, os, sys
f = open(sys.argv[1], "r+b")
m = mmap.mmap(f.fileno(), 0)
f.close()
for line in sys.stdin:
    m[0:4] = line.strip().encode()[:4].ljust(4)
    print("ok", flush=True)
"#;

#[test]
fn stores_through_a_mapping_between_passes_are_never_missed() {
    mapped_stores(&Pair::new());
    mapped_stores(&Pair::sweeping());
}

/// Somebody who keeps a file mapped.
struct Mapped {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Mapped {
    fn start(path: &Path) -> Self {
        let mut python = Command::new(program("python3", "python3-venv"));
        python.args(["-c", MAPPED_WRITER]).arg(path).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = python.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn store(&mut self, text: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{text}").unwrap();
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        assert_eq!(line, "ok\n");
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

#[test]
fn a_store_through_a_mapping_after_a_comparison_is_seen_by_the_next() {
    let pair = Pair::new();
    let path = pair.source().join("mapped");
    fs::write(&path, vec![0; 8192]).unwrap();
    let mut mapped = Mapped::start(&path);
    for round in 0..4 {
        mapped.store(&format!("a{round}"));
        pair.pass();
        // The page is dirty now, and stays so: the target gets the same without a pass, which would sync it.
        mapped.store(&format!("b{round}"));
        let (target, meta) = (pair.target().join("mapped"), fs::metadata(&path).unwrap());
        fs::write(&target, fs::read(&path).unwrap()).unwrap();
        set_mtime(&target, meta.mtime(), meta.mtime_nsec());
        let ahead = pair.compare(VerifyMode::Ahead);
        assert_eq!((ahead.different, ahead.behind), (0, 0), "round {round}: {:?}", ahead.examples);
        mapped.store(&format!("c{round}"));
        let again = pair.compare(VerifyMode::Ahead);
        assert_eq!((again.different, again.behind), (0, 1), "round {round}: it is for the next pass");
        assert_eq!(pair.compare(VerifyMode::Frozen).different, 1, "round {round}");
        pair.pass();
        assert_eq!(pair.compare(VerifyMode::Frozen).different, 0, "round {round}");
    }
}

fn mapped_stores(pair: &Pair) {
    let path = pair.source().join("mapped");
    fs::write(&path, vec![0; 8192]).unwrap();
    let mut mapped = Mapped::start(&path);
    for round in 0..6 {
        // The second store goes into a page that is dirty already and moves no time stamp.
        mapped.store(&format!("a{round}"));
        pair.pass();
        mapped.store(&format!("b{round}"));
        mapped.store(&format!("c{round}"));
        pair.pass();
        pair.pass();
        assert_eq!(fs::read(pair.target().join("mapped")).unwrap(), fs::read(&path).unwrap(), "round {round}");
    }
}

#[test]
fn a_store_right_after_the_seed_read_a_file_is_caught_up() {
    // The same tick of the kernel's clock for both: only the distance to the start of the pass can tell.
    let pair = Pair::new();
    let path = pair.source().join("file");
    for round in 0..20u8 {
        File::create(&path).unwrap().write_all(&[round; 100]).unwrap();
        pair.pass();
        fs::write(&path, [round + 100; 100]).unwrap();
        pair.pass();
        assert_eq!(fs::read(pair.target().join("file")).unwrap(), [round + 100; 100]);
    }
}
