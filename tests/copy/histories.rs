//! Random histories: between every two system calls of a pass something changes on the source, and one pass after the last change both
//! sides are the same.
//!
//! Sending and receiving agent run in this process, on one thread where the order matters: a history follows from its seed alone.
//! `COPY_HISTORIES=5000` runs more of them, `COPY_SEED=7` one of them, both together as many from there on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use migrate::copy::failure::Failure;
use migrate::copy::fs::listing::Entries;
use migrate::copy::fs::path::join;
use migrate::copy::fs::tree::Execution;
use migrate::copy::manifest::delta::Delta;
use migrate::copy::manifest::full::Manifest;
use migrate::copy::receive::{self, Permit};
use migrate::copy::wire::frame::{Frame, OutFrame, Route};
use migrate::copy::wire::task::{SenderMessage, Task, TreeTask};
use migrate::copy::{PassReport, send};
use migrate::model::TreeRules;

use crate::copy::pair::differences;
use crate::copy::tree::{noise, set_mtime};

/// Histories in an ordinary run of the tests.
const FEW: u64 = 60;

/// The state of a xorshift generator.
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn of_seed(seed: u64) -> Self {
        let hash = blake3::hash(&seed.to_le_bytes());
        Self(u64::from_le_bytes(*hash.as_bytes().first_chunk().unwrap()) | 1)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

/// What changes the source.
struct Writer {
    root: PathBuf,
    random: Random,
    log: Vec<String>,
}

impl Writer {
    /// A path of few names, so that names are used again and again.
    fn path(&mut self) -> PathBuf {
        let names = ["a", "b", "c"];
        let depth = 1 + self.random.below(3);
        (0..depth).map(|_| names[self.random.below(3) as usize]).collect()
    }

    /// One change; what is not possible just does not happen.
    fn change(&mut self) {
        let (path, other) = (self.path(), self.path());
        let (here, there) = (self.root.join(&path), self.root.join(&other));
        let n = self.random.0;
        let kind = self.random.below(20);
        let len = [0, 3, 700, 300_000][self.random.below(16).min(3) as usize];
        let done = match kind {
            0..=2 => fs::write(&here, noise(n, if len == 300_000 { 300_000 } else { 9 })).is_ok(),
            3..=5 => fs::create_dir_all(&here).is_ok(),
            6 | 7 => fs::remove_dir_all(&here).is_ok(),
            8 => fs::remove_file(&here).is_ok(),
            9..=11 => fs::rename(&here, &there).is_ok(),
            12 | 13 => fs::hard_link(&here, &there).is_ok(),
            14 => symlink(format!("to{n}"), &here).is_ok(),
            15 => File::options().append(true).open(&here).and_then(|mut f| f.write_all(b"more")).is_ok(),
            16 => same_looking_change(&here),
            // No bits that the umask of this process takes away: agents have none.
            17 => {
                // Now and then of the root.
                let at = if (n / 4).is_multiple_of(4) { &self.root } else { &here };
                fs::set_permissions(at, fs::Permissions::from_mode([0o700, 0o705, 0o750, 0o755][n as usize % 4]))
                    .is_ok()
            }
            18 => {
                // A directory goes, and comes again with something else in it.
                let _ = fs::remove_dir_all(&here);
                fs::create_dir_all(&here).is_ok() && fs::write(here.join("a"), noise(n, 9)).is_ok()
            }
            _ => fs::remove_file(&here).is_ok() && fs::create_dir_all(&here).is_ok(),
        };
        if done {
            self.log.push(format!("{kind} {} {}", path.display(), other.display()));
        }
    }
}

/// Another byte in a file whose size and time of modification stay.
fn same_looking_change(path: &Path) -> bool {
    let Ok(meta) = fs::symlink_metadata(path).map(|m| (m.is_file(), m)) else { return false };
    if !meta.0 || meta.1.len() == 0 {
        return false;
    }
    File::options().write(true).open(path).and_then(|f| f.write_at(b"!", 0)).unwrap();
    set_mtime(path, meta.1.mtime(), meta.1.mtime_nsec());
    true
}

/// A source, a target, and the two agents.
struct World {
    dir: tempfile::TempDir,
    delete: bool,
}

impl World {
    fn new(delete: bool) -> Self {
        // Memory takes no time to sync.
        let dir = tempfile::Builder::new().tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap());
        for name in ["source", "target", "work-source", "work-target"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        Self { dir, delete }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn task(&self) -> TreeTask {
        TreeTask {
            job: "history".to_owned(),
            from: self.at("source").to_str().unwrap().to_owned(),
            to: self.at("target").to_str().unwrap().to_owned(),
            pair: ("old".to_owned(), "new".to_owned()),
            rules: TreeRules { delete: self.delete, allow_empty: true, ..TreeRules::default() },
            bandwidth: None,
            checksum: false,
            listed: false,
            fresh: false,
            unwatched: "not here".to_owned(),
            may_relay: false,
            dial: None,
        }
    }

    /// A pass, with `before_call` between every two system calls on the source.
    fn pass(&self, before_call: Arc<dyn Fn() + Send + Sync>) -> Result<PassReport, Failure> {
        let permit = Permit {
            job: "history".to_owned(),
            root: self.at("target"),
            work: self.at("work-target"),
            delete: self.delete,
        };
        let execution = Execution { threads: 1, large: 200_000, before_call: Some(before_call) };
        let (sender, to_sender) = UnixStream::pair().unwrap();
        let (receiver, to_receiver) = UnixStream::pair().unwrap();
        let task = OutFrame::new(Route::Controller, &Task::Pass(self.task()), Vec::new()).unwrap();
        task.write_to(&mut &to_sender).unwrap();
        let work = self.at("work-source");
        std::thread::scope(|scope| {
            let (input, output) = (sender.try_clone().unwrap(), sender);
            scope.spawn(|| send::serve_by(&execution, &work, Box::new(input), Box::new(output)));
            let (mut input, output) = (receiver.try_clone().unwrap(), receiver);
            let permit = &permit;
            scope.spawn(move || receive::serve(permit, &mut input, Box::new(output)));
            scope.spawn(|| {
                let mut bytes = vec![0; 64 << 10];
                while let Ok(n @ 1..) = (&to_receiver).read(&mut bytes) {
                    if (&to_sender).write_all(&bytes[..n]).is_err() {
                        break;
                    }
                }
            });
            // Also where a check fails: the scope waits for all of them.
            let _ends = Ends([&to_sender, &to_receiver]);
            relay(&to_sender, &to_receiver)
        })
    }

    /// Everything on the target must be in the manifest, or the next pass would not know what to remove.
    fn assert_nothing_unknown(&self) {
        let file = self.at("work-source/jobs/history/manifest");
        let Ok(Some(current)) = Delta::current(&file) else { return };
        let manifest = Manifest::load(&file, &current.header.rules).unwrap();
        let mut known = BTreeSet::new();
        for (dir, listing) in manifest.directories() {
            known.extend(Entries(listing).map(|entry| join(dir, entry.name)));
        }
        let there: BTreeSet<Vec<u8>> = tree(&self.at("target")).into_keys().collect();
        let unknown: Vec<_> = there.difference(&known).map(|p| String::from_utf8_lossy(p).into_owned()).collect();
        assert!(unknown.is_empty(), "the manifest does not know {unknown:?}");
    }

    fn assert_same(&self) {
        // What was not removed may still be another name of what is there.
        let seen = |name| {
            let tree = tree(&self.at(name));
            let mut seen = if self.delete { tree } else { without_names(tree) };
            seen.insert(b".".to_vec(), attributes(&fs::metadata(self.at(name)).unwrap()));
            seen
        };
        let (source, target) = (seen("source"), seen("target"));
        let differs = |(path, what): &(&Vec<u8>, &String)| {
            let path = String::from_utf8_lossy(path).into_owned();
            format!("{path}: {what}")
        };
        let lacks: Vec<_> = source.iter().filter(|(p, w)| target.get(*p) != Some(w)).map(|e| differs(&e)).collect();
        let wrong: Vec<_> = target.iter().filter(|(p, w)| source.get(*p) != Some(w)).map(|e| differs(&e)).collect();
        let wrong: Vec<_> = if self.delete { wrong } else { Vec::new() };
        assert!(lacks.is_empty() && wrong.is_empty(), "source: {lacks:#?}\ntarget: {wrong:#?}");
    }
}

/// Streams that end with a pass.
struct Ends<'a>([&'a UnixStream; 2]);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        for end in self.0 {
            let _ = end.shutdown(std::net::Shutdown::Both);
        }
    }
}

