//! What hosts say about themselves.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use migrate::copy::watch::{ExpectedScan, WATCHING, expected_scan};
use migrate::host::{Hosts, TreeExtent};

use super::*;
use crate::lab::skip::skip;

#[tokio::test]
async fn a_host_tells_what_it_is_and_what_is_at_paths() {
    let lab = lab();
    let dir = lab.dir.path().join("a 'quoted' dir");
    std::fs::create_dir(&dir).unwrap();
    let missing = dir.join("not/there/yet");
    let paths = [&dir, &missing].map(|path| path.to_str().unwrap().to_owned());
    let paths = [paths.to_vec(), vec!["~/.ssh/authorized_keys".to_owned(), "relative".to_owned()]].concat();
    let got = lab.pool.facts(&lab.host, &paths).await.unwrap();
    assert_eq!(got.user, crate::lab::sshd::user());
    assert_eq!(got.uid, rustix::process::getuid().as_raw());
    assert!(got.kernel.starts_with("Linux ") && got.cpus.unwrap() > 0 && got.memory.unwrap() > 1 << 20);
    assert!(got.clock.millis.unsigned_abs() <= got.clock.error_millis, "one clock: {:?}", got.clock);
    let [present, absent, file, relative] = &got.paths[..] else { panic!("{:?}", got.paths) };
    assert!(present.exists && present.directory && present.readable && present.writable, "{present:?}");
    assert!(!absent.exists && absent.nearest == dir.to_str().unwrap() && absent.nearest_writable, "{absent:?}");
    assert!(absent.free_bytes.is_some() && present.free_bytes.is_some());
    assert!(
        file.exists
            && !file.directory
            && file.nearest == lab.sshd.home().join(".ssh/authorized_keys").to_str().unwrap()
    );
    assert!(!relative.exists);
}

/// What a watch says when it is started.
fn started(work: &str, root: &str) -> String {
    let mut watch = Command::new(env!("CARGO_BIN_EXE_migrate"))
        .args(["agent", "watch", "--work", work, "--job", "j", "--root", root])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(watch.stdout.take().unwrap()).lines().map(Result::unwrap);
    // The preamble of every agent comes before.
    let said = said.skip_while(|line| !line.starts_with("migrate agent")).nth(1).unwrap();
    drop(watch.stdin.take());
    watch.wait().unwrap();
    said
}

#[tokio::test]
async fn what_facts_promise_of_a_watch_is_what_it_says_when_it_starts() {
    let lab = lab();
    let dir = lab.dir.path().join("a tree");
    std::fs::create_dir(&dir).unwrap();
    let dir = dir.to_str().unwrap();
    let roots = [dir, "/dev/shm", "/proc/self"].map(str::to_owned);
    let got = lab.pool.facts(&lab.host, &roots).await.unwrap();
    for (root, seen) in roots.iter().zip(&got.paths) {
        let said = started(lab.dir.path().to_str().unwrap(), root);
        match expected_scan(&got, seen) {
            ExpectedScan::Watched => assert_eq!(said, WATCHING, "{root}"),
            ExpectedScan::Swept { why } => assert_eq!(said, why, "{root}"),
            ExpectedScan::Unknown { why } => panic!("{root}: {why}"),
        }
    }
    // What only a pass finds out.
    let all = lab.pool.facts(&lab.host, &["/".to_owned(), "/dev".to_owned()]).await.unwrap();
    assert!(all.paths.iter().all(|path| path.mounts > Some(0)), "{:?}", all.paths);
}

/// Something mounted, until it is dropped; `None` where this test may not mount.
struct Mounted(std::path::PathBuf);

