//! The rows of the table: what is done, with whom it is compared, and what must come out.

use std::path::Path;
use std::time::Duration;

use migrate::copy::{CopyJob, ScanMode};

use crate::measure::{Cost, line, measure, rounds};
use crate::setup::{Setup, has, remove, set_aside};
use crate::trees;

/// Full copies.
#[derive(Default)]
struct Full {
    ours: Vec<Cost>,
    rsync: Peer,
    tar: Peer,
}

/// What a peer takes until it says that it is done, and until the disk has it: only the second is what ours promises.
#[derive(Default)]
struct Peer {
    copied: Vec<Cost>,
    synced: Vec<Cost>,
}

impl Peer {
    fn measure(&mut self, run: impl FnOnce()) {
        let copied = measure(run);
        let synced = measure(rustix::fs::sync);
        self.copied.push(copied);
        self.synced.push(Cost { seconds: copied.seconds + synced.seconds, ..copied });
    }
}

impl Full {
    fn lines(&self, work: &str, than_rsync: &str, than_tar: &str) {
        let lines = [("rsync -a", &self.rsync, than_rsync), ("tar \\| ssh tar", &self.tar, than_tar)];
        for (name, peer, must) in lines {
            line(work, &self.ours, name, &peer.copied, must);
            line(work, &self.ours, &format!("{name}, sync"), &peer.synced, "–");
        }
    }
}

fn full(setup: &Setup, with_tar: bool, make_room: fn(&Path)) -> Full {
    setup.warm_up();
    let mut full = Full::default();
    for round in 0..rounds() {
        make_room(&setup.path("ours"));
        let job = setup.job(&format!("full-{round}"), "ours");
        setup.ready("ours", true);
        full.ours.push(measure(|| {
            setup.pass(&job);
        }));
        make_room(&setup.path("rsync"));
        setup.ready("rsync", true);
        full.rsync.measure(|| setup.rsync("rsync", &[]));
        if with_tar && has("tar") {
            make_room(&setup.path("tar"));
            setup.ready("tar", true);
            full.tar.measure(|| setup.tar("tar"));
        }
    }
    full
}

/// The job of the last full copy.
fn last(setup: &Setup) -> CopyJob {
    setup.job(&format!("full-{}", rounds() - 1), "ours")
}

/// Both again after `change`; the last full copies are there.
fn again(setup: &Setup, job: &CopyJob, content: bool, mut change: impl FnMut(usize)) -> (Vec<Cost>, Vec<Cost>) {
    let (mut ours, mut rsync) = (vec![], vec![]);
    for round in 0..rounds() {
        change(round);
        setup.ready("ours", content);
        ours.push(measure(|| {
            setup.pass(job);
        }));
        setup.ready("rsync", content);
        rsync.push(measure(|| setup.rsync("rsync", &[])));
    }
    (ours, rsync)
}

pub fn small(setup: &Setup) {
    trees::small(&setup.path("data"), 100_000);
    let full = full(setup, true, set_aside);
    full.lines("100,000 files of 1–16 KiB, full", "1.6", "1.0");
    let (ours, rsync) = again(setup, &last(setup), true, |_| {});
    line("the same, nothing changed", &ours, "rsync -a", &rsync, "3");
    let (ours, rsync) =
        again(setup, &last(setup), true, |round| trees::change_files(&setup.path("data"), 100, 77 + round as u64));
    line("the same, 1 % of the files changed", &ours, "rsync -a", &rsync, "2");
}

pub fn large(setup: &Setup) {
    trees::large(&setup.path("data"), 4, 1 << 30);
    let full = full(setup, true, remove);
    full.lines("4 files of 1 GiB, full", "1.4", "–");
    let (ours, rsync) = again(setup, &last(setup), true, |_| {});
    line("the same, nothing changed", &ours, "rsync -a", &rsync, "3");
    let (ours, rsync) =
        again(setup, &last(setup), true, |round| trees::change_blocks(&setup.path("data"), 99 + round as u64));
    line("the same, 1 % of the blocks changed", &ours, "rsync -a", &rsync, "5");
}

pub fn mixed(setup: &Setup) {
    trees::mixed(&setup.path("data"));
    let full = full(setup, false, set_aside);
    full.lines("20,000 mixed files, 2 GiB, full", "1.5", "–");
    let (ours, rsync) = again(setup, &last(setup), true, |_| {});
    line("the same, nothing changed", &ours, "rsync -a", &rsync, "3");
}

/// Many files of which few changed, and the memory that takes.
pub fn million(setup: &Setup) {
    let (few, _) = hundred(setup, 100_000, false);
    remove(&setup.path("data"));
    remove(&setup.path("ours"));
    remove(&setup.path("rsync"));
    let (many, rsync) = hundred(setup, 1_000_000, true);
    line("1,000,000 files, 100 changed, with a change watch", &many, "rsync -a", &rsync, "20");
    line("the same", &many, "the same with 100,000 files", &few, "0.5");
}

