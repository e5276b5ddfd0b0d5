//! Targets that are far away, or behind a slow link.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use migrate::copy::{Copier, CopyJob, CopyProgress, DataRoute};
use migrate::model::DataPath;

use crate::copy::over_ssh::Hosts;
use crate::copy::pair::differences;
use crate::copy::tree::noise;
use crate::lab::far::{Far, Link};

const MIB: usize = 1 << 20;

fn far_away(hosts: &Hosts, millis: u64) -> Far {
    Far::start(hosts.target.addr(), Link { round_trip: Duration::from_millis(millis), rate: None })
}

/// How many receiving agents the target has at most while something goes on.
async fn most_receivers<T>(hosts: &Hosts, work: impl Future<Output = T>) -> (T, usize) {
    let done = AtomicBool::new(false);
    let count = async {
        let mut most = 0;
        while !done.load(Ordering::Relaxed) {
            most = most.max(hosts.receivers().len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        most
    };
    let work = async {
        let result = work.await;
        done.store(true, Ordering::Relaxed);
        result
    };
    tokio::join!(work, count)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_far_target_gets_several_channels_and_the_same_tree() {
    several_channels(DataPath::Direct).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_far_from_where_it_is_relayed_gets_several_channels_too() {
    several_channels(DataPath::Relay).await;
}

async fn several_channels(path: DataPath) {
    let hosts = Hosts::start();
    let far = far_away(&hosts, 60);
    let target = far.host(&hosts.target);
    let engine = hosts.engine_to(target.clone());
    let job = CopyJob { target, path, ..hosts.job() };
    let (from, to) = (PathBuf::from(&job.from), PathBuf::from(&job.to));
    fs::create_dir_all(from.join("dir")).unwrap();
    for n in 0..3 {
        fs::write(from.join(format!("large-{n}")), noise(n, 30 * MIB + 17)).unwrap();
    }
    for n in 0..400 {
        fs::write(from.join(format!("dir/small-{n}")), noise(n, 40_000)).unwrap();
    }
    let (report, most) = most_receivers(&hosts, engine.pass(&job, &|_| {})).await;
    let way = match path {
        DataPath::Relay => DataRoute::Relayed { why: String::new() },
        _ => DataRoute::Direct,
    };
    assert_eq!(report.unwrap().way, way);
    assert!(most > 2, "{most} channels");
    assert_eq!(differences(&from, &to, &[]), "");
    // Only blocks travel, and a hole among them.
    let mut large = noise(1, 30 * MIB + 17);
    for at in (0..large.len()).step_by(2 * MIB) {
        large[at] ^= 1;
    }
    large[8 * MIB..10 * MIB].fill(0);
    fs::write(from.join("large-1"), large).unwrap();
    fs::remove_file(from.join("dir/small-7")).unwrap();
    let report = engine.pass(&job, &|_| {}).await.unwrap();
    assert_eq!((report.files_sent, report.deleted), (1, 1));
    assert!(report.bytes_sent < 4 * MIB as u64, "{report:?}");
    assert_eq!(differences(&from, &to, &[]), "");
    for host in [&job.source, &job.target] {
        engine.clean_up(host, std::slice::from_ref(&job.id)).await.unwrap();
    }
    assert!(!hosts.target.home().join(".migrate").exists());
    assert_eq!(hosts.target.session_processes(), Vec::<u32>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_of_all_channels_is_worth_another_try() {
    cut_all_channels(DataPath::Direct).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_of_all_relayed_channels_is_worth_another_try() {
    cut_all_channels(DataPath::Relay).await;
}

async fn cut_all_channels(path: DataPath) {
    let hosts = Hosts::start();
    let far = far_away(&hosts, 60);
    let target = far.host(&hosts.target);
    let engine = hosts.engine_to(target.clone());
    let mut job = CopyJob { target, path, bandwidth: Some(25 * MIB as u64), ..hosts.job() };
    let (from, to) = (PathBuf::from(&job.from), PathBuf::from(&job.to));
    fs::create_dir_all(&from).unwrap();
    fs::write(from.join("large"), noise(3, 100 * MIB)).unwrap();
    let cut = async {
        while far.carried() < 30 * MIB as u64 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        hosts.target.cut_connections();
    };
    let (result, ()) = tokio::join!(engine.pass(&job, &|_| {}), cut);
    let error = result.unwrap_err();
    assert!(error.transient, "{error:?}");
    assert!(!to.join("large").exists(), "half a file has its final name");
    job.bandwidth = None;
    engine.pass(&job, &|_| {}).await.unwrap();
    assert_eq!(differences(&from, &to, &[]), "");
}

/// A pass that stands still from its start, is slowed, and set free: what has arrived at each of these.
async fn slowed_and_set_free(path: DataPath) {
    let hosts = Hosts::start();
    let engine = hosts.engine();
    let job = CopyJob { path, bandwidth: Some(0), ..hosts.job() };
    let from = PathBuf::from(&job.from);
    fs::create_dir_all(&from).unwrap();
    for n in 0..60 {
        fs::write(from.join(format!("f{n}")), noise(n, MIB)).unwrap();
    }
    let (heard, mut progress) = tokio::sync::mpsc::unbounded_channel::<CopyProgress>();
    let control = async {
        let mut next = async || progress.recv().await.unwrap();
        while next().await.files_total == 0 {}
        for _ in 0..5 {
            assert_eq!(next().await.bytes_done, 0, "it goes on while it is to stand still");
        }
        engine.limit(&job.id, Some(2 << 20));
        let slow = loop {
            match next().await.bytes_done {
                0 => {}
                bytes => break bytes,
            }
        };
        engine.limit("another job", None);
        engine.limit(&job.id, None);
        slow
    };
    let heard = |now| _ = heard.send(now);
    let (report, slow) = tokio::join!(engine.pass(&job, &heard), control);
    let report = report.unwrap();
    assert_eq!(report.files_sent, 60);
    assert!(slow < report.bytes_sent / 2, "{slow} bytes at once");
    assert_eq!(differences(&from, &PathBuf::from(&job.to), &[]), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_from_host_to_host_can_be_slowed_and_set_free() {
    slowed_and_set_free(DataPath::Direct).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relayed_pass_can_be_slowed_and_set_free() {
    slowed_and_set_free(DataPath::Relay).await;
}

/// Copies at 2 MiB/s, which any processor outruns; how many bytes went over the link for each byte of content.
async fn over_a_slow_link(path: DataPath, content: impl Fn(u64) -> Vec<u8>) -> f64 {
    let hosts = Hosts::start();
    let engine = hosts.engine();
    let job = CopyJob { path, ..hosts.job() };
    let from = PathBuf::from(&job.from);
    fs::create_dir_all(from.join("small")).unwrap();
    // The agents take no part in what is counted.
    engine.pass(&job, &|_| {}).await.unwrap();
    let far = far_away(&hosts, 5);
    let job = CopyJob { target: far.host(&hosts.target), bandwidth: Some(2 << 20), ..job };
    fs::write(from.join("large"), (0..8).flat_map(&content).collect::<Vec<u8>>()).unwrap();
    for n in 0..130 {
        fs::write(from.join(format!("small/f{n}")), &content(n)[..20_000]).unwrap();
    }
    let report = engine.pass(&job, &|_| {}).await.unwrap();
    assert_eq!(differences(&from, &PathBuf::from(&job.to), &[]), "");
    far.carried() as f64 / report.bytes_sent as f64
}

fn log_lines(n: u64) -> Vec<u8> {
    let line = |k: u64| format!("2026-11-21T10:{:02}:00Z request {} of user {} served\n", k % 60, n * 7919 + k, k % 97);
    (0..).flat_map(|k| line(k).into_bytes()).take(MIB).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_shrinks_is_compressed_for_a_slow_link() {
    for path in [DataPath::Direct, DataPath::Relay] {
        let carried = over_a_slow_link(path, log_lines).await;
        assert!(carried < 0.7, "{carried} bytes for a byte, {path:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_shrink_is_not_compressed() {
    let carried = over_a_slow_link(DataPath::Direct, |n| noise(n, MIB)).await;
    assert!((0.99..1.2).contains(&carried), "{carried} bytes for a byte");
}
