//! A source whose filesystem is not mounted any more, with something in the directory below. Each mount is the agent's own.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use migrate::copy::controller::{Channel, Local, Transport};
use migrate::model::Host;
use migrate::outside::Error;
use tempfile::TempDir;

use crate::copy::pair::Pair;
use crate::copy::tree::is_root;
use crate::lab::skip::skip;

const MOUNTED: &str = r#"mount --bind "$0" "$1" && shift && exec "$@""#;

/// The source's agent sees `volume` at `place` while it is mounted.
struct Mount {
    volume: String,
    place: String,
    mounted: Arc<AtomicBool>,
}

#[async_trait]
impl Transport for Mount {
    async fn open(&self, host: &Host, argv: &[&str]) -> Result<Channel, Error> {
        if host.name != "old" || !self.mounted.load(Ordering::SeqCst) {
            return Local.open(host, argv).await;
        }
        let outer = ["unshare", "--mount", "sh", "-c", MOUNTED, &self.volume, &self.place];
        Local.open(host, &[&outer, argv].concat()).await
    }
}

struct Source {
    pair: Pair,
    volume: TempDir,
    mounted: Arc<AtomicBool>,
}

/// `place` below the source is where the volume is mounted.
fn source(place: &str) -> Option<Source> {
    let mounts = || Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|s| s.success());
    if !is_root() || !mounts() {
        skip("only root can mount");
        return None;
    }
    let (pair, volume) = (Pair::new(), tempfile::tempdir_in("/dev/shm").unwrap());
    let place = pair.source().join(place);
    fs::create_dir_all(&place).unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let mounted = Arc::new(AtomicBool::new(true));
    let mount = Mount { volume: text(volume.path()), place: text(&place), mounted: Arc::clone(&mounted) };
    fs::write(place.join("below"), b"what the mount hides").unwrap();
    for file in ["a", "b"] {
        fs::write(volume.path().join(file), file).unwrap();
    }
    Some(Source { pair: pair.through(mount), volume, mounted })
}

#[test]
fn a_root_that_is_not_mounted_any_more_is_refused_though_it_is_not_empty() {
    let Some(mut source) = source("") else { return };
    let target = source.pair.target();
    assert_eq!(source.pair.pass().files_sent, 2);
    for round in 0..2 {
        source.mounted.store(false, Ordering::SeqCst);
        let error = source.pair.try_pass().unwrap_err();
        assert!(error.what.contains("is on another filesystem than at the last pass"), "{error:?}");
        assert!(error.hint.as_ref().unwrap().contains("allow_moved: true") && !error.transient, "{error:?}");
        assert!(target.join("a").exists() && !target.join("below").exists());
        let previewed = source.pair.try_preview().unwrap_err();
        assert_eq!((previewed.what, previewed.hint), (error.what, error.hint));
        // Mounted again, it goes on where it was.
        source.mounted.store(true, Ordering::SeqCst);
        fs::write(source.volume.path().join(format!("c{round}")), b"new").unwrap();
        assert_eq!(source.pair.pass().files_sent, 1);
    }
    // A content check believes no record, but this one.
    source.mounted.store(false, Ordering::SeqCst);
    source.pair.job.checksum = true;
    source.pair.try_pass().unwrap_err();
    source.pair.job.checksum = false;
    // What was moved on purpose is another tree from then on.
    source.pair.job.rules.allow_moved = true;
    source.pair.pass();
    source.pair.assert_same();
    source.pair.job.rules.allow_moved = false;
    assert_eq!(source.pair.pass().files_sent, 0);
}

#[test]
fn a_filesystem_below_the_root_that_is_not_mounted_any_more_is_refused() {
    let Some(mut source) = source("volume") else { return };
    let target = source.pair.target().join("volume");
    fs::write(source.pair.source().join("beside"), b"1").unwrap();
    assert_eq!(source.pair.pass().files_sent, 3);
    source.mounted.store(false, Ordering::SeqCst);
    let error = source.pair.try_pass().unwrap_err();
    assert!(error.what.contains("volume was another filesystem at the last pass"), "{error:?}");
    assert!(target.join("a").exists() && !target.join("below").exists());
    // The target was listed meanwhile, and the record is still believed.
    fs::remove_dir_all(source.pair.dir.path().join("work-target/roots")).unwrap();
    source.pair.try_pass().unwrap_err();
    // Gone with its mount point.
    fs::rename(source.pair.source().join("volume"), source.pair.dir.path().join("away")).unwrap();
    source.pair.try_pass().unwrap_err();
    assert!(target.join("a").exists());
    source.pair.job.rules.allow_moved = true;
    assert_eq!(source.pair.pass().deleted, 3);
    source.pair.job.rules.allow_moved = false;
    source.pair.pass();
    source.pair.assert_same();
}
