//! The lab itself is honest: what users must notice they do notice, and what a comparison must find it finds.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::lab;
use crate::lab::content::Dice;
use crate::lab::fleet::{Director, Fleet, LabHost, Size, Storage};
use crate::lab::load::{Demand, Front, Load, Report, Upload};
use crate::lab::place::{HTTP, Place};
use crate::lab::service::{Mode, Service};
use crate::lab::tree;

const SMALL: Size = Size { pairs: 2, common: 20, own: 5 };

/// One service with a few files, and what users need to know to read them.
fn service(dir: &Path) -> (Service, SocketAddr, Vec<(String, blake3::Hash)>) {
    let addr = SocketAddr::new(lab::sshd::next_address(), HTTP);
    let service = Service::start("dal-1", addr, dir, Mode::Serving);
    tree::seed_files(&dir.join("data"), "common", 10, 1);
    let files = tree::read(&dir.join("data")).into_iter().map(|(name, entry)| match entry.content {
        tree::Content::File { hash, .. } => (name, hash),
        other => panic!("{name} is {other:?}"),
    });
    (service, addr, files.collect())
}

fn users(addr: SocketAddr, uploads: u64, files: &[(String, blake3::Hash)]) -> Load {
    Load::start(
        Front::Address(addr),
        Demand { connections: 16, pause: Duration::from_millis(60), uploads, seed: 1, files: files.to_vec() },
    )
}

#[test]
fn a_freeze_lets_every_write_that_has_begun_land_and_none_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let (service, addr, files) = service(dir.path());
    let load = users(addr, 100, &files);
    load.wait_for(200);
    let root = dir.path().display();
    let script = format!("echo frozen > {root}/mode; while [ -n \"$(ls -A {root}/incoming)\" ]; do sleep 0.01; done");
    assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
    let at_freeze = tree::read(&dir.path().join("data"));
    load.wait_for(load.requests() + 100);
    let report = load.stop();

    assert_eq!(service.mode(), Mode::Frozen);
    assert!(at_freeze == tree::read(&dir.path().join("data")), "a write has landed after the freeze");
    let kept = |upload: &Upload| {
        let entry = at_freeze.get(&upload.name).unwrap_or_else(|| panic!("{} was lost", upload.name));
        matches!(entry.content, tree::Content::File { hash, .. } if hash == upload.hash)
    };
    assert!(report.uploads.len() >= 100 && report.uploads.iter().all(kept));
    assert!(report.failed >= 100, "users must see that a frozen service takes no uploads: {report:?}");
}

#[test]
fn users_notice_a_service_that_goes_away() {
    let dir = tempfile::tempdir().unwrap();
    let (mut service, addr, files) = service(dir.path());
    let load = users(addr, 30, &files);
    load.wait_for(200);
    assert_eq!(load.failed(), 0);
    service.stop();
    load.wait_for(300);
    let report = load.stop();
    assert!(report.failed >= 50, "{report:?}");
    assert!(report.failures.iter().any(|f| f.contains("refused")), "{:?}", report.failures);
}

#[test]
fn users_notice_one_wrong_byte() {
    let dir = tempfile::tempdir().unwrap();
    let (_service, addr, files) = service(dir.path());
    let path = dir.path().join("data").join(&files[3].0);
    let mut bytes = fs::read(&path).unwrap();
    bytes[17] ^= 1;
    fs::write(&path, bytes).unwrap();
    let load = users(addr, 0, &files);
    load.wait_for(300);
    let report = load.stop();
    assert!(report.failed > 0);
    assert!(report.failures.iter().all(|f| f.contains(&files[3].0)), "{:?}", report.failures);
}

/// Answers the first request of each connection, and closes it in the middle of the second one.
fn closing_server() -> SocketAddr {
    let listener = TcpListener::bind((lab::sshd::next_address(), 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let Some(body) = request(&mut socket) else { return };
                let answer = match body.is_empty() {
                    true => "always the same".to_owned(),
                    false => format!("dal-1 {}\n", blake3::hash(&body)),
                };
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", answer.len());
                let _ = socket.write_all((head + &answer).as_bytes());
                let _ = request(&mut socket);
            });
        }
    });
    addr
}

/// Reads one request; its body.
fn request(socket: &mut TcpStream) -> Option<Vec<u8>> {
    let mut reader = BufReader::new(socket);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(body)
}

#[test]
fn a_connection_closed_under_a_request_is_forgiven_once_for_a_read_and_never_for_an_upload() {
    let addr = closing_server();
    let files = [("same".to_owned(), blake3::hash(b"always the same"))];
    let report = {
        let load = users(addr, 0, &files);
        load.wait_for(200);
        load.stop()
    };
    assert_eq!(report.failed, 0, "{:?}", report.failures);
    assert!(report.retried > 0, "{report:?}");
    let report = {
        let load = users(addr, 100, &files);
        load.wait_for(200);
        load.stop()
    };
    assert!(report.failed > 0 && report.retried == 0, "{report:?}");
}

