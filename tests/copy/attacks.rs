//! A hostile source against the receiving agent: nothing outside the root is ever touched.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use migrate::copy::fs::listing::FileTime;
use migrate::copy::fs::metadata::Metadata;
use migrate::copy::wire::frame::PREAMBLE;
use migrate::copy::wire::frame::{Frame, MAX_BODY, OutFrame, Route, VERSION};
use migrate::copy::wire::request::{
    Base, Begin, CloseFile, FileBatch, Move, NewNode, Node, OpenFile, Request, SmallFile,
};
use migrate::copy::wire::response::Response;
use tempfile::TempDir;

use crate::copy::tree::is_root;

struct Victim {
    dir: TempDir,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
}

impl Victim {
    fn start(delete: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("root")).unwrap();
        fs::create_dir_all(dir.path().join("outside")).unwrap();
        fs::write(dir.path().join("outside/secret"), b"untouched").unwrap();
        Self::open(dir, delete, None)
    }

    fn open(dir: TempDir, delete: bool, generation: Option<[u8; 16]>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_migrate"));
        command.args(["agent", "receive", "--job", "attack", "--work"]).arg(dir.path().join("work"));
        command.arg("--root").arg(dir.path().join("root"));
        if delete {
            command.arg("--delete");
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (stdin, mut stdout) = (child.stdin.take(), child.stdout.take().unwrap());
        let mut preamble = [0; PREAMBLE.len()];
        std::io::Read::read_exact(&mut stdout, &mut preamble).unwrap();
        let mut victim = Self { dir, child, stdin, stdout };
        let ready = victim.ask(&Request::Begin(begin(generation)), vec![]);
        assert!(matches!(ready, Some(Response::Ready(ready)) if ready.trusted == generation.is_some()));
        victim
    }

    /// The next session, which finds the root as this one leaves it.
    fn again(mut self, delete: bool) -> Self {
        assert!(matches!(self.ask(&Request::FinishPass { exact: true }, vec![]), Some(Response::PassFinished)));
        drop(self.stdin.take());
        assert!(self.child.wait().unwrap().success());
        let dir = std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap());
        Self::open(dir, delete, Some([1; 16]))
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn send(&mut self, order: &Request, data: Vec<u8>) {
        let frame = OutFrame::new(Route::Peer, order, data).unwrap();
        // A victim that has hung up already is fine.
        let _ = frame.write_to(self.stdin.as_mut().unwrap());
    }

    fn report(&mut self) -> Option<Response> {
        Frame::read_from(&mut self.stdout).ok().map(|frame| frame.message().unwrap())
    }

    fn ask(&mut self, order: &Request, data: Vec<u8>) -> Option<Response> {
        self.send(order, data);
        self.report()
    }

    /// Whether the answer is a refusal, and the agent ends with an error and without having touched anything outside.
    fn assert_refused(mut self, what: &str, answer: Option<Response>) {
        assert!(matches!(answer, Some(Response::Failed(_)) | None), "{what}: {answer:?}");
        drop(self.stdin.take());
        while self.report().is_some() {}
        assert!(!self.child.wait().unwrap().success(), "{what}");
        self.assert_outside_untouched(what);
    }

    fn assert_outside_untouched(&self, what: &str) {
        let names: Vec<_> = fs::read_dir(self.dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names.len(), 3, "{what}: {names:?}");
        let outside: Vec<_> = fs::read_dir(self.dir.path().join("outside")).unwrap().collect();
        assert_eq!(outside.len(), 1, "{what}");
        assert_eq!(fs::read(self.dir.path().join("outside/secret")).unwrap(), b"untouched", "{what}");
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn begin(generation: Option<[u8; 16]>) -> Begin {
    Begin {
        version: VERSION,
        generation,
        next: [1; 16],
        exclude: vec!["/excluded".to_owned()],
        one_filesystem: false,
        inexact_times: false,
        read_only: false,
    }
}

fn meta(mode: u32) -> Metadata {
    Metadata {
        mode,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        mtime: FileTime { sec: 1, nsec: 1 },
        xattrs: vec![],
    }
}

fn small(dir: &[u8], name: &[u8]) -> Request {
    let file = SmallFile { dir: 0, name: name.to_vec(), len: 4, meta: meta(0o100_644) };
    Request::Files(FileBatch { seq: 7, dirs: vec![dir.to_vec()], files: vec![file] })
}

fn make(path: &[u8], what: Node) -> Request {
    Request::CreateNodes { seq: 8, items: vec![NewNode { path: path.to_vec(), what }] }
}

#[test]
fn paths_that_leave_the_root_are_refused_in_every_order() {
    let long_name = [b'n'; 256];
    let long_path = [b"a/".repeat(1 << 17), b"b".to_vec()].concat();
    let bad: Vec<&[u8]> = vec![
        b"..",
        b"../outside",
        b"a/../../outside",
        b"/etc",
        b"//",
        b"a//b",
        b"./a",
        b"a/.",
        b"a/",
        b"a\0b",
        &long_name,
        &long_path,
    ];
    for path in bad {
        let shown = String::from_utf8_lossy(&path[..path.len().min(30)]).into_owned();
        let orders = [
            small(path, b"x"),
            small(b"", path),
            make(path, Node::Directory),
            make(path, Node::Symlink(b"x".to_vec(), meta(0o120_777))),
            make(path, Node::Special(0, meta(0o010_644))),
            make(path, Node::Link(b"x".to_vec())),
            Request::Delete { seq: 9, paths: vec![path.to_vec()] },
            Request::SetMetadata { seq: 9, dirs: vec![(path.to_vec(), meta(0o040_700))] },
        ];
        for (nth, order) in orders.iter().enumerate() {
            let mut victim = Victim::start(true);
            let answer = victim.ask(order, b"evil".to_vec());
            victim.assert_refused(&format!("{shown}, order {nth}"), answer);
        }
        let mut victim = Victim::start(true);
        let open = OpenFile { file: 1, dir: path.to_vec(), name: b"x".to_vec(), base: Base::Nothing };
        let answer = victim.ask(&Request::OpenFile(open), vec![]);
        victim.assert_refused(&format!("{shown}, open"), answer);
    }
}

#[test]
fn only_files_of_the_root_are_put_aside_and_only_where_the_job_may_remove_them() {
    let aside = |from: &[u8], dir: &[u8], name: &[u8]| Request::SetAside {
        seq: 3,
        moves: vec![Move { from: from.to_vec(), dir: dir.to_vec(), name: name.to_vec() }],
    };
    let orders = [
        aside(b"../outside/secret", b"", b"x"),
        aside(b"up/outside/secret", b"", b"x"),
        aside(b"up", b"", b"x"),
        aside(b"dir", b"", b"x"),
        aside(b"excluded", b"", b"x"),
        aside(b"file", b"..", b"x"),
        aside(b"file", b"", b"../x"),
        aside(b"none", b"", b"x"),
    ];
    for (nth, order) in orders.iter().enumerate() {
        let victim = Victim::start(true);
        symlink("..", victim.root().join("up")).unwrap();
        fs::create_dir(victim.root().join("dir")).unwrap();
        fs::write(victim.root().join("file"), b"ours").unwrap();
        fs::write(victim.root().join("excluded"), b"theirs").unwrap();
        let mut victim = victim.again(true);
        let answer = victim.ask(order, vec![]);
        assert!(!done(answer), "order {nth}");
        victim.assert_outside_untouched(&format!("order {nth}"));
        assert_eq!(fs::read(victim.root().join("excluded")).unwrap(), b"theirs");
        assert_eq!(fs::read(victim.root().join("file")).unwrap(), b"ours", "order {nth}");
    }
    // Not where nobody knows what is there, and not where nothing may go.
    for (trusted, delete) in [(false, true), (true, false)] {
        let victim = Victim::start(delete);
        fs::write(victim.root().join("file"), b"ours").unwrap();
        let mut victim = if trusted { victim.again(delete) } else { victim };
        let answer = victim.ask(&aside(b"file", b"", b"x"), vec![]);
        assert_eq!(fs::read(victim.root().join("file")).unwrap(), b"ours");
        victim.assert_refused("put aside", answer);
    }
}

#[test]
fn a_link_must_point_to_something_below_the_root() {
    for existing in [&b"../outside/secret"[..], b"/etc/passwd", b"up/outside/secret"] {
        let mut victim = Victim::start(true);
        symlink("..", victim.root().join("up")).unwrap();
        let answer = victim.ask(&make(b"mine", Node::Link(existing.to_vec())), vec![]);
        let refused = match &answer {
            Some(Response::Failed(_)) | None => true,
            Some(Response::Ack { failures, .. }) => failures.len() == 1,
            _ => false,
        };
        assert!(refused, "{answer:?}");
        assert!(!victim.root().join("mine").exists());
        victim.assert_outside_untouched("link");
    }
}

#[test]
fn a_symlink_on_the_way_is_replaced_and_never_followed() {
    let mut victim = Victim::start(true);
    let outside = victim.dir.path().join("outside");
    let to = outside.to_str().unwrap().as_bytes().to_vec();
    assert!(done(victim.ask(&make(b"dir", Node::Symlink(to.clone(), meta(0o120_777))), vec![])));
    assert!(done(victim.ask(&small(b"dir", b"secret"), b"evil".to_vec())));
    assert_eq!(fs::read(victim.root().join("dir/secret")).unwrap(), b"evil");
    assert!(!victim.root().join("dir").is_symlink());
    // As the last part: the link itself is replaced.
    symlink(outside.join("secret"), victim.root().join("file")).unwrap();
    assert!(done(victim.ask(&small(b"", b"file"), b"evil".to_vec())));
    assert!(!victim.root().join("file").is_symlink());
    // Attributes and deletion do not go through it either.
    symlink(&outside, victim.root().join("again")).unwrap();
    let settle = Request::SetMetadata { seq: 1, dirs: vec![(b"again".to_vec(), meta(0o040_777))] };
    assert!(done(victim.ask(&settle, vec![])));
    symlink(&outside, victim.root().join("third")).unwrap();
    let delete = Request::Delete { seq: 2, paths: vec![b"third/secret".to_vec(), b"third".to_vec()] };
    assert!(done(victim.ask(&delete, vec![])));
    victim.assert_outside_untouched("symlinks");
}

#[test]
fn a_symlink_swapped_in_while_files_arrive_is_never_followed() {
    let mut victim = Victim::start(true);
    let (root, outside) = (victim.root(), victim.dir.path().join("outside"));
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let swapper = std::thread::spawn({
        let stop = stop.clone();
        move || {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = fs::rename(root.join("dir"), root.join("aside"));
                let _ = symlink(&outside, root.join("dir"));
                let _ = fs::remove_file(root.join("dir"));
                let _ = fs::rename(root.join("aside"), root.join("dir"));
                let _ = fs::remove_dir_all(root.join("aside"));
            }
        }
    });
    for n in 0..300u32 {
        // Different directories in each batch, so that the agent opens them again.
        let dir = format!("dir/{}", n % 7);
        let answer = victim.ask(&small(dir.as_bytes(), format!("f{n}").as_bytes()), b"evil".to_vec());
        if matches!(answer, None | Some(Response::Failed(_))) {
            break;
        }
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    swapper.join().unwrap();
    victim.assert_outside_untouched("swap");
}

#[test]
fn nothing_is_deleted_by_a_job_that_may_not() {
    let mut victim = Victim::start(false);
    fs::create_dir(victim.root().join("dir")).unwrap();
    fs::write(victim.root().join("dir/precious"), b"1").unwrap();
    let delete = Request::Delete { seq: 1, paths: vec![b"dir/precious".to_vec()] };
    assert!(!done(victim.ask(&delete, vec![])));
    assert!(!done(victim.ask(&small(b"", b"dir"), b"evil".to_vec())));
    assert!(victim.root().join("dir/precious").exists());
}

#[test]
fn the_agents_own_temporary_names_cannot_be_used() {
    let mut victim = Victim::start(true);
    let temp = migrate::copy::fs::path::TempNames::of_job("attack").writer(1);
    let answer = victim.ask(&small(b"", &temp), b"evil".to_vec());
    victim.assert_refused("temporary name", answer);
}

#[test]
fn set_user_id_is_not_kept_where_the_owner_cannot_be_given() {
    let mut victim = Victim::start(true);
    let mut order = small(b"", b"suid");
    if let Request::Files(batch) = &mut order {
        batch.files[0].meta.mode = 0o104_755;
        batch.files[0].meta.uid = 4711;
    }
    assert!(done(victim.ask(&order, b"evil".to_vec())));
    let st = fs::metadata(victim.root().join("suid")).unwrap();
    use std::os::unix::fs::MetadataExt;
    match is_root() {
        true => assert_eq!((st.mode() & 0o7777, st.uid()), (0o4755, 4711)),
        false => assert_eq!(st.mode() & 0o7777, 0o755),
    }
}

#[test]
fn malformed_streams_end_the_agent_without_a_trace() {
    let frame = |order: &Request, data: &[u8]| {
        let mut out = Vec::new();
        OutFrame::new(Route::Peer, order, data.to_vec()).unwrap().write_to(&mut out).unwrap();
        out
    };
    let whole = frame(&small(b"", b"x"), b"evil");
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let mut oversized = vec![0xff; 16];
    oversized[12..].fill(0);
    let mut streams = vec![
        ("noise", crate::copy::tree::noise(1, 4096)),
        ("flipped bit", flipped),
        ("oversized", oversized),
        ("too little data", frame(&small(b"", b"x"), b"evi")),
        ("too much data", frame(&small(b"", b"x"), b"evil!")),
        ("a part of nothing", frame(&Request::FilePart { file: 3, offset: 0 }, b"evil")),
        (
            "an end of nothing",
            frame(&Request::CloseFile(CloseFile { seq: 1, file: 9, parts: 0, size: 1, meta: None }), b""),
        ),
        ("beginning twice", frame(&Request::Begin(begin(None)), b"")),
    ];
    for cut in [1, 15, 16, 17, whole.len() - 1] {
        streams.push(("cut", whole[..cut].to_vec()));
    }
    for (what, bytes) in streams {
        let mut victim = Victim::start(true);
        let _ = victim.stdin.as_mut().unwrap().write_all(&bytes);
        drop(victim.stdin.take());
        while victim.report().is_some() {}
        assert!(!victim.child.wait().unwrap().success(), "{what}");
        assert!(!victim.root().join("x").exists() || what == "too much data", "{what}");
        victim.assert_outside_untouched(what);
    }
}

#[test]
fn a_part_beyond_the_end_of_all_files_is_refused() {
    let mut victim = Victim::start(true);
    victim.send(
        &Request::OpenFile(OpenFile { file: 1, dir: vec![], name: b"big".to_vec(), base: Base::Nothing }),
        vec![],
    );
    victim.send(&Request::FilePart { file: 1, offset: u64::MAX - 2 }, b"evil".to_vec());
    let answer = victim.ask(
        &Request::CloseFile(CloseFile { seq: 1, file: 1, parts: 1, size: 4, meta: Some(meta(0o100_600)) }),
        vec![],
    );
    let root = victim.root();
    victim.assert_refused("part", answer);
    assert!(!Path::new(&root).join("big").exists());
}

#[test]
fn a_claimed_length_costs_no_memory() {
    let mut victim = Victim::start(true);
    let mut header = [0; 16];
    header[..4].copy_from_slice(&(MAX_BODY as u32).to_le_bytes());
    victim.stdin.as_mut().unwrap().write_all(&header).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(100));
    let status = fs::read_to_string(format!("/proc/{}/status", victim.child.id())).unwrap();
    let rss = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
    let kib: u64 = rss.trim().trim_end_matches(" kB").trim().parse().unwrap();
    assert!(kib < 64 << 10, "{kib} KiB");
}

fn done(report: Option<Response>) -> bool {
    matches!(report, Some(Response::Ack { failures, .. }) if failures.is_empty())
}