/// What the controller does while a pass runs.
fn relay(sender: &UnixStream, receiver: &UnixStream) -> Result<PassReport, Failure> {
    loop {
        let frame = Frame::read_from(&mut &*sender).unwrap();
        if frame.route != Route::Controller {
            let request: migrate::copy::wire::request::Request = frame.message().unwrap();
            let frame = OutFrame::new(frame.route, &request, frame.data().to_vec()).unwrap();
            // A receiver that failed has said why, and the sender tells it.
            let _ = frame.write_to(&mut &*receiver);
            continue;
        }
        match frame.message().unwrap() {
            SenderMessage::Passed(report) => return Ok(report),
            SenderMessage::Failed(failure) => return Err(failure),
            _ => {}
        }
    }
}

/// Everything below a root but the attributes of directories that lie above it: kind, mode, time, content, other names.
fn tree(root: &Path) -> BTreeMap<Vec<u8>, String> {
    let mut found = BTreeMap::new();
    let mut names: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let mut dirs = vec![Vec::new()];
    while let Some(dir) = dirs.pop() {
        let mut entries: Vec<_> = fs::read_dir(at(root, &dir)).unwrap().map(|e| e.unwrap().file_name()).collect();
        entries.sort();
        for name in entries {
            let path = join(&dir, name.as_encoded_bytes());
            let full = at(root, &path);
            let meta = fs::symlink_metadata(&full).unwrap();
            let kind = meta.file_type();
            let mut what = attributes(&meta);
            if kind.is_dir() {
                dirs.push(path.clone());
            } else if kind.is_symlink() {
                what += &format!(" {}", fs::read_link(&full).unwrap().display());
            } else {
                assert!(!kind.is_fifo());
                what += &format!(" {}", blake3::hash(&fs::read(&full).unwrap()).to_hex());
            }
            if !kind.is_dir() && meta.nlink() > 1 {
                names.entry(meta.ino()).or_insert(path.clone());
            }
            found.insert(path, what);
        }
    }
    // Which names belong together; the order in which they were met is not the same on both sides.
    let mut groups: BTreeMap<u64, BTreeSet<Vec<u8>>> = BTreeMap::new();
    for path in found.keys() {
        let meta = fs::symlink_metadata(at(root, path)).unwrap();
        if names.contains_key(&meta.ino()) && !meta.is_dir() {
            groups.entry(meta.ino()).or_default().insert(path.clone());
        }
    }
    for group in groups.values() {
        for path in group {
            let others: Vec<_> = group.iter().map(|p| String::from_utf8_lossy(p)).collect();
            *found.get_mut(path).unwrap() += &format!(" = {}", others.join(" "));
        }
    }
    found
}