/// A hundred files of many change: what that takes us with a watch, and rsync.
fn hundred(setup: &Setup, files: u64, compared: bool) -> (Vec<Cost>, Vec<Cost>) {
    trees::many(&setup.path("data"), files);
    setup.warm_up();
    let job = setup.job(&format!("{files}-{}", rounds() - 1), "ours");
    let first = [measure(|| _ = setup.pass(&job))];
    let every = files as usize / 100;
    let mut rsync = vec![];
    if compared {
        let peer = [measure(|| setup.rsync("rsync", &[]))];
        line("1,000,000 files, full (memory at most 200 MiB an end)", &first, "rsync -a", &peer, "–");
        let change = |round| trees::change_files(&setup.path("data"), every, 55 + round as u64);
        let (ours, peers) = again(setup, &job, false, change);
        line("the same, 100 changed", &ours, "rsync -a", &peers, "4");
        rsync = peers;
    }
    let mut watched = vec![];
    for round in 0..rounds() + 20 {
        trees::change_files(&setup.path("data"), every, 155 + round as u64);
        setup.ready("ours", false);
        let mut report = None;
        let cost = measure(|| report = Some(setup.watched_pass(&job)));
        match report.map(|report| report.looked) {
            Some(ScanMode::Watched) => watched.push(cost),
            // The first begins the watch; what else happens on the machine may be too much for it.
            other => eprintln!("{other:?}"),
        }
        if watched.len() == rounds() {
            break;
        }
    }
    (watched, rsync)
}

/// Comparing both sides, beside nothing but hashing both at once.
pub fn verify(setup: &Setup) {
    trees::mixed(&setup.path("data"));
    setup.warm_up();
    let job = setup.job("verify", "ours");
    setup.pass(&job);
    let (name, hash): (_, fn(&Path)) = match has("b3sum") {
        true => ("b3sum", trees::b3sum),
        false => ("BLAKE3", trees::hash_all),
    };
    let (mut ours, mut hashing) = (vec![], vec![]);
    for _ in 0..rounds() {
        setup.ready("ours", true);
        ours.push(measure(|| assert_eq!(setup.verify(&job).different, 0)));
        hashing.push(measure(|| {
            std::thread::scope(|scope| {
                scope.spawn(|| hash(&setup.path("data")));
                scope.spawn(|| hash(&setup.path("ours")));
            });
        }));
    }
    line("verify, 20,000 mixed files, 2 GiB", &ours, &format!("{name} of both sides at once"), &hashing, "0.8");
}

/// A target 80 ms away.
pub fn far(setup: &Setup) {
    trees::large(&setup.path("data"), 1, 1 << 30);
    setup.move_away(Duration::from_millis(80));
    let full = full(setup, false, set_aside);
    full.lines("1 file of 1 GiB, round trip of 80 ms", "8", "–");
}

type Make = fn(&Path);

/// `migrate copy` as its users run it, set-up and clean-up and all.
pub fn command(setup: &Setup) {
    std::fs::create_dir_all(setup.path("home")).unwrap();
    let trees: [(&str, Make); 3] = [
        ("600 files of 1–16 KiB", |data| trees::small(data, 600)),
        ("40,000 files of 1–16 KiB", |data| trees::small(data, 40_000)),
        ("3 files of 700 MiB", |data| trees::large(data, 3, 700 << 20)),
    ];
    for (what, make) in trees {
        remove(&setup.path("data"));
        make(&setup.path("data"));
        let (mut full, mut rsync) = (vec![], vec![]);
        for _ in 0..rounds() {
            for (to, costs) in [("ours", &mut full), ("rsync", &mut rsync)] {
                set_aside(&setup.path(to));
                setup.ready(to, true);
                costs.push(measure(|| whole(setup, to)));
            }
        }
        line(&format!("whole command: {what}, full"), &full, "rsync -a", &rsync, "–");
        let (mut ours, mut rsync) = (vec![], vec![]);
        for _ in 0..rounds() {
            for (to, costs) in [("ours", &mut ours), ("rsync", &mut rsync)] {
                setup.ready(to, false);
                costs.push(measure(|| whole(setup, to)));
            }
        }
        line("the same, nothing changed", &ours, "rsync -a", &rsync, "1.0");
    }
}

fn whole(setup: &Setup, to: &str) {
    match to {
        "rsync" => setup.rsync(to, &[]),
        _ => setup.command(to),
    }
}

/// Passes beside a program that writes to the same disk, against those on a quiet one.
pub fn busy(setup: &Setup) {
    trees::small(&setup.path("data"), 10_000);
    setup.warm_up();
    let change = |round: usize| trees::change_files(&setup.path("data"), 100, 33 + round as u64);
    let mut costs: [[Vec<Cost>; 2]; 3] = Default::default();
    for round in 0..rounds() {
        let mut passes = |busy: usize| {
            let job = setup.job(&format!("busy-{round}-{busy}"), "ours");
            set_aside(&setup.path("ours"));
            costs[0][busy].push(measure(|| _ = setup.pass(&job)));
            costs[1][busy].push(measure(|| _ = setup.pass(&job)));
            change(2 * round + busy);
            costs[2][busy].push(measure(|| _ = setup.pass(&job)));
        };
        setup.ready("ours", true);
        passes(0);
        setup.beside_a_writer(|| passes(1));
    }
    for (what, [quiet, busy]) in ["full", "nothing changed", "1 % changed"].iter().zip(&costs) {
        line(&format!("10,000 files beside a writer, {what}"), busy, "the same without it", quiet, "0.67");
    }
}