#[test]
fn a_fleet_behind_haproxy_serves_without_a_failure_while_traffic_moves_by_hand() {
    let fleet = Fleet::behind_haproxy(Place::private(), SMALL, Storage::Shared);
    let load = fleet.load(16);
    load.wait_for(300);
    for name in ["fra-1", "fra-2"] {
        assert_eq!(fleet.haproxy().command(&format!("set weight uploads/{name} 100")).trim(), "");
    }
    for name in ["dal-1", "dal-2"] {
        assert_eq!(fleet.haproxy().command(&format!("set server uploads/{name} state drain")).trim(), "");
    }
    load.wait_for(load.requests() + 300);
    let report = load.stop();
    assert_eq!(report.failed, 0, "{:?}", report.failures);
    assert!(report.uploads.iter().any(|u| u.host == "dal-1") && report.uploads.iter().any(|u| u.host == "fra-2"));
    for (host, difference) in fleet.compare(&report) {
        assert!(difference.is_none(), "{host}: {difference:?}");
    }
}

#[test]
fn users_of_a_name_leave_an_address_when_its_ttl_is_over() {
    let fleet = Fleet::behind_dns(Place::private(), SMALL, Storage::Shared, 1);
    let load = fleet.load(16);
    load.wait_for(300);
    let Director::Dns { primary, secondary, resolver } = &fleet.director else { panic!("no DNS") };
    let fra: Vec<String> = fleet.targets.iter().map(|h| h.sshd.addr().ip().to_string()).collect();
    update(&fleet, primary.addr, &fra);
    let moved = |bind: &lab::bind::Bind| bind.dig(lab::fleet::NAME, "A") == fra;
    while !(moved(primary) && moved(secondary) && resolver.ttl(lab::fleet::NAME, "A").is_some()) {
        std::thread::sleep(Duration::from_millis(20));
    }
    // TTL of the old answer, in the resolver and in the users.
    std::thread::sleep(Duration::from_secs(2));
    let at_sources = || -> u64 { fleet.sources.iter().map(requests).sum() };
    let before = at_sources();
    load.wait_for(load.requests() + 300);
    assert_eq!(before, at_sources(), "users still ask where the name does not point any more");
    let report = load.stop();
    assert_eq!(report.failed, 0, "{:?}", report.failures);
}

fn requests(host: &LabHost) -> u64 {
    host.service.counters().requests.load(std::sync::atomic::Ordering::Relaxed)
}

/// Sets the addresses of the name, with BIND's own tool.
fn update(fleet: &Fleet, server: SocketAddr, addresses: &[String]) {
    let secret = fs::read_to_string(fleet.place.root().join("tsig.key")).unwrap();
    let name = lab::fleet::NAME;
    let mut script = format!(
        "server {} {}\nkey hmac-sha256:migrate {}\nupdate delete {name} A\n",
        server.ip(),
        server.port(),
        secret.trim()
    );
    for address in addresses {
        script.push_str(&format!("update add {name} 1 A {address}\n"));
    }
    let file = fleet.place.root().join("update");
    fs::write(&file, script + "send\n").unwrap();
    let out = Command::new(lab::packages::program("nsupdate", "bind9-dnsutils")).arg(&file).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn a_comparison_finds_what_was_lost_changed_or_added() {
    let fleet = Fleet::behind_haproxy(Place::private(), SMALL, Storage::Own);
    let mut report = Report::default();
    for (source, target) in fleet.pairs() {
        let (from, to) = (source.root.join("data/."), target.root.join("data"));
        assert!(Command::new("cp").arg("-a").args([&from, &to]).status().unwrap().success());
    }
    assert!(fleet.compare(&report).iter().all(|(_, difference)| difference.is_none()), "{:?}", fleet.compare(&report));

    let data = fleet.targets[0].root.join("data");
    let common: Vec<String> =
        fleet.sources[0].seeds.keys().filter(|name| name.starts_with("common/")).cloned().collect();
    fs::remove_file(data.join(&common[0])).unwrap();
    fs::File::open(data.join(&common[1])).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    fs::write(data.join("odd/a/private too"), "other").unwrap();
    fs::write(data.join("added"), "").unwrap();
    let hash = blake3::hash(&Dice::new(1, "").bytes(10));
    report.uploads.push(Upload { name: "uploads/gone".into(), hash, host: "dal-1".into() });

    let (host, difference) = &fleet.compare(&report)[0];
    assert_eq!(host, "fra-1");
    assert_eq!(difference.lost, [&common[0], "uploads/gone"]);
    // Two names of one file: both have other content now.
    let changed: Vec<&str> = difference.changed.iter().map(|text| text.split(": Entry").next().unwrap()).collect();
    assert_eq!(changed, [&common[1], "odd/a/private too", "odd/private"]);
    assert_eq!(difference.extra, ["added"]);
}

#[test]
fn every_plan_that_is_checked_in_is_valid_and_means_the_hosts_of_the_lab() {
    let plans = Path::new(env!("CARGO_MANIFEST_DIR")).join("plans");
    for plan in fs::read_dir(plans).unwrap().map(|entry| entry.unwrap().path()) {
        let (spec, warnings) =
            migrate::config::load(&plan, None, &Default::default()).unwrap_or_else(|e| panic!("{e}"));
        assert!(warnings.is_empty(), "{warnings}");
        let pairs: Vec<String> =
            spec.plan.services[0].pairs.iter().map(|p| format!("{} → {}", p.source, p.target)).collect();
        assert_eq!(pairs, ["dal-1 → fra-1", "dal-2 → fra-2", "dal-3 → fra-3"]);
        assert_eq!(spec.inventory.hosts["fra-3"].address, "127.0.10.23");
        assert_eq!(spec.inventory.hosts["fra-3"].vars["lab"], "/tmp/migrate-lab");
    }
}