fn attributes(meta: &fs::Metadata) -> String {
    format!("{:o} {}.{:09}", meta.mode(), meta.mtime(), meta.mtime_nsec())
}

/// The same without the other names of an inode.
fn without_names(tree: BTreeMap<Vec<u8>, String>) -> BTreeMap<Vec<u8>, String> {
    tree.into_iter().map(|(path, what)| (path, what.split(" = ").next().unwrap_or_default().to_owned())).collect()
}

fn at(root: &Path, path: &[u8]) -> PathBuf {
    root.join(crate::copy::tree::name(path))
}

fn history(seed: u64) {
    let mut random = Random::of_seed(seed);
    let world = World::new(random.below(5) > 0);
    let root = world.at("source");
    let writer = Arc::new(Mutex::new(Writer { root, random: random.clone(), log: Vec::new() }));
    (0..random.below(40)).for_each(|_| writer.lock().unwrap().change());
    // From a change at every call to one at every thirtieth.
    let every = 1 + random.below(30);
    for pass in 0..2 + random.below(3) {
        writer.lock().unwrap().log.push(format!("pass {pass}"));
        let writing = Arc::clone(&writer);
        let passed = world.pass(Arc::new(move || {
            let mut writer = writing.lock().unwrap();
            while writer.random.below(every) == 0 {
                writer.change();
                if every == 1 && writer.random.below(2) == 0 {
                    break;
                }
            }
        }));
        told(seed, &writer, || {
            // Without deletions nothing can take the place of a directory.
            assert!(passed.is_ok() || !world.delete, "{passed:?}");
            if passed.is_ok() {
                world.assert_nothing_unknown();
            }
        });
        (0..random.below(4)).for_each(|_| writer.lock().unwrap().change());
    }
    let passed = world.pass(Arc::new(|| {}));
    told(seed, &writer, || {
        assert!(passed.is_ok() || !world.delete, "{passed:?}");
        if passed.is_ok() {
            world.assert_nothing_unknown();
            world.assert_same();
        }
    });
    if seed.is_multiple_of(20) && world.delete {
        assert_eq!(differences(&world.at("source"), &world.at("target"), &[]), "", "COPY_SEED={seed}");
    }
}

/// Runs a check; where it fails, the history is told.
fn told(seed: u64, writer: &Mutex<Writer>, check: impl FnOnce()) {
    if let Err(why) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(check)) {
        println!("COPY_SEED={seed}\n{}", writer.lock().unwrap().log.join("\n"));
        std::panic::resume_unwind(why);
    }
}

#[test]
fn one_pass_after_any_history_both_sides_are_the_same() {
    let number = |name| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let first = number("COPY_SEED");
    let many = number("COPY_HISTORIES").unwrap_or(if first.is_some() { 1 } else { FEW });
    (first.unwrap_or(0)..).take(many as usize).for_each(history);
}
