//! What a pass says of how far it is.

use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;

use migrate::copy::CopyProgress;

use crate::copy::over_ssh::Hosts;
use crate::copy::pair::Pair;
use crate::copy::tree::noise;

const MIB: usize = 1 << 20;

/// All that a pass said; nothing of it was taken back, or was more than there is.
fn told(pair: &Pair) -> Vec<CopyProgress> {
    let told = Mutex::new(Vec::new());
    pair.try_pass_with(&|now| told.lock().unwrap().push(now)).unwrap();
    checked(told.into_inner().unwrap())
}

fn checked(told: Vec<CopyProgress>) -> Vec<CopyProgress> {
    for pair in told.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        let back = b.bytes_done < a.bytes_done || b.files_done < a.files_done || b.files_scanned < a.files_scanned;
        assert!(!back, "{a:?} then {b:?}");
    }
    assert!(told.iter().all(|now| now.bytes_done <= now.bytes_total && now.files_done <= now.files_total), "{told:?}");
    told
}

#[test]
fn a_large_file_is_on_its_way_before_it_is_closed() {
    let mut pair = Pair::new();
    let path = pair.source().join("large");
    fs::write(&path, noise(1, 40 * MIB)).unwrap();
    pair.job.bandwidth = Some(20 << 20);
    let first = told(&pair);
    let under_way = first.iter().filter(|now| now.files_done == 0 && now.bytes_done > 0).count();
    assert!(under_way > 2, "{first:?}");
    let last = first.last().unwrap();
    assert_eq!((last.bytes_done, last.bytes_total), (40 * MIB as u64, 40 * MIB as u64));
    // Of what changed in it only that travels, and the rest is done with all the same.
    fs::File::options().write(true).open(&path).unwrap().write_all_at(&noise(2, MIB), 7 * MIB as u64).unwrap();
    let second = told(&pair);
    let last = second.last().unwrap();
    assert_eq!((last.bytes_done, last.files_done), (40 * MIB as u64, 1));
    pair.assert_same();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_pass_counts_what_it_looks_at_before_it_reaches_the_target() {
    let hosts = Hosts::start();
    let (engine, job) = (hosts.engine().sweeping(), hosts.job());
    let from = std::path::PathBuf::from(&job.from);
    fs::create_dir_all(&from).unwrap();
    for n in 0..300 {
        fs::write(from.join(format!("f{n}")), b"x").unwrap();
    }
    migrate::copy::Copier::pass(&engine, &job, &|_| {}).await.unwrap();
    let told = Mutex::new(Vec::new());
    let report = migrate::copy::Copier::pass(&engine, &job, &|now| told.lock().unwrap().push(now)).await.unwrap();
    assert_eq!((report.entries, report.files_sent), (300, 0));
    let told = checked(told.into_inner().unwrap());
    assert!(told.iter().all(|now| now.files_scanned == 300), "it is told once the look has ended: {told:?}");
    assert!(!told.is_empty());
}