impl Mounted {
    fn new(kind: &str, at: std::path::PathBuf) -> Option<Self> {
        std::fs::create_dir_all(&at).unwrap();
        let mounted = Command::new("mount").args(["-t", kind, kind]).arg(&at).stderr(Stdio::null()).status();
        mounted.is_ok_and(|status| status.success()).then(|| Self(at))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_tree_is_sized_behind_a_symlink_and_by_what_its_files_take() {
    let lab = lab();
    let dir = lab.dir.path().join("vol 1");
    std::fs::create_dir(&dir).unwrap();
    let sparse = std::fs::File::create(dir.join("lastlog")).unwrap();
    sparse.set_len(500 << 30).unwrap();
    (&sparse).write_all(b"one block").unwrap();
    sparse.sync_all().unwrap();
    std::fs::File::create(dir.join("all hole")).unwrap().set_len(1 << 30).unwrap();
    std::fs::write(dir.join("small"), [1; 10]).unwrap();
    let link = lab.dir.path().join("link");
    std::os::unix::fs::symlink("vol 1", &link).unwrap();
    let size = async |path: &std::path::Path, extent| {
        lab.pool.tree_size(&lab.host, path.to_str().unwrap(), extent).await.unwrap()
    };
    for path in [&dir, &link] {
        let got = size(path, TreeExtent::Mounts).await;
        assert_eq!(got.entries, 4, "{path:?}");
        assert!((10..1 << 20).contains(&got.bytes), "{path:?}: {got:?}");
    }
    let (proc, volume) = (Mounted::new("proc", dir.join("proc")), Mounted::new("tmpfs", dir.join("volume")));
    if proc.is_none() || volume.is_none() {
        skip("cannot mount here");
        return;
    }
    std::fs::write(dir.join("volume/inside"), [1; 8192]).unwrap();
    let (all, one) = (size(&link, TreeExtent::Mounts).await, size(&link, TreeExtent::OneFilesystem).await);
    // The volume and what is in it; nothing of what the kernel makes up.
    assert_eq!(all.entries, 6, "{all:?}");
    assert!(one.bytes + 8192 <= all.bytes, "{one:?} {all:?}");
    let facts = lab.pool.facts(&lab.host, &[link.to_str().unwrap().to_owned()]).await.unwrap();
    assert_eq!(facts.paths[0].made_up, [dir.canonicalize().unwrap().join("proc").to_str().unwrap()]);
}

#[tokio::test]
async fn connections_to_a_service_are_counted_by_its_own_address() {
    let lab = lab();
    let (ours, other) = (crate::lab::sshd::next_address(), crate::lab::sshd::next_address());
    let listener = TcpListener::bind((ours, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let elsewhere = TcpListener::bind((other, port)).unwrap();
    let count = async |address| lab.pool.connections(&lab.host, address, port).await.unwrap();
    assert_eq!(count(Some(ours)).await, migrate::host::ConnectionCount::default());
    let mut open: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect((ours, port)).unwrap()).collect();
    open.push(TcpStream::connect((other, port)).unwrap());
    open.iter_mut().for_each(|stream| stream.write_all(b"x").unwrap());
    let got = count(Some(ours)).await;
    assert_eq!((got.count, got.peers), (3, vec!["127.0.0.1 (3)".to_owned()]));
    assert_eq!(count(None).await.count, 4);
    drop((open, elsewhere));
    assert_eq!(count(Some(ours)).await.count, 0);
    // One that comes and goes between two looks leaves its end behind where the service ends it.
    let before = count(Some(ours)).await.lately;
    let short = TcpStream::connect((ours, port)).unwrap();
    let client = short.local_addr().unwrap();
    while listener.accept().unwrap().1 != client {}
    assert_eq!((&short).read(&mut [0]).unwrap(), 0);
    drop(short);
    let after = count(Some(ours)).await;
    assert_eq!(after.count, 0, "{after:?}");
    let new: Vec<&String> = after.lately.difference(&before).collect();
    assert_eq!(new, [&client.to_string()]);
}

#[tokio::test]
async fn a_service_on_an_ipv6_socket_is_counted_by_its_ipv4_address() {
    let lab = lab();
    let Ok(listener) = TcpListener::bind("[::]:0") else { return };
    let port = listener.local_addr().unwrap().port();
    let ours = crate::lab::sshd::next_address();
    let _open = TcpStream::connect((ours, port)).unwrap();
    assert_eq!(lab.pool.connections(&lab.host, Some(ours), port).await.unwrap().count, 1);
}
